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

from fastnn.kernels.activations import activate_, deactivate_
from fastnn.kernels.dense import (
    backward_,
    forward_,
    sparse_row_forward_,
    sparse_row_update_,
    update_,
)
from fastnn.kernels.gemm import gemm_nn_, gemm_nt_, gemm_tn_
from fastnn.kernels.jit import helper, kernel
from fastnn.kernels.losses import loss_
from fastnn.kernels.plan import borrow, row_number, row_weight
from fastnn.kernels.row import row_forward_
from fastnn.kernels.views import constant, keep_alive, matrix, offset, pointer, vector

#: Rows of a block.  The products gain with its size, the corrections within it cost with it.
BLOCK = 16


@helper
def first_layer_(job, params, i, z, a):
    """Write the first layer's scores of row ``i``, and the row itself to block 0 of ``a``."""
    n_in, n_out = job.sizes[0], job.sizes[1]
    above = offset(z, job.units[1])
    if job.sparse:
        weights = matrix(params, job.weights[0], n_in, n_out)
        biases = vector(params, job.biases[0], n_out)
        sparse_row_forward_(job, i, weights, biases, vector(z, job.units[1], n_out))
        return
    x, row = vector(a, 0, n_in), vector(job.dense, i * n_in, n_in)
    for j in range(n_in):
        x[j] = row[j]
    W, b = offset(params, job.weights[0]), offset(params, job.biases[0])
    forward_(n_in, n_out, a, W, b, above)


@helper
def later_layers_(job, params, z, a):
    """Write scores and activations above the first layer's scores."""
    for l in range(1, job.n_layers):
        n_in, n_out = job.sizes[l], job.sizes[l + 1]
        activate_(job.activations[l - 1], n_in, job.units[l], z, a)
        W, b = offset(params, job.weights[l]), offset(params, job.biases[l])
        forward_(n_in, n_out, offset(a, job.units[l]), W, b, offset(z, job.units[l + 1]))


@helper
def later_layers_update_(job, params, keep, z, a, step):
    """Update the layers above the first and hand ``step = rate * delta`` down to it."""
    for down in range(job.n_layers - 1):
        l = job.n_layers - 1 - down
        n_in, n_out = job.sizes[l], job.sizes[l + 1]
        above, W = offset(step, job.units[l + 1]), offset(params, job.weights[l])
        backward_(n_in, n_out, above, W, offset(step, job.units[l]))
        deactivate_(job.activations[l - 1], n_in, job.units[l], z, a, step)
        b = offset(params, job.biases[l])
        update_(n_in, n_out, keep, offset(a, job.units[l]), above, W, b)


@helper
def first_layer_update_(job, params, i, keep, a, step):
    """Update the first layer from its ``step``."""
    n_in, n_out = job.sizes[0], job.sizes[1]
    if job.sparse:
        weights = matrix(params, job.weights[0], n_in, n_out)
        biases = vector(params, job.biases[0], n_out)
        sparse_row_update_(job, i, weights, biases, keep, vector(step, job.units[1], n_out))
    else:
        W, b = offset(params, job.weights[0]), offset(params, job.biases[0])
        update_(n_in, n_out, keep, a, offset(step, job.units[1]), W, b)


@helper
def sample_loss_(job, i, rate, z, step):
    """Return ``w_i J_i`` of a scored row; write the output's ``step = rate * w_i * delta``."""
    n_out = job.sizes[job.n_layers]
    scores, gradient = offset(z, job.units[job.n_layers]), offset(step, job.units[job.n_layers])
    weight = job.loss_scale * row_weight(job, i)
    value = loss_(
        job.loss, 1, n_out, job.n_targets, scores, offset(job.y, i * job.n_targets),
        constant(job.loss_parameter, z[0]), gradient,
    )  # fmt: skip
    factor = constant(rate * weight, z[0])
    for k in range(n_out):
        gradient[k] *= factor
    return weight * value


@helper
def train_block_(job, params, start, size, rate, keep, z, a, step, X, Z, gram, steps):
    """Make one SGD step for each of ``size`` rows from ``start``, the first layer's at the end.

    Returns ``sum_i w_i J_i``.  ``X`` (size, n_in), ``Z`` and ``steps`` (size, n_out) and
    ``gram`` (size, size) are scratch; ``steps`` holds ``-step_s / keep^{s+1}``.
    """
    n_in, n_out = job.sizes[0], job.sizes[1]
    weights, biases = job.weights[0], job.biases[0]
    for r in range(size):
        x = vector(X, r * n_in, n_in)
        row = vector(job.dense, row_number(job, start + r) * n_in, n_in)
        for j in range(n_in):
            x[j] = row[j]
    gemm_nn_(size, n_out, n_in, X, 0, n_in, params, weights, n_out, Z, 0, n_out, False)
    gemm_nt_(size, size, n_in, X, 0, n_in, X, 0, n_in, gram, 0, size, False, a)
    loss = 0.0
    decay = constant(1, keep)
    for r in range(size):
        above = vector(z, job.units[1], n_out)
        start_z = offset(Z, r * n_out)
        row_forward_(r, n_out, offset(gram, r * size), steps, start_z, offset(z, job.units[1]))
        b = vector(params, biases, n_out)
        for k in range(n_out):
            above[k] = decay * above[k] + b[k]
        later_layers_(job, params, z, a)
        loss += sample_loss_(job, row_number(job, start + r), rate, z, step)
        later_layers_update_(job, params, keep, z, a, step)
        decay *= keep
        kept = vector(steps, r * n_out, n_out)
        below = vector(step, job.units[1], n_out)
        for k in range(n_out):
            kept[k] = -below[k] / decay
            b[k] -= below[k]
    W = vector(params, weights, n_in * n_out)
    gemm_tn_(n_in, n_out, size, X, 0, n_in, steps, 0, n_out, params, weights, n_out, True)
    if decay != 1:
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
    n_in, n_out = job.sizes[0], job.sizes[1]
    units = max(plan.units[-1], n_in * block)
    work_z = np.empty(plan.units[-1], params.dtype)
    work_a = np.empty(units, params.dtype)
    work_step = np.empty(plan.units[-1], params.dtype)
    work_rows = np.empty(block * (n_in + 2 * n_out + block), params.dtype)
    flat, z, a, step = pointer(params), pointer(work_z), pointer(work_a), pointer(work_step)
    X = pointer(work_rows)
    Z = offset(X, block * n_in)
    steps = offset(Z, block * n_out)
    gram = offset(steps, block * n_out)
    keep = constant(1 - rate * l2, params[0])
    loss, weights = 0.0, 0.0
    t = start
    while block > 1 and t + block <= stop:
        loss += train_block_(
            job, flat, t, block, rate, keep, z, a, step, X, Z, gram, steps
        )  # fmt: skip
        t += block
    for i in range(start, stop):
        weights += row_weight(job, row_number(job, i))
    while t < stop:
        i = row_number(job, t)
        first_layer_(job, flat, i, z, a)
        later_layers_(job, flat, z, a)
        loss += sample_loss_(job, i, rate, z, step)
        later_layers_update_(job, flat, keep, z, a, step)
        first_layer_update_(job, flat, i, keep, a, step)
        t += 1
    totals[0] += loss
    totals[1] += weights
    keep_alive((work_z, work_a, work_step, work_rows))
