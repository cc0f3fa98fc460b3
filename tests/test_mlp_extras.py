"""What the MLPs take beyond scikit-learn's parameters: each has its effect, and nothing else."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.datasets import make_classification, make_regression
from sklearn.metrics import accuracy_score, get_scorer, make_scorer

from fastnn import MLPClassifier, MLPRegressor, schedules

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

N = 90
SMALL = {"hidden_layer_sizes": (6, 4), "max_iter": 8, "random_state": 3}
X, Y = make_classification(
    N, 6, n_informative=4, n_classes=3, weights=[0.6, 0.25, 0.15], random_state=1
)
_, NUMBERS = make_regression(N, 6, random_state=1)
NUMBERS = X @ [1.0, -2, 0.5, 0, 1, 1] + np.sin(X[:, 0])
NAMES = np.array(["ant", "bee", "cat"])[Y]
ALL = {  # every optimiser in full batches, and L-BFGS
    **{solver: {"solver": solver, "batch_size": N} for solver in ("sgd", "adam", "rmsprop")},
    "lbfgs": {"solver": "lbfgs"},
}


def parameters_of(model):
    return np.concatenate([W.ravel() for W in [*model.coefs_, *model.intercepts_]])


def assert_same(a, b):
    assert_array_equal(parameters_of(a), parameters_of(b))


def assert_close(a, b, rtol=1e-9):
    found, expected = parameters_of(a), parameters_of(b)
    assert_allclose(found, expected, rtol=rtol, atol=rtol * np.abs(expected).max())


def differ(a, b):
    return np.abs(parameters_of(a) - parameters_of(b)).max() > 1e-4


# Weights ------------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", ALL)
@pytest.mark.parametrize("kind", ["classes", "balanced", "numbers"])
def test_weight_zero_is_the_row_absent(solver, kind):
    weight = np.random.RandomState(0).uniform(0.5, 2, N)
    weight[::4] = 0
    kept = weight > 0
    estimator, y = (MLPRegressor, NUMBERS) if kind == "numbers" else (MLPClassifier, Y)
    settings = (
        {**SMALL, **ALL[solver], "batch_size": 20} if solver != "lbfgs" else SMALL | ALL[solver]
    )
    if kind == "balanced":
        settings["class_weight"] = "balanced"
    weighted = estimator(**settings).fit(X, y, weight)
    without = estimator(**settings).fit(X[kept], y[kept], weight[kept])
    assert_close(weighted, without)
    assert differ(weighted, estimator(**settings).fit(X, y))


@pytest.mark.parametrize("solver", ALL)
@pytest.mark.parametrize("estimator", [MLPClassifier, MLPRegressor])
def test_weight_two_is_the_row_twice(solver, estimator):
    y = Y if estimator is MLPClassifier else NUMBERS
    weight = np.where(np.arange(N) % 3 == 0, 2.0, 1.0)
    twice = np.repeat(np.arange(N), weight.astype(int))
    settings = {**SMALL, **ALL[solver]}
    weighted = estimator(**settings).fit(X, y, weight)
    if solver != "lbfgs":
        settings["batch_size"] = twice.size
    assert_close(weighted, estimator(**settings).fit(X[twice], y[twice]), rtol=1e-7)


@pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs"])
@pytest.mark.parametrize("early", [False, True])
def test_class_weight_is_the_sample_weight_of_its_rows(solver, early):
    if solver == "lbfgs" and early:
        pytest.skip("L-BFGS does not stop early")
    factors = {"ant": 0.5, "cat": 3.0}
    own = np.random.RandomState(0).uniform(0.5, 2, N)
    settings = {**SMALL, "solver": solver, "early_stopping": early}
    weight = np.array([factors.get(name, 1.0) for name in NAMES])
    by_class = MLPClassifier(**settings, class_weight=factors).fit(X, NAMES, own)
    by_row = MLPClassifier(**settings).fit(X, NAMES, own * weight)
    assert_same(by_class, by_row)
    assert differ(by_class, MLPClassifier(**settings).fit(X, NAMES, own))


def test_balanced_class_weight_makes_classes_weigh_alike():
    balanced = MLPClassifier(**SMALL, class_weight="balanced").fit(X, Y)
    counts = np.bincount(Y)
    assert counts.max() > 3 * counts.min()
    factors = {label: N / (3 * count) for label, count in enumerate(counts)}
    assert_same(balanced, MLPClassifier(**SMALL, class_weight=factors).fit(X, Y))
    plain = MLPClassifier(**SMALL).fit(X, Y)
    assert (balanced.predict(X) == 2).sum() >= (plain.predict(X) == 2).sum()
    assert differ(balanced, plain)


def test_validation_rows_have_the_class_weights_of_the_training_rows():
    held = np.flatnonzero(Y < 2)  # other shares of the classes, one of which is missing
    settings = {**SMALL, "early_stopping": True}
    found = MLPClassifier(**settings, class_weight="balanced")
    found.fit(X, Y, X_val=X[held], y_val=Y[held])
    factors = N / (3 * np.bincount(Y))
    by_hand = MLPClassifier(**settings).fit(
        X, Y, factors[Y], X_val=X[held], y_val=Y[held], sample_weight_val=factors[Y[held]]
    )
    assert_same(found, by_hand)
    assert_allclose(found.validation_loss_curve_, by_hand.validation_loss_curve_)
    assert found.validation_scores_ == pytest.approx(by_hand.validation_scores_)
    one = MLPClassifier(**SMALL, solver="sgd", class_weight="balanced").fit(X, Y)
    other = MLPClassifier(**SMALL, solver="sgd", class_weight=dict(enumerate(factors))).fit(X, Y)
    assert_same(one.learn_one(X[0], 2), other.partial_fit(X[:1], [2]))


class Watch:
    """Looks at each slice of an epoch, for which batches are counted one by one."""

    def __call__(self, progress):
        return False

    def on_slice(self, progress):
        assert progress.loss > 0


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_the_loss_counts_each_batch_by_its_rows(solver, outputs, weighted):
    rng = np.random.RandomState(0)
    rows, weight = rng.normal(size=(50, 3)), rng.uniform(0.2, 3, 50)
    y = np.squeeze(rng.normal(size=(50, outputs)))
    found = [
        MLPRegressor(
            hidden_layer_sizes=(4,), solver=solver, batch_size=8, alpha=0.1, max_iter=3,
            random_state=0, callbacks=callbacks,
        ).fit(rows, y, sample_weight=weight if weighted else None)
        for callbacks in ([], [Watch()])
    ]  # fmt: skip
    assert_same(*found)
    assert_allclose(found[0].loss_curve_, found[1].loss_curve_, rtol=1e-12)


def test_class_weight_of_partial_fit():
    factors = {0: 1.0, 1: 2.0, 2: 5.0}
    model = MLPClassifier(**SMALL, class_weight=factors).partial_fit(X, Y, classes=[0, 1, 2])
    weight = np.array([1.0, 2.0, 5.0])[Y]
    assert_same(model, MLPClassifier(**SMALL).partial_fit(X, Y, weight, classes=[0, 1, 2]))
    with pytest.raises(ValueError, match="'balanced' is not supported for partial_fit"):
        MLPClassifier(class_weight="balanced").partial_fit(X, Y, classes=[0, 1, 2])


@pytest.mark.parametrize("multioutput", [False, True])
def test_class_weights_of_many_columns_multiply(multioutput):
    labels = np.column_stack([Y if multioutput else Y > 0, X[:, 0] > 0]).astype(int)
    weights = [{1: 3.0}, {0: 0.5}]
    model = MLPClassifier(**SMALL, class_weight=weights).fit(X, labels)
    by_hand = np.where(labels[:, 0] == 1, 3.0, 1.0) * np.where(labels[:, 1] == 0, 0.5, 1.0)
    assert_same(model, MLPClassifier(**SMALL).fit(X, labels, by_hand))
    with pytest.raises(ValueError, match="one dict per column"):
        MLPClassifier(**SMALL, class_weight={1: 3.0}).fit(X, labels)


# Losses and targets -------------------------------------------------------------------------


def fit_constant(loss, y, **parameters):
    """Fit the bias of one output to skewed targets; return it."""
    model = MLPRegressor(
        loss=loss, hidden_layer_sizes=(), solver="sgd", momentum=0, learning_rate_init=0.05,
        max_iter=3000, alpha=0, tol=0, n_iter_no_change=np.inf, batch_size=y.size, random_state=0,
        **parameters,
    )  # fmt: skip
    return model.fit(np.zeros((y.size, 1)), y).predict([[0.0]])[0]


def test_each_loss_of_the_regressor_has_its_own_minimum():
    y = np.array([0.0, 1, 2, 3, 4, 5, 6, 7, 8, 30])
    assert fit_constant("squared_error", y) == pytest.approx(y.mean(), abs=0.01)
    assert fit_constant("absolute_error", y) == pytest.approx(4.5, abs=0.51)
    assert fit_constant("poisson", y) == pytest.approx(y.mean(), abs=0.05)
    assert fit_constant("quantile", y, loss_parameter=0.75) == pytest.approx(7, abs=0.06)
    assert fit_constant("quantile", y) == pytest.approx(4.5, abs=0.51)
    wide, narrow = (fit_constant("huber", y, loss_parameter=delta) for delta in (1e3, 0.5))
    assert wide == pytest.approx(y.mean(), abs=0.01)
    assert narrow < 5


@pytest.mark.parametrize(
    ("loss", "bad"), [("poisson", -1.0), ("log_loss", 2.0), ("cross_entropy", 0.5)]
)
def test_targets_outside_a_loss_are_refused(loss, bad):
    y = np.full(N, bad)
    with pytest.raises(ValueError, match=r"takes (rows of )?y"):
        MLPRegressor(loss, **SMALL).fit(X, y)


def test_a_loss_parameter_that_the_loss_lacks_is_refused():
    with pytest.raises(ValueError, match="has no parameter"):
        MLPRegressor(**SMALL, loss_parameter=0.5).fit(X, NUMBERS)
    with pytest.raises(ValueError, match="must lie in"):
        MLPRegressor("quantile", **SMALL, loss_parameter=1.5).fit(X, NUMBERS)


@pytest.mark.parametrize("loss", ["squared_error", "absolute_error", "huber", "poisson"])
@pytest.mark.parametrize("target", [NAMES, NAMES == "ant", np.column_stack([Y > 0, X[:, 0] > 0])])
def test_other_losses_of_the_classifier_classify(loss, target):
    model = MLPClassifier(20, solver="lbfgs", max_iter=80, random_state=0, loss=loss)
    target = target.astype(int) if target.ndim == 2 else target
    model.fit(X, target)
    assert model.score(X, target) > (0.8 if loss == "absolute_error" else 0.9)
    if loss in ("squared_error", "poisson"):
        probabilities = model.predict_proba(X)
        assert probabilities.min() >= 0
        assert probabilities.max() <= 1
        if target.ndim == 1:
            assert_allclose(probabilities.sum(axis=1), 1)
            assert_array_equal(model.classes_[probabilities.argmax(axis=1)], model.predict(X))
    else:
        assert not hasattr(model, "predict_proba")


def test_label_smoothing_trains_on_softened_one_hot_targets():
    smoothed = MLPClassifier(**SMALL, label_smoothing=0.3).fit(X, Y)
    soft = np.full((N, 3), 0.1)
    soft[np.arange(N), Y] = 0.8
    by_hand = MLPRegressor("cross_entropy", **SMALL).fit(X, soft)
    assert_close(smoothed, by_hand)
    assert_close(
        MLPClassifier(**SMALL, label_smoothing=0.0).fit(X, Y), MLPClassifier(**SMALL).fit(X, Y)
    )


def test_label_smoothing_of_two_classes_and_of_labels():
    labels = np.column_stack([Y > 0, X[:, 0] > 0]).astype(int)
    for target in (labels[:, 0], labels):
        smoothed = MLPClassifier(**SMALL, label_smoothing=0.2).fit(X, target)
        assert_close(smoothed, MLPRegressor("log_loss", **SMALL).fit(X, 0.8 * target + 0.1))


def test_rows_held_out_are_scored_by_their_own_labels():
    settings = {**SMALL, "early_stopping": True, "max_iter": 1, "shuffle": False}
    hard, soft = (
        MLPClassifier(**settings, learning_rate_init=1e-12, label_smoothing=amount).fit(X, Y)
        for amount in (0.0, 0.5)
    )
    assert_allclose(soft.validation_loss_curve_, hard.validation_loss_curve_, rtol=1e-9)
    assert soft.loss_ > hard.loss_ * 1.001 or soft.loss_ < hard.loss_ * 0.999


def test_multiclass_multioutput():
    rng = np.random.RandomState(0)
    rows = rng.normal(size=(200, 4))
    first = np.where(rows[:, 0] > 0.5, "high", np.where(rows[:, 0] > -0.5, "middle", "low"))
    second = np.where(rows[:, 1] > 0, "yes", "no")
    target = np.column_stack([first, second])
    model = MLPClassifier(20, solver="lbfgs", random_state=0).fit(rows, target)
    assert [list(column) for column in model.classes_] == [["high", "low", "middle"], ["no", "yes"]]
    assert model.score(rows, target) > 0.98
    probabilities = model.predict_proba(rows)
    assert [part.shape for part in probabilities] == [(200, 3), (200, 2)]
    for k, part in enumerate(probabilities):
        assert_allclose(part.sum(axis=1), 1)
        assert_array_equal(model.classes_[k][part.argmax(axis=1)], model.predict(rows)[:, k])
        assert_allclose(np.exp(model.predict_log_proba(rows)[k]), part)
    with pytest.raises(AttributeError, match="one softmax per column"):
        model.network_  # noqa: B018
    parts = MLPClassifier(20, random_state=0)
    for _ in range(2):
        parts.partial_fit(rows, target, classes=model.classes_)
    whole = MLPClassifier(20, random_state=0, max_iter=1, shuffle=False).fit(rows, target)
    assert [list(c) for c in parts.classes_] == [list(c) for c in whole.classes_]
    early = MLPClassifier(20, random_state=0, max_iter=30, early_stopping=True).fit(rows, target)
    assert max(early.validation_scores_) > min(early.validation_scores_)


def test_two_softmaxes_do_not_see_each_other():
    """With no hidden layer, the columns are models of their own."""
    target = np.column_stack([Y, (X[:, 0] > 0) + 2 * (X[:, 1] > 0)])
    settings = {
        "hidden_layer_sizes": (),
        "solver": "lbfgs",
        "max_iter": 400,
        "tol": 1e-8,
        "alpha": 1,
    }
    both = MLPClassifier(**settings, random_state=0).fit(X, target).predict_proba(X)
    for k, part in enumerate(both):
        alone = MLPClassifier(**settings, random_state=0).fit(X, target[:, k])
        assert_allclose(part, alone.predict_proba(X), atol=5e-4)


# Regularisation, rates, initial weights -----------------------------------------------------


@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_dropout_zero_is_none_to_the_bit(solver):
    plain = MLPClassifier(**SMALL, solver=solver).fit(X, Y)
    none = MLPClassifier(**SMALL, solver=solver, dropout=[0.0, 0.0], input_dropout=0.0).fit(X, Y)
    assert_same(plain, none)
    for settings in ({"dropout": 0.3}, {"dropout": [0.0, 0.3]}, {"input_dropout": 0.3}):
        dropped = MLPClassifier(**SMALL, solver=solver, **settings).fit(X, Y)
        assert differ(plain, dropped)
        assert_same(dropped, MLPClassifier(**SMALL, solver=solver, **settings).fit(X, Y))


def test_dropout_is_inverted():
    """Of a linear model the expected gradient stays, so the prediction needs no scale."""
    rows = np.ones((4000, 1))
    model = MLPRegressor(
        hidden_layer_sizes=(), input_dropout=0.5, solver="sgd", momentum=0, batch_size=4000,
        learning_rate_init=1.0, max_iter=1, alpha=0, shuffle=False, random_state=0,
        coefs_init=[np.zeros((1, 1))], intercepts_init=[np.zeros(1)],
    )  # fmt: skip
    model.fit(rows, np.ones(4000))  # one step: the mean of mask / 0.5, whose expectation is 1
    assert model.coefs_[0][0, 0] == pytest.approx(1, abs=0.05)
    assert model.coefs_[0][0, 0] != 1
    assert model.intercepts_[0][0] == pytest.approx(1)


@pytest.mark.parametrize("solver", ["sgd", "adamw"])
def test_weight_decay_does_not_depend_on_the_batch_size(solver):
    rows, y = np.zeros((N, 2)), np.zeros(N)
    start = [np.ones((2, 3)), np.ones((3, 1))]
    kept = []
    for batch_size in (N, 10):
        model = MLPRegressor(
            hidden_layer_sizes=(3,), solver=solver, batch_size=batch_size, weight_decay=0.5,
            alpha=0, max_iter=1, learning_rate_init=0.01, random_state=0, coefs_init=start,
            intercepts_init=[np.full(3, -1.0), np.zeros(1)],
        )  # fmt: skip
        model.fit(rows, y)
        kept.append(model.coefs_[0] ** (batch_size / N))  # the decay of each step
    assert_allclose(kept[0], 1 - 0.01 * 0.5)
    assert_allclose(kept[1], kept[0])


def test_clip_norm_bounds_a_step():
    settings = {**SMALL, "solver": "sgd", "momentum": 0, "batch_size": N, "max_iter": 1, "alpha": 0}
    settings["learning_rate_init"] = 0.5
    start = MLPRegressor(**settings | {"learning_rate_init": 1e-300}).fit(X, 100 * NUMBERS)
    for clip, moves in ((0.1, 0.05), (1e9, None)):
        model = MLPRegressor(**settings, clip_norm=clip).fit(X, 100 * NUMBERS)
        moved = np.linalg.norm(parameters_of(model) - parameters_of(start))
        assert moved == pytest.approx(moves) if moves else moved > 1


def test_schedule_and_warmup_set_the_rate():
    rates = []
    MLPClassifier(
        **SMALL | {"max_iter": 6}, learning_rate_init=0.1, warmup_epochs=2,
        schedule=schedules.Step(2, 0.5),
        callbacks=[lambda progress: rates.append(progress.history.learning_rate[-1])],
    ).fit(X, Y)  # fmt: skip
    assert_allclose(rates, [0.1 / 3, 0.2 / 3, 0.1, 0.1, 0.05, 0.05])


def test_initial_weights_of_the_user():
    start = MLPClassifier(**SMALL | {"max_iter": 1}, learning_rate_init=1e-300).fit(X, Y)
    model = MLPClassifier(**SMALL).fit(X, Y)
    given = MLPClassifier(**SMALL, coefs_init=start.coefs_, intercepts_init=start.intercepts_).fit(
        X, Y
    )
    assert_same(model, given)
    other = MLPClassifier(**SMALL, coefs_init=[2 * W for W in start.coefs_]).fit(X, Y)
    assert differ(model, other)
    with pytest.raises(ValueError, match=r"coefs_init\[1\] must have shape \(6, 4\), got \(2, 2\)"):
        MLPClassifier(**SMALL, coefs_init=[start.coefs_[0], np.ones((2, 2)), start.coefs_[2]]).fit(
            X, Y
        )
    with pytest.raises(ValueError, match="intercepts_init must hold 3 arrays"):
        MLPClassifier(**SMALL, intercepts_init=[]).fit(X, Y)


def test_activations_per_layer():
    settings = {**SMALL, "max_iter": 1, "learning_rate_init": 1e-300}
    model = MLPRegressor(**settings, activation=["tanh", "square"]).fit(X, NUMBERS)
    (U, V, W), (a, b, c) = model.coefs_, model.intercepts_
    assert_allclose(model.predict(X), (((np.tanh(X @ U + a) @ V + b) ** 2) @ W + c)[:, 0])


# Validation ---------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs"])
def test_the_users_validation_rows_are_scored_and_not_trained_on(solver):
    train, held = np.arange(0, 60), np.arange(60, N)
    settings = {**SMALL, "solver": solver}
    model = MLPClassifier(**settings)
    model.fit(X[train], NAMES[train], X_val=X[held], y_val=NAMES[held])
    assert_same(model, MLPClassifier(**settings).fit(X[train], NAMES[train]))
    assert len(model.validation_loss_curve_) == model.n_iter_
    loss = -get_scorer("neg_log_loss")(model, X[held], NAMES[held])
    assert model.validation_loss_curve_[-1] == pytest.approx(loss)
    weight = np.linspace(0, 2, held.size)
    model.fit(X[train], NAMES[train], X_val=X[held], y_val=NAMES[held], sample_weight_val=weight)
    loss = -get_scorer("neg_log_loss")(model, X[held], NAMES[held], sample_weight=weight)
    assert model.validation_loss_curve_[-1] == pytest.approx(loss)


@pytest.mark.parametrize("scoring", [None, "accuracy", "f1_macro", "roc_auc_ovr", "loss", "own"])
def test_early_stopping_restores_the_best_epoch_of_any_score(scoring):
    train, held = np.arange(0, 60), np.arange(60, N)
    weights = []
    own = make_scorer(accuracy_score) if scoring == "own" else scoring
    model = MLPClassifier(
        **SMALL | {"max_iter": 80}, learning_rate_init=0.05, early_stopping=True, scoring=own,
        callbacks=[lambda progress: weights.append(progress.network.parameters.copy())],
    )  # fmt: skip
    model.fit(X[train], Y[train], X_val=X[held], y_val=Y[held])
    best = int(np.argmax(model.validation_scores_))
    assert 0 < best < len(weights) - 1
    assert_array_equal(model.network_.parameters, weights[best])
    assert model.best_validation_score_ == model.validation_scores_[best]
    if scoring == "loss":
        assert_allclose(model.validation_scores_, -np.array(model.validation_loss_curve_))
    else:
        scorer = get_scorer(scoring or "accuracy") if scoring != "own" else own
        assert model.best_validation_score_ == pytest.approx(scorer(model, X[held], Y[held]))


def test_a_scorer_takes_part_in_holding_out():
    settings = {**SMALL, "early_stopping": True, "max_iter": 12, "validation_fraction": 0.3}
    default = MLPRegressor(**settings).fit(X, NUMBERS)
    named = MLPRegressor(**settings, scoring="r2").fit(X, NUMBERS)
    assert_allclose(named.validation_scores_, default.validation_scores_)
    assert_same(named, default)
    other = MLPRegressor(**settings, scoring="neg_mean_absolute_error").fit(X, NUMBERS)
    assert max(other.validation_scores_) < 0


def test_a_scorer_gets_the_weights_of_its_rows():
    seen = []

    def scorer(estimator, rows, y, sample_weight=None):
        seen.append(sample_weight)
        return 0.5

    weight = np.linspace(1, 2, N)
    MLPClassifier(**SMALL, early_stopping=True, scoring=scorer).fit(X, Y, weight)
    assert {w.shape for w in seen} == {(9,)}
    assert set(seen[0]) <= set(weight)
    MLPClassifier(**SMALL, early_stopping=True, scoring=lambda e, rows, y: 0.5).fit(X, Y, weight)


def test_validation_rows_that_do_not_fit_are_refused():
    model = MLPClassifier(**SMALL)
    with pytest.raises(ValueError, match="X_val and y_val must be given together"):
        model.fit(X, Y, X_val=X)
    with pytest.raises(ValueError, match="in X_val, y_val: X has 2 features"):
        model.fit(X, Y, X_val=X[:, :2], y_val=Y)
    with pytest.raises(ValueError, match=r"in X_val, y_val: .*classes not in"):
        model.fit(X, Y, X_val=X, y_val=Y + 1)
    with pytest.raises(ValueError, match="in X_val, y_val: poisson takes y >= 0"):
        MLPRegressor("poisson", **SMALL).fit(X, Y, X_val=X, y_val=Y - 1)
    with pytest.raises(ValueError, match="zero"):
        model.fit(X, Y, X_val=X, y_val=Y, sample_weight_val=np.zeros(N))


# Continuing, precision, what is ignored -----------------------------------------------------


@pytest.mark.parametrize("solver", ["sgd", "adam", "rmsprop"])
@pytest.mark.parametrize(
    "extra",
    [
        {},
        {"learning_rate_init": 0.01, "schedule": "step", "warmup_epochs": 2},
        {"dropout": 0.2, "input_dropout": 0.1},
        {"batch_size": 7, "clip_norm": 0.5, "weight_decay": 0.1, "label_smoothing": 0.1},
    ],
    ids=str,
)
def test_partial_fits_are_the_epochs_of_a_fit_with_the_same_orders(solver, extra):
    settings = {**SMALL, "solver": solver, "max_iter": 5, "shuffle": False, **extra}
    whole = MLPClassifier(**settings).fit(X, Y)
    parts = MLPClassifier(**settings)
    for _ in range(5):
        parts.partial_fit(X, Y, classes=[0, 1, 2])
    assert_same(whole, parts)
    assert whole.loss_curve_ == parts.loss_curve_
    assert whole.t_ == parts.t_ == 5 * N


@pytest.mark.parametrize("solver", ["sgd", "adamw", "lbfgs"])
def test_float32_from_end_to_end(solver):
    rows = X.astype(np.float32)
    settings = {**SMALL, "solver": solver}
    if solver != "lbfgs":
        settings |= {"dropout": 0.1, "early_stopping": True}
    weight = np.ones(N, np.float32)
    model = MLPClassifier(**settings, label_smoothing=0.1).fit(rows, Y, weight)
    assert {W.dtype.name for W in [*model.coefs_, *model.intercepts_]} == {"float32"}
    for found in (model.predict_proba(rows), model.predict_log_proba(rows)):
        assert found.dtype == np.float32
    numbers = MLPRegressor(**settings).fit(rows, NUMBERS.astype(np.float32), weight)
    assert numbers.predict(rows).dtype == np.float32


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"solver": "adam", "momentum": 0.5}, "momentum=0.5 has no effect with solver='adam'"),
        ({"solver": "lbfgs", "batch_size": 10}, "batch_size=10 has no effect"),
        ({"solver": "lbfgs", "early_stopping": True}, "early_stopping=True has no effect"),
        ({"solver": "lbfgs", "dropout": [0.1, 0.1]}, "dropout=.* has no effect"),
        ({"solver": "sgd", "max_fun": 10}, "max_fun=10 has no effect"),
        ({"solver": "sgd", "rho": 0.5}, "rho=0.5 has no effect"),
        ({"solver": "adam", "learning_rate": "adaptive"}, "learning_rate='adaptive' has no effect"),
        (
            {"solver": "sgd", "learning_rate": "adaptive", "schedule": "step"},
            "no effect where schedule is given",
        ),
    ],
)
def test_a_parameter_that_the_solver_ignores_warns(settings, message):
    with pytest.warns(UserWarning, match=message):
        MLPClassifier(**SMALL, **settings).fit(X, Y)


@pytest.mark.parametrize("container", [sparse.csr_matrix, sparse.csc_array])
def test_sparse_rows_have_all_of_it(container):
    settings = {
        **SMALL, "dropout": 0.2, "input_dropout": 0.1, "label_smoothing": 0.1,
        "class_weight": "balanced", "clip_norm": 1.0, "early_stopping": True, "scoring": "f1_macro",
    }  # fmt: skip
    thin = np.where(np.abs(X) > 0.7, X, 0)
    dense = MLPClassifier(**settings).fit(thin, Y)
    found = MLPClassifier(**settings).fit(container(thin), Y)
    assert_close(found, dense)
    assert found.validation_scores_ == dense.validation_scores_
    held = MLPClassifier(**SMALL).fit(container(thin), Y, X_val=container(thin[:20]), y_val=Y[:20])
    by_hand = MLPClassifier(**SMALL).fit(thin, Y, X_val=thin[:20], y_val=Y[:20])
    assert_allclose(held.validation_loss_curve_, by_hand.validation_loss_curve_)


@pytest.mark.parametrize("kind", ["multilabel", "multioutput"])
def test_many_columns_survive_a_pickle_and_a_warm_start(kind):
    target = np.column_stack([Y > 0 if kind == "multilabel" else NAMES, X[:, 0] > 0])
    target = target.astype(int) if kind == "multilabel" else target
    model = MLPClassifier(**SMALL, warm_start=True).fit(X, target)
    twin = pickle.loads(pickle.dumps(model))
    assert_array_equal(twin.predict(X), model.predict(X))
    assert_same(twin.fit(X, target), model.fit(X, target))
    with pytest.raises(ValueError, match=r"has the same classes|columns"):
        model.fit(X, np.column_stack([target, target[:, :1]]) if kind == "multioutput" else Y)


def test_a_sparse_indicator_is_a_dense_one():
    labels = np.column_stack([Y > 0, X[:, 0] > 0, X[:, 1] > 0]).astype(int)
    thin = MLPClassifier(**SMALL, early_stopping=True).fit(X, sparse.csr_matrix(labels))
    dense = MLPClassifier(**SMALL, early_stopping=True).fit(X, labels)
    assert_same(thin, dense)
    assert sparse.issparse(thin.predict(X))
    assert_array_equal(thin.predict(X).toarray(), dense.predict(X))


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize(
    "options", [{}, {"solver": "sgd", "batch_size": 1}, {"solver": "lbfgs"}, {"shuffle": False}]
)
def test_a_byte_is_as_good_as_a_number(options, classes, monkeypatch):
    X, y = make_classification(
        90, 5, n_informative=4, n_redundant=0, n_classes=classes, random_state=0
    )
    settings = {"max_iter": 4, "tol": 0, "random_state": 0} | options
    model = MLPClassifier(7, **settings).fit(X, y)
    monkeypatch.setattr(MLPClassifier, "_numbers", lambda self, y: None)
    other = MLPClassifier(7, **settings).fit(X, y)
    for W, V in zip(model.coefs_, other.coefs_, strict=True):
        assert_array_equal(W, V)
    assert model.loss_ == other.loss_
