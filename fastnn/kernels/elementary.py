"""Elementary functions of a float32 or float64 scalar, without branches.

A loop that calls one is vectorised, which a loop that calls the C library's is not.  Each
returns the type it is given, and its limit, gradual underflow or overflow to infinity where
that is the answer; NaN gives NaN.

How they work: ``exp(x) = 2^n (1 + p)`` with ``n`` the integer next to ``x / ln 2`` and ``p`` a
polynomial in ``r = x - n ln 2`` (W. J. Cody and W. Waite, Software Manual for the Elementary
Functions, 1980); ``log`` inverts this.  The other functions are built from the pair ``(n, p)``
rather than from ``exp``, so that nothing cancels and few roundings add up.

The coefficients are near-minimax, found with mpmath at 60 digits (``N`` of them)::

    a = log(2) / 2 * mpf("1.001")
    chebyfit(lambda r: hyp1f1(1, 3, r) / 2, [-a, a], N)             # (e^r - 1 - r) / r^2
    chebyfit(lambda f: (log1p(f) - f + f * f / 2) / f**3,           # float32
             [sqrt(0.5) - 1, sqrt(2) - 1], N)
    chebyfit(lambda z: 2 * (atanh(sqrt(z)) / sqrt(z) - 1) / z,      # float64
             [0, 0.0295], N)
"""

import numpy as np

from fastnn.kernels.jit import by_precision, elementary
from fastnn.kernels.views import constant

# Adding 1.5 * 2^23 (2^52) rounds a float to an integer and leaves that in its low bits.
MAGIC_32 = np.float32(1.5 * 2.0**23)
MAGIC_64 = np.float64(1.5 * 2.0**52)
MAGIC_BITS_32 = 0x4B400000
MAGIC_BITS_64 = 0x4338000000000000
# exp is 0 at the first, even times e^(a tail below 1), and inf at the second.
EXP_LOW_32 = np.float32(-120)
EXP_HIGH_32 = np.float32(89)
EXP_LOW_64 = np.float64(-800)
EXP_HIGH_64 = np.float64(710)
LOG2_E_32 = np.float32(1.4426950408889634)
LOG2_E_64 = np.float64(1.4426950408889634)
# ln 2 in two parts, the first so short that its product with an exponent is exact.
LN2_HIGH_32 = np.float32(0.693359375)
LN2_LOW_32 = np.float32(-2.1219444005469057e-4)
LN2_HIGH_64 = np.float64(float.fromhex("0x1.62e42fefa3800p-1"))
LN2_LOW_64 = np.float64(float.fromhex("0x1.ef35793c76730p-45"))
# The bits of sqrt(1/2), where a fraction starts, and the mask of a fraction.
SQRT_HALF_32 = 0x3F3504F3
SQRT_HALF_64 = 0x3FE6A09E667F3BCD
FRACTION_32 = 0x007FFFFF
FRACTION_64 = 0x000FFFFFFFFFFFFF


def _two_to_32(like, n):
    """Return ``2^n`` in the precision of ``like``, for ``-126 <= n <= 127``."""
    return np.int32((n + 127) << 23).view(np.float32)


def _two_to_64(like, n):
    """Return ``2^n`` in the precision of ``like``, for ``-1022 <= n <= 1023``."""
    return np.int64((n + 1023) << 52).view(np.float64)


two_to = by_precision(_two_to_32, _two_to_64)


def _exp_parts_32(x, tail):
    """Return ``n`` and ``p`` with ``exp(x + tail) = 2^n (1 + p)``, ``-0.3 < p < 0.42``."""
    x = min(max(x, EXP_LOW_32), EXP_HIGH_32)
    shifted = x * LOG2_E_32 + MAGIC_32
    n = shifted - MAGIC_32
    high = x - n * LN2_HIGH_32
    low = n * LN2_LOW_32 - tail
    r = high - low
    q = np.float32(0.000198910798644647)
    q = q * r + np.float32(0.0013933731243014336)
    q = q * r + np.float32(0.00833331048488617)
    q = q * r + np.float32(0.041666463017463684)
    q = q * r + np.float32(0.1666666716337204)
    q = q * r + np.float32(0.5)
    p = r + (r * r * q + ((high - r) - low))
    return np.float32(shifted).view(np.int32) - MAGIC_BITS_32, p


def _exp_parts_64(x, tail):
    """Return ``n`` and ``p`` with ``exp(x + tail) = 2^n (1 + p)``, ``-0.3 < p < 0.42``."""
    x = min(max(x, EXP_LOW_64), EXP_HIGH_64)
    shifted = x * LOG2_E_64 + MAGIC_64
    n = shifted - MAGIC_64
    high = x - n * LN2_HIGH_64
    low = n * LN2_LOW_64 - tail
    r = high - low
    # In pairs rather than in one chain, for a row is often too short to hide the latency.
    r2 = r * r
    r4 = r2 * r2
    q0 = (np.float64(0.5) + r * np.float64(0.1666666666666667)) + r2 * (
        np.float64(0.04166666666666667) + r * np.float64(0.008333333333326084)
    )
    q4 = (np.float64(0.0013888888888883711) + r * np.float64(0.0001984126987500228)) + r2 * (
        np.float64(2.480158732567746e-05) + r * np.float64(2.755725517000089e-06)
    )
    q8 = (np.float64(2.755727347871858e-07) + r * np.float64(2.5105312729622103e-08)) + r2 * (
        np.float64(2.09147553258932e-09)
    )
    q = q0 + r4 * (q4 + r4 * q8)
    p = r + (r2 * q + ((high - r) - low))
    return np.float64(shifted).view(np.int64) - MAGIC_BITS_64, p


exp_parts = by_precision(_exp_parts_32, _exp_parts_64)


def _log_parts_32(u):
    """Return ``n`` and ``m``, ``u = 2^n m``, ``sqrt(1/2) <= m < sqrt(2)``; ``u`` is normal."""
    bits = np.float32(u).view(np.int32) - SQRT_HALF_32
    return bits >> 23, np.int32((bits & FRACTION_32) + SQRT_HALF_32).view(np.float32)


def _log_parts_64(u):
    """Return ``n`` and ``m``, ``u = 2^n m``, ``sqrt(1/2) <= m < sqrt(2)``; ``u`` is normal."""
    bits = np.float64(u).view(np.int64) - SQRT_HALF_64
    return bits >> 52, np.int64((bits & FRACTION_64) + SQRT_HALF_64).view(np.float64)


log_parts = by_precision(_log_parts_32, _log_parts_64)


def _log_sum_32(f, n):
    """Return ``log(2^n (1 + f))`` for ``sqrt(1/2) <= 1 + f <= sqrt(2)``."""
    q = np.float32(0.06971611827611923)
    q = q * f + np.float32(-0.11479733884334564)
    q = q * f + np.float32(0.11685419827699661)
    q = q * f + np.float32(-0.12425687164068222)
    q = q * f + np.float32(0.14249058067798615)
    q = q * f + np.float32(-0.1666780263185501)
    q = q * f + np.float32(0.20000715553760529)
    q = q * f + np.float32(-0.2499999701976776)
    q = q * f + np.float32(0.3333333134651184)
    f2 = f * f
    exponent = np.float32(np.int32(n))
    tail = f * f2 * q + exponent * LN2_LOW_32
    return exponent * LN2_HIGH_32 + (f + (tail - np.float32(0.5) * f2))


def _log_sum_64(f, n):
    """Return ``log(2^n (1 + f))`` for ``sqrt(1/2) <= 1 + f <= sqrt(2)``.

    With ``s = f / (2 + f)``, ``log(1 + f) = 2 atanh(s) = f - f^2/2 + s (f^2/2 + s^2 q(s^2))``.
    """
    s = f / (np.float64(2) + f)
    z = s * s
    z2 = z * z
    q = (np.float64(0.666666666666667) + z * np.float64(0.3999999999989889)) + z2 * (
        (np.float64(0.28571428626253836) + z * np.float64(0.22222211089379496))
        + z2
        * (
            (np.float64(0.1818289243253687) + z * np.float64(0.15331611722055008))
            + z2 * np.float64(0.14617807153417325)
        )
    )
    half = np.float64(0.5) * f * f
    exponent = np.float64(np.int32(n))
    tail = s * (half + z * q) + exponent * LN2_LOW_64
    return exponent * LN2_HIGH_64 + (f + (tail - half))


log_sum = by_precision(_log_sum_32, _log_sum_64)


@elementary
def scale(y, n):
    """Return ``2^n y``, in two factors so that it may be subnormal or overflow."""
    half = n >> 1
    return y * two_to(y, half) * two_to(y, n - half)


@elementary
def tiny(x):
    """Return whether ``x`` is so small that ``x`` is all of an odd function of slope 1."""
    return abs(x) < constant(1e-18, x)


@elementary
def exp(x):
    """Return ``e^x``."""
    n, p = exp_parts(x, constant(0, x))
    return scale(constant(1, x) + p, n)


@elementary
def expm1(x):
    """Return ``e^x - 1``."""
    # Half of 2^n, which overflows before e^x does.
    n, p = exp_parts(max(x, constant(-50, x)), constant(0, x))
    half = two_to(x, n - 1)
    y = half * p + (half - constant(0.5, x))
    return x if tiny(x) else y + y


@elementary
def log(x):
    """Return ``log x``: -inf at 0, NaN below."""
    subnormal = x < constant(1e-37, x)
    n, m = log_parts(x * constant(2.0**60, x) if subnormal else x)
    y = log_sum(m - constant(1, x), n - 60 if subnormal else n)
    y = y if x < constant(np.inf, x) else x
    y = y if x > 0 else constant(-np.inf, x)
    return y if x >= 0 else x * constant(np.nan, x)


@elementary
def log1p(x):
    """Return ``log(1 + x)``: -inf at -1, NaN below."""
    one = constant(1, x)
    n, _ = log_parts(one + x)
    # f = 2^-n (1 + x) - 1 from x itself: 1 + x has lost bits.  Four times 2^-n is normal.
    scaling = two_to(x, 2 - n)
    quarter = constant(0.25, x)
    y = log_sum(x * scaling * quarter + (scaling * quarter - one), n)
    y = y if x < constant(np.inf, x) else x
    y = y if x > -1 else constant(-np.inf, x)
    y = y if x >= -1 else x * constant(np.nan, x)
    return x if tiny(x) else y


@elementary
def tanh(x):
    """Return ``tanh x = (1 - e) / (1 + e)`` with ``e = exp(-2 |x|)``."""
    one = constant(1, x)
    n, p = exp_parts(max(constant(-2, x) * abs(x), constant(-50, x)), constant(0, x))
    power = two_to(x, n)
    part = power * p
    y = ((one - power) - part) / ((one + power) + part)
    return x if tiny(x) else np.copysign(y, x)


@elementary
def sigmoid(x):
    """Return ``1 / (1 + exp(-x))``, from ``e = exp(-|x|)`` as ``e / (1 + e)`` below 0."""
    n, p = exp_parts(-abs(x), constant(0, x))
    one = constant(1, x)
    e = scale(one + p, n)
    return (one if x > 0 else e) / (one + e)


@elementary
def softplus(x):
    """Return ``log(1 + exp(x))`` as ``max(x, 0) + log(1 + exp(-|x|))``."""
    return max(x, constant(0, x)) + log1p(exp(-abs(x)))


INVERSE_SQRT_TWO_PI = 0.3989422804014327


def _square_parts_32(x):
    """Return ``x^2`` as a sum of two, the first exact, for ``|x| < 2^63``."""
    high = np.int32(np.float32(x).view(np.int32) & -4096).view(np.float32)
    return high * high, (x - high) * (x + high)


def _square_parts_64(x):
    """Return ``x^2`` as a sum of two, the first exact, for ``|x| < 2^511``."""
    high = np.int64(np.float64(x).view(np.int64) & -134217728).view(np.float64)
    return high * high, (x - high) * (x + high)


square_parts = by_precision(_square_parts_32, _square_parts_64)


@elementary
def gauss_pdf(x):
    """Return the standard normal density ``exp(-x^2 / 2) / sqrt(2 pi)``."""
    bound = constant(40, x)
    half = constant(0.5, x)
    square, tail = square_parts(min(max(x, -bound), bound))
    n, p = exp_parts(-half * square, -half * tail)
    factor = constant(INVERSE_SQRT_TWO_PI, x)
    return scale(factor + factor * p, n)
