"""Exact per-sample SGD in blocks: matrix products for the first layer, row by row above it.

Within a block of rows the first layer's weights change only by rank-1 terms.  With weights ``W``
and velocities ``V`` before the block, one step without a gradient multiplies the pair by a
2 x 2 matrix ``M`` (penalty and momentum), and a gradient ``g_s = x_s^T step_s`` is subtracted
from it as ``q g_s``; ``q`` is (1, 1), of Nesterov's momentum (1 + mu, 1).  So after t steps it is

    ``(W_t, V_t) = M^t (W, V) - sum_{s<t} M^{t-1-s} q x_s^T step_s``,    ``z_t = x_t W_t + b_t``

where ``X W``, ``X V`` and all ``x_s . x_t`` are matrix products over the block, as is the change
that it makes in the end.  They run many times faster than the same arithmetic row by row.
Plain SGD has no ``V``, and ``M`` is what the penalty leaves of a weight.  Where M is 1 the biases
are one more row of ``W``, and 1 one more number of a row ``x``; else they change row by row.

One pass over ``W`` makes both the change that a block leaves and the products of the next block
(`block_pass`).
"""

from typing import Any, NamedTuple

from fastnn.kernels.block_pass import VECTORS, advance_, products_
from fastnn.kernels.jit import helper, scalar
from fastnn.kernels.packed import SUMS, padded, turns
from fastnn.kernels.plan import row_number
from fastnn.kernels.row import copy_
from fastnn.kernels.simd import prefetch_
from fastnn.kernels.views import LINE_BYTES, constant, offset, only_if, vector

#: Rows of ``W`` to a slice: both halves of the pass go over it in the first cache, where what it
#: meets of the rows stays from panel to panel.
SLICE = 128
#: The cost model, in ns where a core makes 250 GFLOP/s in float32; only their ratios matter.  The
#: row form takes so long for a vector of weights in the first cache, or beyond so many bytes:
NEAR, FAR, CACHE = 0.8, 1.7, 40 * 1024
#: The blocked form for a row, a vector of weights, and a byte of the row (``x_s . x_t``, copying).
PER_ROW, PER_VECTOR, PER_BYTE = 8.0, 0.36, 0.05
#: Numbers kept of a power of ``M``.
POWER = 6


class Blocks(NamedTuple):
    """Memory of blocks of rows; all but the sizes are `pointer`s, aligned to cache lines.

    Attributes
    ----------
    rows, most : int
        Rows of a block; and for how many there is room.
    lanes, line, pitch, deep, width : int
        Numbers of a vector and of a cache line; from a row of ``X`` to the next; of a column of a
        panel; of a row of ``Z`` and of ``steps``.
    W, V
        The layer's weights and velocities, panel by panel.
    X, before
        The rows of this block and of the last one.
    Z, drift
        ``x_t W`` and ``x_t V``.
    steps, pushes
        The step of each row; and in the end those that V is to make.
    gram
        ``-x_s . x_t`` of all s < t, row by row.
    powers
        Of each t: ``M^t`` by rows, then ``M^t q``; `POWER` numbers.
    numbers
        Three numbers of each row, in `block_rows`.
    """

    rows: int
    most: int
    lanes: int
    line: int
    pitch: int
    deep: int
    width: int
    W: Any
    V: Any
    X: Any
    before: Any
    Z: Any
    drift: Any
    steps: Any
    pushes: Any
    gram: Any
    powers: Any
    numbers: Any


@helper
def block_rows(n_in, n_out, lanes, itemsize, momentum, most):
    """Return ``most``, or 1 where the row form is expected to take less time than blocks."""
    matrices = 2 if momentum else 1
    by_rows = n_in * padded(n_out, lanes) // lanes * matrices
    read = by_rows
    if turns(0, n_in, n_out, lanes):
        read = (n_out * padded(n_in, lanes) + SUMS * padded(n_out, lanes)) // lanes * matrices
    row = read * (FAR if read * lanes * itemsize > CACHE else NEAR)
    return most if PER_ROW + by_rows * PER_VECTOR + n_in * itemsize * PER_BYTE < row else 1


@scalar
def row_pitch(n_in, lanes):
    """Return the distance between rows: an odd number of vectors, lest they share a few places."""
    return padded(n_in + 1, 2 * lanes) + lanes


@helper
def block_size(n_in, width, most, lanes, momentum):
    """Return the numbers that `divide` divides."""
    matrices = 2 if momentum else 1
    pairs = padded(most * most, lanes)
    across = 2 * row_pitch(n_in, lanes) + 4 * width + POWER + 3
    return matrices * (n_in + 1) * width + most * across + pairs + POWER


@helper
def divide(memory, n_in, width, rows, most, lanes, itemsize, momentum):
    """Return the `Blocks` in `block_size` numbers."""
    pitch, deep = row_pitch(n_in, lanes), n_in + 1
    V = offset(memory, deep * width if momentum else 0)
    X = offset(V, deep * width)
    before = offset(X, most * pitch)
    Z = offset(before, most * pitch)
    drift = offset(Z, most * width)
    steps = offset(drift, most * width)
    pushes = offset(steps, most * width)
    gram = offset(pushes, most * width)
    powers = offset(gram, padded(most * most, lanes))
    return Blocks(
        rows, most, lanes, LINE_BYTES // itemsize, pitch, deep, width,
        memory, V, X, before, Z, drift, steps, pushes, gram, powers,
        offset(powers, (most + 1) * POWER),
    )  # fmt: skip


@helper
def pack_panels_(blocks, n_in, n_out, values, out):
    """Copy a matrix (n_in, n_out) to its panels."""
    for j in range(n_in):
        for k in range(0, n_out, blocks.lanes):
            place = panel_place(blocks, j, k)
            copy_(min(blocks.lanes, n_out - k), offset(values, j * n_out + k), offset(out, place))


@helper
def unpack_panels_(blocks, n_in, n_out, values, out):
    """Copy panels back to their matrix."""
    for j in range(n_in):
        for k in range(0, n_out, blocks.lanes):
            place = panel_place(blocks, j, k)
            row = vector(out, j * n_out + k, min(blocks.lanes, n_out - k))
            for i in range(row.size):
                row[i] = values[place + i]


@helper
def pack_biases_(blocks, n_in, b):
    """Copy the biases to their row of ``W``."""
    for k in range(0, blocks.width, blocks.lanes):
        copy_(blocks.lanes, offset(b, k), offset(blocks.W, panel_place(blocks, n_in, k)))


@helper
def unpack_biases_(blocks, n_in, b):
    """Copy the biases back."""
    for k in range(0, blocks.width, blocks.lanes):
        copy_(blocks.lanes, offset(blocks.W, panel_place(blocks, n_in, k)), offset(b, k))


@scalar
def panel_place(blocks, j, k):
    """Return where row ``j`` of the vector of column ``k`` stands among the panels."""
    panel = k - k % (VECTORS * blocks.lanes)
    return panel * blocks.deep + j * panel_columns(blocks, panel) + k - panel


@scalar
def panel_columns(blocks, panel):
    """Return how many columns the panel has whose first is ``panel``."""
    return min(VECTORS * blocks.lanes, blocks.width - panel)


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
        power[4], power[5] = ww * both + wv, vw * both + vv
        ww, wv = ww * (1 - both * decay) - wv * decay, ww * push + wv * mu
        vw, vv = vw * (1 - both * decay) - vv * decay, vw * push + vv * mu


@scalar
def fades(descent):
    """Return whether ``M`` is not 1: what a step has changed does not stay as it is."""
    return descent.momentum or descent.decay != 0


@helper
def power_(blocks, t):
    """Return the numbers of power ``t``, which as locals nothing written can change."""
    power = offset(blocks.powers, t * POWER)
    return power[0], power[1], power[2], power[3], power[4], power[5]


@helper
def gather_rows_(job, blocks, start, size, one, X):
    """Copy ``size`` rows from ``start`` of the order to ``X``, each with ``one`` at its end."""
    n_in = job.sizes[0]
    for r in range(size):
        row = offset(job.dense, row_number(job, start + r) * n_in)
        copy_(n_in, row, offset(X, r * blocks.pitch))
        X[r * blocks.pitch + n_in] = one


@helper
def prefetch_row_(job, blocks, r, t):
    """Ask for row ``r`` of the next block, which is that of time ``t``, unless `pass_` has."""
    if 2 * blocks.width > r * VECTORS * blocks.lanes:
        return
    n_in = job.sizes[0]
    at = row_number(job, t) * n_in
    for j in range(0, n_in, blocks.line):
        prefetch_(job.dense, at + j)


@helper
def clear_(x, size):
    """Write ``size`` zeros."""
    zeros = vector(x, 0, size)
    for i in range(size):
        zeros[i] = constant(0, zeros[i])


@helper
def fade_(blocks, descent, n_before):
    """Multiply the weights and velocities by ``M^n_before``."""
    ww, wv, vw, vv, _, _ = power_(blocks, n_before)
    W = vector(blocks.W, 0, blocks.deep * blocks.width)
    if descent.momentum:
        V = vector(blocks.V, 0, blocks.deep * blocks.width)
        for i in range(W.size):
            w, v = W[i], V[i]
            W[i] = ww * w + wv * v
            V[i] = vw * w + vv * v
    else:
        for i in range(W.size):
            W[i] *= ww


@helper
def pass_(job, blocks, momentum, n_before, size, before, X, following, stop):
    """Change ``W`` by the block before, and multiply the new block by it, slice by slice.

    Asks for the rows ``following`` to ``stop`` of the order, two to a panel.
    """
    n_in, width = job.sizes[0], blocks.width
    for p in range(0, blocks.deep, SLICE):
        count = min(SLICE, blocks.deep - p)
        old, new = only_if(n_before > 0, offset(before, p)), only_if(size > 0, offset(X, p))
        t = following
        for k in range(0, width, VECTORS * blocks.lanes):
            columns = panel_columns(blocks, k)
            at = k * blocks.deep + p * columns
            p0 = offset(job.dense, row_number(job, min(t, stop - 1)) * n_in + p)
            p1 = offset(job.dense, row_number(job, min(t + 1, stop - 1)) * n_in + p)
            t += 2
            advance_(
                columns, count, blocks.pitch, width, old, offset(blocks.steps, k),
                offset(blocks.W, at), new, offset(blocks.Z, k), p0, p1,
            )  # fmt: skip
            if momentum:
                advance_(
                    columns, count, blocks.pitch, width, old, offset(blocks.pushes, k),
                    offset(blocks.V, at), new, offset(blocks.drift, k), p0, p1,
                )  # fmt: skip


@helper
def corrections_(blocks, descent, r, b):
    """Return ``gram`` and ``start`` such that row ``r`` has scores ``start + sum_s gram_s step_s``.

    They are as the steps of the rows before have left them.
    """
    gram, start_row = offset(blocks.gram, r * (r - 1) // 2), offset(blocks.Z, r * blocks.width)
    if fades(descent):
        for s in range(r):
            gram[s] *= blocks.powers[(r - 1 - s) * POWER + 4]
        ww, wv, _, _, _, _ = power_(blocks, r)
        start = vector(start_row, 0, blocks.width)
        drift = vector(blocks.drift, r * blocks.width, blocks.width)
        for k in range(start.size):
            start[k] = ww * start[k] + wv * drift[k] + b[k]
    return gram, start_row


@helper
def discount_(blocks, size):
    """Turn the steps of a block into what is left of each at its end, for ``W`` and for ``V``."""
    for s in range(size):
        step = vector(blocks.steps, s * blocks.width, blocks.width)
        push = vector(blocks.pushes, s * blocks.width, blocks.width)
        _, _, _, _, for_step, for_push = power_(blocks, size - 1 - s)
        for k in range(step.size):
            push[k] = for_push * step[k]
            step[k] *= for_step


@helper
def turn_(job, blocks, descent, number, n_before, start, size, stop):
    """End a block of ``n_before`` rows and begin block ``number``, of ``size`` rows from ``start``.

    Either may be empty.  Rows from ``stop`` are not to be asked for.
    """
    n_in, like = job.sizes[0], blocks.Z[0]
    X, before = blocks.X, blocks.before
    if number & 1:
        X, before = before, X
    if 0 < n_before < blocks.most:
        at, idle = n_before * blocks.width, (blocks.most - n_before) * blocks.width
        clear_(offset(blocks.steps, at), idle)
        clear_(offset(blocks.pushes, at), idle)
    if n_before > 0 and fades(descent):
        discount_(blocks, n_before)
        fade_(blocks, descent, n_before)
    one = constant(0 if fades(descent) else 1, like)
    gather_rows_(job, blocks, start, size, one, X)
    clear_(blocks.Z, blocks.most * blocks.width)
    if descent.momentum:
        clear_(blocks.drift, blocks.most * blocks.width)
    if n_before + size > 0:
        pass_(job, blocks, descent.momentum, n_before, size, before, X, start + size, stop)
    products_(padded(n_in + 1, blocks.lanes), blocks.pitch, X, blocks.gram)
