"""One row of a table: the contenders of a task, timed, and refused where they did another task."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fastnn.bench.limits import OnePass
from fastnn.bench.peers import Peer, our_contender
from fastnn.bench.tasks import Dense
from fastnn.bench.timing import Contender, Timing, calibrate, ratios, take_turns

#: Epochs after which two contenders are compared, at the most: a deep network that comes to know
#: its rows by heart multiplies rounding by ten thousand in the next two.
COMPARED_EPOCHS = 2


@dataclass(frozen=True)
class Case:
    """A task with a name.

    Attributes
    ----------
    name : str
    task : Dense or Linear
        Of `fastnn.bench.tasks`.
    goals : dict of str to float
        How many times as long each peer should take.
    limit_goal : float or None
        Percent of the machine's limit that should be reached.
    ours : callable
        Makes fastnn's contender.
    """

    name: str
    task: Any
    goals: Mapping[str, float] = field(default_factory=dict)
    limit_goal: float | None = None
    ours: Callable[[Any], Contender] = our_contender


@dataclass
class Comparison:
    """A peer's time beside that of fastnn.

    Attributes
    ----------
    nanoseconds : float or None
        Median time of a row.
    ratio, ratio_low, ratio_high : float or None
        How many times as long as fastnn it took: median and quartiles of the rounds.
    goal : float or None
        What ``ratio`` should be.
    first_call : float
        Seconds that its first call took beyond the second: loading and compiling.
    refused : str or None
        Why there are no numbers.
    """

    nanoseconds: float | None = None
    ratio: float | None = None
    ratio_low: float | None = None
    ratio_high: float | None = None
    goal: float | None = None
    first_call: float = 0.0
    refused: str | None = None


@dataclass
class Row:
    """What was measured of a case.

    Attributes
    ----------
    name : str
    nanoseconds : float
        Median time of a row (a sample) in fastnn.
    first_call : float
        As of a `Comparison`.
    limit_percent, limit_goal : float or None
        Speed as a share of the machine's limit.
    peers : dict of Comparison
        By key; peers that have no way of doing the task are left out.
    """

    name: str
    nanoseconds: float
    first_call: float
    limit_percent: float | None
    limit_goal: float | None
    peers: dict[str, Comparison]


def race(
    case: Case, peers: dict[str, Peer], *, rounds: int, seconds: float, operations: float
) -> Row:
    """Time fastnn and the peers on a case.

    Parameters
    ----------
    case : Case
    peers : dict of Peer
        Those that are installed.
    rounds : int
        Turns of each contender.
    seconds : float
        Least time of the part of a turn that counts.
    operations : float
        The machine's floating-point operations a second, which is the limit of dense networks; that
        of linear models is one pass over the rows.

    Returns
    -------
    Row
    """
    task, samples = case.task, case.task.samples
    timings: dict[Any, Timing] = {}

    def enter(key: Any, contender: Contender, sets_up: bool = task.sets_up) -> None:
        timings[key] = calibrate(contender, seconds, sets_up=sets_up)

    enter(task, case.ours(task))
    found: dict[str, Comparison] = {}
    tasks = {key: peer.task(task) for key, peer in peers.items()}
    for key, peer in peers.items():
        try:
            contender = peer.contender(tasks[key])
            if contender is None:
                continue
            enter(key, contender)
        except Exception as error:  # of a library that this one knows in other versions only
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            found[key] = Comparison(refused=f"it failed: {reason}")
            continue
        found[key] = Comparison(goal=case.goals.get(key))
        if tasks[key] not in timings:
            enter(tasks[key], case.ours(tasks[key]))
    dense = isinstance(task, Dense)
    if not dense:
        enter(OnePass, OnePass(task.X), sets_up=False)
    take_turns(list(timings.values()), rounds)
    ours = timings[task]
    for key, comparison in found.items():
        if key in timings:
            _compare(comparison, timings[key], timings[tasks[key]], tasks[key])
    if dense:
        percent = 100 * task.operations * samples / ours.median() / operations
    else:
        rounds_of_both = ratios(timings[OnePass], ours)
        percent = 100 * float(np.median(rounds_of_both)) if rounds_of_both.size else None
    return Row(
        case.name, 1e9 * ours.median() / samples, ours.first_call, percent, case.limit_goal, found
    )


def _compare(comparison: Comparison, theirs: Timing, ours: Timing, task: Any) -> None:
    """Fill in a peer's numbers, if it makes what fastnn makes in as many epochs."""
    comparison.first_call = theirs.first_call
    epochs = min(theirs.long, COMPARED_EPOCHS)
    if epochs < theirs.long:
        theirs.contender.run(epochs)
    ours.contender.run(epochs)
    comparison.refused = task.disagreement(ours.contender.result(), theirs.contender.result())
    rounds = ratios(theirs, ours)
    if comparison.refused is None and not rounds.size:
        comparison.refused = "no round gave it and fastnn a time; try again on a quieter machine"
    if comparison.refused is None:
        low, median, high = np.quantile(rounds, [0.25, 0.5, 0.75])
        comparison.nanoseconds = 1e9 * theirs.median() / task.samples
        comparison.ratio, comparison.ratio_low, comparison.ratio_high = (
            float(median), float(low), float(high)
        )  # fmt: skip
