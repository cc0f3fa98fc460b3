"""A block's pass over its weights, its products, and the output layer's step, against NumPy."""

import numpy as np
import pytest

from fastnn.kernels import block_pass, output_row, row
from fastnn.kernels.jit import JIT, kernel
from fastnn.kernels.views import pointer

pytestmark = pytest.mark.kernel


@kernel
def shape(x):
    return row.lanes_of(pointer(x)), block_pass.most_rows(pointer(x))


@kernel
def advance(before, change, steps, W, X, multiply, Z):
    count, columns = W.shape
    n, width, x = X.shape[1], Z.shape[1], pointer(X)
    p = pointer(steps), pointer(W), pointer(Z)
    if change and multiply:
        block_pass.advance_(columns, count, n, width, pointer(before), p[0], p[1], x, p[2], x, x)
    elif change:
        block_pass.advance_(columns, count, n, width, pointer(before), p[0], p[1], None, p[2], x, x)
    else:
        block_pass.advance_(columns, count, n, width, None, p[0], p[1], x, p[2], x, x)


@kernel
def products(width, X, out):
    block_pass.products_(width, X.shape[1], pointer(X), pointer(out))


@kernel
def output_step(numbers, label, v, W, bias, z, step, below):
    """Make the step in one function if a vector holds the outputs, else in three."""
    n, width, lanes = W.shape[0], W.shape[1], row.lanes_of(pointer(z))
    keep, factor, c0, c1, c2 = numbers[0], numbers[1], numbers[2], numbers[3], numbers[4]
    if n <= lanes:
        return output_row.output_step_(
            n, width, keep, c0, c1, c2, label, factor, pointer(v), pointer(W), pointer(bias),
            pointer(z), pointer(step), pointer(below),
        )  # fmt: skip
    row.dots_(n, width, pointer(v), pointer(W), pointer(bias), pointer(z))
    total = output_row.softmax_step_(
        n, z.size, label, factor, pointer(z), pointer(bias), pointer(step)
    )
    if total > 0:
        output_row.hand_down_(
            n, width, keep, c0, c1, c2, pointer(v), pointer(W), pointer(step), pointer(below)
        )
    return total


@pytest.mark.parametrize(("change", "multiply"), [(True, True), (True, False), (False, True)])
@pytest.mark.parametrize("vectors", [1, 2])
@pytest.mark.parametrize("count", [2, 8])
def test_a_pass_changes_and_multiplies(count, vectors, change, multiply, precision, eps, rng):
    lanes, rows = shape(np.zeros(1, precision))
    columns, n, width = vectors * lanes, count + 3, 3 * lanes

    def some(*size):
        return rng.integers(-4, 5, size).astype(precision)  # what is computed of them is exact

    before, X, steps, Z = some(rows, n), some(rows, n), some(rows, width), some(rows, width)
    W = some(count, columns)
    changed, multiplied = W.copy(), Z.copy()
    if change:
        changed -= before[:, :count].T @ steps[:, :columns]
    if multiply:
        multiplied[:, :columns] += X[:, :count] @ changed
    advance(before, change, steps, W, X, multiply, Z)
    np.testing.assert_array_equal(W, changed)
    np.testing.assert_array_equal(Z, multiplied)


@pytest.mark.parametrize("vectors", [1, 3])
def test_products_of_a_block(vectors, precision, rng):
    lanes, rows = shape(np.zeros(1, precision))
    width = vectors * lanes
    X = rng.integers(-4, 5, (rows, width + 5)).astype(precision)
    out = np.zeros(rows * rows + lanes, precision)
    products(width, X, out)
    gram = -X[:, :width] @ X[:, :width].T
    expected = [gram[s, t] for t in range(rows) for s in range(t)]
    np.testing.assert_array_equal(out[: len(expected)], expected)


@pytest.mark.parametrize("keep", [1, 0.75])
@pytest.mark.parametrize("vectors", [1, 2, 5])
def test_the_output_layers_step(vectors, keep, precision, eps, rng):
    lanes, _ = shape(np.zeros(1, precision))
    for n in [*range(1, lanes + 2), 2 * lanes, 3 * lanes - 1] if JIT else [1, 3, 6]:
        whole = -(-n // lanes) * lanes
        v = rng.normal(size=vectors * lanes).astype(precision)
        W = rng.normal(size=(n, v.size)).astype(precision)
        bias, z, step = (np.zeros(whole, precision) for _ in range(3))
        bias[:n] = rng.normal(size=n)
        bias[n:] = -1e38
        below = np.zeros(v.size, precision)
        numbers, label = np.array([keep, 0.5, 0.25, 1, -1], precision), n // 2
        before = [x.astype(float) for x in (v, W, bias)]
        total = output_step(numbers, label, v, W, bias, z, step, below)

        v64, W64, b64 = before
        scores = W64 @ v64 + b64[:n]
        e = np.exp(scores)
        expected = 0.5 * (e / e.sum() - (np.arange(n) == label))
        near = {"rtol": 0, "atol": 100 * eps}
        np.testing.assert_allclose(total, e.sum(), rtol=100 * eps)
        np.testing.assert_allclose(z[:n], scores, **near)
        np.testing.assert_allclose(step[:n], expected, **near)
        handed = expected @ W64 * (0.25 + v64 - v64**2)
        np.testing.assert_allclose(below, handed, rtol=0, atol=100 * eps * (1 + v64**2).max())
        np.testing.assert_allclose(W, keep * W64 - expected[:, None] * v64, **near)
        np.testing.assert_allclose(bias[:n], b64[:n] - expected, **near)


@pytest.mark.parametrize("vectors", [1, 2])
@pytest.mark.parametrize("score", [81, -81, np.inf, np.nan])
def test_scores_that_take_care_leave_all_else(score, vectors, precision):
    lanes, _ = shape(np.zeros(1, precision))
    n = 2 + (vectors - 1) * lanes
    W, v, below = (np.ones(size, precision) for size in ((n, lanes), lanes, lanes))
    bias, z, step = (np.zeros(vectors * lanes, precision) for _ in range(3))
    bias[n - 1], v[:] = score, 0
    numbers = np.array([1, 1, 1, 0, 0], precision)
    assert output_step(numbers, 0, v, W, bias, z, step, below) == 0
    np.testing.assert_array_equal(z[n - 2 : n], [0, score])
    np.testing.assert_array_equal(bias[n - 1], score)
    assert (W == 1).all()
    assert (below == 1).all()
