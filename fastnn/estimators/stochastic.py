"""The epochs of an MLP's stochastic solvers, in scikit-learn's order of operations.

Shuffle, train, count, score, lower the rate, stop: what is drawn from the generator and when, how
batches are weighed in the loss, and what counts as an improvement are scikit-learn's, so that the
same ``random_state`` gives the same model.
"""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from fastnn.errors import DivergenceWarning
from fastnn.estimators.callbacks import Hooks
from fastnn.estimators.optimizer import Optimizer
from fastnn.estimators.validation import Validation
from fastnn.finite import LastFinite
from fastnn.kernels.plan import Rows, Targets
from fastnn.network import Network
from fastnn.parallel import Team
from fastnn.replicas import Replicas, check_replicas
from fastnn.together import Together
from fastnn.training import (
    History,
    Progress,
    counts_batches,
    score,
    several_epochs,
    train_epoch,
)

NON_FINITE = (
    "Solver produced non-finite parameter weights. The input data may contain large values and "
    "need to be preprocessed."
)


@dataclass
class Task:
    """What a fit trains on.

    Attributes
    ----------
    rows, targets
        All rows.
    order : int64 array, or int32 of many rows
        Numbers of the rows to train on.
    validation : Validation or None
    loss_outputs : int
        What the loss of a row is divided by in ``loss_curve_``: scikit-learn reports the squared
        error as the mean over the outputs, but descends on their sum.
    team : Team or None
        Threads that train.
    """

    rows: Rows
    targets: Targets
    order: np.ndarray
    validation: Validation | None = None
    loss_outputs: int = 1
    team: Team | None = None


def batch_rows(batch_size: Any, n: int) -> int:
    """Return how many of ``n`` rows a step takes."""
    if isinstance(batch_size, str):
        return min(200, n)
    if batch_size > n:
        warnings.warn(
            "Got `batch_size` less than 1 or larger than sample size. It is going to be clipped",
            stacklevel=2,
        )
    return min(int(batch_size), n)


def squares(network: Network) -> float:
    """Return ``|W|^2`` over all weights."""
    return sum(float(np.vdot(W, W)) for W in network.weights)


class _Shuffles:
    """The orders of epochs one after the other: each shuffles the one before."""

    def __init__(self, random_state: np.random.RandomState, order: np.ndarray) -> None:
        self._random_state = random_state
        self._order = order

    def draw(self, epochs: int) -> np.ndarray:
        """Return the orders of so many epochs."""
        self._before = self._random_state.get_state(legacy=False), self._order.copy()
        orders = np.empty((epochs, self._order.size), np.int64)
        for order in orders:
            self._random_state.shuffle(self._order)
            order[:] = self._order
        return orders.ravel()

    def take_back(self) -> None:
        """Put the generator and the order back to where they were before the last `draw`."""
        state, self._order[:] = self._before
        self._random_state.set_state(state)


class Descent:
    """One fit of an estimator by epochs; writes the estimator's curves and counts."""

    def __init__(
        self, estimator: Any, network: Network, task: Task, optimizer: Optimizer, hooks: Hooks
    ) -> None:
        self.estimator = estimator
        self.network = network
        self.task = task
        self.optimizer = optimizer
        self.hooks = hooks
        self.batch = batch_rows(estimator.batch_size, task.order.size)
        self.plan = optimizer.plan(network.plan)
        self.rule = optimizer.rule
        if estimator.replicas > 1:  # of single rows ``alpha`` is the L2 penalty itself
            self.rule = self.rule._replace(l2=self.rule.alpha, alpha=0.0)
        count = check_replicas(
            estimator.replicas, self.batch, self.rule, self.plan.dropout,
            task.rows.indptr.size > 0, word="solver",
        )  # fmt: skip
        self.replicas = None
        if count > 1:
            self.replicas = Replicas(count, network.parameters, optimizer.state.slots)
        self.history = History()
        n = task.order.size
        self.progress = Progress(network, 0, estimator.max_iter, 0, n, math.nan, self.history)

    def run(self, incremental: bool) -> None:
        """Train until an end is reached, or for one epoch if ``incremental``."""
        estimator, order = self.estimator, self.task.order
        early = estimator.early_stopping
        if early:
            self._best = self.network.parameters.copy()
        estimator.n_iter_ = 0
        several = None if incremental else self._several()
        try:
            while estimator.n_iter_ < estimator.max_iter:
                if several is not None and not self._epochs(several):
                    several = None
                if several is None:
                    if estimator.shuffle:
                        estimator._random_state.shuffle(order)  # draws what permutation(n) draws
                    if not self._epoch(order):
                        break
                if self._ends() or incremental:
                    break
                if estimator.n_iter_ == estimator.max_iter:
                    warnings.warn(
                        f"Stochastic Optimizer: Maximum iterations ({estimator.max_iter}) reached "
                        "and the optimization hasn't converged yet.",
                        ConvergenceWarning,
                        stacklevel=2,
                    )
        except KeyboardInterrupt:
            warnings.warn("Training interrupted by user.", stacklevel=2)
        if early:
            self.network.parameters[:] = self._best

    def _several(self) -> Together | None:
        """Return what trains several epochs in a call; None where each has to be seen."""
        estimator, task, optimizer = self.estimator, self.task, self.optimizer
        seen = self.hooks.watches_epochs or self.hooks.watches_slices or estimator.verbose
        whole = task.loss_outputs == 1 and task.targets.weight.size == 0
        counted = counts_batches(self.plan, self.rule, task.rows, self.batch, task.team)
        seen = seen or self.replicas is not None or task.validation is not None
        if seen or not (optimizer.steady and (whole or counted)):
            return None
        order, parameters = task.order, self.network.parameters
        if order.dtype != np.int64:
            return None
        shuffles = _Shuffles(estimator._random_state, order) if estimator.shuffle else None
        most = min(optimizer.patience(estimator.n_iter_no_change) + 1, estimator.max_iter)
        return several_epochs(
            self.plan, parameters, task.rows, task.targets, order, shuffles, order.size,
            self.batch, self.rule, LastFinite(parameters, optimizer.state), int(most),
            task.team,
        )  # fmt: skip

    def _epochs(self, several: Together) -> bool:
        """Train as many epochs as are sure to be made, the last of which is still to be judged.

        Returns whether their numbers are finite; if not, nothing is done.
        """
        estimator, task, n = self.estimator, self.task, self.task.order.size
        patience = self.optimizer.patience(estimator.n_iter_no_change)
        sure = max(patience - estimator._no_improvement_count, 0) + 1
        count = int(min(sure, several.most, estimator.max_iter - estimator.n_iter_))
        rate = self.optimizer.learning_rate
        totals = several.train([rate] * count, estimator.t_)
        if totals is None:
            return False
        if task.loss_outputs == 1 and task.targets.weight.size == 0:
            losses = totals[:, 0] / totals[:, 1]
        else:
            losses = (totals[:, 2] / task.loss_outputs + totals[:, 3]) / n
        for i, loss in enumerate(losses.tolist()):
            if i > 0:
                self._follow_loss()
            self._record(loss)
        return True

    def _record(self, loss: float) -> None:
        """Take in the loss of an epoch."""
        estimator = self.estimator
        estimator.n_iter_ += 1
        estimator.t_ += self.task.order.size
        estimator.loss_ = loss
        estimator.loss_curve_.append(loss)
        self.history.loss.append(loss)
        self.history.learning_rate.append(self.optimizer.learning_rate)

    def _epoch(self, order: np.ndarray) -> bool:
        """Train one epoch; return whether its numbers are finite."""
        estimator, network = self.estimator, self.network
        before = network.parameters.copy()
        self.optimizer.epoch_begins(estimator.max_iter)
        self.progress.epoch = estimator.n_iter_
        self.hooks.epoch_begins()
        loss = self._train(order)
        if not (math.isfinite(loss) and np.isfinite(network.parameters).all()):
            network.parameters[:] = before
            self._diverged(loss)
            return False
        self._record(loss)
        if estimator.verbose >= 2:
            print(f"Iteration {estimator.n_iter_}, loss = {loss:.8f}")
        return True

    def _train(self, order: np.ndarray) -> float:
        """Return the mean objective of an epoch, each batch counted by its rows."""
        task, network, n = self.task, self.network, order.size
        weighted = task.targets.weight.size > 0
        if self.replicas is not None:
            return self._train_replicas(order)
        watched = self.hooks.watches_slices
        if not weighted and task.loss_outputs == 1:
            return self._step(order, 0, self._on_slice if watched else None)
        if not watched and counts_batches(self.plan, self.rule, task.rows, self.batch, task.team):
            sums = [0.0, 0.0]
            if not math.isfinite(self._step(order, 0, by_batches=sums)):
                return math.nan
            return (sums[0] / task.loss_outputs + sums[1]) / n
        total = 0.0
        for start in range(0, n, self.batch):
            rows = order[start : start + self.batch]
            penalty = 0.0
            if task.loss_outputs > 1:
                weight = task.targets.weight[rows].sum(dtype=np.float64) if weighted else rows.size
                penalty = 0.5 * self.rule.alpha * squares(network) / float(weight)
            value = self._step(rows, start)
            total += ((value - penalty) / task.loss_outputs + penalty) * rows.size
            if not math.isfinite(total):
                return math.nan
            if self.hooks.watches_slices:
                self._on_slice(start + rows.size, total / (start + rows.size))
        return total / n

    def _train_replicas(self, order: np.ndarray) -> float:
        """Return the mean objective of an epoch, in which rows count by their weights."""
        outputs, weight = self.task.loss_outputs, self.task.targets.weight

        def on_slice(done: int, loss: float) -> None:
            self._on_slice(done, loss / outputs)

        loss = self._step(order, 0, on_slice if self.hooks.watches_slices else None)
        if outputs == 1:
            return loss
        total = float(weight[order].sum(dtype=np.float64)) if weight.size else order.size
        penalty = 0.5 * self.rule.l2 * squares(self.network) * order.size / total
        return (loss - penalty) / outputs + penalty

    def _step(
        self,
        order: np.ndarray,
        seen: int,
        on_slice: Callable[[int, float], None] | None = None,
        by_batches: list[float] | None = None,
    ) -> float:
        """Train on rows, after ``seen`` rows of the epoch; return their mean objective."""
        task, network, optimizer = self.task, self.network, self.optimizer
        return train_epoch(
            self.plan._replace(origin=self.estimator.t_ + seen), network.parameters, task.rows,
            task.targets, order, order.size, self.batch, self.rule, optimizer.learning_rate,
            optimizer.state, on_slice, task.team, self.replicas, by_batches,
        )  # fmt: skip

    def _on_slice(self, done: int, loss: float) -> None:
        self.progress.done, self.progress.loss = done, loss
        self.hooks.on_slice(self.progress)

    def _ends(self) -> bool:
        """Score an epoch, follow the rate, and return whether training should end."""
        estimator, optimizer = self.estimator, self.optimizer
        held_loss = self._validate()
        if estimator.early_stopping:
            self._follow_score(held_loss)
        else:
            self._follow_loss()
        self.progress.done, self.progress.loss = self.task.order.size, estimator.loss_
        stop = self.hooks.epoch_ends(self.progress)
        optimizer.epoch_ends(estimator.t_)
        patience = optimizer.patience(estimator.n_iter_no_change)
        if estimator._no_improvement_count > patience:
            ends, action = optimizer.stalled()
            if estimator.verbose:
                watched = "Validation score" if estimator.early_stopping else "Training loss"
                print(
                    f"{watched} did not improve more than tol={estimator.tol:f} for {patience} "
                    f"consecutive epochs. {action}"
                )
            if ends:
                return True
            estimator._no_improvement_count = 0
        return stop

    def _validate(self) -> float:
        """Record and return the loss of the validation rows."""
        held = self.task.validation
        if held is None:
            return math.nan
        _, loss = score(
            self.network.plan, self.network.parameters, held.rows, held.n,
            order=held.order, targets=held.targets, team=self.task.team,
        )  # fmt: skip
        loss /= self.task.loss_outputs
        self.estimator.validation_loss_curve_.append(loss)
        self.history.validation_loss.append(loss)
        return loss

    def _follow_score(self, held_loss: float) -> None:
        """Count epochs without a better validation score, and keep the best weights."""
        estimator = self.estimator
        assert self.task.validation is not None
        value = self.task.validation.score(held_loss)
        estimator.validation_scores_.append(value)
        if estimator.verbose >= 2:
            print(f"Validation score: {value:f}")
        if value < estimator.best_validation_score_ + estimator.tol:
            estimator._no_improvement_count += 1
        else:
            estimator._no_improvement_count = 0
        if value > estimator.best_validation_score_:
            estimator.best_validation_score_ = value
            self._best = self.network.parameters.copy()

    def _follow_loss(self) -> None:
        """Count epochs without a lower training loss."""
        estimator = self.estimator
        if estimator.loss_ > estimator.best_loss_ - estimator.tol:
            estimator._no_improvement_count += 1
        else:
            estimator._no_improvement_count = 0
        estimator.best_loss_ = min(estimator.best_loss_, estimator.loss_)

    def _diverged(self, loss: float) -> None:
        """Raise, or warn where the best weights are kept anyway."""
        where = (
            f"epoch {self.estimator.n_iter_ + 1}, learning rate {self.optimizer.learning_rate:g}"
        )
        if not self.estimator.early_stopping:
            raise ValueError(f"{NON_FINITE} ({where})")
        self.estimator.loss_curve_.append(math.nan)
        self.estimator.validation_scores_.append(math.nan)
        self.estimator.validation_loss_curve_.append(math.nan)
        warnings.warn(
            f"Training diverged ({where}): the loss is {loss}. The weights of the best epoch are "
            "kept; lower the learning rate, scale the inputs or set clip_norm.",
            DivergenceWarning,
            stacklevel=4,
        )
