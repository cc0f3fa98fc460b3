"""The check of a precision, shared by everything that makes or reads rows."""

from typing import Any

import numpy as np


def float_type(dtype: Any) -> np.dtype:
    """Return ``dtype`` as float32 or float64."""
    try:
        result = np.dtype(dtype)
    except TypeError:
        result = np.dtype(object)
    if result not in (np.float32, np.float64):
        raise ValueError(f"dtype must be float32 or float64, got {dtype!r}")
    return result
