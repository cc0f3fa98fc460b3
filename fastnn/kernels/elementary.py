"""Elementary functions of a float32 or float64 scalar, without branches.

A loop that calls one is vectorised, which a loop that calls the C library's is not.  Each
returns the type it is given, and its limit, gradual underflow or overflow to infinity where
that is the answer; NaN gives NaN.

The largest errors, in units in the last place, on a CPU with FMA, of every float32 and of a search
among millions of float64 (tens of thousands for the last two)::

              exp   expm1  log   log1p  tanh  sigmoid  softplus  gauss_pdf  gauss_cdf
    float32   0.86  1.37   0.83  1.39   1.50  1.97     1.66      1.27       1.50
    float64   0.87  1.68   0.84  1.26   1.50  1.97     1.60      1.21       1.77

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
    chebyfit(lambda z: (tanh(sqrt(z)) / sqrt(z) - 1) / z, [0, 0.56**2], N)
    R = lambda t: exp(t * t / 2) * erfc(t / sqrt(2)) / 2
    T = 15 or 39                                                    # float32 or float64
    chebyfit(lambda u: R(4 * (1 + u) / (1 - u)) * 8 / (1 - u),      # in gauss_cdf
             [-1, (T - 4) / (T + 4)], N)
"""

import numpy as np

from fastnn.kernels.jit import by_precision, elementary
from fastnn.kernels.views import constant

# Adding 1.5 * 2^23 (2^52) rounds a float to an integer and leaves that in its low bits.
MAGIC_32 = np.float32(1.5 * 2.0**23)
MAGIC_64 = 1.5 * 2.0**52
MAGIC_BITS_32 = 0x4B400000
MAGIC_BITS_64 = 0x4338000000000000
LOG2_E_32 = np.float32(1.4426950408889634)
LOG2_E_64 = 1.4426950408889634
# ln 2 in two parts, the first so short that its product with an exponent is exact.
LN2_HIGH_32 = np.float32(0.693359375)
LN2_LOW_32 = np.float32(-2.1219444005469057e-4)
LN2_32 = np.float32(0.6931471805599453)
LN2_64 = 0.6931471805599453
LN2_HIGH_64 = float.fromhex("0x1.62e42fefa3800p-1")
LN2_LOW_64 = float.fromhex("0x1.ef35793c76730p-45")
# Half a unit in the last place of 1.
TINY_32 = np.float32(2.0**-24)
TINY_64 = 2.0**-53
INVERSE_SQRT_TWO_PI = 0.3989422804014327
# The bits of sqrt(1/2), where a fraction starts, and the mask of a fraction.
SQRT_HALF_32 = 0x3F3504F3
SQRT_HALF_64 = 0x3FE6A09E667F3BCD
FRACTION_32 = 0x007FFFFF
FRACTION_64 = 0x000FFFFFFFFFFFFF


def _exp_limit_32(like):
    """Return ``L`` such that ``exp(-L)`` is 0 and ``exp(L)`` inf, with a margin."""
    return np.float32(120)


def _exp_limit_64(like):
    """Return ``L`` such that ``exp(-L)`` is 0 and ``exp(L)`` inf, with a margin."""
    return 800.0


exp_limit = by_precision(_exp_limit_32, _exp_limit_64)


def _gauss_limit_32(like):
    """Return ``L`` such that ``exp(-L^2 / 2)`` is 0, and ``L^2 / 2`` at most `exp_limit`."""
    return np.float32(15)


def _gauss_limit_64(like):
    """Return ``L`` such that ``exp(-L^2 / 2)`` is 0, and ``L^2 / 2`` at most `exp_limit`."""
    return 40.0


gauss_limit = by_precision(_gauss_limit_32, _gauss_limit_64)


def _two_to_32(like, n):
    """Return ``2^n`` in the precision of ``like``, for ``-126 <= n <= 127``."""
    return np.int32((n + 127) << 23).view(np.float32)


def _two_to_64(like, n):
    """Return ``2^n`` in the precision of ``like``, for ``-1022 <= n <= 1023``."""
    return np.int64((n + 1023) << 52).view(np.float64)


two_to = by_precision(_two_to_32, _two_to_64)


@elementary
def cubic(x, x2, a, b, c, d):
    """Return ``a + b x + c x^2 + d x^3``.

    A long polynomial is summed by fours rather than in one chain: a row of a small layer is too
    short to hide the latency of a chain.
    """
    return (a + x * b) + x2 * (c + x * d)


def _exp_parts_32(x, tail):
    """Return ``n`` and ``p`` with ``exp(x + tail) = 2^n (1 + p)``, ``-0.3 < p < 0.42``.

    ``|x|`` is at most `exp_limit`, and ``tail`` far smaller.
    """
    shifted = x * LOG2_E_32 + MAGIC_32
    n = shifted - MAGIC_32
    high = x - n * LN2_HIGH_32
    low = n * LN2_LOW_32 - tail
    r = high - low
    r2 = r * r
    q = cubic(
        r,
        r2,
        np.float32(0.5),
        np.float32(0.1666666716337204),
        np.float32(0.041666463017463684),
        np.float32(0.00833331048488617),
    )
    q = q + r2 * r2 * (np.float32(0.0013933731243014336) + r * np.float32(0.000198910798644647))
    p = r + (r2 * q + ((high - r) - low))
    return np.int32(np.float32(shifted).view(np.int32) - MAGIC_BITS_32), p


def _exp_parts_64(x, tail):
    """Return ``n`` and ``p`` with ``exp(x + tail) = 2^n (1 + p)``, ``-0.3 < p < 0.42``.

    ``|x|`` is at most `exp_limit`, and ``tail`` far smaller.
    """
    shifted = x * LOG2_E_64 + MAGIC_64
    n = shifted - MAGIC_64
    high = x - n * LN2_HIGH_64
    low = n * LN2_LOW_64 - tail
    r = high - low
    r2 = r * r
    r4 = r2 * r2
    q8 = 2.755727347871858e-07 + r * 2.5105312729622103e-08 + r2 * 2.09147553258932e-09
    q4 = cubic(
        r,
        r2,
        0.0013888888888883711,
        0.0001984126987500228,
        2.480158732567746e-05,
        2.755725517000089e-06,
    )
    q0 = cubic(r, r2, 0.5, 0.1666666666666667, 0.04166666666666667, 0.008333333333326084)
    q = q0 + r4 * (q4 + r4 * q8)
    p = r + (r2 * q + ((high - r) - low))
    return np.float64(shifted).view(np.int64) - MAGIC_BITS_64, p


exp_parts = by_precision(_exp_parts_32, _exp_parts_64)


#: ``(e^r - 1 - r) / r^2`` for ``|r| <= log(2) / 2``, from the constant up.
_TAIL_32 = (
    0.5,
    0.16666576666119928,
    0.04166655421298415,
    0.008363232883682618,
    0.0013926250831497611,
)
EXP_TAIL_32 = tuple(np.float32(c) for c in _TAIL_32)
EXP_TAIL_64 = (
    0.5000000000000001, 0.16666666666666669, 0.041666666666623824, 0.008333333333330039,
    0.0013888888917367081, 0.00019841269863171557, 2.4801521057868204e-05, 2.7557268276905696e-06,
    2.7620201591031547e-07, 2.5100472505694996e-08,
)  # fmt: skip


def _exp_factors_32(x):
    """Return ``n`` and ``p`` with ``exp(x) = 2^n p``, with few operations one after another.

    For loops that wait for it.  The error is as if ``x`` were off by a unit in the last place;
    beyond ``|x| = 80`` the result is any number.
    """
    shifted = x * LOG2_E_32 + MAGIC_32
    r = x - (shifted - MAGIC_32) * LN2_32
    r2 = r * r
    tail = EXP_TAIL_32
    q4 = tail[2] + r * tail[3] + r2 * tail[4]
    q2 = tail[0] + r * tail[1]
    p = ((np.float32(1) + r) + r2 * q2) + (r2 * r2) * q4
    return np.int32(np.float32(shifted).view(np.int32) - MAGIC_BITS_32), p


def _exp_factors_64(x):
    """Return ``n`` and ``p`` with ``exp(x) = 2^n p``, with few operations one after another.

    For loops that wait for it.  The error is as if ``x`` were off by a unit in the last place;
    beyond ``|x| = 80`` the result is any number.
    """
    shifted = x * LOG2_E_64 + MAGIC_64
    r = x - (shifted - MAGIC_64) * LN2_64
    r2 = r * r
    r4 = r2 * r2
    tail = EXP_TAIL_64
    q2 = cubic(r, r2, tail[0], tail[1], tail[2], tail[3])
    q6 = cubic(r, r2, tail[4], tail[5], tail[6], tail[7])
    q10 = tail[8] + r * tail[9]
    p = ((1 + r) + r2 * q2) + (r2 * r4) * (q6 + r4 * q10)
    return np.float64(shifted).view(np.int64) - MAGIC_BITS_64, p


exp_factors = by_precision(_exp_factors_32, _exp_factors_64)


def _sigmoid_parts_32(x):
    """Return ``2^-n`` and ``p`` with ``exp(-x) = 2^n (1 + p)``, ``n`` between -64 and 180.

    As a layer waits for them, few operations come one after another: the sum of ``p`` has a
    rounding more than in `exp_parts`, and limits are set aside from it.
    """
    shifted = MAGIC_32 - x * LOG2_E_32
    n = shifted - MAGIC_32
    r = (-x - n * LN2_HIGH_32) - n * LN2_LOW_32
    r2 = r * r
    q2 = np.float32(0.5) + r * np.float32(0.1666666716337204)
    q4 = cubic(
        r,
        r2,
        np.float32(0.041666463017463684),
        np.float32(0.00833331048488617),
        np.float32(0.0013933731243014336),
        np.float32(0.000198910798644647),
    )
    # A tie in `sigmoid`: its sum of 1 and 2^-n would lose a whole unit of the sum with p < 0.
    mended = r + TINY_32 if n == np.float32(24) else r
    p = (mended + r2 * q2) + (r2 * r2) * q4
    p = np.float32(0) if abs(x) > np.float32(1000) else p
    limited = min(max(MAGIC_32 - np.float32(64), shifted), MAGIC_32 + np.float32(180))
    n = np.int32(np.float32(limited).view(np.int32) - MAGIC_BITS_32)
    half = n >> np.int32(1)
    return two_to(x, -half) * two_to(x, half - n), p


def _sigmoid_parts_64(x):
    """Return ``2^-n`` and ``p`` with ``exp(-x) = 2^n (1 + p)``, ``n`` between -64 and 1200.

    As a layer waits for them, few operations come one after another: the sum of ``p`` has a
    rounding more than in `exp_parts`, and limits are set aside from it.
    """
    shifted = MAGIC_64 - x * LOG2_E_64
    n = shifted - MAGIC_64
    r = (-x - n * LN2_HIGH_64) - n * LN2_LOW_64
    r2 = r * r
    r4 = r2 * r2
    q2 = 0.5000000000000001 + r * 0.16666666666666669
    q4 = cubic(
        r,
        r2,
        0.041666666666623824,
        0.008333333333330039,
        0.0013888888917367081,
        0.00019841269863171557,
    )
    q8 = cubic(
        r,
        r2,
        2.4801521057868204e-05,
        2.7557268276905696e-06,
        2.7620201591031547e-07,
        2.5100472505694996e-08,
    )
    # A tie in `sigmoid`: its sum of 1 and 2^-n would lose a whole unit of the sum with p < 0.
    mended = r + TINY_64 if n == 53.0 else r
    p = (mended + r2 * q2) + r4 * (q4 + r4 * q8)
    p = 0.0 if abs(x) > 1000.0 else p
    limited = min(max(MAGIC_64 - 64.0, shifted), MAGIC_64 + 1200.0)
    n = np.float64(limited).view(np.int64) - MAGIC_BITS_64
    half = n >> 1
    return two_to(x, -half) * two_to(x, half - n), p


sigmoid_parts = by_precision(_sigmoid_parts_32, _sigmoid_parts_64)


def _log_parts_32(u):
    """Return ``n`` and ``m``, ``u = 2^n m``, ``sqrt(1/2) <= m < sqrt(2)``; ``u`` is normal."""
    bits = np.int32(np.float32(u).view(np.int32) - SQRT_HALF_32)
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
    s = f / (2.0 + f)
    z = s * s
    z2 = z * z
    q4 = 0.1818289243253687 + z * 0.15331611722055008 + z2 * 0.14617807153417325
    q = z2 * z2 * q4 + cubic(
        z, z2, 0.666666666666667, 0.3999999999989889, 0.28571428626253836, 0.22222211089379496
    )
    half = 0.5 * f * f
    exponent = np.float64(np.int32(n))
    tail = s * (half + z * q) + exponent * LN2_LOW_64
    return exponent * LN2_HIGH_64 + (f + (tail - half))


log_sum = by_precision(_log_sum_32, _log_sum_64)


def _tanh_tail_32(z):
    """Return ``tanh(x) / x - 1`` of ``z = x^2 <= 0.56^2``."""
    q = np.float32(-0.006542542017996311)
    q = q * z + np.float32(0.021272748708724976)
    q = q * z + np.float32(-0.05390334874391556)
    q = q * z + np.float32(0.1333308219909668)
    q = q * z + np.float32(-0.3333333134651184)
    return z * q


def _tanh_tail_64(z):
    """Return ``tanh(x) / x - 1`` of ``z = x^2 <= 0.56^2``."""
    z2 = z * z
    z4 = z2 * z2
    q8 = -0.0002342148186711548 + z * 8.443719567103072e-05 + z2 * -2.0141494563083882e-05
    q4 = cubic(
        z,
        z2,
        -0.008863234104802229,
        0.003592106586471979,
        -0.001455632070932804,
        0.000588792024475583,
    )
    q0 = cubic(
        z, z2, -0.3333333333333333, 0.13333333333332467, -0.05396825396714515, 0.021869488480722565
    )
    return z * (q0 + z4 * (q4 + z4 * q8))


tanh_tail = by_precision(_tanh_tail_32, _tanh_tail_64)


def _high_part_32(x):
    """Return the first 12 bits of ``x``, so that a product of two such is exact."""
    return np.int32(np.float32(x).view(np.int32) & -(1 << 12)).view(np.float32)


def _high_part_64(x):
    """Return the first 26 bits of ``x``, so that a product of two such is exact."""
    return np.int64(np.float64(x).view(np.int64) & -(1 << 27)).view(np.float64)


high_part = by_precision(_high_part_32, _high_part_64)


def _mills_terms_32(u):
    """Return a, b, c, s, low of ``g = a + u (b + u (c + s)) + low``; low is what a, b, c lost."""
    q = np.float32(-5.155659164302051e-05)
    q = q * u + np.float32(-0.00023179868003353477)
    q = q * u + np.float32(0.0001710546057438478)
    q = q * u + np.float32(0.0016452192794531584)
    q = q * u + np.float32(-0.003489317372441292)
    q = q * u + np.float32(-0.007545268163084984)
    q = q * u + np.float32(0.06039753183722496)
    q = q * u + np.float32(-0.1865212768316269)
    a = np.float32(0.7552851438522339)
    b = np.float32(-0.6078966856002808)
    c = np.float32(0.38713735342025757)
    low = np.float32(-1.3229223e-08) + u * (np.float32(2.650943e-08) + u * np.float32(1.45783e-08))
    return a, b, c, u * q, low


def _mills_terms_64(u):
    """Return a, b, c, s, low of ``g = a + u (b + u (c + s)) + low``; low is what a, b, c lost."""
    u2 = u * u
    u4 = u2 * u2
    q = cubic(
        u,
        u2,
        1.96196108613556e-08,
        1.91827702037334e-09,
        -2.5220994578780736e-09,
        -7.262419810409579e-10,
    )
    q = u4 * q + cubic(
        u,
        u2,
        2.7180452962592834e-07,
        -1.549649174224745e-07,
        -8.540841815685125e-08,
        1.3280797787310328e-08,
    )
    q = u4 * q + cubic(
        u,
        u2,
        7.166663245221031e-07,
        -5.9201733230161025e-06,
        -6.296965605815823e-07,
        1.0215540371961016e-06,
    )
    q = u4 * q + cubic(
        u,
        u2,
        0.00013334431240964574,
        -0.000231094935169459,
        -1.9082584797734333e-06,
        3.5144686053003464e-05,
    )
    q = u4 * q + cubic(
        u,
        u2,
        0.06039657489093656,
        -0.007540188966726791,
        -0.003479692367393595,
        0.0016308184575886011,
    )
    s = u * (u * q - 0.18652185795965726)
    low = -2.2272052560627134e-17 + u * (-2.541824610646588e-17 + u * 8.523770691806649e-18)
    return 0.7552851304157515, -0.6078966419718921, 0.38713740074221453, s, low


mills_terms = by_precision(_mills_terms_32, _mills_terms_64)


@elementary
def scale(y, n):
    """Return ``2^n y``, in two factors so that it may be subnormal or overflow."""
    half = n >> 1
    return y * two_to(y, half) * two_to(y, n - half)


@elementary
def exp(x):
    """Return ``e^x``."""
    limit = exp_limit(x)
    n, p = exp_parts(min(max(x, -limit), limit), constant(0, x))
    return scale(constant(1, x) + p, n)


@elementary
def expm1(x):
    """Return ``e^x - 1`` as ``2^n (p + (1 - 2^-n))``."""
    n, p = exp_parts(min(max(x, constant(-50, x)), exp_limit(x)), constant(0, x))
    y = scale(p + (constant(1, x) - two_to(x, max(-n, -64))), n)
    return np.copysign(y, x)  # for -0


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
def log_one_plus(x):
    """Return ``log(1 + x)`` for finite ``x > -1``."""
    one = constant(1, x)
    n, _ = log_parts(one + x)
    # 2^-n (1 + x) - 1 from x itself, for 1 + x has lost bits.  Four times 2^-n is normal.
    power = two_to(x, 2 - n)
    quarter = constant(0.25, x)
    return log_sum(x * power * quarter + (power * quarter - one), n)


@elementary
def log1p(x):
    """Return ``log(1 + x)``: -inf at -1, NaN below."""
    y = log_one_plus(x) if x < constant(np.inf, x) else x
    y = y if x > -1 else constant(-np.inf, x)
    y = y if x >= -1 else x * constant(np.nan, x)
    return np.copysign(y, x)  # for -0


@elementary
def tanh(x):
    """Return ``tanh x``: ``1 - 2 w / (1 + w)`` with ``w = exp(-2 |x|)``; a polynomial near 0."""
    size = abs(x)
    one = constant(1, x)
    near = size + size * tanh_tail(size * size)
    n, p = exp_parts(max(constant(-2, x) * size, constant(-50, x)), constant(0, x))
    power = two_to(x, n)
    w = power + power * p
    far = one - (w + w) / (one + w)
    return np.copysign(near if size < constant(0.55, x) else far, x)


@elementary
def sigmoid(x):
    """Return ``1 / (1 + exp(-x))``, with ``exp(-x) = 2^n (1 + p)`` as ``2^-n / (2^-n + 1 + p)``."""
    power, p = sigmoid_parts(x)
    return power / (p + (constant(1, x) + power))


@elementary
def softplus(x):
    """Return ``log(1 + exp(x))`` as ``max(x, 0) + log(1 + exp(-|x|))``."""
    return max(x, constant(0, x)) + log_one_plus(exp(-abs(x)))


@elementary
def gauss_parts(x):
    """Return ``n`` and ``p`` with ``exp(-x^2 / 2) = 2^n (1 + p)``, ``|x|`` at most `gauss_limit`.

    ``x^2`` is taken as a sum of two, the first exact: its error would be one of the result.
    """
    half = constant(-0.5, x)
    high = high_part(x)
    return exp_parts(half * (high * high), half * ((x - high) * (x + high)))


@elementary
def gauss_pdf(x):
    """Return the standard normal density ``exp(-x^2 / 2) / sqrt(2 pi)``."""
    n, p = gauss_parts(min(abs(x), gauss_limit(x)))
    factor = constant(INVERSE_SQRT_TWO_PI, x)
    return scale(factor + factor * p, n)


@elementary
def mills(u):
    """Return ``g`` of `gauss_cdf`, and what its rounding lost."""
    a, b, c, s, low = mills_terms(u)
    inner = c + s
    middle = b + u * inner
    g = a + u * middle
    inner_lost = (c - inner) + s
    middle_lost = (b - middle) + u * inner
    g_lost = (a - g) + u * middle
    return g, g_lost + (low + u * (middle_lost + u * inner_lost))


@elementary
def gauss_cdf(x):
    """Return the standard normal distribution function ``Phi(x) = erfc(-x / sqrt(2)) / 2``.

    With ``t = |x|``, ``Phi(-t) = exp(-t^2 / 2) g(u) / (t + 4)`` where ``g`` is a smooth function
    of ``u = (t - 4) / (t + 4)`` (M. M. Shepherd and J. G. Laframboise, Math. Comp. 36, 1981).
    """
    one = constant(1, x)
    four = constant(4, x)
    t = min(abs(x), gauss_limit(x))
    n, p = gauss_parts(t)
    d = t + four
    w = one / d
    g, lost = mills(one - constant(8, x) * w)
    # w is not quite 1/d, nor d quite t + 4; d(g)/dt = t g - d / sqrt(2 pi) makes up for it.
    d_high = high_part(d)
    w_high = high_part(w)
    d_lost = t - (d - four)
    error = (one - d_high * w_high) - d_high * (w - w_high) - (d - d_high) * w - d_lost * w
    slope = t * g - constant(INVERSE_SQRT_TWO_PI, x) * d
    correction = g * p + (lost - error * d * slope) * (one + p)
    product = g + correction
    product_lost = (g - product) + correction
    lower = scale(w * product + w * product_lost, n)
    return one - lower if x > 0 else lower
