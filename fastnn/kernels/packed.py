"""A network's parameters in whole vectors, for steps of one row at a time.

For one row a layer costs its weights' vectors.  ``W`` (n_in, n_out) by rows takes
``n_in * ceil(n_out / lanes)``; turned, by its columns, ``n_out * ceil(n_in / lanes)``.  Either is
padded with zeros and does all three products, and the cheaper one is kept in a workspace while
a kernel runs: 100 -> 2 by rows is 100 vectors of which 14 of 16 lanes idle, turned 14.

Units (scores, activations, steps) are padded with zeros likewise.  The padding of the output's
biases, and so of its scores, is so low that its share in a softmax is 0.
"""

from typing import Any, NamedTuple

from fastnn.kernels.activations import LOGISTIC, activate_whole_, deactivate_whole_
from fastnn.kernels.jit import helper, scalar
from fastnn.kernels.row import (
    combine_,
    combine_sigmoid_,
    copy_,
    dots_,
    heavy_ball_,
    rank_one_,
    subtract_,
    trim_,
)
from fastnn.kernels.views import constant, offset, only_if

#: What the sums within a vector cost, in vectors of weights, per vector of results.
SUMS = 8
#: Numbers of a matrix beyond which it does not stay in a core's own cache, but is read from a
#: cache that cores share, or from memory.
LARGE = 1 << 16
#: A score whose exponential is 0 in both precisions; infinity times 0 would be NaN.
LOWEST = -1e38


class Descent(NamedTuple):
    """How the gradient ``g`` of a row, times the rate, changes the weights ``w``.

    Without momentum it is ``w = keep w - g``, else ``v = mu v - (g + decay w)``, and
    ``w += ahead v - direct (g + decay w)``: with (1, 0) Polyak's step, with (mu, 1) Nesterov's.
    Biases do not decay.
    """

    keep: float
    momentum: bool
    decay: float
    mu: float
    ahead: float
    direct: float


class Packed(NamedTuple):
    """The layers of a job in whole vectors; all but ``lanes`` and ``first`` are `pointer`s.

    Attributes
    ----------
    lanes : int
        Numbers of a vector.
    first : int
        The first layer whose weights are packed: 1 where those of layer 0 stay where they are.
    units, weights, biases, turned
        Of each layer: where its inputs start in ``z``, ``a`` and ``step``; where its weights and
        biases start in ``flat``; whether the weights are there by columns.
    flat, velocity
        The packed parameters, and with momentum their velocities.
    one
        The number 1.
    z, a, step
        The units' scores and activations, and ``rate * dJ/dz``.
    """

    lanes: int
    first: int
    units: Any
    weights: Any
    biases: Any
    turned: Any
    flat: Any
    velocity: Any
    one: Any
    z: Any
    a: Any
    step: Any


@scalar
def padded(n, lanes):
    """Return the least multiple of ``lanes``, a power of two, that holds ``n``."""
    return (n + lanes - 1) & -lanes


@helper
def turns(l, n_in, n_out, lanes):
    """Return whether a layer's weights take less time by columns than by rows."""
    by_rows = n_in * padded(n_out, lanes)
    if l > 0:  # layer 0 hands nothing down, so by rows it needs no sums within vectors
        by_rows += SUMS * padded(n_in, lanes)
    return n_out * padded(n_in, lanes) + SUMS * padded(n_out, lanes) < by_rows


@helper
def layout_(job, lanes, first, units, weights, biases, turned):
    """Write where everything stands; return the sizes of the parameters and of the units."""
    size = 0
    units[0] = 0
    for l in range(job.n_layers):
        n_in, n_out = job.sizes[l], job.sizes[l + 1]
        turned[l] = l >= first and turns(l, n_in, n_out, lanes)
        units[l + 1] = units[l] + padded(n_in, lanes)
        weights[l] = size
        if l >= first:
            size += n_out * padded(n_in, lanes) if turned[l] else n_in * padded(n_out, lanes)
        biases[l] = size
        size += padded(n_out, lanes)
    return size, units[job.n_layers] + padded(job.sizes[job.n_layers], lanes)


@helper
def pack_(job, packed, values, out):
    """Copy parameters, or numbers laid out alike, to their places in ``out``."""
    for l in range(job.n_layers):
        n_in, n_out = job.sizes[l], job.sizes[l + 1]
        row, column = strides(packed, l, n_in, n_out)
        for j in range(n_in if l >= packed.first else 0):
            for k in range(n_out):
                weight = values[job.weights[l] + j * n_out + k]
                out[packed.weights[l] + j * row + k * column] = weight
        for k in range(n_out):
            out[packed.biases[l] + k] = values[job.biases[l] + k]


@helper
def fill_padding_(job, packed):
    """Fill the padding of the output's biases and scores; all other is zero already."""
    n_out = job.sizes[job.n_layers]
    for k in range(n_out, padded(n_out, packed.lanes)):
        packed.flat[packed.biases[job.n_layers - 1] + k] = LOWEST
        packed.z[packed.units[job.n_layers] + k] = LOWEST  # CSR rows do not write it


@helper
def unpack_(job, packed, values, out):
    """Copy packed ``values`` back."""
    for l in range(job.n_layers):
        n_in, n_out = job.sizes[l], job.sizes[l + 1]
        row, column = strides(packed, l, n_in, n_out)
        for j in range(n_in if l >= packed.first else 0):
            for k in range(n_out):
                weight = values[packed.weights[l] + j * row + k * column]
                out[job.weights[l] + j * n_out + k] = weight
        for k in range(n_out):
            out[job.biases[l] + k] = values[packed.biases[l] + k]


@helper
def strides(packed, l, n_in, n_out):
    """Return the distances between rows and between columns of a layer's packed weights."""
    if packed.turned[l]:
        return 1, padded(n_in, packed.lanes)
    return padded(n_out, packed.lanes), 1


@scalar
def weights_of(job, params, packed, l):
    """Return a layer's weights, packed or where they are."""
    if l < packed.first:
        return offset(params, job.weights[l])
    return offset(packed.flat, packed.weights[l])


@scalar
def strip_rows(packed, count, width):
    """Return how many of a matrix's rows are read from end to end before the next: all, if small.

    Column by column a large matrix comes a few numbers from each page of memory, at half the rate.
    """
    return packed.lanes if count * width > LARGE else count


@scalar
def combine_strips_(packed, count, width, x, W, start, out):
    """Do what `combine_` does, and read a large matrix row by row."""
    rows = strip_rows(packed, count, width)
    for i in range(0, count, rows):
        begin = start if i == 0 else out
        combine_(min(rows, count - i), width, offset(x, i), offset(W, i * width), begin, out)


@scalar
def input_(job, packed, i):
    """Return row ``i``, in place or, for weights by columns, in whole vectors."""
    n_in = job.sizes[0]
    row = offset(job.dense, i * n_in)
    if not packed.turned[0]:
        return row
    copy_(n_in, row, packed.a)
    return packed.a


@scalar
def activates_at_once(job, packed):
    """Return whether the first layer's activations are computed as its scores are summed."""
    return job.n_layers > 1 and job.activations[0] == LOGISTIC and not packed.turned[0]


@scalar
def first_activation_(count, n_out, packed, x, W, start):
    """Write the activations ``sigmoid(start + sum_i x_i W_i)`` of the first layer."""
    a = offset(packed.a, packed.units[1])
    combine_sigmoid_(count, padded(n_out, packed.lanes), x, W, start, a)
    trim_(n_out, a)


@scalar
def layer_forward_(job, params, packed, l, x):
    """Write the scores ``z = x W + b`` of a layer."""
    n_in, n_out = job.sizes[l], job.sizes[l + 1]
    W, b = weights_of(job, params, packed, l), offset(packed.flat, packed.biases[l])
    z = offset(packed.z, packed.units[l + 1])
    if packed.turned[l]:
        dots_(n_out, padded(n_in, packed.lanes), x, W, b, z)
    else:
        combine_strips_(packed, n_in, padded(n_out, packed.lanes), x, W, b, z)


@scalar
def step_of(packed, l, first):
    """Return the step of the units of layer ``l``; that of layer 1 is at ``first``."""
    return first if l == 1 else offset(packed.step, packed.units[l])


@scalar
def layer_update_(job, params, packed, l, descent, x, first):
    """Change a layer's weights by the gradient ``x^T step`` of one row, its biases by ``step``.

    Before, unless it is the first layer, write ``step W^T`` to the units below.
    """
    n_in, n_out = job.sizes[l], job.sizes[l + 1]
    W, step = weights_of(job, params, packed, l), step_of(packed, l + 1, first)
    below = step_of(packed, l, first)
    turned, count, width, left, right = False, n_in, padded(n_out, packed.lanes), x, step
    if packed.turned[l]:
        turned, count, width, left, right = True, n_out, padded(n_in, packed.lanes), step, x
    rows = strip_rows(packed, count, width)
    for i in range(0, count, rows):
        some, at = min(rows, count - i), i * width
        if l > 0 and turned:
            combine_(some, width, offset(step, i), offset(W, at), only_if(i > 0, below), below)
        elif l > 0:
            dots_(some, width, step, offset(W, at), None, offset(below, i))
        if descent.momentum:
            V = offset(packed.velocity, packed.weights[l] + at)
            heavy_ball_(
                some, width, descent.decay, descent.mu, descent.ahead, descent.direct,
                offset(left, i), right, offset(W, at), V,
            )  # fmt: skip
        else:
            rank_one_(some, width, descent.keep, offset(left, i), right, offset(W, at))
    b = offset(packed.flat, packed.biases[l])
    bias_update_(packed, l, padded(n_out, packed.lanes), descent, step, b)


@scalar
def bias_update_(packed, l, width, descent, step, b):
    """Change the biases ``b`` of a layer by the gradient of one row."""
    if descent.momentum:
        velocity = offset(packed.velocity, packed.biases[l])
        still = constant(0, descent.mu)
        heavy_ball_(
            1, width, still, descent.mu, descent.ahead, descent.direct,
            packed.one, step, b, velocity,
        )  # fmt: skip
    else:
        subtract_(width, step, b)


@scalar
def later_layers_(job, params, packed, last, activated):
    """Write activations above the first layer's scores, and scores up to those of ``last``.

    The first layer may be ``activated`` already.
    """
    for l in range(1, job.n_layers):
        n_in, at = job.sizes[l], packed.units[l]
        x = offset(packed.a, at)
        if l > 1 or not activated:
            activate_whole_(job.activations[l - 1], n_in, at, packed.z, packed.a)
            trim_(n_in, x)
        if l <= last:
            layer_forward_(job, params, packed, l, x)


@scalar
def later_layers_update_(job, params, packed, descent, last, known, first):
    """Hand the output's step down to layer 1, at ``first``, and update the layers above that.

    Those above ``last`` have been updated, and have handed theirs down, times the slope if that
    is ``known``.
    """
    for down in range(job.n_layers - 1):
        l = job.n_layers - 1 - down
        n_in, at = job.sizes[l], packed.units[l]
        z, a, step = offset(packed.z, at), offset(packed.a, at), step_of(packed, l, first)
        if l <= last:
            layer_update_(job, params, packed, l, descent, a, first)
        if l <= last or not known:
            deactivate_whole_(job.activations[l - 1], n_in, 0, z, a, step)
