"""`fit_many`: every model as from a fit of its own; errors that name the model; interrupts."""

import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from fastnn import LogisticRegression, MLPClassifier, Network, SGDClassifier, fit_many
from fastnn.kernels.jit import JIT, CompileTimer, njit
from fastnn.parallel import count_threads

RNG = np.random.default_rng(0)
X = RNG.standard_normal((60, 4)).astype(np.float32)
y = RNG.integers(0, 3, 60)
FOLDS = [np.where(np.arange(60) % 3 == fold, 0.0, 1.0) for fold in range(3)]


def net(seed=0, hidden=5):
    return Network([4, hidden, 3], loss="cross_entropy", random_state=seed)


@pytest.mark.parametrize("n_jobs", [None, 3, -1])
def test_seeds_folds_and_a_grid_of_networks(n_jobs):
    grid = [
        {"sample_weight": fold, "learning_rate": rate, "batch_size": batch, "optimizer": name}
        for fold, rate in zip(FOLDS, (0.1, 0.03, 0.01), strict=True)
        for batch, name in ((1, "sgd"), (16, "adam"))
    ]
    nets = [net(seed, 3 + seed) for seed in range(6)]
    histories = fit_many(nets, X, y, each=grid, epochs=3, n_jobs=n_jobs)
    for seed, (found, history) in enumerate(zip(nets, histories, strict=True)):
        alone = net(seed, 3 + seed)
        expected = alone.fit(X, y, epochs=3, **grid[seed])
        np.testing.assert_array_equal(found.parameters, alone.parameters)
        assert history.loss == expected.loss


def test_estimators_each_with_its_own_rows():
    def models():
        return [
            MLPClassifier(5, max_iter=3, batch_size=7, solver="sgd", tol=0, random_state=1),
            MLPClassifier((4, 4), solver="lbfgs", max_iter=200, random_state=2),
            SGDClassifier(max_iter=5, tol=None, random_state=3),
            LogisticRegression(),
        ]

    each = [{"X": X[i:], "y": y[i:]} for i in range(4)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that three epochs are not enough
        fitted = fit_many(models(), each=each, n_jobs=2)
        alone = [model.fit(**rows) for model, rows in zip(models(), each, strict=True)]
    for one, other in zip(fitted, alone, strict=True):
        assert type(one) is type(other)
        for a, b in zip(
            one.coef_ if hasattr(one, "coef_") else one.coefs_,
            other.coef_ if hasattr(other, "coef_") else other.coefs_,
            strict=True,
        ):
            np.testing.assert_array_equal(a, b)  # fmt: skip


def test_no_models():
    assert fit_many([], X, y) == []


def test_an_error_names_its_model_and_ends_the_others():
    nets = [net(seed) for seed in range(4)]
    with pytest.raises(ValueError, match=r"^models\[2\]: batch_size must be at least 1, got 0"):
        fit_many(nets, X, y, each=[{}, {}, {"batch_size": 0}, {}], epochs=2, n_jobs=1)
    np.testing.assert_array_equal(nets[3].parameters, net(3).parameters)

    def fails(progress):
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough") as caught:
        fit_many([net()], X, y, callbacks=[fails])
    assert caught.value.__notes__ == [f"in the fit of models[0], {net()!r}"]


def test_bad_arguments():
    one, rng = net(), np.random.default_rng(0)
    with pytest.raises(ValueError, match=r"models\[0\] and models\[1\] are one object"):
        fit_many([one, one], X, y)
    with pytest.raises(ValueError, match=r"models\[1\] and models\[2\] share a random generator"):
        fit_many([net(), net(rng), net(rng)], X, y)
    with pytest.raises(ValueError, match="one dict per model, 2, got 1"):
        fit_many([net(), net()], X, y, each=[{}])
    with pytest.raises(TypeError, match=r"each\[0\] must be a dict of arguments of fit, got 3"):
        fit_many([net()], X, y, each=[3])
    with pytest.raises(ValueError, match=r"models\[1\] has no X; give it for all models"):
        fit_many([net(), net()], each=[{"X": X, "y": y}, {"y": y}])
    with pytest.raises(TypeError, match=r"models\[0\] has no method fit: 3"):
        fit_many([3], X, y)
    with pytest.raises(TypeError, match="n_jobs must be None or an integer"):
        fit_many([net()], X, y, n_jobs="all")


def test_an_interrupt_stops_those_in_training(monkeypatch):
    threads = count_threads(2)  # one, where this process may use one core only
    started = threading.Barrier(1 + threads, timeout=60)

    class Starts:
        begun = False

        def __call__(self, progress):
            if not self.begun:
                self.begun = True
                started.wait()

    def interrupted(*_, **__):
        started.wait()
        raise KeyboardInterrupt

    monkeypatch.setattr("fastnn.many.wait", interrupted)
    nets = [net(seed) for seed in range(3)]
    with pytest.raises(KeyboardInterrupt):
        fit_many(
            nets, X, y, each=[{"callbacks": [Starts()]} for _ in nets], epochs=10**9, n_jobs=2
        )  # fmt: skip
    assert (nets[0].parameters != net(0).parameters).any()
    np.testing.assert_array_equal(nets[2].parameters, net(2).parameters)  # it never began


@pytest.mark.skipif(not JIT, reason="nothing is compiled")
def test_compilation_is_timed_in_the_thread_that_compiles():
    @njit  # not cached
    def slow(x):
        return x + 1

    def compile_elsewhere():
        with CompileTimer() as timer:
            slow(1)
        return timer.seconds

    with CompileTimer() as here, ThreadPoolExecutor(1) as pool:
        there = pool.submit(compile_elsewhere).result()
    assert there > 0
    assert here.seconds == 0
