"""Mini-batches and optimisers of the SGD estimators."""

import itertools
import pickle

import numpy as np
import pytest
import reference
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from scipy.special import expit, softmax
from sklearn.base import clone
from sklearn.linear_model import PoissonRegressor, QuantileRegressor
from sklearn.metrics import mean_pinball_loss

from fastnn import LogisticRegression, SGDClassifier, SGDRegressor
from fastnn.estimators import sgd_training
from fastnn.kernels import linear_losses, losses, optimizers

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

N, D = 40, 4
RNG = np.random.RandomState(0)
X = RNG.normal(size=(N, D))
X[RNG.uniform(size=X.shape) < 0.3] = 0
SCORES = X @ RNG.normal(size=(D, 3)) + RNG.normal(size=(N, 3)) / 2
KINDS = SCORES.argmax(axis=1)
NAMES = np.array(["ant", "bee", "cat"])[KINDS]
BINARY = (SCORES[:, 0] > 0).astype(int)
NUMBERS = SCORES[:, 0]
COUNTS = RNG.poisson(np.exp(SCORES[:, 0] / 2)).astype(float)
WEIGHT = RNG.randint(0, 4, N).astype(float)
OPTIMIZERS = list(optimizers.TABLE)
#: Steps whose numbers can be written down: one rate, in order, so many epochs.
PLAIN = {
    "learning_rate": "constant", "eta0": 0.05, "shuffle": False, "tol": None, "max_iter": 5,
}  # fmt: skip
PROBLEMS = {
    "binary": (SGDClassifier, BINARY, {"loss": "log_loss"}),
    "each against the rest": (SGDClassifier, NAMES, {"loss": "modified_huber"}),
    "together": (SGDClassifier, NAMES, {"loss": "log_loss", "multi_class": "multinomial"}),
    "numbers": (SGDRegressor, NUMBERS, {"loss": "huber", "epsilon": 0.5}),
}
every_problem = pytest.mark.parametrize("problem", PROBLEMS)
every_optimizer = pytest.mark.parametrize("optimizer", OPTIMIZERS)


def fit(problem, rows=slice(None), weight=None, layout=np.asarray, given=None, **parameters):
    estimator, y, own = PROBLEMS[problem]
    model = estimator(**{**own, **PLAIN, **parameters})
    return model.fit(layout(X[rows]), y[rows], sample_weight=weight, **(given or {}))


def numbers_of(model):
    return np.concatenate([model.coef_.ravel(), model.intercept_])


def assert_same(a, b, rtol=1e-9, atol=1e-12):
    assert_allclose(numbers_of(a), numbers_of(b), rtol=rtol, atol=atol)


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


# Where they lead ----------------------------------------------------------------------------

SLOW = {"max_iter": 4000, "tol": None, "batch_size": None, "learning_rate": "constant"}


@pytest.mark.parametrize(
    ("optimizer", "learning_rate", "eta0"),
    [
        ("sgd", "constant", 0.5), ("momentum", "constant", 0.1), ("nesterov", "constant", 0.1),
        ("adagrad", "constant", 0.5), ("adam", "invscaling", 0.1),
    ],
)  # fmt: skip
@pytest.mark.parametrize("penalty", ["l2", "l1"])
@pytest.mark.parametrize("problem", ["binary", "together"])
def test_the_optimum_of_logistic_regression(problem, penalty, optimizer, learning_rate, eta0):
    """The very zeros of an L1 penalty, too.  (The steps of "rmsprop" are as long as its rate.)"""
    _, y, _ = PROBLEMS[problem]
    alpha = 0.05 if problem == "together" else 0.1
    best = LogisticRegression(
        C=1 / (alpha * N), l1_ratio=float(penalty == "l1"), solver="saga", tol=1e-12,
        max_iter=20000, random_state=0,
    ).fit(X, y)  # fmt: skip
    model = fit(
        problem, **{**SLOW, "eta0": eta0, "learning_rate": learning_rate}, optimizer=optimizer,
        penalty=penalty, alpha=alpha,
    )  # fmt: skip
    if penalty == "l1":
        assert_array_equal(model.coef_ == 0, best.coef_ == 0)
        assert (best.coef_ == 0).any()
        assert_allclose(model.coef_, best.coef_, atol=1e-5)
    elif problem == "binary":
        assert_same(model, best, atol=1e-6)
    else:  # the softmax does not know what is added to all intercepts
        assert_allclose(model.coef_, best.coef_, atol=1e-6)


def test_poisson_regression():
    best = PoissonRegressor(alpha=0.1, tol=1e-10, max_iter=1000).fit(X, COUNTS, WEIGHT)
    model = SGDRegressor("poisson", alpha=0.1, optimizer="nesterov", eta0=0.02, **SLOW)
    model.fit(X, COUNTS, sample_weight=WEIGHT)
    assert_allclose(model.coef_, best.coef_, atol=1e-6)
    assert_allclose(model.predict(X), best.predict(X), rtol=1e-5)
    assert model.predict_one(X[0]) == pytest.approx(best.predict(X[:1])[0], rel=1e-5)
    assert model.score(X, COUNTS) > 0.1
    assert_allclose(model.network_.forward(X)[:, 0], model.predict(X), rtol=1e-12)
    exact = SGDRegressor("poisson", alpha=0.1, random_state=0).fit(X, COUNTS)
    assert exact.score(X, COUNTS) > 0.1
    held = SGDRegressor("poisson", alpha=0.1, early_stopping=True, random_state=0, max_iter=3)
    held.fit(X, COUNTS, X_val=X, y_val=COUNTS)
    assert held.best_validation_score_ == pytest.approx(held.score(X, COUNTS))
    with pytest.raises(ValueError, match=r"loss='poisson' takes targets of 0 or more, y holds -"):
        model.fit(X, NUMBERS)
    with pytest.raises(ValueError, match="y_val holds -1"):
        model.fit(X, COUNTS, X_val=X[:1], y_val=[-1.0])


@pytest.mark.parametrize("quantile", [None, 0.9])
def test_quantile_regression(quantile):
    q = 0.5 if quantile is None else quantile
    best = QuantileRegressor(quantile=q, alpha=0).fit(X, NUMBERS)
    least = mean_pinball_loss(NUMBERS, best.predict(X), alpha=q)
    settings = {**SLOW, "learning_rate": "invscaling", "eta0": 0.1, "penalty": None}
    model = SGDRegressor("quantile", loss_parameter=quantile, optimizer="adam", **settings)
    model.fit(X, NUMBERS)
    assert least <= mean_pinball_loss(NUMBERS, model.predict(X), alpha=q) < 1.02 * least
    if quantile is None:
        median = SGDRegressor("absolute_error", optimizer="adam", **settings).fit(X, NUMBERS)
        assert_allclose(median.predict(X), model.predict(X), atol=0.05)
    assert_allclose(model.network_.forward(X)[:, 0], model.predict(X), rtol=1e-12)


@every_optimizer
def test_default_rates_learn(optimizer):
    model = SGDClassifier(optimizer=optimizer, batch_size=8, random_state=0).fit(X, NAMES)
    assert model.score(X, NAMES) > 0.75
    eta0 = 0.3 if optimizer == "adagrad" else 0.01  # whose steps become ever smaller
    model = SGDRegressor(optimizer=optimizer, batch_size=8, eta0=eta0, random_state=0)
    assert model.fit(X, NUMBERS).score(X, NUMBERS) > 0.75


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


# The tables ---------------------------------------------------------------------------------


def test_every_loss_and_optimizer_is_within_reach():
    """Of the tables, some estimator trains every loss, and every class takes every optimiser."""
    from fastnn import MLPClassifier, MLPRegressor

    small = {"hidden_layer_sizes": (2,), "max_iter": 1, "random_state": 0}
    networks = {MLPRegressor(**small, loss=loss).fit(X, COUNTS.clip(0, 1)).network_.loss_name
                for loss in set(losses.TABLE) - {"cross_entropy"}}  # fmt: skip
    networks |= {MLPClassifier(**small).fit(X, NAMES).network_.loss_name}
    assert networks == set(losses.TABLE)
    linear = set(SGDClassifier.loss_functions) | set(SGDRegressor.loss_functions)
    assert linear == set(linear_losses.TABLE)
    # The losses of networks are those of linear models too; cross-entropy is their softmax.
    assert set(losses.TABLE) - {"cross_entropy"} <= linear
    joint = SGDClassifier("log_loss", multi_class="multinomial").fit(X, NAMES)
    assert joint.network_.loss_name == "cross_entropy"
    for optimizer in optimizers.TABLE:
        models = [
            SGDClassifier(optimizer=optimizer, max_iter=1).fit(X, NAMES),
            SGDRegressor(optimizer=optimizer, max_iter=1).fit(X, NUMBERS),
            MLPClassifier(**small, solver=optimizer).fit(X, NAMES),
            MLPRegressor(**small, solver=optimizer).fit(X, NUMBERS),
        ]
        assert all(model.n_iter_ == 1 for model in models)
