"""SAGA's kernels against a plain NumPy of the same steps, and its postponed steps one by one."""

import numpy as np
import pytest
import scipy.sparse
from numpy.testing import assert_allclose
from scipy.special import expit, softmax

from fastnn.inputs import as_rows
from fastnn.kernels import saga
from fastnn.kernels.jit import kernel
from fastnn.kernels.saga import (
    LEAST_SCALE,
    N_SEEN,
    N_STATE,
    SCALE,
    WORD,
    SagaModel,
    SagaRule,
    saga_dense_,
    saga_sparse_,
)

pytestmark = pytest.mark.kernel

N, D = 14, 5


def shrunk(w, amount):
    return np.sign(w) * np.maximum(np.abs(w) - amount, 0)


def postponed(w, total, steps):
    """Make steps (drift, amount) of a weight, from the last to the first.

    All at once where the amounts outweigh the drift in sum.  Where they do not so in each, which
    happens before every row has been drawn, this is not the same, but it is scikit-learn's way.
    """
    drift, amount = (sum(part) for part in zip(*steps, strict=True)) if steps else (0, 0)
    if abs(total * drift) < amount:
        return shrunk(w - total * drift, amount)
    for drift, amount in reversed(steps):
        w = shrunk(w - total * drift, amount)
    return w


class Reference:
    """The steps of `saga`, each of a feature's own kept until a row has the feature."""

    def __init__(self, rule, X, y, weight, k, seed, sparse):
        self.rule, self.X, self.y, self.weight, self.sparse = rule, X, y, weight, sparse
        self.W, self.G = np.zeros((X.shape[1], k)), np.zeros((X.shape[1], k))
        self.b, self.g = np.zeros(k), np.zeros(k)
        self.D, self.seen = np.zeros((len(X), k)), np.zeros(len(X), bool)
        self.scale, self.word = 1.0, seed
        self.pending = [[] for _ in range(X.shape[1])]
        self.folds = 0

    def draw(self):
        self.word ^= (self.word << 13) & 0xFFFFFFFF
        self.word ^= self.word >> 17
        self.word ^= (self.word << 5) & 0xFFFFFFFF
        return (self.word & 0x7FFFFFFF) % len(self.X)

    def catch_up(self, features):
        for j in features:
            for c in range(self.W.shape[1]):
                self.W[j, c] = postponed(self.W[j, c], self.G[j, c], self.pending[j])
            self.pending[j].clear()

    def fold(self):
        self.catch_up(range(len(self.W)))
        self.W *= self.scale
        self.scale = 1.0
        self.folds += 1

    def epoch(self):
        rule = self.rule
        for _ in range(len(self.X)):
            i = self.draw()
            x = self.X[i]
            self.seen[i] = True
            n_seen = self.seen.sum()
            self.catch_up(np.flatnonzero(x) if self.sparse else range(len(x)))
            z = self.scale * (x @ self.W) + self.b
            if z.size == 1:
                d = expit(z) - self.y[i]
            else:
                d = softmax(z) - (np.arange(z.size) == self.y[i])
            d *= self.weight[i]
            change, self.D[i] = d - self.D[i], d
            self.scale *= 1 - rule.rate * rule.l2
            fresh = rule.rate * (1 - 1 / n_seen)
            self.W -= fresh / self.scale * np.outer(x, change)
            self.G += np.outer(x, change)
            for steps in self.pending:
                amount = rule.rate * rule.l1 / self.scale
                steps.append((rule.rate / (self.scale * n_seen), amount))
            if rule.fit_intercept:
                self.g += change
                self.b -= rule.rate * self.g / n_seen + fresh * change
            if self.scale < LEAST_SCALE:
                self.fold()
        self.fold()


def begin(X, k, seed, l1, precision):
    """Return a fresh model for the rows, as `fit_saga` makes it."""
    n, d = X.shape
    steps = n + 1 if scipy.sparse.issparse(X) else 0
    state = np.zeros(N_STATE)
    state[SCALE], state[WORD] = 1, seed
    return SagaModel(
        W=np.zeros((d, k), precision),
        G=np.zeros((d, k), precision),
        b=np.zeros(k),
        g=np.zeros(k),
        D=np.zeros((n, k), precision),
        seen=np.zeros(n, np.uint8),
        order=np.empty(n, np.int32),
        drift=np.zeros(steps),
        shrink=np.zeros(steps if l1 else 0),
        last=np.zeros(d if steps else 0, np.int32),
        state=state,
    )


@pytest.mark.parametrize(
    "penalty",
    [{}, {"l2": 0.1}, {"l1": 0.05}, {"l2": 0.1, "l1": 0.02}, {"l2": 9.0, "l1": 0.02}],
    ids=str,
)
@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("sparse", [False, True])
def test_steps(sparse, k, penalty, precision, rng):
    X = rng.normal(size=(N, D)) * (rng.random((N, D)) < 0.4)
    y = rng.integers(0, max(k, 2), N)
    weight = rng.uniform(0.5, 1.5, N)
    rule = SagaRule(0.1, penalty.get("l2", 0.0), penalty.get("l1", 0.0), True)
    expected = Reference(rule, X.astype(precision).astype(float), y, weight, k, 77, sparse)
    X = X.astype(precision)
    given = scipy.sparse.csr_array(X) if sparse else X
    model = begin(given, k, 77, rule.l1, precision)
    rows, goal = as_rows(given, X.dtype), y.astype(precision)
    run = saga_sparse_ if sparse else saga_dense_
    tolerance = 1e-5 if precision == "float32" else 1e-12
    for _ in range(4):
        expected.epoch()
        for start in range(0, N, 5):  # cut where it may, an epoch is the same
            run(rule, model, rows, goal, weight.astype(precision), start, min(start + 5, N))
        assert model.state[SCALE] == 1
        assert_allclose(model.W, expected.W, rtol=0, atol=tolerance)
        assert_allclose(model.G, expected.G, rtol=0, atol=10 * tolerance)
        assert_allclose(model.b, expected.b, rtol=0, atol=tolerance)
    assert np.abs(expected.W).max() > 0.001
    if rule.l2 == 9.0:  # so strong that the scale is folded in within an epoch
        assert expected.folds > 4
    if rule.l1:
        np.testing.assert_array_equal(model.W == 0, expected.W == 0)


@kernel
def drift_(rule, model, rows, y, weight, w, total, start, stop, out):
    borrowed = saga.borrow(model, rows, y, weight)
    out[0] = saga.drifted(w, total, borrowed, start, stop, rule.l1)


@pytest.mark.parametrize("n_seen", [3, N])
def test_postponed_steps_one_by_one(n_seen, rng):
    """Stronger shrinking, stronger drift, crossing zero or not, from either side."""
    X = scipy.sparse.csr_array(np.ones((N, 1)))
    model = begin(X, 1, 1, 0.3, "float64")
    model.state[N_SEEN] = n_seen
    seen = np.minimum(np.arange(1, N + 1), n_seen)  # grows, as in the first epoch
    model.drift[1:] = np.cumsum(rng.uniform(0.5, 1.5, N) / seen)
    model.shrink[1:] = np.cumsum(0.3 * np.diff(model.drift) * seen)
    rule, rows, none = SagaRule(0.1, 0.0, 0.3, True), as_rows(X, X.dtype), np.empty(0)
    out = np.empty(1)
    crossed = 0
    for _ in range(400):
        start, stop = np.sort(rng.integers(0, N + 1, 2))
        w, total = 3 * rng.normal(), rng.choice([0.1, 1.0, 5.0]) * rng.normal()
        drifts, amounts = (np.diff(sums[start : stop + 1]) for sums in (model.drift, model.shrink))
        expected = postponed(w, total, list(zip(drifts, amounts, strict=True)))
        drift_(rule, model, rows, none, none, w, total, start, stop, out)
        assert_allclose(out[0], expected, rtol=0, atol=1e-12)
        crossed += w * expected < 0
    assert crossed > 20
