"""What every synthetic source shares: rows by number, in chunks or whole."""

import abc
import functools
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np

from fastnn.datasets.checks import float_type
from fastnn.errors import integer
from fastnn.kernels import generators

#: Feature values made per kernel call: they fit a core's cache, and a call takes far less than
#: the 100 ms that an interrupt may wait.
SLICE_VALUES = 1 << 17


class Source(abc.ABC):
    """A synthetic data set of unlimited length, whose row ``i`` depends on the seed and ``i`` only.

    Attributes
    ----------
    name : str
        Its key in `SYNTHETIC`.
    n_features, n_classes : int
        Columns of ``X``; labels are ``0 .. n_classes - 1``.
    seed : int
        Two sources with equal parameters and seed have equal rows.
    feature_names : tuple of str
        ``("x0", "x1", ...)``.
    best_accuracy : float
        The accuracy of the Bayes classifier, which no model can beat: ``E[max_k P(k | x)]``.
    best_loss : float
        The mean log loss of the true conditional distribution, in nats: ``E[-ln P(y | x)]``.
    """

    name: ClassVar[str]

    def __init__(self, n_features: int, n_classes: int, seed: int) -> None:
        self.n_features = n_features
        self.n_classes = n_classes
        self.seed = integer("seed", seed, low=0)
        self.feature_names = tuple(f"x{j}" for j in range(n_features))
        root = np.random.SeedSequence(self.seed)
        self._feature_key, self._label_key = root.generate_state(2, np.uint64)
        #: For the parameters that a source draws once.
        self._rng = np.random.default_rng(root.spawn(1)[0])

    @abc.abstractmethod
    def _finish(self, start: int, X: np.ndarray, y: np.ndarray) -> None:
        """Turn the normals in ``X`` into rows ``start...`` and write their labels to ``y``."""

    @abc.abstractmethod
    def _probabilities(self, X: np.ndarray) -> np.ndarray:
        """Return ``P(y = k | x)`` for checked float64 ``X``."""

    @abc.abstractmethod
    def _best(self) -> tuple[float, float]:
        """Return the best accuracy and loss."""

    def _row_values(self) -> int:
        """Return the work of a row, in feature values that take as long."""
        return self.n_features

    @functools.cached_property
    def _best_values(self) -> tuple[float, float]:
        return self._best()

    @property
    def best_accuracy(self) -> float:
        """The accuracy of the Bayes classifier."""
        return self._best_values[0]

    @property
    def best_loss(self) -> float:
        """The mean log loss of the true conditional distribution, in nats."""
        return self._best_values[1]

    def rows(self, start: int, stop: int, dtype: Any = np.float32) -> tuple[np.ndarray, np.ndarray]:
        """Return rows ``start:stop``.

        Parameters
        ----------
        start, stop : int
            ``0 <= start <= stop``.
        dtype : float32 or float64
            Of ``X``.  The values are float32 numbers in either case, so both precisions have
            the same rows and labels.

        Returns
        -------
        X : ndarray of shape (stop - start, n_features), C-contiguous
        y : int64 ndarray of shape (stop - start,)

        Raises
        ------
        ValueError, TypeError
            For row numbers that are not ordered integers, or another dtype.
        """
        start = integer("start", start, low=0)
        stop = integer("stop", stop, low=start)
        dtype = float_type(dtype)
        X = np.empty((stop - start, self.n_features), dtype)
        y = np.empty(stop - start, np.int64)
        step = max(1, SLICE_VALUES // self._row_values())
        buffer = np.empty((min(step, stop - start), self.n_features), np.float32)
        for first in range(0, stop - start, step):
            part = slice(first, min(first + step, stop - start))
            rows = X[part] if dtype == np.float32 else buffer[: part.stop - part.start]
            generators.normals_(
                self._feature_key, (start + first) * self.n_features, rows.reshape(-1)
            )
            self._finish(start + first, rows, y[part])
            if rows.base is not X:
                X[part] = rows
        return X, y

    def sample(self, n: int, dtype: Any = np.float32) -> tuple[np.ndarray, np.ndarray]:
        """Return the first ``n`` rows; see `rows`."""
        return self.rows(0, integer("n", n, low=0), dtype)

    def chunks(
        self, n: int, chunk_rows: int = 1 << 16, dtype: Any = np.float32
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Return an iterator over the first ``n`` rows, ``chunk_rows`` at a time; see `rows`."""
        n = integer("n", n, low=0)
        chunk_rows = integer("chunk_rows", chunk_rows)
        dtype = float_type(dtype)
        return (
            self.rows(first, min(first + chunk_rows, n), dtype) for first in range(0, n, chunk_rows)
        )

    def probabilities(self, X: Any) -> np.ndarray:
        """Return the true ``P(y = k | x)``, computed in float64.

        Parameters
        ----------
        X : array-like of shape (n, n_features)

        Returns
        -------
        ndarray of shape (n, n_classes)
        """
        X = np.asarray(X, np.float64)
        if X.ndim != 2 or X.shape[1] != self.n_features:
            raise ValueError(
                f"X has shape {X.shape}, but {self.name!r} has rows of {self.n_features} features"
            )
        return self._probabilities(X)

    def _parameters(self) -> dict[str, Any]:
        """Return the constructor's arguments for the repr, without the seed."""
        return {"n_features": self.n_features}

    def __repr__(self) -> str:
        parameters = {**self._parameters(), "seed": self.seed}
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in parameters.items())})"
