"""The elementary functions against NumPy and SciPy in double precision, and against mpmath.

The float32 functions are tested on a stride through all bit patterns; with the environment
variable ``FASTNN_EXHAUSTIVE=1`` on every one of the 2^32 (an hour).
"""

import os
import re

import mpmath
import numba
import numpy as np
import pytest
from scipy import special

from fastnn.kernels import elementary
from fastnn.kernels.jit import FLAGS, JIT

pytestmark = pytest.mark.kernel

#: Largest error in units in the last place, over the whole range, with and without FMA.
LARGEST_ERROR = {
    "exp": 1.0,
    "expm1": 2.0,
    "log": 1.0,
    "log1p": 1.5,
    "tanh": 1.7,
    "sigmoid": 1.97,
    "softplus": 2.0,
    "gauss_pdf": 1.5,
    "gauss_cdf": 2.0,
}

DOUBLE = {
    "exp": np.exp,
    "expm1": np.expm1,
    "log": np.log,
    "log1p": np.log1p,
    "tanh": np.tanh,
    "sigmoid": special.expit,
    "softplus": lambda x: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))),
    "gauss_pdf": lambda x: np.exp(-x * x / 2) / np.sqrt(2 * np.pi),
    "gauss_cdf": special.ndtr,
}

EXACT = {
    "exp": mpmath.exp,
    "expm1": mpmath.expm1,
    "log": mpmath.log,
    "log1p": mpmath.log1p,
    "tanh": mpmath.tanh,
    "sigmoid": lambda x: 1 / (1 + mpmath.exp(-x)),
    "softplus": lambda x: mpmath.log1p(mpmath.exp(x)),
    "gauss_pdf": mpmath.npdf,
    "gauss_cdf": lambda x: mpmath.erfc(-x / mpmath.sqrt(2)) / 2,
}

INF, NAN = np.inf, np.nan
#: x: f(x), where it is exact.
LIMITS = {
    "exp": {0.0: 1, INF: INF, -INF: 0, 1e30: INF, -1e30: 0},
    "expm1": {0.0: 0, INF: INF, -INF: -1, 1e30: INF, -1e30: -1},
    "log": {1.0: 0, 0.0: -INF, INF: INF, -INF: NAN, -1e-30: NAN},
    "log1p": {0.0: 0, -1.0: -INF, INF: INF, -INF: NAN, -1.5: NAN},
    "tanh": {0.0: 0, INF: 1, -INF: -1, 1e30: 1, -1e30: -1},
    "sigmoid": {0.0: 0.5, INF: 1, -INF: 0, 1e30: 1, -1e30: 0},
    "softplus": {INF: INF, -INF: 0, 1e30: 1e30, -1e30: 0},
    "gauss_pdf": {INF: 0, -INF: 0, 1e30: 0, -1e30: 0},
    "gauss_cdf": {0.0: 0.5, INF: 1, -INF: 0, 1e30: 1, -1e30: 0},
}

NAMES = sorted(LARGEST_ERROR)
PRECISIONS = (np.float32, np.float64)


def _loop(name):
    """Return a kernel that applies the function to an array, with the flags of all kernels."""
    function = getattr(elementary, name)

    @numba.njit(**FLAGS)
    def loop(x, y):
        for i in range(x.shape[0]):
            y[i] = function(x[i])

    return loop


LOOPS = {name: _loop(name) for name in NAMES}


def _apply(name, x):
    y = np.empty_like(x)
    LOOPS[name](x, y)
    return y


def _single_precision_error(y, exact):
    """Return the largest error of float32 ``y`` in ulp of ``exact``, which is float64."""
    overflow = np.abs(exact) >= np.finfo(np.float32).max * (1 + 2.0**-25)
    special_value = overflow | ~np.isfinite(exact)
    rounded = np.where(overflow, np.copysign(np.inf, exact), exact)
    np.testing.assert_array_equal(y[special_value], rounded[special_value].astype(np.float32))
    y, exact = y[~special_value].astype(np.float64), exact[~special_value]
    power = (exact.view(np.int64) & 0x7FF0000000000000).view(np.float64)
    return np.max(np.abs(y - exact) / (np.maximum(power, 2.0**-126) * 2.0**-23), initial=0)


@pytest.mark.parametrize("name", NAMES)
def test_single_precision_over_all_bit_patterns(name):
    if not JIT:
        stride = 4_000_037
    elif os.environ.get("FASTNN_EXHAUSTIVE"):
        stride = 1
    else:
        stride = 2053
    chunk = stride << 17
    worst = 0.0
    for start in range(0, 1 << 32, chunk):
        bits = np.arange(start, min(start + chunk, 1 << 32), stride, dtype=np.uint32)
        x = bits.view(np.float32)
        with np.errstate(all="ignore"):
            exact = DOUBLE[name](x.astype(np.float64))
            worst = max(worst, _single_precision_error(_apply(name, x), exact))
    print(f"{name}: {worst:.3f} ulp")
    assert 0.3 < worst <= LARGEST_ERROR[name]


def _double_precision_points(name):
    rng = np.random.default_rng(20)
    n = 250 if JIT else 20
    bits = rng.integers(0, 1 << 63, n, dtype=np.uint64) | (
        rng.integers(0, 2, n, dtype=np.uint64) << np.uint64(63)
    )
    sign = rng.choice([-1.0, 1.0], n)
    x = np.concatenate(
        [
            bits.view(np.float64),
            sign * 10 ** rng.uniform(-20, 3, n),
            rng.uniform(-40, 40, n),
            rng.uniform(-2, 2, n),
            rng.uniform(-0.6, 0.6, n),
            rng.uniform(-745.2, -700, n),  # where exp is subnormal
            rng.uniform(700, 710, n),
            rng.uniform(0.7, 1.5, n),
            rng.uniform(-38.6, -37, n),  # where gauss_cdf is subnormal
            sign * np.log(2) * np.arange(n) / 4 * (1 + 1e-15 * rng.uniform(-1, 1, n)),
            sign * 5e-324 * rng.integers(1, 10, n),
        ]
    )
    x = x[np.isfinite(x)]
    if name == "log":
        return np.abs(x[x != 0])
    return x[x > -1] if name == "log1p" else x


@pytest.mark.parametrize("name", NAMES)
def test_double_precision(name):
    x = _double_precision_points(name)
    limit = float(np.finfo(np.float64).max)
    worst = 0.0
    with mpmath.workprec(200):
        for point, y in zip(x, _apply(name, x), strict=True):
            # Beyond +-1e4 each function has reached its limit, which mpmath reaches slowly.
            bounded = point if name.startswith("log") else np.clip(point, -1e4, 1e4)
            exact = EXACT[name](mpmath.mpf(float(bounded)))
            if name == "softplus" and point > 1e4:
                exact = mpmath.mpf(float(point))
            if np.isinf(y):
                assert exact > limit
                continue
            exponent = max(mpmath.frexp(exact)[1] - 1, -1022) if exact != 0 else -1022
            error = abs(mpmath.mpf(float(y)) - exact) / mpmath.mpf(2) ** (exponent - 52)
            worst = max(worst, float(error))
    print(f"{name}: {worst:.3f} ulp")
    assert 0.3 < worst <= LARGEST_ERROR[name]


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("name", NAMES)
def test_limits(name, dtype):
    points = np.array([*LIMITS[name], NAN], dtype)
    expected = np.array([*LIMITS[name].values(), NAN], dtype)
    np.testing.assert_array_equal(_apply(name, points), expected)


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("name", ["expm1", "log1p", "tanh"])
def test_zero_keeps_its_sign(name, dtype):
    y = _apply(name, np.array([-0.0, 0.0] * 40, dtype))
    np.testing.assert_array_equal(y, 0)
    np.testing.assert_array_equal(np.signbit(y), [True, False] * 40)


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("name", NAMES)
def test_a_lone_element_equals_one_in_a_row(name, dtype):
    """A loop's vectorised part and its rest must round alike, or results depend on a width."""
    x = np.random.default_rng(21).normal(scale=3, size=200 if JIT else 5).astype(dtype)
    x = np.abs(x) if name.startswith("log") else x
    alone = np.concatenate([_apply(name, x[i : i + 1]) for i in range(x.size)])
    np.testing.assert_array_equal(_apply(name, x), alone)


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("name", NAMES)
def test_returns_the_type_it_is_given(name, dtype):
    function = getattr(elementary, name)
    if not JIT:
        assert type(function(dtype(0.5))) is dtype
        return
    _apply(name, np.array([0.5], dtype))
    (found,) = (s for s in function.nopython_signatures if str(s.args[0]) == np.dtype(dtype).name)
    assert found.return_type == found.args[0]


@numba.njit(**FLAGS)
def _square(x, y):
    for i in range(x.shape[0]):
        y[i] = x[i] * x[i]


def _multiplications(loop, x):
    """Return the numbers of lanes of the multiplications in a loop's machine-independent code."""
    loop(x, np.empty_like(x))
    (signature,) = (s for s in loop.signatures if s[0].dtype.name == x.dtype.name)
    found = re.findall(r"fmul [a-z ]*<(\d+) x (?:float|double)>", loop.inspect_llvm(signature))
    return {int(lanes) for lanes in found}


@pytest.mark.skipif(not JIT, reason="nothing is compiled")
@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("name", NAMES)
def test_a_loop_is_vectorised(name, dtype):
    x = np.array([0.5], dtype)
    if max(_multiplications(_square, x)) < 4:
        pytest.skip("two lanes are not always worth it")
    assert _multiplications(LOOPS[name], x)
