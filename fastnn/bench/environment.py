"""One thread for everyone: what must be set before the libraries are loaded, and one core.

Some libraries have threads that no setting takes away (JAX's compiled code hands work to a pool of
as many as there are cores); kept to one core they are no faster than one.
"""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator

#: Read by BLAS, OpenMP, Numba and XLA when they are loaded.
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "VECLIB_MAXIMUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
    "JAX_PLATFORMS": "cpu",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
}


def is_one_thread() -> bool:
    """Return whether this process was started with one thread for everyone."""
    return all(os.environ.get(name) == value for name, value in ONE_THREAD.items())


def restart() -> int:
    """Run this same command in a process with one thread; return its exit code."""
    command = [sys.executable, "-m", "fastnn", *sys.argv[1:]]
    return subprocess.run(command, env=os.environ | ONE_THREAD, check=False).returncode


@contextlib.contextmanager
def one_core() -> Iterator[None]:
    """Keep this thread, and those it starts, to one core, where the system can (Linux)."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})  # the first is often busy with the system's own work
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
