"""What the functions of this room accept as a model, and how its data reach the network."""

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse

from fastnn.inputs import check_rows
from fastnn.network import Network


@dataclass(frozen=True)
class Subject:
    """A network with the units and labels of the data around it.

    Attributes
    ----------
    network : Network
    classes : array or None
        Labels by class number, where the targets are labels.
    feature_mean, feature_scale : array (n_features,) or float
        The network is given ``(X - feature_mean) / feature_scale``.
    target_mean, target_scale : float
        Of a regression; the network is taught ``(y - target_mean) / target_scale``.
    """

    network: Network
    classes: np.ndarray | None = None
    feature_mean: Any = 0.0
    feature_scale: Any = 1.0
    target_mean: float = 0.0
    target_scale: float = 1.0

    def rows(self, X: Any, name: str = "X") -> Any:
        """Return rows as the network takes them, unchecked where they are not standardised."""
        if not (np.any(self.feature_mean) or np.any(self.feature_scale != 1)):
            return X
        network = self.network
        rows = check_rows(dense(X), network.layer_sizes[0], network.dtype, name).dense
        return (rows - self.feature_mean) / self.feature_scale

    def targets(self, y: Any) -> Any:
        """Return targets as the network takes them: class numbers, standardised numbers."""
        y = np.asarray(y)
        n_outputs = self.network.layer_sizes[-1]
        if self.classes is None:
            if self.target_mean == 0 and self.target_scale == 1:
                return y
            return (y - self.target_mean) / self.target_scale
        if y.ndim == 2 and y.shape[1] == n_outputs > 1:
            return y  # a column per label, or probabilities
        order = np.argsort(self.classes)
        places = np.searchsorted(self.classes, y, sorter=order)
        numbers = order[np.minimum(places, order.size - 1)]
        if not np.array_equal(self.classes[numbers], y):
            unknown = y[self.classes[numbers] != y].reshape(-1)[0]
            raise ValueError(f"y holds the label {unknown}, but the model knows {self.classes}")
        if self.network.loss_name == "log_loss" and n_outputs > 1:  # one against the rest
            return np.eye(n_outputs)[numbers.reshape(-1)]
        return numbers


def as_subject(model: Any) -> Subject:
    """Return the network of a model with its units and labels.

    Parameters
    ----------
    model : Network, Model or fitted estimator
        An estimator has its trained `Network` as ``network_``, and a classifier its labels as
        ``classes_``.

    Raises
    ------
    TypeError
        The model is none of these.
    ValueError
        An estimator is not fitted yet, or has no network.
    """
    if isinstance(model, Network):
        return Subject(model)
    network = getattr(model, "network", None)
    if isinstance(network, Network):  # a fastnn.Model
        units = "classes", "feature_mean", "feature_scale", "target_mean", "target_scale"
        return Subject(network, **{name: getattr(model, name) for name in units})
    network = getattr(model, "network_", None)
    if isinstance(network, Network):
        classes = getattr(model, "classes_", None)
        return Subject(network, None if classes is None else np.asarray(classes))
    kind = type(model).__name__
    if hasattr(model, "fit") and type(model).__module__.startswith("fastnn."):
        raise ValueError(f"this {kind} is not fitted yet; call fit first")
    raise TypeError(f"model must be a Network, a Model or a fitted fastnn estimator, got {kind}")


def dense(X: Any) -> Any:
    """Return a sparse matrix as an array, and anything else as it is."""
    return X.toarray() if scipy.sparse.issparse(X) else X


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
