"""What the functions of this room accept as a model."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np

from fastnn.network import Network


def as_network(model: Any, name: str = "model") -> tuple[Network, Callable[[Any], Any]]:
    """Return the network of a model, and a function that encodes targets for it.

    Parameters
    ----------
    model : Network or fitted estimator
        An estimator carries its trained `Network` as ``network_``, and a classifier its labels
        as ``classes_``.
    name : str
        What the argument is called in an error.

    Returns
    -------
    network : Network
    encode : callable
        Turns class labels into class numbers; other targets pass through.

    Raises
    ------
    TypeError
        The model is neither.
    ValueError
        An estimator is not fitted yet.
    """
    if isinstance(model, Network):
        return model, lambda y: y
    kind = type(model).__name__
    network = getattr(model, "network_", None)
    if isinstance(network, Network):
        classes = getattr(model, "classes_", None)
        return network, (lambda y: y) if classes is None else _encoder(classes)
    if hasattr(model, "fit") and type(model).__module__.startswith("fastnn."):
        raise ValueError(f"this {kind} is not fitted yet; call fit before this function")
    raise TypeError(f"{name} must be a Network or a fitted fastnn estimator, got {kind}")


def _encoder(classes: Any) -> Callable[[Any], Any]:
    labels = np.asarray(classes)

    def encode(y: Any) -> np.ndarray:
        y = np.asarray(y)
        numbers = np.minimum(np.searchsorted(labels, y), labels.size - 1)
        if not np.array_equal(labels[numbers], y):
            unknown = y[labels[numbers] != y].reshape(-1)[0]
            raise ValueError(f"y holds the label {unknown!r}; the model knows {list(labels)}")
        return numbers

    return encode


def duplicate(network: Network, dtype: Any = None) -> Network:
    """Return a network with parameters of its own, in another precision where one is given."""
    twin = copy.copy(network)
    twin.dtype = np.dtype(dtype or network.dtype)
    twin._parameters = network.parameters.astype(twin.dtype)
    return twin


def one_hot(Y: np.ndarray, network: Network) -> np.ndarray:
    """Return targets with a column per output: class numbers become rows of 0 and 1."""
    n_outputs = network.layer_sizes[-1]
    if Y.shape[1] == n_outputs:
        return Y
    return np.eye(n_outputs, dtype=Y.dtype)[Y[:, 0].astype(np.int64)]
