"""One row at a time: what a network learns and predicts a single row with, prepared once.

Called the usual way, a kernel looks into all its arguments, which takes longer than the step of a
small network.  Here that is `Prepared` once, on memory that is kept.
"""

import functools
import math
from collections.abc import Callable

import numpy as np

from fastnn.kernels.guard import guard_
from fastnn.kernels.minibatch import score_, train_batches_
from fastnn.kernels.optimizers import CODES
from fastnn.kernels.plan import Plan, Rows, Rule, Targets
from fastnn.kernels.prepared import Prepared, chained
from fastnn.kernels.sgd import train_samples_

_ORDER = np.empty(0, np.int64)
_PLAIN = Rule(CODES["sgd"], np.empty(0), False, 0.0, 0.0, 0.0, 0.0, math.inf)


class OneRow:
    """Memory for a row and its target, and the steps of a network on them.

    Parameters
    ----------
    plan : Plan
        The network.
    parameters : array (n_parameters,)
        Its parameters, which the steps write.
    n_targets : int
        Columns of a target.
    weighted : bool
        Whether the row has a weight.

    Attributes
    ----------
    rows : Rows
        The row as kernels take it.
    x : array (n_features,)
        The row, to be written before each call.
    y : array (n_targets,)
        The target, likewise.
    weight : array (1,) or (0,)
        The weight, likewise.
    """

    def __init__(
        self, plan: Plan, parameters: np.ndarray, n_targets: int, *, weighted: bool = False
    ) -> None:
        dtype = parameters.dtype
        self.plan = plan
        self.parameters = parameters
        dense = np.zeros((1, int(plan.sizes[0])), dtype)
        self.x = dense[0]
        none = np.empty(0, dtype)
        self.rows = Rows(dense, none, np.empty(0, np.int32), np.empty(0, np.int64))
        target = np.zeros((1, n_targets), dtype)
        self.y = target[0]
        self.weight = np.ones(1, dtype) if weighted else none
        self._targets = Targets(target, self.weight)
        self._totals = np.zeros(2)
        self.undone = False

        before = np.empty_like(parameters)
        self._guards = [
            Prepared(guard_, (parameters, before, self._totals, done)) for done in (False, True)
        ]

    @functools.cached_property
    def _descent(self) -> tuple[Callable[[], float | None], Prepared]:
        step = Prepared(
            train_samples_,
            (
                self.plan, self.parameters, self.rows, self._targets, _ORDER, 0, 1, _PLAIN, 0.0,
                np.zeros((0, self.parameters.size), self.x.dtype), 1, self._totals,
            ),
        )  # fmt: skip
        return self.guarded(step), step

    def predictor(self, *, linked: bool) -> tuple[Prepared, np.ndarray]:
        """Return what predicts the row, and where it writes: scores, or what follows the link."""
        out = np.empty((1, int(self.plan.sizes[-1])), self.x.dtype)
        no_targets = Targets(np.empty((0, 1), out.dtype), np.empty(0, out.dtype))
        arguments = (
            self.plan, self.parameters, self.rows, no_targets, _ORDER, 0, 1, linked, out,
            self._totals,
        )  # fmt: skip
        return Prepared(score_, arguments), out[0]

    def trainer(
        self, plan: Plan, rule: Rule, gradient: np.ndarray, slots: np.ndarray, *, block: int | None
    ) -> Prepared:
        """Return what makes a step of any rule; its ``rate``, and ``t`` if any, are to be set.

        ``plan`` may have dropout; ``gradient`` is scratch; ``block`` is that of
        `train_samples_` where a table of one row is trained by it, else None.
        """
        begin = plan, self.parameters, self.rows, self._targets, _ORDER, 0, 1
        if block is not None:
            return Prepared(train_samples_, (*begin, rule, 0.0, slots, block, self._totals))
        end = 1, 0.0, rule, 0.0, gradient, slots, 0, True, self._totals
        return Prepared(train_batches_, (*begin, *end))

    def guarded(self, step: Prepared) -> Callable[[], float | None]:
        """Return what makes a step of the row and returns the objective before it.

        Of a step that diverges the parameters before it are put back, and None is returned.
        """
        before, after = self._guards
        run, totals = chained(before, step, after), self._totals

        def take() -> float | None:
            if run():
                raise MemoryError
            loss, undone = totals.tolist()
            return None if undone else loss

        return take

    def descend(self, rate: float) -> float | None:
        """Make one exact step of plain SGD; return the loss before it, None if it diverges."""
        take, step = self._descent
        step.floats[0, step.place("rate")] = rate
        return take()
