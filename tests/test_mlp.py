"""`MLPClassifier` and `MLPRegressor` beside scikit-learn's: one trajectory, one surface."""

import numpy as np
import pytest
import sklearn.neural_network as reference
from numpy.testing import assert_allclose
from scipy import sparse
from sklearn.datasets import make_classification, make_regression
from sklearn.exceptions import ConvergenceWarning

import fastnn

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning",
)

N = 60
ACTIVATIONS = ("identity", "logistic", "tanh", "relu")
SOLVERS = ("sgd", "adam", "lbfgs")

RATES = {
    "constant": {"learning_rate_init": 0.03},
    "invscaling": {"learning_rate": "invscaling", "learning_rate_init": 0.08, "power_t": 0.3},
    "adaptive": {
        "learning_rate": "adaptive",
        "learning_rate_init": 0.03,
        "tol": 0.05,
        "n_iter_no_change": 2,
    },
}
MOMENTA = {
    "plain": {"momentum": 0},
    "momentum": {"momentum": 0.8, "nesterovs_momentum": False},
    "nesterov": {},
}
WAYS = {
    **{
        f"sgd {momentum} {rate}": {"solver": "sgd", **MOMENTA[momentum], **RATES[rate]}
        for momentum in MOMENTA
        for rate in RATES
    },
    "adam": {"solver": "adam", "learning_rate_init": 0.01},
    # A penalty keeps the line search from scores so wrong that scikit-learn clips their loss.
    "lbfgs": {"solver": "lbfgs", "alpha": 5.0},
}


def draw_weight():
    return np.random.RandomState(5).uniform(0.2, 2.0, N)


def classes(n_classes=3):
    return make_classification(
        N, 6, n_informative=4, n_classes=n_classes, random_state=1, shuffle=True
    )


def labels():
    X, _ = classes()
    rng = np.random.RandomState(2)
    return X, (X @ rng.normal(size=(6, 4)) > 0).astype(int)


def numbers(n_targets=1):
    X, y = make_regression(N, 6, n_targets=n_targets, noise=1.0, random_state=1)
    return X, y / 100


def counts():
    X, y = numbers()
    return X, np.floor(np.exp(y / 2))


PROBLEMS = {
    "binary": ("MLPClassifier", lambda: classes(2), {}),
    "multiclass": ("MLPClassifier", classes, {}),
    "multilabel": ("MLPClassifier", labels, {}),
    "one output": ("MLPRegressor", numbers, {}),
    "two outputs": ("MLPRegressor", lambda: numbers(2), {}),
    "poisson": ("MLPRegressor", counts, {"loss": "poisson"}),
}


#: What is done with a problem: its name, and the arguments of `assert_same_path`.
TREATMENTS = {
    "plain": ("multiclass", {}),
    "early stopping": ("multiclass", {"early_stopping": True, "validation_fraction": 0.2}),
    "weights": ("multiclass", {"weighted": True}),
    "CSR": ("multiclass", {"container": sparse.csr_matrix}),
    "multilabel": ("multilabel", {}),
    "two outputs": ("two outputs", {}),
}
MORE_TREATMENTS = {
    "binary": ("binary", {}),
    "one output": ("one output", {}),
    "poisson": ("poisson", {}),
    "early stopping of two": ("binary", {"early_stopping": True, "validation_fraction": 0.2}),
    "early stopping on numbers": ("two outputs", {"early_stopping": True}),
    "weights of numbers": ("two outputs", {"weighted": True}),
    "weights and early stopping": ("multilabel", {"weighted": True, "early_stopping": True}),
    "CSC": ("one output", {"container": sparse.csc_array}),
    "CSR, weights, early stopping": (
        "binary",
        {"container": sparse.csr_array, "weighted": True, "early_stopping": True},
    ),
}
GRID = [
    (treatment, way, activation)
    for treatments, ways, activations in [
        (TREATMENTS, WAYS, ACTIVATIONS),
        (MORE_TREATMENTS, ["sgd nesterov constant", "adam", "lbfgs"], ["tanh", "relu"]),
    ]
    for treatment in treatments
    for way in ways
    for activation in activations
    if way != "lbfgs" or "early stopping" not in treatment  # it has none
]


def assert_same_path(problem, weighted=False, container=None, **parameters):
    """Fit both for 20 epochs and compare everything that a fit leaves behind."""
    name, draw, own = PROBLEMS[problem]
    X, y = draw()
    if container is not None:
        X = container(np.where(np.abs(X) > 1, X, 0))
    weight = draw_weight() if weighted else None
    settings = {
        "hidden_layer_sizes": (5, 4), "max_iter": 20, "random_state": 3, "alpha": 0.01, **own
    }  # fmt: skip
    settings |= parameters
    expected = getattr(reference, name)(**settings).fit(X, y, weight)
    found = getattr(fastnn, name)(**settings).fit(X, y, weight)
    for W, V in zip(
        [*found.coefs_, *found.intercepts_], [*expected.coefs_, *expected.intercepts_], strict=True
    ):
        assert_allclose(W, V, rtol=1e-6, atol=1e-6 * max(np.abs(V).max(), 1e-3))
    for curve in ("loss_curve_", "validation_scores_"):
        if getattr(expected, curve, None) is not None:
            assert_allclose(getattr(found, curve), getattr(expected, curve), rtol=1e-6)
            assert len(getattr(found, curve)) == expected.n_iter_
    for number in ("loss_", "best_loss_", "best_validation_score_"):
        if getattr(expected, number, None) is not None:
            assert_allclose(getattr(found, number), getattr(expected, number), rtol=1e-6)
    for count in ("n_iter_", "t_", "n_layers_", "n_outputs_", "out_activation_"):
        assert getattr(found, count) == getattr(expected, count), count
    assert_allclose(found.predict(X), expected.predict(X), rtol=1e-6, atol=1e-9)
    if hasattr(expected, "predict_proba"):
        assert_allclose(found.predict_proba(X), expected.predict_proba(X), rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize(("treatment", "way", "activation"), GRID)
def test_same_path_as_scikit_learn(treatment, way, activation):
    problem, settings = {**TREATMENTS, **MORE_TREATMENTS}[treatment]
    batches = {} if way == "lbfgs" else {"batch_size": 16}
    assert_same_path(problem, **settings, **WAYS[way], **batches, activation=activation)


@pytest.mark.parametrize("solver", ["sgd", "adam"])
@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"momentum": 1.0, "learning_rate_init": 1e-4, "solver": "sgd"},
        {"shuffle": False},
        {"hidden_layer_sizes": ()},
        {"hidden_layer_sizes": 3},
        {"n_iter_no_change": 1, "tol": 10.0},
        {"batch_size": 59, "weighted": True},
        {"batch_size": 1},
        {"beta_1": 0.5, "beta_2": 0.9, "epsilon": 1e-4, "solver": "adam"},
    ],
    ids=str,
)
def test_same_path_with(parameters, solver):
    assert_same_path("multiclass", **{"solver": solver, **parameters})


def test_warm_start_and_partial_fit_follow_scikit_learn():
    X, y = classes()
    models = [
        home.MLPClassifier(max_iter=3, random_state=0, warm_start=True)
        for home in (fastnn, reference)
    ]
    for model in models:
        model.fit(X, y).fit(X, y)
    assert_allclose(models[0].loss_curve_, models[1].loss_curve_, rtol=1e-6)
    assert_allclose(models[0].coefs_[0], models[1].coefs_[0], rtol=1e-6)
    assert models[0].t_ == models[1].t_ == 6 * N
    models = [home.MLPRegressor(random_state=0) for home in (fastnn, reference)]
    X, y = numbers()
    for model in models:
        for part in (slice(0, 24), slice(24, N)):
            model.partial_fit(X[part], y[part])
    assert_allclose(models[0].loss_curve_, models[1].loss_curve_, rtol=1e-6)
    assert models[0].n_iter_ == models[1].n_iter_ == 1


def test_partial_fit_makes_the_epochs_of_fit():
    X, y = classes()
    whole = fastnn.MLPClassifier(max_iter=5, shuffle=False, random_state=0).fit(X, y)
    parts = fastnn.MLPClassifier(shuffle=False, random_state=0)
    for _ in range(5):
        parts.partial_fit(X, y, classes=[0, 1, 2])
    for W, V in zip(whole.coefs_, parts.coefs_, strict=True):
        np.testing.assert_array_equal(W, V)


@pytest.mark.parametrize("solver", SOLVERS)
def test_float32_stays_float32(solver):
    X, y = classes()
    model = fastnn.MLPClassifier(solver=solver, max_iter=10, random_state=0).fit(
        X.astype(np.float32), y
    )
    double = fastnn.MLPClassifier(solver=solver, max_iter=10, random_state=0).fit(X, y)
    assert {W.dtype.name for W in [*model.coefs_, *model.intercepts_]} == {"float32"}
    assert model.predict_proba(X).dtype == np.float32
    assert_allclose(model.predict_proba(X), double.predict_proba(X), atol=1e-3)


def test_messages_are_scikit_learns():
    X, y = numbers()
    with pytest.warns(ConvergenceWarning, match=r"Maximum iterations \(1\) reached"):
        fastnn.MLPRegressor(max_iter=1).fit(X, y)
    with pytest.warns(UserWarning, match="It is going to be clipped"):
        fastnn.MLPRegressor(max_iter=1, batch_size=N + 1).fit(X, y)
    with pytest.raises(ValueError, match=r"non-finite parameter weights.*epoch .*learning rate"):
        fastnn.MLPRegressor(solver="sgd", learning_rate_init=1e9).fit(X, 1e9 * y)
    with pytest.raises(ValueError, match="partial_fit does not support early_stopping"):
        fastnn.MLPRegressor(early_stopping=True).partial_fit(X, y)
    assert not hasattr(fastnn.MLPClassifier(solver="lbfgs"), "partial_fit")


def test_early_stopping_outlives_divergence():
    X, y = numbers()
    model = fastnn.MLPRegressor(
        solver="sgd", learning_rate_init=1e9, early_stopping=True, random_state=0
    )
    with pytest.warns(fastnn.DivergenceWarning, match="learning rate 1e"):
        model.fit(X, 1e9 * y)
    assert np.isnan(model.validation_scores_[-1])
    assert all(np.isfinite(W).all() for W in model.coefs_)


def test_weights_are_views_and_may_be_replaced():
    X, y = numbers()
    model = fastnn.MLPRegressor(max_iter=2, random_state=0).fit(X, y)
    model.coefs_[0][:] = 0
    model.intercepts_[0][:] = -1  # relu of -1 is 0: only the last bias is left
    assert_allclose(model.predict(X), np.full(N, model.intercepts_[1][0]))
    model.intercepts_[1] = np.array([7.0])
    assert_allclose(model.predict(X), 7.0)
    model.coefs_ = [np.zeros((3, 3))]
    with pytest.raises(ValueError, match="coefs_ must hold 2 arrays"):
        model.predict(X)
