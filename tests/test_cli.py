"""The command ``fastnn``: results, files, exit codes, and what happens when it is stopped."""

import json
import os
import re
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import fastnn
from fastnn.cli import main
from fastnn.cli.data import from_file, scaling, split
from fastnn.datasets import make_source, read_table, write_table

#: For subprocesses: they run this very package, with the cache of this process.
ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(fastnn.__file__).parents[1])}


@pytest.fixture(autouse=True)
def _in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def run(*arguments, code=0):
    """Run the command in this process; return its result, whose exit code must be ``code``."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.stderr
    return result


def result_of(*arguments, code=0):
    """Return the JSON object that a command prints, and nothing beside it."""
    return json.loads(run(*arguments, "--json", code=code).stdout)


def error_of(*arguments):
    """Return the error line of a command that must refuse its arguments."""
    result = run(*arguments, code=2)
    assert result.stdout == ""
    lines = result.stderr.strip().splitlines()
    assert "Traceback" not in result.stderr
    assert lines[-1].startswith("Error: ")
    return lines[-1]


@pytest.fixture
def flowers():
    """Write a table with a header, text labels and three separable classes."""
    rng = np.random.default_rng(0)
    y = np.arange(300) % 3
    X = rng.normal(size=(300, 2)) * 0.1 + np.array([[0, 0], [10, 1000], [20, 0]])[y] + 50
    labels = np.array(["aster", "lily", "rose"])[y]
    write_table("flowers.csv", X, labels, feature_names=["width", "length"], target_name="kind")
    return X, labels


@pytest.fixture
def prices():
    """Write a table with a linear target of large numbers."""
    rng = np.random.default_rng(1)
    X = rng.normal(size=(400, 3))
    y = 250_000 + X @ [30_000.0, -20_000.0, 5000.0] + rng.normal(size=400) * 1000
    write_table("prices.csv", X, y, feature_names=["a", "b", "c"], target_name="price")
    return X, y


# Training


def test_train_reaches_the_best_accuracy_of_synthetic_data():
    result = result_of("train", "--rows", 100_000, "--epochs", 5)
    assert result["best_accuracy"] == make_source("moons").best_accuracy
    assert result["test_accuracy"] == pytest.approx(result["best_accuracy"], abs=0.004)
    assert result["baseline_accuracy"] == pytest.approx(0.5, abs=0.02)
    assert result["rows"] == [100_000, 10_000, 100_000]
    assert result["epochs"] == len(result["loss"]) == len(result["validation_accuracy"]) == 5
    assert result["samples_per_second"] == pytest.approx(500_000 / result["training_seconds"])
    assert result["compile_seconds"] >= 0
    assert result["stopped"] == "epochs"


def test_saved_model_has_the_accuracy_that_was_printed():
    result = result_of("train", "--data", "xor", "--rows", 5000, "--epochs", 3)
    assert result["model"] == "xor-model.safetensors"
    model = fastnn.load(result["model"])
    X, y = make_source("xor").rows(5500, 105_500)
    assert (model.predict(X) == y).mean() == result["test_accuracy"]


def test_train_prints_what_people_look_for():
    result = run("train", "--rows", 2000, "--epochs", 2, "--output", "net.safetensors", "--no-plot")
    names = [line.split("   ")[0] for line in result.stdout.splitlines()]
    assert names == ["training time", "compile time", "throughput", "test accuracy", "model"]
    assert "best reachable 0.97" in result.stdout
    assert "net.safetensors" in result.stdout
    epochs = [line for line in result.stderr.splitlines() if line.startswith("epoch ")]
    assert [line.split(" loss 0.")[0] for line in epochs] == ["epoch 1/2:", "epoch 2/2:"]
    assert [path.name for path in Path().iterdir()] == ["net.safetensors"]


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
def test_bar_on_a_terminal():
    import fcntl
    import pty
    import struct
    import termios

    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 120, 0, 0))
    command = [sys.executable, "-m", "fastnn", "train", "--rows", "500", "--epochs", "3"]
    process = subprocess.Popen(
        [*command, "--no-plot"], env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=follower
    )
    os.close(follower)
    shown = b""
    with process, open(leader, "rb", buffering=0) as terminal:
        while part := _read_terminal(terminal):
            shown += part
    last = shown.decode().split("\r")[-2]
    assert re.search(
        r"epoch 3/3 \|.*\| +[\d.]+k? samples/s, loss 0\.\d+, validation accuracy 0\.\d{4}", last
    ), last


def _read_terminal(terminal):
    try:
        return terminal.read(4096)
    except OSError:  # how Linux says that the other end is closed
        return b""


def test_quiet_says_nothing_on_the_way():
    assert run("train", "--rows", 500, "--epochs", 1, "--no-plot", "--quiet").stderr == ""


def test_loss_curve_is_a_picture():
    image = pytest.importorskip("matplotlib.image")
    result = result_of("train", "--rows", 500, "--epochs", 2, "-o", "net.safetensors")
    assert result["picture"] == "net.png"
    pixels = image.imread("net.png")
    assert pixels.shape[0] > 300
    assert pixels.std() > 0.01


def test_without_matplotlib_the_model_is_there_and_the_advice(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    result = run("train", "--rows", 500, "--epochs", 1, "-o", "net.safetensors")
    assert "pip install '.[plot]'" in result.stderr
    assert fastnn.load("net.safetensors").predict([[0.0, 0.0]]).shape == (1,)


def test_many_epochs_are_few_lines():
    result = run("train", "--rows", 100, "--epochs", 500, "--no-plot")
    lines = [line for line in result.stderr.splitlines() if line.startswith("epoch ")]
    assert lines[0].startswith("epoch 1/500")
    assert lines[-1].startswith("epoch 500/500")
    assert len(lines) < 250


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--hidden", "7,3", "--activation", "tanh"], {"layer_sizes": [2, 7, 3, 1]}),
        (["--hidden", "none"], {"layer_sizes": [2, 1], "activation": []}),
        (["--optimizer", "sgd"], {"optimizer": "sgd", "learning_rate": 0.1}),
        (["--learning-rate", 0.5], {"learning_rate": 0.5}),
        (["--batch-size", 100], {"batch_size": 100}),
        (["--replicas", 2, "--batch-size", 1, "--optimizer", "sgd"], {"replicas": 2}),
        (["--schedule", "constant"], {"schedule": "constant"}),
        (["--dtype", "float64"], {"dtype": "float64"}),
        (["--data", "spirals"], {"data": "spirals"}),
        (["--seed", 1], {}),
        (["--epochs", 3], {"epochs": 3}),
        (["--rows", 700], {"rows": [700, 100, 100_000]}),
    ],
    ids=lambda value: str(value[0]) if isinstance(value, list) else "",
)
def test_every_option_changes_the_run(options, expected):
    base = ["train", "--no-plot", "--rows", 600, "--epochs", 2]
    plain, changed = result_of(*base), result_of(*base, *options)
    assert expected.items() <= changed.items()
    assert changed["loss"] != plain["loss"]
    assert result_of(*base)["loss"] == plain["loss"]
    assert result_of(*base, *options, "--n-jobs", 2)["loss"] == changed["loss"]


def test_early_stopping_keeps_the_best_epoch():
    result = result_of(
        "train", "--rows", 500, "--epochs", 500, "--learning-rate", 0.02, "--schedule", "constant",
        "--early-stopping", "--patience", 3, "--no-plot",
    )  # fmt: skip
    losses = result["validation_loss"]
    assert result["stopped"] == "early"
    assert len(losses) < 500
    assert losses[result["best_epoch"] - 1] == min(losses)


def test_a_table_is_stopped_early_unless_told_otherwise(flowers):
    arguments = ["train", "flowers.csv", "-t", "kind", "--no-plot", "--epochs", 200]
    assert result_of(*arguments)["stopped"] == "early"
    assert result_of(*arguments, "--no-early-stopping")["epochs"] == 200
    error = error_of(*arguments, "--no-early-stopping", "--patience", 3)
    assert "--patience is for --early-stopping" in error


# Tables


def test_train_and_predict_a_table_with_text_labels(flowers):
    _, labels = flowers
    result = result_of("train", "flowers.csv", "--target", "kind", "--epochs", 50)
    assert result["task"] == "classification"
    assert result["rows"] == [210, 30, 60]
    assert result["test_accuracy"] == 1
    predicted = run("predict", "flowers-model.safetensors", "flowers.csv").stdout.splitlines()
    assert predicted == ["prediction", *labels]


def test_predict_finds_columns_by_name(flowers):
    X, labels = flowers
    run("train", "flowers.csv", "--target", "kind", "--epochs", 50, "--no-plot", "-q")
    write_table("turned.csv", np.column_stack((X[:, 1], X[:, 0], X[:, 0])),
                feature_names=["length", "other", "width"])  # fmt: skip
    predicted = run("predict", "flowers-model.safetensors", "turned.csv").stdout.splitlines()
    assert predicted[1:] == labels.tolist()


def test_probabilities_add_up_and_choose_the_label(flowers):
    run("train", "flowers.csv", "--target", "kind", "--epochs", 3, "--no-plot", "-q")
    run("predict", "flowers-model.safetensors", "flowers.csv", "--probabilities", "-o", "out.csv")
    table = read_table("out.csv", "prediction")
    assert table.feature_names == tuple(f"probability_{c}" for c in ("aster", "lily", "rose"))
    np.testing.assert_allclose(table.X.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(table.X.argmax(axis=1), table.y)
    result = result_of("predict", "flowers-model.safetensors", "flowers.csv", "--probabilities")
    np.testing.assert_allclose(result["probabilities"], table.X, atol=1e-5)
    assert result["predictions"] == table.labels.tolist()


def test_regression_in_the_units_of_the_table(prices):
    _, y = prices
    result = result_of("train", "prices.csv", "-t", "price", "--hidden", "none", "--epochs", 100)
    assert result["task"] == "regression"
    assert result["test_r2"] > 0.99
    assert result["baseline_r2"] == pytest.approx(0, abs=0.1)
    assert result["test_rmse"] == pytest.approx(1000, rel=0.3)
    assert "R2" in run("train", "prices.csv", "-t", "price", "--epochs", 1, "--no-plot").stdout
    run("train", "prices.csv", "-t", "price", "--hidden", "none", "--epochs", 100, "-q")
    run("predict", "prices-model.safetensors", "prices.csv", "-o", "out.csv")
    predicted = read_table("out.csv", dtype="float64").X[:, 0]
    assert np.sqrt(np.mean((predicted - y) ** 2)) == pytest.approx(1000, rel=0.3)


def test_task_can_be_chosen():
    write_table("counts.csv", np.random.default_rng(0).normal(size=(90, 2)), np.arange(90) % 4)
    for task in ("classification", "regression"):
        result = result_of("train", "counts.csv", "-t", "target", "--task", task, "--epochs", 1)
        assert result["task"] == task


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".tsv"])
def test_other_formats(suffix):
    run("generate", "--data", "gaussians", "--rows", 900, "-o", f"data{suffix}", "-q")
    target = {".npy": ["-t", "20"], ".npz": [], ".tsv": ["-t", "target"]}[suffix]
    result = result_of("train", f"data{suffix}", *target, "--epochs", 5, "--no-plot")
    assert result["layer_sizes"] == [20, 64, 32, 3]
    predicted = run("predict", "data-model.safetensors", f"data{suffix}").stdout.splitlines()
    _, y = make_source("gaussians").sample(900)
    assert (np.array(predicted[1:], int) == y).mean() > 0.8


def test_table_without_header():
    write_table("data.csv", np.random.default_rng(0).normal(size=(60, 2)), np.arange(60) % 2)
    rows = Path("data.csv").read_text().splitlines()[1:]
    Path("bare.csv").write_text("\n".join(rows))
    assert "--no-header" in error_of("train", "bare.csv", "--target", "2")
    run("train", "bare.csv", "--target", "2", "--no-header", "--epochs", 1, "-q", "--no-plot")
    lines = run("predict", "bare-model.safetensors", "bare.csv", "--no-header").stdout.splitlines()
    assert len(lines) == 61


def test_fractions_cut_the_table(flowers):
    result = result_of("train", "flowers.csv", "-t", "kind", "--test-fraction", 0.5,
                       "--validation-fraction", 0.25, "--epochs", 1)  # fmt: skip
    assert result["rows"] == [75, 75, 150]


def test_split_is_a_partition_in_equal_proportions():
    labels = np.repeat([0, 1, 2], [500, 90, 10])
    parts = split(labels, 600, 0.2, 0.1, seed=0)
    assert [len(part) for part in parts] == [420, 60, 120]
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(600))
    for part, fraction in zip(parts, (0.7, 0.1, 0.2), strict=True):
        counts = np.bincount(labels[part], minlength=3)
        np.testing.assert_allclose(counts, fraction * np.array([500, 90, 10]), atol=1)
    again, other = split(labels, 600, 0.2, 0.1, seed=0), split(labels, 600, 0.2, 0.1, seed=1)
    np.testing.assert_array_equal(parts[2], again[2])
    assert not np.array_equal(parts[2], other[2])


@pytest.mark.parametrize("labels", [None, np.array([0, 1, 0, 1])])
def test_smallest_split(labels):
    parts = split(labels, 4, 0.2, 0.1, seed=0)
    assert [len(part) for part in parts] == [2, 1, 1]
    assert sorted(np.concatenate(parts)) == [0, 1, 2, 3]


def test_scaling_leaves_constant_columns_alone():
    X = np.column_stack((np.full(100, 0.1), np.arange(100.0), np.full(100, 1e6 / 3)))
    mean, scale = scaling(X)
    np.testing.assert_allclose(mean, [0.1, 49.5, 1e6 / 3])
    np.testing.assert_allclose(scale, [1, np.std(np.arange(100)), 1])


@pytest.mark.parametrize("name", ["digits", "breast_cancer"])
def test_accuracy_of_scikit_learn_with_the_same_settings(name):
    """Mean over three splits and initial weights: one row of the test is a point by itself."""
    from sklearn import datasets
    from sklearn.neural_network import MLPClassifier

    bunch = getattr(datasets, f"load_{name}")()
    write_table("data.csv", bunch.data, bunch.target_names[bunch.target])
    ours, theirs = [], []
    for seed in range(3):
        result = result_of(
            "train", "data.csv", "--target", "target", "--hidden", "64,32", "--optimizer", "adam",
            "--learning-rate", 0.001, "--schedule", "constant", "--batch-size", 32, "--epochs", 40,
            "--seed", seed, "--no-plot", "--task", "classification", "--no-early-stopping",
        )  # fmt: skip
        ours.append(result["test_accuracy"])
        problem = from_file(
            Path("data.csv"), "target", task="classification", header=True, dtype="float64",
            seed=seed, test_fraction=0.2, validation_fraction=0.1,
        )  # fmt: skip
        peer = MLPClassifier(
            (64, 32), alpha=0, batch_size=32, learning_rate_init=0.001, max_iter=40, tol=0,
            n_iter_no_change=40, random_state=seed,
        )  # fmt: skip
        mean, scale = problem.feature_mean, problem.feature_scale
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that 40 epochs were all it got
            peer.fit((problem.train.X - mean) / scale, problem.train.y)
        theirs.append(peer.score((problem.test.X - mean) / scale, problem.test.y))
    assert np.mean(ours) == pytest.approx(np.mean(theirs), abs=0.01)
    assert np.mean(ours) > 0.94


# The other commands


@pytest.mark.parametrize("suffix", [".csv", ".npy", ".npz"])
def test_generated_rows_are_those_of_the_source(suffix):
    result = result_of("generate", "--data", "rings", "--rows", 5000, "--seed", 3,
                       "-o", f"rings{suffix}", "-q")  # fmt: skip
    source = make_source("rings", seed=3)
    assert result["best_accuracy"] == source.best_accuracy
    table = read_table(f"rings{suffix}", None if suffix == ".npz" else -1)
    X, y = source.sample(5000)
    np.testing.assert_array_equal(table.X, X)
    np.testing.assert_array_equal(table.y, y)


def test_generate_says_how_well_the_data_can_be_learned():
    result = run("generate", "--rows", 10, "-o", "moons.csv")
    assert "best reachable accuracy   0.97" in result.stdout
    assert "moons.csv" in result.stdout


@pytest.mark.parametrize("command", ["train", "predict", "generate", "warmup"])
def test_help_pages(command):
    text = run(command, "--help").stdout
    assert text.startswith(f"Usage: main {command}")
    assert f"fastnn {command}" in text
    assert command in run("--help").stdout


def test_version_and_module():
    command = [sys.executable, "-m", "fastnn", "--version"]
    out = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, check=True)
    assert out.stdout.strip() == f"fastnn, version {fastnn.__version__}"


def test_help_loads_nothing_heavy():
    code = (
        "import sys; from click.testing import CliRunner; from fastnn.cli import main;"
        "assert CliRunner().invoke(main, ['--help']).exit_code == 0;"
        "heavy = {'numpy', 'numba', 'scipy', 'sklearn', 'matplotlib'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, check=True)


# Bad input


def test_missing_value_is_named_by_line_and_column(flowers):
    lines = Path("flowers.csv").read_text().splitlines()
    lines[4] = f",{lines[4].split(',', 1)[1]}"
    Path("flowers.csv").write_text("\n".join(lines))
    error = error_of("train", "flowers.csv", "--target", "kind")
    assert "flowers.csv, line 5, column 'width': missing value" in error


def test_bad_tables(flowers):
    assert "the columns are 'width', 'length', 'kind'" in error_of(
        "train", "flowers.csv", "-t", "sort"
    )
    error = error_of("train", "flowers.csv")
    assert error.startswith("Error: --target COLUMN is missing")
    assert "the columns are 'width', 'length', 'kind'" in error
    np.savez("bare.npz", np.zeros((9, 2)))
    assert "Give --target, one of x0, x1" in error_of("train", "bare.npz")
    Path("tiny.csv").write_text("x,y\n1,a\n2,b\n")
    assert "2 rows are too few" in error_of("train", "tiny.csv", "-t", "y")
    Path("one.csv").write_text("x,y\n" + "1,a\n" * 9)
    assert "one class only, 'a'" in error_of("train", "one.csv", "-t", "y")
    Path("same.csv").write_text("x,y\n" + "1,0.5\n" * 9)
    assert "same number in every training row" in error_of(
        "train", "same.csv", "-t", "y", "--task", "regression"
    )
    Path("empty.csv").write_text("")
    assert "empty" in error_of("train", "empty.csv", "-t", "y")
    Path("notes.txt").write_text("x")
    assert "a table is .csv" in error_of("train", "notes.txt", "-t", "y")
    assert "does not exist" in error_of("train", "nowhere.csv", "-t", "y")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--activation", "swoosh"], "'swoosh' is not one of identity, logistic, tanh"),
        (["--optimizer", "adma"], "'adma' is not one of sgd, momentum"),
        (["--schedule", "x"], "not one of constant"),
        (["--data", "iris"], "'iris' is not one of logistic"),
        (["--dtype", "float16"], "not one of float32, float64"),
        (["--hidden", "64,x"], "'64,x' is not a list of widths"),
        (["--hidden", "0"], "not a list of widths"),
        (["--hidden", ""], "not a list of widths"),
        (["--learning-rate", "0"], "is not in the range"),
        (["--learning-rate", "nan"], "nan"),
        (["--learning-rate", "inf"], "is not in the range"),
        (["--batch-size", "0"], "is not in the range"),
        (["--rows", "-5"], "is not in the range"),
        (["--rows", "9" * 30], "is not in the range"),
        (["--batch-size", "9" * 30], "is not in the range"),
        (["--epochs", "many"], "not a valid integer"),
        (["--seed", "-1"], "is not in the range"),
        (["--output", "model.png"], "must end in .safetensors"),
        (["--output", "nowhere/model.safetensors"], "there is no folder 'nowhere'"),
        (["--target", "y"], "--target is for a FILE"),
        (["--task", "regression"], "--task is for a FILE"),
        (["--no-header"], "--no-header is for a FILE"),
        (["--test-fraction", "0.1"], "--test-fraction is for a FILE"),
        (["--validation-fraction", "0.1"], "--validation-fraction is for a FILE"),
        (["--patience", "3"], "--patience is for --early-stopping"),
        (["--replicas", "2"], "--replicas is for --batch-size 1 and an --optimizer of sgd, mom"),
        (["--replicas", "2", "--batch-size", "1"], "--replicas is for --batch-size 1 and an"),
        (["--n-jobs", "0"], "--n-jobs must not be 0"),
        (["--bogus"], "No such option"),
    ],
)
def test_bad_options(arguments, message):
    assert message in error_of("train", *arguments)
    assert not list(Path().iterdir())


def test_options_of_synthetic_data_are_refused_for_a_file(flowers):
    for option, value in (("--rows", 100), ("--data", "moons")):
        error = error_of("train", "flowers.csv", "-t", "kind", option, value)
        assert f"{option} is for synthetic data" in error


def test_bad_predictions(flowers, prices):
    run("train", "flowers.csv", "-t", "kind", "--epochs", 1, "-q", "--no-plot")
    run("train", "prices.csv", "-t", "price", "--epochs", 1, "-q", "--no-plot")
    model = "flowers-model.safetensors"
    assert "not a fastnn model" in error_of("predict", "flowers.csv", "flowers.csv")
    assert "'width' is not a column" in error_of("predict", model, "prices.csv")
    assert "must end in .csv" in error_of("predict", model, "flowers.csv", "-o", "out.npy")
    assert "this model is a regression" in error_of(
        "predict", "prices-model.safetensors", "prices.csv", "--probabilities"
    )
    fastnn.save("bare.safetensors", fastnn.Network([2, 1]))
    assert "a bare network" in error_of("predict", "bare.safetensors", "flowers.csv")


def test_a_name_that_looks_like_a_number_is_no_position():
    X = np.random.default_rng(0).normal(size=(50, 2))
    write_table("a.csv", X, np.arange(50) % 2, feature_names=["0", "1"])
    run("train", "a.csv", "-t", "target", "--epochs", 1, "-q", "--no-plot")
    write_table("b.csv", X, feature_names=["u", "v"])
    assert "there is no column '0'" in error_of("predict", "a-model.safetensors", "b.csv")


def test_full_disk_is_a_failure_not_bad_input(monkeypatch):
    def full(self, data):
        raise OSError(28, "No space left on device", str(self))

    monkeypatch.setattr(Path, "write_bytes", full)
    result = run("train", "--rows", 500, "--epochs", 1, "-q", code=1)
    assert "No space left on device" in result.stderr
    assert len(result.stderr.splitlines()) == 1


# Trouble on the way


def test_divergence_keeps_the_last_finite_model():
    arguments = ["train", "--rows", 2000, "--optimizer", "sgd", "--learning-rate", "1e30", "-q"]
    result = run(*arguments, code=1)
    assert result.stderr.startswith("Error: training diverged in epoch 1 with learning rate 1e+30")
    assert np.isfinite(fastnn.load("moons-model.safetensors").network.parameters).all()
    assert result_of(*arguments, code=1)["stopped"] == "diverged"


def interrupted(arguments, ready, **environment):
    """Start a long run, send SIGINT once a line begins with ``ready``; return (code, stderr).

    The limit of a minute only tells a run that goes on from one that was stopped.
    """
    process = subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        env=ENVIRONMENT | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        for line in process.stderr:
            if line.startswith(ready):
                break
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    return process.returncode, out, err


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT for one process")
def test_interrupt_keeps_the_model_so_far():
    arguments = ["-m", "fastnn", "train", "--rows", 50_000, "--epochs", 1_000_000, "--json"]
    code, out, err = interrupted([*arguments, "-o", "net.safetensors"], "epoch 1/")
    assert code == 130
    assert "The model so far is in net.safetensors" in err
    assert "Traceback" not in err
    result = json.loads(out)
    assert result["stopped"] == "interrupted"
    assert result["epochs"] >= 1
    X, y = make_source("moons").rows(500_000, 510_000)
    assert (fastnn.load("net.safetensors").predict(X) == y).mean() > 0.95


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT for one process")
def test_interrupt_while_kernels_compile(tmp_path):
    arguments = ["-m", "fastnn", "train", "--rows", 1000, "--epochs", 1_000_000]
    code, _, err = interrupted(arguments, "Network", NUMBA_CACHE_DIR=str(tmp_path / "empty"))
    assert code == 130
    assert "Traceback" not in err
    assert fastnn.load("moons-model.safetensors").feature_names == ("x0", "x1")


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT for one process")
def test_last_resort_ends_a_process_that_is_deaf():
    """Its own handler raises nothing, so that a signal before the deaf call is no way out."""
    script = (
        "import hashlib, signal, sys\n"
        "signal.signal(signal.SIGINT, lambda *_: None)\n"
        "from fastnn.cli.interrupt import LastResort\n"
        "with LastResort(lambda: print('saved', flush=True), 7):\n"
        "    print('ready', file=sys.stderr, flush=True)\n"
        "    hashlib.pbkdf2_hmac('sha256', b'', b'', 2**31 - 1)\n"
    )
    code, out, _ = interrupted(["-c", script], "ready")
    assert (code, out) == (7, "saved\n")


@pytest.mark.skipif(sys.platform == "win32", reason="pipes differ")
def test_broken_pipe_is_quiet(prices):
    run("train", "prices.csv", "-t", "price", "--epochs", 1, "-q", "--no-plot")
    write_table("many.csv", np.zeros((20_000, 3)), feature_names=["a", "b", "c"])
    process = subprocess.Popen(
        [sys.executable, "-m", "fastnn", "predict", "prices-model.safetensors", "many.csv"],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process.stdout.close()
    with process:
        assert process.stderr.read() == b""
