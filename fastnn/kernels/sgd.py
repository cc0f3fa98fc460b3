"""Exact per-sample SGD: sample ``t + 1`` sees the weights that sample ``t`` left.

``w <- w - rate * dJ_i/dw`` after each row, with the L2 penalty as a decay of the weights.

Two forms of the same sequence of weights.  The row form makes each step as it comes: it reads
and writes every weight once a sample.  The blocked form postpones the first layer's weights.
Within a block they change only by rank-1 terms, so with ``W0`` before the block

    ``z_t = keep^t (x_t W0 - sum_{s<t} (x_s . x_t) step_s / keep^{s+1}) + b_t``

where ``X W0`` and all ``x_s . x_t`` are matrix products over the block, as is the update of
``W0`` at its end; they run many times faster than the same arithmetic row by row.  The two
agree to rounding.
"""

import numpy as np

from fastnn.kernels.dense import sparse_row_forward_, sparse_row_update_
from fastnn.kernels.elementary import exp, log
from fastnn.kernels.elementwise import map_whole_
from fastnn.kernels.gemm import gemm_nn_, gemm_nt_, gemm_tn_
from fastnn.kernels.jit import helper, kernel
from fastnn.kernels.losses import CODES, loss_, surprise
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
from fastnn.kernels.row import combine_, lanes_of, residual_, shift_
from fastnn.kernels.simd import prefetch_
from fastnn.kernels.views import constant, keep_alive, matrix, offset, pointer, vector

#: Rows of a block.  The products gain with its size, the corrections within it cost with it.
BLOCK = 16
#: Rows ahead of the present one whose memory is asked for.
AHEAD = 4
CROSS_ENTROPY = CODES["cross_entropy"]


@helper
def sample_loss_(job, packed, i, rate):
    """Return ``w_i J_i`` of a scored row; write the output's ``step = rate * w_i * dJ/dz``."""
    n_out, at = job.sizes[job.n_layers], packed.units[job.n_layers]
    z, step = offset(packed.z, at), offset(packed.step, at)
    y = offset(job.y, i * job.n_targets)
    weight = job.loss_scale * row_weight(job, i)
    factor = constant(rate * weight, z[0])
    if job.loss == CROSS_ENTROPY and job.n_targets == 1:
        width, label = padded(n_out, packed.lanes), int(y[0])
        largest = shift_(width, z, step)
        map_whole_(exp, width, 0, step, step)
        total = residual_(width, step, label, factor, step)
        return weight * float(surprise(z[label], largest, log(total)))
    value = loss_(job.loss, 1, n_out, job.n_targets, z, y, constant(job.loss_parameter, z[0]), step)
    for k in range(n_out):
        step[k] *= factor
    return weight * value


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


@helper
def train_block_(job, params, packed, start, size, rate, keep, X, Z, steps, gram, scratch):
    """Make one SGD step for each of ``size`` rows from ``start``, the first layer's at the end.

    Returns ``sum_i w_i J_i``.  ``X`` (size, n_in), ``Z`` and ``steps`` (size, n_out, padded) and
    ``gram`` (size, size) are scratch; ``steps`` holds ``-step_s / keep^{s+1}``.
    """
    n_in, n_out = job.sizes[0], job.sizes[1]
    width = padded(n_out, packed.lanes)
    weights = job.weights[0]
    for r in range(size):
        x = vector(X, r * n_in, n_in)
        row = vector(job.dense, row_number(job, start + r) * n_in, n_in)
        for j in range(n_in):
            x[j] = row[j]
    gemm_nn_(size, n_out, n_in, X, 0, n_in, params, weights, n_out, Z, 0, width, False)
    gemm_nt_(size, size, n_in, X, 0, n_in, X, 0, n_in, gram, 0, size, False, scratch)
    z = vector(packed.z, packed.units[1], width)
    b = vector(packed.flat, packed.biases[0], width)
    step = vector(packed.step, packed.units[1], width)
    loss = 0.0
    decay = constant(1, keep)
    for r in range(size):
        row = offset(Z, r * width)
        combine_(r, width, offset(gram, r * size), steps, row, offset(packed.z, packed.units[1]))
        for k in range(width):
            z[k] = decay * z[k] + b[k]
        later_layers_(job, params, packed)
        loss += sample_loss_(job, packed, row_number(job, start + r), rate)
        later_layers_update_(job, params, packed, keep)
        decay *= keep
        kept = vector(steps, r * width, width)
        for k in range(width):
            kept[k] = -step[k] / decay
            b[k] -= step[k]
    gemm_tn_(n_in, n_out, size, X, 0, n_in, steps, 0, width, params, weights, n_out, True)
    if decay != 1:
        W = vector(params, weights, n_in * n_out)
        for i in range(W.size):
            W[i] *= decay
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
    in_place = job.sparse or block > 1 or job.sizes[1] == width
    places = np.empty((4, job.n_layers + 1), np.int64)
    units, weights, biases, turned = places[0], places[1], places[2], places[3]
    first = 1 if in_place else 0
    n_params, n_units = layout_(job, lanes, first, units, weights, biases, turned)
    work_params = np.zeros(n_params, params.dtype)
    work_z = np.zeros(n_units, params.dtype)
    work_a = np.zeros(n_units, params.dtype)
    work_step = np.zeros(n_units, params.dtype)
    packed = Packed(
        lanes, first, pointer(units), pointer(weights), pointer(biases), pointer(turned),
        pointer(work_params), pointer(work_z), pointer(work_a), pointer(work_step),
    )  # fmt: skip
    pack_(job, flat, packed)
    keep = constant(1 - rate * l2, params[0])
    loss, weight = 0.0, 0.0
    for t in range(start, stop):
        weight += row_weight(job, row_number(job, t))
    scratch_size = block * (2 * n_in + 2 * width + block) if block > 1 else 0
    work_rows = np.zeros(scratch_size, params.dtype)
    if block > 1:
        X = pointer(work_rows)
        Z = offset(X, block * n_in)
        steps = offset(Z, block * width)
        gram = offset(steps, block * width)
        scratch = offset(gram, block * block)
        for t in range(start, stop, block):
            size = min(block, stop - t)
            loss += train_block_(
                job, flat, packed, t, size, rate, keep, X, Z, steps, gram, scratch
            )  # fmt: skip
    else:
        for t in range(start, stop):
            if t + AHEAD < stop and not job.sparse:
                prefetch_(job.dense, row_number(job, t + AHEAD) * n_in)
            loss += train_row_(job, flat, packed, row_number(job, t), rate, keep)
    unpack_(job, packed, flat)
    totals[0] += loss
    totals[1] += weight
    keep_alive((places, work_params, work_z, work_a, work_step, work_rows))
