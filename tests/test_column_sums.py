"""The sums of columns, in vectors of the host's width, against NumPy."""

import numpy as np
import pytest

from fastnn.kernels.column_sums import column_sums_
from fastnn.kernels.jit import kernel
from fastnn.kernels.views import pointer

pytestmark = pytest.mark.kernel
GUARD = 77


@kernel
def column_sums(X, accumulate, out):
    rows, columns = X.shape
    if accumulate:
        column_sums_(rows, columns, pointer(X), pointer(out), pointer(out))
    else:
        column_sums_(rows, columns, pointer(X), None, pointer(out))


@pytest.mark.parametrize("accumulate", [True, False])
@pytest.mark.parametrize("rows", [0, 1, 3, 4, 9])
def test_column_sums(rows, accumulate, precision, eps, rng):
    """What lies behind the sums stays as it is."""
    for columns in (1, 2, 7, 8, 15, 16, 17, 33, 64, 100, 150):
        X = rng.normal(size=(rows, columns)).astype(precision)
        out = np.full(columns + 1, GUARD, precision)
        column_sums(X, accumulate, out)
        expected = accumulate * GUARD + X.sum(axis=0, dtype=float)
        np.testing.assert_allclose(out[:-1], expected, rtol=0, atol=100 * eps * (rows + 1))
        assert out[-1] == GUARD
