"""A dense layer ``z = x W + b``, forward and backward, for a batch and CSR rows.

``W`` is (n_in, n_out), so the scores of a sparse row add up those rows of ``W`` that it has.
For one dense row see `packed`.
"""

from fastnn.kernels.apart import apart
from fastnn.kernels.column_sums import column_sums_
from fastnn.kernels.gemm import gemm_bias_, gemm_tn_, product_nt_
from fastnn.kernels.jit import helper
from fastnn.kernels.plan import row_number
from fastnn.kernels.sparse_row import sparse_outer_, sparse_products_
from fastnn.kernels.views import constant, offset, pointer, vector


@helper
def sparse_row_forward_(job, i, W, b, z):
    """Write ``z = x W + b`` of CSR row ``i``."""
    first, stop = job.indptr[i], job.indptr[i + 1]
    sparse_products_(
        stop - first, b.size, offset(job.data, first), offset(job.indices, first),
        pointer(W), pointer(b), pointer(z),
    )  # fmt: skip


@helper
def sparse_row_update_(job, i, W, b, keep, step):
    """Subtract the gradient of CSR row ``i``; without decay only its own rows of ``W`` change.

    Leaves the negative of ``step``.
    """
    if keep != 1:
        for j in range(W.shape[0]):
            for k in range(W.shape[1]):
                W[j, k] *= keep
    for k in range(b.size):
        b[k] -= step[k]
        step[k] = -step[k]
    first, stop = job.indptr[i], job.indptr[i + 1]
    sparse_outer_(
        stop - first, b.size, offset(job.data, first), offset(job.indices, first),
        pointer(step), pointer(W),
    )  # fmt: skip


@apart
def sparse_forward_(job, start, stop, W, b, z, z0):
    """Write ``X W + b`` of CSR rows ``start:stop`` of the order to the block at ``z[z0]``."""
    for r in range(stop - start):
        above = vector(z, z0 + r * b.size, b.size)
        sparse_row_forward_(job, row_number(job, start + r), W, b, above)


@apart
def sparse_gradient_(job, start, stop, delta, gW, gb, accumulate):
    """Write ``X^T delta`` to ``gW`` and the column sums of ``delta`` to ``gb``, or add them.

    The rows of ``X`` are CSR rows ``start:stop`` of the order.
    """
    if not accumulate:
        for j in range(gW.shape[0]):
            for k in range(gb.size):
                gW[j, k] = constant(0, gb[0])
        for k in range(gb.size):
            gb[k] = constant(0, gb[0])
    for r in range(stop - start):
        i = row_number(job, start + r)
        first, last = job.indptr[i], job.indptr[i + 1]
        sparse_outer_(
            last - first, gb.size, offset(job.data, first), offset(job.indices, first),
            offset(pointer(delta), r * gb.size), pointer(gW),
        )  # fmt: skip
        for k in range(gb.size):
            gb[k] += delta[r, k]


@helper
def batch_forward_(batch, n_in, n_out, x, x0, params, w0, b0, z, z0, floor):
    """Write ``Z = max(floor, X W + b)`` of a (batch, n_in) block at ``x[x0]`` to ``z[z0]``."""
    gemm_bias_(
        batch, n_out, n_in, x, x0, n_in, params, w0, n_out, params, b0, z, z0, n_out, floor
    )  # fmt: skip


@helper
def batch_gradient_(batch, n_in, n_out, x, x0, count, delta, grads, biases, accumulate):
    """Write rows of ``X^T delta`` to ``grads``, or add them, and with ``biases`` the sums of delta.

    The rows are those of ``count`` columns of X (batch, n_in), the first of which is at ``x[x0]``;
    the column sums of ``delta`` come behind them.
    """
    gemm_tn_(count, n_out, batch, x, x0, n_in, delta, 0, n_out, grads, 0, n_out, accumulate)
    if biases:
        bias_gradient_(batch, n_out, delta, offset(grads, count * n_out), accumulate)


@helper
def bias_gradient_(batch, n_out, delta, gb, accumulate):
    """Write the column sums of ``delta`` (batch, n_out) to ``gb``, or add them."""
    if accumulate:
        column_sums_(batch, n_out, delta, gb, gb)
    else:
        column_sums_(batch, n_out, delta, None, gb)


@helper
def batch_backward_(batch, n_in, n_out, delta, d0, params, w0, below, e0, a, gated):
    """Write ``delta W^T`` (batch, n_in) to the block at ``below[e0]``.

    If ``gated``, it is 0 where the activations, the block at ``a[e0]``, are not positive.
    """
    product_nt_(
        batch, n_in, n_out, delta, d0, n_out, params, w0, n_out, below, e0, n_in, False, a, gated
    )  # fmt: skip
