"""The time of a job in units of a reference's, by rounds in which the two alternate.

What moves a time on a shared machine, and what is done about it:

- Other programs take the core: the clock counts the thread's own CPU time, and a round in which
  the kernel took the core away, which leaves cold caches behind, is dropped.
- The clock rate and the neighbours on the same core change from second to second: the reference
  runs just before and just after the job, and a round counts as their ratio.
- What disturbs costs a job, which has caches to lose, more than a reference in registers: of a
  fork's ratios the lower quartile counts.
- Where arrays happen to lie decides by up to 30 % (vectors across cache lines, pages that share
  sets of the cache), and a process keeps its places: in each round everything lies elsewhere, and
  forks repeat the rounds on other pages.

The median over the forks remains.
"""

import os
import pickle
import resource
import statistics
import time

import numpy as np

FORKS = 8
#: Of rounds, in each fork.  Where undisturbed ones are rare, the others count after twice the time.
SECONDS = 0.35
ROUNDS = 15


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
        Returns the job: a callable without arguments, called once, of about 1 ms.
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
    return statistics.median(_forked(_quartile_of_rounds, prepare, reference) for _ in range(FORKS))


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


def _quartile_of_rounds(prepare, reference):
    """Alternate the job and the reference; return the lower quartile of their ratios."""
    rng = np.random.default_rng()
    undisturbed, others = [], []
    for _ in range(2):  # load kernels, and fill caches
        prepare()()
        reference()
    end = time.perf_counter() + SECONDS
    while (now := time.perf_counter()) < end or len(undisturbed) < ROUNDS:
        if now > end + SECONDS and len(undisturbed) + len(others) >= ROUNDS:
            break
        # Blocks of other sizes in the heap move whatever the job allocates.
        blocks = [np.empty(16 * int(size), np.uint8) for size in rng.integers(1, 1024, 16)]
        job = prepare()
        reference()
        switches = _switches()
        before, middle, after = _seconds(reference), _seconds(job), _seconds(reference)
        measured = undisturbed if _switches() == switches else others
        measured.append(2 * middle / (before + after))
        del job, blocks
    counted = undisturbed if len(undisturbed) >= ROUNDS else undisturbed + others
    return float(np.quantile(counted, 0.25))


def _seconds(job):
    start = time.thread_time()
    job()
    return time.thread_time() - start


def _switches():
    """Return how often this thread lost its core to another."""
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw
