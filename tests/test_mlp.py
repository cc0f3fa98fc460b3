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

N = 150
ACTIVATIONS = ("identity", "logistic", "tanh", "relu")
SOLVERS = ("sgd", "adam", "lbfgs")


def draw_weight():
    return np.random.RandomState(5).uniform(0.2, 2.0, N)


def classes(n_classes=3):
    return make_classification(
        N, 8, n_informative=5, n_classes=n_classes, random_state=1, shuffle=True
    )


def labels():
    X, _ = classes()
    rng = np.random.RandomState(2)
    return X, (X @ rng.normal(size=(8, 4)) > 0).astype(int)


def numbers(n_targets=1):
    X, y = make_regression(N, 8, n_targets=n_targets, noise=1.0, random_state=1)
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


def assert_same_path(problem, sample_weight=None, transform=np.asarray, **parameters):
    """Fit both for 20 epochs and compare everything that a fit leaves behind."""
    name, draw, own = PROBLEMS[problem]
    X, y = draw()
    X = transform(X)
    settings = {"hidden_layer_sizes": (7, 5), "max_iter": 20, "random_state": 3, **own}
    settings |= parameters
    expected = getattr(reference, name)(**settings).fit(X, y, sample_weight)
    found = getattr(fastnn, name)(**settings).fit(X, y, sample_weight)
    for W, V in zip(
        [*found.coefs_, *found.intercepts_], [*expected.coefs_, *expected.intercepts_], strict=True
    ):
        assert_allclose(W, V, rtol=1e-6, atol=1e-6 * max(np.abs(V).max(), 1e-3))
    for curve in ("loss_curve_", "validation_scores_"):
        if getattr(expected, curve, None) is not None:
            assert_allclose(getattr(found, curve), getattr(expected, curve), rtol=1e-6)
    for number in ("loss_", "best_loss_", "best_validation_score_"):
        if getattr(expected, number, None) is not None:
            assert_allclose(getattr(found, number), getattr(expected, number), rtol=1e-6)
    for count in ("n_iter_", "t_", "n_layers_", "n_outputs_", "out_activation_"):
        assert getattr(found, count) == getattr(expected, count), count
    assert_allclose(found.predict(X), expected.predict(X), rtol=1e-6, atol=1e-9)
    if hasattr(expected, "predict_proba"):
        assert_allclose(found.predict_proba(X), expected.predict_proba(X), rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("problem", PROBLEMS)
def test_same_path_as_scikit_learn(problem, solver, activation):
    assert_same_path(problem, solver=solver, activation=activation)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("solver", ["sgd", "adam"])
@pytest.mark.parametrize("problem", PROBLEMS)
def test_same_path_with_small_batches_and_early_stopping(problem, solver, weighted):
    weight = draw_weight() if weighted else None
    assert_same_path(problem, weight, solver=solver, batch_size=32, early_stopping=True, alpha=0.3)
    assert_same_path(problem, weight, solver=solver, batch_size=40, alpha=0.3)


@pytest.mark.parametrize("container", [sparse.csr_matrix, sparse.csc_array])
@pytest.mark.parametrize("solver", SOLVERS)
def test_same_path_on_sparse_rows(solver, container):
    def thin(X):
        return container(np.where(np.abs(X) > 1, X, 0))

    assert_same_path("multiclass", transform=thin, solver=solver, activation="tanh")
    assert_same_path("two outputs", draw_weight(), transform=thin, solver=solver, activation="tanh")


@pytest.mark.parametrize(
    "parameters",
    [
        {"momentum": 0},
        {"momentum": 1.0, "learning_rate_init": 1e-4},
        {"nesterovs_momentum": False},
        {"learning_rate": "invscaling", "learning_rate_init": 0.1},
        {
            "learning_rate": "adaptive",
            "learning_rate_init": 0.1,
            "tol": 0.05,
            "n_iter_no_change": 2,
        },
        {"shuffle": False},
        {"hidden_layer_sizes": ()},
        {"n_iter_no_change": 1, "tol": 10.0},
    ],
    ids=str,
)
def test_same_path_of_sgd_with(parameters):
    assert_same_path("multiclass", solver="sgd", **parameters)


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
        for part in (slice(0, 60), slice(60, N)):
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
