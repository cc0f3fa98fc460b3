"""scikit-learn's own checks of an estimator."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from fastnn import (
    LogisticRegression,
    MLPClassifier,
    MLPRegressor,
    SGDClassifier,
    SGDRegressor,
)

ESTIMATORS = [
    LogisticRegression(),
    # On sparse rows SAGA trains the intercept 100 times more slowly, as scikit-learn's does, which
    # no number of epochs makes up for to the 7 digits that a check asks for.
    LogisticRegression(solver="saga", fit_intercept=False, tol=1e-12, max_iter=5000),
    LogisticRegression(solver="gd"),
    MLPClassifier(max_iter=100),
    MLPClassifier(max_iter=100, solver="lbfgs"),
    MLPRegressor(max_iter=100),
    MLPRegressor(max_iter=100, solver="lbfgs"),
    SGDClassifier(),
    SGDRegressor(),
]


def expected_failures(estimator):
    """Return what scikit-learn expects of its own SGD too: a repeated row makes two steps."""
    if not isinstance(estimator, SGDClassifier | SGDRegressor):
        return {}
    return {
        f"check_sample_weight_equivalence_on_{kind}_data": "two steps are not one twice as long"
        for kind in ("dense", "sparse")
    }


CHECKS = parametrize_with_checks(ESTIMATORS, expected_failed_checks=expected_failures).mark


# scikit-learn 1.7 gives a generator, which pytest no longer takes.
@pytest.mark.parametrize(CHECKS.args[0], list(CHECKS.args[1]), **CHECKS.kwargs)
@pytest.mark.filterwarnings("ignore")  # the checks see to warnings themselves
def test_estimator_check(estimator, check):
    check(estimator)
