"""Small problems of the SGD estimators, and the fits of them that tests compare."""

import numpy as np
from numpy.testing import assert_allclose

from fastnn import SGDClassifier, SGDRegressor

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


def fit(problem, rows=slice(None), weight=None, layout=np.asarray, given=None, **parameters):
    estimator, y, own = PROBLEMS[problem]
    model = estimator(**{**own, **PLAIN, **parameters})
    return model.fit(layout(X[rows]), y[rows], sample_weight=weight, **(given or {}))


def numbers_of(model):
    return np.concatenate([model.coef_.ravel(), model.intercept_])


def assert_same(a, b, rtol=1e-9, atol=1e-12):
    assert_allclose(numbers_of(a), numbers_of(b), rtol=rtol, atol=atol)
