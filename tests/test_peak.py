"""The kernels that measure the machine do the work they report."""

import numpy as np
import pytest

from fastnn.kernels import peak
from fastnn.kernels.simd import CHAINS

pytestmark = pytest.mark.kernel


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("rounds", [1, 2, 60])
def test_multiply_adds(rounds, precision):
    operations, total = peak.multiply_adds(rounds, np.zeros(1, precision))
    # Register i starts at i, and each step halves its distance from 1.
    distances = (np.arange(CHAINS) - 1) * 0.5**rounds
    assert total == pytest.approx(CHAINS + distances.sum(), rel=1e-6)
    lanes, rest = divmod(operations, 2 * CHAINS * rounds)
    assert rest == 0
    assert lanes in (1, 2, 4, 8, 16)


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_read_reads_everything_in_every_pass(precision):
    x = np.arange(100, dtype=precision)
    assert peak.read(x, 3) == 3 * x.sum()
