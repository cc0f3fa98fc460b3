"""Classes drawn from Gaussian features: a logistic model, a mixture, a teacher network."""

import inspect
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastnn.datasets.checks import float_type
from fastnn.datasets.shapes import Moons, Rings, Spirals, Xor
from fastnn.datasets.source import Source
from fastnn.errors import choose, integer, number
from fastnn.kernels import generators


class LogisticModel(Source):
    """Standard normal features and ``P(y = 1 | x) = sigmoid(x.coef + intercept)``.

    Parameters
    ----------
    n_features : int, default=20
        Or the length of ``coef``, where that is given.
    coef : array-like of shape (n_features,), optional
        Without it, a random direction of length ``scale``.
    intercept : float, default=0
        Other values make the classes unbalanced.
    scale : float, optional
        Standard deviation of the logit, 3 by default; larger is easier.
    seed : int, default=0

    Attributes
    ----------
    coef : float64 ndarray of shape (n_features,)
    intercept : float

    Examples
    --------
    >>> from fastnn.datasets import LogisticModel
    >>> model = LogisticModel(coef=[2.0, -1.0], intercept=0.5)
    >>> X, y = model.sample(1000)
    >>> X.shape, X.dtype.name, round(model.best_accuracy, 3)
    ((1000, 2), 'float32', 0.798)
    """

    name = "logistic"

    def __init__(
        self,
        n_features: int | None = None,
        *,
        coef: Any = None,
        intercept: float = 0.0,
        scale: float | None = None,
        seed: int = 0,
    ) -> None:
        if coef is not None:
            coef = np.array(coef, np.float64)
            if coef.ndim != 1 or coef.size == 0 or not np.isfinite(coef).all():
                raise ValueError(f"coef must be a vector of finite numbers, got {coef!r}")
            if n_features is not None and n_features != coef.size:
                raise ValueError(f"n_features is {n_features}, but coef has {coef.size} numbers")
            if scale is not None:
                raise ValueError("scale is the length of a random coef: give one of the two")
            n_features = coef.size
        elif n_features is None:
            n_features = 20
        super().__init__(integer("n_features", n_features), 2, seed)
        self._given = {"coef": coef.tolist()} if coef is not None else {}
        if coef is None:
            scale = number("scale", 3.0 if scale is None else scale, low=0, closed="left")
            self._given = {"n_features": self.n_features, "scale": scale}
            coef = self._rng.standard_normal(self.n_features)
            coef *= scale / np.linalg.norm(coef)
        self.coef = coef
        self.intercept = number("intercept", intercept, closed="neither")

    def _finish(self, start: int, X: np.ndarray, y: np.ndarray) -> None:
        generators.logistic_labels_(self._label_key, start, X, self.coef, self.intercept, y)

    def _probabilities(self, X: np.ndarray) -> np.ndarray:
        from scipy.special import expit

        z = X @ self.coef + self.intercept
        return np.column_stack((expit(-z), expit(z)))

    def _best(self) -> tuple[float, float]:
        """Integrate over the logit ``z ~ N(intercept, |coef|^2)``; right to about 1e-8."""
        from scipy.integrate import quad
        from scipy.special import entr, expit

        spread = float(np.linalg.norm(self.coef))
        if spread == 0:
            p = float(expit(self.intercept))
            return max(p, 1 - p), float(entr(p) + entr(1 - p))
        # The integrand bends at z = 0, and for a large spread it is a peak there.
        centre = -self.intercept / spread
        bends = centre + np.array([-40.0, 0.0, 40.0]) / spread
        edges = np.concatenate(([-10.0], bends[np.abs(bends) < 10], [10.0]))

        def mean(value: Any) -> float:
            def integrand(t: float) -> float:
                p = expit(self.intercept + spread * t)
                return value(p, expit(-self.intercept - spread * t)) * np.exp(-t * t / 2)

            parts = (quad(integrand, a, b)[0] for a, b in itertools.pairwise(edges))
            return float(sum(parts) / np.sqrt(2 * np.pi))

        return mean(max), mean(lambda p, q: entr(p) + entr(q))

    def _parameters(self) -> dict[str, Any]:
        return {**self._given, "intercept": self.intercept}


class GaussianMixture(Source):
    """One Gaussian of unit covariance a class, all means at one distance from each other.

    The means are a randomly turned regular simplex around 0, so ``n_features`` must be at least
    ``n_classes - 1``.  The best boundary between two classes is a hyperplane.

    Parameters
    ----------
    n_features : int, default=20
    n_classes : int, default=3
        Equally likely.
    separation : float, default=3
        Distance between any two means, in standard deviations.
    seed : int, default=0

    Attributes
    ----------
    means : float32 ndarray of shape (n_classes, n_features)

    Examples
    --------
    >>> from fastnn.datasets import GaussianMixture
    >>> round(GaussianMixture(n_classes=2, separation=2.0).best_accuracy, 4)
    0.8413
    """

    name = "gaussians"

    def __init__(
        self, n_features: int = 20, n_classes: int = 3, *, separation: float = 3.0, seed: int = 0
    ) -> None:
        n_classes = integer("n_classes", n_classes, low=2)
        super().__init__(integer("n_features", n_features), n_classes, seed)
        if self.n_features < n_classes - 1:
            raise ValueError(
                f"n_features must be at least n_classes - 1 = {n_classes - 1}, got {n_features}"
            )
        self.separation = number("separation", separation, low=0, closed="left")
        from scipy.linalg import helmert

        # The columns of Helmert's matrix are n_classes points at distance sqrt(2).
        turn, _ = np.linalg.qr(self._rng.standard_normal((self.n_features, n_classes - 1)))
        means = self.separation / np.sqrt(2) * (turn @ helmert(n_classes)).T
        self.means = np.ascontiguousarray(means, np.float32)

    def _finish(self, start: int, X: np.ndarray, y: np.ndarray) -> None:
        generators.mixture_(self._label_key, start, self.means, X, y)

    def _probabilities(self, X: np.ndarray) -> np.ndarray:
        from scipy.special import softmax

        means = self.means.astype(np.float64)
        return softmax(X @ means.T - np.square(means).sum(axis=1) / 2, axis=1)

    def _best(self) -> tuple[float, float]:
        """Integrate exactly, to about 1e-9.

        With ``a = separation / sqrt(2)`` the posterior is the softmax of ``a g``, where
        ``g_y ~ N(a, 1)`` and the other ``g_k ~ N(0, 1)`` are independent.  So the accuracy is
        ``E[Phi(g_y)^(K - 1)]``, and the loss ``E[ln S] - a^2`` with ``S = sum_k exp(a g_k)``.
        Frullani's integral ``ln S = int (exp(-e^v) - exp(-S e^v)) dv`` over all v makes that
        a product of two one-dimensional means for each v.
        """
        from scipy.special import ndtr

        a = self.separation / np.sqrt(2)
        g = np.linspace(-9, 9, 1 + int(72 * max(1, a)))
        density = np.exp(-g * g / 2)
        density /= density.sum()
        accuracy = density @ ndtr(g + a) ** (self.n_classes - 1)
        v, step = np.linspace(
            -(a * a + 10 * a + np.log(self.n_classes) + 40), 10 * a + 6, 2000, retstep=True
        )
        with np.errstate(over="ignore"):  # exp(-inf) is the right limit
            own, other = (
                np.exp(-np.exp(v[:, None] + a * (g + mean))) @ density for mean in (a, 0.0)
            )
            log_sum = step * (np.exp(-np.exp(v)) - own * other ** (self.n_classes - 1)).sum()
        return float(accuracy), float(log_sum - a * a)

    def _parameters(self) -> dict[str, Any]:
        return {
            "n_features": self.n_features,
            "n_classes": self.n_classes,
            "separation": self.separation,
        }


class Teacher(Source):
    """Standard normal features labelled by a random network, some labels then changed.

    The label is the largest score of the teacher; with probability ``label_noise`` it is replaced
    by one of the other classes.  Scores are standardised over a sample, so that every class occurs.

    Parameters
    ----------
    layer_sizes : sequence of int, default=(20, 32, 2)
        Of the teacher: features, hidden layers, classes.
    activation : {"tanh", "relu"}, default="tanh"
        Of the hidden layers.
    label_noise : float, default=0.05
        At least 0 and below ``1 - 1 / n_classes``, where labels would tell nothing.
    seed : int, default=0

    Attributes
    ----------
    weights, biases : list of float64 ndarray
        Of each layer: (n_in, n_out) and (n_out,).

    Examples
    --------
    >>> from fastnn.datasets import Teacher
    >>> teacher = Teacher((10, 16, 3), label_noise=0.1)
    >>> teacher.n_features, teacher.n_classes, teacher.best_accuracy
    (10, 3, 0.9)
    """

    name = "teacher"
    ACTIVATIONS = ("tanh", "relu")

    def __init__(
        self,
        layer_sizes: Sequence[int] = (20, 32, 2),
        *,
        activation: str = "tanh",
        label_noise: float = 0.05,
        seed: int = 0,
    ) -> None:
        try:
            sizes = [integer("layer_sizes", size) for size in layer_sizes]
        except TypeError:
            raise TypeError(f"layer_sizes must be integers, got {layer_sizes!r}") from None
        if len(sizes) < 2 or sizes[-1] < 2:
            raise ValueError(
                f"layer_sizes must be (features, ..., classes) with 2 or more classes, got {sizes}"
            )
        super().__init__(sizes[0], sizes[-1], seed)
        self.layer_sizes = tuple(sizes)
        self.activation = choose("activation", activation, self.ACTIVATIONS)
        self.label_noise = number(
            "label_noise", label_noise, low=0, high=1 - 1 / self.n_classes, closed="left"
        )
        pairs = list(itertools.pairwise(sizes))
        gain = np.sqrt(2.0) if activation == "relu" else 1.5
        self.weights = [
            self._rng.standard_normal(pair) * (gain / np.sqrt(pair[0])) for pair in pairs
        ]
        self.biases = [0.5 * self._rng.standard_normal(n_out) for _, n_out in pairs]
        scores = self._scores(self._rng.standard_normal((4096, self.n_features)))
        spread = scores.std(axis=0)
        spread[spread == 0] = 1  # every hidden unit may be idle in a tiny relu teacher
        self.weights[-1] /= spread
        self.biases[-1] = (self.biases[-1] - scores.mean(axis=0)) / spread
        self._sizes = np.array(sizes, np.int64)
        self._flat = np.concatenate(
            [
                part.ravel()
                for layer in zip(self.weights, self.biases, strict=True)
                for part in layer
            ]
        )

    def _scores(self, X: np.ndarray) -> np.ndarray:
        """Return the scores of the teacher."""
        a = X
        for layer, (W, b) in enumerate(zip(self.weights, self.biases, strict=True)):
            a = a @ W + b
            if layer < len(self.weights) - 1:
                a = np.tanh(a) if self.activation == "tanh" else np.maximum(a, 0)
        return a

    def _finish(self, start: int, X: np.ndarray, y: np.ndarray) -> None:
        generators.teacher_labels_(
            self._label_key,
            start,
            X,
            self._sizes,
            max(self.layer_sizes),
            self._flat,
            self.activation == "tanh",
            self.label_noise,
            y,
        )

    def _row_values(self) -> int:
        return max(self.n_features, self._flat.size // 4)

    def _probabilities(self, X: np.ndarray) -> np.ndarray:
        P = np.full((len(X), self.n_classes), self.label_noise / (self.n_classes - 1))
        P[np.arange(len(X)), self._scores(X).argmax(axis=1)] = 1 - self.label_noise
        return P

    def _best(self) -> tuple[float, float]:
        from scipy.special import entr

        kept, changed = 1 - self.label_noise, self.label_noise / (self.n_classes - 1)
        return kept, float(entr(kept) + (self.n_classes - 1) * entr(changed))

    def _parameters(self) -> dict[str, Any]:
        return {
            "layer_sizes": self.layer_sizes,
            "activation": self.activation,
            "label_noise": self.label_noise,
        }


#: Every synthetic source, by name.
SYNTHETIC: dict[str, type[Source]] = {
    source.name: source
    for source in (LogisticModel, GaussianMixture, Teacher, Rings, Moons, Spirals, Xor)
}


def make(
    name: str, n_samples: int, *, dtype: Any = np.float32, **parameters: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Return ``n_samples`` rows of the source called ``name``.

    Parameters
    ----------
    name : str
        A key of `SYNTHETIC`.
    n_samples : int
    dtype : float32 or float64
    **parameters
        Of the source, such as ``seed`` or ``noise``.

    Returns
    -------
    X : ndarray of shape (n_samples, n_features)
    y : int64 ndarray of shape (n_samples,)

    Examples
    --------
    >>> from fastnn.datasets import make
    >>> X, y = make("moons", 500, noise=0.1, seed=1)
    >>> X.shape, y.shape
    ((500, 2), (500,))
    """
    dtype = float_type(dtype)
    return make_source(name, **parameters).sample(n_samples, dtype)


def make_source(name: str, **parameters: Any) -> Source:
    """Return the source called ``name``, with an error that lists what is accepted."""
    made = SYNTHETIC[choose("name", name, SYNTHETIC)]
    for key in parameters:
        choose(f"parameter of {name!r}", key, inspect.signature(made).parameters)
    return made(**parameters)
