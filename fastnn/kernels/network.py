"""Forward and backward through all layers of a `Plan`: the chain rule.

``z[l] = a[l-1] W[l] + b[l]``, ``a[l] = f(z[l])``; then from the loss's ``delta = dJ/dz``
of the output back to the input, ``dJ/dW[l] = a[l-1]^T delta``, ``dJ/db[l] = sum delta`` and
``delta <- (delta W[l]^T) * f'(z[l-1])``.

The workspace of ``B`` rows is three flat vectors ``z, a, delta`` of ``B * plan.units[-1]``
entries; block 0 of ``a`` is the input itself.
"""

from fastnn.kernels.activations import activate_, deactivate_
from fastnn.kernels.dense import (
    batch_backward_,
    batch_forward_,
    batch_gradient_,
    sparse_forward_,
    sparse_gradient_,
)
from fastnn.kernels.jit import helper
from fastnn.kernels.losses import loss_row
from fastnn.kernels.plan import row_number
from fastnn.kernels.views import constant, matrix, vector

#: Rows that go through the network together: enough to keep the matrix products busy, few
#: enough that their activations stay in the cache.
CHUNK = 256


@helper
def gather_(plan, rows, order, start, stop, a):
    """Copy dense rows ``order[start:stop]`` to block 0 of ``a``; CSR rows are read in place."""
    if rows.indptr.size > 0:
        return
    block = matrix(a, 0, stop - start, plan.sizes[0])
    for r in range(stop - start):
        i = row_number(order, start + r)
        for j in range(plan.sizes[0]):
            block[r, j] = rows.dense[i, j]


@helper
def forward_(plan, params, rows, order, start, stop, z, a):
    """Write scores and activations of the gathered rows, layer by layer."""
    batch = stop - start
    for l in range(plan.weights.size):
        n_in, n_out = plan.sizes[l], plan.sizes[l + 1]
        w0, b0 = plan.weights[l], plan.biases[l]
        below, above = batch * plan.units[l], batch * plan.units[l + 1]
        if l == 0 and rows.indptr.size > 0:
            W = matrix(params, w0, n_in, n_out)
            b = vector(params, b0, n_out)
            sparse_forward_(rows, order, start, stop, W, b, z, above)
        else:
            batch_forward_(batch, n_in, n_out, a, below, params, w0, b0, z, above)
        if l + 1 < plan.weights.size:
            size = batch * n_out
            activate_(plan.activations[l], vector(z, above, size), vector(a, above, size))


@helper
def loss_(plan, targets, order, start, stop, scale, z, delta):
    """Return ``sum_i w_i J_i`` of scored rows; write the output's ``delta``, times ``scale``."""
    batch = stop - start
    n_out = plan.sizes[-1]
    top = batch * plan.units[plan.sizes.size - 1]
    Z = matrix(z, top, batch, n_out)
    D = matrix(delta, top, batch, n_out)
    parameter = constant(plan.loss_parameter, z[0])
    total = 0.0
    for r in range(batch):
        i = row_number(order, start + r)
        weight = constant(plan.loss_scale, z[0])
        if targets.weight.size > 0:
            weight *= targets.weight[i]
        total += weight * loss_row(plan.loss, Z, r, targets.y, i, parameter, D)
        factor = weight * constant(scale, z[0])
        for k in range(n_out):
            D[r, k] *= factor
    return total


@helper
def backward_(plan, params, rows, order, start, stop, z, a, delta, grads, scratch):
    """Add the gradient to ``grads``, from the output's ``delta`` down."""
    batch = stop - start
    for down in range(plan.weights.size):
        l = plan.weights.size - 1 - down
        n_in, n_out = plan.sizes[l], plan.sizes[l + 1]
        w0, b0 = plan.weights[l], plan.biases[l]
        below, above = batch * plan.units[l], batch * plan.units[l + 1]
        if l == 0 and rows.indptr.size > 0:
            W = matrix(grads, w0, n_in, n_out)
            D = matrix(delta, above, batch, n_out)
            sparse_gradient_(rows, order, start, stop, D, W, vector(grads, b0, n_out))
        else:
            batch_gradient_(batch, n_in, n_out, a, below, delta, above, grads, w0, b0)
        if l > 0:
            size = batch * n_in
            batch_backward_(batch, n_in, n_out, delta, above, params, w0, delta, below, scratch)
            deactivate_(
                plan.activations[l - 1],
                vector(z, below, size),
                vector(a, below, size),
                vector(delta, below, size),
            )


@helper
def add_gradient_(
    plan, params, rows, targets, order, start, stop, scale, z, a, delta, grads, scratch
):
    """Return ``sum_i w_i J_i`` of rows ``order[start:stop]``; add ``scale`` times its gradient."""
    total = 0.0
    for first in range(start, stop, CHUNK):
        last = min(first + CHUNK, stop)
        gather_(plan, rows, order, first, last, a)
        forward_(plan, params, rows, order, first, last, z, a)
        total += loss_(plan, targets, order, first, last, scale, z, delta)
        backward_(plan, params, rows, order, first, last, z, a, delta, grads, scratch)
    return total
