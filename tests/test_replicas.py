"""Parallel per-sample SGD: the mean of exact fits, whoever makes them, as good as one exact fit."""

import itertools
import warnings

import numpy as np
import pytest
import scipy.sparse

from fastnn import DivergenceWarning, MLPClassifier, MLPRegressor, Network, replicas, training

pytestmark = pytest.mark.kernel

N, SIZES = 101, (6, 9, 3)


def data(dtype="float64", n=N):
    rng = np.random.default_rng(2)
    X = rng.standard_normal((n, SIZES[0])).astype(dtype)
    scores = np.tanh(X @ rng.standard_normal((SIZES[0], 4))) @ rng.standard_normal((4, SIZES[-1]))
    return X, np.argmax(scores, axis=1)


def network(dtype="float64"):
    return Network(SIZES, activation="tanh", loss="cross_entropy", dtype=dtype, random_state=0)


def fitted(X, y, *, dtype="float64", **options):
    net = network(dtype)
    options = {"learning_rate": 0.05, "epochs": 3} | options
    return net, net.fit(X, y, **options)


@pytest.fixture
def short_rounds(monkeypatch):
    """Let a replica have at most two slices of five rows between two averages."""
    monkeypatch.setattr(training, "slice_rows", lambda *_, **__: 5)
    monkeypatch.setattr(replicas, "_SLICES", 2)


def averaged(X, y, count, cuts, **options):
    """Average lone fits on consecutive rows, ``cuts`` rounds of an epoch, for two epochs."""
    parameters, momentum = network().parameters, [None] * count
    weights = options.pop("sample_weight", np.ones(len(y)))
    for _ in range(2):
        for rows in cuts:
            nets = []
            for part, state in zip(rows, momentum, strict=True):
                net = network()
                net.parameters = parameters
                net._optimizer_state = state
                net.fit(
                    X[part], y[part], sample_weight=weights[part], shuffle=False,
                    warm_start=True, learning_rate=0.05, **options,
                )  # fmt: skip
                nets.append(net)
            parameters = sum(net.parameters for net in nets) / count
            momentum = [net._optimizer_state for net in nets]
            slots = sum(state[1].slots for state in momentum) / count
            for state in momentum:
                state[1].slots[:] = slots
    return parameters


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"l2": 0.01, "sample_weight": np.linspace(0.1, 2, N)},
        {"optimizer": "momentum"},
        {"optimizer": "nesterov", "l2": 0.01},
    ],
)
def test_it_is_the_mean_of_exact_fits(options, count):
    X, y = data()
    edges = [N * k // count for k in range(count + 1)]
    parts = [slice(low, high) for low, high in itertools.pairwise(edges)]
    expected = averaged(X, y, count, [parts], **options)
    net, _ = fitted(X, y, replicas=count, shuffle=False, epochs=2, **options)
    np.testing.assert_allclose(net.parameters, expected, rtol=1e-10, atol=1e-13)


def test_an_epoch_has_even_rounds(short_rounds):
    X, y = data(n=50)
    # Twice two slices of five rows are 20 rows: three rounds of 17, 17 and 16 rows.
    cuts = [(0, 8, 17), (17, 25, 34), (34, 42, 50)]
    rounds = [[slice(a, b), slice(b, c)] for a, b, c in cuts]
    net, _ = fitted(X, y, replicas=2, shuffle=False, epochs=2)
    np.testing.assert_allclose(net.parameters, averaged(X, y, 2, rounds), rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("optimizer", ["sgd", "nesterov"])
def test_the_number_of_threads_cannot_be_seen(optimizer, precision, short_rounds):
    X, y = data(precision)
    options = {"optimizer": optimizer, "dtype": precision, "replicas": 4}
    one, history = fitted(X, y, **options)
    for n_jobs in (1, 2, 3, -1):
        net, again = fitted(X, y, n_jobs=n_jobs, **options)
        np.testing.assert_array_equal(net.parameters, one.parameters)
        assert again.loss == history.loss
    assert not np.array_equal(
        one.parameters, fitted(X, y, **options | {"replicas": 3})[0].parameters
    )


def test_csr_rows_are_the_same_rows(short_rounds):
    X, y = data()
    X[X < 0.3] = 0
    dense, _ = fitted(X, y, replicas=2)
    sparse, _ = fitted(scipy.sparse.csr_matrix(X), y, replicas=2, n_jobs=2)
    np.testing.assert_allclose(sparse.parameters, dense.parameters, rtol=1e-10, atol=1e-13)


def test_one_replica_is_exact_sgd():
    X, y = data()
    np.testing.assert_array_equal(
        fitted(X, y, replicas=1)[0].parameters, fitted(X, y)[0].parameters
    )


def test_replicas_without_rows_do_not_count():
    X, y = data(n=3)
    few, _ = fitted(X, y, replicas=3, shuffle=False)
    many, _ = fitted(X, y, replicas=50, shuffle=False)
    np.testing.assert_array_equal(many.parameters, few.parameters)


@pytest.mark.parametrize("count", [2, 4])
def test_it_learns_as_well_as_exact_sgd(count):
    """At ``K`` times the rate to the same loss; at the same rate in ``K`` times the epochs."""
    X, y = data("float32", n=600)
    first = network("float32").loss(X, y)
    exact, _ = fitted(X, y, dtype="float32", learning_rate=0.02, epochs=8)
    faster, _ = fitted(X, y, dtype="float32", learning_rate=0.02 * count, epochs=8, replicas=count)
    longer, _ = fitted(X, y, dtype="float32", learning_rate=0.02, epochs=8 * count, replicas=count)
    learned = first - exact.loss(X, y)
    assert learned > 0.5 * first
    for net in (faster, longer):
        assert abs(first - net.loss(X, y) - learned) < 0.05 * learned


def test_divergence_keeps_the_parameters_before():
    X, y = data()
    with pytest.warns(DivergenceWarning):
        net, history = fitted(X * 1e200, y, replicas=2, learning_rate=1e200)
    assert history.stopped == "diverged"
    np.testing.assert_array_equal(net.parameters, network().parameters)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_an_interrupt_leaves_an_average(n_jobs, short_rounds):
    X, y = data()
    seen = []

    class Interrupt:
        def __call__(self, progress):
            pass

        def on_slice(self, progress):
            seen.append(progress.network.parameters.copy())
            if len(seen) == 3:
                raise KeyboardInterrupt

    with pytest.warns(UserWarning, match="interrupted"):
        net, history = fitted(X, y, replicas=2, n_jobs=n_jobs, callbacks=[Interrupt()])
    assert history.stopped == "interrupted"
    np.testing.assert_array_equal(net.parameters, seen[-1])


@pytest.mark.parametrize(
    ("options", "error", "found"),
    [
        ({"replicas": 0}, ValueError, "replicas must be at least 1, got 0"),
        ({"replicas": 1.5}, TypeError, "replicas must be an integer, got 1.5"),
        ({"replicas": True}, TypeError, "replicas must be an integer, got True"),
        ({"batch_size": 32}, ValueError, "got batch_size=32"),
        ({"batch_size": None}, ValueError, f"got batch_size={N}"),
        ({"optimizer": "adam"}, ValueError, "replicas=2 needs exact .* got optimizer='adam'"),
        ({"l1": 0.1}, ValueError, "got l1=0.1"),
        ({"weight_decay": 0.1}, ValueError, "got weight_decay=0.1"),
        ({"clip_norm": 1.0}, ValueError, "got clip_norm=1"),
        ({"dropout": 0.5}, ValueError, "got dropout"),
        ({"input_dropout": 0.5, "l1": 1.0}, ValueError, "got l1=1, dropout"),
    ],
)
def test_bad_arguments(options, error, found):
    X, y = data()
    with pytest.raises(error, match=found):
        fitted(X, y, **{"replicas": 2} | options)


#: Settings of an MLP's solver, and the optimiser and rule that they stand for.
SOLVERS = {
    "sgd": ({"solver": "sgd", "momentum": 0}, {}),
    "nesterov": ({"solver": "sgd", "momentum": 0.8}, {"momentum": 0.8}),
    "momentum": ({"solver": "momentum"}, {"momentum": 0.9}),
}


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
@pytest.mark.parametrize("optimizer", SOLVERS)
def test_a_classifier_is_a_network_of_as_many_replicas(optimizer, precision):
    settings, options = SOLVERS[optimizer]
    X, y = data(precision)
    net = network(precision)
    model = MLPClassifier(
        SIZES[1:-1], activation="tanh", alpha=0.01, batch_size=1, learning_rate_init=0.05,
        max_iter=3, shuffle=False, replicas=3, n_jobs=2, coefs_init=net.weights,
        intercepts_init=net.biases, **settings,
    ).fit(X, y)  # fmt: skip
    history = net.fit(
        X, y, optimizer=optimizer, l2=0.01, learning_rate=0.05, epochs=3, shuffle=False,
        replicas=3, **options,
    )  # fmt: skip
    np.testing.assert_array_equal(model.network_.parameters, net.parameters)
    assert model.loss_curve_ == history.loss


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_a_regressor_reports_the_mean_over_its_outputs():
    X, _ = data()
    Y, weight, seen = np.tanh(X[:, :3] + X[:, 3:]), np.linspace(0.1, 2, N), []

    class Watch:
        def __call__(self, progress):
            seen.append(progress.loss)

        def on_slice(self, progress):
            seen.append(progress.loss)

    settings = {"solver": "sgd", "batch_size": 1, "learning_rate_init": 0.01, "replicas": 2}
    model = MLPRegressor(
        hidden_layer_sizes=9, max_iter=1, alpha=0.01, random_state=0, callbacks=[Watch()],
        **settings,
    ).fit(X, Y, sample_weight=weight)  # fmt: skip
    penalty = 0.005 * sum(np.sum(W**2) for W in model.coefs_) * N / weight.sum()
    bare = MLPRegressor(
        hidden_layer_sizes=9, max_iter=1, alpha=0.01, random_state=0, **settings
    ).fit(X, Y, sample_weight=weight)  # fmt: skip
    assert bare.loss_ == model.loss_ == seen[-1]
    assert seen[0] == pytest.approx(model.loss_ - penalty)  # of all slices, before the penalty
    assert 0.2 < (model.loss_ - penalty) / np.average((Y**2).mean(1) / 2, weights=weight) < 1.5


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
@pytest.mark.parametrize("model", [MLPClassifier, MLPRegressor])
def test_partial_fit_and_one_row(model):
    X, y = data()
    settings = {"hidden_layer_sizes": 9, "solver": "sgd", "batch_size": 1, "random_state": 0}
    classes = {"classes": range(3)} if model is MLPClassifier else {}
    two, whole = (model(replicas=2, **settings) for _ in range(2))
    for _ in range(2):
        two.partial_fit(X, y, **classes)
    with pytest.warns(UserWarning, match="iterations"):
        whole.set_params(max_iter=2, shuffle=True).fit(X, y)
    assert two.loss_curve_[0] == whole.loss_curve_[0]
    one = model(**settings).partial_fit(X[:1], y[:1], **classes)
    few = model(replicas=2, **settings).partial_fit(X[:1], y[:1], **classes)
    np.testing.assert_array_equal(few.network_.parameters, one.network_.parameters)


@pytest.mark.parametrize("model", [MLPClassifier, MLPRegressor])
@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({"batch_size": 32}, "batch_size=1 and solver sgd, .* got batch_size=32"),
        ({"batch_size": "auto"}, f"got batch_size={N}"),
        ({"solver": "adam"}, "got solver='adam'"),
        ({"solver": "lbfgs"}, "got solver='lbfgs'"),
        ({"clip_norm": 1.0}, "got clip_norm=1"),
        ({"dropout": 0.5}, "got dropout"),
        ({"replicas": 0}, "'replicas' parameter of MLP.* must be"),
    ],
)
def test_estimators_refuse_what_cannot_be_averaged(model, settings, found):
    X, y = data()
    settings = {"solver": "sgd", "batch_size": 1, "replicas": 2} | settings
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that lbfgs does not read batch_size
        with pytest.raises(ValueError, match=found):
            model(hidden_layer_sizes=9, **settings).fit(X, y)
