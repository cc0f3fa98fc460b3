"""A layer's two products for one CSR row, against NumPy."""

import numpy as np
import pytest

from fastnn.kernels.jit import kernel
from fastnn.kernels.sparse_row import sparse_outer_, sparse_products_
from fastnn.kernels.views import pointer

pytestmark = pytest.mark.kernel

ROWS = 11


@kernel
def products_(data, indices, W, start, out):
    sparse_products_(
        data.size, start.size, pointer(data), pointer(indices), pointer(W), pointer(start),
        pointer(out),
    )  # fmt: skip


@kernel
def outer_(data, indices, step, W):
    sparse_outer_(data.size, step.size, pointer(data), pointer(indices), pointer(step), pointer(W))


@pytest.mark.parametrize("count", [0, 1, 3, 4, 9])
@pytest.mark.parametrize("n", [1, 2, 5, 8, 16, 17, 64, 131])
def test_products(n, count, precision, eps, rng):
    """What lies behind the last column stays as it is; a feature may come twice."""
    data = rng.normal(size=count).astype(precision)
    indices = rng.integers(0, ROWS, count).astype(np.int32)
    W = rng.normal(size=(ROWS, n)).astype(precision)
    start, step = (rng.normal(size=n).astype(precision) for _ in range(2))
    dense = np.zeros(ROWS)
    np.add.at(dense, indices, data.astype(float))
    tolerance = {"rtol": 0, "atol": 40 * eps}
    out = np.full(n + 3, 7, precision)
    products_(data, indices, W, start, out)
    np.testing.assert_allclose(out[:n], start + dense @ W.astype(float), **tolerance)
    np.testing.assert_array_equal(out[n:], 7)
    memory = np.append(W, np.full(3, 7, precision))
    expected = W.astype(float) + np.outer(dense, step.astype(float))
    outer_(data, indices, step, memory)
    np.testing.assert_allclose(memory[: W.size].reshape(W.shape), expected, **tolerance)
    np.testing.assert_array_equal(memory[W.size :], 7)
