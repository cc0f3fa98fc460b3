"""Rows brought into an order, against NumPy's indexing."""

import numpy as np
import pytest

from fastnn.kernels.gather import gather_rows_
from fastnn.kernels.jit import kernel
from fastnn.kernels.views import offset, pointer

pytestmark = pytest.mark.kernel

GUARD = 77.0


@kernel
def gathered(count, width, order, first, x, out, at):
    gather_rows_(count, width, offset(order, first), pointer(x), offset(out, at))


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("width", [1, 2, 7, 8, 16, 20, 33, 100])
@pytest.mark.parametrize("count", [0, 1, 3, 25])
def test_rows_in_order(count, width, precision):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(30, width)).astype(precision)
    order = rng.integers(0, 30, count + 5)
    out = np.full(count * width + 9, GUARD, precision)
    gathered(count, width, order, 2, x, out, 4)
    expected = x[order[2 : 2 + count]]
    np.testing.assert_array_equal(out[4 : 4 + count * width], expected.ravel())
    assert (out[:4] == GUARD).all()
    assert (out[4 + count * width :] == GUARD).all()
