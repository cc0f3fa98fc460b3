"""Parallel per-sample SGD: replicas of the parameters that learn apart and are averaged.

Exact per-sample SGD cannot be shared among threads: each step needs the one before.  So each of
``K`` replicas makes exact steps on rows of its own, from the same parameters ``w``, and then their
mean takes the place of all (parameter averaging, Zinkevich et al. 2010; local SGD, Stich 2019; of
replicas on many machines federated averaging, McMahan et al. 2017):

    ``w <- 1/K sum_k SGD(w, rows of replica k)``

The mean moves as far as one replica, in an epoch a K-th of exact SGD's way at the same rate, and
its noise has a K-th of the variance.  So at K times the rate it learns as exact SGD does; where
that only wanders about its optimum, at the same rate it comes closer.  How often the mean is taken,
from every 30 rows to once an epoch, made no difference that could be measured; so it is taken
seldom.
"""

import math
from typing import Any

import numpy as np

from fastnn.errors import integer
from fastnn.kernels.optimizers import TABLE
from fastnn.kernels.plan import Plan, Rule
from fastnn.kernels.sgd import train_samples_
from fastnn.memory import aligned_zeros
from fastnn.orders import Order, part_of
from fastnn.parallel import Team, checkpoint

BLOCK_ROWS = 0  # of exact per-sample SGD: the kernel chooses
#: Slices that a replica trains on between two averages, at the most: some 20 ms, of which the hand-
#: over to threads and the average take 0.2.
_SLICES = 8

OPTIMIZERS = ("sgd", "momentum", "nesterov")
_OTHERS = ("l1", "alpha", "weight_decay")


class Replicas:
    """Copies of a network's parameters and velocities.

    Parameters
    ----------
    count : int
        How many: the result depends on it, and not on how many threads do the work.
    parameters : array (n_parameters,)
        What is trained.
    slots : array (n_slots, n_parameters)
        The optimiser's memory.
    """

    def __init__(self, count: int, parameters: np.ndarray, slots: np.ndarray) -> None:
        self.count = count
        copies = range(count)
        self._parameters = [aligned_zeros(parameters.size, parameters.dtype) for _ in copies]
        self._slots = [aligned_zeros(slots.shape, slots.dtype) for _ in copies]

    def rows(self, left: int, size: int) -> int:
        """Return the rows until the next average, of the ``left`` ones of an epoch.

        They are shared in rounds of equal length, in which a replica has up to `_SLICES` slices of
        training, of up to ``size`` rows.
        """
        rounds = -(-left // (self.count * _SLICES * size))
        return -(-left // rounds)

    def train(
        self,
        team: Team | None,
        plan: Plan,
        parameters: np.ndarray,
        rows: Any,
        targets: Any,
        order: Order,
        start: int,
        stop: int,
        rule: Rule,
        rate: float,
        slots: np.ndarray,
        size: int,
        totals: np.ndarray,
    ) -> None:
        """Train replicas on a part each of rows ``order[start:stop]``; then average.

        ``parameters`` and ``slots`` become the means; before that, whatever happens, they stay as
        they are.  ``size`` is that of a slice.  A replica without rows does not count.
        """
        used = min(self.count, stop - start)
        cuts = [start + (stop - start) * k // used for k in range(used + 1)]
        sums = np.zeros((used, totals.size))

        def learn(k: int) -> None:
            self._parameters[k][:] = parameters
            self._slots[k][:] = slots
            for low in range(cuts[k], cuts[k + 1], size):
                checkpoint()
                high = min(low + size, cuts[k + 1])
                numbers, first = part_of(order, low, high)
                train_samples_(
                    plan, self._parameters[k], rows, targets, numbers, low - first, high - first,
                    rule, rate, self._slots[k], BLOCK_ROWS, sums[k],
                )  # fmt: skip

        if team is None:
            for k in range(used):
                learn(k)
        else:
            team.share(learn, used)
        _average(self._parameters[:used], parameters)
        _average(self._slots[:used], slots)
        for own in sums:
            totals += own


def _average(copies: list[np.ndarray], out: np.ndarray) -> None:
    """Write the mean of ``copies`` to ``out``, summed in their order."""
    out[:] = copies[0]
    for copy in copies[1:]:
        out += copy
    out *= out.dtype.type(1 / len(copies))


def check_replicas(
    replicas: Any, batch_size: int, rule: Rule, dropout: np.ndarray, sparse: bool, word: str
) -> int:
    """Return how many replicas there are; ``word`` is what the user calls the optimiser.

    Raises
    ------
    ValueError, TypeError
        Not an integer from 1; more than 1 where training is not exact per-sample SGD.
    """
    count = integer("replicas", replicas)
    optimizer = list(TABLE)[rule.optimizer]
    found = [f"{name}={getattr(rule, name):g}" for name in _OTHERS if getattr(rule, name)]
    if rule.clip_norm < math.inf:
        found.append(f"clip_norm={rule.clip_norm:g}")
    if dropout.any():
        found.append("dropout")
    if sparse and optimizer in ("momentum", "nesterov"):
        found.append("CSR rows with momentum")
    if optimizer not in OPTIMIZERS:
        found.insert(0, f"{word}={optimizer!r}")
    if batch_size != 1:
        found.insert(0, f"batch_size={batch_size}")
    if count > 1 and found:
        raise ValueError(
            f"replicas={count} needs exact per-sample SGD: batch_size=1 and {word} "
            f"{', '.join(OPTIMIZERS)}, with an L2 penalty at the most; got {', '.join(found)}"
        )
    return count
