"""What training takes above its data: parameters, the optimiser's state, workspace, no copies."""

import tracemalloc
import warnings

import numpy as np
import pytest

from fastnn import MLPClassifier, MLPRegressor, Network
from fastnn.kernels.jit import JIT

pytestmark = pytest.mark.skipif(not JIT, reason="plain Python makes arrays of its own")

N, D = 100_000, 4
#: Parameters, moments and gradient of a network 100 wide, and rows on their way through it.
ALLOWED = 300_000


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Scale down what has a constant size, so that what grows with the rows stands out."""
    monkeypatch.setattr("fastnn.inputs._BLOCK", 4096)
    monkeypatch.setattr("fastnn.orders.STORED", 4096)
    monkeypatch.setattr("fastnn.estimators.labels._BLOCK", 4096)
    monkeypatch.setattr("fastnn.training._SLICE_FLOP", 4e6)


def peak(work, *arrays):
    """Return the bytes that ``work`` allocates at most at a time, once its kernels are loaded."""
    work(*arrays)
    tracemalloc.start()
    try:
        work(*arrays)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def data(dtype):
    X = np.random.default_rng(0).random((N, D)).astype(dtype)
    return X, (X[:, 0] > 0.5).astype(dtype)


@pytest.mark.parametrize("n_jobs", [None, 2])
@pytest.mark.parametrize("batch_size", [1, 200, None])
def test_network(batch_size, n_jobs, precision):
    def fit(X, y):
        net = Network([D, 100, 1], loss="log_loss", dtype=precision, random_state=0)
        net.fit(X, y, batch_size=batch_size, epochs=8, optimizer="sgd", n_jobs=n_jobs)

    X, y = data(precision)
    assert peak(fit, X, y) < ALLOWED * X.itemsize / 4
    assert X.nbytes > 4 * ALLOWED * X.itemsize / 4


def test_predictions_take_no_more_than_themselves():
    X, y = data("float32")
    net = Network([D, 100, 1], loss="log_loss", random_state=0)
    assert peak(net.forward, X) < 4 * N + ALLOWED
    assert peak(net.loss, X, y) < ALLOWED


@pytest.mark.parametrize(
    ("model", "labels", "bytes_a_row"),
    [
        # The order as scikit-learn draws it, and a byte for the class.
        (MLPRegressor, None, 4),
        (MLPClassifier, None, 5),
        (MLPClassifier, np.arange(7), 5),
        (MLPClassifier, np.array(["no", "maybe", "yes"]), 5),
    ],
)
def test_estimators(model, labels, bytes_a_row):
    def fit(X, y):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that two epochs are not enough
            model(hidden_layer_sizes=100, max_iter=2, random_state=0).fit(X, y)

    X, y = data("float32")
    if labels is not None:
        y = labels[(X[:, 1] * labels.size).astype(int)]
    assert peak(fit, X, y) < bytes_a_row * N + ALLOWED
