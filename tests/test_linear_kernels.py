"""The kernels of linear models: products of a block, slopes, and a reference in plain NumPy."""

import math

import mpmath
import numpy as np
import pytest
from scipy import sparse

from fastnn.inputs import as_rows
from fastnn.kernels import linear, linear_groups, linear_losses, linear_rule, row_pass
from fastnn.kernels.jit import JIT, kernel
from fastnn.kernels.linear_softmax import train_softmax_rows_
from fastnn.kernels.row import lanes_of
from fastnn.kernels.views import constant, pointer

pytestmark = pytest.mark.kernel

COUNTS = [1, 2, 3, 7, 8, 15, 16, 17, 33, 70] if JIT else [1, 2, 5, 9]
N, D = 11, 5
#: Columns of rows that are taken in groups, in both precisions, where there are so many in memory.
LONG = 131
MANY = linear_groups.CACHED_BYTES // (4 * LONG) + 1
#: Columns, and rows in memory.
SIZES = [(D, N), (LONG, N), (LONG, MANY)]
EVERY_ROW = np.arange(N, dtype=np.int32)


@kernel
def lanes(x):
    return lanes_of(pointer(x))


@kernel
def pass_over(n, factor, past, now, following, W):
    x0, x1, x2 = pointer(past), pointer(now), pointer(following)
    return row_pass.pass_(n, factor, x0, x1, x2, x1, pointer(W))


@kernel
def pass_over_group(n, factors, X, past, rows, W, sums, overlaps):
    places = pointer(past), pointer(rows), pointer(rows)
    row_pass.group_pass_(
        n, pointer(factors), pointer(X), *places, pointer(W), pointer(sums), pointer(overlaps)
    )


@kernel
def pack(n, row, W):
    row_pass.pack_(n, lanes_of(pointer(row)), pointer(row), pointer(W))


@kernel
def unpack(n, W, row):
    row_pass.unpack_(n, lanes_of(pointer(W)), pointer(W), pointer(row))


@kernel
def add(n, factor, x, W):
    row_pass.add_row_(n, factor, pointer(x), pointer(W))


@kernel
def losses(code, z, y, epsilon, values, slopes):
    for i in range(z.size):
        values[i] = linear_losses.loss_value(code, z[i], y[i], constant(epsilon, z[i]))
        slopes[i] = linear_losses.loss_slope(code, z[i], y[i], constant(epsilon, z[i]))
    return linear_losses.loss_sum(code, z.size, pointer(z), pointer(y), constant(epsilon, z[0]))


@pytest.mark.parametrize("n", COUNTS)
def test_pass(n, precision, eps, rng):
    """Neither is read nor written what lies behind a row or behind the padding."""
    whole = -(-n // lanes(np.zeros(1, precision))) * lanes(np.zeros(1, precision))
    X = np.full((3, n + 1), np.nan, precision)
    X[:, :n] = rng.normal(size=(3, n))
    w, found = rng.normal(size=n).astype(precision), np.empty(n, precision)
    W = np.zeros(whole + 1, precision)
    W[-1] = 77
    pack(n, w, W)
    assert np.count_nonzero(W[:-1]) == n
    half = np.dtype(precision).type(0.5)
    out = pass_over(n, half, X[0], X[1], X[2], W)
    past, now, following = X[:, :n].astype(float)
    exact = w + 0.5 * past
    expected = [following @ exact, following @ now, following @ following]
    np.testing.assert_allclose(out, expected, rtol=0, atol=8 * eps * (n + 4))

    add(n, -2 * half, X[1], W)
    unpack(n, W, found)
    np.testing.assert_allclose(found, exact - now, rtol=0, atol=16 * eps)
    assert W[-1] == 77
    assert np.count_nonzero(W[:-1]) == n


@pytest.mark.parametrize("name", linear_losses.TABLE)
def test_slopes_are_derivatives_of_values(name, rng):
    """Away from the kinks, which no point is near."""
    y = np.tile(linear_losses.TABLE[name].labels or (0.0, 3.0), 40)
    z = rng.uniform(-3, 3, y.size)
    if linear_losses.TABLE[name].regression and name != "poisson":
        y = rng.normal(size=y.size)
    code, h = linear_losses.CODES[name], 1e-6
    values, slopes, other = np.empty_like(z), np.empty_like(z), np.empty_like(z)
    total = losses(code, z, y, 0.3, values, slopes)
    assert total == pytest.approx(values.sum(), rel=1e-13)
    above, below = np.empty_like(z), np.empty_like(z)
    losses(code, z + h, y, 0.3, above, other)
    losses(code, z - h, y, 0.3, below, other)
    np.testing.assert_allclose(slopes, (above - below) / (2 * h), rtol=1e-6, atol=1e-8)
    assert np.abs(slopes).max() > 0.1


def test_slope_of_the_log_loss(precision, eps):
    """Exact to the rounding of its argument, finite at the ends, and NaN for NaN."""
    z = np.concatenate([np.linspace(-90, 90, 721), [1e30, -1e30, np.inf, -np.inf, np.nan]])
    z = z.astype(precision)
    values, slopes = np.empty_like(z), np.empty_like(z)
    for y in (0, 1, 0.25):
        losses(linear_losses.CODES["log_loss"], z, np.full_like(z, y), 0, values, slopes)
        for point, slope in zip(z[:721], slopes, strict=False):
            with mpmath.workprec(200):
                e = mpmath.exp(-mpmath.mpf(float(point)))
                exact = float(((1 - mpmath.mpf(y)) - mpmath.mpf(y) * e) / (1 + e))
            # A unit of z changes a slope near 0 by |z| units of its own; far out it is the limit.
            assert abs(slope - exact) <= (abs(point) + 4) * eps * abs(exact) + 1e-34 + (
                4 * eps if 0 < y < 1 else 0
            )
        np.testing.assert_allclose(slopes[721:725], [1 - y, -y, 1 - y, -y], rtol=0, atol=0)
        assert np.isnan(slopes[725])


def new_model(shape, precision, rule):
    W = np.zeros(shape, precision)
    empty = np.empty((0, 0), precision)
    state = np.zeros(linear.N_STATE)
    state[[linear.T, linear.ETA, linear.AVERAGE_B]] = 1, rule.eta0, 1
    return linear.Model(
        W,
        np.zeros(shape[0]),
        np.zeros(shape, precision) if rule.average else empty,
        np.zeros(shape[0]),
        np.zeros(shape, precision) if rule.truncate else empty,
        state,
    )


def new_rule(**changes):
    rule = linear_rule.LinearRule(
        loss=linear_losses.CODES["log_loss"], epsilon=0.1, schedule=linear_rule.INVSCALING,
        eta0=0.5, power_t=0.5, optimal_init=0.0, alpha=0.01, l1_ratio=0.0, decay=True,
        truncate=False, positive_weight=1.5, negative_weight=0.5, fit_intercept=True,
        intercept_rate=1.0, average=0.0, watch_loss=True, watch_penalty=True, clip=math.inf,
        warmup=0.0, middle=0.5, smoothing=0.0,
    )  # fmt: skip
    return rule._replace(**changes)


def among(n, X):
    """Return ``n`` rows in memory, of which the first are those of X and the others zero."""
    return np.concatenate([X, np.zeros((n - len(X), X.shape[1]), X.dtype)])


def plain_sgd(rule, X, y, weight, order):
    """Return the weights, intercept, averages and sums after one epoch, in the obvious way."""
    w, b, mean_w, mean_b = np.zeros(X.shape[1]), 0.0, np.zeros(X.shape[1]), 0.0
    loss = penalty = 0.0
    for t, i in enumerate(order, start=1):
        z, eta = w @ X[i] + b, rule.eta0 / t**rule.power_t
        loss += math.log1p(math.exp(-z if y[i] else z))
        penalty += 0.5 * rule.alpha * (w @ w)
        step = -eta * (1 / (1 + math.exp(-z)) - y[i]) * weight[i]
        step *= rule.positive_weight if y[i] else rule.negative_weight
        w = max(0, 1 - eta * rule.alpha) * w + step * X[i]
        b += step
        if t >= rule.average > 0:
            mean_w += (w - mean_w) / (t - rule.average + 1)
            mean_b += (b - mean_b) / (t - rule.average + 1)
    return w, b, mean_w, mean_b, loss, penalty


@pytest.mark.parametrize("n", COUNTS)
def test_group_pass(n, precision, eps, rng):
    """Rows that belong to both groups, and whose last vector ends with them."""
    size = lanes(np.zeros(1, precision))
    X = np.full((6, n + 1), np.nan, precision)
    X[:, :n] = rng.normal(size=(6, n))
    w, found = rng.normal(size=n).astype(precision), np.empty(n, precision)
    W = np.zeros(-(-n // size) * size + 1, precision)
    W[-1] = 77
    pack(n, w, W)
    factors = np.array([0.5, -1, 0.25, 2], precision)
    past, now = np.array([0, 3, 1, 4]), np.array([5, 2, 0, 3])
    sums, overlaps = np.full(5, 77, precision), np.full(7, 77, precision)
    pass_over_group(n, factors, X, past * (n + 1), now * (n + 1), W, sums, overlaps)
    unpack(n, W, found)
    rows = X[:, :n].astype(float)
    exact = w + factors.astype(float) @ rows[past]
    products = rows[now] @ rows[now].T
    expected = [products[i, j] for i in range(4) for j in range(i)]
    tolerance = 32 * eps * (n + 4)
    np.testing.assert_allclose(found, exact, rtol=0, atol=32 * eps)
    np.testing.assert_allclose(sums, [*rows[now] @ exact, 77], rtol=0, atol=tolerance)
    np.testing.assert_allclose(overlaps, [*expected, 77], rtol=0, atol=tolerance)
    assert W[-1] == 77
    assert np.count_nonzero(W[:-1]) == n


@pytest.mark.parametrize("layout", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize(("d", "n"), SIZES)
@pytest.mark.parametrize("average", [0, 1, 6])
@pytest.mark.parametrize("alpha", [0.01, 1.3, 1e6], ids=["mild", "folded", "to zero"])
def test_against_plain_sgd(layout, d, n, average, alpha, precision, eps, rng):
    """Blocks, slices and folded scales make the plain sequence of weights.

    With ``alpha`` 1.3 the scale is folded in the middle of blocks, with 1e6 at every row.
    """
    rule = new_rule(average=float(average), alpha=alpha)
    if alpha > 1:  # weights that shrink to 0.01 a row, so that some rows make a fold
        rule = rule._replace(power_t=0.0, eta0=(1 - 0.01) / alpha)
    if alpha > 100:
        rule = rule._replace(eta0=1.0)
    X = (rng.normal(size=(N, d)) * math.sqrt(D / d)).astype(precision)
    y = rng.integers(0, 2, N).astype(precision)
    weight, order = rng.uniform(0.5, 2, N).astype(precision), rng.permutation(EVERY_ROW)
    w, b, mean_w, mean_b, loss, penalty = plain_sgd(rule, X.astype(float), y, weight, order)
    model = new_model((1, d), precision, rule)
    rows = as_rows(layout(among(n, X)), np.dtype(precision))
    for start, stop in ((0, 3), (3, N)):
        linear.train_rows_(rule, model, rows, y, weight, order, start, stop)
    state = model.state
    tolerance = {"rtol": 100 * eps, "atol": 100 * eps}
    np.testing.assert_allclose(state[linear.LOSS_SUM], loss, **tolerance)
    np.testing.assert_allclose(state[linear.PENALTY_SUM], penalty, **tolerance)
    np.testing.assert_allclose(model.W[0], w, **tolerance)
    np.testing.assert_allclose(model.b[0], b, **tolerance)
    assert state[linear.T] == N + 1
    if average:  # the difference of numbers that are larger the smaller the scale
        np.testing.assert_allclose(model.A[0], mean_w, rtol=1e3 * eps, atol=1e3 * eps)
        np.testing.assert_allclose(model.a[0], mean_b, **tolerance)


@pytest.mark.parametrize(("d", "n"), SIZES)
@pytest.mark.parametrize("schedule", [linear_rule.PA1, linear_rule.PA2])
def test_dense_rows_as_sparse_ones(schedule, d, n, rng):
    """A passive-aggressive step on a row of zeros, and every layout, leave one path."""
    rule = new_rule(
        loss=linear_losses.CODES["hinge"], schedule=schedule, average=2.0, decay=False,
        watch_penalty=False, middle=0.0,
    )  # fmt: skip
    X, y = rng.normal(size=(N, d)) * math.sqrt(D / d), rng.choice([-1.0, 1.0], N)
    X[[0, 5, 6]] = 0
    found = []
    for layout in (np.asarray, sparse.csr_array):
        model = new_model((1, d), "float64", rule)
        rows = as_rows(layout(among(n, X)), np.dtype("f8"))
        linear.train_rows_(rule, model, rows, y, np.empty(0), EVERY_ROW[:0], 0, N)
        steps = model.state[[linear.T]]
        found.append(np.concatenate([model.W[0], model.b, model.A[0], model.a, steps]))
    assert np.abs(found[0][:d]).min() > 1e-6
    np.testing.assert_allclose(*found, rtol=1e-12)


def test_orders_are_composed(rng):
    order, shuffle = (rng.permutation(N).astype(np.int32) for _ in range(2))
    out = np.empty_like(order)
    linear.compose_(order, shuffle, out)
    np.testing.assert_array_equal(out, order[shuffle])


@kernel
def rate_of(rule, t):
    return linear_rule.scheduled_rate(rule, rule.eta0, t)


@pytest.mark.parametrize("power", [0.0, 0.25, 0.5, 0.6])
def test_inverse_scaling_and_warmup(power):
    rule = new_rule(power_t=power)
    for t in (1.0, 2.0, 7.0, 1e6):
        assert rate_of(rule, t) == pytest.approx(0.5 / t**power, rel=1e-14)
        slow = rate_of(rule._replace(warmup=10.0), t)
        assert slow == pytest.approx(0.5 / t**power * min(1, t / 10), rel=1e-14)


@pytest.mark.parametrize("layout", [np.asarray, sparse.csr_array])
def test_softmax_of_two_scores_is_a_sigmoid(layout, rng):
    """Steps on both scores move their difference twice as far as one step on a single score."""
    X, y = rng.normal(size=(N, D)), rng.integers(0, 2, N).astype(float)
    rule = new_rule(positive_weight=1.0, negative_weight=1.0, average=3.0)
    both, one = new_model((2, D), "float64", rule), new_model((1, D), "float64", rule)
    rows, weight = as_rows(layout(X), np.dtype("f8")), rng.uniform(0.5, 2, N)
    train_softmax_rows_(rule, both, rows, y, weight, EVERY_ROW, 0, N)
    linear.train_rows_(rule, one, rows, y, 2 * weight, EVERY_ROW, 0, N)
    np.testing.assert_allclose(both.state[linear.LOSS_SUM], one.state[linear.LOSS_SUM])
    np.testing.assert_allclose(both.W[1] - both.W[0], one.W[0], rtol=1e-10)
    np.testing.assert_allclose(both.A[1] - both.A[0], one.A[0], rtol=1e-10)
    np.testing.assert_allclose(both.b[1] - both.b[0], one.b[0], rtol=1e-10)
