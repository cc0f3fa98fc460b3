"""Exact per-sample SGD: sample ``t + 1`` sees the weights that sample ``t`` left.

``w <- w - rate * dJ_i/dw`` after each row, with the L2 penalty as a decay of the weights.

Two forms of the same sequence of weights.  The row form makes each step as it comes: it reads
and writes every weight once a sample.  The blocked form, in `blocked`, postpones the first
layer's weights.  The two agree to rounding.
"""

import numpy as np

from fastnn.kernels.blocked import block_size, divide, train_blocks_
from fastnn.kernels.dense import sparse_row_forward_, sparse_row_update_
from fastnn.kernels.jit import helper, kernel
from fastnn.kernels.packed import (
    Packed,
    input_,
    later_layers_,
    later_layers_update_,
    layer_forward_,
    layer_update_,
    layout_,
    pack_,
    padded,
    unpack_,
)
from fastnn.kernels.plan import borrow, row_number, row_weight
from fastnn.kernels.row import lanes_of
from fastnn.kernels.sample_loss import sample_loss_
from fastnn.kernels.simd import prefetch_
from fastnn.kernels.subnormals import flush_subnormals_, restore_
from fastnn.kernels.views import (
    LINE_BYTES,
    aligned,
    constant,
    keep_alive,
    matrix,
    offset,
    pointer,
    vector,
)

#: Rows ahead of the present one whose memory is asked for.
AHEAD = 4


@helper
def train_row_(job, params, packed, i, rate, keep):
    """Make the SGD step of row ``i`` and return ``w_i J_i``."""
    if job.sparse:
        n_in, n_out, above = job.sizes[0], job.sizes[1], packed.units[1]
        W = matrix(params, job.weights[0], n_in, n_out)
        b = vector(packed.flat, packed.biases[0], n_out)
        sparse_row_forward_(job, i, W, b, vector(packed.z, above, n_out))
        later_layers_(job, params, packed)
        loss = sample_loss_(job, packed, i, rate)
        later_layers_update_(job, params, packed, keep)
        sparse_row_update_(job, i, W, b, keep, vector(packed.step, above, n_out))
        return loss
    x = input_(job, packed, i)
    layer_forward_(job, params, packed, 0, x)
    later_layers_(job, params, packed)
    loss = sample_loss_(job, packed, i, rate)
    later_layers_update_(job, params, packed, keep)
    layer_update_(job, params, packed, 0, keep, x)
    return loss


@kernel
def train_samples_(plan, params, rows, targets, order, start, stop, rate, l2, block, totals):
    """Make one SGD step for each of rows ``order[start:stop]`` in turn.

    Writes ``params``; adds ``sum_i w_i J_i``, each before its own step, and ``sum_i w_i`` to
    ``totals`` (2,) float64.  A row's step is in proportion to its weight.  ``block`` is the
    number of rows of a block, 1 for the row form.
    """
    job = borrow(plan, rows, targets, order)
    flat = pointer(params)
    lanes = lanes_of(flat)
    n_in, width = job.sizes[0], padded(job.sizes[1], lanes)
    places = np.empty((4, job.n_layers + 1), np.int64)
    units, weights, biases, turned = places[0], places[1], places[2], places[3]
    first = 1 if job.sparse or block > 1 else 0
    n_params, n_units = layout_(job, lanes, first, units, weights, biases, turned)
    size = n_params + 3 * n_units + block_size(n_in, width, block, lanes) + LINE_BYTES
    memory = np.zeros(size, params.dtype)
    work = aligned(memory)
    z = offset(work, n_params)
    packed = Packed(
        lanes, first, pointer(units), pointer(weights), pointer(biases), pointer(turned),
        work, z, offset(z, n_units), offset(z, 2 * n_units),
    )  # fmt: skip
    pack_(job, flat, packed)
    keep = constant(1 - rate * l2, params[0])
    mode = flush_subnormals_()
    loss, weight = 0.0, 0.0
    for t in range(start, stop):
        weight += row_weight(job, row_number(job, t))
    if block > 1:
        beyond = offset(z, 3 * n_units)
        blocks = divide(beyond, n_in, width, block, lanes, params.itemsize)
        loss = train_blocks_(job, flat, packed, blocks, start, stop, rate, keep)
    else:
        for t in range(start, stop):
            if t + AHEAD < stop and not job.sparse:
                prefetch_(job.dense, row_number(job, t + AHEAD) * n_in)
            loss += train_row_(job, flat, packed, row_number(job, t), rate, keep)
    restore_(mode)
    unpack_(job, packed, flat)
    totals[0] += loss
    totals[1] += weight
    keep_alive((places, memory))
