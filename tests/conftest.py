"""What all tests share: the precisions, their unit of rounding, and seeded draws."""

import os

# Before NumPy loads: threads that wait for each other on tiny products take most of the time.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import pytest

from fastnn.kernels.jit import JIT

#: Largest relative rounding error of one operation.
EPS = {"float32": 2.0**-23, "float64": 2.0**-52}


@pytest.fixture(params=["float32", "float64"])
def precision(request):
    return request.param


@pytest.fixture
def eps(precision):
    return EPS[precision]


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(autouse=True)
def _like_machine_code():
    """Silence NumPy scalars where machine code yields inf or NaN without a word."""
    if JIT:
        yield
    else:
        with np.errstate(all="ignore"):
            yield


@pytest.fixture
def steady_time(monkeypatch):
    """Let every epoch of the race take a second, whatever this machine is doing."""
    from fastnn.bench import timing

    def clock(contender, times):
        contender.run(times)
        return float(times)

    monkeypatch.setattr(timing, "clock", clock)
