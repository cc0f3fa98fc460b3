"""A dense layer ``z = x W + b``, forward and backward, for a row, a batch and CSR rows.

``W`` is (n_in, n_out), so the forward pass of a row adds up rows of ``W``: contiguous, without
horizontal sums, and a sparse row visits fewer of them.
"""

from fastnn.kernels.gemm import gemm_bias_, gemm_nt_, gemm_tn_
from fastnn.kernels.jit import helper
from fastnn.kernels.plan import row_number
from fastnn.kernels.views import constant, vector


@helper
def row_forward_(x, W, b, z):
    """Write ``z = x W + b`` of one row."""
    n_in, n_out = W.shape
    for k in range(n_out):
        z[k] = b[k]
    j = 0
    while j + 4 <= n_in:  # four rows of W a pass: z is loaded and stored a quarter as often
        x0, x1, x2, x3 = x[j], x[j + 1], x[j + 2], x[j + 3]
        for k in range(n_out):
            z[k] += x0 * W[j, k] + x1 * W[j + 1, k] + x2 * W[j + 2, k] + x3 * W[j + 3, k]
        j += 4
    while j < n_in:
        for k in range(n_out):
            z[k] += x[j] * W[j, k]
        j += 1


@helper
def row_update_(x, W, b, keep, step):
    """Subtract the gradient of one row: ``W <- keep W - x^T step``, ``b <- b - step``.

    ``step`` is ``rate * delta``.
    """
    for j in range(W.shape[0]):
        for k in range(W.shape[1]):
            W[j, k] = keep * W[j, k] - x[j] * step[k]
    for k in range(b.size):
        b[k] -= step[k]


@helper
def row_backward_(W, delta, below):
    """Write ``below = delta W^T`` of one row."""
    for j in range(W.shape[0]):
        total = constant(0, delta[0])
        for k in range(W.shape[1]):
            total += W[j, k] * delta[k]
        below[j] = total


@helper
def sparse_row_forward_(data, indices, first, last, W, b, z):
    """Write ``z = x W + b`` of the CSR row at ``first:last``."""
    for k in range(b.size):
        z[k] = b[k]
    for p in range(first, last):
        j = indices[p]
        for k in range(b.size):
            z[k] += data[p] * W[j, k]


@helper
def sparse_row_update_(data, indices, first, last, W, b, keep, step):
    """Subtract the gradient of one CSR row; without decay only its own rows of ``W`` change."""
    if keep != 1:
        for j in range(W.shape[0]):
            for k in range(W.shape[1]):
                W[j, k] *= keep
    for p in range(first, last):
        j = indices[p]
        for k in range(b.size):
            W[j, k] -= data[p] * step[k]
    for k in range(b.size):
        b[k] -= step[k]


@helper
def sparse_forward_(rows, order, start, stop, W, b, z, z0):
    """Write ``X W + b`` of CSR rows ``order[start:stop]`` to the block at ``z[z0]``."""
    for r in range(stop - start):
        i = row_number(order, start + r)
        above = vector(z, z0 + r * b.size, b.size)
        first, last = rows.indptr[i], rows.indptr[i + 1]
        sparse_row_forward_(rows.data, rows.indices, first, last, W, b, above)


@helper
def sparse_gradient_(rows, order, start, stop, delta, gW, gb):
    """Add ``X^T delta`` to ``gW`` and the column sums of ``delta`` to ``gb``, for CSR rows."""
    for r in range(stop - start):
        i = row_number(order, start + r)
        for p in range(rows.indptr[i], rows.indptr[i + 1]):
            j = rows.indices[p]
            for k in range(gb.size):
                gW[j, k] += rows.data[p] * delta[r, k]
        for k in range(gb.size):
            gb[k] += delta[r, k]


@helper
def batch_forward_(batch, n_in, n_out, x, x0, params, w0, b0, z, z0):
    """Write ``Z = X W + b`` of a (batch, n_in) block at ``x[x0]`` to the block at ``z[z0]``."""
    gemm_bias_(
        batch, n_out, n_in, x, x0, n_in, params, w0, n_out, params, b0, z, z0, n_out
    )  # fmt: skip


@helper
def batch_gradient_(batch, n_in, n_out, x, x0, delta, d0, grads, w0, b0):
    """Add ``X^T delta`` and the column sums of ``delta`` to the layer's part of ``grads``."""
    gemm_tn_(n_in, n_out, batch, x, x0, n_in, delta, d0, n_out, grads, w0, n_out, True)
    gb = vector(grads, b0, n_out)
    for r in range(batch):
        d = vector(delta, d0 + r * n_out, n_out)
        for k in range(n_out):
            gb[k] += d[k]


@helper
def batch_backward_(batch, n_in, n_out, delta, d0, params, w0, below, e0, scratch):
    """Write ``delta W^T`` (batch, n_in) to the block at ``below[e0]``."""
    gemm_nt_(
        batch, n_in, n_out, delta, d0, n_out, params, w0, n_out, below, e0, n_in, False, scratch
    )  # fmt: skip
