"""The kernels' formulas by themselves: NumPy in, NumPy out.

Each takes array-likes of any shape and computes in float32 where it is given float32, else in
float64.  The losses take raw scores ``z``, before the link, and are finite for every finite
score: nothing is clipped.
"""

from typing import Any

import numpy as np

from fastnn.errors import choose, number
from fastnn.kernels import activations, losses
from fastnn.kernels.functional import activation_, log_softmax_, losses_, predict_


def sigmoid(z: Any) -> np.ndarray:
    """Return ``1 / (1 + exp(-z))``, elementwise.

    Examples
    --------
    >>> from fastnn import functional
    >>> functional.sigmoid([-1000.0, 0.0, 1000.0])
    array([0. , 0.5, 1. ])
    """
    return activation("logistic", z)


def softmax(z: Any, axis: int = -1) -> np.ndarray:
    """Return ``exp(z_k) / sum_j exp(z_j)`` along ``axis``.

    The softmax of two scores ``(0, z)`` is ``(1 - a, a)`` with ``a = sigmoid(z)``.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn import functional
    >>> functional.softmax([0.0, np.log(3)])
    array([0.25, 0.75])
    """
    code = losses.CODES["cross_entropy"]
    return _along(z, axis, lambda Z, A: predict_(code, Z, A))


def log_softmax(z: Any, axis: int = -1) -> np.ndarray:
    """Return ``z_k - log sum_j exp(z_j)`` along ``axis``, the logarithm of `softmax`."""
    return _along(z, axis, log_softmax_)


def activation(name: str, z: Any) -> np.ndarray:
    """Return an activation ``a = f(z)``, elementwise.

    Parameters
    ----------
    name : str
        "identity", "logistic" (or "sigmoid"), "tanh", "relu", "leaky_relu", "elu",
        "softplus", "silu", "gelu" or "square".
    z : array-like
    """
    return _activate(name, z)[0]


def activation_derivative(name: str, z: Any) -> np.ndarray:
    """Return the derivative ``da/dz`` of an activation, elementwise; at a kink a subgradient."""
    return _activate(name, z)[1]


def log_loss(z: Any, y: Any) -> np.ndarray:
    """Return ``-(y log a + (1 - y) log(1 - a))``, ``a = sigmoid(z)``, elementwise, in nats.

    Examples
    --------
    >>> from fastnn import functional
    >>> functional.log_loss([-1000.0, 0.0, 1000.0], 1)
    array([1.00000000e+03, 6.93147181e-01, 0.00000000e+00])
    """
    return _elementwise("log_loss", z, y)


def cross_entropy(z: Any, y: Any) -> np.ndarray:
    """Return ``-sum_k y_k log a_k``, ``a = softmax(z)``, over the last axis, in nats.

    Parameters
    ----------
    z : array-like, shape (..., K)
        Raw scores.
    y : array-like, shape (...) or (..., K)
        Class numbers 0 .. K - 1, or probabilities of the classes.

    Returns
    -------
    array, shape (...)
    """
    z, y = _floats(z, "z"), np.asarray(y)
    if z.ndim == 0 or z.shape[-1] == 0:
        raise ValueError(f"z must have one score per class on its last axis, got shape {z.shape}")
    n_classes = z.shape[-1]
    labels = y.shape == z.shape[:-1]
    if not labels and y.shape != z.shape:
        raise ValueError(f"y must have shape {z.shape[:-1]} or {z.shape}, got {y.shape}")
    if labels and y.size and not (np.isin(y, np.arange(n_classes)).all()):
        raise ValueError(f"y must hold class numbers 0 to {n_classes - 1}")
    Y = np.ascontiguousarray(y.reshape(-1, 1 if labels else n_classes), z.dtype)
    values, _ = row_losses("cross_entropy", z.reshape(-1, n_classes), Y)
    return values.reshape(z.shape[:-1])


def squared_error(z: Any, y: Any) -> np.ndarray:
    """Return ``(z - y)^2 / 2``, elementwise."""
    return _elementwise("squared_error", z, y)


def absolute_error(z: Any, y: Any) -> np.ndarray:
    """Return ``|z - y|``, elementwise."""
    return _elementwise("absolute_error", z, y)


def huber(z: Any, y: Any, delta: float = 1.0) -> np.ndarray:
    """Return ``r^2 / 2`` where ``|r| <= delta``, else ``delta (|r| - delta/2)``; ``r = z - y``."""
    delta = number("delta", delta, low=0, closed="neither")
    return _elementwise("huber", z, y, delta)


def poisson(z: Any, y: Any) -> np.ndarray:
    """Return half the Poisson deviance of counts ``y`` and expected values ``exp(z)``."""
    return _elementwise("poisson", z, y)


def quantile(z: Any, y: Any, quantile: float = 0.5) -> np.ndarray:
    """Return ``q (y - z)`` where ``y >= z``, else ``(1 - q) (z - y)``: the pinball loss."""
    return _elementwise("quantile", z, y, number("quantile", quantile, low=0, high=1))


def row_losses(
    loss: str, Z: np.ndarray, Y: np.ndarray, parameter: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Return the loss of each row of scores (n,) and its ``dJ/dz`` (n, K), unchecked."""
    Z = np.ascontiguousarray(Z)
    values, delta = np.empty(Z.shape[0], Z.dtype), np.empty_like(Z)
    losses_(losses.CODES[loss], Z, Y, parameter, values, delta)
    return values, delta


def _floats(values: Any, name: str) -> np.ndarray:
    """Return a C-contiguous, writable float32 or float64 array."""
    array = np.asarray(values)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name} must hold numbers, got {array.dtype}")
    single = array.dtype in (np.float32, np.float16)
    array = np.require(array, np.float32 if single else np.float64, ["C", "A"])
    return array if array.flags.writeable else array.copy()


def _activate(name: str, z: Any) -> tuple[np.ndarray, np.ndarray]:
    code = activations.CODES[choose("name", name, activations.CODES)]
    z = _floats(z, "z")
    flat = z.reshape(-1)
    a, derivative = np.empty_like(flat), np.empty_like(flat)
    activation_(code, flat, a, derivative)
    return a.reshape(z.shape), derivative.reshape(z.shape)


def _along(z: Any, axis: int, write: Any) -> np.ndarray:
    """Run ``write(Z, A)`` on ``z`` with ``axis`` moved to the end."""
    z = _floats(z, "z")
    if z.ndim == 0 or not -z.ndim <= axis < z.ndim:
        raise ValueError(f"axis {axis} is out of range for z of shape {z.shape}")
    if z.size == 0:
        return z.copy()
    moved = np.ascontiguousarray(np.moveaxis(z, axis, -1))
    out = np.empty_like(moved)
    write(moved.reshape(-1, moved.shape[-1]), out.reshape(-1, moved.shape[-1]))
    return np.moveaxis(out, -1, axis)


def _elementwise(loss: str, z: Any, y: Any, parameter: float = 0.0) -> np.ndarray:
    z = _floats(z, "z")
    y = _floats(y, "y").astype(z.dtype)
    try:
        z, y = np.broadcast_arrays(z, y)
    except ValueError:
        raise ValueError(f"z of shape {z.shape} and y of shape {y.shape} do not match") from None
    kind = losses.TABLE[loss].targets
    if kind == "probability" and not ((y >= 0) & (y <= 1)).all():
        raise ValueError(f"{loss} takes y in [0, 1], found {y.min():g} to {y.max():g}")
    if kind == "count" and not (y >= 0).all():
        raise ValueError(f"{loss} takes y >= 0, found {y.min():g}")
    Y = np.ascontiguousarray(y.reshape(-1, 1))
    values, _ = row_losses(loss, np.ascontiguousarray(z.reshape(-1, 1)), Y, parameter)
    return values.reshape(z.shape)
