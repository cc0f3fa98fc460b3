"""The time of a job in units of a reference's, by rounds in which the two alternate.

What moves a time on a shared machine, and what is done about it:

- Other programs take the core, and leave cold caches behind: a job of a third of a megabyte takes
  90 % longer in its next call and 4 % longer in its fourth, a reference in registers nothing.  So
  does, by 5 to 10 %, the first call after calls of something else.  Calls are short (0.1 to 1 ms),
  several are made on end, and the shortest counts.
- Another thread runs on the same core, and a virtual machine does not even see it: for a few
  milliseconds or for half a minute a job takes 30 to 80 % longer, the FMA peak 1 %.  A witness,
  which suffers first, is called before, between and after the two: rounds count when it was fast,
  forks when it was as fast in them as in others.
- New memory costs page faults, up to 260 in a job of a millisecond, which then takes two. Whether
  a job's own arrays are new each time is decided by what the process freed before: `malloc` is
  told to keep all of it.
- Data larger than the core's own cache depends on the pages that it got and on the machine's other
  cores: jobs stay below a megabyte.
- The clock rate changes from second to second: the calls of the reference and those of the job lie
  within milliseconds.
- Where arrays happen to lie decides by up to 30 % (vectors across cache lines, pages that share
  sets of the cache), and a process keeps its places: in each round everything lies elsewhere, and
  forks repeat the rounds on other pages.

Disturbances only add: a fork's time of either is the lowest decile over its rounds, and what
remains is the lower quartile over the forks; where these differ, more of them are asked.
"""

import contextlib
import ctypes
import math
import os
import pickle
import time

import numpy as np

from benchmarks.reference import witness

#: At least and at most so many forks; they end when the ratio's standard error is below TIGHT.
FORKS, MORE_FORKS, TIGHT = 5, 10, 0.01
#: Undisturbed rounds of a fork that are enough, and that are too few, and seconds of the CPU to
#: wait for them; the share of them that is faster than what counts.
ROUNDS, FEWEST, PATIENCE, LOW = 40, 10, 1.5, 0.1
#: Calls in a round, and seconds after which there are no more.
CALLS, LONG = 7, 0.02
#: Options of glibc's `malloc` and their values: freed memory stays, arrays up to 32 MiB come of it.
HEAP = {-1: 1 << 30, -3: 1 << 25}
#: The witness takes at most so many times its least time beside what counts.
QUIET = 1.05


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
    answers = []
    while len(answers) < FORKS or (len(answers) < MORE_FORKS and _error(answers) > TIGHT):
        least = min((answer[0] for answer in answers), default=math.inf)
        answers.append(_forked(_times, prepare, reference, least))
    _, below, above = np.quantile(_undisturbed(answers), 0.25, axis=0)
    return float(above / below)


def _undisturbed(answers):
    """Return the answers of the forks whose witness was fast, and of three at least."""
    answers = sorted(answers)
    limit = QUIET * answers[0][0]
    return [answer for i, answer in enumerate(answers) if i < 3 or answer[0] < limit]


def _error(answers):
    """Return the relative standard error of the ratio, from the middle half over the forks."""
    ratios = [above / below for _, below, above in _undisturbed(answers)]
    if len(ratios) < FORKS:
        return math.inf
    low, middle, high = np.quantile(ratios, (0.25, 0.5, 0.75))
    # The middle half of normal numbers is 1.35 sigma wide; a quartile errs 1.36 times as a mean.
    return (high - low) / middle / len(ratios) ** 0.5


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


def _times(prepare, reference, least):
    """Return the times of the witness, the reference and the job in a fork.

    The witness took ``least`` in other forks.
    """
    with contextlib.suppress(AttributeError):  # another C library
        for option, value in HEAP.items():
            ctypes.CDLL(None).mallopt(option, value)
    rng = np.random.default_rng()
    calls = witness, reference, prepare()
    for call in calls:  # loads the kernels
        call()
    rounds, quiet, end = [], [], time.process_time() + PATIENCE
    while len(rounds) < ROUNDS or (len(quiet) < ROUNDS and time.process_time() < end):
        # Blocks of other sizes in the heap move whatever the job allocates.
        blocks = [np.empty(16 * int(size), np.uint8) for size in rng.integers(1, 1024, 16)]
        calls = witness, reference, witness, prepare(), witness
        before, below, between, above, after = (_shortest(call) for call in calls)
        del calls, blocks
        rounds.append((max(before, between, after), below, above))
        least = min(least, before, between, after)
        quiet = [times for times in rounds if times[0] < QUIET * least]
    if len(quiet) < FEWEST:
        quiet = sorted(rounds)[:FEWEST]
    return np.quantile(quiet, LOW, axis=0).tolist()


def _shortest(call):
    """Return the shortest time of a few calls, the witness's of one."""
    seconds = [_seconds(call)]
    while call is not witness and len(seconds) < CALLS and sum(seconds) < LONG:
        seconds.append(_seconds(call))
    return min(seconds)


def _seconds(call):
    """Return the seconds of a call by the clock on the wall, whose errors are all above."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
