"""Exact per-sample SGD in blocks: matrix products for the first layer, row by row above it.

Within a block of rows the first layer's weights change only by rank-1 terms, so with ``W`` before
the block, ``step_s = rate * w_s * dJ_s/dz_s`` and ``keep`` what the penalty leaves of a weight,

    ``z_t = keep^t x_t W - sum_{s<t} keep^{t-1-s} (x_s . x_t) step_s + b_t``

where ``X W`` and all ``x_s . x_t`` are matrix products over the block, as is the change of
``W`` at its end, ``W <- keep^B W - sum_s keep^{B-1-s} x_s^T step_s``.  They run many times faster
than the same arithmetic row by row.

A pass over ``W``, a slice of rows at a time that stays in the first cache, makes both the change
that a block leaves and the products of the next block.
"""

from typing import Any, NamedTuple

from fastnn.kernels.gemm import gemm_nn_, gemm_nt_, gemm_tn_
from fastnn.kernels.jit import helper
from fastnn.kernels.packed import padded
from fastnn.kernels.plan import row_number
from fastnn.kernels.row import combine_, copy_, subtract_
from fastnn.kernels.simd import prefetch_
from fastnn.kernels.views import LINE_BYTES, constant, offset, vector

#: Rows of a block.  The products gain with its size, the corrections within it cost with it.
BLOCK = 16
#: Numbers of a slice of ``W``, which stays in the first cache between its two uses.
SLICE = 8192


class Blocks(NamedTuple):
    """Memory of blocks of rows; all but the sizes are `pointer`s, aligned to cache lines.

    Attributes
    ----------
    rows : int
        Rows of a block.
    n_in, width, pitch, line : int
        Numbers of a row of ``X``, of ``Z`` and ``steps``, of ``gram``; and of a cache line.
    X, before
        The rows of this block and of the last one.
    Z
        ``x_t W``.
    steps
        The biases, then the step of each row.
    gram
        Of each row t: 1, then ``-keep^{t-1-s} (x_s . x_t)``.
    transposed
        A slice of ``X``.
    """

    rows: int
    n_in: int
    width: int
    pitch: int
    line: int
    X: Any
    before: Any
    Z: Any
    steps: Any
    gram: Any
    transposed: Any


@helper
def slice_rows(width):
    """Return how many rows of ``W`` make a slice."""
    return max(SLICE // width, 16)


@helper
def block_size(n_in, width, rows, lanes):
    """Return the numbers that `divide` divides."""
    if rows == 1:
        return 0
    across = 2 * padded(n_in, lanes) + width + padded(rows + 1, lanes) + slice_rows(width)
    return rows * across + (rows + 1) * width


@helper
def divide(memory, n_in, width, rows, lanes, itemsize):
    """Return the `Blocks` in `block_size` numbers."""
    n_in, pitch = padded(n_in, lanes), padded(rows + 1, lanes)
    before = offset(memory, rows * n_in)
    Z = offset(before, rows * n_in)
    steps = offset(Z, rows * width)
    gram = offset(steps, (rows + 1) * width)
    transposed = offset(gram, rows * pitch)
    line = LINE_BYTES // itemsize
    return Blocks(rows, n_in, width, pitch, line, memory, before, Z, steps, gram, transposed)


@helper
def gather_rows_(job, blocks, start, size, X):
    """Copy ``size`` rows from ``start`` of the order to ``X``."""
    n_in = job.sizes[0]
    for r in range(size):
        row = offset(job.dense, row_number(job, start + r) * n_in)
        copy_(n_in, row, offset(X, r * blocks.n_in))


@helper
def prefetch_row_(job, blocks, t):
    """Ask for the memory of the row at time ``t``."""
    n_in = job.sizes[0]
    at = row_number(job, t) * n_in
    for j in range(0, n_in, blocks.line):
        prefetch_(job.dense, at + j)


@helper
def pass_(job, params, blocks, n_before, size, kept, before, X):
    """Change ``W`` by the block before, and multiply the new block by it, slice by slice."""
    n_in, n_out = job.sizes[0], job.sizes[1]
    width, ldx, steps = blocks.width, blocks.n_in, offset(blocks.steps, blocks.width)
    rows = slice_rows(width)
    for p in range(0, n_in, rows):
        k = min(rows, n_in - p)
        at = job.weights[0] + p * n_out
        if n_before > 0:
            W = vector(params, at, k * n_out)
            if kept != 1:
                for i in range(W.size):
                    W[i] *= kept
            gemm_tn_(k, n_out, n_before, before, p, ldx, steps, 0, width, W, 0, n_out, True)
        if size > 0:
            gram, pitch = blocks.gram, blocks.pitch
            gemm_nn_(size, n_out, k, X, p, ldx, params, at, n_out, blocks.Z, 0, width, p > 0)
            gemm_nt_(
                size, size, k, X, p, ldx, X, p, ldx, gram, 1, pitch, p > 0, blocks.transposed
            )  # fmt: skip


@helper
def correct_(blocks, r, keep, z):
    """Write the scores ``z`` of row ``r``, as the steps of the rows before have left them."""
    g = vector(blocks.gram, r * blocks.pitch, r + 1)
    g[0] = constant(1, keep)
    factor = constant(-1, keep)
    for s in range(r, 0, -1):
        g[s] *= factor
        factor *= keep
    start = offset(blocks.Z, r * blocks.width)
    if keep != 1:
        xW = vector(start, 0, blocks.width)
        for k in range(xW.size):
            xW[k] *= -factor
    combine_(r + 1, blocks.width, offset(blocks.gram, r * blocks.pitch), blocks.steps, start, z)


@helper
def discount_(blocks, size, keep):
    """Turn each ``step_s`` of a block into ``-keep^{B-1-s} step_s``; return ``keep^B``."""
    factor = constant(-1, keep)
    for s in range(size, 0, -1):
        step = vector(blocks.steps, s * blocks.width, blocks.width)
        for k in range(step.size):
            step[k] *= factor
        factor *= keep
    return -factor


@helper
def record_(blocks, r, step):
    """Keep the step of row ``r`` for the rows after it, and make that of the biases."""
    copy_(blocks.width, step, offset(blocks.steps, (r + 1) * blocks.width))
    subtract_(blocks.width, step, blocks.steps)


@helper
def turn_(job, params, packed, blocks, number, n_before, start, size, keep):
    """End a block of ``n_before`` rows and begin block ``number``, of ``size`` rows from ``start``.

    Either may be empty.
    """
    b, kept = offset(packed.flat, packed.biases[0]), constant(1, keep)
    X, before = blocks.X, blocks.before
    if number & 1:
        X, before = before, X
    if n_before > 0:
        copy_(blocks.width, blocks.steps, b)
        kept = discount_(blocks, n_before, keep)
    gather_rows_(job, blocks, start, size, X)
    pass_(job, params, blocks, n_before, size, kept, before, X)
    copy_(blocks.width, b, blocks.steps)
