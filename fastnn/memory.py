"""Arrays that begin at a line of the cache."""

import math
from typing import Any

import numpy as np

from fastnn.kernels.views import LINE_BYTES


def aligned_zeros(shape: int | tuple[int, ...], dtype: Any) -> np.ndarray:
    """Return zeros that begin at a line of the cache, where NumPy promises 16 bytes.

    A vector of a whole line is read and written in one step if it does not cross two.
    """
    shape = (shape,) if isinstance(shape, int) else shape
    size = math.prod(shape) * np.dtype(dtype).itemsize
    memory = np.zeros(size + LINE_BYTES, np.uint8)
    start = -memory.__array_interface__["data"][0] % LINE_BYTES
    return memory[start : start + size].view(dtype).reshape(shape)
