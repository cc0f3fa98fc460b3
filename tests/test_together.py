"""Several epochs in one call: as one by one, to the bit, whatever happens in them."""

import warnings

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.exceptions import ConvergenceWarning
from teams import share_eagerly

from fastnn import DivergenceWarning, MLPClassifier, MLPRegressor, Network, orders, training
from fastnn.kernels.jit import JIT
from fastnn.together import Together

pytestmark = pytest.mark.kernel

N, EPOCHS = (30, 25) if JIT else (9, 17)
RNG = np.random.default_rng(0)
X, y = RNG.standard_normal((N, 4)), RNG.integers(0, 3, N)


def fitted(one_by_one, *, X=X, **options):
    """Return all that a fit leaves behind; a callback has to see each epoch.

    Without the JIT, NumPy warns of overflow in every thread.
    """
    net = Network([4, 5, 3], loss="cross_entropy", dtype="float64", random_state=1)
    hooks = [lambda progress: False] if one_by_one else []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        history = net.fit(X, y, epochs=EPOCHS, callbacks=hooks, **options)
    state = net._optimizer_state[1]
    assert len(history.seconds) == len(history.loss)
    return (
        net.parameters.tolist(), state.slots.tolist(), state.t, net._rng.bit_generator.state,
        history.loss, history.learning_rate, history.samples, history.stopped,
        [str(warning.message) for warning in caught if warning.category is not RuntimeWarning],
    )  # fmt: skip


@pytest.fixture
def calls(monkeypatch):
    """The numbers of epochs of each call, of up to seven; filled as they are made."""
    made = []
    train = Together.train

    def counted(self, rates, origin):
        made.append(len(rates))
        return train(self, rates, origin)

    monkeypatch.setattr(Together, "train", counted)
    monkeypatch.setattr(training, "AHEAD", 7 * N)
    return made


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"shuffle": False},
        {"optimizer": "nesterov", "learning_rate": 0.02, "schedule": "cosine", "warmup_epochs": 3},
        {"batch_size": 4, "optimizer": "adam", "l2": 0.1},
        {"batch_size": 4, "optimizer": "adam", "shuffle": False, "dropout": 0.2},
        {"dropout": 0.2, "input_dropout": 0.1},
        {"batch_size": None, "n_jobs": 2},
        {"X": csr_matrix(X), "optimizer": "momentum"},
    ],
)
@pytest.mark.parametrize("weighted", [False, True])
def test_epochs_together_are_epochs_one_by_one(options, weighted, calls):
    if weighted:  # rows of weight 0 are left out
        options = {**options, "sample_weight": np.arange(N) % 3}
    assert fitted(False, **options) == fitted(True, **options)
    assert sum(calls) == EPOCHS
    assert len(calls) > 1


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"shuffle": False, "l2": 0.1},
        {"schedule": "cosine", "warmup_epochs": 3, "n_jobs": 3},
        {"X": csr_matrix(X), "batch_size": 7, "sample_weight": np.arange(N) % 3},
    ],
)
def test_epochs_of_a_team_together_are_epochs_one_by_one(options, monkeypatch, calls):
    share_eagerly(monkeypatch, 2)
    options = {"batch_size": 4, "optimizer": "adam", "n_jobs": 2, **options}
    assert fitted(False, **options) == fitted(True, **options)
    assert len(calls) > 1


@pytest.mark.parametrize("options", [{"l2": 0.1}, {"early_stopping": True}, {"replicas": 2}])
def test_epochs_that_must_be_seen_are_not_made_together(options, calls):
    fitted(False, **options)
    assert calls == []


@pytest.mark.parametrize(("batch_size", "n_jobs"), [(1, None), (4, None), (4, 2)])
def test_divergence_is_found_in_its_epoch(batch_size, n_jobs, monkeypatch, calls):
    share_eagerly(monkeypatch, 2)
    options = {"optimizer": "momentum", "learning_rate": 1.0, "batch_size": batch_size}
    options["n_jobs"] = n_jobs
    options["schedule"] = Rises()
    found = fitted(False, **options)
    assert found == fitted(True, **options)
    assert found[-2] == "diverged"
    assert "diverged in epoch" in found[-1][0]
    assert len(found[4]) > 7  # the first call went well
    assert np.isfinite(found[0]).all()


class Rises:
    """A schedule under which the tenth epoch diverges."""

    def rate(self, initial, epoch, epochs):
        return 1e-3 if epoch < 9 else 1e200


def test_an_interrupt_between_two_calls_keeps_what_was_learned(monkeypatch, calls):
    def interrupted():
        if calls:
            raise KeyboardInterrupt

    monkeypatch.setattr(training, "checkpoint", interrupted)
    found = fitted(False)
    assert found[-2:] == ("interrupted", ["Training interrupted by user."])
    assert len(found[4]) == 7
    assert np.isfinite(found[0]).all()


def test_orders_drawn_ahead_are_those_drawn_one_by_one(monkeypatch):
    for few in (orders.FEW, 0):
        monkeypatch.setattr(orders, "FEW", few)
        for n in (1, 2, 3, 10, 257):
            for present in (None, np.arange(0, 3 * n, 3)):
                ahead, each = np.random.default_rng(n), np.random.default_rng(n)
                draws = orders.Ahead(ahead, present, n)
                before = draws.draw(5)
                draws.take_back()
                together = draws.draw(5)
                np.testing.assert_array_equal(together, before)
                one_by_one = [orders.draw_order(each, present, n) for _ in range(5)]
                np.testing.assert_array_equal(together.reshape(5, n), one_by_one)
                assert ahead.integers(2**60) == each.integers(2**60)


def test_divergence_warns_once():
    net = Network([4, 5, 3], loss="cross_entropy", random_state=1)
    with pytest.warns(DivergenceWarning) as caught:
        net.fit(X, y, learning_rate=1e20, epochs=EPOCHS)
    assert len(caught) == 1


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"solver": "sgd", "batch_size": 4, "learning_rate": "adaptive", "tol": 1e-2},
        {"solver": "sgd", "learning_rate": "invscaling"},  # another rate in each epoch
        {"solver": "sgd", "momentum": 0, "alpha": 0, "batch_size": 1, "shuffle": False},
        {"dropout": 0.2, "batch_size": 7, "n_iter_no_change": 3},
        {"class_weight": "balanced", "batch_size": 8, "n_iter_no_change": np.inf},
        {"tol": 0.1, "warm_start": True},
    ],
)
@pytest.mark.parametrize("n_jobs", [None, 2])
@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
def test_estimators_train_together_as_one_by_one(kind, n_jobs, options, monkeypatch):
    share_eagerly(monkeypatch, 2)
    if kind is MLPRegressor:
        options = {name: value for name, value in options.items() if name != "class_weight"}
    settings = {"hidden_layer_sizes": (5,), "learning_rate_init": 0.05, "max_iter": EPOCHS}
    settings["n_jobs"] = n_jobs
    found = []
    for hooks in ([], [lambda progress: False]):
        state = np.random.RandomState(0)
        model = kind(**settings, **options, callbacks=hooks, random_state=state)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(X, y).fit(X, y)
        found.append(
            (
                [W.tolist() for W in model.coefs_], model.loss_curve_, model.loss_, model.t_,
                model.n_iter_, model.best_loss_, model._no_improvement_count,
                model._optimizer.learning_rate, state.randint(2**30),
            )
        )  # fmt: skip
    assert found[0] == found[1]


def test_an_estimator_that_diverges_says_in_which_epoch():
    messages = []
    for hooks in ([], [lambda progress: False]):
        model = MLPRegressor(
            hidden_layer_sizes=(5,), activation="square", solver="sgd", max_iter=50,
            learning_rate_init=0.5, random_state=0, callbacks=hooks,
        )  # fmt: skip
        with pytest.raises(ValueError, match="non-finite") as caught:
            model.fit(X, y.astype(float))
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
