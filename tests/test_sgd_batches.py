"""Mini-batches and optimisers of the SGD estimators."""

import itertools
import pickle

import numpy as np
import pytest
import reference
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from scipy.special import expit, softmax
from sgd_problems import (
    BINARY,
    COUNTS,
    KINDS,
    NAMES,
    NUMBERS,
    PLAIN,
    PROBLEMS,
    WEIGHT,
    D,
    N,
    X,
    assert_same,
    fit,
    numbers_of,
)
from sklearn.base import clone

from fastnn import LogisticRegression, SGDClassifier, SGDRegressor, schedules
from fastnn.estimators import sgd_training
from fastnn.kernels import linear_losses, optimizers

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

every_problem = pytest.mark.parametrize("problem", PROBLEMS)
every_optimizer = pytest.mark.parametrize("optimizer", optimizers.TABLE)


# The steps ----------------------------------------------------------------------------------


def plain(
    slopes, k, weight, size, epochs, optimizer, l2=0.0, l1=0.0, decay=0.0, clip=np.inf, rate=0.05,
    average=0, **options,
):  # fmt: skip
    """Train by the definition; ``slopes(rows, z)`` are dJ/dz, (rows, k)."""
    W, b, memory, t = np.zeros((k, D)), np.zeros(k), {}, 0
    kept = np.flatnonzero(weight)
    share = 1 if size == 1 else weight[kept].mean()
    means = []
    for _ in range(epochs):
        for start in range(0, kept.size, size):
            t += 1
            rows = kept[start : start + size]
            delta = weight[rows, None] * slopes(rows, X[rows] @ W.T + b) / (share * rows.size)
            g = np.concatenate([(delta.T @ X[rows]).ravel(), delta.sum(axis=0)])
            g *= min(1, clip / np.linalg.norm(g))
            w = np.concatenate([W.ravel(), b])
            g[: k * D] += l2 * w[: k * D]
            held = g - np.clip(g, -l1, l1)
            side = np.where(w != 0, np.sign(w), -np.sign(held))
            if l1:
                g[: k * D] = np.where(w != 0, g + l1 * np.sign(w), held)[: k * D]
            w[: k * D] *= 1 - rate * decay
            reference.OPTIMIZERS[optimizer](w, g, memory, t, rate, **options)
            if l1:
                w[: k * D][(w * side)[: k * D] <= 0] = 0
            W, b = w[: k * D].reshape(k, D), w[k * D :]
            if average and t >= average:
                means.append(w)
    return np.mean(means, axis=0) if average else np.concatenate([W.ravel(), b])


def binary_slopes(rows, z):
    return expit(z) - BINARY[rows, None]


def joint_slopes(rows, z):
    return softmax(z, axis=1) - np.eye(3)[KINDS[rows]]


def huber_slopes(rows, z):
    return np.clip(z - NUMBERS[rows, None], -0.5, 0.5)


SLOPES = {
    "binary": (binary_slopes, 1), "together": (joint_slopes, 3), "numbers": (huber_slopes, 1),
}  # fmt: skip


@pytest.mark.kernel
@pytest.mark.parametrize("layout", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("size", [1, 7, None])
@every_optimizer
def test_steps_by_the_definition(optimizer, size, layout):
    """Weights of rows, every penalty, and an average of the steps from the third on."""
    if (optimizer, size) == ("sgd", 1):
        size = 2  # exact per-sample SGD has tests of its own
    for problem, (slopes, k) in SLOPES.items():
        for penalty, l2, l1 in (("l2", 0.02, 0), ("elasticnet", 0.016, 0.004), (None, 0, 0)):
            average = 3 if penalty is None else False
            model = fit(
                problem, weight=WEIGHT, layout=layout, optimizer=optimizer, batch_size=size,
                penalty=penalty, alpha=0.02, l1_ratio=0.2, average=average,
            )  # fmt: skip
            expected = plain(
                slopes, k, WEIGHT, size or N, 5, optimizer, l2, l1, average=average,
                decay=optimizers.TABLE[optimizer].weight_decay,
            )  # fmt: skip
            assert_allclose(numbers_of(model), expected, rtol=1e-9, atol=1e-12)
            present = int((WEIGHT > 0).sum())
            assert model.t_ == 1 + 5 * -(-present // (size or N))


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"optimizer": "momentum", "momentum": 0.5}, {"momentum": 0.5}),
        ({"optimizer": "nesterov", "momentum": 0.5}, {"momentum": 0.5}),
        ({"optimizer": "adam", "beta_1": 0.5, "beta_2": 0.8}, {"beta_1": 0.5, "beta_2": 0.8}),
        ({"optimizer": "adam", "optimizer_epsilon": 0.1}, {"epsilon": 0.1}),
        ({"optimizer": "rmsprop", "rho": 0.5}, {"rho": 0.5}),
        ({"optimizer": "adagrad", "optimizer_epsilon": 0.1}, {"epsilon": 0.1}),
        ({"optimizer": "adamw", "weight_decay": 0.3}, {"decay": 0.3}),
        ({"optimizer": "sgd", "weight_decay": 0.3}, {"decay": 0.3}),
        ({"optimizer": "momentum", "clip_norm": 0.05}, {"clip": 0.05}),
    ],
    ids=str,
)
def test_each_parameter_has_its_effect(parameters, expected):
    default = fit("together", batch_size=9, penalty=None, optimizer=parameters["optimizer"])
    model = fit("together", batch_size=9, penalty=None, **parameters)
    own = {"optimizer": parameters["optimizer"], **expected}
    assert_allclose(
        numbers_of(model), plain(joint_slopes, 3, np.ones(N), 9, 5, **own), rtol=1e-9, atol=1e-12
    )
    assert np.abs(numbers_of(model) - numbers_of(default)).max() > 1e-4


@pytest.mark.parametrize("learning_rate", ["optimal", "constant", "invscaling"])
@pytest.mark.parametrize("loss", linear_losses.TABLE)
def test_batches_of_one_are_the_exact_steps(loss, learning_rate):
    """Without momentum, "momentum" makes the steps of exact per-sample SGD."""
    regression = linear_losses.TABLE[loss].labels is None
    estimator, y = (SGDRegressor, COUNTS) if regression else (SGDClassifier, NAMES)
    for penalty, weight in itertools.product(("l2", None), (None, WEIGHT + 1)):
        settings = {
            **PLAIN, "loss": loss, "learning_rate": learning_rate, "penalty": penalty,
            "alpha": 0.3, "max_iter": 4, "warmup_epochs": 1,
        }  # fmt: skip
        exact = estimator(**settings).fit(X / 4, y, sample_weight=weight)
        if learning_rate == "optimal":  # which is plain SGD's
            other = estimator(**settings, weight_decay=1e-300)
        else:
            other = estimator(**settings, optimizer="momentum", momentum=0.0)
        other.fit(X / 4, y, sample_weight=weight)
        assert_same(other, exact, 1e-8, 1e-10)
        assert other.t_ == exact.t_


def test_adaptive_rate():
    rates = []
    fit(
        "binary", optimizer="momentum", batch_size=8, learning_rate="adaptive", tol=0.01,
        n_iter_no_change=2, max_iter=200,
        callbacks=[lambda p: rates.append(p.history.learning_rate[-1])],
    )  # fmt: skip
    found = np.array(sorted(set(rates), reverse=True))
    assert_allclose(found, 0.05 / 5.0 ** np.arange(found.size))
    assert found.size > 3


@pytest.mark.parametrize("steps", [{}, {"optimizer": "adam", "batch_size": 8}], ids=str)
@pytest.mark.parametrize("schedule", ["invscaling", "step", "cosine", schedules.Cosine(0.2)])
@every_problem
def test_a_schedule_sets_the_rate_of_each_epoch(problem, schedule, steps):
    """After a warm-up, whose steps rise to the first."""
    rates = []
    settings = {"schedule": schedule, "warmup_epochs": 2, "max_iter": 14, **steps}
    watch = [lambda p: rates.append(p.history.learning_rate[-1])]
    model = fit(problem, **settings, callbacks=watch)
    after = [schedules.as_schedule(schedule).rate(0.05, epoch, 12) for epoch in range(12)]
    assert_allclose(rates[:14], [0.025, 0.05, *after])
    constant = fit(problem, **{**settings, "schedule": "constant"})
    assert np.abs(numbers_of(model) - numbers_of(constant)).max() > 1e-3
    assert_same(constant, fit(problem, **{**settings, "schedule": None}))


@pytest.mark.parametrize("steps", [{}, {"optimizer": "momentum", "batch_size": 8}], ids=str)
def test_an_adaptive_schedule_ends_training(steps):
    rates = []
    model = fit(
        "binary", schedule=schedules.Adaptive(factor=0.5, patience=3, minimum=0.01), tol=0.01,
        max_iter=500, callbacks=[lambda p: rates.append(p.history.learning_rate[-1])], **steps,
    )  # fmt: skip
    assert_allclose(sorted(set(rates), reverse=True), [0.05, 0.025, 0.0125])
    assert rates.count(0.0125) == rates.count(0.025) == 3
    assert model.n_iter_ < 500


def test_a_schedule_is_of_fit_alone():
    with pytest.raises(ValueError, match="schedule counts the epochs of fit; partial_fit and"):
        SGDRegressor(schedule="cosine").partial_fit(X, NUMBERS)
    model = SGDClassifier(schedule="cosine").fit(X, NAMES)
    with pytest.raises(ValueError, match="Got schedule='cosine'"):
        model.partial_fit(X, NAMES)
    with pytest.raises(ValueError, match="Got schedule='cosine'"):
        model.learn_one(X[0], NAMES[0])
    with pytest.warns(UserWarning, match="learning_rate='invscaling' has no effect with schedule"):
        SGDClassifier(schedule="cosine", learning_rate="invscaling").fit(X, NAMES)
    with pytest.raises(ValueError, match="The 'schedule' parameter of SGDRegressor must be"):
        SGDRegressor(schedule="sine").fit(X, NUMBERS)


@pytest.mark.kernel
@pytest.mark.parametrize("loss", sorted(linear_losses.TABLE))
def test_sums_of_many_rows(loss):
    """One step on 600 rows, whose gradients are added up in parts, in calls of 50 rows."""
    rng = np.random.RandomState(1)
    many = rng.normal(size=(600, D))
    y = rng.poisson(2, 600).astype(float)
    settings = {**PLAIN, "loss": loss, "penalty": None, "max_iter": 1, "batch_size": None}
    estimator, targets = SGDRegressor, y
    if not linear_losses.TABLE[loss].regression:
        estimator, targets = SGDClassifier, y > 1
    whole = estimator(**settings).fit(many, targets)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sgd_training, "_slice_rows", lambda rows, k: 50)
        cut = estimator(**settings).fit(many, targets)
    assert_same(cut, whole, 1e-13, 1e-15)
    ones = [estimator(**settings).fit(many[i::2], targets[i::2]) for i in range(2)]
    assert_allclose(
        numbers_of(whole), (numbers_of(ones[0]) + numbers_of(ones[1])) / 2, rtol=1e-10, atol=1e-14
    )
    assert np.abs(numbers_of(whole)).max() > 1e-4


@every_problem
def test_float32_stays_float32(problem):
    single = fit(
        problem, layout=lambda X: X.astype("f4"), optimizer="adam", batch_size=8, average=True
    )
    assert single.coef_.dtype == single.intercept_.dtype == np.float32
    assert_same(single, fit(problem, optimizer="adam", batch_size=8, average=True), 1e-3, 1e-4)


# Weights ------------------------------------------------------------------------------------


@every_optimizer
@every_problem
def test_weight_two_is_the_row_twice(problem, optimizer):
    """In batches of all rows; their order does not matter, nor how many there are."""
    twice = np.random.RandomState(1).permutation(np.repeat(np.arange(N), WEIGHT.astype(int)))
    settings = {"optimizer": optimizer, "max_iter": 30, "shuffle": True, "random_state": 0}
    for size in (None, twice.size):
        weighted = fit(problem, weight=WEIGHT, batch_size=size, **settings)
        repeated = fit(problem, twice, batch_size=size, **settings)
        assert_same(weighted, repeated, 1e-8, 1e-10)
        assert_allclose(weighted.loss_curve_, repeated.loss_curve_, rtol=1e-8)
    assert_same(fit(problem, weight=5 * WEIGHT, batch_size=None, **settings), weighted, 1e-8, 1e-10)


@every_problem
def test_weight_zero_is_the_row_absent(problem):
    settings = {"optimizer": "nesterov", "batch_size": 6, "shuffle": True, "random_state": 5}
    present = np.flatnonzero(WEIGHT)
    weighted = fit(problem, weight=WEIGHT, **settings)
    without = fit(problem, present, WEIGHT[present], **settings)
    assert_array_equal(numbers_of(weighted), numbers_of(without))
    assert weighted.t_ == without.t_


@pytest.mark.parametrize("problem", ["binary", "together"])
@pytest.mark.parametrize("size", [1, 8, None])
def test_class_weight_is_the_sample_weight_of_its_rows(problem, size):
    _, y, _ = PROBLEMS[problem]
    first = y[0]
    settings = {"optimizer": "momentum", "batch_size": size}
    by_class = fit(problem, weight=WEIGHT, class_weight={first: 3.0}, **settings)
    if size == 1 or size is None:
        by_row = fit(problem, weight=WEIGHT * np.where(y == first, 3.0, 1.0), **settings)
        assert_same(by_class, by_row)
    assert np.abs(numbers_of(by_class) - numbers_of(fit(problem, weight=WEIGHT, **settings))).max()
    balanced = fit(problem, weight=WEIGHT, class_weight="balanced", **settings)
    assert np.isfinite(numbers_of(balanced)).all()


@pytest.mark.parametrize("solver", ["lbfgs", "saga", "gd"])
@pytest.mark.parametrize("layout", [np.asarray, sparse.csr_array])
def test_logistic_regression_takes_a_weight_of_two_for_a_row_twice(solver, layout):
    twice = np.repeat(np.arange(N), WEIGHT.astype(int))
    settings = {"solver": solver, "tol": 1e-10, "max_iter": 5000, "random_state": 0}
    weighted = LogisticRegression(**settings).fit(layout(X), NAMES, WEIGHT)
    repeated = LogisticRegression(**settings).fit(layout(X[twice]), NAMES[twice])
    assert_same(weighted, repeated, 1e-6, 1e-7)


# Going on -----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 7, None])
@every_optimizer
@every_problem
def test_partial_fit_is_fit_to_the_bit(problem, optimizer, size):
    """n calls are ``fit(max_iter=n)``: velocities, moments and the number of steps are kept."""
    estimator, y, own = PROBLEMS[problem]
    settings = {"optimizer": optimizer, "batch_size": size, "average": 3}
    if optimizer == "sgd" and size == 1:
        settings["optimizer"] = "rmsprop"
    whole = fit(problem, **settings)
    model = estimator(**{**own, **PLAIN, **settings})
    classes = {} if problem == "numbers" else {"classes": np.unique(y)}
    for n in range(5):
        if n == 3:
            model = pickle.loads(pickle.dumps(model))
        model.partial_fit(X, y, **classes)
    assert_array_equal(numbers_of(model), numbers_of(whole))
    assert model.t_ == whole.t_


def test_another_optimizer_begins_anew():
    model = fit("binary", optimizer="adam")
    model.set_params(optimizer="momentum").partial_fit(X, BINARY)
    again = fit("binary", optimizer="momentum", max_iter=1, given={
        "coef_init": fit("binary", optimizer="adam").coef_,
        "intercept_init": fit("binary", optimizer="adam").intercept_,
    })  # fmt: skip
    assert_same(model, again)


@every_problem
def test_warm_start_and_clone(problem):
    """A warm start keeps the weights; the optimiser begins anew."""
    settings = {"optimizer": "momentum", "batch_size": 8}
    model = fit(problem, warm_start=True, **settings)
    start = {"coef_init": model.coef_.copy(), "intercept_init": model.intercept_.copy()}
    _, y, _ = PROBLEMS[problem]
    model.fit(X, y)
    assert_same(model, fit(problem, given=start, **settings))
    assert_array_equal(numbers_of(clone(model).fit(X, y)), numbers_of(fit(problem, **settings)))


@every_problem
def test_learn_one_is_partial_fit(problem):
    _, y, _ = PROBLEMS[problem]
    settings = {"optimizer": "adam", "batch_size": 4}
    one, many = (fit(problem, **settings) for _ in range(2))
    for i in range(5):
        one.learn_one(X[i], y[i])
        many.partial_fit(X[i : i + 1], y[i : i + 1])
    assert_array_equal(numbers_of(one), numbers_of(many))
    assert one.t_ == many.t_


def test_threads_train_classes_to_the_same_bits():
    settings = {"optimizer": "adam", "batch_size": 4, "shuffle": True, "random_state": 0}
    one, two = (fit("each against the rest", n_jobs=n, **settings) for n in (None, 2))
    assert_array_equal(numbers_of(one), numbers_of(two))


@every_problem
def test_early_stopping_restores_the_best(problem):
    _, y, _ = PROBLEMS[problem]
    own = {"X_val": X[::2], "y_val": y[::2]}
    settings = {"optimizer": "nesterov", "batch_size": 8, "eta0": 0.5}
    model = fit(
        problem, given=own, early_stopping=True, scoring="loss", max_iter=30, tol=0.0, **settings
    )
    if problem == "each against the rest":
        assert len(model.validation_scores_) == 3
        return
    best = 1 + int(np.argmin(model.validation_loss_curve_))
    assert_array_equal(numbers_of(model), numbers_of(fit(problem, max_iter=best, **settings)))


def test_early_stopping_holds_rows_out():
    model = fit(
        "binary", optimizer="adam", batch_size=None, early_stopping=True, random_state=0,
        validation_fraction=0.25, tol=1e-3,
    )  # fmt: skip
    assert len(model.validation_scores_) == model.n_iter_
    assert np.abs(numbers_of(model) - numbers_of(fit("binary", optimizer="adam"))).max() > 1e-3


def test_callbacks_see_the_weights(capsys):
    seen = []
    model = fit(
        "together", optimizer="adam", batch_size=8, callbacks=[lambda p: seen.append(p.coef_)],
        verbose=2,
    )  # fmt: skip
    assert len(seen) == 5
    assert_array_equal(seen[-1], model.coef_)
    assert "T: 25, Avg. loss" in capsys.readouterr().out


def test_label_smoothing():
    """Of two classes, and of three together: the targets are what changes."""
    settings = {"optimizer": "adam", "batch_size": 6, "penalty": None, "label_smoothing": 0.3}

    def together(rows, z):
        return softmax(z, axis=1) - (0.7 * np.eye(3)[KINDS[rows]] + 0.1)

    def apart(rows, z):
        return expit(z) - (0.7 * BINARY[rows, None] + 0.15)

    for problem, slopes, k in (("together", together, 3), ("binary", apart, 1)):
        expected = plain(slopes, k, np.ones(N), 6, 5, "adam")
        assert_allclose(numbers_of(fit(problem, **settings)), expected, rtol=1e-9, atol=1e-12)


def test_strong_smoothing_keeps_class_weights():
    """A smoothed target of the class is still above that of the rest."""
    settings = {"loss": "log_loss", "class_weight": {"ant": 5.0}, "label_smoothing": 0.8}
    weighted = SGDClassifier(**PLAIN, **settings).fit(X, NAMES)
    by_row = SGDClassifier(**PLAIN, **{**settings, "class_weight": None})
    by_row.fit(X, NAMES, sample_weight=np.where(NAMES == "ant", 5.0, 1.0))
    assert_allclose(weighted.coef_[0], by_row.coef_[0], rtol=1e-9)


# Bad input ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"momentum": 0.5}, "momentum=0.5 has no effect with optimizer='sgd'; it is read by mom"),
        ({"optimizer": "adam", "rho": 0.5}, "rho=0.5 has no effect with optimizer='adam'"),
        ({"optimizer": "rmsprop", "beta_1": 0.5}, "beta_1=0.5 .* read by adam, adamw"),
        ({"optimizer_epsilon": 0.5}, "optimizer_epsilon=0.5 has no effect with optimizer='sgd'"),
        ({"loss_parameter": 0.5}, "loss_parameter=0.5 has no effect with loss='squared_error'"),
    ],
    ids=str,
)
def test_what_is_not_read_warns(parameters, message):
    with pytest.warns(UserWarning, match=message):
        SGDRegressor(**parameters).fit(X, NUMBERS)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"optimizer": "lion"}, "The 'optimizer' parameter of SGDRegressor must be a str among"),
        ({"batch_size": 0}, "The 'batch_size' parameter"),
        ({"batch_size": 2.5}, "The 'batch_size' parameter"),
        ({"momentum": 1.0}, "The 'momentum' parameter"),
        ({"weight_decay": -1}, "The 'weight_decay' parameter"),
        ({"loss": "quantile", "loss_parameter": 1.5}, "loss_parameter must be between 0 and 1"),
        (
            {"learning_rate": "pa1", "loss": "epsilon_insensitive", "batch_size": 8},
            "learning_rate='pa1' takes exact steps of one row.*batch_size=8",
        ),
    ],
    ids=str,
)
def test_bad_parameters_are_named(parameters, message):
    with pytest.raises(ValueError, match=message):
        SGDRegressor(**parameters).fit(X, NUMBERS)


def test_no_weight_is_left():
    settings = {"optimizer": "adam", "class_weight": {0: 0.0, 1: 0.0}}
    with pytest.raises(ValueError, match="the weight of every row is zero"):
        SGDClassifier(**settings).fit(X, BINARY)


def test_optimal_rate_needs_alpha_only_where_it_is_read():
    SGDClassifier(optimizer="adam", alpha=0.0).fit(X, BINARY)
    with pytest.raises(ValueError, match="alpha must be > 0"):
        SGDClassifier(batch_size=8, alpha=0.0).fit(X, BINARY)
