"""scikit-learn: `MLPClassifier.partial_fit` once an epoch, `SGDClassifier.fit`.

Its networks draw their own weights and orders; `partial_fit` on rows in the given order, after the
weights were put in place, does what the others do.
"""

import warnings
from typing import Any

import numpy as np

from fastnn.bench.tasks import SEED, Dense, Linear, Prediction, Training, pack, unpack


def missing() -> str | None:
    """Return why scikit-learn cannot take part: it always can."""
    return None


def model(task: Dense, **options: Any) -> Any:
    """Return a classifier with a task's initial weights.

    Two classes would get one output; as two columns of labels they get two, to which the softmax
    of the task is given.
    """
    from sklearn.neural_network import MLPClassifier

    net = MLPClassifier(
        task.sizes[1:-1],
        activation="relu" if task.activation == "relu" else "logistic",
        alpha=0.0,
        shuffle=False,
        **options,
    )
    classes = task.sizes[-1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one row is less than a batch
        net.partial_fit(task.X[:1], np.eye(classes, dtype=int)[:1], classes=np.arange(classes))
    net.out_activation_ = "softmax"
    net.coefs_ = [W.copy() for W, _ in unpack(task.initial, task.sizes)]
    net.intercepts_ = [b.copy() for _, b in unpack(task.initial, task.sizes)]
    del net._optimizer  # which holds the weights that were drawn
    return net


class Train:
    """`MLPClassifier`."""

    def __init__(self, task: Training) -> None:
        self._task = task
        self._y = np.eye(task.sizes[-1], dtype=int)[task.labels]

    def run(self, times: int) -> None:
        """Train for so many epochs."""
        task = self._task
        self._model = model(
            task,
            solver=task.optimizer,
            learning_rate_init=task.learning_rate,
            batch_size=task.batch_size,
            momentum=0.0,
            nesterovs_momentum=False,
        )
        for order in task.orders(times):
            self._model.partial_fit(task.X[order], self._y[order])

    def result(self) -> np.ndarray:
        """Return the parameters."""
        return pack(zip(self._model.coefs_, self._model.intercepts_, strict=True))


class Predict:
    """`MLPClassifier.predict_proba`."""

    def __init__(self, task: Prediction) -> None:
        self._task = task
        self._model = model(task)

    def run(self, times: int) -> None:
        """Predict so many times."""
        for _ in range(times):
            self._outputs = self._model.predict_proba(self._task.X)

    def result(self) -> np.ndarray:
        """Return the probabilities."""
        return self._outputs


class TrainLinear:
    """`SGDClassifier`, which draws the same orders as fastnn's."""

    def __init__(self, task: Linear) -> None:
        self._task = task

    def run(self, times: int) -> None:
        """Train for so many epochs."""
        from sklearn.linear_model import SGDClassifier

        self._model = SGDClassifier(
            loss="log_loss", alpha=self._task.alpha, max_iter=times, tol=None, random_state=SEED
        )
        self._model.fit(self._task.X, self._task.labels)

    def result(self) -> np.ndarray:
        """Return the weights and the intercept."""
        return np.append(self._model.coef_.ravel(), self._model.intercept_)


def contender(task: Any) -> Any:
    """Return scikit-learn's way of doing a task, or None."""
    if isinstance(task, Linear):
        return TrainLinear(task)
    if isinstance(task, Training):
        return Train(task) if task.loss == "cross_entropy" else None
    return Predict(task)
