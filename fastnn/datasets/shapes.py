"""Two-dimensional classes that no hyperplane separates: rings, moons, spirals, XOR."""

import math
from typing import Any

import numpy as np

from fastnn.datasets.source import Source
from fastnn.errors import integer, number
from fastnn.kernels import generators


class Arcs(Source):
    """Points on arcs in the plane, all equally likely, plus Gaussian noise.

    Parameters
    ----------
    arcs : sequence of 6 floats each
        Centre x, centre y, radius, its growth, angle in turns, its growth: a point of the arc
        is drawn by a uniform t in [0, 1).  Arc ``c`` belongs to class ``c % n_classes``.
    n_classes : int
        Divides the number of arcs.
    noise : float
        Standard deviation of the noise in each coordinate.
    seed : int

    Notes
    -----
    The density of an arc is an integral over t, which ``probabilities`` takes by Gauss's rule to
    about 1e-6.  The best accuracy and loss are integrals over a grid, right to about 1e-5 and 1e-6
    where ``noise`` is at least 1/400 of the width of the picture.
    """

    #: Points per panel of Gauss's rule, and the longest panel in units of ``noise``.
    _ORDER, _PANEL = 12, 5.0
    #: Most grid points along an axis, and entries of a table that is held at once.
    _GRID = 2048
    _TABLE = 1 << 22

    def __init__(self, arcs: Any, n_classes: int, noise: float, seed: int) -> None:
        super().__init__(2, n_classes, seed)
        self.noise = number("noise", noise, low=0, closed="neither")
        self._arcs = np.array(arcs, np.float64)

    def _finish(self, start: int, X: np.ndarray, y: np.ndarray) -> None:
        generators.arcs_(self._label_key, start, self._arcs, self.n_classes, self.noise, X, y)

    def _points(self, arc: int, t: np.ndarray) -> np.ndarray:
        """Return the points (n, 2) of an arc at ``t``."""
        x, y, radius, growth, turn, turns = self._arcs[arc]
        r, angle = radius + t * growth, 2 * math.pi * (turn + t * turns)
        return np.column_stack((x + r * np.cos(angle), y + r * np.sin(angle)))

    def _nodes(self) -> tuple[np.ndarray, np.ndarray]:
        """Return points (m, 2) on the arcs and their weights (m, n_classes)."""
        nodes, weights = np.polynomial.legendre.leggauss(self._ORDER)
        points, table = [], []
        for arc, (_, _, radius, growth, _, turns) in enumerate(self._arcs):
            longest = max(abs(radius), abs(radius + growth))
            length = abs(growth) + 2 * math.pi * abs(turns) * longest
            panels = max(1, math.ceil(length / (self._PANEL * self.noise)))
            t = (np.arange(panels)[:, None] + (nodes + 1) / 2).ravel() / panels
            points.append(self._points(arc, t))
            table.append(np.zeros((t.size, self.n_classes)))
            table[-1][:, arc % self.n_classes] = np.tile(weights / 2, panels) / panels
        return np.concatenate(points), np.concatenate(table)

    def _probabilities(self, X: np.ndarray) -> np.ndarray:
        points, weights = self._nodes()
        P = np.empty((len(X), self.n_classes))
        step = max(1, self._TABLE // len(points))
        for first in range(0, len(X), step):
            x = X[first : first + step]
            exponent = np.square(x[:, :1] - points[:, 0])
            exponent += np.square(x[:, 1:] - points[:, 1])
            exponent /= -2 * self.noise**2
            exponent -= exponent.max(axis=1, keepdims=True)
            density = np.exp(exponent, out=exponent) @ weights
            P[first : first + step] = density / density.sum(axis=1, keepdims=True)
        return P

    def _best(self) -> tuple[float, float]:
        """Integrate over a grid, where the Gaussian around a node is a product of two vectors."""
        from scipy.special import entr

        points, weights = self._nodes()
        low, high = points.min(axis=0) - 6.5 * self.noise, points.max(axis=0) + 6.5 * self.noise
        step = max(self.noise / 8, float((high - low).max()) / self._GRID)
        # max_k has a kink where two classes meet, often on an axis.  The error that a kink causes
        # vanishes at the root 0.2113 of Bernoulli's polynomial B_2 between two grid points.
        across, along = (
            np.exp(
                np.square(step * (np.arange(a // step, b // step)[:, None] + 0.2113) - p)
                / (-2 * self.noise**2)
            )
            for a, b, p in zip(low, high, points.T, strict=True)
        )
        total = best = loss = 0.0
        rows = max(1, self._TABLE // len(along))
        for first in range(0, len(across), rows):
            density = np.array([(across[first : first + rows] * w) @ along.T for w in weights.T])
            every = density.sum(axis=0)
            total += every.sum()
            best += density.max(axis=0).sum()
            loss += entr(density).sum() - entr(every).sum()
        return float(best / total), float(loss / total)

    def _parameters(self) -> dict[str, Any]:
        return {"noise": self.noise}


class Rings(Arcs):
    """One circle a class, of radius ``1/n_classes, 2/n_classes, ..., 1`` around 0.

    Parameters
    ----------
    n_classes : int, default=2
    noise : float, default=0.1
        Standard deviation in each coordinate.
    seed : int, default=0
    """

    name = "rings"

    def __init__(self, n_classes: int = 2, *, noise: float = 0.1, seed: int = 0) -> None:
        n_classes = integer("n_classes", n_classes, low=2)
        arcs = [(0, 0, (k + 1) / n_classes, 0, 0, 1) for k in range(n_classes)]
        super().__init__(arcs, n_classes, noise, seed)

    def _parameters(self) -> dict[str, Any]:
        return {"n_classes": self.n_classes, **super()._parameters()}


class Moons(Arcs):
    """Two interleaved half circles of radius 1, around (0, 0) and (1, 0.5).

    Parameters
    ----------
    noise : float, default=0.2
        Standard deviation in each coordinate.
    seed : int, default=0
    """

    name = "moons"

    def __init__(self, *, noise: float = 0.2, seed: int = 0) -> None:
        super().__init__([(0, 0, 1, 0, 0, 0.5), (1, 0.5, 1, 0, 0.5, 0.5)], 2, noise, seed)


class Spirals(Arcs):
    """One arm of an Archimedean spiral a class, from radius 0.1 to 1.

    Parameters
    ----------
    n_classes : int, default=2
        Arms, at equal angles.
    turns : float, default=1
        Turns that an arm makes.
    noise : float, default=0.05
        Standard deviation in each coordinate.
    seed : int, default=0
    """

    name = "spirals"

    def __init__(
        self, n_classes: int = 2, *, turns: float = 1.0, noise: float = 0.05, seed: int = 0
    ) -> None:
        n_classes = integer("n_classes", n_classes, low=2)
        self.turns = number("turns", turns, low=0, closed="left")
        arcs = [(0, 0, 0.1, 0.9, k / n_classes, self.turns) for k in range(n_classes)]
        super().__init__(arcs, n_classes, noise, seed)

    def _parameters(self) -> dict[str, Any]:
        return {"n_classes": self.n_classes, "turns": self.turns, **super()._parameters()}


class Xor(Arcs):
    """Gaussian clouds around (+-1, +-1); the class is whether the signs differ.

    Parameters
    ----------
    noise : float, default=0.5
        Standard deviation in each coordinate.
    seed : int, default=0
    """

    name = "xor"

    def __init__(self, *, noise: float = 0.5, seed: int = 0) -> None:
        centres = [(-1, -1), (-1, 1), (1, 1), (1, -1)]
        super().__init__([(x, y, 0, 0, 0, 0) for x, y in centres], 2, noise, seed)
