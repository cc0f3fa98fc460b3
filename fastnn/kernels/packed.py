"""A network's parameters in whole vectors, for steps of one row at a time.

For one row a layer costs its weights' vectors.  ``W`` (n_in, n_out) by rows takes
``n_in * ceil(n_out / lanes)``; turned, by its columns, ``n_out * ceil(n_in / lanes)``.  Either is
padded with zeros and does all three products, and the cheaper one is kept in a workspace while
a kernel runs: 100 -> 2 by rows is 100 vectors of which 14 of 16 lanes idle, turned 14.

Units (scores, activations, steps) are padded with zeros likewise.  The padding of the output's
biases, and so of its scores, is -inf, whose share in a softmax is 0.
"""

import math
from typing import Any, NamedTuple

from fastnn.kernels.activations import activate_whole_, deactivate_whole_
from fastnn.kernels.jit import helper, scalar
from fastnn.kernels.row import combine_, copy_, dots_, rank_one_, subtract_, trim_
from fastnn.kernels.views import offset

#: What the sums within a vector cost, in vectors of weights, per vector of results.
SUMS = 8


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
    flat
        The packed parameters.
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
def pack_(job, params, packed):
    """Copy the parameters to the packed ones, and fill the padding, which is zero so far."""
    for l in range(job.n_layers):
        n_in, n_out = job.sizes[l], job.sizes[l + 1]
        row, column = strides(packed, l, n_in, n_out)
        for j in range(n_in if l >= packed.first else 0):
            for k in range(n_out):
                weight = params[job.weights[l] + j * n_out + k]
                packed.flat[packed.weights[l] + j * row + k * column] = weight
        for k in range(n_out):
            packed.flat[packed.biases[l] + k] = params[job.biases[l] + k]
    n_out = job.sizes[job.n_layers]
    for k in range(n_out, padded(n_out, packed.lanes)):
        packed.flat[packed.biases[job.n_layers - 1] + k] = -math.inf
        packed.z[packed.units[job.n_layers] + k] = -math.inf  # CSR rows do not write it


@helper
def unpack_(job, packed, params):
    """Copy the packed parameters back."""
    for l in range(job.n_layers):
        n_in, n_out = job.sizes[l], job.sizes[l + 1]
        row, column = strides(packed, l, n_in, n_out)
        for j in range(n_in if l >= packed.first else 0):
            for k in range(n_out):
                weight = packed.flat[packed.weights[l] + j * row + k * column]
                params[job.weights[l] + j * n_out + k] = weight
        for k in range(n_out):
            params[job.biases[l] + k] = packed.flat[packed.biases[l] + k]


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
def input_(job, packed, i):
    """Return row ``i``, in place or, for weights by columns, in whole vectors."""
    n_in = job.sizes[0]
    row = offset(job.dense, i * n_in)
    if not packed.turned[0]:
        return row
    copy_(n_in, row, packed.a)
    return packed.a


@scalar
def layer_forward_(job, params, packed, l, x):
    """Write the scores ``z = x W + b`` of a layer."""
    n_in, n_out = job.sizes[l], job.sizes[l + 1]
    W, b = weights_of(job, params, packed, l), offset(packed.flat, packed.biases[l])
    z = offset(packed.z, packed.units[l + 1])
    if packed.turned[l]:
        dots_(n_out, padded(n_in, packed.lanes), x, W, b, z)
    else:
        combine_(n_in, padded(n_out, packed.lanes), x, W, b, z)


@scalar
def layer_update_(job, params, packed, l, keep, x):
    """Subtract a layer's gradient of one row: ``W = keep W - x^T step``, ``b -= step``."""
    n_in, n_out = job.sizes[l], job.sizes[l + 1]
    W, b = weights_of(job, params, packed, l), offset(packed.flat, packed.biases[l])
    step = offset(packed.step, packed.units[l + 1])
    if packed.turned[l]:
        rank_one_(n_out, padded(n_in, packed.lanes), keep, step, x, W)
    else:
        rank_one_(n_in, padded(n_out, packed.lanes), keep, x, step, W)
    subtract_(padded(n_out, packed.lanes), step, b)


@scalar
def layer_backward_(job, params, packed, l):
    """Write ``step W^T`` of a layer to the units below."""
    n_in, n_out = job.sizes[l], job.sizes[l + 1]
    W = weights_of(job, params, packed, l)
    step, below = offset(packed.step, packed.units[l + 1]), offset(packed.step, packed.units[l])
    if packed.turned[l]:
        combine_(n_out, padded(n_in, packed.lanes), step, W, None, below)
    else:
        dots_(n_in, padded(n_out, packed.lanes), step, W, None, below)


@scalar
def later_layers_(job, params, packed):
    """Write activations and scores above the first layer's scores."""
    for l in range(1, job.n_layers):
        n_in, at = job.sizes[l], packed.units[l]
        activate_whole_(job.activations[l - 1], n_in, at, packed.z, packed.a)
        x = offset(packed.a, at)
        trim_(n_in, x)
        layer_forward_(job, params, packed, l, x)


@scalar
def later_layers_update_(job, params, packed, keep):
    """Hand the output's step down to the first layer's, and update the layers above that."""
    for down in range(job.n_layers - 1):
        l = job.n_layers - 1 - down
        n_in, at = job.sizes[l], packed.units[l]
        layer_backward_(job, params, packed, l)
        deactivate_whole_(job.activations[l - 1], n_in, at, packed.z, packed.a, packed.step)
        layer_update_(job, params, packed, l, keep, offset(packed.a, at))
