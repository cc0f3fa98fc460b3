"""`LogisticRegression` beside scikit-learn's: one optimum, one path, one surface."""

import inspect
import itertools
import pickle
import warnings

import numpy as np
import pytest
import sklearn
import sklearn.linear_model as reference
from numpy.testing import assert_allclose
from scipy import sparse
from scipy.special import softmax
from sklearn.datasets import make_classification
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.utils.fixes import parse_version

import fastnn
from fastnn import LogisticRegression

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

N, D = 120, 6
#: Before 1.8 a penalty is asked for by name, and L-BFGS is always in float64.
BEFORE_1_8 = parse_version(sklearn.__version__) < parse_version("1.8")
PENALTIES = {
    "l2": {"C": 0.5},
    "none": {"C": np.inf},
    "l1": {"C": 0.2, "l1_ratio": 1.0},
    "elasticnet": {"C": 0.2, "l1_ratio": 0.4},
}


def problem(n_classes, container="dense", dtype=np.float64):
    X, y = make_classification(
        N, D, n_informative=4, n_classes=n_classes, class_sep=0.5, random_state=n_classes
    )
    if container != "dense":
        X = getattr(sparse, container)(np.where(np.abs(X) > 0.7, X, 0))
    return X.astype(dtype), np.array(["ant", "bee", "cow"])[y]


def theirs(penalty, **parameters):
    """Return scikit-learn's estimator with a penalty of `PENALTIES`."""
    parameters |= PENALTIES[penalty]
    if BEFORE_1_8:
        parameters["penalty"] = None if penalty == "none" else penalty
        parameters["C"] = 1.0 if penalty == "none" else parameters["C"]
        if penalty != "elasticnet":
            parameters.pop("l1_ratio", None)
    return reference.LogisticRegression(**parameters)


def assert_same(found, expected, rtol, same_steps=True):
    """Compare all that a fit leaves behind."""
    size = max(np.abs(expected.coef_).max(), np.abs(expected.intercept_).max())
    assert_allclose(found.coef_, expected.coef_, rtol=0, atol=rtol * size)
    assert_allclose(found.intercept_, expected.intercept_, rtol=0, atol=rtol * size)
    np.testing.assert_array_equal(found.classes_, expected.classes_)
    assert found.n_iter_.dtype == np.int32
    if same_steps:
        np.testing.assert_array_equal(found.n_iter_, expected.n_iter_)


GRID = [
    (solver, penalty)
    for solver, penalty in itertools.product(("lbfgs", "saga"), PENALTIES)
    if solver == "saga" or penalty in ("l2", "none")
]


@pytest.mark.parametrize("class_weight", [None, "balanced", {"ant": 0.3}], ids=str)
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("container", ["dense", "csr_matrix"])
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize(("solver", "penalty"), GRID)
def test_same_numbers_as_scikit_learn(
    solver, penalty, n_classes, container, fit_intercept, class_weight
):
    X, y = problem(n_classes, container)
    settings = {
        "solver": solver,
        "fit_intercept": fit_intercept,
        "class_weight": class_weight,
        "random_state": 3,
        "max_iter": 40,
    }
    weight = np.random.default_rng(0).uniform(0.2, 2.0, N)
    found = LogisticRegression(**settings, **PENALTIES[penalty]).fit(X, y, weight)
    if solver == "saga" and fit_intercept:  # theirs lags behind in the intercept of sparse rows
        X = X.toarray() if sparse.issparse(X) else X
    expected = theirs(penalty, **settings).fit(X, y, weight)
    assert_same(found, expected, 1e-7)
    assert_allclose(found.predict_proba(X), expected.predict_proba(X), rtol=1e-5, atol=1e-9)
    np.testing.assert_array_equal(found.predict(X), expected.predict(X))
    if solver == "saga":  # the very steps, so the very zeros
        np.testing.assert_array_equal(found.coef_ == 0, expected.coef_ == 0)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("container", ["dense", "csr_matrix"])
@pytest.mark.parametrize(("solver", "penalty"), GRID)
def test_float32_stays_float32(solver, penalty, container, n_classes):
    X, y = problem(n_classes, container)
    settings = {"solver": solver, "random_state": 3, "max_iter": 300, **PENALTIES[penalty]}
    single = LogisticRegression(**settings).fit(X.astype(np.float32), y)
    assert single.coef_.dtype == single.intercept_.dtype == np.float32
    assert single.predict_proba(X.astype(np.float32)).dtype == np.float32
    assert_same(single, LogisticRegression(**settings).fit(X, y), 2e-3, same_steps=False)


@pytest.mark.parametrize("solver", ["sgd", "gd"])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("penalty", ["l2", "none"])
def test_the_textbooks_solvers_reach_the_optimum(solver, penalty, n_classes, fit_intercept):
    X, y = problem(n_classes)
    settings = {"fit_intercept": fit_intercept, **PENALTIES[penalty]}
    best = LogisticRegression(tol=1e-9, max_iter=1000, **settings).fit(X, y)
    found = LogisticRegression(
        solver=solver, random_state=0, max_iter=5000, tol=1e-6, **settings
    ).fit(X, y)
    assert found.n_iter_[0] < 5000
    assert_same(found, best, 1e-3 if solver == "gd" else 0.03, same_steps=False)


@pytest.mark.parametrize("container", ["csr_array", "csc_matrix", "csc_array", "coo_array"])
def test_takes_every_sparse_format(container):
    X, y = problem(2, container)
    expected = LogisticRegression().fit(X.toarray(), y)
    assert_same(LogisticRegression().fit(X, y), expected, 1e-10)


@pytest.mark.parametrize("solver", ["lbfgs", "saga", "gd", "sgd"])
def test_takes_sparse_rows_with_wide_indices(solver):
    X, y = problem(2, "csr_array")
    model = LogisticRegression(solver=solver, random_state=0, max_iter=5)
    expected = model.fit(X, y).coef_
    X.indices, X.indptr = X.indices.astype(np.int64), X.indptr.astype(np.int64)
    np.testing.assert_array_equal(model.fit(X, y).coef_, expected)


@pytest.mark.parametrize("solver", ["sgd", "gd"])
def test_the_textbooks_solvers_take_sparse_rows_and_weights(solver):
    X, y = problem(3, "csr_array")
    weight = np.arange(N) % 3
    settings = {"solver": solver, "max_iter": 30, "random_state": 0, "learning_rate_init": 0.05}
    found = LogisticRegression(**settings).fit(X, y, weight)
    if solver == "gd":  # on sparse rows SGD trains the intercept more slowly
        assert_same(found, LogisticRegression(**settings).fit(X.toarray(), y, weight), 1e-10)
    assert found.score(X, y, weight) > 0.5


def test_gd_makes_the_steps_of_the_derivation():
    X, y = problem(2)
    w, b = np.zeros(D), 0.0
    for _ in range(7):
        a = 1 / (1 + np.exp(-(X @ w + b)))
        error = a - (y == "bee")
        w, b = w - 0.3 * (error @ X / N + w / (0.5 * N)), b - 0.3 * error.mean()
    found = LogisticRegression(solver="gd", C=0.5, learning_rate_init=0.3, max_iter=7).fit(X, y)
    assert_allclose(found.coef_[0], w, rtol=1e-12)
    assert_allclose(found.intercept_, b, rtol=1e-12)


def test_sgd_makes_a_step_after_each_row():
    X, y = problem(3)
    W, b, rate, l2 = np.zeros((3, D)), np.zeros(3), 0.1, 1 / (2.0 * N)
    of_class = {"ant": 0.5, "cow": 2.0}
    model = LogisticRegression(
        solver="sgd", C=2.0, learning_rate_init=rate, learning_rate="constant", max_iter=1,
        random_state=0, class_weight=of_class,
    ).fit(X, y)  # fmt: skip
    model.coef_, model.intercept_ = W.copy(), b.copy()
    for x, label in zip(X, y, strict=True):
        error = of_class.get(label, 1.0) * (softmax(W @ x + b) - (model.classes_ == label))
        W, b = (1 - rate * l2) * W - rate * np.outer(error, x), b - rate * error
        assert model.learn_one(x, label) is model
    assert_allclose(model.coef_, W, rtol=1e-9)
    assert_allclose(model.intercept_, b, rtol=1e-9)
    assert [model.predict_one(x) for x in X[:20]] == model.predict(X[:20]).tolist()
    assert not hasattr(LogisticRegression(), "learn_one")
    with pytest.raises(NotFittedError, match="go on from a fit with solver='sgd'"):
        LogisticRegression().fit(X, y).set_params(solver="sgd").learn_one(X[0], y[0])


def test_one_against_the_rest():
    X, y = problem(3)
    with pytest.warns(FutureWarning, match="OneVsRestClassifier"):
        model = LogisticRegression(multi_class="ovr").fit(X, y)
    assert model.n_iter_.shape == (3,)
    for c, label in enumerate(model.classes_):
        alone = LogisticRegression().fit(X, y == label)
        assert_allclose(model.coef_[c], alone.coef_[0], rtol=1e-12)
    each = 1 / (1 + np.exp(-model.decision_function(X)))
    assert_allclose(model.predict_proba(X), each / each.sum(axis=1, keepdims=True), rtol=1e-12)
    assert_allclose(np.exp(model.predict_log_proba(X)), model.predict_proba(X), rtol=1e-12)
    assert model.network_.loss_name == "log_loss"


@pytest.mark.parametrize("solver", ["lbfgs", "saga", "sgd", "gd"])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_classs_weight_is_that_of_its_rows(solver, n_classes):
    X, y = problem(n_classes)
    weight = np.linspace(0.5, 2, N)
    settings = {"solver": solver, "random_state": 0, "max_iter": 20, "learning_rate": "constant"}
    settings["learning_rate_init"] = 0.05
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = LogisticRegression(**settings, class_weight={"ant": 3.0}).fit(X, y, weight)
        expected = LogisticRegression(**settings).fit(X, y, np.where(y == "ant", 3, 1) * weight)
    assert_same(found, expected, 1e-9)


@pytest.mark.parametrize("solver", ["lbfgs", "saga", "sgd", "gd"])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_weight_zero_is_absence(solver, n_classes):
    X, y = problem(n_classes)
    weight = (np.arange(N) % 4 > 0).astype(float)
    settings = {"solver": solver, "random_state": 0, "max_iter": 5000, "tol": 1e-6}
    found = LogisticRegression(**settings).fit(X, y, weight)
    expected = LogisticRegression(**settings).fit(X[weight > 0], y[weight > 0])
    assert_same(found, expected, 0.02 if solver == "sgd" else 1e-3, same_steps=False)


@pytest.mark.parametrize("solver", ["lbfgs", "saga"])
def test_warm_start_of_scikit_learns_solvers(solver):
    X, y = problem(3)
    settings = {"solver": solver, "max_iter": 4, "random_state": 0, "warm_start": True}
    found, expected = LogisticRegression(**settings), reference.LogisticRegression(**settings)
    for _ in range(3):
        assert_same(found.fit(X, y), expected.fit(X, y), 1e-7)


@pytest.mark.parametrize("solver", ["lbfgs", "sgd", "gd"])
def test_warm_start_begins_where_the_last_fit_ended(solver):
    X, y = problem(3)
    best = LogisticRegression(tol=1e-8).fit(X, y)
    rate = {"learning_rate_init": 0.01} if solver == "sgd" else {}
    model = LogisticRegression(solver=solver, max_iter=1, random_state=0, **rate).fit(X, y)
    cold = np.abs(model.coef_ - best.coef_).max()
    model.coef_, model.intercept_ = best.coef_.copy(), best.intercept_.copy()
    model.sparsify().set_params(warm_start=True).fit(X, y)
    assert np.abs(model.coef_ - best.coef_).max() < 0.5 * cold
    with pytest.raises(ValueError, match=r"Initialization coef is of shape \(3, 6\)"):
        model.fit(X[:, :4], y)


def test_probabilities_keep_their_digits():
    X, y = np.array([[-1.0], [1.0]]), [0, 1]
    model = LogisticRegression().fit(X, y)
    model.coef_[:], model.intercept_[:] = 1, 0
    assert_allclose(model.predict_proba([[800.0], [40.0]])[1, 0], np.exp(-40.0), rtol=1e-12)
    assert_allclose(model.predict_log_proba([[800.0]]), [[-800.0, 0.0]])


def test_takes_all_parameters_of_scikit_learn():
    ours = inspect.signature(LogisticRegression).parameters
    for name, parameter in inspect.signature(reference.LogisticRegression).parameters.items():
        assert name in ours, name
        assert ours[name].kind == parameter.kind
        if not BEFORE_1_8:
            assert ours[name].default == parameter.default


def test_gives_all_that_scikit_learns_gives():
    X, y = problem(3)
    ours, expected = LogisticRegression().fit(X, y), reference.LogisticRegression().fit(X, y)
    missing = {name for name in dir(expected) if name[0] != "_"} - set(dir(ours))
    assert missing == set()
    assert ours.__sklearn_tags__().input_tags == expected.__sklearn_tags__().input_tags
    assert ours.__sklearn_tags__().classifier_tags == expected.__sklearn_tags__().classifier_tags
    assert str(ours.get_metadata_routing()) == str(expected.get_metadata_routing())


@pytest.mark.parametrize(
    ("solver", "take"),
    [("liblinear", "saga"), ("newton-cg", "lbfgs"), ("newton-cholesky", "lbfgs"), ("sag", "saga")],
)
def test_other_solvers_name_ours(solver, take):
    X, y = problem(2)
    with pytest.raises(ValueError, match=f"no solver '{solver}'; take solver=.*'{take}'"):
        LogisticRegression(solver=solver).fit(X, y)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"dual": True}, "supports only dual=False"),
        ({"l1_ratio": 1.0}, "Solver lbfgs supports only 'l2' or None penalties, got l1"),
        ({"l1_ratio": 0.5, "solver": "gd"}, "Solver gd supports only .* got elasticnet"),
        ({"solver": "newton"}, "The 'solver' parameter"),
        ({"C": 0.0}, "The 'C' parameter"),
        ({"learning_rate_init": 0.0}, "The 'learning_rate_init' parameter"),
    ],
    ids=str,
)
def test_bad_parameters_are_named(parameters, message):
    X, y = problem(2)
    with pytest.raises(ValueError, match=message):
        LogisticRegression(**parameters).fit(X, y)


def test_bad_data_is_named():
    X, y = problem(2)
    with pytest.raises(ValueError, match="only one class: 'ant'"):
        LogisticRegression().fit(X, np.full(N, "ant"))
    with pytest.raises(ValueError, match="at least one non-zero"):
        LogisticRegression().fit(X, y, np.zeros(N))
    with pytest.raises(ValueError, match=r"Floating-point under-/overflow occurred at epoch"):
        LogisticRegression(solver="gd", learning_rate_init=1e200, C=1e-200).fit(1e200 * X, y)


@pytest.mark.parametrize(
    ("parameters", "category", "message"),
    [
        ({"n_jobs": 2}, FutureWarning, "'n_jobs' has no effect"),
        ({"intercept_scaling": 2.0}, UserWarning, "ignores intercept_scaling"),
        ({"learning_rate_init": 0.1}, UserWarning, "'lbfgs' ignores learning_rate_init"),
        (
            {"solver": "gd", "learning_rate": "constant"},
            UserWarning,
            "'gd' ignores learning_rate",
        ),
        ({"penalty": None, "C": 2.0}, UserWarning, "will ignore the C and l1_ratio"),
        (
            {"penalty": "l2", "l1_ratio": 0.5},
            UserWarning,
            "only used when penalty is 'elasticnet'",
        ),
        ({"max_iter": 1}, ConvergenceWarning, "lbfgs failed to converge"),
        ({"max_iter": 1, "solver": "saga"}, ConvergenceWarning, "The max_iter was reached"),
        ({"max_iter": 1, "solver": "gd"}, ConvergenceWarning, "gd failed to converge after 1"),
        ({"max_iter": 1, "solver": "sgd"}, ConvergenceWarning, "Maximum number of iteration"),
    ],
    ids=str,
)
def test_warnings(parameters, category, message):
    X, y = problem(2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.warns(category, match=message):
            LogisticRegression(**parameters).fit(X, y)


@pytest.mark.parametrize("penalty", ["l2", "l1", "elasticnet", None])
def test_the_old_way_to_name_a_penalty(penalty):
    X, y = problem(2)
    ratio = {"l1": 1.0, "elasticnet": 0.5}.get(penalty, 0.0)
    settings = {"solver": "saga", "random_state": 0, "l1_ratio": ratio}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        old = LogisticRegression(penalty, **settings).fit(X, y)
    told = any("'penalty' was deprecated" in str(w.message) for w in caught)
    assert told is not BEFORE_1_8
    new = LogisticRegression(C=np.inf if penalty is None else 1.0, **settings).fit(X, y)
    np.testing.assert_array_equal(old.coef_, new.coef_)


def test_interrupted_training_keeps_the_model(monkeypatch):
    X, y = problem(2)

    def interrupted(function):
        def call(*args):
            if next(calls) == 3:
                raise KeyboardInterrupt
            return function(*args)

        return call

    home = fastnn.estimators.logistic_solvers
    for name, solver in (("loss_and_gradients", "lbfgs"), ("saga_dense_", "saga")):
        calls = itertools.count()
        model = LogisticRegression(solver=solver, tol=0.0, max_iter=10, random_state=0)
        with monkeypatch.context() as patch:
            patch.setattr(home, name, interrupted(getattr(home, name)))
            with pytest.warns(UserWarning, match="interrupted by user"):
                model.fit(X, y)
        assert np.isfinite(model.coef_).all()
        assert model.score(X, y) > 0.6


@pytest.mark.parametrize("solver", ["lbfgs", "saga", "sgd", "gd"])
def test_verbose_is_a_bar_and_two_is_a_line_an_iteration(solver, capsys):
    X, y = problem(2)
    settings = {"solver": solver, "max_iter": 3, "tol": 0.0, "random_state": 0}
    LogisticRegression(**settings, verbose=True).fit(X, y)
    shown = capsys.readouterr()
    assert not shown.out
    assert "epoch 3/3" in shown.err
    LogisticRegression(**settings, verbose=2).fit(X, y)
    shown = capsys.readouterr()
    begin = "-- Epoch {}" if solver == "sgd" else "Iteration {},"  # each as scikit-learn's
    lines = [line for line in shown.out.splitlines() if line.startswith(begin[:6])]
    assert [line[:12].strip() for line in lines] == [begin.format(i) for i in range(1, 4)]
    assert not shown.err


def test_a_function_sees_the_epochs_of_sgd():
    X, y = problem(3)
    seen = []

    def watch(progress):
        seen.append((progress.epoch, progress.done, progress.loss))
        return progress.epoch == 3

    model = LogisticRegression(solver="sgd", random_state=0, callbacks=[watch]).fit(X, y)
    assert [epoch for epoch, *_ in seen] == [0, 1, 2, 3]
    assert {done for _, done, _ in seen} == {N}
    assert len({loss for *_, loss in seen}) == model.n_iter_[0] == 4
    again = pickle.loads(pickle.dumps(model.set_params(callbacks=())))
    np.testing.assert_array_equal(again.coef_, model.coef_)


@pytest.mark.parametrize("solver", ["lbfgs", "saga", "gd"])
def test_a_function_sees_each_iteration_and_ends_the_fit(solver):
    X, y = problem(3)
    settings = {"solver": solver, "tol": 0.0, "max_iter": 9, "C": 0.3, "random_state": 0}
    if solver == "saga":
        settings["l1_ratio"] = 0.5
    losses = []

    def watch(progress):
        losses.append(progress.loss)
        return progress.epoch == 3

    model = LogisticRegression(**settings, callbacks=[watch]).fit(X, y)
    assert model.n_iter_[0] == len(losses) == 4
    ratio = settings.get("l1_ratio", 0.0)
    W = model.coef_
    penalty = (1 - ratio) / 2 * (W**2).sum() + ratio * np.abs(W).sum()
    right = model.predict_log_proba(X)[np.arange(N), np.searchsorted(model.classes_, y)]
    assert losses[-1] == pytest.approx(-right.mean() + penalty / 0.3 / N, rel=1e-9)
    alone = LogisticRegression(**settings | {"max_iter": 4}).fit(X, y)
    np.testing.assert_array_equal(alone.coef_, model.coef_)
    with pytest.raises(TypeError, match="callbacks must be a sequence of callables"):
        LogisticRegression(callbacks=[3]).fit(X, y)


@pytest.mark.parametrize("multi_class", ["deprecated", "ovr"])
@pytest.mark.parametrize("solver", ["lbfgs", "saga", "sgd", "gd"])
def test_scikit_learns_callbacks(solver, multi_class):
    callback = pytest.importorskip("sklearn.callback")
    X, y = problem(3)
    monitor = callback.ScoringMonitor(scoring="accuracy")
    settings = {"solver": solver, "max_iter": 3, "tol": 0.0, "random_state": 0}
    model = LogisticRegression(**settings, multi_class=multi_class).set_callbacks(monitor)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(X, y)
    epochs = [row for row in monitor.get_logs().data if row["task_name"] == "epoch"]
    assert len(epochs) == (9 if multi_class == "ovr" else 3)
    assert epochs[-1]["accuracy"] == model.score(X, y)
