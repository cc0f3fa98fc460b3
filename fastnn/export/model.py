"""`Model`: a network together with what its numbers mean in the user's data."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from fastnn.errors import number
from fastnn.inputs import check_finite, check_rows
from fastnn.network import Network

#: Rows that are standardised at a time, so that a prediction copies little.
_BLOCK_ROWS = 1 << 14


@dataclass(frozen=True)
class Model:
    """A trained network with the scaling of its inputs and the names around it.

    Parameters
    ----------
    network : Network
        Takes standardised features; has one output, or one per class with "cross_entropy".
    feature_names : sequence of str
        Columns of ``X``, in order.
    feature_mean, feature_scale : array-like of shape (n_features,)
        The network is given ``(X - feature_mean) / feature_scale``.
    target_name : str
    classes : array-like of shape (n_classes,) or None
        Distinct labels, strings or numbers, by class number; None for regression.
    target_mean, target_scale : float
        A regression predicts ``target_mean + target_scale * output``.

    Raises
    ------
    ValueError
        The parts do not fit each other.

    Examples
    --------
    >>> from fastnn import Network
    >>> from fastnn.export import Model
    >>> net = Network([2, 1], loss="log_loss", init="zeros")
    >>> net.weights[0][:] = [[1.0], [0.0]]
    >>> model = Model(net, ["width", "length"], [3.0, 0.0], [2.0, 1.0], "kind", ["aster", "rose"])
    >>> model.predict([[1.0, 7.0], [5.0, 7.0]])
    array(['aster', 'rose'], dtype='<U5')
    """

    network: Network
    feature_names: tuple[str, ...]
    feature_mean: np.ndarray
    feature_scale: np.ndarray
    target_name: str = "target"
    classes: np.ndarray | None = None
    target_mean: float = 0.0
    target_scale: float = 1.0

    def __post_init__(self) -> None:
        n_features, n_outputs = self.network.layer_sizes[0], self.network.layer_sizes[-1]
        fixed: dict[str, Any] = {"feature_names": tuple(map(str, self.feature_names))}
        for name in ("feature_mean", "feature_scale"):
            fixed[name] = np.array(getattr(self, name), self.network.dtype)
            if fixed[name].shape != (n_features,):
                raise ValueError(f"{name} has shape {fixed[name].shape}, not ({n_features},)")
            check_finite(fixed[name], name)
        if (fixed["feature_scale"] <= 0).any():
            raise ValueError("feature_scale must be positive")
        number("target_mean", self.target_mean, closed="neither")
        number("target_scale", self.target_scale, low=0, closed="neither")
        if len(fixed["feature_names"]) != n_features:
            raise ValueError(
                f"feature_names has {len(fixed['feature_names'])} names, "
                f"but the network takes {n_features} features"
            )
        if self.classes is not None:
            fixed["classes"] = np.array(self.classes)
        for name, value in fixed.items():
            object.__setattr__(self, name, value)
        outputs = self._expected_outputs()
        if n_outputs != outputs:
            raise ValueError(f"the network has {n_outputs} outputs, but the target needs {outputs}")

    def _expected_outputs(self) -> int:
        """Return how many outputs the target needs; raise where the loss does not fit it."""
        loss = self.network.loss_name
        if self.classes is None:
            if loss in ("log_loss", "cross_entropy"):
                raise ValueError(f"loss {loss!r} is for classes, but classes is None")
            return 1
        n = len(self.classes)
        if self.classes.ndim != 1 or n < 2 or len(set(self.classes.tolist())) < n:
            raise ValueError("classes must be at least two distinct labels")
        if loss == "log_loss" and n == 2:
            return 1
        if loss != "cross_entropy":
            raise ValueError(f"loss {loss!r} cannot tell {n} classes apart")
        return n

    @property
    def task(self) -> str:
        """Either "classification" or "regression"."""
        return "regression" if self.classes is None else "classification"

    def standardise(self, X: np.ndarray) -> np.ndarray:
        """Return ``(X - feature_mean) / feature_scale`` in the network's precision.

        Parameters
        ----------
        X : ndarray of shape (n, n_features)
            Returned itself where there is nothing to do.
        """
        X = X.astype(self.network.dtype, copy=False)
        if not self.feature_mean.any() and (self.feature_scale == 1).all():
            return X
        return (X - self.feature_mean) / self.feature_scale

    def outputs(self, X: Any) -> np.ndarray:
        """Return the network's outputs (n, n_outputs) for rows in the user's units.

        Parameters
        ----------
        X : array-like of shape (n, n_features)

        Raises
        ------
        ValueError, TypeError
            ``X`` is sparse, not 2-D, of another width, or not finite.
        """
        net = self.network
        rows = check_rows(X, net.layer_sizes[0], net.dtype)
        if rows.indptr.size:
            raise TypeError("X must be dense: standardising fills a sparse matrix; use X.toarray()")
        X = rows.dense
        return np.concatenate(
            [
                net.forward(self.standardise(X[first : first + _BLOCK_ROWS]))
                for first in range(0, len(X), _BLOCK_ROWS)
            ]
        )

    def predict(self, X: Any) -> np.ndarray:
        """Return the label of the most probable class, or the predicted number, of each row.

        Parameters
        ----------
        X : array-like of shape (n, n_features)

        Returns
        -------
        ndarray of shape (n,)
        """
        if self.classes is None:
            return self.target_mean + self.target_scale * self.outputs(X)[:, 0].astype(np.float64)
        return self.classes[self.predict_proba(X).argmax(axis=1)]

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probability of each class, (n, n_classes), in the order of `classes`.

        Raises
        ------
        ValueError
            The model is a regression.
        """
        if self.classes is None:
            raise ValueError("a regression has no class probabilities; use predict")
        out = self.outputs(X)
        return np.column_stack((1 - out, out)) if out.shape[1] == 1 else out

    def __repr__(self) -> str:
        return (
            f"Model({self.network!r}, {self.task} of {self.target_name!r} "
            f"from {len(self.feature_names)} features)"
        )
