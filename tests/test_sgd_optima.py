"""Where mini-batches of the SGD estimators lead, and that no loss or optimiser is out of reach."""

import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sgd_problems import COUNTS, NAMES, NUMBERS, PROBLEMS, WEIGHT, N, X, assert_same, fit
from sklearn.linear_model import PoissonRegressor, QuantileRegressor
from sklearn.metrics import mean_pinball_loss

from fastnn import LogisticRegression, MLPClassifier, MLPRegressor, SGDClassifier, SGDRegressor
from fastnn.kernels import linear_losses, losses, optimizers

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

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


@pytest.mark.parametrize("optimizer", optimizers.TABLE)
def test_default_rates_learn(optimizer):
    model = SGDClassifier(optimizer=optimizer, batch_size=8, random_state=0).fit(X, NAMES)
    assert model.score(X, NAMES) > 0.75
    eta0 = 0.3 if optimizer == "adagrad" else 0.01  # whose steps become ever smaller
    model = SGDRegressor(optimizer=optimizer, batch_size=8, eta0=eta0, random_state=0)
    assert model.fit(X, NUMBERS).score(X, NUMBERS) > 0.75


# The tables ---------------------------------------------------------------------------------


def test_every_loss_and_optimizer_is_within_reach():
    """Of the tables, some estimator trains every loss, and every class takes every optimiser."""
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
