"""Every activation and its derivative, against NumPy, mpmath to 40 digits, and its limits."""

import numpy as np
import pytest
import reference

from fastnn.kernels import activations
from fastnn.kernels.jit import kernel
from fastnn.kernels.losses import CODES, link_
from fastnn.kernels.views import pointer

pytestmark = pytest.mark.kernel

NAMES = list(activations.TABLE)


@kernel
def activate(code, z, a):
    activations.activate_(code, z.size, 0, pointer(z), pointer(a))


@kernel
def deactivate(code, z, a, delta):
    activations.deactivate_(code, z.size, 0, pointer(z), pointer(a), pointer(delta))


@kernel
def link(code, Z, A):
    link_(code, Z.shape[0], Z.shape[1], pointer(Z), pointer(A))


def run(name, z):
    """Return the activation and the derivative of a vector."""
    z = np.ascontiguousarray(z)
    code = activations.CODES[name]
    a, derivative = np.empty_like(z), np.ones_like(z)
    activate(code, z, a)
    deactivate(code, z, a, derivative)
    assert a.dtype == derivative.dtype == z.dtype
    return a, derivative


@pytest.mark.parametrize("name", NAMES)
def test_agrees_with_numpy(name, precision, eps, rng):
    z = np.concatenate([rng.normal(0, 3, 400), np.linspace(-6, 6, 97)]).astype(precision)
    a, derivative = run(name, z)
    function, slope = reference.ACTIVATIONS[name]
    np.testing.assert_allclose(a, function(z.astype(float)), rtol=32 * eps, atol=2 * eps)
    np.testing.assert_allclose(derivative, slope(z.astype(float)), rtol=16 * eps, atol=4 * eps)


# Arguments where a careless formula overflows, underflows or cancels.
SIZES = [
    0,
    1e-30,
    1e-8,
    1e-3,
    0.5,
    1,
    1.2784645,
    5,
    17,
    20,
    37,
    40,
    88,
    90,
    104,
    500,
    710,
    746,
    1e4,
]


@pytest.mark.parametrize("name", NAMES)
def test_is_exact_at_extremes(name, precision, eps):
    tiny = np.finfo(precision).smallest_subnormal
    sizes = [*SIZES, tiny, 100 * tiny, np.finfo(precision).tiny]
    z = np.array([sign * size for size in sizes for sign in (1, -1)], precision)
    a, derivative = run(name, z)
    function, slope = reference.EXACT_ACTIVATIONS[name]
    with np.errstate(over="ignore"):
        expected = np.array([reference.exact(function, v) for v in z]).astype(precision)
    slopes = np.array([reference.exact(slope, v) for v in z])
    # An output that is small keeps its digits; only a subnormal factor rounds to its own grid.
    excess = np.abs(a - expected) - 6 * eps * np.abs(expected)
    assert np.all((a == expected) | (excess <= 3 * float(tiny) * np.maximum(np.abs(z), 1)))
    # A derivative written from the output, such as a (1 - a), is exact to the output's rounding.
    np.testing.assert_allclose(derivative, slopes, rtol=6 * eps, atol=2 * eps)


@pytest.mark.parametrize("name", NAMES)
def test_takes_its_limits_and_keeps_nan(name, precision):
    a, derivative = run(name, np.array([-np.inf, np.inf, np.nan], precision))
    low, high = reference.LIMITS[name]
    np.testing.assert_allclose([a[0], derivative[0]], np.array(low, precision))
    np.testing.assert_allclose([a[1], derivative[1]], np.array(high, precision))
    assert np.isnan(a[2])
    assert np.isnan(derivative[2]) == (name != "identity")  # whose slope is 1, whatever z is


@pytest.mark.parametrize("name", NAMES)
def test_is_the_same_at_every_place_of_a_vector(name, precision, rng):
    """A vector loop and its remainder compute the same function."""
    z = rng.normal(0, 3, 67).astype(precision)
    a, derivative = run(name, z)
    alone = [run(name, z[i : i + 1]) for i in range(z.size)]
    tolerance = {"rtol": 4 * np.finfo(precision).eps, "atol": np.finfo(precision).eps}
    np.testing.assert_allclose(a, np.concatenate([one[0] for one in alone]), **tolerance)
    np.testing.assert_allclose(derivative, np.concatenate([one[1] for one in alone]), **tolerance)


@pytest.mark.parametrize("name", NAMES)
def test_derivative_is_the_slope(name):
    """4th-order differences of the activation itself, away from the kinks at 0."""
    z = np.linspace(-4, 4, 80)  # no point within 0.05 of 0
    step = 1e-3
    _, derivative = run(name, z)
    values = [run(name, z + shift * step)[0] for shift in (-2, -1, 1, 2)]
    slope = (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (12 * step)
    np.testing.assert_allclose(derivative, slope, rtol=1e-9, atol=1e-10)
    assert np.abs(derivative).max() > 0.2


def test_derivative_multiplies_the_gradient_from_above(precision):
    z = np.array([-1.0, 2.0], precision)
    delta = np.array([3.0, 5.0], precision)
    deactivate(activations.CODES["square"], z, z * z, delta)
    np.testing.assert_array_equal(delta, [-6, 20])


def test_writes_in_place(precision):
    z = np.array([-1.0, 0.5], precision)
    activate(activations.CODES["relu"], z, z)
    np.testing.assert_array_equal(z, [0, 0.5])


def test_softmax_of_two_scores_is_the_sigmoid(precision, eps):
    sizes = np.array([0, 1e-6, 0.1, 1, 3, 10, 20, 80, 500, 1e4])
    z = np.concatenate([-sizes, sizes]).astype(precision)
    scores = np.stack([np.zeros_like(z), z], axis=1)
    probabilities = np.empty_like(scores)
    link(CODES["cross_entropy"], scores, probabilities)
    sigmoid, _ = run("logistic", z)
    tiny = float(np.finfo(precision).tiny)
    np.testing.assert_allclose(probabilities[:, 1], sigmoid, rtol=8 * eps, atol=tiny)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=4 * eps)


def test_alias():
    assert activations.CODES["sigmoid"] == activations.CODES["logistic"]


@pytest.mark.parametrize("code", [-1, len(NAMES)])
def test_unknown_code_raises(code):
    z = np.zeros(2)
    with pytest.raises(ValueError, match="not in the table"):
        activate(code, z, z)
    with pytest.raises(ValueError, match="not in the table"):
        deactivate(code, z, z, z)


def test_every_row_has_a_reference():
    expected = set(activations.CODES)
    assert set(reference.ACTIVATIONS) == expected
    assert set(reference.EXACT_ACTIVATIONS) == set(reference.LIMITS) == set(NAMES)
