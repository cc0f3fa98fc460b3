"""fastnn itself, through its public names."""

from typing import Any

import numpy as np

import fastnn
from fastnn.bench.tasks import SEED, Dense, Linear, Prediction, Training


def network(task: Dense, loss: str = "cross_entropy") -> Any:
    """Return a network with a task's initial weights, about to draw the task's orders."""
    rng = np.random.default_rng()
    net = fastnn.Network(
        task.sizes,
        activation=task.activation,
        loss=loss,
        dtype=task.dtype,
        random_state=rng,
    )
    net.parameters = task.initial
    rng.bit_generator.state = np.random.default_rng(SEED).bit_generator.state
    return net


class Train:
    """`Network.fit`."""

    def __init__(self, task: Training, **options: Any) -> None:
        self._task = task
        self._y = task.labels if task.loss == "cross_entropy" else task.onehot
        self._options = options

    def run(self, times: int) -> None:
        """Train for so many epochs."""
        task = self._task
        self._net = network(task, task.loss)
        options = {
            "optimizer": task.optimizer,
            "learning_rate": task.learning_rate,
            "batch_size": task.batch_size,
        }
        self._net.fit(task.X, self._y, epochs=times, **options | self._options)

    def result(self) -> np.ndarray:
        """Return the parameters."""
        return self._net.parameters


class Predict:
    """`Network.forward`."""

    def __init__(self, task: Prediction) -> None:
        self._task = task
        self._net = network(task)

    def run(self, times: int) -> None:
        """Predict so many times."""
        for _ in range(times):
            self._outputs = self._net.forward(self._task.X)

    def result(self) -> np.ndarray:
        """Return the probabilities."""
        return self._outputs


class TrainLinear:
    """`SGDClassifier.fit`."""

    def __init__(self, task: Linear) -> None:
        self._task = task

    def run(self, times: int) -> None:
        """Train for so many epochs."""
        self._model = fastnn.SGDClassifier(
            loss="log_loss", alpha=self._task.alpha, max_iter=times, tol=None, random_state=SEED
        )
        self._model.fit(self._task.X, self._task.labels)

    def result(self) -> np.ndarray:
        """Return the weights and the intercept."""
        return np.append(self._model.coef_.ravel(), self._model.intercept_)


def contender(task: Any) -> Any:
    """Return fastnn's way of doing a task."""
    if isinstance(task, Training):
        return Train(task)
    return Predict(task) if isinstance(task, Prediction) else TrainLinear(task)
