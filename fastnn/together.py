"""Epochs of few rows, many of them in one call.

What an epoch costs in Python takes as long as hundreds of rows through a tiny network.  Where
nothing has to know of each epoch as it ends, a call of the kernel for each is laid out in memory
once, and one call from Python makes them all.  Should anything cease to be finite, all of them are
taken back, and it is up to the caller to find out in which epoch.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from fastnn.finite import LastFinite, all_finite
from fastnn.kernels.minibatch import train_batches_
from fastnn.kernels.plan import Plan, Rows, Rule, Targets
from fastnn.kernels.prepared import Prepared
from fastnn.kernels.sgd import train_samples_
from fastnn.memory import aligned_zeros

#: Rows of the orders that are drawn ahead, in half a MiB at the most.
AHEAD = 1 << 16


class Shuffles(Protocol):
    """Orders of epochs that are drawn ahead."""

    def draw(self, epochs: int) -> np.ndarray:
        """Return the orders of so many epochs, one after the other."""

    def take_back(self) -> None:
        """Put everything back to where it was before the last `draw`."""


class Together:
    """A kernel's calls for up to ``most`` epochs.

    Parameters
    ----------
    most : int
        Epochs of one call at the most.
    plan, parameters, rows, targets, n, batch_size, rule
        As `training.train_epoch` takes them.
    order : int64 array (n,) or (0,)
        That of every epoch, where there are no shuffles.
    shuffles : Shuffles or None
        The order of each epoch.
    finite : LastFinite
        Of ``parameters`` and the state of the optimiser, which it also gives.
    block : int or None
        That of `train_samples_` where it makes the steps, else None.
    """

    def __init__(
        self,
        most: int,
        plan: Plan,
        parameters: np.ndarray,
        rows: Rows,
        targets: Targets,
        n: int,
        batch_size: int,
        rule: Rule,
        order: np.ndarray,
        shuffles: Shuffles | None,
        finite: LastFinite,
        block: int | None,
    ) -> None:
        self.most = most
        self._parameters, self._finite, self._state = parameters, finite, finite.state
        self._shuffles, self._n = shuffles, n
        self._totals = np.zeros((most, 4))
        self._steps = n if block is not None else -(-n // batch_size)
        if shuffles is not None:
            order = np.empty(most * n, np.int64)
        self._order = order
        begin = plan, parameters, rows, targets, order, 0, n
        totals, slots = self._totals[0], self._state.slots
        if block is not None:
            call: tuple = (*begin, rule, 0.0, slots, block, totals)
            kernel = train_samples_
        else:
            gradient = aligned_zeros(parameters.size, parameters.dtype)
            call = (*begin, batch_size, 0.0, rule, 0.0, gradient, slots, 0, True, totals)
            kernel = train_batches_
        self._calls = Prepared.repeated(kernel, call, "totals", self._totals)
        epochs = np.arange(most)
        place, integers = self._calls.place, self._calls.integers
        if shuffles is not None:
            integers[:, place("start")] = n * epochs
            integers[:, place("stop")] = n * (epochs + 1)
        self._rates = self._calls.floats[:, place("rate")]
        self._origins = integers[:, place("plan.origin")]
        self._times = integers[:, place("t")] if block is None else None

    def train(self, rates: Sequence[float], origin: int) -> np.ndarray | None:
        """Train an epoch at each of the ``rates``; return the ``totals`` of each.

        ``origin`` is that of the plan.  Where the objectives, or the parameters, are not all
        finite, everything is as it was before, and None is returned.
        """
        count, calls, shuffles = len(rates), self._calls, self._shuffles
        if shuffles is not None:
            self._order[: count * self._n] = shuffles.draw(count)
            self._origins[:count] = origin  # the rows of an epoch are numbered from its start on
        else:
            self._origins[:count] = origin + self._n * np.arange(count)
        self._rates[:count] = rates
        if self._times is not None:
            self._times[:count] = self._state.t + self._steps * np.arange(count)
        totals = self._totals[:count]
        totals[:] = 0
        calls.count = count
        if calls.run():
            raise MemoryError
        self._state.t += count * self._steps
        if np.isfinite(totals).all() and all_finite(self._parameters):
            self._finite.keep(count * self._n)
            return totals
        self._finite.restore()
        if shuffles is not None:
            shuffles.take_back()
        return None
