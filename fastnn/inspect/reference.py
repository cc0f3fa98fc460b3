"""A second forward pass in plain NumPy, for complex numbers: the witness of `check_gradients`.

It shares nothing with the kernels.  For a function that is analytic, ``Im f(w + ih) / h`` is
the derivative without any cancellation (W. Squire and G. Trapp, SIAM Review 40, 1998); where
a function is defined piecewise, the branch is that of the real part.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.special

from fastnn.kernels.activations import ALIASES
from fastnn.network import Network

_STEP = 1e-20


def _sigmoid(z: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(0.5 * z))


def _softplus(z: np.ndarray) -> np.ndarray:
    positive = z.real > 0
    return np.where(positive, z, 0) + np.log1p(np.exp(np.where(positive, -z, z)))


def _magnitude(r: np.ndarray) -> np.ndarray:
    return np.where(r.real >= 0, r, -r)


def _huber(z: np.ndarray, y: np.ndarray, p: float) -> np.ndarray:
    size = _magnitude(z - y)
    return np.where(size.real <= p, size * size / 2, p * (size - p / 2))


def _cross_entropy(z: np.ndarray, y: np.ndarray, p: float) -> np.ndarray:
    largest = z.real.max(axis=1, keepdims=True)
    normaliser = np.log(np.exp(z - largest).sum(axis=1, keepdims=True)) + largest
    return y * (normaliser - z)


ACTIVATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "identity": lambda z: z,
    "logistic": _sigmoid,
    "tanh": np.tanh,
    "relu": lambda z: np.where(z.real > 0, z, 0),
    "leaky_relu": lambda z: np.where(z.real > 0, z, 0.01 * z),
    "elu": lambda z: np.where(z.real > 0, z, np.exp(np.where(z.real > 0, 0, z)) - 1),
    "softplus": _softplus,
    "silu": lambda z: z * _sigmoid(z),
    "gelu": lambda z: z * scipy.special.erfc(-z / np.sqrt(2)) / 2,
    "square": lambda z: z * z,
}
#: Terms of a row's loss, of scores, targets and the loss's parameter.
LOSSES: dict[str, Callable[[np.ndarray, np.ndarray, float], np.ndarray]] = {
    "log_loss": lambda z, y, p: _softplus(z) - y * z,
    "cross_entropy": _cross_entropy,
    "squared_error": lambda z, y, p: (z - y) ** 2 / 2,
    "absolute_error": lambda z, y, p: _magnitude(z - y),
    "huber": _huber,
    "poisson": lambda z, y, p: np.exp(z) - y * z + scipy.special.xlogy(y, y) - y,
    "quantile": lambda z, y, p: np.where(z.real <= y, p * (y - z), (1 - p) * (z - y)),
}


class Reference:
    """The loss of a network over given rows as a function of its flat parameters.

    Parameters
    ----------
    network : Network
    X : array (n, n_features)
    Y : array (n, n_outputs)
        One column per output.
    weight : array (n,)

    Raises
    ------
    KeyError
        An activation or the loss has no formula here.
    """

    def __init__(self, network: Network, X: np.ndarray, Y: np.ndarray, weight: np.ndarray) -> None:
        self._network = network
        self._functions = [ACTIVATIONS[ALIASES.get(name, name)] for name in network.activation]
        self._loss = LOSSES[network.loss_name]
        self._X, self._Y = X.astype(np.float64), Y.astype(np.float64)
        self._weight = weight / weight.sum() * network.loss_scale

    def loss(self, parameters: np.ndarray) -> Any:
        """Return the weighted mean loss, complex where the parameters are."""
        a, plan, sizes = self._X, self._network.plan, self._network.layer_sizes
        with np.errstate(all="ignore"):
            for l, (w, b) in enumerate(zip(plan.weights, plan.biases, strict=True)):
                W = parameters[w:b].reshape(sizes[l], sizes[l + 1])
                z = a @ W + parameters[b : b + sizes[l + 1]]
                a = self._functions[l](z) if l < len(self._functions) else z
            terms = self._loss(a, self._Y, self._network.loss_parameter)
            return self._weight @ terms.sum(axis=1)

    def derivative(self, parameters: np.ndarray, i: int) -> float:
        """Return dJ/dparameter ``i`` by a complex step."""
        shifted = parameters.astype(np.complex128)
        shifted[i] += 1j * _STEP
        return float(self.loss(shifted).imag / _STEP)
