"""Arrays that begin at a line of the cache."""

import math
from typing import Any

import numpy as np

from fastnn.kernels.views import LINE_BYTES


def aligned_zeros(shape: int | tuple[int, ...], dtype: Any) -> np.ndarray:
    """Return zeros that begin at a line of the cache, where NumPy promises 16 bytes.

    A vector of a whole line is read and written in one step if it does not cross two.
    """
    return _aligned(np.zeros, shape, dtype)


def aligned_empty(shape: int | tuple[int, ...], dtype: Any) -> np.ndarray:
    """Return such an array of whatever numbers: memory that is not used costs nothing then."""
    return _aligned(np.empty, shape, dtype)


def _aligned(make: Any, shape: int | tuple[int, ...], dtype: Any) -> np.ndarray:
    shape = (shape,) if isinstance(shape, int) else shape
    size = math.prod(shape) * np.dtype(dtype).itemsize
    memory = make(size + LINE_BYTES, np.uint8)
    start = -memory.__array_interface__["data"][0] % LINE_BYTES
    return memory[start : start + size].view(dtype).reshape(shape)
