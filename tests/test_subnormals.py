"""Subnormal numbers are zero in a kernel that says so, and what they were when it has ended."""

import numpy as np
import pytest

from fastnn import LogisticRegression, Network, SGDClassifier, SGDRegressor
from fastnn.kernels.jit import JIT, helper, kernel
from fastnn.kernels.subnormals import flushing_

pytestmark = pytest.mark.kernel


@helper
def halve_(x, out):
    for i in range(x.size):
        out[i] = x[i] / 2
    if x.size > 4:
        raise ValueError("too many")


@kernel
def halve(x, flushed, after):
    flushing_(halve_, (x, flushed))
    for i in range(x.size):
        after[i] = x[i] / 2


def assert_left_alone(precision):
    """Assert that this thread computes with subnormal numbers."""
    tiny = np.array([np.finfo(precision).tiny])
    assert (tiny / 2)[0] != 0


def test_flushed_until_restored(precision):
    tiny = np.finfo(precision).tiny
    x = np.array([1, tiny, tiny / 2, -tiny], precision)
    flushed, after = np.ones((2, 4), precision)
    halve(x, flushed, after)
    np.testing.assert_array_equal(flushed, [0.5, 0, 0, 0] if JIT else x / 2)
    np.testing.assert_array_equal(after, x / 2)
    assert after[2] != 0


def test_restored_by_one_that_raises(precision):
    x = np.full(5, np.finfo(precision).tiny)
    flushed, after = np.ones((2, 5), precision)
    with pytest.raises(ValueError, match="too many"):
        halve(x, flushed, after)
    assert after.all()
    np.testing.assert_array_equal(flushed, 0 if JIT else x / 2)
    assert_left_alone(precision)


@pytest.mark.parametrize("batch_size", [1, 2])
def test_training_leaves_them_to_others(batch_size, precision):
    net = Network([2, 2], loss="cross_entropy", dtype=precision, random_state=0)
    net.fit(np.eye(2), [0, 1], epochs=1, batch_size=batch_size)
    assert_left_alone(precision)


@pytest.mark.parametrize(
    "model",
    [
        SGDRegressor(max_iter=3, tol=None, shuffle=False),
        SGDRegressor(max_iter=3, tol=None, shuffle=False, penalty="l1", alpha=0.0),
        SGDClassifier(
            max_iter=3, tol=None, shuffle=False, multi_class="multinomial", loss="log_loss"
        ),
        LogisticRegression(solver="saga", max_iter=3),
    ],
    ids=["sgd", "l1", "softmax", "saga"],
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_linear_models_flush_them(model, precision):
    """Features so small are none."""
    X = np.array([[0.5], [-0.5], [0.25]], precision) * np.finfo(precision).tiny
    model.fit(X, [0, 1, 2])
    assert np.any(model.coef_) != JIT
    assert_left_alone(precision)
