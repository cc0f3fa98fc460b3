"""An MLP's fit by L-BFGS on the objective of all rows."""

import math
from typing import Any

import numpy as np

from fastnn.estimators import lbfgs
from fastnn.estimators.callbacks import Hooks
from fastnn.estimators.stochastic import NON_FINITE, Task, squares
from fastnn.inputs import n_rows
from fastnn.network import Network
from fastnn.training import History, Progress, loss_and_gradients, score


class Minimization:
    """One fit of an estimator by L-BFGS; writes the estimator's loss and count."""

    def __init__(self, estimator: Any, network: Network, task: Task, hooks: Hooks) -> None:
        self.estimator = estimator
        self.network = network
        self.task = task
        self.hooks = hooks
        self.n = n_rows(task.rows)
        weight = task.targets.weight
        self.total = float(weight.sum(dtype=np.float64)) if weight.size else float(self.n)
        self.history = History()
        self.progress = Progress(
            network, 0, estimator.max_iter, self.n, self.n, math.nan, self.history
        )
        self._last: tuple[np.ndarray, float] = (np.empty(0), math.nan)

    def run(self) -> None:
        """Minimise scikit-learn's objective."""
        estimator, network = self.estimator, self.network
        estimator.n_iter_ = 0
        self.hooks.epoch_begins()
        point, estimator.loss_, estimator.n_iter_ = lbfgs.minimize(
            self._objective,
            network.parameters,
            max_iter=estimator.max_iter,
            options={"maxfun": estimator.max_fun, "gtol": estimator.tol},
            on_iteration=self._report,
        )
        network.parameters[:] = point
        if not np.isfinite(network.parameters).all():
            raise ValueError(NON_FINITE)

    def _objective(self, point: np.ndarray) -> tuple[float, np.ndarray]:
        network, alpha = self.network, self.estimator.alpha
        network.parameters[:] = point
        loss, gradient = loss_and_gradients(
            network.plan, network.parameters, self.task.rows, self.task.targets, self.n,
            self.total, self.task.team,
        )  # fmt: skip
        gradient = gradient.astype(np.float64)
        for W, w0 in zip(network.weights, network.plan.weights, strict=True):
            gradient[w0 : w0 + W.size] += alpha / self.total * W.reshape(-1)
        value = loss / self.task.loss_outputs + 0.5 * alpha * squares(network) / self.total
        self._last = point.copy(), value
        return value, gradient

    def _report(self, point: np.ndarray) -> bool:
        """Take in an accepted point; return whether a callback ends the search."""
        estimator, progress = self.estimator, self.progress
        self.network.parameters[:] = point
        if estimator.verbose or self.hooks.watches_epochs or self.task.validation is not None:
            seen, value = self._last  # a line search mostly ends at the point it tried last
            progress.loss = value if np.array_equal(seen, point) else self._objective(point)[0]
            self.history.loss.append(progress.loss)
            self._validate()
        progress.epoch = estimator.n_iter_
        estimator.n_iter_ += 1
        if estimator.verbose >= 2:
            print(f"Iteration {estimator.n_iter_}, loss = {progress.loss:.8f}")
        stop = self.hooks.epoch_ends(progress)
        if not stop and estimator.n_iter_ < estimator.max_iter:
            self.hooks.epoch_begins()
        return stop

    def _validate(self) -> None:
        """Record the loss of the user's validation rows."""
        held, network = self.task.validation, self.network
        if held is not None:
            _, loss = score(
                network.plan,
                network.parameters,
                held.rows,
                held.n,
                order=held.order,
                targets=held.targets,
                team=self.task.team,
            )
            loss /= self.task.loss_outputs
            self.estimator.validation_loss_curve_.append(loss)
            self.history.validation_loss.append(loss)
