"""Exact per-sample SGD: the blocked form and the row form are one sequence of weights."""

import numpy as np
import pytest

from fastnn import Network, training
from fastnn.kernels.jit import JIT
from fastnn.kernels.sgd import BLOCK

pytestmark = pytest.mark.kernel


def fit(monkeypatch, block, sizes, precision, l2, weight):
    """Return parameters and losses after two epochs in blocks of a size."""
    monkeypatch.setattr(training, "block_rows", lambda *_: block)
    rng = np.random.default_rng(5)
    n = 3 * BLOCK + 5 if JIT else BLOCK + 3
    X, y = rng.normal(size=(n, sizes[0])), rng.integers(0, sizes[-1], n)
    net = Network(sizes, activation="tanh", loss="cross_entropy", dtype=precision, random_state=0)
    history = net.fit(
        X, y, epochs=2, l2=l2, learning_rate=0.05, sample_weight=rng.random(n) if weight else None
    )
    return net.parameters, history.loss


@pytest.mark.parametrize("weight", [False, True])
@pytest.mark.parametrize("l2", [0, 0.03])
@pytest.mark.parametrize("sizes", [(70, 33, 5), (64, 9), (5, 20, 4, 3)])
def test_blocks_change_nothing_but_rounding(monkeypatch, sizes, l2, weight, precision, eps):
    blocked, blocked_loss = fit(monkeypatch, BLOCK, sizes, precision, l2, weight)
    rowwise, rowwise_loss = fit(monkeypatch, 1, sizes, precision, l2, weight)
    np.testing.assert_allclose(blocked, rowwise, rtol=0, atol=64 * eps)
    np.testing.assert_allclose(blocked_loss, rowwise_loss, rtol=64 * eps)


@pytest.mark.parametrize(
    ("sizes", "sparse", "decay", "expected"),
    [
        ((64, 32, 2), False, 0.0, BLOCK),
        ((63, 32, 2), False, 0.0, 1),
        ((64, 32, 2), True, 0.0, 1),
        ((64, 32, 2), False, 0.1, 1),
    ],
)
def test_the_blocked_form_is_taken_where_it_pays(sizes, sparse, decay, expected):
    import scipy.sparse

    from fastnn.inputs import check_rows

    X = scipy.sparse.eye_array(sizes[0], format="csr") if sparse else np.eye(sizes[0])
    net = Network(sizes, loss="cross_entropy")
    rows = check_rows(X, sizes[0], net.dtype)
    assert training.block_rows(net.plan, rows, decay) == expected
