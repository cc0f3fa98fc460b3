"""Fixed work to compare a job with: none of it is fastnn's, and it changes with no commit.

Its time is the machine's alone, for the versions of NumPy, Numba and scikit-learn are pinned.
"""

import functools

import numpy as np
from numba import njit

#: Numbers in registers: eight chains even of AVX-512's vectors, which hides their latency.
_LANES = 256


@njit(cache=True, fastmath={"contract"})
def _multiply_adds(rounds):
    x = np.arange(_LANES).astype(np.float32)
    half = np.float32(0.5)
    for _ in range(rounds):
        for i in range(_LANES):
            x[i] = x[i] * half + half
    return x[0]


@njit(cache=True, fastmath={"reassoc", "contract", "nsz"})
def _sum(x, passes):
    total = x.dtype.type(0)
    for _ in range(passes):
        for value in x:
            total += value
    return total


def multiply_adds(number):
    """Return a job: ``number`` float32 multiply-adds in registers, at the vector units' peak rate.

    The vectors are as wide as LLVM likes them on this CPU (256 bits on Intel's with AVX-512).
    """
    return functools.partial(_multiply_adds, max(1, round(number / _LANES)))


def memory_pass(x, passes=1):
    """Return a job: read the array from end to end, as a sum."""
    return functools.partial(_sum, x.reshape(-1), passes)
