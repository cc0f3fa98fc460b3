"""Exact per-sample SGD: the row form is NumPy's sequence of weights, and so is the blocked form."""

import numpy as np
import pytest
import reference
import scipy.sparse

from fastnn import Network, training
from fastnn.kernels.blocked import block_rows
from fastnn.kernels.jit import JIT, kernel

pytestmark = pytest.mark.kernel
#: Rows of a block, as many as there is room for on any CPU.
BLOCK = 6


def fit(monkeypatch, block, sizes, precision, l2, weight, activation="tanh"):
    """Return parameters and losses after two epochs in blocks of a size."""
    monkeypatch.setattr(training, "BLOCK_ROWS", block)
    rng = np.random.default_rng(5)
    n = 3 * BLOCK + 5 if JIT else BLOCK + 3
    X, y = rng.normal(size=(n, sizes[0])), rng.integers(0, sizes[-1], n)
    net = Network(
        sizes, activation=activation, loss="cross_entropy", dtype=precision, random_state=0
    )
    history = net.fit(
        X, y, epochs=2, l2=l2, learning_rate=0.05, sample_weight=rng.random(n) if weight else None
    )
    return net.parameters, history.loss


#: Layers whose weights are by rows and by columns, and are read in strips.
LARGE = (3, 250, 264, 265, 250, 2)
#: Layers by rows and by columns, with and without padding, of one vector and of several.
SHAPES = [(1, 1), (20, 1), (3, 2), (2, 16, 2), (37, 5), (20, 33, 17, 3), (5, 16, 48, 1, 4)]
SHAPES += [(20, 33, 2)]  # rows that are made at once, as in two of those that are wide
#: Those that diverge at a high rate.
WIDE = [LARGE, (40, 24, 11), (30, 64, 35)]


@pytest.mark.parametrize("l2", [0, 0.01])
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("sizes", SHAPES + WIDE)
def test_each_row_sees_what_the_last_one_left(sizes, sparse, l2, precision, eps, rng):
    n = 25 if JIT else 7
    X = np.where(rng.random((n, sizes[0])) < 0.7, rng.normal(size=(n, sizes[0])), 0)
    X = X.astype(precision).astype(float)
    weight = rng.integers(1, 4, n).astype(float)
    rate = 0.01 if sizes in WIDE else 0.1
    for loss in ("cross_entropy", "log_loss", "squared_error"):
        if loss == "cross_entropy" and sizes[-1] > 1:
            y = rng.integers(0, sizes[-1], n)
        else:
            y = rng.random((n, sizes[-1])).astype(precision).astype(float)
            loss = "squared_error" if loss == "cross_entropy" else loss
        net = Network(sizes, activation="logistic", loss=loss, dtype=precision, random_state=0)
        net.parameters[:] *= 2
        expected = reference.Net.of(net)
        history = net.fit(
            scipy.sparse.csr_array(X) if sparse else X, y, shuffle=False, l2=l2,
            learning_rate=rate, sample_weight=weight,
        )  # fmt: skip
        mean = expected.train(
            X, y, np.arange(n), batch_size=1, rate=rate, l2=l2, weight=weight, reduction="sum"
        )
        size = np.abs(expected.flat()).max()
        np.testing.assert_allclose(
            net.parameters, expected.flat(), rtol=0, atol=100 * eps * max(size, 2)
        )
        if l2 == 0:  # the reference's objective has the penalty in it
            np.testing.assert_allclose(history.loss[-1], mean, rtol=200 * eps)


@pytest.mark.parametrize("weight", [False, True])
@pytest.mark.parametrize("size", [1, 20, 1000])
def test_scores_of_any_size(size, weight, precision, eps, rng):
    """Sums of exponentials that overflow, underflow, or make their product do so."""
    n = 40 if JIT else 12
    X, y = rng.normal(size=(n, 3)).astype(precision).astype(float), rng.integers(0, 4, n)
    X[:, 0] = np.where(rng.random(n) < 0.5, 3, -3)
    weights = rng.random(n).astype(precision).astype(float) if weight else np.ones(n)
    net = Network([3, 4], loss="cross_entropy", dtype=precision, random_state=0)
    net.weights[0][0] = size
    expected = reference.Net.of(net)
    history = net.fit(
        X, y, shuffle=False, learning_rate=0.1, sample_weight=weights if weight else None
    )
    mean = expected.train(
        X, y, np.arange(n), batch_size=1, rate=0.1, weight=weights, reduction="sum"
    )
    np.testing.assert_allclose(net.parameters, expected.flat(), rtol=0, atol=200 * eps * size)
    np.testing.assert_allclose(history.loss[-1], mean, rtol=0, atol=200 * eps * size)


@pytest.mark.parametrize("weight", [False, True])
@pytest.mark.parametrize("size", [1, 20, 300])
@pytest.mark.parametrize("n_out", [2, 3, 7, 18])
@pytest.mark.parametrize(("activation", "n_in"), [("tanh", 3), ("logistic", 20)])
def test_scores_of_any_size_above_a_hidden_layer(
    activation, n_in, n_out, size, weight, precision, eps, rng
):
    """Rows whose output layer takes its step at once, among others whose scores are too large."""
    n = 30 if JIT else 9
    X, y = rng.normal(size=(n, n_in)), rng.integers(0, n_out, n)
    X = np.where(rng.random((n, 1)) < 0.5, X, 0.1 * X).astype(precision).astype(float)
    weights = rng.random(n).astype(precision).astype(float) if weight else np.ones(n)
    sizes = [n_in, 33, n_out]
    net = Network(
        sizes, activation=activation, loss="cross_entropy", dtype=precision, random_state=0
    )
    net.weights[1][:] *= size
    expected = reference.Net.of(net)
    history = net.fit(
        X, y, shuffle=False, learning_rate=0.01, sample_weight=weights if weight else None
    )
    mean = expected.train(
        X, y, np.arange(n), batch_size=1, rate=0.01, weight=weights, reduction="sum"
    )
    atol = 200 * eps * size * size
    np.testing.assert_allclose(net.parameters, expected.flat(), rtol=0, atol=atol)
    np.testing.assert_allclose(history.loss[-1], mean, rtol=0, atol=atol)


@pytest.mark.parametrize("weight", [False, True])
@pytest.mark.parametrize("l2", [0, 0.03, 15])
@pytest.mark.parametrize(
    ("sizes", "block"),
    [((70, 33, 5), BLOCK), ((64, 9), 2), ((5, 20, 4, 3), BLOCK), ((140, 3, 2), 3)],
)
@pytest.mark.parametrize("activation", ["tanh", "logistic"])
def test_blocks_change_nothing_but_rounding(
    monkeypatch, activation, sizes, block, l2, weight, precision, eps
):
    blocked, blocked_loss = fit(monkeypatch, block, sizes, precision, l2, weight, activation)
    rowwise, rowwise_loss = fit(monkeypatch, 1, sizes, precision, l2, weight, activation)
    np.testing.assert_allclose(blocked, rowwise, rtol=0, atol=64 * eps)
    np.testing.assert_allclose(blocked_loss, rowwise_loss, rtol=64 * eps)


@pytest.mark.parametrize("weight", [False, True])
@pytest.mark.parametrize("l2", [0, 0.03])
@pytest.mark.parametrize("optimizer", ["momentum", "nesterov"])
@pytest.mark.parametrize(
    "sizes", [(3, 2), (20, 33, 17, 3), (70, 33, 5), (5, 16, 1), *[LARGE][:JIT]]
)
def test_momentum_is_that_of_the_optimizer(
    monkeypatch, sizes, optimizer, l2, weight, precision, eps
):
    """By rows and by blocks, over several calls, as `train_batches_` makes it step by step."""
    rng = np.random.default_rng(7)
    n = 2 * BLOCK + 5 if JIT else BLOCK + 2
    X = rng.normal(size=(n, sizes[0]))
    y = rng.integers(0, sizes[-1], n) if sizes[-1] > 1 else rng.normal(size=n)
    weights = rng.random(n) if weight else None
    found = []
    for block, linear in ((1, True), (BLOCK, True), (1, False)):
        monkeypatch.setattr(training, "BLOCK_ROWS", block)
        if not linear:
            monkeypatch.setattr(training, "is_linear", lambda *_: False)
        loss = "cross_entropy" if sizes[-1] > 1 else "squared_error"
        net = Network(sizes, activation="tanh", loss=loss, dtype=precision, random_state=0)
        net.fit(
            X, y, epochs=3, optimizer=optimizer, momentum=0.7, l2=l2, learning_rate=0.01,
            sample_weight=weights,
        )  # fmt: skip
        found.append(net.parameters)
    for parameters in found[:2]:
        np.testing.assert_allclose(parameters, found[2], rtol=0, atol=64 * eps)


@kernel
def chosen(n_in, n_out, lanes, momentum):
    return block_rows(n_in, n_out, lanes, 64 // lanes, momentum, BLOCK)


@pytest.mark.parametrize(
    ("n_in", "n_out", "lanes", "blocked"),
    [
        (2, 16, 16, False),
        (20, 32, 16, True),
        (8, 128, 16, True),
        (64, 16, 16, True),
        (784, 8, 16, False),
        (16, 16, 16, False),
        (3000, 8, 16, True),
        (300, 16, 8, True),
        (48, 64, 16, True),
        (16, 256, 16, True),
        (784, 16, 16, True),
        (784, 128, 16, True),
        (784, 128, 8, True),
    ],
)
def test_the_blocked_form_is_taken_where_it_was_measured_to_pay(n_in, n_out, lanes, blocked):
    assert chosen(n_in, n_out, lanes, False) == (BLOCK if blocked else 1)
    if blocked:
        assert chosen(n_in, n_out, lanes, True) == BLOCK
