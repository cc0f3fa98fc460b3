"""Inverted dropout whose mask is a function of counters: it is computed twice, never stored.

Each input of layer ``l`` is set to 0 with probability ``rate = job.dropout[l]``, else divided
by ``1 - rate``, so that its expectation stays and prediction needs no change (Srivastava et al.
2014).  Whether unit ``u`` of the training run's row number ``n`` is kept is a hash of ``seed``
and ``n * units + u``: the backward pass finds the same mask as the forward pass, and the mask
depends neither on how rows are cut into batches and kernel calls nor on a hidden state.

A rate of 0 costs one comparison a layer.  Networks that predict have only such rates.
"""

import numpy as np

from fastnn.kernels.apart import apart
from fastnn.kernels.generators import random_bits
from fastnn.kernels.jit import scalar
from fastnn.kernels.plan import row_number
from fastnn.kernels.views import constant, vector

_U11 = np.uint64(11)
_2_POW_53 = 2.0**53


@scalar
def first_counter(job, l, t):
    """Return the counter of unit 0 of layer ``l``'s input in the row visited at time ``t``."""
    units = np.uint64(job.units[job.n_layers])
    return np.uint64(job.origin + t) * units + np.uint64(job.units[l])


@scalar
def threshold_of(rate):
    """Return what the top 53 of 64 random bits must reach for a unit to be kept."""
    return np.uint64(rate * _2_POW_53)


@scalar
def is_kept(key, counter, threshold):
    """Return whether a unit is kept."""
    return (random_bits(key, counter) >> _U11) >= threshold


@apart
def drop_(job, l, start, stop, a):
    """Drop out of the inputs of layer ``l``, block ``l`` of ``a``, of rows ``start:stop``."""
    rate = job.dropout[l]
    n_in = job.sizes[l]
    key, threshold = np.uint64(job.seed), threshold_of(rate)
    scale, zero = constant(1 / (1 - rate), a[0]), constant(0, a[0])
    for r in range(stop - start):
        row = vector(a, (stop - start) * job.units[l] + r * n_in, n_in)
        first = first_counter(job, l, start + r)
        for j in range(n_in):
            kept = is_kept(key, first + np.uint64(j), threshold)
            row[j] = row[j] * scale if kept else zero


@apart
def undrop_(job, l, start, stop, a, delta):
    """Turn ``dJ/da`` after the dropout of block ``l`` into that before it.

    Kept activations get their own size back, because the derivative may be written from them.
    """
    rate = job.dropout[l]
    n_in = job.sizes[l]
    key, threshold = np.uint64(job.seed), threshold_of(rate)
    scale, keep = constant(1 / (1 - rate), a[0]), constant(1 - rate, a[0])
    zero = constant(0, a[0])
    for r in range(stop - start):
        row = vector(a, (stop - start) * job.units[l] + r * n_in, n_in)
        gradient = vector(delta, (stop - start) * job.units[l] + r * n_in, n_in)
        first = first_counter(job, l, start + r)
        for j in range(n_in):
            kept = is_kept(key, first + np.uint64(j), threshold)
            row[j] *= keep
            gradient[j] = gradient[j] * scale if kept else zero


@apart
def dropped_sparse_forward_(job, start, stop, W, b, z, z0):
    """Write ``X W + b`` of CSR rows, each input of which is dropped out, to the block at ``z0``."""
    rate = job.dropout[0]
    key, threshold = np.uint64(job.seed), threshold_of(rate)
    scale = constant(1 / (1 - rate), z[0])
    for r in range(stop - start):
        above = vector(z, z0 + r * b.size, b.size)
        for k in range(b.size):
            above[k] = b[k]
        i = row_number(job, start + r)
        first = first_counter(job, 0, start + r)
        for p in range(job.indptr[i], job.indptr[i + 1]):
            j = job.indices[p]
            if is_kept(key, first + np.uint64(j), threshold):
                x = job.data[p] * scale
                for k in range(b.size):
                    above[k] += x * W[j, k]


@apart
def dropped_sparse_gradient_(job, start, stop, delta, gW, gb, accumulate):
    """Write, or add, the gradient of the first layer on CSR rows whose inputs are dropped out."""
    rate = job.dropout[0]
    key, threshold = np.uint64(job.seed), threshold_of(rate)
    scale, zero = constant(1 / (1 - rate), gb[0]), constant(0, gb[0])
    if not accumulate:
        for j in range(gW.shape[0]):
            for k in range(gb.size):
                gW[j, k] = zero
        for k in range(gb.size):
            gb[k] = zero
    for r in range(stop - start):
        i = row_number(job, start + r)
        first = first_counter(job, 0, start + r)
        for p in range(job.indptr[i], job.indptr[i + 1]):
            j = job.indices[p]
            if is_kept(key, first + np.uint64(j), threshold):
                x = job.data[p] * scale
                for k in range(gb.size):
                    gW[j, k] += x * delta[r, k]
        for k in range(gb.size):
            gb[k] += delta[r, k]
