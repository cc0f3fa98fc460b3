"""Exact per-sample SGD: sample ``t + 1`` sees the weights that sample ``t`` left.

``w <- w - rate * dJ_i/dw`` after each row, with the L2 penalty as a decay of the weights, and
with Polyak's or Nesterov's momentum on request.

Two forms of the same sequence of weights.  The row form makes each step as it comes: it reads
and writes every weight once a sample.  The blocked form, in `blocked`, postpones the first
layer's weights.  The two agree to rounding.
"""

import numpy as np

from fastnn.kernels.activations import slope_of
from fastnn.kernels.block_pass import most_rows
from fastnn.kernels.block_rows import is_swift, swift_rows_
from fastnn.kernels.blocked import (
    block_rows,
    block_size,
    corrections_,
    divide,
    fades,
    pack_biases_,
    pack_panels_,
    prefetch_row_,
    raise_powers_,
    turn_,
    unpack_biases_,
    unpack_panels_,
)
from fastnn.kernels.dense import sparse_row_forward_, sparse_row_update_
from fastnn.kernels.elementary import log
from fastnn.kernels.jit import helper, kernel
from fastnn.kernels.optimizers import CODES
from fastnn.kernels.packed import (
    Descent,
    Packed,
    activates_at_once,
    bias_update_,
    fill_padding_,
    first_activation_,
    input_,
    later_layers_,
    later_layers_update_,
    layer_forward_,
    layer_update_,
    layout_,
    pack_,
    padded,
    unpack_,
    weights_of,
)
from fastnn.kernels.plan import borrow, row_number, row_weight
from fastnn.kernels.row import combine_, lanes_of
from fastnn.kernels.sample_loss import output_step, sample_loss_, settle, steps_at_once
from fastnn.kernels.simd import prefetch_
from fastnn.kernels.slim import is_slim, train_slim_
from fastnn.kernels.subnormals import flushing_
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
NESTEROV = CODES["nesterov"]


@helper
def descent_of(rule, momentum, rate, like):
    """Return the `Descent` of a rule, in the precision of ``like``."""
    mu = rule.options[0] if momentum else 0.0
    nesterov = rule.optimizer == NESTEROV
    decay = rate * rule.l2
    return Descent(
        constant(1 - decay, like), momentum, constant(decay, like), constant(mu, like),
        constant(mu if nesterov else 1.0, like), constant(1.0 if nesterov else 0.0, like),
    )  # fmt: skip


@helper
def train_each_sample_(
    plan, params, rows, targets, order, start, stop, rule, rate, slots, block, totals
):  # fmt: skip
    """Do what `train_samples_` does, subnormal numbers being zero."""
    job = borrow(plan, rows, targets, order)
    if is_slim(job, slots):
        train_slim_(job, params, start, stop, rate, rule.l2, totals)
        return
    flat, velocity = pointer(params), pointer(slots)
    lanes = lanes_of(flat)
    n_in, n_out = job.sizes[0], job.sizes[1]
    width, momentum = padded(n_out, lanes), slots.size > 0
    most = most_rows(flat)
    if job.sparse or (block == 0 and stop - start < most):
        block = 1
    elif block == 0:
        block = block_rows(n_in, n_out, lanes, params.itemsize, momentum, most)
    block = min(block, most)
    places = np.empty((4, job.n_layers + 1), np.int64)
    units, weights, biases, turned = places[0], places[1], places[2], places[3]
    labels = np.empty(most, np.int64)
    first = 1 if job.sparse or block > 1 else 0
    n_params, n_units = layout_(job, lanes, first, units, weights, biases, turned)
    descent = descent_of(rule, momentum, rate, params[0])
    n_velocity = n_params if momentum else 0
    numbers = n_params + n_velocity + lanes + 3 * n_units + LINE_BYTES
    if block > 1:
        numbers += block_size(n_in, width, most, lanes, momentum)
    memory = np.zeros(numbers, params.dtype)
    work = aligned(memory)
    one = offset(work, n_params + n_velocity)
    one[0] = 1
    z = offset(one, lanes)
    packed = Packed(
        lanes, first, pointer(units), pointer(weights), pointer(biases), pointer(turned),
        work, offset(work, n_params), one, z, offset(z, n_units), offset(z, 2 * n_units),
    )  # fmt: skip
    blocks = divide(
        offset(z, 3 * n_units), n_in, width, block, most, lanes, params.itemsize, momentum
    )  # fmt: skip
    pack_(job, packed, flat, packed.flat)
    if momentum:
        pack_(job, packed, velocity, packed.velocity)
    fill_padding_(job, packed)
    W = matrix(flat, job.weights[0], n_in, n_out)
    bias = offset(packed.flat, packed.biases[0])
    b = vector(bias, 0, n_out)
    if block > 1:
        raise_powers_(blocks, descent)
        pack_panels_(blocks, n_in, n_out, offset(flat, job.weights[0]), blocks.W)
        if momentum:
            pack_panels_(blocks, n_in, n_out, offset(velocity, job.weights[0]), blocks.V)
        if not fades(descent):
            pack_biases_(blocks, n_in, bias)
    scores = vector(packed.z, packed.units[1], n_out)
    step = vector(packed.step, packed.units[1], n_out)
    x, first_step = offset(job.dense, 0), offset(packed.step, packed.units[1])
    loss, product, weight = 0.0, 1.0, 0.0
    r, size, number = 0, 0, 0  # the row and the size of the block, and how many there have been
    top, at_once = job.n_layers - 1, steps_at_once(job, packed, descent)
    activated = activates_at_once(job, packed) and not job.sparse
    slope = slope_of(job.activations[top - 1] if top > 0 else 0, params[0])
    swift = block > 1 and at_once and activated and is_swift(job, descent)
    t = start
    while t < stop:
        if block > 1:
            if r == size:
                r, number = 0, number + 1
                following = min(block, stop - t)
                turn_(job, blocks, descent, number, size, t, following, stop)
                size = following
            if swift:
                done, loss, product, weight = swift_rows_(
                    job, packed, blocks, pointer(labels), rate, t, r, size, stop,
                    loss, product, weight,
                )  # fmt: skip
                t, r = t + done - r, done
                if r == size:
                    continue
        i = row_number(job, t)
        if block > 1:
            if t + size < stop:
                prefetch_row_(job, blocks, r, t + size)
            first_step = offset(blocks.steps, r * width)
            gram, begin = corrections_(blocks, descent, r, bias)
            if activated:
                first_activation_(r, n_out, packed, gram, blocks.steps, begin)
            else:
                combine_(r, width, gram, blocks.steps, begin, offset(packed.z, packed.units[1]))
        elif job.sparse:
            sparse_row_forward_(job, i, W, b, scores)
        else:
            if t + AHEAD < stop:
                prefetch_(job.dense, row_number(job, t + AHEAD) * n_in)
            x = input_(job, packed, i)
            if activated:
                first_activation_(n_in, n_out, packed, x, weights_of(job, flat, packed, 0), bias)
            else:
                layer_forward_(job, flat, packed, 0, x)
        last = top - 1 if at_once else top
        later_layers_(job, flat, packed, last, activated)
        value, factor = 0.0, 0.0
        if at_once:
            value, factor = output_step(job, packed, descent, slope, i, rate, first_step)
        if not factor > 0:
            if at_once:
                layer_forward_(job, flat, packed, top, offset(packed.a, packed.units[top]))
            last = top
            value, factor = sample_loss_(job, packed, i, rate, first_step)
        loss, product = settle(job, loss + value, product * factor)
        weight += row_weight(job, i)
        later_layers_update_(job, flat, packed, descent, last, slope.known, first_step)
        if block > 1:
            if fades(descent):
                bias_update_(packed, 0, width, descent, first_step, bias)
            r += 1
        elif job.sparse:
            sparse_row_update_(job, i, W, b, descent.keep, step)
        else:
            layer_update_(job, flat, packed, 0, descent, x, first_step)
        t += 1
    if block > 1:
        turn_(job, blocks, descent, number + 1, size, stop, 0, stop)
        unpack_panels_(blocks, n_in, n_out, blocks.W, offset(flat, job.weights[0]))
        if momentum:
            unpack_panels_(blocks, n_in, n_out, blocks.V, offset(velocity, job.weights[0]))
        if not fades(descent):
            unpack_biases_(blocks, n_in, bias)
    unpack_(job, packed, packed.flat, flat)
    if momentum:
        unpack_(job, packed, packed.velocity, velocity)
    totals[0] += loss + job.loss_scale * log(product)
    totals[1] += weight
    keep_alive((places, labels, memory))


@kernel
def train_samples_(
    plan, params, rows, targets, order, start, stop, rule, rate, slots, block, totals
):  # fmt: skip
    """Make one SGD step for each of rows ``order[start:stop]`` in turn.

    Writes ``params``, and with momentum the velocities in ``slots``; CSR rows take none.  Of the
    rule it takes the momentum and the ``l2`` penalty.  Adds ``sum_i w_i J_i``, each before its own
    step, and ``sum_i w_i`` to ``totals`` (2,) float64.  A row's step is in proportion to its
    weight.  ``block`` is the number of rows of a block, of as many as there is room for at the
    most, 1 for the row form, 0 for the faster one.
    """
    arguments = (plan, params, rows, targets, order, start, stop, rule, rate, slots, block, totals)
    flushing_(train_each_sample_, arguments)
