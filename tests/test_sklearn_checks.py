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
    LogisticRegression(solver="saga", tol=1e-10, max_iter=2000),
    LogisticRegression(solver="gd"),
    MLPClassifier(max_iter=100),
    MLPClassifier(max_iter=100, solver="lbfgs"),
    MLPRegressor(max_iter=100),
    MLPRegressor(max_iter=100, solver="lbfgs"),
    SGDClassifier(),
    SGDRegressor(),
]


def expected_failures(estimator):
    """Return what scikit-learn's own class fails too: a repeated row makes two steps.

    And SAGA trains the intercept of sparse rows 100 times more slowly, which takes more epochs
    than are reasonable to come to the 7 digits of the check.
    """
    if isinstance(estimator, LogisticRegression) and estimator.solver == "saga":
        return {"check_sample_weight_equivalence_on_sparse_data": "the intercept is not there yet"}
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
