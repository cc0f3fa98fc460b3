"""Time contenders against each other: in turns, in one process, compilation apart.

A contender that is asked for a fit of one epoch and for a long one pays for setting up and for
checking its input in both; the difference is what the epochs between them cost.  A prediction has
no set-up: it has a long run only, as a difference has the noise of both.

All take turns in each round, so that whatever slows the machine for a while slows them together,
and the ratio within a round is what is looked at; of several rounds the median counts.
"""

import gc
import math
import time
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

#: Extra epochs of a long fit, at the least and at the most.
LEAST_EPOCHS, MOST_EPOCHS = 2, 100
#: A contender whose turn takes longer than this, in seconds, has its turn in the first rounds only.
SLOW_TURN, SLOW_ROUNDS = 1.0, 3


class Contender(Protocol):
    """One library's way of doing a task."""

    def run(self, times: int) -> None:
        """Train for so many epochs from the task's initial weights, or predict so many times."""

    def result(self) -> np.ndarray:
        """Return what the last run made: parameters, or predictions."""


@dataclass
class Timing:
    """What was measured of a contender.

    Attributes
    ----------
    contender : Contender
    extra : int
        Epochs by which the long fit is longer than the short one.
    short : int
        Epochs of the short fit: 1, or 0 where there is none because nothing is set up.
    first_call : float
        Seconds that the first call of all took beyond the second: loading and compiling.
    turn : float
        Seconds of a round.
    seconds : dict of int to float
        Seconds of one epoch, by round.
    """

    contender: Contender
    extra: int
    short: int
    first_call: float
    turn: float
    seconds: dict[int, float] = field(default_factory=dict)

    @property
    def long(self) -> int:
        """Epochs of the long fit."""
        return self.short + self.extra

    def median(self) -> float:
        """Return the median seconds of an epoch; NaN where no round gave any."""
        return float(np.median(list(self.seconds.values()))) if self.seconds else math.nan


def clock(contender: Contender, times: int) -> float:
    """Return the seconds of one run."""
    start = time.perf_counter()
    contender.run(times)
    return time.perf_counter() - start


def calibrate(contender: Contender, seconds: float, *, sets_up: bool = True) -> Timing:
    """Run a contender for the first time, and find how many epochs take so many seconds."""
    first = clock(contender, 1)
    one = clock(contender, 1)
    short, seconds_short = (1, one) if sets_up else (0, 0.0)
    extra = _epochs(seconds, one)
    long = clock(contender, short + extra)
    if extra < MOST_EPOCHS and long - seconds_short < seconds / 2:
        extra = _epochs(seconds, (long - seconds_short) / extra)
        long = clock(contender, short + extra)
    return Timing(contender, extra, short, max(first - one, 0.0), seconds_short + long)


def _epochs(seconds: float, epoch: float) -> int:
    return min(max(math.ceil(seconds / max(epoch, 1e-9)), LEAST_EPOCHS), MOST_EPOCHS)


def take_turns(timings: list[Timing], rounds: int) -> None:
    """Time contenders in turns, another one first in each round.

    Adds the seconds of each round to the ``timings``, and leaves every contender after a long fit.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        for r in range(rounds):
            first = r % len(timings)
            for timing in timings[first:] + timings[:first]:
                if r >= SLOW_ROUNDS and timing.turn > SLOW_TURN:
                    continue
                short = clock(timing.contender, timing.short) if timing.short else 0.0
                long = clock(timing.contender, timing.long)
                if long > short:  # else something else had the machine
                    timing.seconds[r] = (long - short) / timing.extra
    finally:
        if collecting:
            gc.enable()


def ratios(theirs: Timing, ours: Timing) -> np.ndarray:
    """Return how many times as long theirs took as ours, in each round that both had a turn."""
    common = theirs.seconds.keys() & ours.seconds.keys()
    return np.array([theirs.seconds[r] / ours.seconds[r] for r in sorted(common)])
