"""Exact per-sample SGD in blocks: matrix products for the first layer, row by row above it.

Within a block of rows the first layer's weights change only by rank-1 terms.  With weights ``W``
and velocities ``V`` before the block, one step without a gradient multiplies the pair by a
2 x 2 matrix ``M`` (penalty and momentum), and a gradient ``g_s = x_s^T step_s`` is subtracted
from it as ``q g_s``; ``q`` is (1, 1), of Nesterov's momentum (1 + mu, 1).  So after t steps it is

    ``(W_t, V_t) = M^t (W, V) - sum_{s<t} M^{t-1-s} q x_s^T step_s``,    ``z_t = x_t W_t + b_t``

where ``X W``, ``X V`` and all ``x_s . x_t`` are matrix products over the block, as is the change
that it makes in the end.  They run many times faster than the same arithmetic row by row.
Plain SGD has no ``V``, and ``M`` is what the penalty leaves of a weight.

A pass over ``W``, a slice of rows at a time that stays in the first cache, makes both the change
that a block leaves and the products of the next block.
"""

from typing import Any, NamedTuple

from fastnn.kernels.gemm import gemm_nn_, gemm_nt_, gemm_tn_
from fastnn.kernels.jit import helper
from fastnn.kernels.packed import SUMS, bias_update_, padded, turns
from fastnn.kernels.plan import row_number
from fastnn.kernels.row import combine_, copy_
from fastnn.kernels.simd import prefetch_
from fastnn.kernels.views import LINE_BYTES, constant, offset, vector

#: Rows of a block.  The products gain with its size, the corrections within it cost with it.
BLOCK = 16
#: Numbers of a slice of ``W``, which stays in the first cache between its two uses.
SLICE = 8192
#: The cost model, in ns where a core makes 250 GFLOP/s in float32; only their ratios matter.  The
#: row form takes so long for a vector of weights in the first cache, or beyond so many bytes:
NEAR, FAR, CACHE = 0.8, 1.7, 40 * 1024
#: The blocked form for a row, a vector of weights, and a byte of the row (``x_s . x_t``, copying).
PER_ROW, PER_VECTOR, PER_BYTE = 25.0, 0.38, 0.175
#: Numbers kept of a power of ``M``.
POWER = 6


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
    Z, drift
        ``x_t W`` and ``x_t V``.
    steps, pushes
        The biases, then the step of each row; and in the end those that V is to make.
    gram
        Of each row t: 1, then ``x_s . x_t``.
    powers
        Of each t: ``M^t`` by rows, then ``-M^t q``; `POWER` numbers.
    """

    rows: int
    n_in: int
    width: int
    pitch: int
    line: int
    X: Any
    before: Any
    Z: Any
    drift: Any
    steps: Any
    pushes: Any
    gram: Any
    powers: Any


@helper
def block_rows(n_in, n_out, lanes, itemsize, momentum):
    """Return the rows of a block, or 1 where the row form is expected to take less time."""
    matrices = 2 if momentum else 1
    by_rows = n_in * padded(n_out, lanes) // lanes * matrices
    read = by_rows
    if turns(0, n_in, n_out, lanes):
        read = (n_out * padded(n_in, lanes) + SUMS * padded(n_out, lanes)) // lanes * matrices
    row = read * (FAR if read * lanes * itemsize > CACHE else NEAR)
    return BLOCK if PER_ROW + by_rows * PER_VECTOR + n_in * itemsize * PER_BYTE < row else 1


@helper
def slice_rows(width):
    """Return how many rows of ``W`` make a slice."""
    return max(SLICE // width, 16)


@helper
def block_size(n_in, width, rows, lanes):
    """Return the numbers that `divide` divides."""
    if rows == 1:
        return 0
    across = 2 * padded(n_in, lanes) + 2 * width + padded(rows + 1, lanes)
    return rows * across + (rows + 1) * (2 * width + POWER)


@helper
def divide(memory, n_in, width, rows, lanes, itemsize):
    """Return the `Blocks` in `block_size` numbers."""
    n_in, pitch, line = padded(n_in, lanes), padded(rows + 1, lanes), LINE_BYTES // itemsize
    before = offset(memory, rows * n_in)
    Z = offset(before, rows * n_in)
    drift = offset(Z, rows * width)
    steps = offset(drift, rows * width)
    pushes = offset(steps, (rows + 1) * width)
    gram = offset(pushes, (rows + 1) * width)
    powers = offset(gram, rows * pitch)
    return Blocks(
        rows, n_in, width, pitch, line, memory, before, Z, drift, steps, pushes, gram, powers
    )  # fmt: skip


@helper
def raise_powers_(blocks, descent):
    """Write the powers of ``M`` up to that of a whole block."""
    if blocks.rows == 1:
        return
    decay, mu = float(descent.decay), float(descent.mu)
    both = float(descent.ahead) + float(descent.direct)
    push = float(descent.ahead) * mu
    ww, wv, vw, vv = 1.0, 0.0, 0.0, 1.0
    for t in range(blocks.rows + 1):
        power = vector(blocks.powers, t * POWER, POWER)
        power[0], power[1], power[2], power[3] = ww, wv, vw, vv
        power[4], power[5] = -(ww * both + wv), -(vw * both + vv)
        ww, wv = ww * (1 - both * decay) - wv * decay, ww * push + wv * mu
        vw, vv = vw * (1 - both * decay) - vv * decay, vw * push + vv * mu


@helper
def power_(blocks, t):
    """Return the numbers of power ``t``, which as locals nothing written can change."""
    power = offset(blocks.powers, t * POWER)
    return power[0], power[1], power[2], power[3], power[4], power[5]


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
def pass_(job, params, velocity, blocks, momentum, n_before, size, before, X):
    """Change ``W`` by the block before, and multiply the new block by it, slice by slice."""
    n_in, n_out = job.sizes[0], job.sizes[1]
    width, ldx, pitch = blocks.width, blocks.n_in, blocks.pitch
    steps, pushes = offset(blocks.steps, width), offset(blocks.pushes, width)
    rows = slice_rows(width)
    for p in range(0, n_in, rows):
        k, at = min(rows, n_in - p), job.weights[0] + p * n_out
        if n_before > 0:
            ww, wv, vw, vv, _, _ = power_(blocks, n_before)
            W = vector(params, at, k * n_out)
            if momentum:
                V = vector(velocity, at, k * n_out)
                for i in range(W.size):
                    w, v = W[i], V[i]
                    W[i] = ww * w + wv * v
                    V[i] = vw * w + vv * v
                gemm_tn_(
                    k, n_out, n_before, before, p, ldx, pushes, 0, width, V, 0, n_out, True
                )  # fmt: skip
            elif ww != 1:
                for i in range(W.size):
                    W[i] *= ww
            gemm_tn_(k, n_out, n_before, before, p, ldx, steps, 0, width, W, 0, n_out, True)
        if size > 0:
            gemm_nn_(size, n_out, k, X, p, ldx, params, at, n_out, blocks.Z, 0, width, p > 0)
            if momentum:
                gemm_nn_(
                    size, n_out, k, X, p, ldx, velocity, at, n_out, blocks.drift, 0, width, p > 0
                )  # fmt: skip
            gemm_nt_(size, size, k, X, p, ldx, X, p, ldx, blocks.gram, 1, pitch, p > 0)


@helper
def correct_(blocks, momentum, r, z):
    """Write the scores ``z`` of row ``r``, as the steps of the rows before have left them."""
    g = vector(blocks.gram, r * blocks.pitch, r + 1)
    g[0] = constant(1, z[0])
    for s in range(r):
        g[1 + s] *= blocks.powers[(r - 1 - s) * POWER + 4]
    ww, wv, _, _, _, _ = power_(blocks, r)
    start = vector(blocks.Z, r * blocks.width, blocks.width)
    if momentum:
        drift = vector(blocks.drift, r * blocks.width, blocks.width)
        for k in range(start.size):
            start[k] = ww * start[k] + wv * drift[k]
    elif ww != 1:
        for k in range(start.size):
            start[k] *= ww
    start_row = offset(blocks.Z, r * blocks.width)
    combine_(r + 1, blocks.width, offset(blocks.gram, r * blocks.pitch), blocks.steps, start_row, z)


@helper
def discount_(blocks, momentum, size):
    """Turn the steps of a block into what is left of each at its end, for ``W`` and for ``V``."""
    for s in range(size):
        at = (1 + s) * blocks.width
        step, push = vector(blocks.steps, at, blocks.width), vector(blocks.pushes, at, blocks.width)
        _, _, _, _, minus_step, minus_push = power_(blocks, size - 1 - s)
        if momentum:
            for k in range(step.size):
                push[k] = minus_push * step[k]
        for k in range(step.size):
            step[k] *= minus_step


@helper
def record_(packed, blocks, descent, r, step):
    """Keep the step of row ``r`` for the rows after it, and make that of the biases."""
    copy_(blocks.width, step, offset(blocks.steps, (r + 1) * blocks.width))
    bias_update_(packed, 0, blocks.width, descent, step, blocks.steps)


@helper
def turn_(job, params, velocity, packed, blocks, descent, number, n_before, start, size):
    """End a block of ``n_before`` rows and begin block ``number``, of ``size`` rows from ``start``.

    Either may be empty.
    """
    b = offset(packed.flat, packed.biases[0])
    X, before = blocks.X, blocks.before
    if number & 1:
        X, before = before, X
    if n_before > 0:
        copy_(blocks.width, blocks.steps, b)
        discount_(blocks, descent.momentum, n_before)
    gather_rows_(job, blocks, start, size, X)
    pass_(job, params, velocity, blocks, descent.momentum, n_before, size, before, X)
    copy_(blocks.width, b, blocks.steps)
