"""The loss of one row, scored in whole vectors, and the step of its scores.

A row's loss comes as a sum ``value + scale log(factor)``: the logarithm of a product of many rows'
factors costs as much as that of one.
"""

from fastnn.kernels.elementary import exp, log
from fastnn.kernels.elementwise import map_whole_
from fastnn.kernels.jit import scalar
from fastnn.kernels.losses import CODES, loss_
from fastnn.kernels.output_row import hand_down_, output_step_, softmax_step_
from fastnn.kernels.packed import padded, step_of
from fastnn.kernels.plan import row_weight
from fastnn.kernels.row import dots_, residual_, shift_
from fastnn.kernels.views import constant, offset

CROSS_ENTROPY = CODES["cross_entropy"]
#: Sums of ``exp(z)`` up to this, or its inverse, have lost nothing to overflow or underflow.
SAFE = 1e20
#: A product up to this, or its inverse, takes another factor.
ENOUGH = 1e200


@scalar
def sample_loss_(job, packed, i, rate, first):
    """Return ``(value, factor)`` of a scored row: ``w_i J_i = value + loss_scale * log(factor)``.

    Writes the output's ``step = rate * w_i * dJ/dz``, which is at ``first`` where layer 1 is it.
    """
    n_out, z = job.sizes[job.n_layers], offset(packed.z, packed.units[job.n_layers])
    step = step_of(packed, job.n_layers, first)
    y = offset(job.y, i * job.n_targets)
    weight = job.loss_scale * row_weight(job, i)
    scale = constant(rate * weight, z[0])
    if job.loss == CROSS_ENTROPY and job.n_targets == 1:
        width, label = padded(n_out, packed.lanes), int(y[0])
        # The maximum is seldom needed, and on the way from one row to the next it takes long.
        map_whole_(exp, width, 0, z, step)
        total = float(residual_(n_out, width, step, label, scale, step))
        surprise = -float(z[label])
        if not 1 / SAFE < total < SAFE:
            largest = shift_(width, z, step)
            map_whole_(exp, width, 0, step, step)
            total = float(residual_(n_out, width, step, label, scale, step))
            surprise = float(largest - z[label])
        if job.weighted:
            return weight * (surprise + log(total)), 1.0
        return weight * surprise, total
    value = loss_(job.loss, 1, n_out, job.n_targets, z, y, constant(job.loss_parameter, z[0]), step)
    for k in range(n_out):
        step[k] *= scale
    return weight * value, 1.0


@scalar
def steps_at_once(job, packed, descent):
    """Return whether `output_step` can make the step of the output layer."""
    l = job.n_layers - 1
    labels = job.loss == CROSS_ENTROPY and job.n_targets == 1
    return labels and l > 0 and packed.turned[l] and not descent.momentum


@scalar
def output_step(job, packed, descent, slope, i, rate, first):
    """Return `sample_loss_` of a row that is not scored yet, whose output layer is updated, too.

    The step of the layer below has been multiplied by its ``slope``.  The factor is 0 where it
    must be done otherwise, and then nothing is.
    """
    l = job.n_layers - 1
    n_in, n_out, at = job.sizes[l], job.sizes[l + 1], packed.units[l + 1]
    z, step, below = offset(packed.z, at), offset(packed.step, at), step_of(packed, l, first)
    v, W = offset(packed.a, packed.units[l]), offset(packed.flat, packed.weights[l])
    b, width = offset(packed.flat, packed.biases[l]), padded(n_in, packed.lanes)
    label = int(job.y[i])
    weight = job.loss_scale * row_weight(job, i)
    scale, keep = constant(rate * weight, z[0]), descent.keep
    if n_out <= packed.lanes:
        total = output_step_(
            n_out, width, keep, slope.c0, slope.c1, slope.c2, label, scale, v, W, b, z, step, below
        )  # fmt: skip
    else:
        dots_(n_out, width, v, W, b, z)
        total = softmax_step_(n_out, padded(n_out, packed.lanes), label, scale, z, b, step)
        if total > 0:
            hand_down_(n_out, width, keep, slope.c0, slope.c1, slope.c2, v, W, step, below)
    surprise, factor = -float(z[label]), float(total)
    if job.weighted and factor > 0:
        return weight * (surprise + log(factor)), 1.0
    return weight * surprise, factor


@scalar
def settle(job, loss, product):
    """Return the loss and the product of factors, whose logarithm joins the loss when due."""
    if 1 / ENOUGH < product < ENOUGH:
        return loss, product
    return loss + job.loss_scale * log(product), 1.0
