"""Estimators beside scikit-learn's of the same name, with the same parameters on the same rows."""

import functools
import warnings

import numpy as np
import scipy.sparse

from benchmarks import measure
from benchmarks.problems import available, classes, error_rate
from benchmarks.tables import LINEAR_LOSSES

PEER = "x scikit-learn's time"
#: Epochs of a linear model's fit, to outweigh the millisecond of Python's around them, on rows few
#: enough to lie in half of a core's own cache; and how many times as many rows tell the quality.
EPOCHS, MORE_ROWS = 30, 4


def quietly(job):
    """Run a job; that an epoch or two do not converge is meant."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        job()


class _Fit:
    """A fit, and the error of a longer one on rows not seen."""

    def setup(self, *parameters):
        self.ours = available(f"fastnn:{self.name}")
        X, y = self.data(*parameters)
        self.X, self.y = measure.Movable(X), measure.Movable(y)
        self.options = self.arguments(*parameters)
        self.job = self.prepare()

    def prepare(self):
        model, X, y = self.ours(**self.options), self.X(), self.y()
        return functools.partial(quietly, functools.partial(model.fit, X, y))

    def fit_quietly(self, model):
        quietly(lambda: model.fit(self.X.array, self.y.array))

    def time_fit(self, *parameters):
        self.job()

    def longer(self, *parameters):
        """Return a model of five iterations on half of more rows, and the other half."""
        X, y = self.data(*parameters, MORE_ROWS)
        model, half = self.ours(**{**self.options, "max_iter": 5}), len(y) // 2
        quietly(lambda: model.fit(X[:half], y[:half]))
        return model, X[half:], y[half:]

    def track_error(self, *parameters):
        model, X, y = self.longer(*parameters)
        return error_rate(model.predict(X), y)

    track_error.unit = "share of wrong classes"


class _Classifier(_Fit):
    """A fit of a classifier that scikit-learn has too, and the log loss beside the error."""

    def track_fit_over_sklearn(self, *parameters):
        peer = available(f"{self.peer_module}:{self.name}")
        model = peer(**self.options)
        return measure.ratio(self.prepare, lambda: self.fit_quietly(model))

    track_fit_over_sklearn.unit = PEER

    def track_log_loss(self, *parameters):
        model, X, y = self.longer(*parameters)
        log_loss = available("sklearn.metrics:log_loss")
        return float(log_loss(y, model.predict_proba(X), labels=model.classes_))

    track_log_loss.unit = "nats, on rows not seen"


class _Linear(_Classifier):
    name, peer_module = "SGDClassifier", "sklearn.linear_model"

    def arguments(self, features):
        return {"loss": "log_loss", "max_iter": EPOCHS, "tol": None, "random_state": 0}


class Linear(_Linear):
    """Thirty epochs of `SGDClassifier` on dense rows."""

    rows_of = {20: 1_500, 100: 300, 784: 100}
    params = [list(rows_of)]
    param_names = ["features"]

    def data(self, features, times=1):
        return classes(features, 2, times * self.rows_of[features])


class LinearLosses(_Fit):
    """Thirty epochs of SGD on 1500 rows of 20 features, for every linear loss.

    Where the loss takes no labels, `SGDRegressor` learns 0 and 1.
    """

    params = [LINEAR_LOSSES]
    param_names = ["loss"]

    def setup(self, loss):
        row = available("fastnn.kernels.linear_losses:TABLE").get(loss)
        if row is None:
            raise NotImplementedError(f"no {loss!r}")
        labels = getattr(row, "labels", (-1, 1)) is not None
        self.name = "SGDClassifier" if labels else "SGDRegressor"
        super().setup(loss)

    def data(self, loss, times=1):
        return classes(20, 2, times * 1_500)

    def arguments(self, loss):
        rate = {"eta0": 1e-3, "learning_rate": "constant"}
        return {"loss": loss, "max_iter": EPOCHS, "tol": None, "random_state": 0, **rate}

    def track_fit_over_sklearn(self, loss):
        peer = available(f"sklearn.linear_model:{self.name}")
        try:
            model = peer(**self.options)
            self.fit_quietly(model)
        except ValueError:  # a loss of fastnn's own
            model = peer(**{**self.options, "loss": peer().loss})
        return measure.ratio(self.prepare, lambda: self.fit_quietly(model))

    track_fit_over_sklearn.unit = f"{PEER}, of its default loss where it lacks this one"

    def track_error(self, loss):
        model, X, y = self.longer(loss)
        return error_rate(model.predict(X) > 0.5, y == 1)

    track_error.unit = "share of wrong classes"


class Sparse(_Linear):
    """Thirty epochs of `SGDClassifier` on 1000 rows of 1000 features, 20 of them not 0."""

    params = [[1_000]]
    param_names = ["features"]

    def data(self, features, times=1):
        return sparse_classes(features, times * 1_000)


@functools.cache
def sparse_classes(n_features, n):
    """Return sparse rows and the side of a random plane that they are on."""
    rng = np.random.default_rng(0)
    X = scipy.sparse.random(n, n_features, 20 / n_features, "csr", rng=rng, dtype=np.float64)
    return X, (X @ rng.standard_normal(n_features) > 0).astype(int)


class Logistic(_Classifier):
    """`LogisticRegression` by L-BFGS, or five epochs of SAGA with an L1 penalty; dense and CSR."""

    name, peer_module = "LogisticRegression", "sklearn.linear_model"
    params = [["lbfgs", "saga"], ["dense", "sparse"]]
    param_names = ["solver", "rows"]

    def data(self, solver, rows, times=1):
        n = times * 4_000
        return classes(20, 2, n) if rows == "dense" else sparse_classes(1_000, n)

    def arguments(self, solver, rows):
        penalty = {"l1_ratio": 1.0, "C": 0.1, "max_iter": 5} if solver == "saga" else {}
        return {"solver": solver, "random_state": 0, **penalty}


class MultiLayer(_Classifier):
    """Five epochs of `MLPClassifier` with Adam and batches of 200."""

    name, peer_module = "MLPClassifier", "sklearn.neural_network"
    rows_of = {"20-100-2": 800, "64-64-10": 800}
    params = [list(rows_of)]
    param_names = ["shape"]

    def data(self, shape, times=1):
        n_features, _, n_classes = map(int, shape.split("-"))
        return classes(n_features, n_classes, times * self.rows_of[shape])

    def arguments(self, shape):
        hidden = int(shape.split("-")[1])
        return {"hidden_layer_sizes": (hidden,), "max_iter": 5, "random_state": 0}


class OneRow:
    """A thousand rows learned, or predicted, one at a time."""

    params = [["SGDClassifier", "MLPClassifier"]]
    param_names = ["estimator"]

    def setup(self, estimator):
        model = available(f"fastnn:{estimator}")(random_state=0)
        if not hasattr(model, "learn_one"):
            raise NotImplementedError("no learn_one")
        self.X, self.y = classes(20, 2, 1_000)
        quietly(lambda: model.partial_fit(self.X, self.y, classes=[0, 1]))
        self.model = model

    def time_learn_one(self, estimator):
        for x, y in zip(self.X, self.y, strict=True):
            self.model.learn_one(x, y)

    def time_predict_one(self, estimator):
        for x in self.X:
            self.model.predict_one(x)
