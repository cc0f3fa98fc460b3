"""Every loss, its link and its delta, against NumPy, differences, and mpmath at extreme scores."""

import numpy as np
import pytest
import reference
from scipy.special import softmax

from fastnn.kernels import losses
from fastnn.kernels.jit import kernel
from fastnn.kernels.views import constant, offset, pointer

pytestmark = pytest.mark.kernel

NAMES = list(losses.TABLE)
ELEMENTWISE = [name for name in NAMES if name != "cross_entropy"]


@kernel
def rows(code, Z, Y, parameter, values, delta):
    (n, k), t = Z.shape, Y.shape[1]
    for r in range(n):
        z, y, d = (
            offset(pointer(Z), r * k),
            offset(pointer(Y), r * t),
            offset(pointer(delta), r * k),
        )
        values[r] = losses.loss_(code, 1, k, t, z, y, constant(parameter, Z[0, 0]), d)


@kernel
def block(code, Z, Y, parameter, delta):
    (n, k), t = Z.shape, Y.shape[1]
    p = constant(parameter, Z[0, 0])
    return losses.loss_(code, n, k, t, pointer(Z), pointer(Y), p, pointer(delta))


@kernel
def link(code, Z, A):
    losses.link_(code, Z.shape[0], Z.shape[1], pointer(Z), pointer(A))


def run(name, Z, Y, parameter=None):
    """Return the loss of each row and dJ/dz."""
    if parameter is None:
        parameter = reference.PARAMETERS.get(name, 0.0)
    values, delta = np.empty(len(Z), Z.dtype), np.empty_like(Z)
    rows(losses.CODES[name], Z, Y, parameter, values, delta)
    return values, delta


def draw(name, rng, n, k, precision):
    """Return scores and targets that the loss takes, no residual near a kink."""
    Z = rng.normal(0, 2, (n, k)).astype(precision)
    kind = losses.TABLE[name].targets
    if kind == "probability":
        Y = rng.choice([0, 1, 0.3], (n, k))
    elif kind == "class":
        Y = rng.dirichlet(np.ones(k), n)
    elif kind == "count":
        Y = rng.choice([0, 1, 2.5, 7], (n, k))
    else:
        Y = Z + rng.choice([-1, 1], (n, k)) * rng.choice([0.1, 0.5, 1.5], (n, k))
    return Z, Y.astype(precision)


@pytest.mark.parametrize(
    ("name", "k"), [(name, k) for name in NAMES for k in (1, 2, 5) if k > 1 or name in ELEMENTWISE]
)
def test_agrees_with_numpy(name, k, precision, eps, rng):
    Z, Y = draw(name, rng, 60, k, precision)
    parameter = reference.PARAMETERS.get(name, 0.0)
    value, delta, prediction = reference.LOSSES[name]
    exact = Z.astype(float), Y.astype(float), parameter
    values, deltas = run(name, Z, Y)
    # Absolute, because terms of the size of the score cancel.
    np.testing.assert_allclose(values, value(*exact), rtol=64 * eps, atol=64 * eps)
    np.testing.assert_allclose(deltas, delta(*exact), rtol=64 * eps, atol=16 * eps)
    A, together = np.empty_like(Z), np.empty_like(Z)
    link(losses.CODES[name], Z, A)
    np.testing.assert_allclose(A, prediction(exact[0]), rtol=16 * eps)
    total = block(losses.CODES[name], Z, Y, parameter, together)
    np.testing.assert_allclose(total, values.sum(), rtol=16 * eps)
    np.testing.assert_allclose(together, deltas, rtol=8 * eps, atol=4 * eps)


@pytest.mark.parametrize("name", NAMES)
def test_delta_is_the_slope(name, rng):
    Z, Y = draw(name, rng, 12, 3, "float64")
    _, delta = run(name, Z, Y)
    step = 1e-3

    def moved(k, shift):
        Z_k = Z.copy()
        Z_k[:, k] += shift * step
        return run(name, Z_k, Y)[0]

    slope = np.stack(
        [
            (moved(k, -2) - 8 * moved(k, -1) + 8 * moved(k, 1) - moved(k, 2)) / (12 * step)
            for k in range(Z.shape[1])
        ],
        axis=1,
    )
    np.testing.assert_allclose(delta, slope, rtol=1e-8, atol=1e-9)
    assert np.abs(delta).max() > 0.1


def test_integer_labels_equal_one_hot(precision, eps, rng):
    Z = rng.normal(0, 3, (40, 6)).astype(precision)
    labels = rng.integers(0, 6, (40, 1))
    by_label = run("cross_entropy", Z, labels.astype(precision))
    by_column = run("cross_entropy", Z, reference.one_hot(labels, 6).astype(precision))
    np.testing.assert_allclose(by_label[0], by_column[0], rtol=4 * eps, atol=4 * eps)
    np.testing.assert_allclose(by_label[1], by_column[1], rtol=4 * eps, atol=2 * eps)
    assert len(np.unique(labels)) == 6
    total = block(losses.CODES["cross_entropy"], Z, labels.astype(precision), 0.0, np.empty_like(Z))
    np.testing.assert_allclose(total, by_label[0].sum(), rtol=16 * eps)


def test_softmaxes_side_by_side_are_those_of_each_group(precision, eps, rng):
    sizes = [2, 1, 4]
    Z = rng.normal(0, 3, (30, sum(sizes))).astype(precision)
    Z[0, :2] = 500  # its exponentials must not be taken together with those of the others
    parts = np.split(Z, np.cumsum(sizes)[:-1], axis=1)
    Y = [rng.dirichlet(np.ones(size), 30).astype(precision) for size in sizes]
    each = [
        run("cross_entropy", np.ascontiguousarray(part), y) if part.shape[1] > 1 else (0, 0 * part)
        for part, y in zip(parts, Y, strict=True)
    ]
    columns = np.tile(np.array(sizes, precision), (30, 1))
    together = run("cross_entropy", Z, np.hstack([*Y, columns]))
    np.testing.assert_allclose(together[0], sum(value for value, _ in each), rtol=8 * eps)
    np.testing.assert_allclose(together[1], np.hstack([delta for _, delta in each]), atol=4 * eps)
    assert np.abs(together[1]).max() > 0.1


def test_many_hopeless_rows_have_a_finite_loss(precision, eps):
    """The sum of logarithms is that of a product, which must not overflow."""
    Z, labels = np.zeros((2000, 5), precision), np.zeros((2000, 1), precision)
    delta = np.empty_like(Z)
    total = block(losses.CODES["cross_entropy"], Z, labels, 0.0, delta)
    assert total == pytest.approx(2000 * np.log(5), rel=1e-12)


SCORES = [0, 1e-300, 1e-6, 0.5, 3, 17, 36, 37.5, 88, 104, 700, 1e4]
TARGETS = {
    "probability": [0, 1, 0.5, 1e-6],
    "count": [0, 1, 1e-3, 4, 1e6],
    "real": [0, 1, -2.5, 1e6],
}


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_is_exact_at_extreme_scores(name, precision, eps):
    """As near as rounding ``z`` and ``y`` once allows, wherever the loss is a float at all."""
    parameter = float(np.dtype(precision).type(reference.PARAMETERS.get(name, 0)))
    for y in TARGETS[losses.TABLE[name].targets]:
        scores = [sign * z for z in SCORES for sign in (1, -1)]
        scores += [y, y * (1 + 1e-3)] + ([np.log(y)] if y > 0 else [])  # at the minimum
        Z = np.array(scores, precision)[:, None]
        Y = np.full_like(Z, y)
        values, delta = run(name, Z, Y, parameter)
        for i, z in enumerate(Z[:, 0].tolist()):
            value, slope = reference.exact_loss(name, z, Y[i, 0], parameter)
            unit = abs(value) + abs(slope * z) + abs(slope * float(Y[i, 0]))
            largest = float(np.finfo(precision).max)
            if value > largest:
                assert values[i] == np.inf, (z, y)
            else:
                assert abs(values[i] - value) <= 8 * eps * (unit + 1e-3), (z, y, values[i], value)
            if abs(slope) > largest:
                assert delta[i, 0] == np.inf, (z, y)
            else:
                limit = 4 * eps * max(abs(slope), abs(float(Y[i, 0])), 1)
                assert abs(delta[i, 0] - slope) <= limit, (z, y, delta[i, 0], slope)


@pytest.mark.parametrize("name", ["log_loss", "poisson"])
def test_loss_of_a_confident_prediction_keeps_its_digits(name, precision, eps):
    """``-log a`` of ``a = 1 - 1e-13`` is 1e-13: a clipped or rounded ``a`` would give 0."""
    Z = np.array([[-30.0], [-60.0], [-80.0]], precision)
    values, delta = run(name, Z, np.zeros_like(Z))
    exact = [reference.exact_loss(name, z, 0, 0) for z in Z[:, 0]]
    np.testing.assert_allclose(values, [value for value, _ in exact], rtol=4 * eps)
    np.testing.assert_allclose(delta[:, 0], [slope for _, slope in exact], rtol=4 * eps)


@pytest.mark.parametrize(
    "scores",
    [
        [0, 0, 0],
        [1e4, -1e4, 0],
        [-1e4, -1e4, -1e4],
        [700, 700.5, -700],
        [88, 89, 90],
        [1e-30, -1e-30, 0],
        [40, 0, -40],
    ],
)
def test_cross_entropy_is_exact_at_extreme_scores(scores, precision, eps):
    Z = np.array([scores] * 3, precision)
    values, delta = run("cross_entropy", Z, np.arange(3.0)[:, None].astype(precision))
    for label in range(3):
        value, slope = reference.exact_cross_entropy(Z[0], label)
        assert abs(values[label] - value) <= 4 * eps * max(value, 1)
        np.testing.assert_allclose(delta[label], slope, rtol=8 * eps, atol=2 * eps)
    A = np.empty_like(Z)
    link(losses.CODES["cross_entropy"], Z, A)
    # A small probability keeps its digits: softmax is exp over a sum, not 1 minus the others.
    expected = softmax(Z[0].astype(float)).astype(precision)
    np.testing.assert_allclose(
        A[0], expected, rtol=8 * eps, atol=2 * float(np.finfo(precision).tiny)
    )


@pytest.mark.parametrize("name", NAMES)
def test_nan_is_seen(name, precision):
    Z = np.array([[np.nan, 0.5], [0.5, np.nan]], precision)
    values, delta = run(name, Z, np.full_like(Z, 0.5))
    assert np.isnan(values).all()
    assert np.isnan(delta[0, 0])
    assert np.isnan(delta[1, 1])
    A = np.empty_like(Z)
    link(losses.CODES[name], Z, A)
    assert np.isnan([A[0, 0], A[1, 1]]).all()


@pytest.mark.parametrize("name", ["log_loss", "squared_error", "absolute_error", "quantile"])
def test_infinite_score(name, precision):
    """An overflown score costs an infinite loss, or none on the right side of a log loss."""
    Z = np.array([[np.inf], [-np.inf]], precision)
    values, delta = run(name, Z, np.ones_like(Z))
    assert values[0] == (0 if name == "log_loss" else np.inf)
    assert values[1] == np.inf
    assert not np.isnan(delta).any()


def test_kinks_have_a_subgradient(precision):
    Z = np.array([[2.0]], precision)
    for name in ("absolute_error", "quantile"):
        values, delta = run(name, Z, Z.copy())
        assert values[0] == delta[0, 0] == 0


@pytest.mark.parametrize("code", [-1, len(NAMES)])
def test_unknown_code_raises(code):
    Z = np.zeros((1, 2))
    with pytest.raises(ValueError, match="not in the table"):
        rows(code, Z, Z, 0.0, np.zeros(1), np.zeros((1, 2)))
    with pytest.raises(ValueError, match="not in the table"):
        link(code, Z, Z)


def test_every_row_has_a_reference():
    assert set(reference.LOSSES) == set(NAMES)
    assert set(reference.EXACT_LOSSES) == set(ELEMENTWISE)
    with_parameter = {name for name, loss in losses.TABLE.items() if loss.parameter}
    assert set(reference.PARAMETERS) == with_parameter
