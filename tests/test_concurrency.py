"""Training in forked children, in several threads at once, and under joblib."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import joblib
import numpy as np
import pytest

import fastnn
from fastnn import MLPClassifier, Network

RNG = np.random.default_rng(0)
X = RNG.standard_normal((2048, 20)).astype(np.float32)
y = RNG.integers(0, 3, 2048)


def train(seed=0, n_jobs=2):
    net = Network([20, 100, 3], loss="cross_entropy", random_state=seed)
    net.fit(X, y, optimizer="adam", batch_size=256, epochs=2, n_jobs=n_jobs)
    return net.parameters


def fit_estimator(seed):
    model = MLPClassifier(4, max_iter=2, batch_size=64, tol=0, n_jobs=2, random_state=seed)
    return model.set_params(solver="sgd").fit(X, y).coefs_[0]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_trains_after_its_parent():
    expected = train()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        same = False
        try:
            same = bool(np.array_equal(train(), expected))
        finally:
            os.write(write, b"1" if same else b"0")
            os._exit(0)
    os.close(write)
    assert os.waitpid(child, 0)[1] == 0
    assert os.read(read, 1) == b"1"
    os.close(read)


CHILD = """
import threading
import numpy as np
from fastnn import Network

rng = np.random.default_rng(0)
X, y = rng.standard_normal((2048, 20)).astype("f4"), rng.integers(0, 3, 2048)
start, found = threading.Barrier(4, timeout=60), [None] * 4

def fit(i):
    net = Network([20, 100, 3], loss="cross_entropy", random_state=0)
    start.wait()
    net.fit(X, y, optimizer="adam", batch_size=256, epochs=2, n_jobs=1 + i % 2)
    found[i] = net.parameters

threads = [threading.Thread(target=fit, args=(i,)) for i in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert all(np.array_equal(found[0], other) for other in found)
print("same")
"""


def test_the_first_fits_of_a_process_may_be_simultaneous(tmp_path):
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(fastnn.__file__).parent.parent),
        "NUMBA_CACHE_DIR": str(tmp_path),  # all must compile
    }
    run = subprocess.run(
        [sys.executable, "-c", CHILD], env=environment, capture_output=True, text=True, check=False
    )
    assert run.stdout == "same\n", run.stderr


def test_threads_train_at_once():
    expected = [train(seed) for seed in range(4)]
    found = [None] * 4

    def work(seed):
        found[seed] = train(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("backend", ["threading", "loky"])
@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_joblib(backend):
    expected = [fit_estimator(seed) for seed in range(3)]
    found = joblib.Parallel(n_jobs=2, backend=backend)(
        joblib.delayed(fit_estimator)(seed) for seed in range(3)
    )
    np.testing.assert_array_equal(found, expected)


def test_one_thread_unless_asked(monkeypatch):
    def start(self):
        raise AssertionError("a thread was started")

    monkeypatch.setattr(threading.Thread, "start", start)
    train(n_jobs=None)
    train(n_jobs=1)
    Network([20, 3]).forward(X)
