"""The operations on one row, in whole vectors of the host's width, against NumPy."""

import numpy as np
import pytest

from fastnn.kernels import row
from fastnn.kernels.jit import JIT, kernel
from fastnn.kernels.views import pointer

pytestmark = pytest.mark.kernel

#: Below, at and beyond a vector, and two, three, four, eight and nine of them.
COUNTS = [1, 2, 3, 5, 8, 11, 13, 16, 17, 33, 70] if JIT else [1, 2, 5, 9]
VECTORS = [1, 2, 3, 4, 8, 9] if JIT else [1, 3]
GUARD = 77


@kernel
def lanes(x):
    return row.lanes_of(pointer(x))


@kernel
def combine(W, x, start, begin, out):
    count, width = W.shape
    if begin:
        row.combine_(count, width, pointer(x), pointer(W), pointer(start), pointer(out))
    else:
        row.combine_(count, width, pointer(x), pointer(W), None, pointer(out))


@kernel
def combine_sigmoid(W, x, start, out):
    count, width = W.shape
    row.combine_sigmoid_(count, width, pointer(x), pointer(W), pointer(start), pointer(out))


@kernel
def dots(W, v, start, begin, out):
    count, width = W.shape
    if begin:
        row.dots_(count, width, pointer(v), pointer(W), pointer(start), pointer(out))
    else:
        row.dots_(count, width, pointer(v), pointer(W), None, pointer(out))


@kernel
def rank_one(W, keep, x, step):
    row.rank_one_(W.shape[0] - 1, W.shape[1], keep, pointer(x), pointer(step), pointer(W))


@kernel
def heavy_ball(W, V, numbers, x, step):
    row.heavy_ball_(
        W.shape[0] - 1, W.shape[1], numbers[0], numbers[1], numbers[2], numbers[3],
        pointer(x), pointer(step), pointer(W), pointer(V),
    )  # fmt: skip


@kernel
def shift(z, out):
    return row.shift_(z.size, pointer(z), pointer(out))


@kernel
def residual(n, e, label, factor, out):
    return row.residual_(n, e.size, pointer(e), label, factor, pointer(out))


@kernel
def vectors(n, x, copied, trimmed, step):
    row.copy_(n, pointer(x), pointer(copied))
    row.trim_(n, pointer(trimmed))
    row.subtract_(step.size, pointer(step), pointer(trimmed))


def guarded(values, precision):
    """Return the values with a number behind them that must stay."""
    return np.append(values, GUARD).astype(precision)


@pytest.mark.parametrize("begin", [True, False])
@pytest.mark.parametrize("count", COUNTS)
def test_products(count, begin, precision, eps, rng):
    """What lies behind a result stays as it is."""
    each = lanes(np.zeros(1, precision))
    whole = -(-count // each) * each
    for width in [n * each for n in VECTORS]:
        W = rng.normal(size=(count, width)).astype(precision)
        x, v = rng.normal(size=count).astype(precision), rng.normal(size=width).astype(precision)
        tolerance = {"rtol": 0, "atol": 8 * eps * (np.abs(W).sum() + 8) * 4}

        start = rng.normal(size=width).astype(precision)
        out = guarded(np.full(width, 9), precision)
        combine(W, x, start, begin, out)
        np.testing.assert_allclose(out[:-1], x.astype(float) @ W + begin * start, **tolerance)
        assert out[-1] == GUARD

        start = rng.normal(size=whole).astype(precision)
        start[count:] = -np.inf
        out = guarded(np.full(whole, 9), precision)
        dots(W, v, start, begin, out)
        expected = np.zeros(whole) if not begin else start.astype(float)
        expected[:count] += W.astype(float) @ v
        np.testing.assert_allclose(out[:-1], expected, **tolerance)
        assert out[-1] == GUARD

        rows = np.vstack([W, np.full((1, width), GUARD, precision)])
        rank_one(rows, np.dtype(precision).type(0.9), x, v)
        expected = 0.9 * W.astype(float) - np.outer(x, v)
        np.testing.assert_allclose(rows[:-1], expected, **tolerance)
        assert (rows[-1] == GUARD).all()


@pytest.mark.parametrize("n_vectors", VECTORS)
def test_sums_through_a_sigmoid(n_vectors, precision, eps, rng):
    """Relative to the result the error is as if a score were off by units in its last place."""
    width = n_vectors * lanes(np.zeros(1, precision))
    for scale in (1, 30, 1e4):
        W = rng.normal(size=(3, width)).astype(precision)
        start = (rng.normal(size=width) * scale).astype(precision)
        out = guarded(np.full(width, 9), precision)
        combine_sigmoid(W, np.ones(3, precision), start, out)
        z = start + W.astype(float).sum(axis=0)
        expected = 1 / (1 + np.exp(-np.clip(z, -700, 700)))
        near = 8 * eps * (1 + np.abs(z) + np.abs(W).sum(axis=0)) * expected + 2e-38
        assert (np.abs(out[:-1] - expected) <= near).all()
        assert out[-1] == GUARD
    start[:4] = [np.nan, np.inf, -np.inf, 0]
    combine_sigmoid(np.zeros_like(W), np.ones(3, precision), start, out)
    np.testing.assert_allclose(out[:4], [np.nan, 1, 0, 0.5], rtol=0, atol=2e-38)


@pytest.mark.parametrize("ahead_direct", [(1, 0), (0.6, 1)])
@pytest.mark.parametrize("count", COUNTS[:4])
def test_heavy_ball(count, ahead_direct, precision, eps, rng):
    each = lanes(np.zeros(1, precision))
    numbers = np.array([0.1, 0.6, *ahead_direct], precision)
    decay, mu, ahead, direct = numbers.astype(float)
    for width in [n * each for n in VECTORS]:
        W, V = rng.normal(size=(2, count + 1, width)).astype(precision)
        x, step = rng.normal(size=count).astype(precision), rng.normal(size=width)
        step = step.astype(precision)
        w, v = W.astype(float), V.astype(float)
        heavy_ball(W, V, numbers, x, step)
        g = np.outer(x, step) + decay * w[:-1]
        v[:-1] = mu * v[:-1] - g
        w[:-1] += ahead * v[:-1] - direct * g
        np.testing.assert_allclose(V, v, rtol=0, atol=64 * eps)
        np.testing.assert_allclose(W, w, rtol=0, atol=64 * eps)


@pytest.mark.parametrize("n_vectors", VECTORS)
def test_softmax(n_vectors, precision, eps, rng):
    """The two halves of cross-entropy; padding of -inf takes no share."""
    width = n_vectors * lanes(np.zeros(1, precision))
    z = rng.normal(size=width).astype(precision)
    factor = np.dtype(precision).type(-0.25)
    z[width - 1] = -np.inf
    for label in (0, width // 2, width - 2):
        z[label] += 9  # the largest is found wherever it is
        shifted, out = (guarded(np.full(width, 9), precision) for _ in range(2))
        assert shift(z, shifted) == z.max()
        np.testing.assert_array_equal(shifted[:-1], z - z.max())
        e = np.exp(shifted[:-1])
        total = residual(width, e, label, factor, out)
        np.testing.assert_allclose(total, e.sum(dtype=float), rtol=16 * eps)
        expected = e / e.sum(dtype=float) - (np.arange(width) == label)
        np.testing.assert_allclose(out[:-1], -0.25 * expected, rtol=0, atol=16 * eps)
        assert shifted[-1] == out[-1] == GUARD


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
def test_few_shares(n, precision, eps):
    """Few numbers are summed among themselves; the padding has no part in it."""
    each = lanes(np.zeros(1, precision))
    e = np.arange(1, -(-n // each) * each + 1).astype(precision)
    e[n:] = 0
    out = np.full_like(e, 9)
    factor = np.dtype(precision).type(0.5)
    total = residual(n, e, n - 1, factor, out)
    assert total == n * (n + 1) / 2
    expected = e / total - (np.arange(e.size) == n - 1)
    np.testing.assert_allclose(out, 0.5 * expected, rtol=0, atol=4 * eps)


@pytest.mark.parametrize("n", COUNTS)
def test_padding(n, precision, rng):
    each = lanes(np.zeros(1, precision))
    whole = -(-n // each) * each
    x, step = rng.normal(size=n).astype(precision), rng.normal(size=whole).astype(precision)
    copied = guarded(np.full(whole, 9), precision)
    trimmed = guarded(np.arange(1, whole + 1), precision)
    vectors(n, x, copied, trimmed, step)
    np.testing.assert_array_equal(copied, guarded([*x, *np.zeros(whole - n)], precision))
    kept = guarded([*np.arange(1, n + 1), *np.zeros(whole - n)], precision)
    kept[:-1] -= step
    np.testing.assert_array_equal(trimmed, kept)
