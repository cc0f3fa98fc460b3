"""The products of a layer for one row, in vectors of the host's width, against NumPy."""

import numpy as np
import pytest

from fastnn.kernels import row
from fastnn.kernels.jit import JIT, kernel
from fastnn.kernels.views import pointer

pytestmark = pytest.mark.kernel

#: Below, at and beyond a vector, a pair, four and eight of them, in both precisions.
WIDTHS = [2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 64, 70, 128, 131]
if not JIT:
    WIDTHS = [2, 9, 17]
GUARD = 77


@kernel
def forward(W, x, b, z):
    row.row_forward_(W.shape[0], W.shape[1], pointer(x), pointer(W), pointer(b), pointer(z))


@kernel
def backward(W, delta, below):
    row.row_backward_(W.shape[0], W.shape[1], pointer(delta), pointer(W), pointer(below))


@kernel
def rank_one(W, keep, x, step):
    row.rank_one_(W.shape[0] - 1, W.shape[1], keep, pointer(x), pointer(step), pointer(W))


@pytest.mark.parametrize("n_in", [0, 1, 2, 5, *WIDTHS])
def test_products_of_a_row(n_in, precision, eps, rng):
    """What lies behind a result stays as it is."""
    for n_out in WIDTHS:
        W = rng.normal(size=(n_in, n_out)).astype(precision)
        x, b = rng.normal(size=n_in).astype(precision), rng.normal(size=n_out).astype(precision)
        tolerance = 8 * eps * (np.abs(W).sum() + 8) * 4
        z, below = np.full(n_out + 1, GUARD, precision), np.full(n_in + 1, GUARD, precision)
        forward(W, x, b, z)
        np.testing.assert_allclose(z[:-1], x.astype(float) @ W + b, rtol=0, atol=tolerance)
        backward(W, b, below)
        np.testing.assert_allclose(below[:-1], W.astype(float) @ b, rtol=0, atol=tolerance)
        assert z[-1] == below[-1] == GUARD
        guarded = np.vstack([W, np.full((1, n_out), GUARD, precision)])
        rank_one(guarded, np.dtype(precision).type(0.9), x, b)
        expected = 0.9 * W.astype(float) - np.outer(x, b)
        np.testing.assert_allclose(guarded[:-1], expected, rtol=0, atol=tolerance)
        assert (guarded[-1] == GUARD).all()
