"""`Network.fit` against NumPy: batches, penalties, weights, schedules, stopping, history."""

import math
import signal

import numpy as np
import pytest
import reference
from scipy.sparse import csr_matrix

from fastnn import DivergenceWarning, Network, schedules
from fastnn.kernels import optimizers
from fastnn.kernels.jit import JIT
from fastnn.kernels.minibatch import AT_ONCE

#: One row, a batch that does not divide the rows, all of them.
BATCHES = [1, 5, None]
N = 23 if JIT else 12


def problem(sizes=(4, 6, 3), seed=0, dtype="float64", loss="cross_entropy"):
    """Return a network, rows, labels and weights."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(N, sizes[0])).astype(dtype).astype(float)
    y = rng.integers(0, sizes[-1], N)
    net = Network(sizes, activation="tanh", loss=loss, dtype=dtype, random_state=seed)
    return net, X, y, rng.uniform(0.5, 2, N)


def compare(net, X, y, batch_size, rate=0.05, epochs=3, atol=1e-11, weight=None, **options):
    """Train both and compare parameters and losses."""
    double, memory = reference.Net.of(net), {}
    start = net.parameters.copy()
    history = net.fit(
        X, y, epochs=epochs, batch_size=batch_size, learning_rate=rate, shuffle=False,
        sample_weight=weight, **options,
    )  # fmt: skip
    options.setdefault("weight_decay", 0.01 if options.get("optimizer") == "adamw" else 0.0)
    if options.get("clip_norm") is None:
        options["clip_norm"] = np.inf
    expected = [
        double.train(
            X, y, np.arange(len(X)), batch_size=batch_size or len(X), rate=rate, weight=weight,
            memory=memory, **options,
        )
        for _ in range(epochs)
    ]  # fmt: skip
    assert np.abs(start - net.parameters).max() > 1e-3
    np.testing.assert_allclose(net.parameters, double.flat(), rtol=0, atol=atol)
    return history, expected


@pytest.mark.kernel
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("batch_size", BATCHES)
@pytest.mark.parametrize("optimizer", optimizers.TABLE)
def test_every_optimizer_and_batch(optimizer, batch_size, weighted):
    net, X, y, weight = problem()
    weight = weight if weighted else None
    history, expected = compare(net, X, y, batch_size, optimizer=optimizer, weight=weight)
    if optimizer != "adamw":
        np.testing.assert_allclose(history.loss, expected, rtol=1e-10)


@pytest.mark.kernel
@pytest.mark.parametrize(
    "options",
    [
        {"reduction": "sum"},
        {"l1": 0.01},
        {"l2": 0.1},
        {"weight_decay": 0.1},
        {"clip_norm": 0.05},
        {"l1": 0.01, "l2": 0.1, "weight_decay": 0.2, "clip_norm": 0.3, "reduction": "sum"},
    ],
    ids=str,
)
@pytest.mark.parametrize("batch_size", BATCHES)
def test_penalties_and_reduction(batch_size, options):
    net, X, y, weight = problem()
    without = Network([4, 6, 3], activation="tanh", loss="cross_entropy", dtype="float64")
    without.parameters = net.parameters
    without.fit(X, y, epochs=3, batch_size=batch_size, learning_rate=0.05, shuffle=False,
                sample_weight=weight)  # fmt: skip
    compare(net, X, y, batch_size, weight=weight, **options)
    if not (batch_size == 1 and options == {"reduction": "sum"}):  # one row's sum is its mean
        assert np.abs(net.parameters - without.parameters).max() > 1e-5


def test_batches_larger_than_a_slice_are_one_batch(monkeypatch):
    """A full batch may take several kernel calls; its step is that of the whole."""
    net, X, y, weight = problem()
    monkeypatch.setattr("fastnn.training.slice_rows", lambda *_, **__: 7)
    monkeypatch.setattr("fastnn.training.max", lambda *_: 7, raising=False)
    compare(net, X, y, None, weight=weight, l2=0.1, optimizer="adam")


@pytest.mark.parametrize("batch_size", BATCHES)
def test_shuffling_visits_every_row_once_in_the_order_of_the_seed(batch_size):
    net, X, y, _ = problem()
    double = reference.Net.of(net)
    net._rng = np.random.default_rng(7)
    order = np.random.default_rng(7)
    net.fit(X, y, epochs=2, batch_size=batch_size, learning_rate=0.05)
    for _ in range(2):
        double.train(X, y, order.permutation(N), batch_size=batch_size or N, rate=0.05)
    np.testing.assert_allclose(net.parameters, double.flat(), rtol=0, atol=1e-11)


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam"])
@pytest.mark.parametrize("batch_size", BATCHES)
def test_weight_zero_is_a_row_absent(batch_size, optimizer):
    net, X, y, weight = problem()
    weight[[0, 5, 6, N - 1]] = 0
    other = problem()[0]
    present = weight > 0
    settings = {"epochs": 3, "batch_size": batch_size, "optimizer": optimizer, "shuffle": False}
    first = net.fit(X, y, sample_weight=weight, **settings)
    second = other.fit(X[present], y[present], sample_weight=weight[present], **settings)
    np.testing.assert_array_equal(net.parameters, other.parameters)
    assert (first.loss, first.samples) == (second.loss, second.samples)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_weight_two_is_a_row_twice_in_a_full_batch(reduction):
    net, X, y, _ = problem()
    other = problem()[0]
    twice = np.r_[np.arange(N), [1, 4, 4]]
    weight = np.bincount(twice).astype(float)
    settings = {"epochs": 3, "batch_size": None, "shuffle": False, "reduction": reduction}
    first = net.fit(X, y, sample_weight=weight, **settings)
    second = other.fit(X[twice], y[twice], **settings)
    np.testing.assert_allclose(net.parameters, other.parameters, rtol=0, atol=1e-13)
    np.testing.assert_allclose(first.loss, second.loss)


@pytest.mark.parametrize("batch_size", [5, None, 10**30])
def test_the_mean_of_one_row_is_its_gradient(batch_size):
    """A batch that happens to hold one row is not per-sample SGD, whose steps have weights."""
    net, X, y, _ = problem()
    before = net.parameters.copy()
    gradient = net.gradients(X[:1], y[:1])
    net.fit(X[:1], y[:1], sample_weight=[2.0], batch_size=batch_size, learning_rate=0.1)
    np.testing.assert_allclose(net.parameters, before - 0.1 * gradient, rtol=1e-12, atol=1e-15)


def test_parameters_that_are_not_finite_are_refused():
    net, X, y, _ = problem()
    net.parameters[3] = np.nan
    with pytest.raises(ValueError, match=r"parameters must be finite, found nan at \[3\]"):
        net.fit(X, y)


def test_weight_two_of_one_row_is_twice_its_step():
    net, X, y, _ = problem()
    before = net.parameters.copy()
    net.fit(X[:1], y[:1], shuffle=False)
    step = net.parameters - before
    net.parameters = before
    net.fit(X[:1], y[:1], sample_weight=[2.0], shuffle=False)
    np.testing.assert_allclose(net.parameters - before, 2 * step, rtol=1e-8)


SCHEDULES = {
    "constant": lambda e: 0.1,
    "invscaling": lambda e: 0.1 / math.sqrt(e + 1),
    "step": lambda e: 0.1 * 0.1 ** (e // 10),
    "cosine": lambda e: 0.1 * (1 + math.cos(math.pi * e / 24)) / 2,
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules(name):
    net, X, y, _ = problem()
    history = net.fit(X, y, epochs=24, schedule=name, learning_rate=0.1)
    np.testing.assert_allclose(history.learning_rate, [SCHEDULES[name](e) for e in range(24)])


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (schedules.InvScaling(power_t=1.0), [0.1, 0.05, 0.1 / 3, 0.025]),
        (schedules.Step(step_size=2, gamma=0.5), [0.1, 0.1, 0.05, 0.05]),
        (schedules.Cosine(final=0.5), [0.1, 0.05 + 0.025 * (1 + math.sqrt(0.5)), 0.075,
                                       0.05 + 0.025 * (1 - math.sqrt(0.5))]),
    ],
)  # fmt: skip
def test_parameters_of_schedules(schedule, expected):
    net, X, y, _ = problem()
    history = net.fit(X, y, epochs=4, schedule=schedule, learning_rate=0.1)
    np.testing.assert_allclose(history.learning_rate, expected)


def test_a_schedule_of_ones_own():
    class Halving:
        def rate(self, initial, epoch, epochs):
            return initial / 2**epoch

    net, X, y, _ = problem()
    history = net.fit(X, y, epochs=3, schedule=Halving(), learning_rate=0.1)
    assert history.learning_rate == [0.1, 0.05, 0.025]


@pytest.mark.parametrize("name", ["constant", "step"])
def test_warm_up_rises_to_the_schedule(name):
    net, X, y, _ = problem()
    history = net.fit(X, y, epochs=16, schedule=name, warmup_epochs=3, learning_rate=0.1)
    rising = [0.025, 0.05, 0.075]
    np.testing.assert_allclose(
        history.learning_rate, rising + [SCHEDULES[name](e) for e in range(13)]
    )


def test_the_rate_of_an_epoch_is_the_rate_of_its_steps():
    net, X, y, _ = problem()
    double = reference.Net.of(net)
    net.fit(X, y, epochs=3, schedule="invscaling", learning_rate=0.1, batch_size=5, shuffle=False)
    for epoch in range(3):
        rate = 0.1 / math.sqrt(epoch + 1)
        double.train(X, y, np.arange(N), batch_size=5, rate=rate)
    np.testing.assert_allclose(net.parameters, double.flat(), rtol=0, atol=1e-11)


def test_adaptive_lowers_the_rate_when_the_loss_stops_falling():
    net, X, y, _ = problem()
    schedule = schedules.Adaptive(factor=0.5, patience=2, minimum=0.02)
    history = net.fit(X, y, epochs=50, schedule=schedule, learning_rate=0.1, tol=100.0)
    # The first epoch improves on nothing; then no epoch does by 100.
    assert history.learning_rate == [0.1, 0.1, 0.1, 0.05, 0.05, 0.025, 0.025]
    assert history.stopped == "early"


def held_out():
    rng = np.random.default_rng(3)
    return rng.normal(size=(20, 4)), rng.integers(0, 3, 20)


def test_validation_loss_is_that_of_the_epochs_end():
    net, X, y, _ = problem()
    X_v, y_v = held_out()
    seen = []
    history = net.fit(
        X, y, epochs=4, validation_data=(X_v, y_v),
        callbacks=[lambda progress: seen.append(progress.network.loss(X_v, y_v))],
    )  # fmt: skip
    assert history.validation_loss == seen
    weight = np.linspace(0, 1, 20)
    history = net.fit(X, y, validation_data=(X_v, y_v, weight))
    assert history.validation_loss == [net.loss(X_v, y_v, weight)]


@pytest.mark.parametrize("validation", [True, False])
def test_early_stopping_restores_the_best_epoch(validation):
    net, X, y, _ = problem()
    X_v, y_v = held_out()
    kept = []
    history = net.fit(
        X, y, epochs=500, learning_rate=0.5, early_stopping=True, n_iter_no_change=4, tol=1e-3,
        validation_data=(X_v, y_v) if validation else None,
        callbacks=[lambda progress: kept.append(progress.network.parameters.copy())],
    )  # fmt: skip
    watched = history.validation_loss if validation else history.loss
    assert history.stopped == "early"
    assert len(watched) < 500
    assert history.best_epoch == int(np.argmin(watched))
    np.testing.assert_array_equal(net.parameters, kept[history.best_epoch])
    # Four epochs in a row did not improve by tol on the best before them.
    best, waited = math.inf, 0
    for value in watched:
        waited = 0 if value < best - 1e-3 else waited + 1
        best = min(best, value)
    assert waited == 4


def test_callbacks_see_each_epoch_and_may_end_training():
    net, X, y, _ = problem()
    epochs = []

    def stop_at_two(progress):
        epochs.append((progress.epoch, progress.done, progress.rows, progress.epochs))
        assert progress.loss == progress.history.loss[-1]
        return progress.epoch == 2

    history = net.fit(X, y, epochs=10, callbacks=[stop_at_two])
    assert epochs == [(e, N, N, 10) for e in range(3)]
    assert history.stopped == "callback"
    assert history.samples == 3 * N


def test_callbacks_see_each_slice(monkeypatch):
    monkeypatch.setattr("fastnn.training.slice_rows", lambda *_, **__: 6)

    class Slices:
        def __init__(self):
            self.done = []

        def on_slice(self, progress):
            self.done.append((progress.epoch, progress.done))

        def __call__(self, progress):
            pass

    net, X, y, _ = problem()
    slices = Slices()
    net.fit(X, y, epochs=2, callbacks=[slices])
    steps = [*range(6, N, 6), N]
    assert slices.done == [(epoch, done) for epoch in range(2) for done in steps]


def test_history():
    net, X, y, _ = problem()
    history = net.fit(X, y, epochs=3)
    assert len(history.loss) == len(history.seconds) == len(history.learning_rate) == 3
    assert all(seconds > 0 for seconds in history.seconds)
    assert history.validation_loss == []
    assert history.stopped == "epochs"
    assert history.best_epoch is None
    assert history.samples_per_second > 0


def test_warm_start_goes_on_with_the_moments():
    whole, X, y, _ = problem()
    parts = problem()[0]
    settings = {"optimizer": "adam", "batch_size": 5, "shuffle": False}
    whole.fit(X, y, epochs=4, **settings)
    parts.fit(X, y, epochs=2, **settings)
    afresh = problem()[0]
    afresh.parameters = parts.parameters
    parts.fit(X, y, epochs=2, warm_start=True, **settings)
    afresh.fit(X, y, epochs=2, **settings)
    np.testing.assert_array_equal(parts.parameters, whole.parameters)
    assert np.abs(afresh.parameters - whole.parameters).max() > 1e-4


@pytest.mark.parametrize("batch_size", [1, 5])
def test_divergence_keeps_the_last_finite_parameters(batch_size):
    net, X, y, _ = problem(loss="squared_error")
    targets = np.eye(3)[y]
    kept = []

    def raise_the_rate(progress):
        kept.append(progress.network.parameters.copy())

    class Growing:
        def rate(self, initial, epoch, epochs):
            return initial if epoch < 2 else 1e300

    with pytest.warns(DivergenceWarning, match=r"epoch 3 with learning rate 1e\+300") as caught:
        history = net.fit(
            X, targets, epochs=9, batch_size=batch_size, schedule=Growing(),
            callbacks=[raise_the_rate],
        )  # fmt: skip
    assert len(caught) == 1
    assert caught[0].filename == __file__  # points at the caller of fit
    assert history.stopped == "diverged"
    assert len(history.loss) == len(kept) == 2
    np.testing.assert_array_equal(net.parameters, kept[-1])


def test_interrupt_keeps_whole_parameters():
    net, X, y, _ = problem()

    def interrupt(progress):
        if progress.epoch == 1:
            signal.raise_signal(signal.SIGINT)

    with pytest.warns(UserWarning, match="interrupted by user"):
        history = net.fit(X, y, epochs=9, callbacks=[interrupt])
    assert history.stopped == "interrupted"
    assert len(history.loss) == 2
    assert np.isfinite(net.parameters).all()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"optimizer": "adamm"}, ValueError, "optimizer must be one of sgd, .*'adamm'"),
        ({"learning_rate": -1}, ValueError, "learning_rate must lie in"),
        ({"learning_rate": math.nan}, ValueError, "learning_rate must lie in"),
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1, got 0"),
        ({"batch_size": 2.5}, TypeError, "batch_size must be an integer, got 2.5"),
        ({"epochs": 0}, ValueError, "epochs must be at least 1"),
        ({"reduction": "max"}, ValueError, "reduction must be one of mean, sum"),
        ({"schedule": "stairs"}, ValueError, "schedule must be one of constant"),
        ({"warmup_epochs": -1}, ValueError, "warmup_epochs must be at least 0"),
        ({"momentum": 0.5}, TypeError, "'sgd' does not take momentum; it takes no parameters"),
        ({"optimizer": "momentum", "momentum": 1.0}, ValueError, r"momentum must lie in \[0, 1\)"),
        ({"validation_data": 3}, TypeError, "validation_data must be a tuple"),
        ({"callbacks": print}, TypeError, "callbacks must be a sequence of callables"),
        ({"callbacks": None}, TypeError, "callbacks must be a sequence of callables, got None"),
        ({"shuffle": "no"}, TypeError, "shuffle must be True or False, got 'no'"),
        ({"early_stopping": 2}, TypeError, "early_stopping must be True or False, got 2"),
        ({"warm_start": None}, TypeError, "warm_start must be True or False, got None"),
        ({"verbose": 1}, TypeError, "verbose must be True or False, got 1"),
        ({"clip_norm": 0}, ValueError, "clip_norm must lie in"),
        ({"n_iter_no_change": 0}, ValueError, "n_iter_no_change must be at least 1"),
    ],
)
def test_bad_settings(options, error, message):
    net, X, y, _ = problem()
    before = net.parameters.copy()
    with pytest.raises(error, match=message):
        net.fit(X, y, **options)
    np.testing.assert_array_equal(net.parameters, before)


@pytest.mark.skipif(not JIT, reason="too slow without the JIT")
@pytest.mark.parametrize(
    ("activation", "options"),
    [
        ("relu", {"optimizer": "adam"}),
        ("tanh", {"optimizer": "adamw", "weight_decay": 0.1, "l2": 0.01, "l1": 0.001}),
        ("tanh", {"optimizer": "momentum", "dropout": 0.3, "input_dropout": 0.2}),
        ("relu", {"l2": 0.1, "reduction": "sum"}),
    ],
)
@pytest.mark.parametrize("sparse", [False, True])
def test_a_large_network_is_stepped_layer_by_layer(activation, options, sparse):
    """Clipping needs the whole gradient first; a limit that is never reached changes no bit."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(20, 150)).astype(np.float32)
    y = rng.integers(0, 2, 20)
    if sparse:
        X = csr_matrix(np.where(X > 1, X, 0))

    def trained(**more):
        net = Network(
            [150, 500, 140, 2], activation=activation, loss="cross_entropy", random_state=0
        )
        history = net.fit(
            X, y, batch_size=7, epochs=2, learning_rate=1e-3, **{**options, **more}
        )  # fmt: skip
        return net.parameters, history.loss

    assert trained()[0].size > AT_ONCE
    (parameters, losses), (expected, their_losses) = trained(), trained(clip_norm=1e30)
    np.testing.assert_array_equal(parameters, expected)
    np.testing.assert_allclose(losses, their_losses, rtol=1e-5)
