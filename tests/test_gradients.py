"""The gradient of every weight, against NumPy's chain rule and 4th-order central differences.

A difference across a kink (of relu at 0, of the absolute error at ``z = y``) is no derivative.
So rows are drawn until every row stays on its side of every kink at all the shifted points, which
`sides` asserts; no tolerance is widened for it.
"""

import itertools

import numpy as np
import pytest
import reference
import scipy.sparse

from fastnn import Network
from fastnn.kernels import activations, losses
from fastnn.kernels.jit import JIT

pytestmark = pytest.mark.kernel

STEP = 1e-3
ACTIVATIONS, LOSSES = list(activations.TABLE), list(losses.TABLE)
#: Each activation with each loss; without the JIT each once.
PAIRS = [
    (activation, loss)
    for (i, activation), (j, loss) in itertools.product(enumerate(ACTIVATIONS), enumerate(LOSSES))
    if JIT or i % len(LOSSES) == j
]
SIZES = [[3, 2], [1, 2], [3, 4, 2], [2, 1, 1, 2], [2, 3, 4, 3, 2], [3, 2, 3, 2, 3, 2]]
MIXED = ["tanh", "relu", "gelu", "elu"]


def problem(seed, sizes, activation, loss, precision="float64", scale=1.0):
    """Return a network with biases, rows and targets that the loss takes."""
    rng = np.random.default_rng(seed)
    net = Network(
        sizes,
        activation=activation,
        loss=loss,
        dtype=precision,
        random_state=rng,
        loss_parameter=reference.PARAMETERS.get(loss),
        loss_scale=scale,
    )
    for b in net.biases:
        b[:] = rng.normal(0, 0.3, b.size)
    X = rng.normal(0, 1, (5, sizes[0]))
    shape = (5, sizes[-1])
    kind = losses.TABLE[loss].targets
    if kind == "probability":
        y = rng.choice([0, 1, 0.3], shape)
    elif kind == "class":
        y = rng.integers(0, sizes[-1], 5)
    elif kind == "count":
        y = rng.poisson(2, shape)
    else:
        y = rng.normal(0, 1, shape)
    return net, X, y, rng.uniform(0.5, 2, 5)


def smooth_problem(sizes, activation, loss):
    """Return the first problem in which no difference straddles a kink."""
    for seed in range(100):
        net, X, y, weight = problem(seed, sizes, activation, loss)
        double = reference.Net.of(net)
        here, w = double.sides(X, y), double.flat()
        straddled = False
        for i, shift in itertools.product(range(w.size), (-2 * STEP, 2 * STEP)):
            moved = w.copy()
            moved[i] += shift
            double.set(moved)
            straddled |= not np.array_equal(double.sides(X, y), here)
        if not straddled:
            return net, X, y, weight
    raise AssertionError("no smooth problem among 100")


def assert_is_gradient(net, X, y, weight):
    """Compare every component with 4th-order differences of the loss."""

    def objective(w):
        net.parameters[:] = w
        return net.loss(X, y, weight)

    w = net.parameters.copy()
    found = net.gradients(X, y, weight)
    expected = reference.differences(objective, w, STEP)
    net.parameters[:] = w
    # What rounding of the loss itself leaves in a difference; the rest is relative.
    noise = 8 * np.finfo(float).eps * net.loss(X, y, weight) / STEP
    worst = (np.abs(found - expected) - noise) / np.maximum(np.abs(expected), 1e-300)
    assert worst.max() <= 1e-7, f"parameter {worst.argmax()}: {worst.max()}"
    assert np.linalg.norm(found - expected) <= 1e-7 * np.linalg.norm(expected)
    for W, b in zip(net.plan.weights, net.plan.biases, strict=True):
        assert np.abs(found[W:b]).max() > 1e-5  # no layer's gradient is all zero
        assert np.abs(found[b]) > 1e-7


@pytest.mark.parametrize(("activation", "loss"), PAIRS)
def test_every_weight_against_differences(activation, loss):
    assert_is_gradient(*smooth_problem([2, 3, 3, 2], activation, loss))


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("loss", ["cross_entropy", "huber"])
def test_every_depth_against_differences(sizes, loss):
    assert_is_gradient(*smooth_problem(sizes, MIXED[: len(sizes) - 2], loss))


@pytest.mark.parametrize("loss", [name for name in LOSSES if name != "cross_entropy"])
@pytest.mark.parametrize("sizes", [[3, 1], [1, 1], [1, 1, 1, 1]], ids=str)
def test_one_output_against_differences(sizes, loss):
    assert_is_gradient(*smooth_problem(sizes, "softplus", loss))


@pytest.mark.parametrize(("activation", "loss"), PAIRS)
def test_equals_the_chain_rule(activation, loss, precision):
    """Loss, scores, predictions and gradient of dense and of CSR rows, against NumPy."""
    net, X, y, weight = problem(3, [4, 5, 3], activation, loss, precision, scale=0.5)
    X = X.astype(precision).astype(float)
    weight = weight.astype(precision).astype(float)
    if np.asarray(y).dtype.kind == "f":
        y = y.astype(precision).astype(float)
    double = reference.Net.of(net)
    gradient = double.gradient(X, y, weight)
    limit = 200 * np.finfo(precision).eps
    for rows in (X, scipy.sparse.csr_array(X)):
        np.testing.assert_allclose(net.scores(rows), double.scores(X), rtol=limit, atol=limit)
        np.testing.assert_allclose(net.forward(rows), double.forward(X), rtol=limit, atol=limit)
        np.testing.assert_allclose(net.loss(rows, y), double.loss(X, y), rtol=limit)
        np.testing.assert_allclose(net.loss(rows, y, weight), double.loss(X, y, weight), rtol=limit)
        for reduction, divisor in (("sum", 1), ("mean", weight.sum())):
            found = net.gradients(rows, y, weight, reduction=reduction)
            largest = np.abs(gradient).max()
            np.testing.assert_allclose(found * divisor, gradient, rtol=0, atol=limit * largest)
    assert np.abs(gradient).max() > 0.01


@pytest.mark.parametrize(("activation", "loss"), PAIRS)
def test_a_step_of_one_sample_is_its_gradient(activation, loss, precision):
    """The online kernel, which fuses the update into backpropagation, takes the same gradient."""
    net, X, y, _ = problem(4, [4, 5, 3], activation, loss, precision)
    X = X.astype(precision).astype(float)
    double = reference.Net.of(net)
    gradient = double.gradient(X[:1], np.asarray(y, precision)[:1])
    before = net.parameters.astype(float)
    value = net.step(X[0], y[0], learning_rate=0.25)
    limit = 200 * np.finfo(precision).eps
    np.testing.assert_allclose(value, double.loss(X[:1], np.asarray(y, precision)[:1]), rtol=limit)
    moved = before - net.parameters
    scale = np.abs(gradient).max() + np.abs(before).max()
    np.testing.assert_allclose(moved, 0.25 * gradient, rtol=0, atol=limit * scale)
    assert np.abs(moved).max() > 1e-3


def test_duplicates_in_a_sparse_row_add_up():
    net = Network([3, 2], dtype="float64", random_state=0)
    duplicated = scipy.sparse.csr_array(
        (np.array([1.0, 2, 4]), np.array([2, 0, 2]), np.array([0, 3])), shape=(1, 3)
    )
    row = np.array([[2.0, 0, 5]])
    y = np.ones((1, 2))
    np.testing.assert_allclose(net.scores(duplicated), net.scores(row))
    np.testing.assert_allclose(net.gradients(duplicated, y), net.gradients(row, y))
