"""Subnormal numbers are zero in a kernel that says so, and what they were when it has ended."""

import numpy as np
import pytest

from fastnn import Network
from fastnn.kernels.jit import JIT, kernel
from fastnn.kernels.subnormals import flush_subnormals_, restore_

pytestmark = pytest.mark.kernel


@kernel
def halve(x, flushed, after):
    mode = flush_subnormals_()
    for i in range(x.size):
        flushed[i] = x[i] / 2
    restore_(mode)
    for i in range(x.size):
        after[i] = x[i] / 2


def test_flushed_until_restored(precision):
    tiny = np.finfo(precision).tiny
    x = np.array([1, tiny, tiny / 2, -tiny], precision)
    flushed, after = np.ones((2, 4), precision)
    halve(x, flushed, after)
    np.testing.assert_array_equal(flushed, [0.5, 0, 0, 0] if JIT else x / 2)
    np.testing.assert_array_equal(after, x / 2)
    assert after[2] != 0


@pytest.mark.parametrize("batch_size", [1, 2])
def test_training_leaves_them_to_others(batch_size, precision):
    net = Network([2, 2], loss="cross_entropy", dtype=precision, random_state=0)
    net.fit(np.eye(2), [0, 1], epochs=1, batch_size=batch_size)
    tiny = np.array([np.finfo(precision).tiny])
    assert (tiny / 2)[0] != 0
