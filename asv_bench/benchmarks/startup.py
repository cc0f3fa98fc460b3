"""What a user waits for at first: imports, compilation; and the memory that it takes."""

import os
import signal
import statistics
import subprocess
import sys
import time

import numba
import numpy as np

from benchmarks.problems import available, classes

#: A first fit with default parameters on as many rows as iris has, by what is fitted.
FITS = {
    "fastnn:Network": """
import numpy as np
from fastnn import Network
X = np.random.default_rng(0).standard_normal((150, 4)).astype(np.float32)
Network([4, 100, 3], loss="cross_entropy", random_state=0).fit(X, X[:, :3].argmax(axis=1))
""",
    "fastnn:SGDClassifier": """
import numpy as np
from fastnn import SGDClassifier
X = np.random.default_rng(0).standard_normal((150, 4))
SGDClassifier(random_state=0).fit(X, X[:, :3].argmax(axis=1))
""",
    "fastnn:MLPClassifier": """
import warnings
import numpy as np
from fastnn import MLPClassifier
warnings.simplefilter("ignore")
X = np.random.default_rng(0).standard_normal((150, 4))
MLPClassifier(random_state=0).fit(X, X[:, :3].argmax(axis=1))
""",
}

EMPTY_CACHE = """
import os, tempfile
folder = tempfile.TemporaryDirectory()
os.environ["NUMBA_CACHE_DIR"] = folder.name
"""


def run(code):
    """Return what a fresh process prints."""
    command = [sys.executable, "-c", code]
    return subprocess.run(command, check=True, capture_output=True).stdout


def compiling():
    """Return the seconds of the CPU that compiling a fixed function takes."""
    lines = ["def f(x):", "  t = 0.0", *5 * ["  for v in x:", "    t += v * t + 1.0"], "  return t"]
    names = {}
    exec("\n".join(lines), names)
    start = time.process_time()
    numba.njit(names["f"])(np.ones(3))
    return time.process_time() - start


def over_compiling(code):
    """Return the CPU time of a fresh process in units of compiling a fixed function.

    After every quarter of a second of it, it is stopped and the function compiled on the same core:
    what slows the machine down slows both, and each part of the process is divided by what
    compiling took before and after.
    """
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        compiling()
        total, used, before = 0.0, 0.0, compiling()
        same_order = {**os.environ, "PYTHONHASHSEED": "0"}  # of Numba's sets
        child = subprocess.Popen([sys.executable, "-c", code], env=same_order)
        clock = ~child.pid << 3 | 2  # its CPU time: see clock_getcpuclockid(3)
        running = True
        while running:
            os.kill(child.pid, signal.SIGCONT)
            for _ in range(100):
                time.sleep(0.01)
                if time.clock_gettime(clock) - used > 0.25:
                    break
            os.kill(child.pid, signal.SIGSTOP)
            state = os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
            running = state.si_code == os.CLD_STOPPED
            now, after = time.clock_gettime(clock), compiling()
            total += 2 * (now - used) / (before + after)
            used, before = now, after
        if child.wait():
            raise RuntimeError(f"exit code {child.returncode}")
        return total
    finally:
        os.sched_setaffinity(0, cores)


class Import:
    """``import fastnn`` in a fresh process."""

    def timeraw_import(self):
        return "import fastnn"


class Warm:
    """A first fit in a fresh process, its kernels in the cache."""

    params = [list(FITS)]
    param_names = ["fitted"]
    number = 1
    timeout = 600

    def setup(self, fitted):
        available(fitted)
        run(FITS[fitted])

    def timeraw_first_fit(self, fitted):
        return FITS[fitted]


class Cold:
    """A first fit in a fresh process, and no kernel in the cache."""

    params = [list(FITS)]
    param_names = ["fitted"]
    number, repeat, rounds, warmup_time, timeout = 1, 2, 1, 0, 600

    def setup(self, fitted):
        available(fitted)

    def timeraw_first_fit(self, fitted):
        return FITS[fitted], EMPTY_CACHE

    def track_first_fit_over_compiling(self, fitted):
        return statistics.median(over_compiling(EMPTY_CACHE + FITS[fitted]) for _ in range(3))

    track_first_fit_over_compiling.unit = "x compiling a function of 5 loops"


class Compiled:
    """Signatures of the kernels that a session compiles, whatever the networks in it."""

    def setup(self):
        self.network = available("fastnn:Network")
        self.signatures = available("fastnn.kernels.jit:compiled_signatures")
        self.X = np.random.default_rng(0).standard_normal((30, 4))
        self.y = self.X[:, :3].argmax(axis=1)

    def track_signatures(self):
        for shape in ([4, 3], [4, 8, 3], [4, 8, 8, 3]):
            for activation in ("relu", "tanh"):
                net = self.network(shape, activation=activation, loss="cross_entropy")
                net.fit(self.X, self.y)
                net.fit(self.X, self.y, optimizer="adam", batch_size=10)
                net.forward(self.X)
        return sum(self.signatures().values())

    track_signatures.unit = "compiled signatures"


class Memory:
    """The process at its peak, training on 100 000 rows of 20 features (8 MB)."""

    def setup(self):
        self.network = available("fastnn:Network")

    def peakmem_fit(self):
        X, y = classes(20, 2, 100_000)
        net = self.network([20, 32, 2], loss="cross_entropy", random_state=0)
        net.fit(X, y, optimizer="adam", batch_size=128)
