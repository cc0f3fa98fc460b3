"""Threads: how many, teams of them, and what a team does with a batch.

Kernels release Python's lock, so threads are all that is needed to use all cores.  A team's
threads live as long as its ``with`` block: none is left behind in a forked child, and none
waits for work while the user's own code runs.
"""

import contextlib
import functools
import itertools
import math
import numbers
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, Self

import numpy as np

from fastnn.kernels.minibatch import train_batches_
from fastnn.kernels.plan import Plan, Rule
from fastnn.kernels.share_team import train_shares_
from fastnn.kernels.shares import layout
from fastnn.kernels.stages import ABORTED, stages_state
from fastnn.kernels.team import train_parts_
from fastnn.memory import aligned_zeros

#: Arithmetic of a batch from which on it is cut into parts; of a part that is worth a thread; of
#: all its parts in a call, which wakes it up.
_BATCH_FLOP, _PART_FLOP, _CALL_FLOP = 2e6, 5e5, 1e7
#: Looks that the first thread waits for the others, and arithmetic that takes as long as one.
_PATIENCE, _LOOK_FLOP = 5000, 500
#: Rows of a batch from which on it has two parts; of a part where there are more; most parts.
_TWO, _ROWS, _MOST = 64, 64, 8
#: Into how many shares the units are cut; rows and arithmetic of a batch from which on that pays,
#: batches in a call, and by how much the parameters must outnumber the scores of a batch.
_SHARES, _SHARED_ROWS, _SHARED_FLOP, _SHARED_BATCHES, _OUTNUMBERED = 2, 16, 5e6, 4, 1.75

_LOCAL = threading.local()


@contextlib.contextmanager
def stoppable(stop: threading.Event) -> Iterator[None]:
    """Let ``stop`` interrupt what this thread trains, where only the main thread gets Ctrl-C."""
    _LOCAL.stop = stop
    try:
        yield
    finally:
        _LOCAL.stop = None


def checkpoint() -> None:
    """Raise KeyboardInterrupt if this thread is to stop; training calls it between slices."""
    stop = getattr(_LOCAL, "stop", None)
    if stop is not None and stop.is_set():
        raise KeyboardInterrupt


def count_threads(n_jobs: int | None) -> int | None:
    """Return how many threads ``n_jobs`` stands for, as joblib and scikit-learn understand it.

    None stays None unless a ``joblib.parallel_config`` says otherwise; -1 is all cores, -2 all
    but one.  There are never more than cores that this process may use.

    Raises
    ------
    TypeError, ValueError
        Neither None nor an integer; 0.
    """
    if n_jobs is not None:
        if isinstance(n_jobs, bool) or not isinstance(n_jobs, numbers.Integral):
            raise TypeError(f"n_jobs must be None or an integer, got {n_jobs!r}")
        if n_jobs == 0:
            raise ValueError("n_jobs must not be 0; None or 1 is one thread, -1 all cores")
    if n_jobs == 1:
        return 1
    if n_jobs is None and "joblib" not in sys.modules:
        return None
    import joblib  # takes longer to import than all of fastnn

    wanted = joblib.effective_n_jobs(None if n_jobs is None else int(n_jobs))
    if n_jobs is None and wanted == 1:
        return None
    return max(1, min(wanted, joblib.cpu_count()))


class Team:
    """Threads that work together, the calling one among them.

    Parameters
    ----------
    members : int
        How many.
    """

    def __init__(self, members: int) -> None:
        self.members = members
        self._pool: ThreadPoolExecutor | None = None
        self._room = np.empty(0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown()

    def run(
        self, kernel: Callable, members: int, tasks: int, *args: Any, closed: bool = False
    ) -> None:
        """Call ``kernel(*args, member, members, state)`` in as many threads.

        ``state`` is that of stages of so many ``tasks``.  Returns when all threads have returned,
        after an interrupt too.  Of a ``closed`` kernel all is done when the first has: the others,
        who have lost their cores or are about to leave, are waited for when the team parts.
        """
        state = stages_state(tasks)

        def be(member: int) -> bool:
            try:
                kernel(*args, member, members, state)
            except BaseException:
                state[ABORTED] = 1  # the others would wait for ever
                raise
            return closed and not state[ABORTED]

        self._together(be, members, lambda: state.__setitem__(ABORTED, 1))

    def room(self, size: int, dtype: np.dtype) -> np.ndarray:
        """Return memory of the team's own, the same as before if it is large enough.

        It begins at a line of the cache.
        """
        if self._room.size < size or self._room.dtype != dtype:
            self._room = aligned_zeros(size, dtype)
        return self._room

    def share(self, work: Callable[[int], object], n: int) -> None:
        """Call ``work(i)`` for each ``i`` below ``n``, in the thread that is free next.

        After an exception, or an interrupt, nothing more is begun.
        """
        numbers = itertools.count()  # its next() is indivisible
        stopped = False

        def be(member: int) -> bool:
            nonlocal stopped
            try:
                while not stopped and (i := next(numbers)) < n:
                    work(i)
            except BaseException:
                stopped = True
                raise
            return False

        def stop() -> None:
            nonlocal stopped
            stopped = True

        self._together(be, min(self.members, n), stop)

    def _together(
        self, be: Callable[[int], bool], members: int, give_up: Callable[[], None]
    ) -> None:
        """Call ``be(member)`` in as many threads; raise the first error when all have ended.

        If this thread's call returns that all is done, the others may end later.
        """
        if members == 1:
            be(0)
            return
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.members - 1, thread_name_prefix="fastnn")
        futures: list[Future] = []
        done = False
        try:
            futures += [self._pool.submit(be, member) for member in range(1, members)]
            done = be(0)
        except BaseException:
            give_up()
            raise
        finally:
            late = [future for future in futures if not future.cancel() and not done]
            wait(late)
        for future in late:
            future.result()


def team_of(threads: int | None) -> contextlib.AbstractContextManager[Team | None]:
    """Return a `Team`, or None for None, to be used in a ``with`` statement."""
    return contextlib.nullcontext() if threads is None else Team(threads)


def count_parts(team: Team | None, batch_size: int, n_parameters: int) -> int:
    """Return into how many parts a batch is cut; without a team it is whole.

    The number of threads plays no role, so that it cannot be seen in the result.
    """
    if team is None or batch_size < _TWO or 6 * n_parameters * batch_size < _BATCH_FLOP:
        return 1
    return min(max(batch_size // (2 * _ROWS), 1) * 2, _MOST)


def count_shares(team: Team | None, plan: Plan, rule: Rule, batch_size: int) -> int:
    """Return into how many shares the units are cut, 1 where batches are rather cut into parts.

    Threads that have parts exchange all parameters and gradients; those that have shares the scores
    above the first hidden layer and what comes back to them.
    """
    sizes = plan.sizes
    n_parameters = int(plan.biases[-1] + sizes[-1])
    able = sizes.size > 2 and not plan.dropout.any() and rule.clip_norm == math.inf
    enough = batch_size >= _SHARED_ROWS and 6 * n_parameters * batch_size >= _SHARED_FLOP
    fewer = n_parameters >= _OUTNUMBERED * batch_size * int(sizes[2:].sum())
    return _SHARES if team is not None and able and enough and fewer else 1


def is_shared(team: Team | None, plan: Plan, rule: Rule, n: int, batch_size: int) -> bool:
    """Return whether the units are shared in a call for ``n`` rows."""
    return n >= _SHARED_BATCHES * batch_size and count_shares(team, plan, rule, batch_size) > 1


def train_batches(
    team: Team | None,
    plan: Plan,
    parameters: np.ndarray,
    rows: Any,
    targets: Any,
    order: np.ndarray,
    start: int,
    stop: int,
    batch_size: int,
    normaliser: float,
    rule: Rule,
    rate: float,
    gradient: np.ndarray,
    slots: np.ndarray,
    t: int,
    steps: bool,
    totals: np.ndarray,
) -> None:
    """Do what `train_batches_` does, by a team if batches are cut into parts or shares.

    ``gradient`` (parts, n_parameters) has a row for each part of `count_parts`.
    """
    parts = len(gradient)
    data = plan, parameters, rows, targets, order, start, stop, batch_size
    whole = normaliser == 0
    if team is not None and whole and is_shared(team, plan, rule, stop - start, batch_size):
        train_shares(team, *data, rule, [rate], 0, slots, t, totals[None])
    elif team is not None and parts > 1:
        members, room = _room_of_parts(team, parts, parameters, stop - start, batch_size)
        team.run(
            train_parts_, members, parts, *data, normaliser, rule, rate, gradient, slots, t, steps,
            *room, totals,
        )  # fmt: skip
    else:
        train_batches_(*data, normaliser, rule, rate, gradient[0], slots, t, steps, totals)


def train_shares(
    team: Team,
    plan: Plan,
    parameters: np.ndarray,
    rows: Any,
    targets: Any,
    order: np.ndarray,
    start: int,
    stop: int,
    batch_size: int,
    rule: Rule,
    rates: Sequence[float],
    apart: int,
    slots: np.ndarray,
    t: int,
    totals: np.ndarray,
) -> None:
    """Train an epoch at each of the ``rates`` on batches whose units are shared.

    Each is on rows ``apart`` places further in the order than the one before, and has a row of
    ``totals``.
    """
    n, done = stop - start, 0
    made = np.zeros(1, np.int64)
    while done < len(rates):
        left = np.array(rates[done:], dtype=np.float64)
        first = start + done * apart
        members, room = _room_of_shares(team, plan, parameters, n * left.size, batch_size, slots)
        team.run(
            train_shares_, members, _SHARES, plan, parameters, rows, targets, order, first,
            first + n, batch_size, rule, left, apart, slots, t - done * (-n // batch_size), *room,
            totals[done:], made, closed=True,
        )  # fmt: skip
        done += int(made[0])


def _room_of_parts(
    team: Team, parts: int, parameters: np.ndarray, n: int, batch_size: int
) -> tuple[int, tuple]:
    """Return how many threads train on parts of batches of ``n`` rows, and their scratch."""
    row = 6 * parameters.size
    part = row * min(batch_size, n) / parts
    worth = int(min(parts * part / _PART_FLOP, row * n / _CALL_FLOP))
    members = max(1, min(team.members, parts, worth))
    return members, (
        team.room((members - 1) * parameters.size, parameters.dtype),
        np.zeros(parts, np.int64), np.empty((2, parts)),
        _PATIENCE + int(parts / members * part / _LOOK_FLOP),
    )  # fmt: skip


@functools.lru_cache(8)
def _layout(
    sizes: tuple[int, ...], shares: int, batch_size: int
) -> tuple[np.ndarray, int, int, int]:
    """Return the `layout` of a network, worked out once: every call asks for it."""
    return layout(np.array(sizes), shares, batch_size)


def _room_of_shares(
    team: Team, plan: Plan, parameters: np.ndarray, n: int, batch_size: int, slots: np.ndarray
) -> tuple[int, tuple]:
    """Return how many threads share the units in batches of ``n`` rows, and their scratch."""
    places, size, units, sums = _layout(tuple(plan.sizes.tolist()), _SHARES, batch_size)
    shape = (_SHARES, 2 + len(slots), size)
    room = team.room(math.prod(shape) + 3 * units + sums, parameters.dtype)
    own, of_units, rest = np.split(room, np.cumsum([math.prod(shape), 3 * units]))
    row = 6 * parameters.size
    members = max(1, min(team.members, _SHARES, int(row * n / _CALL_FLOP)))
    return members, (
        places, own.reshape(shape), of_units.reshape(3, units), rest, np.empty((2, _SHARES)),
        _PATIENCE + int(row * batch_size / members / _LOOK_FLOP),
    )  # fmt: skip
