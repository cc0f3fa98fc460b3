"""Synthetic rows from counters: row ``i`` of a key is a function of ``i``, with no state.

A counter-based generator hashes (key, counter) to 64 random bits, so any slice of the rows can
be made by itself and joins its neighbours to the bit.  The hash is the output function of
SplitMix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators").

Two things keep a row the same however the rows are sliced.  Normals are made in whole blocks
at fixed places of the stream, so that a value never depends on where a vector loop ended.
And a row's arithmetic happens inside that row, in one order.
"""

import math

import numpy as np

from fastnn.kernels.elementary import log, tanh
from fastnn.kernels.jit import elementary, helper, kernel
from fastnn.kernels.views import matrix, vector

#: Normals are made ``BLOCK`` at a time, value ``i`` with value ``i + BLOCK // 2``.
BLOCK = 512

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_LOW_31 = np.uint64(0x7FFFFFFF)
_LOW_32 = np.uint64(0xFFFFFFFF)
_U1 = np.uint64(1)
_U11 = np.uint64(11)
_U27 = np.uint64(27)
_U30 = np.uint64(30)
_U31 = np.uint64(31)
_U32 = np.uint64(32)
_U33 = np.uint64(33)

_F1 = np.float32(1)
_F2 = np.float32(2)
_HALF = np.float32(0.5)
_2_POW_MINUS_31 = np.float32(2.0**-31)
_2_POW_MINUS_32 = np.float32(2.0**-32)
_2_POW_MINUS_53 = 2.0**-53
_ANGLE = np.float32(math.pi / 4 / 2.0**30)

# Polynomials of the Cephes library (Moshier): sinf and cosf on [-pi/4, pi/4], right to about one
# unit in the last place.
_S1, _S2, _S3 = (np.float32(c) for c in (-1.6666654611e-1, 8.3321608736e-3, -1.9515295891e-4))
_C1, _C2, _C3 = (
    np.float32(c) for c in (4.166664568298827e-2, -1.388731625493765e-3, 2.443315711809948e-5)
)


@elementary
def random_bits(key, counter):
    """Return 64 random bits of a uint64 key and counter."""
    z = key + counter * _GOLDEN
    z = (z ^ (z >> _U30)) * _MIX_1
    z = (z ^ (z >> _U27)) * _MIX_2
    return z ^ (z >> _U31)


@elementary
def uniform(bits):
    """Return a float64 in [0, 1) from the top 53 bits."""
    return np.float64(bits >> _U11) * _2_POW_MINUS_53


@elementary
def integer_below(bits, n):
    """Return an int64 in [0, n) from the top 32 bits, for n far below 2^32."""
    return np.int64(((bits >> _U32) * np.uint64(n)) >> _U32)


@elementary
def cosine_sine(angle):
    """Return cosine and sine of a float32 angle in [-pi/4, pi/4]."""
    square = angle * angle
    cosine = ((_C3 * square + _C2) * square + _C1) * (square * square) + (_F1 - _HALF * square)
    sine = ((_S3 * square + _S2) * square + _S1) * (square * angle) + angle
    return cosine, sine


@elementary
def on_circle(turns):
    """Return the float32 point (x, y) of the unit circle at a float64 angle in turns."""
    quarters = np.floor(4 * turns + 0.5)
    cosine, sine = cosine_sine(np.float32((4 * turns - quarters) * (math.pi / 2)))
    quarter = np.int64(quarters)
    along, across = (cosine, sine) if quarter & 1 == 0 else (-sine, cosine)
    return (along, across) if quarter & 2 == 0 else (-along, -across)


@elementary
def displaced(centre, radius, direction, noise, normal):
    """Return ``centre + radius direction + noise normal``, added up in this order."""
    return centre + radius * direction + noise * normal


@elementary
def normal_pair(bits):
    """Return two independent float32 standard normals of 64 random bits.

    The method of Box and Muller (1958): radius ``sqrt(-2 ln u)``, uniform angle.  The angle is
    a point of the right-hand quarter circle, then turned by two random bits, so no range
    reduction is needed.  ``u`` has steps of 2^-31 from 2^-32, so the tails reach 6.6 sigma.
    """
    u = np.float32(np.int32(bits >> _U33)) * _2_POW_MINUS_31 + _2_POW_MINUS_32
    radius = np.sqrt(-_F2 * log(u))
    cosine, sine = cosine_sine(np.float32(np.int32(bits & _LOW_31) - np.int32(1 << 30)) * _ANGLE)
    sign = _F1 - _F2 * np.float32(np.int32((bits >> _U32) & _U1))
    along = sign * radius * cosine
    across = radius * sine
    swap = (bits & _LOW_32) > _LOW_31
    return (across, along) if swap else (along, across)


@helper
def normal_block_(key, block, values):
    """Write block number ``block`` of the stream of normals to ``values`` (BLOCK,)."""
    half = BLOCK // 2
    first = np.uint64(block) * np.uint64(half)
    for i in range(half):
        a, b = normal_pair(random_bits(key, first + np.uint64(i)))
        values[i] = a
        values[half + i] = b


@kernel
def normals_(key, start, out):
    """Write values ``start:start + out.size`` of the stream of normals to float32 ``out``."""
    values = np.empty(BLOCK, np.float32)
    stop = start + out.size
    for block in range(start // BLOCK, (stop + BLOCK - 1) // BLOCK):
        normal_block_(key, block, values)
        origin = block * BLOCK
        for i in range(max(start, origin), min(stop, origin + BLOCK)):
            out[i - start] = values[i - origin]


@kernel
def logistic_labels_(key, start, X, coef, intercept, y):
    """Write the labels of rows ``start...`` with ``P(y = 1) = sigmoid(x.coef + intercept)``."""
    for i in range(X.shape[0]):
        z = 0.0
        for j in range(X.shape[1]):
            z += X[i, j] * coef[j]
        z += intercept
        small = math.exp(-abs(z))  # once a row: the C library's compiles in a third of the time
        p = (1.0 if z > 0 else small) / (1.0 + small)
        y[i] = uniform(random_bits(key, np.uint64(start + i))) < p


@kernel
def mixture_(key, start, means, X, y):
    """Draw the component of rows ``start...`` and add its mean to the noise that is in ``X``."""
    for i in range(X.shape[0]):
        y[i] = integer_below(random_bits(key, np.uint64(start + i)), means.shape[0])
        for j in range(X.shape[1]):
            X[i, j] += means[y[i], j]


@kernel
def arcs_(key, start, arcs, n_classes, noise, X, y):
    """Turn the normals in ``X`` (rows, 2) into points near arcs: rows ``start...``.

    A row of ``arcs`` is (centre x, centre y, radius, its growth, angle in turns, its growth):
    the arc is traced as t goes from 0 to 1.  Arc ``c`` belongs to class ``c % n_classes``.
    """
    for i in range(X.shape[0]):
        bits = random_bits(key, np.uint64(start + i))
        c = integer_below(bits, arcs.shape[0])
        t = np.float64(bits & _LOW_32) * 2.0**-32
        radius = arcs[c, 2] + t * arcs[c, 3]
        x0, x1 = on_circle(arcs[c, 4] + t * arcs[c, 5])
        X[i, 0] = displaced(arcs[c, 0], radius, x0, noise, X[i, 0])
        X[i, 1] = displaced(arcs[c, 1], radius, x1, noise, X[i, 1])
        y[i] = c % n_classes


@helper
def flip(bits, label, n_classes, label_noise):
    """Return ``label``, or with probability ``label_noise`` one of the others."""
    if uniform(bits) >= label_noise:
        return label
    again = random_bits(bits, np.uint64(0))
    return (label + 1 + integer_below(again, n_classes - 1)) % n_classes


@kernel
def teacher_labels_(key, start, X, sizes, widest, params, is_tanh, label_noise, y):
    """Write the labels of rows ``start...``: the teacher's choice, changed at times.

    ``widest`` is the largest of ``sizes``.  ``params`` holds ``W`` (n_in, n_out), then ``b``
    (n_out,), layer after layer, in float64: near a tie the choice is then the same as that of
    `Teacher.probabilities`.
    """
    a = np.empty(widest)
    z = np.empty(widest)
    for i in range(X.shape[0]):
        for j in range(X.shape[1]):
            a[j] = X[i, j]
        offset = 0
        for layer in range(sizes.size - 1):
            n_in, n_out = sizes[layer], sizes[layer + 1]
            W = matrix(params, offset, n_in, n_out)
            b = vector(params, offset + n_in * n_out, n_out)
            offset += (n_in + 1) * n_out
            for k in range(n_out):
                z[k] = b[k]
            for j in range(n_in):
                for k in range(n_out):
                    z[k] += a[j] * W[j, k]
            if is_tanh:
                for k in range(n_out):
                    a[k] = tanh(z[k])
            else:
                for k in range(n_out):
                    a[k] = max(z[k], 0.0)
        best = 0
        for k in range(1, sizes[-1]):
            if z[k] > z[best]:
                best = k
        bits = random_bits(key, np.uint64(start + i))
        y[i] = flip(bits, best, sizes[-1], label_noise)
