"""Mini-batches and optimisers of `SGDClassifier` and `SGDRegressor`."""

import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np

from fastnn.estimators.parameters import is_set
from fastnn.kernels import optimizers
from fastnn.kernels.linear import Model
from fastnn.kernels.linear_batch import BatchRule, Memory, train_linear_batches_
from fastnn.kernels.linear_rule import LinearRule
from fastnn.kernels.plan import Rows
from fastnn.training import OptimizerState, make_rule

#: Parameters of the optimisers, and what the table calls them.
OPTIONS = {
    "momentum": "momentum",
    "beta_1": "beta_1",
    "beta_2": "beta_2",
    "rho": "rho",
    "optimizer_epsilon": "epsilon",
}


def has_batches(estimator: Any) -> bool:
    """Return whether an estimator's steps are other than exact per-sample SGD's."""
    return bool(estimator.optimizer != "sgd" or estimator.batch_size != 1 or estimator.weight_decay)


def check_batches(estimator: Any) -> None:
    """Raise ValueError where an estimator's rates do not go with its batches.

    A passive-aggressive step is the solution for one row.
    """
    if has_batches(estimator) and estimator.learning_rate in ("pa1", "pa2"):
        raise ValueError(
            f"learning_rate={estimator.learning_rate!r} takes exact steps of one row, "
            f"optimizer='sgd' with batch_size=1 and no weight_decay; got "
            f"optimizer={estimator.optimizer!r}, batch_size={estimator.batch_size!r}, "
            f"weight_decay={estimator.weight_decay!r}"
        )


def warn_of_unread(estimator: Any) -> None:
    """Warn of each parameter of the optimisers that was set and that this one does not read."""
    takes = optimizers.TABLE[estimator.optimizer].options
    for name, option in OPTIONS.items():
        if option not in takes and is_set(estimator, name):
            readers = [key for key, row in optimizers.TABLE.items() if option in row.options]
            warnings.warn(
                f"{name}={getattr(estimator, name)!r} has no effect with "
                f"optimizer={estimator.optimizer!r}; it is read by {', '.join(readers)}",
                stacklevel=5,
            )


def rows_of_batch(estimator: Any, n: int) -> int:
    """Return how many of ``n`` rows a step takes."""
    return n if estimator.batch_size is None else min(int(estimator.batch_size), n)


def steps_of_epoch(estimator: Any, n: int) -> int:
    """Return how many steps an epoch over ``n`` rows makes."""
    return -(-n // rows_of_batch(estimator, n))


def fresh_memory(optimizer: str, sizes: Iterable[int], dtype: np.dtype) -> list[Memory]:
    """Return what an optimiser remembers before its first step, for vectors of these sizes."""
    found = []
    for size in sizes:
        grads = np.zeros(size, dtype)
        slots = OptimizerState.fresh(optimizer, grads).slots
        found.append(Memory(grads, np.zeros(size, dtype), slots, np.zeros(1)))
    return found


def fits(memory: list[Memory], fresh: list[Memory]) -> bool:
    """Return whether a memory can go on in the place of a fresh one."""
    if len(memory) != len(fresh):
        return False
    slots = [(a.slots, b.slots) for a, b in zip(memory, fresh, strict=True)]
    return all(a.shape == b.shape and a.dtype == b.dtype for a, b in slots)


class BatchKernel:
    """Trains by mini-batches where `sgd_training.train` calls a kernel of per-sample steps.

    Parameters
    ----------
    estimator : SGDClassifier or SGDRegressor
    rule : LinearRule
    memory : Memory
        Of the optimiser; written.
    y, weight : arrays
        Targets and weights of all rows.
    held_out : bool array or None
        Rows that are not trained on.
    joint : bool
        Whether the loss is the softmax's.

    Attributes
    ----------
    mass : float
        Weight of the rows that are trained on, that of their classes included.
    """

    def __init__(
        self,
        estimator: Any,
        rule: LinearRule,
        memory: Memory,
        y: np.ndarray,
        weight: np.ndarray,
        held_out: np.ndarray | None,
        joint: bool,
    ) -> None:
        trained = slice(None) if held_out is None else ~held_out
        y = y[trained]
        own = weight[trained].astype(float) if weight.size else np.ones(y.size)
        if not joint:
            own *= np.where(y > rule.middle, rule.positive_weight, rule.negative_weight)
        self.total, self.mass = y.size, float(own.sum())
        if self.mass == 0:
            raise ValueError("the weight of every row is zero; nothing is left to train on")
        self._memory = memory
        size = rows_of_batch(estimator, self.total)
        # A step on one row is in proportion to its weight, as in exact SGD.
        share = 1.0 if estimator.batch_size == 1 else self.mass / self.total
        self._batch = batch_rule(estimator, size, share, joint)

    def __call__(
        self,
        rule: LinearRule,
        model: Model,
        rows: Rows,
        y: np.ndarray,
        weight: np.ndarray,
        order: np.ndarray,
        start: int,
        stop: int,
    ) -> None:
        """Train on rows ``order[start:stop]``; the arguments are those of `train_rows_`."""
        train_linear_batches_(
            rule, self._batch, model, self._memory, rows, y, weight, order, start, stop, self.total
        )


def batch_rule(estimator: Any, size: int, share: float, joint: bool) -> BatchRule:
    """Return the rule of batches that an estimator's parameters describe."""
    takes = optimizers.TABLE[estimator.optimizer].options
    given = {option: getattr(estimator, name) for name, option in OPTIONS.items()}
    options = {k: v for k, v in given.items() if k in takes and v is not None}
    rule = make_rule(estimator.optimizer, weight_decay=estimator.weight_decay, **options)
    return BatchRule(rule.optimizer, rule.options, size, share, rule.weight_decay, joint)
