"""Forward and backward through all layers of a `Plan`: the chain rule.

``z[l] = a[l-1] W[l] + b[l]``, ``a[l] = f(z[l])``; then from the loss's ``delta = dJ/dz``
of the output back to the input, ``dJ/dW[l] = a[l-1]^T delta``, ``dJ/db[l] = sum delta`` and
``delta <- (delta W[l]^T) * f'(z[l-1])``.

The units of ``B`` rows are three flat vectors ``z, a, delta`` of a `Workspace`, layer after layer.
Activations go over whole vectors of the host's width: in ``a`` and ``delta`` they also write into
the block above theirs, which is not in use then.
"""

import math
from typing import Any, NamedTuple

from fastnn.kernels.activations import CODES, activate_batch_, deactivate_batch_
from fastnn.kernels.apart import apart
from fastnn.kernels.dense import (
    batch_backward_,
    batch_forward_,
    batch_gradient_,
    bias_gradient_,
    sparse_forward_,
    sparse_gradient_,
)
from fastnn.kernels.dropout import (
    drop_,
    dropped_sparse_forward_,
    dropped_sparse_gradient_,
    undrop_,
)
from fastnn.kernels.faults import faults
from fastnn.kernels.gather import gather_rows_
from fastnn.kernels.gemm import descend_
from fastnn.kernels.jit import helper
from fastnn.kernels.losses import loss_
from fastnn.kernels.narrow import is_narrow
from fastnn.kernels.plan import row_number, row_weight
from fastnn.kernels.views import aligned, constant, matrix, offset, vector

#: Rows that go through the network together: as many as have so few bytes of units that they stay
#: in the nearest caches, if that is enough to keep the matrix products busy.
CACHE, FEWEST, MOST = 96 * 1024, 32, 256
#: Every block of the workspace starts at a multiple of this many numbers, and has as many to spare.
LINE = 16


#: The activation that is done in the products' registers.
RELU = CODES["relu"]


class Workspace(NamedTuple):
    """Memory for ``rows`` rows; the others are `pointer`s, each aligned to a cache line.

    Attributes
    ----------
    rows : int
        Rows that go through the network together.
    z, a, delta
        Scores, activations and ``dJ/dz``; block 0 of ``a`` is the input itself.
    y
        Targets, where they have to be brought into order.
    """

    rows: int
    z: Any
    a: Any
    delta: Any
    y: Any


@helper
def lines(n):
    """Return the least multiple of `LINE` that holds ``n`` numbers and one line to spare."""
    return (n + 2 * LINE - 1) // LINE * LINE


@helper
def chunk_rows(job, itemsize, n):
    """Return how many of ``n`` rows go through the network together."""
    fitting = CACHE // (3 * itemsize * job.units[job.n_layers + 1]) // FEWEST * FEWEST
    return min(n, fitting if 0 < fitting < MOST else MOST)


@helper
def workspace_size(job, rows, backward):
    """Return the numbers that `workspace` divides."""
    units = lines(rows * job.units[job.n_layers + 1])
    return (3 if backward else 2) * units + lines(rows * job.n_targets) + LINE


@helper
def workspace(job, rows, memory, backward):
    """Return the `Workspace` in an array of `workspace_size` numbers; not ``backward``, no delta.

    Then ``delta`` is ``a``.
    """
    units = lines(rows * job.units[job.n_layers + 1])
    z = aligned(memory)
    a = offset(z, units)
    delta = offset(a, units if backward else 0)
    y = offset(delta, units)
    return Workspace(rows, z, a, delta, y)


@helper
def gather_(job, start, stop, a):
    """Copy dense rows ``start:stop`` of the order to block 0 of ``a``; others stay in place."""
    if job.sparse or is_in_place(job):
        return
    width = job.sizes[0]
    if job.ordered:
        gather_rows_(stop - start, width, offset(job.order, start), job.dense, a)
        return
    for i in range((stop - start) * width):
        a[i] = job.dense[start * width + i]


@helper
def is_in_place(job):
    """Return whether the first layer reads dense rows where they are: in order, and unchanged."""
    return not job.sparse and not job.ordered and job.dropout[0] == 0


@helper
def inputs(job, l, start, batch, a):
    """Return the (batch, n_in) block that a dense layer takes: a pointer and a position there."""
    if l == 0 and is_in_place(job):
        return offset(job.dense, start * job.sizes[0]), 0
    return a, batch * job.units[l]


@helper
def are_finite(job, start, stop, a):
    """Return whether the gathered rows are finite; of CSR rows it is taken for granted."""
    if job.sparse:
        return True
    x, x0 = inputs(job, 0, start, stop - start, a)
    return faults((stop - start) * job.sizes[0], offset(x, x0)) == 0


@helper
def is_rectified(job, l):
    """Return whether the products of layer ``l`` do its activation themselves: relu.

    Its scores are then not kept: ``z > 0`` where ``a > 0``.
    """
    dense = l > 0 or not job.sparse
    return dense and job.activations[l] == RELU and job.dropout[l + 1] == 0


@apart
def forward_(job, params, start, stop, work):
    """Write scores and activations of the gathered rows, layer by layer."""
    z, a = work.z, work.a
    batch = stop - start
    for l in range(job.n_layers):
        n_in, n_out = job.sizes[l], job.sizes[l + 1]
        w0, b0 = job.weights[l], job.biases[l]
        above = batch * job.units[l + 1]
        if l == 0 and job.sparse:
            W = matrix(params, w0, n_in, n_out)
            b = vector(params, b0, n_out)
            if job.dropout[0] == 0:
                sparse_forward_(job, start, stop, W, b, z, above)
            else:
                dropped_sparse_forward_(job, start, stop, W, b, z, above)
        else:
            if job.dropout[l] != 0:
                drop_(job, l, start, stop, a)
            out, floor = (a, 0.0) if is_rectified(job, l) else (z, -math.inf)
            x, x0 = inputs(job, l, start, batch, a)
            batch_forward_(batch, n_in, n_out, x, x0, params, w0, b0, out, above, floor)
        if l + 1 < job.n_layers and not is_rectified(job, l):
            activate_batch_(job.activations[l], batch * n_out, above, z, a)


@helper
def targets_(job, start, stop, y):
    """Return the targets of rows ``start:stop`` of the order, in place or copied to ``y``."""
    if job.numbered:
        for r in range(stop - start):
            y[r] = job.numbers[row_number(job, start + r)]
        return y
    if not job.ordered:
        return offset(job.y, start * job.n_targets)
    gather_rows_(stop - start, job.n_targets, offset(job.order, start), job.y, y)
    return y


@helper
def evaluate_(job, start, stop, scale, work, delta):
    """Return ``sum_i w_i J_i`` of scored rows; write the output's ``delta``, times ``scale``."""
    top = (stop - start) * job.units[job.n_layers]
    goal = targets_(job, start, stop, work.y)
    return evaluate_rows_(job, start, stop, scale, offset(work.z, top), goal, offset(delta, top))


@helper
def evaluate_rows_(job, start, stop, scale, scores, goal, gradient):
    """Return ``sum_i w_i J_i`` of rows by their scores and targets; write ``scale`` dJ/dz."""
    batch = stop - start
    n_out = job.sizes[job.n_layers]
    parameter = constant(job.loss_parameter, gradient[0])
    if not job.weighted:
        total = loss_(job.loss, batch, n_out, job.n_targets, scores, goal, parameter, gradient)
        scale_(constant(job.loss_scale * scale, gradient[0]), batch * n_out, gradient)
        return job.loss_scale * total
    total = 0.0
    for r in range(batch):
        row = offset(gradient, r * n_out)
        weight = job.loss_scale * row_weight(job, row_number(job, start + r))
        total += weight * loss_(
            job.loss, 1, n_out, job.n_targets,
            offset(scores, r * n_out), offset(goal, r * job.n_targets), parameter, row,
        )  # fmt: skip
        scale_(constant(weight * scale, gradient[0]), n_out, row)
    return total


@helper
def scale_(factor, size, x):
    """Multiply a pointer's ``size`` numbers by ``factor``."""
    for i in range(size):
        x[i] *= factor


@helper
def layer_gradient_(job, start, stop, work, l, first, count, grads, accumulate):
    """Write the gradient of ``count`` rows of weights of layer ``l``, or add it to ``grads``.

    It comes from the layer's ``delta``.  Behind that of the layer's last row is that of its biases.
    Layers of CSR rows have to take all rows of weights at once.
    """
    batch = stop - start
    n_in, n_out = job.sizes[l], job.sizes[l + 1]
    delta = offset(work.delta, batch * job.units[l + 1])
    if l == 0 and job.sparse:
        gW = matrix(grads, 0, n_in, n_out)
        D = matrix(delta, 0, batch, n_out)
        gb = vector(grads, n_in * n_out, n_out)
        if job.dropout[0] == 0:
            sparse_gradient_(job, start, stop, D, gW, gb, accumulate)
        else:
            dropped_sparse_gradient_(job, start, stop, D, gW, gb, accumulate)
    else:
        x, x0 = inputs(job, l, start, batch, work.a)
        batch_gradient_(
            batch, n_in, n_out, x, x0 + first, count, delta, grads, first + count == n_in,
            accumulate,
        )  # fmt: skip


@helper
def hand_down_(job, params, batch, work, l):
    """Write ``delta W^T`` of layer ``l`` to the block below; with relu it is that layer's delta."""
    if l > 0:
        batch_backward_(
            batch, job.sizes[l], job.sizes[l + 1], work.delta, batch * job.units[l + 1],
            params, job.weights[l], work.delta, batch * job.units[l], work.a,
            is_rectified(job, l - 1),
        )  # fmt: skip


@helper
def descend_layer_(job, params, start, stop, work, l, grads, accumulate):
    """Do what `layer_gradient_` does for all of layer ``l``, and `hand_down_`."""
    n_in, n_out, batch = job.sizes[l], job.sizes[l + 1], stop - start
    if l > 0 and is_narrow(n_out, params):
        below, delta = batch * job.units[l], offset(work.delta, batch * job.units[l + 1])
        descend_(
            batch, n_in, n_out, delta, offset(params, job.weights[l]), offset(work.a, below),
            offset(work.delta, below), is_rectified(job, l - 1), grads, accumulate,
        )  # fmt: skip
        bias_gradient_(batch, n_out, delta, offset(grads, n_in * n_out), accumulate)
    else:
        layer_gradient_(job, start, stop, work, l, 0, n_in, grads, accumulate)
        hand_down_(job, params, batch, work, l)


@helper
def complete_delta_(job, start, stop, work, l):
    """Multiply what layer ``l`` has handed down by the derivative of the activation below."""
    if l > 0 and not is_rectified(job, l - 1):
        batch = stop - start
        if job.dropout[l] != 0:
            undrop_(job, l, start, stop, work.a, work.delta)
        deactivate_batch_(
            job.activations[l - 1], batch * job.sizes[l], batch * job.units[l], work.z, work.a,
            work.delta,
        )  # fmt: skip


@helper
def backward_(job, params, start, stop, work, grads, accumulate):
    """Write the gradient to ``grads``, or add it, from the output's ``delta`` down."""
    for down in range(job.n_layers):
        l = job.n_layers - 1 - down
        own = offset(grads, job.weights[l])
        descend_layer_(job, params, start, stop, work, l, own, accumulate)
        complete_delta_(job, start, stop, work, l)


@helper
def gradient_(job, params, start, stop, scale, work, grads, accumulate):
    """Return ``sum_i w_i J_i`` of rows; write, or add, ``scale`` times its gradient."""
    total = 0.0
    for first in range(start, stop, work.rows):
        last = min(first + work.rows, stop)
        gather_(job, first, last, work.a)
        forward_(job, params, first, last, work)
        total += evaluate_(job, first, last, scale, work, work.delta)
        backward_(job, params, first, last, work, grads, accumulate)
        accumulate = True
    return total
