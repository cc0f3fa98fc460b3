"""The softmax of a row, in whole vectors, against NumPy."""

import numpy as np
import pytest

from fastnn.kernels.jit import kernel
from fastnn.kernels.softmax_row import LIMIT, softmax_row_
from fastnn.kernels.views import pointer

pytestmark = pytest.mark.kernel
GUARD = 77
WIDTHS = (1, 2, 3, 5, 7, 8, 9, 10, 15, 16, 17, 24, 31, 33, 64, 100)


@kernel
def softmax_row(n, z, a):
    return softmax_row_(n, pointer(z), pointer(a))


@pytest.mark.parametrize("in_place", [True, False])
def test_softmax_row(in_place, precision, eps, rng):
    """What lies behind the row stays as it is, and plays no part."""
    for n in WIDTHS:
        z = np.append(rng.normal(scale=10, size=n), GUARD).astype(precision)
        z[0], z[n - 1] = LIMIT, -LIMIT
        powers = np.exp(z[:n].astype(float))
        expected, total = powers / powers.sum(), powers.sum()
        a = z if in_place else np.full(n + 1, GUARD, precision)
        found = softmax_row(n, z, a)
        np.testing.assert_allclose(a[:n], expected, rtol=8 * eps, atol=np.finfo(precision).tiny)
        np.testing.assert_allclose(found, total, rtol=8 * eps)
        assert a[n] == GUARD


@pytest.mark.parametrize("score", [1.001 * LIMIT, -1.001 * LIMIT, np.inf, -np.inf, np.nan])
def test_scores_beyond_the_limit_are_left(score, precision):
    for n in WIDTHS:
        for place in range(n):
            z = np.zeros(n, precision)
            z[place] = score
            before = z.copy()
            assert softmax_row(n, z, z) == 0
            np.testing.assert_array_equal(z, before)
