"""Exact per-sample SGD of networks at most four wide, against NumPy in double precision."""

import numpy as np
import pytest
import reference

from fastnn import DivergenceWarning, Network
from fastnn.kernels import activations, losses
from fastnn.kernels.jit import JIT
from fastnn.kernels.slim import SLIM

pytestmark = pytest.mark.kernel

N = 40 if JIT else 12
SHAPES = [(1, 1, 2), (3, 3, 2), (4, 4, 4, 4), (2, 3, 1), (1, 1, 1, 1, 1, 2), (4, 3), (3, 1)]
ATOL = {"float64": 1e-12, "float32": 5e-6}


def compare(net, X, y, rate=0.03, epochs=2, weight=None, l2=0.0):
    """Train both, and compare parameters and, without a penalty, losses."""
    double, start = reference.Net.of(net), net.parameters.copy()
    history = net.fit(
        X, y, learning_rate=rate, epochs=epochs, shuffle=False, sample_weight=weight, l2=l2
    )
    options = {"batch_size": 1, "rate": rate, "weight": weight, "l2": l2, "memory": {}}
    expected = [double.train(X, y, np.arange(len(X)), **options) for _ in range(epochs)]
    atol = ATOL[net.dtype.name] * max(1, np.abs(double.flat()).max())
    np.testing.assert_allclose(net.parameters, double.flat(), rtol=0, atol=atol)
    assert np.abs(net.parameters - start).max() > 1e-4
    if l2 == 0:
        np.testing.assert_allclose(history.loss, expected, rtol=atol)


def problem(sizes, seed=0, **options):
    """Return a network, rows and classes."""
    rng = np.random.default_rng(seed)
    X, y = rng.normal(size=(N, sizes[0])), rng.integers(0, max(sizes[-1], 2), N)
    X = X.astype(options.get("dtype", "float64")).astype(float)
    options = {"loss": "cross_entropy" if sizes[-1] > 1 else "log_loss"} | options
    net = Network(sizes, random_state=seed, **({"dtype": "float64"} | options))
    net.parameters += rng.uniform(0, 0.1, net.parameters.size)  # no unit of 0, no relu at its edge
    return net, X, y


@pytest.mark.parametrize("dtype", ATOL)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("sizes", SHAPES)
def test_every_shape(sizes, weighted, dtype):
    assert max(sizes) <= SLIM
    net, X, y = problem(sizes, dtype=dtype)
    weight, l2 = (np.linspace(0.5, 2, N), 0.1) if weighted else (None, 0.0)
    compare(net, X, y, weight=weight, l2=l2)


@pytest.mark.parametrize("activation", activations.TABLE)
def test_every_activation(activation):
    net, X, y = problem((3, 2, 3, 2), activation=activation)
    compare(net, X, y, rate=0.01)
    mixed, X, y = problem((2, 3, 4, 3), seed=1, activation=(activation, "relu"))
    compare(mixed, X, y, rate=0.01)


@pytest.mark.parametrize("loss", losses.TABLE)
def test_every_loss(loss):
    net, X, y = problem((3, 4, 2), loss=loss)
    targets = losses.TABLE[loss].targets
    if targets != "class":
        y = np.random.default_rng(2).uniform(0, 1, (N, 2))
    compare(net, X, y, rate=0.01)


@pytest.mark.parametrize("weighted", [False, True])
def test_scores_whose_exponentials_overflow(weighted):
    net, X, y = problem((3, 4, 3))
    net.weights[1][:] *= 1000
    weight = np.linspace(0.5, 2, N) if weighted else None
    compare(net, X, y, rate=1e-3, epochs=1, weight=weight)


def test_rows_split_among_calls_make_the_same_steps():
    net, X, y = problem((3, 4, 3), dtype="float32")
    other, _, _ = problem((3, 4, 3), dtype="float32")
    net.fit(X, y, learning_rate=0.1, shuffle=False)
    for start in range(0, N, 7):
        rows = slice(start, start + 7)
        other.fit(X[rows], y[rows], learning_rate=0.1, shuffle=False)
    np.testing.assert_array_equal(net.parameters, other.parameters)


def test_what_is_not_finite_is_seen():
    net, X, y = problem((3, 4, 2))
    with pytest.warns(DivergenceWarning, match="diverged in epoch 1"):
        net.fit(X * 1e200, y, learning_rate=1e200)
