"""Exact per-sample SGD: sample ``t + 1`` sees the weights that sample ``t`` left.

``w <- w - rate * dJ_i/dw`` after each row, with the L2 penalty as a decay of the weights.
"""

import numpy as np

from fastnn.kernels.activations import activate_, deactivate_
from fastnn.kernels.dense import (
    row_backward_,
    row_forward_,
    row_update_,
    sparse_row_forward_,
    sparse_row_update_,
)
from fastnn.kernels.jit import helper, kernel
from fastnn.kernels.losses import loss_row
from fastnn.kernels.plan import row_number
from fastnn.kernels.views import constant, matrix, vector


@helper
def sample_forward_(plan, params, rows, i, z, a):
    """Write scores and activations of row ``i``."""
    n_layers = plan.weights.size
    if rows.indptr.size == 0:
        for j in range(plan.sizes[0]):
            a[j] = rows.dense[i, j]
    for l in range(n_layers):
        n_in, n_out = plan.sizes[l], plan.sizes[l + 1]
        W = matrix(params, plan.weights[l], n_in, n_out)
        b = vector(params, plan.biases[l], n_out)
        above = vector(z, plan.units[l + 1], n_out)
        if l == 0 and rows.indptr.size > 0:
            sparse_row_forward_(
                rows.data, rows.indices, rows.indptr[i], rows.indptr[i + 1], W, b, above
            )
        else:
            row_forward_(vector(a, plan.units[l], n_in), W, b, above)
        if l + 1 < n_layers:
            activate_(plan.activations[l], above, vector(a, plan.units[l + 1], n_out))


@helper
def sample_backward_update_(plan, params, rows, i, keep, z, a, step):
    """Update every layer from the output's ``step = rate * delta`` down."""
    for down in range(plan.weights.size):
        l = plan.weights.size - 1 - down
        n_in, n_out = plan.sizes[l], plan.sizes[l + 1]
        W = matrix(params, plan.weights[l], n_in, n_out)
        b = vector(params, plan.biases[l], n_out)
        above = vector(step, plan.units[l + 1], n_out)
        if l > 0:
            below = vector(step, plan.units[l], n_in)
            row_backward_(W, above, below)
            x = vector(a, plan.units[l], n_in)
            deactivate_(plan.activations[l - 1], vector(z, plan.units[l], n_in), x, below)
            row_update_(x, W, b, keep, above)
        elif rows.indptr.size > 0:
            first, last = rows.indptr[i], rows.indptr[i + 1]
            sparse_row_update_(rows.data, rows.indices, first, last, W, b, keep, above)
        else:
            row_update_(vector(a, 0, n_in), W, b, keep, above)


@kernel
def train_samples_(plan, params, rows, targets, order, start, stop, rate, l2, totals):
    """Make one SGD step for each of rows ``order[start:stop]`` in turn.

    Writes ``params``; adds ``sum_i w_i J_i``, each before its own step, and ``sum_i w_i`` to
    ``totals`` (2,) float64.  A row's step is in proportion to its weight.
    """
    z = np.empty(plan.units[-1], params.dtype)
    a = np.empty_like(z)
    step = np.empty_like(z)
    n_out = plan.sizes[-1]
    top = plan.units[plan.sizes.size - 1]
    Z = matrix(z, top, 1, n_out)
    D = matrix(step, top, 1, n_out)
    parameter = constant(plan.loss_parameter, params[0])
    keep = constant(1 - rate * l2, params[0])
    for t in range(start, stop):
        i = row_number(order, t)
        sample_forward_(plan, params, rows, i, z, a)
        value = loss_row(plan.loss, Z, 0, targets.y, i, parameter, D)
        weight = 1.0
        if targets.weight.size > 0:
            weight = float(targets.weight[i])
        totals[0] += plan.loss_scale * weight * value
        totals[1] += weight
        factor = constant(rate * plan.loss_scale * weight, params[0])
        for k in range(n_out):
            D[0, k] *= factor
        sample_backward_update_(plan, params, rows, i, keep, z, a, step)
