"""What the SGD estimators take beyond scikit-learn's parameters: each has its effect."""

import itertools
import pickle
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from scipy.special import log_softmax, softmax
from sklearn.datasets import make_classification
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.metrics import get_scorer, log_loss

from fastnn import SGDClassifier, SGDRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

N, D = 90, 6
X, Y = make_classification(
    N, D, n_informative=4, n_classes=3, weights=[0.6, 0.25, 0.15], random_state=1
)
X /= 3
NUMBERS = X @ [1.0, -2, 0.5, 0, 1, 1] + np.sin(X[:, 0])
BINARY = (Y == 1).astype(int)
NAMES = np.array(["ant", "bee", "cat"])[Y]
LOGISTIC = {"loss": "log_loss", "alpha": 0.01, "random_state": 3, "max_iter": 6}
JOINT = {**LOGISTIC, "multi_class": "multinomial"}
#: No decay and one rate for all: then a row is its weight, however often it comes.
BARE = {"penalty": None, "learning_rate": "constant", "eta0": 0.1, "shuffle": False, "tol": None}
PROBLEMS = {
    "binary": (SGDClassifier, BINARY, LOGISTIC),
    "each against the rest": (SGDClassifier, NAMES, LOGISTIC),
    "together": (SGDClassifier, NAMES, JOINT),
    "numbers": (SGDRegressor, NUMBERS, {"random_state": 3, "max_iter": 6}),
}
every_problem = pytest.mark.parametrize("problem", PROBLEMS)


def fit(problem, weight=None, given=None, **parameters):
    estimator, y, own = PROBLEMS[problem]
    return estimator(**{**own, **parameters}).fit(X, y, sample_weight=weight, **(given or {}))


def parameters_of(model):
    return np.concatenate([model.coef_.ravel(), model.intercept_])


def differ(a, b):
    return np.abs(parameters_of(a) - parameters_of(b)).max() > 1e-3


# Weights ------------------------------------------------------------------------------------


@every_problem
def test_weight_zero_is_the_row_absent(problem):
    estimator, y, own = PROBLEMS[problem]
    weight = np.random.RandomState(0).uniform(0.5, 2, N)
    weight[::4] = 0
    kept = weight > 0
    model = estimator(**{**own, **BARE}).fit(X, y, sample_weight=weight)
    without = estimator(**{**own, **BARE}).fit(X[kept], y[kept], sample_weight=weight[kept])
    assert_allclose(parameters_of(model), parameters_of(without), rtol=1e-10)
    assert differ(model, fit(problem, **BARE))


@pytest.mark.parametrize("problem", ["binary", "together"])
def test_class_weight_is_the_sample_weight_of_its_rows(problem):
    _, y, _ = PROBLEMS[problem]
    first, second = np.unique(y)[:2]
    own = np.random.RandomState(0).uniform(0.5, 2, N)
    by_row = own * np.where(y == first, 0.5, np.where(y == second, 3.0, 1.0))
    by_class = fit(problem, own, class_weight={first: 0.5, second: 3.0})
    assert_allclose(parameters_of(by_class), parameters_of(fit(problem, by_row)), rtol=1e-10)
    assert differ(by_class, fit(problem, own))


# Softmax ------------------------------------------------------------------------------------


def plain_softmax(rows, weights, smoothing=0.0, clip=np.inf, epochs=2, rate=0.1, alpha=0.01):
    """Return weights and intercepts of multinomial SGD, in the obvious way."""
    W, b, targets = np.zeros((3, D)), np.zeros(3), np.eye(3) * (1 - smoothing) + smoothing / 3
    losses = []
    for _ in range(epochs):
        losses.append(0.0)
        for x, c, weight in zip(rows, Y, weights, strict=True):
            z = W @ x + b
            losses[-1] -= targets[c] @ log_softmax(z) / N
            delta = softmax(z) - targets[c]
            delta *= min(1, clip / np.sqrt(delta @ delta * (x @ x + 1)))
            W = (1 - rate * alpha) * W - rate * weight * np.outer(delta, x)
            b = b - rate * weight * delta
    return W, b, losses


@pytest.mark.parametrize("layout", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize(("smoothing", "clip"), [(0.0, None), (0.3, None), (0.1, 0.7)])
def test_softmax_against_plain_sgd(layout, smoothing, clip):
    weights = np.random.RandomState(0).uniform(0.5, 2, N)
    model = SGDClassifier(
        **{**JOINT, "max_iter": 2}, label_smoothing=smoothing, clip_norm=clip,
        learning_rate="constant", eta0=0.1, shuffle=False, fit_intercept=layout is np.asarray,
    ).fit(layout(X), NAMES, sample_weight=weights)  # fmt: skip
    if layout is not np.asarray:  # whose intercept has a rate of its own
        return assert_allclose(model.predict_proba(X).sum(axis=1), 1)
    W, b, losses = plain_softmax(X, weights, smoothing, clip or np.inf)
    assert_allclose(model.coef_, W, rtol=1e-9)
    assert_allclose(model.intercept_, b, rtol=1e-9)
    assert_allclose(model.loss_curve_, losses, rtol=1e-9)
    assert_allclose(model.predict_proba(X), softmax(X @ W.T + b, axis=1), rtol=1e-9)


def test_softmax_is_better_calibrated_than_each_against_the_rest():
    settings = {"learning_rate": "constant", "eta0": 0.02, "max_iter": 300, "tol": None}
    together, apart = (
        SGDClassifier(**{**LOGISTIC, **settings, "alpha": 1e-3}, multi_class=kind).fit(X, Y)
        for kind in ("multinomial", "ovr")
    )
    assert log_loss(Y, together.predict_proba(X)) < log_loss(Y, apart.predict_proba(X))
    with pytest.raises(ValueError, match="multi_class='multinomial' takes loss='log_loss'"):
        SGDClassifier(multi_class="multinomial").fit(X, Y)


@pytest.mark.parametrize("penalty", ["l1", "elasticnet"])
def test_softmax_with_l1_makes_zeros(penalty):
    model = SGDClassifier(**{**JOINT, "alpha": 0.05, "max_iter": 30}, penalty=penalty).fit(X, Y)
    assert 0 < (model.coef_ == 0).sum() < model.coef_.size
    average = SGDClassifier(**JOINT, average=True).fit(X, Y)
    assert differ(average, SGDClassifier(**JOINT).fit(X, Y))


# Steps --------------------------------------------------------------------------------------


@pytest.mark.parametrize("problem", ["binary", "each against the rest", "together"])
def test_label_smoothing_keeps_probabilities_off_the_ends(problem):
    sharp, smooth = (
        fit(problem, label_smoothing=smoothing, max_iter=60, tol=None, alpha=1e-4)
        for smoothing in (0.0, 0.4)
    )
    assert smooth.predict_proba(X).max() < sharp.predict_proba(X).max()
    assert np.abs(smooth.coef_).max() < 0.7 * np.abs(sharp.coef_).max()
    assert_array_equal(
        parameters_of(fit(problem, label_smoothing=0.0)), parameters_of(fit(problem))
    )


def test_label_smoothing_of_two_classes_is_a_target_between():
    """The class weight is still that of the label."""
    model = SGDClassifier(
        **{**LOGISTIC, **BARE, "max_iter": 1}, label_smoothing=0.2, class_weight={0: 2.0, 1: 0.5}
    ).fit(X, BINARY)
    w, b = np.zeros(D), 0.0
    for x, y in zip(X, BINARY, strict=True):
        step = 0.1 * (0.5 if y else 2.0) * (1 / (1 + np.exp(-(w @ x + b))) - (0.9 if y else 0.1))
        w, b = w - step * x, b - step
    assert_allclose(model.coef_[0], w, rtol=1e-9)
    assert_allclose(model.intercept_[0], b, rtol=1e-9)


@pytest.mark.parametrize("layout", [np.asarray, sparse.csr_array])
def test_clip_norm_limits_each_step(layout):
    """The first row's step is its gradient, or that cut to the norm."""
    settings = {**BARE, "max_iter": 1, "fit_intercept": False, "clip_norm": 0.25, "eta0": 1.0}
    for i in (0, 5):
        model = SGDRegressor(**settings).fit(layout(X[i : i + 1]), [10.0])
        assert np.linalg.norm(model.coef_) == pytest.approx(0.25)
        assert_allclose(model.coef_, 0.25 * X[i] / np.linalg.norm(X[i]), rtol=1e-12)
    free = SGDRegressor(**{**settings, "clip_norm": None}).fit(layout(X), NUMBERS)
    wide = SGDRegressor(**{**settings, "clip_norm": 1e9}).fit(layout(X), NUMBERS)
    assert_allclose(wide.coef_, free.coef_, rtol=1e-12)


def test_clip_norm_survives_an_outlier():
    y = NUMBERS.copy()
    y[7] = 1e6
    clipped = SGDRegressor(random_state=0, clip_norm=1.0).fit(X, y)
    assert (
        np.abs(clipped.coef_).max()
        < 20
        < np.abs(SGDRegressor(random_state=0).fit(X, y).coef_).max()
    )


def test_warmup_raises_the_rate_step_by_step():
    rates = []
    settings = {**BARE, "max_iter": 5, "warmup_epochs": 3}
    model = SGDRegressor(
        **settings, callbacks=[lambda p: rates.append(p.history.learning_rate[-1])]
    ).fit(X, NUMBERS)
    assert_allclose(rates, [0.1 / 3, 0.2 / 3, 0.1, 0.1, 0.1])
    w, b = np.zeros(D), 0.0
    for t in range(1, 5 * N + 1):
        x, y = X[(t - 1) % N], NUMBERS[(t - 1) % N]
        step = 0.1 * min(1, t / (3 * N)) * (w @ x + b - y)
        w, b = w - step * x, b - step
    assert_allclose(model.coef_, w, rtol=1e-9)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"label_smoothing": 0.1}, "label_smoothing=0.1 has no effect with loss='hinge'"),
        ({"scoring": "roc_auc"}, "scoring='roc_auc' has no effect with early_stopping=False"),
        ({"restore_best": True}, "restore_best=True has no effect with early_stopping=False"),
        (
            {"warmup_epochs": 2, "learning_rate": "pa1"},
            "warmup_epochs=2 has no effect with learning_rate='pa1'",
        ),
    ],
)
def test_what_is_not_read_warns(settings, message):
    with pytest.warns(UserWarning, match=message):
        SGDClassifier(**settings).fit(X, BINARY)


def test_warmup_warns_in_partial_fit():
    with pytest.warns(UserWarning, match="warmup_epochs=2 has no effect with partial_fit"):
        SGDRegressor(warmup_epochs=2).partial_fit(X, NUMBERS)


@pytest.mark.parametrize(
    "settings",
    [{"clip_norm": 0}, {"label_smoothing": 1}, {"warmup_epochs": -1}, {"scoring": "none such"}],
)
def test_bad_parameters_are_named(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        SGDClassifier(**settings).fit(X, BINARY)
    with pytest.raises(TypeError, match="callbacks must be a sequence of callables"):
        SGDClassifier(callbacks=3).fit(X, BINARY)


# Validation ---------------------------------------------------------------------------------


@every_problem
def test_own_validation_rows(problem):
    """They are scored, the best weights restored, and all rows are trained on."""
    _, y, _ = PROBLEMS[problem]
    own = {"X_val": X[::3], "y_val": y[::3]}
    settings = {"tol": 0.0, "n_iter_no_change": 4, "max_iter": 40, "scoring": "loss"}
    model = fit(problem, given=own, early_stopping=True, **settings)
    plain = fit(problem, tol=None, max_iter=np.max(model.n_iter_))
    losses = np.atleast_2d(np.array(model.validation_loss_curve_, dtype=object))
    if problem == "each against the rest":
        losses = model.validation_loss_curve_
        assert len(losses) == 3
    else:
        losses = [model.validation_loss_curve_]
        assert_allclose(plain.loss_curve_[: model.n_iter_], model.loss_curve_, rtol=1e-12)
        scores, best = [model.validation_scores_], [model.best_validation_score_]
        assert_allclose(scores, -np.array(losses))
        assert_allclose(best[0], -min(losses[0]))
        again = fit(problem, given=own, tol=None, max_iter=1 + int(np.argmin(losses[0])))
        assert_allclose(parameters_of(again), parameters_of(model), rtol=1e-10)
        assert_allclose(again.validation_loss_curve_, losses[0][: again.n_iter_])
        assert again.validation_scores_ is None


def test_validation_loss_is_the_weighted_mean():
    weight = np.random.RandomState(0).uniform(0.1, 2, N)
    own = {"X_val": X, "y_val": NAMES, "sample_weight_val": weight}
    model = fit("together", given=own, max_iter=2)
    assert model.validation_loss_curve_[-1] == pytest.approx(
        log_loss(NAMES, model.predict_proba(X), sample_weight=weight)
    )
    own = {"X_val": X, "y_val": BINARY, "sample_weight_val": weight}
    model = fit("binary", given=own, max_iter=2)
    assert model.validation_loss_curve_[-1] == pytest.approx(
        log_loss(BINARY, model.predict_proba(X), sample_weight=weight)
    )


@pytest.mark.parametrize(
    ("problem", "scoring"),
    [("binary", "roc_auc"), ("together", "neg_log_loss"), ("numbers", "neg_median_absolute_error")],
)
def test_any_scorer_decides(problem, scoring):
    _, y, _ = PROBLEMS[problem]
    own = {"X_val": X, "y_val": y}
    for given in (scoring, get_scorer(scoring)):
        model = fit(problem, given=own, early_stopping=True, scoring=given, max_iter=9, tol=None)
        score = get_scorer(scoring)(model, X, y)
        assert model.best_validation_score_ == pytest.approx(score)
        assert model.best_validation_score_ == max(model.validation_scores_)


def test_a_scorer_of_each_class_against_the_rest():
    model = fit(
        "each against the rest", given={"X_val": X, "y_val": NAMES}, early_stopping=True,
        scoring="roc_auc", max_iter=5,
    )  # fmt: skip
    for k, name in enumerate(model.classes_):
        alone = fit("binary", max_iter=1)
        alone.coef_, alone.intercept_ = model.coef_[k : k + 1], model.intercept_[k : k + 1]
        score = get_scorer("roc_auc")(alone, X, (name == NAMES).astype(int))
        assert model.best_validation_score_[k] == pytest.approx(score)


def test_restore_best_with_an_average():
    own = {"X_val": X[::2], "y_val": NUMBERS[::2]}
    settings = {"average": True, "tol": None, "max_iter": 12, "eta0": 0.3}
    model = fit("numbers", given=own, early_stopping=True, **settings)
    best = 1 + int(np.argmax(model.validation_scores_))
    again = fit("numbers", **{**settings, "max_iter": best})
    assert_allclose(parameters_of(model), parameters_of(again), rtol=1e-10)


def test_bad_validation_rows_are_named():
    with pytest.raises(ValueError, match="X_val and y_val must be given together"):
        SGDClassifier().fit(X, Y, X_val=X)
    with pytest.raises(ValueError, match="in X_val, y_val: X has 5 features"):
        SGDClassifier().fit(X, Y, X_val=X[:, :5], y_val=Y)
    with pytest.raises(ValueError, match=r"y_val holds .*7.*, which is not among the classes"):
        SGDClassifier().fit(X, Y, X_val=X[:1], y_val=[7])
    with pytest.raises(ValueError, match="sample_weight_val is zero for every row"):
        SGDRegressor().fit(X, NUMBERS, X_val=X, y_val=NUMBERS, sample_weight_val=np.zeros(N))


# Watching -----------------------------------------------------------------------------------


@every_problem
def test_callbacks_see_each_epoch_and_end_training(problem):
    seen = []

    def watch(progress):
        seen.append((progress.epoch, progress.loss, progress.coef_, progress.intercept_))
        return progress.epoch % 6 == 3

    model = fit(problem, callbacks=[watch], tol=None)
    problems = 3 if problem == "each against the rest" else 1
    assert [epoch for epoch, *_ in seen] == [6 * k + e for k in range(problems) for e in range(4)]
    assert model.n_iter_ == 4
    assert_allclose(np.concatenate([s[2] for s in seen[3::4]]).ravel(), model.coef_.ravel())
    assert_allclose(np.concatenate([s[3] for s in seen[3::4]]), model.intercept_)
    curves = model.loss_curve_ if problems == 3 else [model.loss_curve_]
    assert_allclose([loss for _, loss, *_ in seen], np.concatenate(curves))


@every_problem
@pytest.mark.parametrize("average", [False, True])
def test_scikit_learns_callbacks(problem, average):
    callback = pytest.importorskip("sklearn.callback")
    estimator, y, own = PROBLEMS[problem]
    scoring = "r2" if problem == "numbers" else "accuracy"
    monitor = callback.ScoringMonitor(scoring=scoring)
    model = estimator(**own, tol=None, average=average)
    model.set_callbacks(monitor).fit(X, y)
    epochs = [row for row in monitor.get_logs().data if row["task_name"] == "epoch"]
    assert len(epochs) == (18 if problem == "each against the rest" else 6)
    assert epochs[-1][scoring] == pytest.approx(model.score(X, y))
    if not average:
        again = estimator(**{**own, "max_iter": 5}, tol=None).fit(X, y)
        if problem != "each against the rest":
            assert epochs[-2][scoring] == pytest.approx(again.score(X, y))


def test_verbose_shows_a_bar_or_lines(capsys):
    SGDClassifier(**LOGISTIC, verbose=True).fit(X, BINARY)
    shown = capsys.readouterr()
    assert "epoch 6/6" in shown.err
    assert "loss" in shown.err
    assert not shown.out
    SGDClassifier(**LOGISTIC, verbose=2).fit(X, BINARY)
    shown = capsys.readouterr()
    assert "-- Epoch 6" in shown.out
    assert "Avg. loss: " in shown.out
    assert not shown.err


def test_interrupt_keeps_the_weights():
    def interrupt(progress):
        if progress.epoch == 2:
            raise KeyboardInterrupt

    with pytest.warns(UserWarning, match="Training interrupted by user"):
        model = fit("numbers", callbacks=[interrupt], tol=None)
    assert_allclose(parameters_of(model), parameters_of(fit("numbers", tol=None, max_iter=3)))
    assert model.n_iter_ == 3


# Online -------------------------------------------------------------------------------------


@every_problem
@pytest.mark.parametrize("average", [False, 20])
@pytest.mark.parametrize("penalty", ["l2", "l1"])
@pytest.mark.parametrize("single", [False, True])
def test_learn_one_is_partial_fit(problem, average, penalty, single):
    estimator, y, own = PROBLEMS[problem]
    extras = {} if problem == "numbers" else {"class_weight": dict.fromkeys(set(y[:1]), 1.5)}
    settings = {**own, **extras, "average": average, "penalty": penalty, "clip_norm": 1.0}
    classes = {} if problem == "numbers" else {"classes": np.unique(y)}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rows = X.astype(np.float32) if single else X
        one, many = (
            estimator(**settings).partial_fit(rows[:9], y[:9], **classes) for _ in range(2)
        )
        for x, target in zip(rows[9:40], y[9:40], strict=True):
            one.learn_one(x, target)
            many.partial_fit([x], [target])
    assert_array_equal(parameters_of(one), parameters_of(many))
    assert one.t_ == many.t_
    assert [one.predict_one(x) for x in X] == pytest.approx(list(many.predict(X)), rel=1e-9)


def test_learn_one_after_other_calls():
    """It notices that the model is another one; its working memory is not pickled."""
    model = fit("binary").learn_one(X[0], 1)
    assert model.coef_.shape == (1, D)
    model.fit(X, BINARY)
    twin = fit("binary")
    assert_array_equal(model.learn_one(X[1], 0).coef_, twin.learn_one(X[1], 0).coef_)
    assert "_online_state" not in model.__getstate__()
    with pytest.raises(NotFittedError):
        SGDClassifier().learn_one(X[0], 1)
    assert SGDRegressor().learn_one(X[0], 1.0).t_ == 2


def weigh(model):
    if isinstance(model, SGDClassifier):
        model.set_params(class_weight={c: 1 + i for i, c in enumerate(model.classes_)})


def assign(model):
    model.coef_ = model.coef_ / 2
    model.intercept_ = model.intercept_ + 1


def write(model):
    model.coef_ += 0.5
    model.intercept_ -= 0.25


EVENTS = {
    "fit": None,
    "alpha": lambda model: model.set_params(alpha=0.3),
    "l1": lambda model: model.set_params(penalty="l1"),
    "rate": lambda model: model.set_params(learning_rate="constant", eta0=0.02),
    "average": lambda model: model.set_params(average=10),
    "weigh": weigh,
    "assign": assign,
    "write": write,
    "pickle": None,
}


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("average", [False, 5])
@pytest.mark.parametrize("penalty", ["l2", "elasticnet"])
@every_problem
def test_learn_one_is_partial_fit_after_anything(problem, penalty, average, event):
    """What is prepared for a row is never older than the model."""
    estimator, y, own = PROBLEMS[problem]
    settings = {**own, "average": average, "penalty": penalty, "max_iter": 2, "tol": None}
    for rows in (X, X.astype(np.float32)):
        one, many = (estimator(**settings).fit(rows, y) for _ in range(2))
        for step in range(3):
            for x, target in zip(rows[3 * step :][:3], y[3 * step :][:3], strict=True):
                one.learn_one(x, target)
                many.partial_fit([x], [target])
            assert_array_equal(parameters_of(one), parameters_of(many))
            if event == "pickle":
                one = pickle.loads(pickle.dumps(one))
            elif step == 0:
                for model in (one, many):
                    EVENTS[event](model) if EVENTS[event] else model.fit(rows, y)


@every_problem
@pytest.mark.parametrize("average", [False, 30, 250])
@pytest.mark.parametrize("penalty", ["l2", "l1", "elasticnet", None])
def test_partial_fit_is_fit_without_shuffling(problem, average, penalty):
    """n passes of `partial_fit` are `fit(max_iter=n)`, to the bit."""
    estimator, y, own = PROBLEMS[problem]
    settings = {**own, "shuffle": False, "average": average, "tol": None, "max_iter": 4}
    classes = {} if problem == "numbers" else {"classes": np.unique(y)}
    losses = {"huber", settings.get("loss"), *({"hinge"} if problem == "binary" else ())} - {None}
    if problem == "together":
        losses = {"log_loss"}
    kinds = itertools.product(losses, (np.float64, np.float32), (np.asarray, sparse.csr_array))
    for loss, dtype, layout in kinds:
        rows = layout(X.astype(dtype))
        settings |= {"loss": loss, "penalty": penalty, "alpha": 0.01}
        whole, parts = estimator(**settings).fit(rows, y), estimator(**settings)
        for _ in range(4):
            parts.partial_fit(rows, y, **classes)
            parts = pickle.loads(pickle.dumps(parts))
        assert_array_equal(parameters_of(parts), parameters_of(whole), err_msg=str(settings))
        assert parts.t_ == whole.t_


def test_max_iter_warns():
    with pytest.warns(ConvergenceWarning, match="Maximum number of iteration reached"):
        SGDRegressor(max_iter=1).fit(X, NUMBERS)
