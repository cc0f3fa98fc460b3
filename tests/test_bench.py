"""The race: contenders do the same task, and are refused where they do not.  Never the time."""

import dataclasses
import importlib
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import fastnn
from fastnn.bench import cases, environment, limits, report, run, sweep, tasks, timing
from fastnn.bench.peers import PEERS, Peer, ours, scikit_learn
from fastnn.bench.race import Case, Comparison, Row, race
from fastnn.bench.tasks import Dense, Linear, Prediction, Training
from fastnn.cli import main

SAMPLES = Training((4, 6, 3), 60, "sigmoid", learning_rate=0.05)
BATCHES = Training((4, 8, 5, 3), 64, optimizer="adam", learning_rate=0.02, batch_size=16)
PREDICTION = Prediction((4, 6, 3), 50)
LINEAR = Linear(5, 400, alpha=0.01)
SPARSE = Linear(200, 400, 8, alpha=0.01)
TASKS = {
    "samples": SAMPLES,
    "batches": BATCHES,
    "prediction": PREDICTION,
    "linear": LINEAR,
    "sparse": SPARSE,
}
SPEED = {"rounds": 2, "seconds": 1e-6, "operations": 1e9}

pytestmark = pytest.mark.usefixtures("steady_time")


# Tasks


@pytest.mark.parametrize("task", [SAMPLES, BATCHES])
def test_judge_is_the_loss_of_the_network(task):
    net = ours.network(task)
    assert task.value(task.initial) == pytest.approx(net.loss(task.X, task.labels), rel=1e-5)
    squared = dataclasses.replace(task, loss="squared_error")
    net = ours.network(task, "squared_error")
    assert squared.value(task.initial) == pytest.approx(net.loss(task.X, task.onehot), rel=1e-5)


def test_orders_are_those_that_a_fit_draws():
    task = dataclasses.replace(SAMPLES, n=7)
    contender = ours.Train(task)
    contender.run(3)
    net = ours.network(task)
    for order in task.orders(3):
        net.fit(task.X[order], task.labels[order], learning_rate=0.05, shuffle=False)
    np.testing.assert_array_equal(net.parameters, contender.result())


def test_parameters_are_laid_out_as_the_network_has_them():
    net = ours.network(BATCHES)
    layers = tasks.unpack(net.parameters, BATCHES.sizes)
    for (W, b), V, c in zip(layers, net.weights, net.biases, strict=True):
        np.testing.assert_array_equal(W, V)
        np.testing.assert_array_equal(b, c)
    np.testing.assert_array_equal(tasks.pack(layers), net.parameters)


def test_operations_are_those_of_the_products():
    forward = 2 * (4 * 8 + 8 * 5 + 5 * 3)
    assert BATCHES.operations == 3 * forward - 2 * 4 * 8  # no delta of the input
    assert Prediction(BATCHES.sizes, 1).operations == forward


def test_linear_judge_is_the_penalised_loss():
    w = np.random.default_rng(0).normal(size=LINEAR.d + 1)
    a = 1 / (1 + np.exp(-(LINEAR.X @ w[:-1] + w[-1])))
    loss = -np.where(LINEAR.labels == 1, np.log(a), np.log(1 - a)).mean()
    assert LINEAR.value(w) == pytest.approx(loss + 0.5e-2 * w[:-1] @ w[:-1])


def test_rows_of_a_linear_task():
    assert SPARSE.X.shape == (400, 200)
    assert SPARSE.X.dtype == np.float32
    assert np.diff(SPARSE.X.indptr).max() <= 8
    assert 0.3 < LINEAR.labels.mean() < 0.7


# Contenders


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("key", "name"), [("fann", "samples"), *(("sklearn", name) for name in TASKS)]
)
def test_peers_do_the_same(key, name, dtype):
    """Two epochs, then three: every run starts anew."""
    peer = PEERS[key]
    if (reason := peer.missing()) is not None:
        pytest.skip(reason)
    task = peer.task(dataclasses.replace(TASKS[name], dtype=dtype))
    theirs = peer.contender(task)
    mine = ours.contender(task)
    for times in (2, 3):
        theirs.run(times)
        mine.run(times)
        assert task.disagreement(mine.result(), theirs.result()) is None
    assert np.asarray(theirs.result()).shape == np.asarray(mine.result()).shape


@pytest.mark.parametrize("name", ["jax", "jax-tuned", "torch"])
def test_heavy_peers_do_the_same(name):
    """In a process of their own: their threads and warnings are not ours."""
    if (reason := PEERS[name].missing()) is not None:
        pytest.skip(reason)
    program = """
import os, sys
from fastnn.bench.environment import one_core
from fastnn.bench.peers import PEERS, ours
from fastnn.bench.tasks import Prediction, Training
peer = PEERS[sys.argv[1]]
held = one_core()
held.__enter__()
for dtype in "float32", "float64":
    for task in (
        Training((4, 6, 3), 60, "sigmoid", dtype, learning_rate=0.05),
        Training((4, 8, 5, 3), 64, "relu", dtype, optimizer="adam", learning_rate=0.02,
                 batch_size=16),
        Prediction((4, 6, 3), 50, "relu", dtype),
    ):
        theirs, mine = peer.contender(task), ours.contender(task)
        if theirs is None:  # tuning is of training
            assert isinstance(task, Prediction)
            continue
        for times in (2, 3):
            theirs.run(times)
            mine.run(times)
            assert task.disagreement(mine.result(), theirs.result()) is None, (dtype, task)
if os.path.isdir("/proc/self/task") and hasattr(os, "sched_getaffinity"):
    numbers = [int(name) for name in os.listdir("/proc/self/task")]
    assert all(len(os.sched_getaffinity(number)) == 1 for number in numbers), numbers
print("agreed")
"""
    result = subprocess.run(
        [sys.executable, "-c", program, name], env=ENVIRONMENT, capture_output=True, text=True
    )
    assert result.stdout.strip() == "agreed", result.stderr


ENVIRONMENT = (
    os.environ | environment.ONE_THREAD | {"PYTHONPATH": str(Path(fastnn.__file__).parents[1])}
)


# Refusals


@pytest.mark.parametrize(
    "change", [{"learning_rate": 0.055}, {"optimizer": "adam"}, {"batch_size": 2}]
)
def test_another_training_is_refused(change):
    other = Peer(
        "other", lambda: None, lambda task: ours.Train(dataclasses.replace(task, **change))
    )
    row = race(Case("planted", SAMPLES), {"other": other}, **SPEED)
    found = row.peers["other"]
    assert found.ratio is None
    assert found.nanoseconds is None
    assert "final loss" in found.refused
    assert "% of what was learned, more than 0.2 %" in found.refused


def test_long_fits_are_compared_after_fewer_epochs():
    """Rounding grows with the steps until two trainings part; a comparison must not wait for it."""
    asked = []

    class Recording(ours.Train):
        def run(self, times):
            asked.append(times)
            super().run(times)

    peers = {"same": Peer("same", lambda: None, Recording)}
    row = race(Case("long", SAMPLES), peers, rounds=1, seconds=1000.0, operations=1e9)
    assert row.peers["same"].refused is None
    assert asked[-1] < 1 + timing.MOST_EPOCHS == asked[-2]


def test_other_predictions_are_refused():
    other = Peer(
        "other",
        lambda: None,
        lambda task: ours.Predict(dataclasses.replace(task, activation="sigmoid")),
    )
    row = race(Case("planted", PREDICTION), {"other": other}, **SPEED)
    assert "predictions differ" in row.peers["other"].refused


def test_learning_nothing_is_refused():
    still = dataclasses.replace(SAMPLES, learning_rate=0.0)
    same = Peer("same", lambda: None, ours.contender)
    row = race(Case("still", still), {"same": same}, **SPEED)
    assert "nothing was learned" in row.peers["same"].refused


def test_not_a_number_is_refused():
    assert "final loss" in SAMPLES.disagreement(
        fitted(SAMPLES, 3), np.full(SAMPLES.initial.size, np.nan)
    )
    assert "nothing was learned" in SAMPLES.disagreement(
        np.full(SAMPLES.initial.size, np.nan), SAMPLES.initial
    )
    nan = np.full((50, 3), np.nan)
    assert "predictions differ" in PREDICTION.disagreement(np.zeros((50, 3)), nan)


def fitted(task, epochs):
    contender = ours.Train(task)
    contender.run(epochs)
    return contender.result()


def test_failure_of_a_library_is_told():
    def fails(task):
        class Failing(ours.Train):
            def run(self, times):
                raise RuntimeError("no such\nfunction")

        return Failing(task)

    row = race(Case("planted", SAMPLES), {"other": Peer("other", lambda: None, fails)}, **SPEED)
    assert row.peers["other"].refused == "it failed: RuntimeError: no such function"


def test_fann_is_compared_on_its_own_loss():
    task = PEERS["fann"].task(SAMPLES)
    assert task == dataclasses.replace(SAMPLES, loss="squared_error")
    assert PEERS["fann"].task(LINEAR) is LINEAR
    assert PEERS["fann"].contender(BATCHES) is None
    assert scikit_learn.contender(task) is None


# Limits


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_limits_are_measured(dtype):
    assert 0 < limits.operations_per_second(dtype, seconds=1e-6) < math.inf
    assert 0 < limits.bytes_per_second(1 << 12) < math.inf


def test_one_pass_is_a_product_with_all_rows():
    contender = limits.OnePass(SPARSE.X)
    contender.run(2)
    np.testing.assert_allclose(contender.result(), SPARSE.X.sum(axis=1).A1, rtol=1e-5, atol=1e-5)


# Tables and text


@pytest.mark.parametrize("dtype", [None, "float64"])
@pytest.mark.parametrize("name", cases.TABLES)
def test_tables_are_made_of_tasks(name, dtype):
    full = cases.make_table(name, dtype, False)
    quick = cases.make_table(name, dtype, True)
    assert [case.name for case in full.cases] == [case.name for case in quick.cases]
    assert len({case.name for case in full.cases}) == len(full.cases)
    for case, less in zip(full.cases, quick.cases, strict=True):
        assert less.task.n < case.task.n
        assert case.goals.keys() <= full.peers.keys()
        assert dtype is None or case.task.dtype == dtype
        for task in (case.task, less.task):
            assert not isinstance(task, Training) or task.n % task.batch_size == 0


def test_sweep_covers_its_grid():
    table = sweep.sweep_table(widths=(1, 1024), depths=(1, 4), batches=(1, 4096))
    assert [case.name for case in table.cases] == [
        "1-1-2", "1-1-2, 4096", "1-1-1-1-1-2", "1-1-1-1-1-2, 4096",
        "1024-1024-2", "1024-1024-2, 4096", "1024-1024-1024-1024-1024-2",
        "1024-1024-1024-1024-1024-2, 4096",
    ]  # fmt: skip
    for case in table.cases:
        assert case.task.n % case.task.batch_size == 0
        assert case.task.n >= case.task.batch_size
        assert case.task.optimizer == ("sgd" if case.task.batch_size == 1 else "adam")


def row_of(name, **ratios):
    peers = {key: Comparison(1.0, ratio, ratio, ratio) for key, ratio in ratios.items()}
    return Row(name, 10.0, 0.0, 50.0, None, peers)


def test_sweep_lists_what_is_behind_the_worst_first():
    rows = [row_of("ahead", jax=2.0, torch=1.0), row_of("a", jax=0.9, torch=3.0)]
    rows += [row_of("b", jax=2.0, torch=0.5), Row("c", 1.0, 0.0, None, None, {})]
    rows[1].peers["refused"] = Comparison(refused="why")
    assert [row.name for row in sweep.behind(rows)] == ["b", "a"]


def test_single_file_of_units_is_not_silent():
    task = Training((1, 1, 1, 1, 2), 50)
    assert np.ptp(task.scores(task.initial)[:, 0]) > 0


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [(5.0, "5.00 ns"), (149.2, "149 ns"), (999.6, "1.00 us"), (15_620.0, "15.6 us"),
     (2.5e6, "2.50 ms"), (3.21e9, "3.21 s")],
)  # fmt: skip
def test_times_have_three_digits(nanoseconds, text):
    assert report.time_text(nanoseconds) == text


def test_lines_say_what_was_measured_and_refused():
    table = cases.Table(
        "title", "a limit", [Case("4-6-3", SAMPLES)], {key: PEERS[key] for key in ("jax", "torch")}
    )
    row = Row("4-6-3", 149.0, 0.25, 41.6, 60.0, {"jax": Comparison(600.0, 4.03, 4, 4.1, 12.0, 1.5)})
    assert report.line(table, row, False).split() == ["4-6-3", "149", "ns", "4.03x", "-", "42", "%"]
    assert "4.03x of 12" in report.line(table, row, True)
    assert "42 % of 60" in report.line(table, row, True)
    row.peers["torch"] = Comparison(refused="because")
    assert report.line(table, row, False).split()[4] == "refused"
    footer = report.footer(table, [row])
    assert "refused: PyTorch on 4-6-3: because" in footer
    assert "fastnn 0.2 s, JAX scan 1.5 s" in footer
    assert report.refusals([row]) == [("torch", "because", row)]
    assert len(report.header(table).splitlines()[1]) == len(report.line(table, row, False))


# The command


@pytest.fixture
def tiny(monkeypatch):
    """One thread for everyone, tiny tables, a small memory."""
    for name, value in environment.ONE_THREAD.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(run, "bytes_per_second", lambda: limits.bytes_per_second(1 << 12))
    monkeypatch.setattr(run, "operations_per_second", lambda dtype: 1e9)
    command = importlib.import_module("fastnn.cli.bench")
    monkeypatch.setattr(command, "QUICK", (2, 1e-6))
    monkeypatch.setattr(command, "SWEEP", (2, 1e-6))

    def make_table(name, dtype, quick):
        case = Case(name, {"samples": SAMPLES, "linear": LINEAR}[name], {"sklearn": 2.0})
        return cases.Table(f"table {name}", "a limit", [case], dict(PEERS))

    monkeypatch.setattr(run, "make_table", make_table)


def bench(*arguments, code=0):
    result = CliRunner().invoke(main, ["bench", *arguments])
    assert result.exit_code == code, result.output
    return result


def test_bench_prints_its_tables(tiny):
    output = bench("samples", "linear", "--quick", "--goals", "--peer", "sklearn").stdout
    assert output.startswith("one core: 1 GFLOP/s in float32, 1 GFLOP/s in float64")
    assert "table samples" in output
    assert "table linear" in output
    assert "of 2" in output
    assert "JAX" not in output
    assert "refused" not in output


def test_bench_as_json(tiny):
    result = json.loads(bench("linear", "--quick", "--json", "--peer", "sklearn").stdout)
    assert result.keys() == {"machine", "rounds", "missing", "tables"}
    assert result["machine"].keys() == {"operations_per_second", "bytes_per_second"}
    table = result["tables"]["linear"]
    assert table.keys() == {"title", "limit", "missing", "rows"}
    (row,) = table["rows"]
    assert row.keys() == {
        "name", "nanoseconds", "first_call", "limit_percent", "limit_goal", "peers",
    }  # fmt: skip
    found = row["peers"]["sklearn"]
    assert found.keys() == {
        "nanoseconds", "ratio", "ratio_low", "ratio_high", "goal", "first_call", "refused",
    }  # fmt: skip
    assert found["ratio_low"] <= found["ratio"] <= found["ratio_high"]
    assert found["goal"] == 2.0
    assert found["refused"] is None
    assert row["nanoseconds"] > 0


def test_bench_fails_where_it_refuses(tiny, monkeypatch):
    planted = Peer(
        "another rate",
        lambda: None,
        lambda task: ours.Train(dataclasses.replace(task, learning_rate=0.055)),
    )
    monkeypatch.setitem(PEERS, "sklearn", planted)
    output = bench("samples", "--quick", "--peer", "sklearn", code=1).stdout
    assert "refused: another rate on samples: its final loss is" in output


def test_bench_says_who_is_missing(tiny, monkeypatch):
    monkeypatch.setitem(PEERS, "fann", PEERS["fann"]._replace(missing=lambda: "not here"))
    output = bench("samples", "--quick", "--peer", "fann").stdout
    assert "without FANN: not here" in output
    assert output.count("FANN") == 1


def test_bench_says_why_a_table_is_missing(tiny, monkeypatch):
    missing = cases.Table("threads", "", [], {}, "one core only")
    monkeypatch.setattr(run, "make_table", lambda *_: missing)
    assert "threads\nnot measured: one core only" in bench("threads").stdout


def test_sweep_says_where_fastnn_is_slower(tiny, monkeypatch):
    table = cases.Table("sweep", "a limit", [Case("tiny", SAMPLES)], dict(PEERS))
    monkeypatch.setattr(run, "sweep_table", lambda dtype, **grid: table)
    assert "fastnn is slower than a peer in " in bench("--sweep", "--peer", "sklearn").stdout
    result = json.loads(bench("--sweep", "--json", "--peer", "sklearn").stdout)
    assert result["sweep"].keys() == {"rows", "slower"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing"], "'nothing' is not one of samples, batches, linear, predict, threads, "),
        (["--peer", "caffe"], "'caffe' is not one of jax, jax-tuned, torch, sklearn, fann"),
        (["--sweep", "samples"], "--sweep has a table of its own"),
        (["--rounds", "0"], "0 is not in the range"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    assert message in bench(*arguments, code=2).stderr


def test_bench_helps():
    text = bench("--help").stdout
    assert "medians of the rounds" in text
    assert "--sweep" in text


def test_bench_starts_again_with_one_thread():
    """The help of the second process would say 2 if its environment were not passed on."""
    environ = {k: v for k, v in ENVIRONMENT.items() if k not in environment.ONE_THREAD}
    command = [sys.executable, "-m", "fastnn", "bench", "samples", "--quick", "--rounds", "1"]
    result = subprocess.run(
        [*command, "--peer", "fann", "--json"], env=environ, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert len(json.loads(result.stdout)["tables"]["samples"]["rows"]) == 4


def test_cores():
    assert 1 <= environment.cores() <= (os.cpu_count() or 1)


def test_dense_rows_have_the_task_s_precision():
    for dtype in ("float32", "float64"):
        task = Dense((3, 2), 5, dtype=dtype)
        assert task.X.dtype == task.initial.dtype == dtype
