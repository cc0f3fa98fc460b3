"""Threads that share the units of wide layers: the same numbers however many there are."""

import itertools

import numpy as np
import pytest
import scipy.sparse
from teams import (
    do_without_a_thread,
    hide_their_number,
    share_eagerly,
    wait_for_the_first,
)

from fastnn import Network, parallel
from fastnn.kernels.share_team import train_shares_
from fastnn.kernels.shares import BIASES, BLOCKS, CUTS, SUMS, UNITS, WEIGHTS, layout
from fastnn.kernels.stages import stages_state
from fastnn.parallel import Team, count_shares, team_of
from fastnn.training import OptimizerState, make_rule

pytestmark = pytest.mark.kernel

N = 50
CASES = {
    "adam": {"l1": 1e-4, "l2": 1e-3, "sizes": (5, 11, 9, 6, 3)},
    "adamw": {"activation": "tanh", "sizes": (5, 10, 3)},
    "momentum": {"sizes": (5, 3, 10, 3), "activation": ("relu", "logistic")},
    "rmsprop": {"reduction": "sum", "sizes": (3, 8, 8, 3), "shuffle": False},
    "sgd": {"sample_weight": np.linspace(0, 2, N), "sizes": (5, 12, 9, 7), "sparse": True},
}


@pytest.fixture(params=[2, 3])
def eager(monkeypatch, request):
    """Let the smallest batches be shared by their units, by as many threads as are asked for."""
    share_eagerly(monkeypatch, request.param)


def fitted(n_jobs, *, sizes, dtype, activation="relu", batch_size=15, sparse=False, **options):
    rng = np.random.default_rng(1)
    X, y = rng.standard_normal((N, sizes[0])).astype(dtype), rng.integers(0, sizes[-1], N)
    if sparse:
        X = scipy.sparse.csr_matrix(np.maximum(X, 0))
    net = Network(sizes, activation=activation, loss="cross_entropy", dtype=dtype, random_state=0)
    history = net.fit(
        X, y, batch_size=batch_size, epochs=2, learning_rate=0.01, n_jobs=n_jobs, **options
    )
    return net.parameters, history.loss


@pytest.mark.parametrize("optimizer", CASES)
def test_the_number_of_threads_cannot_be_seen(optimizer, precision, eager):
    options = CASES[optimizer] | {"optimizer": optimizer, "dtype": precision}
    hide_their_number(fitted, precision, **options)


@pytest.mark.parametrize("sizes", [(3, 70, 5), (4, 16, 33, 20, 2), (2, 5, 7, 1)])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_everything_has_a_place_of_its_own(sizes, count):
    rows, sizes = 7, np.array(sizes)
    places, parameters, units, sums = layout(sizes, count, rows)
    widths = np.diff(places[CUTS], axis=0)
    hidden = range(1, len(sizes) - 1)
    np.testing.assert_array_equal(widths.sum(axis=0)[1:], sizes[1:])
    assert all((places[CUTS][1:-1, l] % UNITS == 0).all() for l in hidden)
    blocks, parts = [], [(places[SUMS][-1, -1], rows * sizes[-1])]
    for share in range(count):
        own = []
        for l in range(len(sizes) - 1):
            n_in = sizes[0] if l == 0 else widths[share, l]
            n_out = widths[share, 1] if l == 0 else sizes[l + 1]
            own += [(places[WEIGHTS][share, l], n_in * n_out)]
            own += [(places[BIASES][share, l], widths[share, l + 1])]
        apart(own, parameters)
        blocks += [(places[BLOCKS][share, l], rows * widths[share, l]) for l in hidden]
        parts += [(places[SUMS][share, l + 1], rows * sizes[l + 1]) for l in hidden]
    apart(blocks, units)
    apart(parts, sums)


def apart(spans, size):
    """Hold that spans of numbers start at lines of the cache and do not meet."""
    spans = sorted((int(start), int(start + count)) for start, count in spans)
    assert all(start % 16 == 0 for start, _ in spans)
    assert all(stop < start for (_, stop), (start, _) in itertools.pairwise(spans))
    assert spans[-1][1] <= size


def test_which_networks_have_shares():
    def number(sizes, batch_size, *, activation="relu", **options):
        plan = Network(sizes, activation=activation, loss="cross_entropy").plan
        with team_of(2) as team:
            return count_shares(team, plan, make_rule("adam", **options), batch_size)

    assert number([784, 256, 128, 10], 128) == 2
    assert number([64, 128, 64, 10], 64) == 2
    assert number([784, 256, 128, 10], 128, clip_norm=1.0) == 1
    assert number([784, 10], 128) == 1  # no hidden units
    assert number([20, 100, 2], 200) == 1  # little to do
    assert number([100, 100, 100, 100, 2], 256) == 1  # more scores than parameters
    plan = Network([784, 256, 128, 10]).plan
    assert count_shares(None, plan, make_rule("adam"), 128) == 1


def arguments():
    """Return a network, and what a team of its threads is called with."""
    rng = np.random.default_rng(1)
    X, y = rng.standard_normal((N, 5)), rng.integers(0, 3, N)
    net = Network([5, 17, 18, 3], loss="cross_entropy", dtype="float64", random_state=0)
    rows, targets, _ = net._check(X, y, None)
    state = OptimizerState.fresh("adam", net.parameters)
    places, size, units, sums = layout(net.plan.sizes, 2, 15)
    totals = np.zeros((1, 2))
    return net, totals, (
        net.plan, net.parameters, rows, targets, np.empty(0, np.int64), 0, N, 15,
        make_rule("adam"), np.array([0.01]), 0, state.slots, 0, places, np.empty((2, 4, size)),
        np.empty((3, units)), np.empty(sums), np.empty((2, 2)), 10, totals, np.zeros(1, np.int64),
    )  # fmt: skip


@pytest.fixture(scope="module")
def alone():
    net, totals, args = arguments()
    Team(1).run(train_shares_, 1, 2, *args)
    return net.parameters, totals


def test_a_thread_that_never_comes_is_done_without(alone, monkeypatch):
    monkeypatch.setattr("fastnn.kernels.share_team.START", 100)  # with the JIT off
    do_without_a_thread(train_shares_, arguments(), alone)


def test_the_first_thread_may_come_last(alone):
    wait_for_the_first(train_shares_, arguments(), alone)


class Deserted(Team):
    """A team whose first thread waits for others in vain; ``made`` is what its calls made."""

    made = ()

    def run(self, kernel, members, tasks, *args, closed=False):
        assert closed
        assert members == 2
        kernel(*args, 0, members, stages_state(tasks))
        self.made = [*self.made, int(args[-1][0])]


@pytest.mark.parametrize("shuffled", [False, True])
@pytest.mark.parametrize("batch_size", [15, N])
def test_the_first_thread_alone_ends_with_an_epoch(batch_size, shuffled, monkeypatch):
    share_eagerly(monkeypatch, 2)
    monkeypatch.setattr("fastnn.kernels.share_team.START", 100)  # with the JIT off
    monkeypatch.setattr("fastnn.parallel._PATIENCE", 10)
    order = np.random.default_rng(2).permuted(np.tile(np.arange(N), (4, 1)), axis=1).ravel()
    order, apart = (order, N) if shuffled else (order[:N], 0)
    found = []
    for team in Team(1), Deserted(2):
        net, _, args = arguments()
        totals, slots = np.zeros((4, 2)), args[11]
        parallel.train_shares(
            team, *args[:4], order, 0, N, batch_size, args[8], [0.01, 0.02, 0.03, 0.04], apart,
            slots, 0, totals,
        )  # fmt: skip
        found.append((net.parameters.tolist(), slots.tolist(), totals.tolist()))
    assert found[0] == found[1]
    assert sum(team.made) == 4
    assert len(team.made) > 1
