"""The machine's two limits, measured in the run: multiply-adds and memory traffic."""

import time

import numpy as np

from fastnn.kernels.peak import multiply_adds, read

#: Tries of each; the best one counts, as nothing makes a machine too fast.
TRIES = 20
#: Bytes that are read: more than any cache holds.
BYTES = 1 << 28


def operations_per_second(dtype: str, seconds: float = 0.01) -> float:
    """Return the rate of multiply-adds on registers, two operations each and lane."""
    like = np.zeros(1, dtype)
    rounds, best = 1000, 0.0
    while True:
        start = time.perf_counter()
        multiply_adds(rounds, like)
        if time.perf_counter() - start > seconds:
            break
        rounds *= 2
    for _ in range(TRIES):
        start = time.perf_counter()
        operations, _ = multiply_adds(rounds, like)
        best = max(best, operations / (time.perf_counter() - start))
    return best


def bytes_per_second(size: int = BYTES) -> float:
    """Return the rate at which one core reads memory."""
    x = np.ones(size // 4, np.float32)
    read(x[:1], 1)
    best = 0.0
    for _ in range(TRIES // 4):
        start = time.perf_counter()
        read(x, 1)
        best = max(best, x.nbytes / (time.perf_counter() - start))
    return best


class OnePass:
    """A product of all rows with one vector: what any pass over the rows takes at least."""

    def __init__(self, X: object) -> None:
        self._X = X
        self._w = np.ones(X.shape[1], X.dtype)  # type: ignore[attr-defined]

    def run(self, times: int) -> None:
        """Read the rows so many times."""
        for _ in range(times):
            self._z = self._X @ self._w  # type: ignore[operator]

    def result(self) -> np.ndarray:
        """Return the products."""
        return self._z
