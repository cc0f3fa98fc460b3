"""Many epochs in one call.

What an epoch costs in Python takes as long as hundreds of rows through a tiny network.  Where
nothing has to know of each epoch as it ends, a call of the kernel for each is laid out in memory
once, and one call from Python makes them all.  A team of threads is woken up for several epochs at
a time.  Should anything cease to be finite, all of them are taken back, and it is up to the caller
to find out in which epoch.
"""

import abc
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from fastnn.finite import LastFinite, all_finite
from fastnn.kernels.minibatch import train_batches_
from fastnn.kernels.plan import Plan, Rows, Rule, Targets
from fastnn.kernels.prepared import Prepared
from fastnn.kernels.sgd import train_samples_
from fastnn.memory import aligned_zeros
from fastnn.parallel import Team, train_shares

#: Rows of the orders that are drawn ahead, in half a MiB at the most.
AHEAD = 1 << 16


class Shuffles(Protocol):
    """Orders of epochs that are drawn ahead."""

    def draw(self, epochs: int) -> np.ndarray:
        """Return the orders of so many epochs, one after the other."""

    def take_back(self) -> None:
        """Put everything back to where it was before the last `draw`."""


class Together(abc.ABC):
    """Epochs of one call.

    Parameters
    ----------
    most : int
        How many at the most.
    parameters : array (n_parameters,)
    n, steps : int
        Rows of an epoch, and optimiser steps.
    order : int64 array (n,) or (0,)
        That of every epoch, where there are no shuffles.
    shuffles : Shuffles or None
        The order of each epoch.
    finite : LastFinite
        Of ``parameters`` and the state of the optimiser, which it also gives.
    """

    def __init__(
        self,
        most: int,
        parameters: np.ndarray,
        n: int,
        steps: int,
        order: np.ndarray,
        shuffles: Shuffles | None,
        finite: LastFinite,
    ) -> None:
        self.most = most
        self._parameters, self._finite, self._state = parameters, finite, finite.state
        self._shuffles, self._n, self._steps = shuffles, n, steps
        self._order = order if shuffles is None else np.empty(most * n, np.int64)
        self._totals = np.zeros((most, 4))

    def train(self, rates: Sequence[float], origin: int) -> np.ndarray | None:
        """Train an epoch at each of the ``rates``; return the ``totals`` of each.

        ``origin`` is that of the plan.  Where the objectives, or the parameters, are not all
        finite, everything is as it was before, and None is returned.
        """
        count, shuffles = len(rates), self._shuffles
        if shuffles is not None:
            self._order[: count * self._n] = shuffles.draw(count)
        totals = self._totals[:count]
        totals[:] = 0
        self._run(rates, origin, totals)
        self._state.t += count * self._steps
        if np.isfinite(totals).all() and all_finite(self._parameters):
            self._finite.keep(count * self._n)
            return totals
        self._finite.restore()
        if shuffles is not None:
            shuffles.take_back()
        return None

    @abc.abstractmethod
    def _run(self, rates: Sequence[float], origin: int, totals: np.ndarray) -> None:
        """Train, and add to the ``totals``."""


class Alone(Together):
    """A kernel's calls for one epoch each, laid out for one thread.

    Parameters
    ----------
    most, plan, parameters, rows, targets, n, batch_size, rule
        As `training.train_epoch` takes them, of up to ``most`` epochs.
    order, shuffles, finite
        As of `Together`.
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
        steps = n if block is not None else -(-n // batch_size)
        super().__init__(most, parameters, n, steps, order, shuffles, finite)
        begin = plan, parameters, rows, targets, self._order, 0, n
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

    def _run(self, rates: Sequence[float], origin: int, totals: np.ndarray) -> None:
        count = len(rates)
        if self._shuffles is not None:
            self._origins[:count] = origin  # the rows of an epoch are numbered from its start on
        else:
            self._origins[:count] = origin + self._n * np.arange(count)
        self._rates[:count] = rates
        if self._times is not None:
            self._times[:count] = self._state.t + self._steps * np.arange(count)
        self._calls.count = count
        if self._calls.run():
            raise MemoryError


class Shared(Together):
    """A team's call for several epochs of batches whose units are shared.

    Parameters
    ----------
    team : Team
    most, plan, parameters, rows, targets, n, batch_size, rule, order, shuffles, finite
        As of `Alone`.
    """

    def __init__(
        self,
        team: Team,
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
    ) -> None:
        super().__init__(most, parameters, n, -(-n // batch_size), order, shuffles, finite)
        self._call = team, plan, parameters, rows, targets, self._order, 0, n, batch_size, rule

    def _run(self, rates: Sequence[float], _: int, totals: np.ndarray) -> None:
        apart = 0 if self._shuffles is None else self._n
        train_shares(*self._call, rates, apart, self._state.slots, self._state.t, totals)
