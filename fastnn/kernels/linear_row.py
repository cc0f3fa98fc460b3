"""One row, dense or sparse, against the weights of one output: dot product, addition, penalty.

Weights and rows are `pointer`s.  A sparse row touches the weights of its own features only.
"""

from typing import Any, NamedTuple

from fastnn.kernels.jit import helper, scalar
from fastnn.kernels.simd import prefetch_
from fastnn.kernels.views import LINE_BYTES, constant, offset, pointer

#: Rows ahead whose memory is asked for, and the ends of sparse rows.
AHEAD_ROWS = 4
AHEAD_ENDS = 16


class Data(NamedTuple):
    """What the steps read, borrowed: arrays as `pointer`s.

    Attributes
    ----------
    sparse, ordered, weighted : bool
        Whether the rows are CSR rows, come in an order of their own, and have weights.
    d : int
        Columns.
    itemsize, line : int
        Bytes of a number, and numbers in a line of the cache.
    dense, data, indices, indptr
        As of `plan.Rows`.
    y, weight, order
        Targets, weights, and the numbers of the rows in turn.
    """

    sparse: bool
    ordered: bool
    weighted: bool
    d: int
    itemsize: int
    line: int
    dense: Any
    data: Any
    indices: Any
    indptr: Any
    y: Any
    weight: Any
    order: Any


@helper
def borrow_data(rows, y, weight, order, itemsize):
    """Return the memory of the arguments of a kernel."""
    return Data(
        rows.indptr.size > 0,
        order.size > 0,
        weight.size > 0,
        rows.dense.shape[1],
        itemsize,
        LINE_BYTES // itemsize,
        pointer(rows.dense),
        pointer(rows.data),
        pointer(rows.indices),
        pointer(rows.indptr),
        pointer(y),
        pointer(weight),
        pointer(order),
    )


@helper
def row_number(X, t):
    """Return the row visited at time ``t``."""
    return X.order[t] if X.ordered else t


@helper
def dense_row(X, t, stop):
    """Return the dense row visited at time ``t``, before ``stop``: after the last, that one."""
    return offset(X.dense, row_number(X, min(t, stop - 1)) * X.d)


@helper
def row_dot(X, i, W):
    """Return ``x_i . W``."""
    total = constant(0, W[0])
    if X.sparse:
        for s in range(X.indptr[i], X.indptr[i + 1]):
            total += X.data[s] * W[X.indices[s]]
        return total
    x = offset(X.dense, i * X.d)
    for j in range(X.d):
        total += x[j] * W[j]
    return total


@helper
def row_squares(X, i, like):
    """Return ``|x_i|^2``."""
    total = constant(0, like)
    if X.sparse:
        for s in range(X.indptr[i], X.indptr[i + 1]):
            total += X.data[s] * X.data[s]
        return total
    x = offset(X.dense, i * X.d)
    for j in range(X.d):
        total += x[j] * x[j]
    return total


@helper
def row_add_(X, i, c, W):
    """Add ``c x_i`` to ``W``."""
    if X.sparse:
        for s in range(X.indptr[i], X.indptr[i + 1]):
            W[X.indices[s]] += c * X.data[s]
        return
    x = offset(X.dense, i * X.d)
    for j in range(X.d):
        W[j] += c * x[j]


@helper
def row_norms(X, i, W):
    """Return the sums of squares and of absolute values of the entries of ``W`` that x_i has.

    For a sparse row these are not the norms of ``W``; scikit-learn stops by them all the same.
    """
    squares, absolutes = constant(0, W[0]), constant(0, W[0])
    if X.sparse:
        for s in range(X.indptr[i], X.indptr[i + 1]):
            w = W[X.indices[s]]
            squares += w * w
            absolutes += abs(w)
        return squares, absolutes
    for j in range(X.d):
        squares += W[j] * W[j]
        absolutes += abs(W[j])
    return squares, absolutes


@scalar
def truncated(w, charge_down, charge_up):
    """Return ``w`` less ``charge_down`` if positive, plus ``charge_up`` if negative, not past 0."""
    zero = constant(0, w)
    down, up = max(zero, w - charge_down), min(zero, w + charge_up)
    return down if w > zero else up if w < zero else w


@helper
def row_truncate_(X, i, u, scale, W, q):
    """Charge the entries of ``W`` that x_i has with the L1 penalty due."""
    inverse = constant(1, u) / scale
    if X.sparse:
        for s in range(X.indptr[i], X.indptr[i + 1]):
            j = X.indices[s]
            w = W[j]
            W[j] = truncated(w, (u + q[j]) * inverse, (u - q[j]) * inverse)
            q[j] += scale * (W[j] - w)
        return
    for j in range(X.d):
        w = W[j]
        kept = truncated(w, (u + q[j]) * inverse, (u - q[j]) * inverse)
        W[j] = kept
        q[j] += scale * (kept - w)


@helper
def prefetch_ahead_(X, n, stop):
    """Ask for the row of a later step and its target, and for where a still later one lies."""
    if X.sparse and n + AHEAD_ENDS < stop:
        prefetch_(X.indptr, row_number(X, n + AHEAD_ENDS))
    if n + AHEAD_ROWS < stop:
        i = row_number(X, n + AHEAD_ROWS)
        prefetch_(X.y, i)
        if X.sparse:
            for s in range(X.indptr[i], X.indptr[i + 1], X.line):
                prefetch_(X.data, s)
                prefetch_(X.indices, s)
        else:
            for j in range(0, X.d, X.line):
                prefetch_(X.dense, i * X.d + j)
