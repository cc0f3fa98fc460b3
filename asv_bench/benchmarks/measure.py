"""The time of a job in units of a reference's, by rounds in which the two alternate.

What moves a time on a shared machine, and what is done about it:

- Other programs take the core: the clock counts the process's own CPU time.
- They leave cold caches behind: a job of a third of a megabyte takes 90 % longer in its next call
  and 4 % longer in its fourth, a reference in registers nothing.  So does, by 5 to 10 %, the first
  call after calls of something else.  Each is called several times on end, and a call counts when
  the core was not taken away in it and the four before.  Calls are short (0.1 to 1 ms), so that
  enough of them fit between two switches.
- New memory costs page faults, and data larger than the core's own cache depends on the pages that
  it got and on the machine's other cores: jobs stay below a megabyte.
- The clock rate changes from second to second: the calls of the reference and those of the job lie
  within milliseconds, and a round's ratio is that of the shortest of each.
- Where arrays happen to lie decides by up to 30 % (vectors across cache lines, pages that share
  sets of the cache), and a process keeps its places: in each round everything lies elsewhere, and
  forks repeat the rounds on other pages.

The median over the forks remains; where they differ, more of them are asked.
"""

import math
import os
import pickle
import resource
import statistics
import time

import numpy as np

#: At least and at most so many forks; they end when the median's standard error is below TIGHT.
FORKS, MORE_FORKS, TIGHT = 6, 12, 0.006
#: Of rounds, in each fork, and how many of them there must be.
SECONDS, ROUNDS = 0.3, 12
#: Calls that count in a round, of those that have WARMING ones before them; calls and seconds after
#: which a round goes on without.
COUNTED, WARMING, CALLS, LONG = 3, 4, 40, 0.02
#: Seconds that are timed at a time: shorter calls are made several times, or the clock would count.
ENOUGH = 1e-4


class Movable:
    """An array whose copies lie at another place each time; the latest one is valid."""

    def __init__(self, array):
        self.array = array
        self._room = np.empty(getattr(array, "nbytes", 0) + 8192, np.uint8)

    def __call__(self):
        """Return the copy, at a random multiple of 16 bytes, as `malloc` could have placed it."""
        if not isinstance(self.array, np.ndarray):  # a sparse matrix, which lies in three parts
            return self.array.copy()
        start = 16 * int(np.random.default_rng().integers(512))
        place = self._room[start : start + self.array.nbytes]
        copy = place.view(self.array.dtype).reshape(self.array.shape)
        copy[...] = self.array
        return copy


def ratio(prepare, reference):
    """Return the time of a job over a reference's.

    Parameters
    ----------
    prepare : callable
        Returns the job: a callable without arguments, called several times, of 0.1 to 1 ms.
    reference : callable
        Without arguments, of about the same time.

    Returns
    -------
    float
    """

    def both():
        prepare()()
        reference()

    # Some processes run a kernel up to 25 % slower, from start to end, wherever the arrays lie: one
    # fork compiles, then each loads the machine code for itself, to pages of its own.
    _forked(both)
    ratios = []
    while len(ratios) < FORKS or (len(ratios) < MORE_FORKS and _error(ratios) > TIGHT):
        ratios.append(_forked(_ratio_of_rounds, prepare, reference))
    return statistics.median(ratios)


def _error(ratios):
    """Return the relative standard error of the median, from the middle half of the ratios."""
    low, middle, high = np.quantile(ratios, (0.25, 0.5, 0.75))
    # The middle half of normal numbers is 1.35 sigma wide; a median errs 1.25 times as a mean.
    return 1.25 * (high - low) / 1.35 / middle / len(ratios) ** 0.5


def _forked(function, *arguments):
    """Return what a function returns in a fork of this process."""
    receiving, sending = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            answer = function(*arguments)
        except BaseException as error:
            answer = repr(error)
        os.write(sending, pickle.dumps(answer))
        os._exit(0)
    os.close(sending)
    with open(receiving, "rb") as pipe:
        answer = pickle.load(pipe)
    os.waitpid(child, 0)
    if isinstance(answer, str):
        raise RuntimeError(f"in a fork: {answer}")
    return answer


def _ratio_of_rounds(prepare, reference):
    """Return the lower quartile of the rounds: what still disturbs costs the job more."""
    rng = np.random.default_rng()
    calls = prepare(), reference
    for call in calls:  # loads the kernels
        call()
    numbers = [math.ceil(ENOUGH / max(_seconds(call, 1), 1e-9)) for call in calls]
    warm, others = [], []
    end = time.perf_counter() + SECONDS
    while (now := time.perf_counter()) < end or len(warm) < ROUNDS:
        if now > end + 3 * SECONDS and len(warm) + len(others) >= ROUNDS:
            break
        # Blocks of other sizes in the heap move whatever the job allocates.
        blocks = [np.empty(16 * int(size), np.uint8) for size in rng.integers(1, 1024, 16)]
        job = prepare()
        below, first_warm = _shortest(reference, numbers[1])
        above, then_warm = _shortest(job, numbers[0])
        (warm if first_warm and then_warm else others).append(above / below)
        del job, blocks
    return float(np.quantile(warm if len(warm) >= ROUNDS else warm + others, 0.25))


def _shortest(call, number=1):
    """Return the shortest time of a few calls, and whether they had warm caches.

    Each is ``number`` calls on end, whose mean counts.
    """
    seconds, warm, switches = [], [], [_switches()]
    while len(warm) < COUNTED and len(seconds) < CALLS:
        if len(seconds) > 1 and number * sum(seconds) > LONG:
            break
        seconds.append(_seconds(call, number))
        switches.append(_switches())
        if len(seconds) > WARMING and switches[-1] == switches[-2 - WARMING]:
            warm.append(seconds[-1])
    return min(warm or seconds), bool(warm)


def _seconds(call, number):
    start = time.process_time()
    for _ in range(number):
        call()
    return (time.process_time() - start) / number


def _switches():
    """Return how often this process lost its core to another."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
