"""`SGDClassifier` and `SGDRegressor` beside scikit-learn's: one path of weights, to rounding."""

import itertools

import numpy as np
import pytest
import sklearn
import sklearn.linear_model as reference
from numpy.testing import assert_allclose
from scipy import sparse

import fastnn

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:The default value of eta0:FutureWarning"),
]

N, D = 60, 5
PENALTIES = ("l2", "l1", "elasticnet", None)
SCHEDULES = ("optimal", "constant", "invscaling", "adaptive")
PASSIVE_AGGRESSIVE = {"SGDClassifier": "hinge", "SGDRegressor": "epsilon_insensitive"}
#: scikit-learn 1.8 was the first to have these schedules under names of their own.
HAS_PASSIVE_AGGRESSIVE = tuple(map(int, sklearn.__version__.split(".")[:2])) >= (1, 8)
#: Before, the training loss alone decided when to stop, without the penalty.
SAME_STOPPING = tuple(map(int, sklearn.__version__.split(".")[:2])) >= (1, 9)
LOSSES = [
    (name, loss)
    for name in ("SGDClassifier", "SGDRegressor")
    for loss in sorted(getattr(reference, name)._parameter_constraints["loss"][0].options)
]


def data(name, n_classes=2):
    """Return small features, so that no schedule lets a loss without bound diverge."""
    rng = np.random.RandomState(0)
    X = rng.normal(size=(N, D)) / 4
    scores = X @ rng.normal(size=(D, n_classes)) + rng.normal(size=(N, n_classes)) / 10
    if name == "SGDRegressor":
        return X, scores[:, 0]
    return X, (scores[:, 0] > 0).astype(int) if n_classes == 2 else scores.argmax(axis=1)


def assert_same_path(name, X, y, fit=None, transform=np.asarray, **parameters):
    """Fit both and compare all that a fit leaves behind."""
    parameters = {
        "shuffle": False, "alpha": 0.02, "eta0": 0.1, "max_iter": 4, "random_state": 3, **parameters
    }  # fmt: skip
    if not SAME_STOPPING:
        parameters["tol"] = None
    theirs = getattr(reference, name)(**parameters).fit(transform(X), y, **(fit or {}))
    ours = getattr(fastnn, name)(**parameters).fit(transform(X), y, **(fit or {}))
    assert ours.get_params().keys() >= theirs.get_params().keys() - {"C"}
    if parameters.get("penalty", "l2") in ("l2", None):  # the others may leave only zeros
        assert np.abs(theirs.coef_).max() > 1e-4, "nothing was learnt"
    for attribute in ("coef_", "intercept_"):
        mine, right = getattr(ours, attribute), getattr(theirs, attribute)
        assert mine.shape == right.shape
        assert mine.dtype == right.dtype
        assert_allclose(mine, right, rtol=1e-8, atol=1e-8, err_msg=str(parameters))
    assert ours.n_iter_ == theirs.n_iter_, parameters
    assert ours.t_ == theirs.t_
    return ours, theirs


@pytest.mark.parametrize("average", [False, 100])
@pytest.mark.parametrize(("name", "loss"), LOSSES)
def test_every_penalty_and_schedule(name, loss, average):
    X, y = data(name)
    for penalty, learning_rate in itertools.product(PENALTIES, SCHEDULES):
        assert_same_path(
            name, X, y, loss=loss, penalty=penalty, learning_rate=learning_rate, average=average,
            max_iter=9, tol=1e-2, n_iter_no_change=2,
        )  # fmt: skip


@pytest.mark.skipif(not HAS_PASSIVE_AGGRESSIVE, reason="scikit-learn 1.8 is needed")
@pytest.mark.parametrize("learning_rate", ["pa1", "pa2"])
@pytest.mark.parametrize("name", PASSIVE_AGGRESSIVE)
def test_passive_aggressive(name, learning_rate):
    X, y = data(name)
    X *= 6  # the intercept takes part in a step but not in its size: short rows swing
    X[[2, 7]] = 0
    loss = PASSIVE_AGGRESSIVE[name]
    for penalty, average in itertools.product(PENALTIES, (False, 20)):
        for transform in (np.asarray, sparse.csr_array):
            assert_same_path(
                name, X, y, loss=loss, penalty=penalty, learning_rate=learning_rate,
                average=average, transform=transform,
            )  # fmt: skip


@pytest.mark.parametrize("transform", [sparse.csr_matrix, sparse.csc_array])
@pytest.mark.parametrize(("name", "loss"), LOSSES)
def test_sparse_rows(name, loss, transform):
    X, y = data(name)
    X[np.random.RandomState(4).uniform(size=X.shape) < 0.6] = 0
    for penalty, average in itertools.product(PENALTIES, (False, 50)):
        assert_same_path(
            name, X, y, loss=loss, penalty=penalty, average=average, transform=transform,
            max_iter=20, tol=1e-3,
        )  # fmt: skip


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("class_weight", [None, "balanced", {0: 0.5, 1: 3.0}])
@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize("weighted", [False, True])
def test_classes_and_weights(n_classes, class_weight, weighted, early_stopping):
    """A class against the rest; what is held out; weights of rows and of classes."""
    X, y = data("SGDClassifier", n_classes)
    labels = np.array(["d", "b", "a", "c"])[y] if class_weight in (None, "balanced") else y
    weight = np.random.RandomState(5).uniform(0, 2, N) if weighted else None
    ours, theirs = assert_same_path(
        "SGDClassifier", X, labels, {"sample_weight": weight}, loss="hinge", penalty=None,
        class_weight=class_weight, early_stopping=early_stopping, max_iter=12, tol=0.02,
        n_iter_no_change=3, learning_rate="invscaling",
    )  # fmt: skip
    assert_allclose(ours.decision_function(X), theirs.decision_function(X), atol=1e-8)
    np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))


@pytest.mark.parametrize("weighted", [False, True])
def test_regression_on_a_part(weighted):
    X, y = data("SGDRegressor")
    weight = np.random.RandomState(5).uniform(0, 2, N) if weighted else None
    ours, theirs = assert_same_path(
        "SGDRegressor", X, y, {"sample_weight": weight}, early_stopping=True, penalty=None,
        max_iter=200, tol=0.01, n_iter_no_change=2,
    )  # fmt: skip
    assert not SAME_STOPPING or 3 < ours.n_iter_ < 200
    assert_allclose(ours.predict(X), theirs.predict(X), atol=1e-8)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("loss", ["log_loss", "modified_huber"])
def test_probabilities(loss, n_classes):
    X, y = data("SGDClassifier", n_classes)
    ours, theirs = assert_same_path("SGDClassifier", X, y, loss=loss, max_iter=30)
    far = 30 * X
    assert_allclose(ours.predict_proba(far), theirs.predict_proba(far), atol=1e-8)
    with np.errstate(divide="ignore"):
        logs = theirs.predict_log_proba(far)
    assert_allclose(ours.predict_log_proba(far), logs, atol=1e-6)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_orders_of_shuffled_rows(n_classes):
    """The orders are scikit-learn's too, so the path is."""
    X, y = data("SGDClassifier", n_classes)
    for seed in (0, 1, 12345):
        assert_same_path("SGDClassifier", X, y, shuffle=True, random_state=seed, loss="log_loss")
        assert_same_path(
            "SGDClassifier", X, y, shuffle=True, random_state=seed, early_stopping=True, tol=None
        )
    X, y = data("SGDRegressor")
    assert_same_path("SGDRegressor", X, y, shuffle=True, early_stopping=True, tol=None)


@pytest.mark.parametrize("name", ["SGDClassifier", "SGDRegressor"])
def test_continued_training(name):
    """`partial_fit` after `partial_fit`, and a warm start.

    With an average, scikit-learn's classifier forgets the intercept that was not averaged, and
    its regressor's warm start the average; here neither is forgotten.
    """
    X, y = data(name)
    labels = {"classes": [0, 1]} if name == "SGDClassifier" else {}
    for average in (False, 30) if name == "SGDRegressor" else (False,):
        models = [
            getattr(module, name)(
                shuffle=False, average=average, random_state=0, tol=None, alpha=0.02
            )
            for module in (fastnn, reference)
        ]
        for model in models:
            for part in range(0, N, 15):
                model.partial_fit(X[part : part + 15], y[part : part + 15], **labels)
        assert models[0].t_ == models[1].t_ == N + 1
        assert_allclose(models[0].coef_, models[1].coef_, rtol=1e-8)
        assert_allclose(models[0].intercept_, models[1].intercept_, rtol=1e-8)
        if not average:
            for model in models:
                model.set_params(warm_start=True, max_iter=2).fit(X, y).fit(X, y)
            assert_allclose(models[0].coef_, models[1].coef_, rtol=1e-8)
        given = {"coef_init": 3 * X[0], "intercept_init": [0.5]}
        for model in models:
            model.set_params(warm_start=False).fit(X, y, **given)
        assert_allclose(models[0].coef_, models[1].coef_, rtol=1e-8)
        assert_allclose(models[0].intercept_, models[1].intercept_, rtol=1e-8)


@pytest.mark.parametrize("name", ["SGDClassifier", "SGDRegressor"])
def test_single_precision(name):
    """float32 stays float32; scikit-learn's has float64 sums, so the paths are near."""
    X, y = data(name)
    X = X.astype(np.float32)
    parameters = {"shuffle": False, "max_iter": 5, "tol": None, "eta0": 0.1}
    parameters["learning_rate"] = "invscaling"
    if not SAME_STOPPING:
        parameters["tol"] = None
    theirs = getattr(reference, name)(**parameters).fit(X, y)
    ours = getattr(fastnn, name)(**parameters).fit(X, y)
    assert ours.coef_.dtype == theirs.coef_.dtype == np.float32
    assert_allclose(ours.coef_, theirs.coef_, rtol=1e-4, atol=1e-5)
