"""What the contenders are asked to do, and whether two of them did the same.

A task draws its rows and initial weights from a fixed seed, is judged by formulas of NumPy in
float64 that belong to no contender, and knows how many operations its mathematics needs.
"""

import itertools
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse

from fastnn.orders import draw_order, part_of

SEED = 0

#: Largest difference of two final losses, as a share of what training took off the loss: room for
#: rounding, and for what scikit-learn adds Adam's epsilon to.
TOLERANCE = 2e-3
#: Largest difference of two predictions; float32 sums of some hundred products are so exact.
PREDICTION_TOLERANCE = {"float32": 1e-4, "float64": 1e-10}
#: A fit must take this share off the loss, or it shows nothing.
LEARNED = 0.002


def _labels(X: np.ndarray, classes: int, rng: np.random.Generator) -> np.ndarray:
    """Return classes that a linear rule explains in part."""
    scores = X @ (rng.standard_normal((X.shape[1], classes)) / np.sqrt(X.shape[1]))
    return np.argmax(scores + 0.5 * rng.standard_normal(scores.shape), axis=1)


def shapes(sizes: tuple[int, ...]) -> list[tuple[int, int]]:
    """Return the shapes of a network's weight matrices."""
    return list(itertools.pairwise(sizes))


def unpack(parameters: np.ndarray, sizes: tuple[int, ...]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the weights and biases of each layer as views of a flat vector."""
    layers, at = [], 0
    for n_in, n_out in shapes(sizes):
        W = parameters[at : at + n_in * n_out].reshape(n_in, n_out)
        at += n_in * n_out
        layers.append((W, parameters[at : at + n_out]))
        at += n_out
    return layers


def pack(layers: Any) -> np.ndarray:
    """Return weights (n_in, n_out) and biases, layer by layer, as one flat vector."""
    return np.concatenate([np.asarray(part).ravel() for layer in layers for part in layer])


def compare_losses(
    start: float, ours: float, theirs: float, tolerance: float = TOLERANCE
) -> str | None:
    """Return why two final losses are not those of one training; None if they are."""
    fall = start - ours
    if not fall > LEARNED * abs(start):
        return f"nothing was learned: the loss went from {start:.6g} to {ours:.6g}"
    difference = abs(theirs - ours)
    if difference <= tolerance * fall:
        return None
    share = 100 * difference / fall
    return (
        f"its final loss is {theirs:.6g}, that of fastnn {ours:.6g}; the difference is "
        f"{share:.2g} % of what was learned, more than {100 * tolerance:g} %"
    )


@dataclass(frozen=True)
class Dense:
    """A dense network and its rows.

    Attributes
    ----------
    sizes : tuple of int
        Widths, input and output included.
    n : int
        Rows.
    activation : {"sigmoid", "relu"}
        Of the hidden layers.
    dtype : {"float32", "float64"}
    """

    sizes: tuple[int, ...]
    n: int
    activation: str = "relu"
    dtype: str = "float32"

    #: Whether a run prepares something, or checks its input, before the first of its epochs.
    sets_up = True

    @cached_property
    def X(self) -> np.ndarray:
        """Rows (n, d)."""
        precision: Any = self.dtype
        rng = np.random.default_rng(SEED)
        return rng.standard_normal((self.n, self.sizes[0]), dtype=precision)

    @cached_property
    def initial(self) -> np.ndarray:
        """Initial parameters in the layout of `fastnn.Network`: Glorot's weights, biases of 0."""
        rng = np.random.default_rng(SEED + 1)
        layers = []
        for n_in, n_out in shapes(self.sizes):
            bound = np.sqrt(6 / (n_in + n_out))
            W = rng.uniform(-bound, bound, (n_in, n_out))
            # Of relus in single file, one with a negative weight would silence the others.
            layers.append((np.abs(W) if n_in == n_out == 1 else W, np.zeros(n_out)))
        return pack(layers).astype(self.dtype)

    @property
    def n_weights(self) -> int:
        """Weights of all layers, biases apart."""
        return sum(n_in * n_out for n_in, n_out in shapes(self.sizes))

    def scores(self, parameters: np.ndarray) -> np.ndarray:
        """Return the raw scores of all rows, in float64."""
        a = self.X.astype(np.float64)
        *hidden, (W, b) = unpack(np.asarray(parameters, np.float64), self.sizes)
        for V, c in hidden:
            z = a @ V + c
            a = np.maximum(z, 0) if self.activation == "relu" else 1 / (1 + np.exp(-z))
        return a @ W + b


@dataclass(frozen=True)
class Training(Dense):
    """Train a network from given weights, its rows in given orders.

    Attributes
    ----------
    loss : {"cross_entropy", "squared_error"}
        Of class numbers; the squared error is that of their one-hot rows.
    optimizer : {"sgd", "adam"}
    learning_rate : float
    batch_size : int
        Rows a step; 1 is exact per-sample SGD.
    tolerance : float
        Largest difference of two final losses, as a share of what training took off the loss.
    """

    loss: str = "cross_entropy"
    optimizer: str = "sgd"
    learning_rate: float = 0.01
    batch_size: int = 1
    tolerance: float = TOLERANCE

    @cached_property
    def labels(self) -> np.ndarray:
        """Class numbers (n,)."""
        return _labels(self.X, self.sizes[-1], np.random.default_rng(SEED + 2))

    @cached_property
    def onehot(self) -> np.ndarray:
        """Rows of 0 and 1 (n, classes)."""
        return np.eye(self.sizes[-1], dtype=self.dtype)[self.labels]

    @cached_property
    def _drawn(self) -> tuple[np.random.Generator, list[np.ndarray]]:
        return np.random.default_rng(SEED), []

    def orders(self, epochs: int) -> list[np.ndarray]:
        """Return the order of the rows in each epoch, those that `Network.fit` draws."""
        rng, drawn = self._drawn
        while len(drawn) < epochs:
            drawn.append(part_of(draw_order(rng, None, self.n), 0, self.n)[0])
        return drawn[:epochs]

    @property
    def samples(self) -> int:
        """Rows of one epoch."""
        return self.n

    @property
    def operations(self) -> int:
        """Floating-point operations of the products of one row: forward, gradients, deltas."""
        return 6 * self.n_weights - 2 * self.sizes[0] * self.sizes[1]

    def value(self, parameters: np.ndarray) -> float:
        """Return the mean loss of all rows."""
        z = self.scores(parameters)
        if self.loss == "squared_error":
            return float(0.5 * np.square(z - self.onehot).sum(axis=1).mean())
        z -= z.max(axis=1, keepdims=True)
        return float((np.log(np.exp(z).sum(axis=1)) - z[np.arange(self.n), self.labels]).mean())

    def disagreement(self, ours: np.ndarray, theirs: np.ndarray) -> str | None:
        """Return in what two trained parameter vectors differ; None if they are one training's."""
        start = self.value(self.initial)
        return compare_losses(start, self.value(ours), self.value(theirs), self.tolerance)


@dataclass(frozen=True)
class Prediction(Dense):
    """Predict class probabilities of all rows."""

    sets_up = False

    @property
    def samples(self) -> int:
        """Rows of one pass."""
        return self.n

    @property
    def operations(self) -> int:
        """Floating-point operations of the products of one row."""
        return 2 * self.n_weights

    def disagreement(self, ours: np.ndarray, theirs: np.ndarray) -> str | None:
        """Return in what two arrays of probabilities differ; None if they are the same."""
        difference = float(np.abs(np.asarray(ours) - np.asarray(theirs)).max())
        if difference <= PREDICTION_TOLERANCE[self.dtype]:
            return None
        return f"its predictions differ from those of fastnn by up to {difference:.2g}"


@dataclass(frozen=True)
class Linear:
    """Train a logistic regression by SGD, one row a step, shuffled, scikit-learn's schedule.

    Attributes
    ----------
    d, n : int
        Columns and rows.
    nonzeros : int
        Non-zeros of a row of a CSR matrix; 0 for a dense array.
    dtype : {"float32", "float64"}
    alpha : float
        L2 penalty, which the schedule of the rate depends on.
    """

    d: int
    n: int
    nonzeros: int = 0
    dtype: str = "float32"
    alpha: float = 1e-4

    sets_up = True

    @cached_property
    def X(self) -> Any:
        """Rows (n, d) of about unit length, an array or a CSR matrix."""
        rng = np.random.default_rng(SEED)
        precision: Any = self.dtype
        if not self.nonzeros:
            X = rng.standard_normal((self.n, self.d), dtype=precision)
            X /= np.sqrt(self.d, dtype=X.dtype)
            return X
        # Cubes of uniform numbers: as in text, few columns are in most rows.
        columns = (self.d * rng.random((self.n, self.nonzeros)) ** 3).astype(np.int32)
        columns.sort(axis=1)
        values = rng.standard_normal(self.n * self.nonzeros, dtype=precision)
        values /= np.sqrt(self.nonzeros, dtype=values.dtype)
        starts = np.arange(self.n + 1) * self.nonzeros
        X = scipy.sparse.csr_matrix((values, columns.ravel(), starts), (self.n, self.d))
        X.sum_duplicates()
        return X

    @cached_property
    def labels(self) -> np.ndarray:
        """Class numbers (n,), 0 or 1."""
        rng = np.random.default_rng(SEED + 2)
        scores = self.X @ rng.standard_normal(self.d)
        noise = rng.standard_normal(self.n) * np.std(scores)
        return (scores + 0.5 * noise > 0).astype(np.int64)

    @property
    def samples(self) -> int:
        """Rows of one epoch."""
        return self.n

    def value(self, parameters: np.ndarray) -> float:
        """Return the mean loss of all rows, and the penalty; the intercept comes last."""
        w = np.asarray(parameters[:-1], np.float64)
        z = self.X @ w + parameters[-1]
        losses = np.logaddexp(0, np.where(self.labels == 1, -z, z))
        return float(losses.mean() + self.alpha / 2 * np.square(w).sum())

    def disagreement(self, ours: np.ndarray, theirs: np.ndarray) -> str | None:
        """Return in what two trained vectors differ; None if they are one training's."""
        start = self.value(np.zeros(self.d + 1))
        return compare_losses(start, self.value(ours), self.value(theirs))
