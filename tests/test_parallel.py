"""Threads: the same numbers however many there are, whoever is late, whatever goes wrong."""

import threading
import warnings

import joblib
import numpy as np
import pytest
from teams import do_without_a_thread, hide_their_number, wait_for_the_first

from fastnn import MLPClassifier, MLPRegressor, Network, parallel
from fastnn.kernels.stages import ABORTED
from fastnn.kernels.team import train_parts_
from fastnn.parallel import Team, count_threads, team_of
from fastnn.training import OptimizerState, make_rule

pytestmark = pytest.mark.kernel

N = 150
RULES = {
    "adam": {"l1": 1e-4, "l2": 1e-3},
    "adamw": {"clip_norm": 0.05},
    "momentum": {"dropout": 0.3, "input_dropout": 0.1},
    "rmsprop": {"reduction": "sum"},
    "sgd": {"sample_weight": np.linspace(0, 2, N)},
}


@pytest.fixture
def eager(monkeypatch):
    """Let the smallest batches be shared, by as many threads as are asked for."""
    monkeypatch.setattr(joblib, "cpu_count", lambda *_, **__: 8)
    monkeypatch.setattr(parallel, "_BATCH_FLOP", 0)
    monkeypatch.setattr(parallel, "_PART_FLOP", 1)
    monkeypatch.setattr(parallel, "_CALL_FLOP", 1)
    monkeypatch.setattr(parallel, "_ROWS", 16)


def data(sizes, dtype):
    rng = np.random.default_rng(1)
    return rng.standard_normal((N, sizes[0])).astype(dtype), rng.integers(0, sizes[-1], N)


def fitted(n_jobs, sizes=(5, 9, 7, 3), dtype="float64", batch_size=70, optimizer="adam", **options):
    X, y = data(sizes, dtype)
    net = Network(sizes, activation="tanh", loss="cross_entropy", dtype=dtype, random_state=0)
    history = net.fit(
        X, y, optimizer=optimizer, batch_size=batch_size, epochs=2, learning_rate=0.01,
        n_jobs=n_jobs, **options,
    )  # fmt: skip
    return net.parameters, history.loss


@pytest.mark.parametrize("batch_size", [70, None])
@pytest.mark.parametrize("optimizer", RULES)
def test_the_number_of_threads_cannot_be_seen(optimizer, batch_size, precision, eager):
    options = {"optimizer": optimizer, "batch_size": batch_size, "dtype": precision}
    options |= RULES[optimizer]
    hide_their_number(fitted, precision, **options)


def test_batches_of_few_rows_and_odd_ones(eager):
    for batch_size in (64, 67, 149):
        one, _ = fitted(1, batch_size=batch_size)
        many, _ = fitted(4, batch_size=batch_size)
        np.testing.assert_array_equal(many, one)


def test_a_batch_in_many_slices(eager, monkeypatch):
    whole, _ = fitted(1, batch_size=None)
    monkeypatch.setattr("fastnn.training._SLICE_FLOP", 6e3)
    sliced, _ = fitted(1, batch_size=None)
    np.testing.assert_allclose(sliced, whole, rtol=1e-9)


def arguments(members, tasks=2):
    """Return a network, and what a team of its threads is called with."""
    X, y = data((5, 9, 3), "float64")
    net = Network([5, 9, 3], loss="cross_entropy", dtype="float64", random_state=0)
    rows, targets, _ = net._check(X, y, None)
    n = net.parameters.size
    state = OptimizerState.fresh("adam", net.parameters)
    totals = np.zeros(2)
    return net, totals, (
        net.plan, net.parameters, rows, targets, np.empty(0, np.int64), 0, N, 64, 0.0,
        make_rule("adam"), 0.01, np.zeros((tasks, n)), state.slots, 0, True,
        np.empty((members - 1) * n), np.zeros(tasks, np.int64), np.empty((2, tasks)), 10, totals,
    )  # fmt: skip


@pytest.fixture(scope="module")
def alone():
    net, totals, args = arguments(1)
    Team(1).run(train_parts_, 1, 2, *args)
    return net.parameters, totals


def test_a_thread_that_never_comes_is_done_without(alone, monkeypatch):
    monkeypatch.setattr("fastnn.kernels.team.START", 100)  # with the JIT off
    do_without_a_thread(train_parts_, arguments(2), alone)


def test_the_first_thread_may_come_last(alone):
    wait_for_the_first(train_parts_, arguments(2), alone)


def test_what_is_done_is_returned_while_another_thread_has_yet_to_leave():
    leave, left = threading.Event(), []

    def kernel(member, members, state):
        if member == 1:
            leave.wait()
            left.append(member)

    with team_of(2) as team:
        team.run(kernel, 2, 2, closed=True)
        assert left == []
        leave.set()
    assert left in ([1], [])  # the second where it had not begun


@pytest.mark.parametrize("closed", [False, True])
def test_an_error_in_a_thread_ends_the_others(closed):
    def kernel(member, members, state):
        if member == 1:
            raise MemoryError("no room")
        while not state[ABORTED]:
            pass

    with team_of(2) as team, pytest.raises(MemoryError, match="no room"):
        team.run(kernel, 2, 2, closed=closed)


@pytest.mark.parametrize("closed", [False, True])
def test_an_interrupt_ends_the_others(closed):
    def kernel(member, members, state):
        if member == 0:
            raise KeyboardInterrupt
        while not state[ABORTED]:
            pass

    with team_of(2) as team, pytest.raises(KeyboardInterrupt):
        team.run(kernel, 2, 2, closed=closed)


def test_work_is_shared_once_each_and_ends_at_an_error():
    done = []
    with team_of(3) as team:
        team.share(done.append, 20)
        assert sorted(done) == list(range(20))

        def work(i):
            if i == 2:
                raise RuntimeError("third")
            done.append(i)

        done.clear()
        with pytest.raises(RuntimeError, match="third"):
            team.share(work, 1_000_000)
        assert len(done) < 1_000_000


@pytest.mark.parametrize("n_jobs", [1, 2, -1])
def test_predictions_and_loss(n_jobs, precision, eager, monkeypatch):
    monkeypatch.setattr("fastnn.training._PIECE", 13)
    X, y = data((5, 9, 3), precision)
    net = Network([5, 9, 3], loss="cross_entropy", dtype=precision, random_state=0)
    np.testing.assert_array_equal(net.forward(X, n_jobs=n_jobs), net.forward(X))
    np.testing.assert_array_equal(net.scores(X, n_jobs=n_jobs), net.scores(X))
    assert net.loss(X, y, n_jobs=n_jobs) == net.loss(X, y)


def test_what_n_jobs_means(monkeypatch):
    monkeypatch.setattr(joblib, "cpu_count", lambda *_, **__: 4)
    monkeypatch.setattr(joblib._parallel_backends, "cpu_count", lambda *_, **__: 4)
    assert [count_threads(n) for n in (None, 1, 2, 9, -1, -2, -9)] == [None, 1, 2, 4, 4, 3, 1]
    with joblib.parallel_config(n_jobs=3):
        assert count_threads(None) == 3


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("model", [MLPClassifier, MLPRegressor])
def test_estimators(model, solver, eager, monkeypatch):
    monkeypatch.setattr("fastnn.training._PIECE", 13)
    X, y = data((5, 3), "float64")
    settings = {"solver": solver, "batch_size": 70, "max_iter": 4, "random_state": 0}
    settings |= {"tol": 0, "early_stopping": solver == "adam", "alpha": 0.1}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that four iterations are not enough
        none, one, two = (
            model(hidden_layer_sizes=(9, 7), n_jobs=n_jobs, **settings).fit(X, y)
            for n_jobs in (None, 1, 2)
        )
    for a, b, c in zip(none.coefs_, one.coefs_, two.coefs_, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-7, atol=1e-9)
        np.testing.assert_array_equal(c, b)
    assert one.loss_ == two.loss_
    np.testing.assert_array_equal(two.predict(X), one.predict(X))


def test_estimators_check_n_jobs():
    with pytest.raises(ValueError, match="not be 0"):
        MLPClassifier(n_jobs=0).fit([[0.0], [1.0]], [0, 1])
    with pytest.raises(ValueError, match="'n_jobs' parameter of MLPRegressor must be"):
        MLPRegressor(n_jobs="all").fit([[0.0], [1.0]], [0, 1])


@pytest.mark.parametrize(
    ("n_jobs", "error", "found"),
    [(0, ValueError, "not be 0"), (1.5, TypeError, "got 1.5"), (True, TypeError, "got True")],
)
def test_bad_n_jobs(n_jobs, error, found):
    net = Network([1, 1])
    with pytest.raises(error, match=found):
        net.fit([[1.0]], [1.0], n_jobs=n_jobs)
    with pytest.raises(error, match=found):
        net.forward([[1.0]], n_jobs=n_jobs)
