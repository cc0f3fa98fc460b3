"""One row at a time: what a network learns and predicts a single row with, prepared once.

Called the usual way, a kernel finds out the types of all its arguments, which takes longer than
the step of a small network.  Here its machine code is called at once, on memory that is kept.
"""

import math
from typing import Any

import numpy as np

from fastnn.finite import all_finite
from fastnn.kernels.jit import machine_code
from fastnn.kernels.minibatch import score_, train_batches_
from fastnn.kernels.optimizers import CODES
from fastnn.kernels.plan import Plan, Rows, Rule, Targets
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
    x : array (n_features,)
        The row, to be written before each call.
    y : array (n_targets,)
        The target, likewise.
    weight : array (1,) or (0,)
        The weight, likewise.
    undone : bool
        Whether the last step diverged and the parameters before it were put back.
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
        self._rows = Rows(dense, none, np.empty(0, np.int32), np.empty(0, np.int64))
        target = np.zeros((1, n_targets), dtype)
        self.y = target[0]
        self.weight = np.ones(1, dtype) if weighted else none
        self._targets = Targets(target, self.weight)
        self._no_targets = Targets(np.empty((0, 1), dtype), none)
        self._out = np.empty((1, int(plan.sizes[-1])), dtype)
        self._totals = np.zeros(2)
        self._no_slots = np.zeros((0, parameters.size), dtype)
        self._before = parameters.copy()
        self._kernels: dict[str, Any] = {}
        self.undone = False

    def _call(self, name: str, kernel: Any, *arguments: Any) -> None:
        code = self._kernels.get(name)
        if code is None:
            code = self._kernels[name] = machine_code(kernel, *arguments)
        code(*arguments)

    def predict(self, *, linked: bool) -> np.ndarray:
        """Return the scores of the row, or the predictions after the link; overwritten by the next.

        Returns
        -------
        array (n_outputs,)
        """
        self._call(
            "score", score_, self.plan, self.parameters, self._rows, self._no_targets, _ORDER,
            0, 1, linked, self._out, self._totals,
        )  # fmt: skip
        return self._out[0]

    def descend(self, rate: float) -> float:
        """Make one exact step of plain SGD, unless it diverges; return the loss before it."""
        self._totals[0] = 0
        self._before[:] = self.parameters
        self._call(
            "descend", train_samples_, self.plan, self.parameters, self._rows, self._targets,
            _ORDER, 0, 1, _PLAIN, rate, self._no_slots, 1, self._totals,
        )  # fmt: skip
        return self._judge()

    def train(
        self, plan: Plan, rule: Rule, rate: float, gradient: np.ndarray, slots: np.ndarray, t: int
    ) -> float:
        """Make step ``t + 1`` of any rule, unless it diverges; return the objective before it.

        ``plan`` may have dropout; ``gradient`` is scratch.
        """
        self._totals[0] = 0
        self._before[:] = self.parameters
        self._call(
            "train", train_batches_, plan, self.parameters, self._rows, self._targets, _ORDER,
            0, 1, 1, 0.0, rule, rate, gradient, slots, t, True, self._totals,
        )  # fmt: skip
        return self._judge()

    def _judge(self) -> float:
        """Return the loss; where it or a parameter is not finite, undo the step."""
        loss = float(self._totals[0])
        self.undone = not (math.isfinite(loss) and all_finite(self.parameters))
        if self.undone:
            self.parameters[:] = self._before
        return loss
