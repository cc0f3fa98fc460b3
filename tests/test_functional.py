"""`fastnn.functional` against NumPy and SciPy."""

import numpy as np
import pytest
import scipy.special
import scipy.stats

from fastnn import functional
from fastnn.kernels import activations

pytestmark = pytest.mark.kernel

rng = np.random.default_rng(2)
Z = rng.normal(scale=3, size=(4, 5, 3))

ACTIVATIONS = {
    "identity": lambda z: z,
    "logistic": scipy.special.expit,
    "tanh": np.tanh,
    "relu": lambda z: np.maximum(z, 0),
    "leaky_relu": lambda z: np.maximum(z, 0.01 * z),
    "elu": lambda z: np.where(z > 0, z, np.expm1(np.minimum(z, 0))),
    "softplus": lambda z: np.logaddexp(0, z),
    "silu": lambda z: z * scipy.special.expit(z),
    "gelu": lambda z: z * scipy.stats.norm.cdf(z),
    "square": np.square,
}


@pytest.mark.parametrize("name", activations.TABLE)
def test_activations(name):
    expected = ACTIVATIONS[name](Z)
    np.testing.assert_allclose(functional.activation(name, Z), expected, rtol=1e-12)
    slope = (ACTIVATIONS[name](Z + 1e-5) - ACTIVATIONS[name](Z - 1e-5)) / 2e-5
    np.testing.assert_allclose(functional.activation_derivative(name, Z), slope, atol=1e-7)


def test_sigmoid_and_softmax():
    np.testing.assert_allclose(functional.sigmoid(Z), scipy.special.expit(Z), rtol=1e-14)
    for axis in (0, 1, 2, -1):
        expected = scipy.special.softmax(Z, axis)
        np.testing.assert_allclose(functional.softmax(Z, axis), expected, rtol=1e-13)
        expected = scipy.special.log_softmax(Z, axis)
        np.testing.assert_allclose(functional.log_softmax(Z, axis), expected, rtol=1e-13)


def test_far_scores():
    far = [0.0, -1e4, 1e4]
    np.testing.assert_array_equal(functional.softmax(far), [0, 0, 1])
    np.testing.assert_array_equal(functional.log_softmax(far), [-1e4, -2e4, 0])
    assert functional.cross_entropy(far, 0) == 1e4
    assert np.isnan(functional.sigmoid(np.nan))


y = rng.uniform(0.05, 0.95, Z.shape)


def cross_entropy(z):
    return -(y * scipy.special.log_softmax(z, -1)).sum(-1)


LOSSES = [
    (functional.log_loss, lambda z: np.logaddexp(0, z) - y * z),
    (functional.squared_error, lambda z: (z - y) ** 2 / 2),
    (functional.absolute_error, lambda z: abs(z - y)),
    (functional.huber, lambda z: scipy.special.huber(1, z - y)),
    (functional.poisson, lambda z: scipy.special.kl_div(y, np.exp(z))),
    (functional.quantile, lambda z: abs(z - y) / 2),
]


@pytest.mark.parametrize(("loss", "expected"), LOSSES)
def test_losses(loss, expected):
    np.testing.assert_allclose(loss(Z, y), expected(Z), rtol=1e-11, atol=1e-13)
    single = loss(Z.astype(np.float32), y)
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, expected(Z), rtol=1e-3, atol=1e-5)


def test_parameters_of_losses():
    np.testing.assert_allclose(
        functional.huber(Z, y, delta=0.3), scipy.special.huber(0.3, Z - y), rtol=1e-12
    )
    pinball = np.maximum(0.9 * (y - Z), -0.1 * (y - Z))
    np.testing.assert_allclose(functional.quantile(Z, y, 0.9), pinball, rtol=1e-12)
    with pytest.raises(ValueError, match="delta"):
        functional.huber(Z, y, 0)
    with pytest.raises(ValueError, match="quantile"):
        functional.quantile(Z, y, 2)


def test_cross_entropy_takes_labels_and_probabilities():
    shares = y / y.sum(-1, keepdims=True)
    expected = -(shares * scipy.special.log_softmax(Z, -1)).sum(-1)
    np.testing.assert_allclose(functional.cross_entropy(Z, shares), expected, rtol=1e-12)
    labels = rng.integers(0, 3, (4, 5))
    expected = -np.take_along_axis(scipy.special.log_softmax(Z, -1), labels[..., None], -1)
    np.testing.assert_allclose(functional.cross_entropy(Z, labels), expected[..., 0], rtol=1e-12)
    with pytest.raises(ValueError, match="class numbers 0 to 2"):
        functional.cross_entropy(Z, labels + 1)
    with pytest.raises(ValueError, match="y must have shape"):
        functional.cross_entropy(Z, labels[0])


def test_any_shape_and_kind_of_input():
    assert functional.sigmoid(0).shape == ()
    assert functional.sigmoid([]).shape == (0,)
    assert functional.softmax(np.empty((0, 3))).shape == (0, 3)
    assert functional.softmax(np.float32([1, 2])).dtype == np.float32
    assert functional.softmax([1, 2]).dtype == np.float64
    readonly = np.broadcast_to(np.float64(1.5), (3,))
    np.testing.assert_allclose(functional.log_loss(readonly, 1), np.log1p(np.exp(-1.5)))
    np.testing.assert_allclose(functional.sigmoid(Z.T), scipy.special.expit(Z.T), rtol=1e-14)


def test_bad_input_is_named():
    with pytest.raises(TypeError, match="z must hold numbers"):
        functional.sigmoid(["a"])
    with pytest.raises(ValueError, match="axis 2"):
        functional.softmax([1.0, 2.0], axis=2)
    with pytest.raises(ValueError, match="name must be one of identity"):
        functional.activation("sine", 1.0)
    with pytest.raises(ValueError, match=r"log_loss takes y in \[0, 1\]"):
        functional.log_loss(1.0, 2)
    with pytest.raises(ValueError, match="poisson takes y >= 0"):
        functional.poisson(1.0, -1)
    with pytest.raises(ValueError, match="do not match"):
        functional.squared_error([1.0, 2.0], [1.0, 2.0, 3.0])
