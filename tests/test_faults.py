"""Whether numbers are finite, in vectors of the host's width, against NumPy."""

import numpy as np
import pytest

from fastnn.kernels.faults import faults
from fastnn.kernels.jit import kernel
from fastnn.kernels.views import pointer

pytestmark = pytest.mark.kernel


@kernel
def are_finite(n, x):
    return faults(n, pointer(x)) == 0


@pytest.mark.parametrize("n", [0, 1, 7, 8, 9, 16, 33, 64, 71, 150])
def test_every_fault_is_found_and_nothing_behind_the_numbers_is_looked_at(n, precision):
    largest = np.finfo(precision).max
    x = np.full(n + 1, largest, precision)
    x[::2] = -largest
    x[n] = np.nan
    assert are_finite(n, x)
    for bad in (np.nan, np.inf, -np.inf):
        for i in range(n):
            kept, x[i] = x[i], bad
            assert not are_finite(n, x)
            x[i] = kept
