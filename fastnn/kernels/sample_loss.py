"""The loss of one row, scored in whole vectors, and the step of its scores.

A row's loss comes as a sum ``value + scale log(factor)``: the logarithm of a product of many rows'
factors costs as much as that of one.
"""

from fastnn.kernels.elementary import exp, log
from fastnn.kernels.elementwise import map_whole_
from fastnn.kernels.jit import scalar
from fastnn.kernels.losses import CODES, loss_
from fastnn.kernels.packed import padded
from fastnn.kernels.plan import row_weight
from fastnn.kernels.row import residual_, shift_
from fastnn.kernels.views import constant, offset

CROSS_ENTROPY = CODES["cross_entropy"]
#: Sums of ``exp(z)`` up to this, or its inverse, have lost nothing to overflow or underflow.
SAFE = 1e20
#: A product up to this, or its inverse, takes another factor.
ENOUGH = 1e200


@scalar
def sample_loss_(job, packed, i, rate):
    """Return ``(value, factor)`` of a scored row: ``w_i J_i = value + loss_scale * log(factor)``.

    Writes the output's ``step = rate * w_i * dJ/dz``.
    """
    n_out, at = job.sizes[job.n_layers], packed.units[job.n_layers]
    z, step = offset(packed.z, at), offset(packed.step, at)
    y = offset(job.y, i * job.n_targets)
    weight = job.loss_scale * row_weight(job, i)
    scale = constant(rate * weight, z[0])
    if job.loss == CROSS_ENTROPY and job.n_targets == 1:
        width, label = padded(n_out, packed.lanes), int(y[0])
        # The maximum is seldom needed, and on the way from one row to the next it takes long.
        map_whole_(exp, width, at, packed.z, packed.step)
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
def settle(job, loss, product):
    """Return the loss and the product of factors, whose logarithm joins the loss when due."""
    if 1 / ENOUGH < product < ENOUGH:
        return loss, product
    return loss + job.loss_scale * log(product), 1.0
