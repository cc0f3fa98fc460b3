"""The loss of one row, scored in whole vectors, and the step of its scores."""

from fastnn.kernels.elementary import exp, log
from fastnn.kernels.elementwise import map_whole_
from fastnn.kernels.jit import helper
from fastnn.kernels.losses import CODES, loss_, surprise
from fastnn.kernels.packed import padded
from fastnn.kernels.plan import row_weight
from fastnn.kernels.row import residual_, shift_
from fastnn.kernels.views import constant, offset

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
