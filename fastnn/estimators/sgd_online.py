"""One row at a time: what `learn_one` of the SGD estimators works with, prepared once."""

import operator
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastnn.estimators.sgd_training import NATURAL_ORDER, Parameters, Stopping, begin, make_rule
from fastnn.inputs import as_rows
from fastnn.kernels import linear
from fastnn.kernels.prepared import Prepared

_SETTINGS = (
    "loss", "penalty", "alpha", "l1_ratio", "fit_intercept", "epsilon", "learning_rate", "eta0",
    "power_t", "average", "clip_norm",
)  # fmt: skip
_OF_CLASSES = ("class_weight", "multi_class", "label_smoothing")
#: What is read anew at each call; of a classifier, of a regressor.
_READ = (
    operator.itemgetter(*_SETTINGS, *_OF_CLASSES),
    operator.itemgetter(*_SETTINGS, "loss_parameter"),
)


def settings_of(estimator: Any) -> tuple:
    """Return the parameters that a step depends on."""
    attributes = estimator.__dict__
    return _READ["multi_class" not in attributes](attributes)


class OnlineSGD:
    """The steps of an SGD estimator on one row, until its arrays or settings are others.

    Parameters
    ----------
    estimator : SGDClassifier or SGDRegressor
        Fitted; its ``coef_`` and ``intercept_`` become arrays that the steps write.
    parameters : Parameters
        Its weights.
    outputs : sequence of slice
        Parts of them that are trained apart.
    kernel : callable
        What trains a part.
    class_weights : sequence of (float, float)
        Of the positive and the negative rows of each part.
    """

    def __init__(
        self,
        estimator: Any,
        parameters: Parameters,
        outputs: Sequence[slice],
        kernel: Callable,
        class_weights: Sequence[tuple[float, float]],
    ) -> None:
        self._settings = settings_of(estimator)
        self._parameters = parameters
        self._t = parameters.state[:, linear.T]
        self.lock = threading.Lock()
        dtype, d = parameters.W.dtype, parameters.W.shape[1]
        dense = np.zeros((1, d), dtype)
        rows, stopping = as_rows(dense, dtype), Stopping(1, -np.inf, 1)
        rules = [
            make_rule(estimator, sparse=False, stopping=stopping, positive=more, negative=less)
            for more, less in class_weights
        ]
        #: The row, the targets of the parts and the weight of the row, to be written before a step.
        self.x, self.y, self.weight = dense[0], np.zeros(len(rules), dtype), np.ones(1, dtype)
        calls = []
        for k, (output, rule) in enumerate(zip(outputs, rules, strict=True)):
            model = parameters.model(output)
            begin(model, rule, estimator.t_)
            calls.append((rule, model, rows, self.y[k : k + 1], self.weight, NATURAL_ORDER, 0, 1))
        self._step = Prepared(kernel, *calls)
        self._average = estimator.average
        #: Whether the average has to be worked out after each step.
        self._unfolded = bool(estimator.average) and rules[0].truncate
        #: Whether ``intercept_`` is a copy: rounded, or apart from what training goes on with.
        self._copies = bool(estimator.average) or dtype != parameters.b.dtype
        self.show(estimator)

    def show(self, estimator: Any) -> None:
        """Make the weights the estimator's ``coef_`` and ``intercept_``; the average, if begun."""
        parameters = self._parameters
        estimator._publish(parameters)
        self._averaged = self._average and self._average <= estimator.t_ - 1
        self._exact = parameters.a if self._averaged else parameters.b
        if not self._copies:
            estimator.intercept_ = self._exact  # written by each step, as the weights are
        self._coef, self._intercept = estimator.coef_, estimator.intercept_
        self._written = self._intercept.tobytes()

    def set_classes(
        self, classes: np.ndarray, targets: np.ndarray, weights: np.ndarray | None = None
    ) -> None:
        """Keep the targets (n_classes, n_parts) of rows of each class, and their weights.

        Without weights a row of an unknown class is one of none, as in `partial_fit`.
        """
        self._targets, self._weights = targets.astype(self.y.dtype), weights
        if weights is None:
            self._targets = np.vstack([self._targets, self._targets.min(axis=0)])
        self._numbers = {label: number for number, label in enumerate(classes.tolist())}

    def take_class(self, label: Any) -> None:
        """Write the targets and the weight of a row of a class."""
        number = self._numbers.get(label, -1)
        if self._weights is not None:
            if number < 0:
                raise ValueError(f"y holds {label!r}, which is not among the classes")
            self.weight[0] = self._weights[number]
        self.y[:] = self._targets[number]

    def serves(self, estimator: Any) -> bool:
        """Return whether an estimator's arrays and settings are still those it was made for."""
        return (
            estimator.coef_ is self._coef
            and estimator.intercept_ is self._intercept
            and all(map(operator.is_, settings_of(estimator), self._settings))
        )

    def learn(self, estimator: Any) -> None:
        """Make the step ``t_`` of the estimator on the row, as `partial_fit` does."""
        self._t[:] = estimator.t_
        if self._copies and not self._average and self._intercept.tobytes() != self._written:
            self._exact[:] = self._intercept  # somebody else's
        if self._step.run():
            raise MemoryError
        estimator.t_ += 1
        estimator.n_iter_ = 1
        if self._unfolded or (self._average and not self._averaged):
            self.show(estimator)
        elif self._copies:
            self._intercept[:] = self._exact
            self._written = self._intercept.tobytes()
