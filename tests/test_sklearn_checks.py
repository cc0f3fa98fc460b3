"""scikit-learn's own checks of an estimator, with no expected failures."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from fastnn import MLPClassifier, MLPRegressor, SGDClassifier, SGDRegressor

ESTIMATORS = [
    MLPClassifier(max_iter=100),
    MLPClassifier(max_iter=100, solver="lbfgs"),
    MLPRegressor(max_iter=100),
    MLPRegressor(max_iter=100, solver="lbfgs"),
    SGDClassifier(),
    SGDRegressor(),
]


@pytest.mark.filterwarnings("ignore")  # the checks see to warnings themselves
@parametrize_with_checks(ESTIMATORS)
def test_estimator_check(estimator, check):
    check(estimator)
