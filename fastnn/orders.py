"""The order in which an epoch visits its rows.

Up to `STORED` rows it is an array.  Beyond, its memory would exceed that of the network by far;
it is then a function of a key, computed for each slice of training.  An array of few rows is
NumPy's permutation, one of more is shuffled by a kernel: a small network takes no longer to learn
from ten rows than NumPy to bring them into order.
"""

import numpy as np

from fastnn.kernels.orders import shuffle_, shuffled_

NATURAL_ORDER = np.empty(0, np.int64)
#: Rows up to which an order is stored, in 4 MiB.
STORED = 1 << 19
#: Rows up to which NumPy draws an order, and nothing needs compiling.
FEW = 1 << 12


class Shuffle:
    """A random order of the rows ``0 .. n - 1`` that takes no memory.

    Parameters
    ----------
    key : int
        From 0 below 2^63; another key is another order.
    n : int
        Rows.
    """

    def __init__(self, key: int, n: int) -> None:
        self.key = key
        self.n = n

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Return the rows visited at times ``start:stop``."""
        out = np.empty(stop - start, np.int64)
        shuffled_(self.key, self.n, start, out)
        return out


Order = np.ndarray | Shuffle


def draw_order(rng: np.random.Generator | None, present: np.ndarray | None, n: int) -> Order:
    """Return the order of one epoch: of ``n`` rows, or of those ``present``; natural without rng.

    An empty array is the natural order.
    """
    if rng is None:
        return NATURAL_ORDER if present is None else present
    if present is None and n > STORED:
        return Shuffle(int(rng.integers(2**63)), n)
    order = np.arange(n) if present is None else present.copy()
    if order.size <= FEW or order.dtype != np.int64:
        rng.shuffle(order)  # draws what permutation(n) draws
    else:
        shuffle_(int(rng.integers(2**63)), order)
    return order


class Ahead:
    """What `draw_order` draws for epochs one after the other, many at a time."""

    def __init__(self, rng: np.random.Generator, present: np.ndarray | None, n: int) -> None:
        self._rng, self._present, self._n = rng, present, n

    def draw(self, epochs: int) -> np.ndarray:
        """Return the orders of so many epochs, one after the other."""
        self._before = self._rng.bit_generator.state
        rows = np.arange(self._n) if self._present is None else self._present
        orders = np.tile(rows, (epochs, 1))
        if rows.size <= FEW:
            self._rng.permuted(orders, axis=1, out=orders)  # draws what shuffle draws, row by row
        else:
            for order in orders:
                shuffle_(int(self._rng.integers(2**63)), order)
        return orders.ravel()

    def take_back(self) -> None:
        """Put the generator back to where it was before the last `draw`."""
        self._rng.bit_generator.state = self._before


def part_of(order: Order, start: int, stop: int) -> tuple[np.ndarray, int]:
    """Return an int64 array with the rows of times ``start:stop``, and the time of its first."""
    if isinstance(order, Shuffle):
        return order.rows(start, stop), start
    if order.dtype == np.int32:
        return order[start:stop].astype(np.int64), start
    return order, 0


def numbers_of(n: int) -> np.ndarray:
    """Return ``0 .. n - 1``, as int32 where an order of so many rows is long: half the memory."""
    return np.arange(n, dtype=np.int32 if STORED < n < 2**31 else np.int64)
