"""Functions that are compiled by themselves, when a kernel first calls them."""

import math
import threading

import numpy as np
import pytest

from fastnn.kernels import apart as module
from fastnn.kernels.apart import apart
from fastnn.kernels.jit import JIT, UNITS, helper, kernel, types
from fastnn.kernels.subnormals import flushing_


def third_(out, x):
    out[0] = x / 3


def doubled(out, x):
    if x < 0:
        raise ValueError("below zero")
    out[0] = x
    return x + x


third_ = apart(third_)
doubled = apart(doubled, types.float64)


@kernel
def choose_(code, out, x):
    if code == 0:
        third_(out, x)
        return -1.0
    return doubled(out, x)


@helper
def flushed_(out, x):
    third_(out, x)


@kernel
def flushing_third_(out, x):
    flushing_(flushed_, (out, x))


@kernel
def failing_(out, x):
    return doubled(out, x)


@pytest.mark.kernel
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_it_is_the_function(dtype):
    out = np.zeros(1, dtype)
    assert choose_(0, out, 1.0) == -1
    assert out[0] == np.dtype(dtype).type(1 / 3)
    for _ in range(2):
        assert choose_(1, out, np.float32(4)) == 8
        assert out[0] == 4


@pytest.mark.kernel
def test_what_it_raises_is_raised():
    with pytest.raises(ValueError, match="below zero"):
        choose_(1, np.zeros(1), -1.0)


@pytest.mark.skipif(not JIT, reason="nothing is compiled")
def test_it_is_compiled_when_it_is_called():
    unit = UNITS[f"{__name__}.doubled"]
    out = np.zeros(1, np.complex64)
    choose_(0, out, 1.0)
    found = len(unit.overloads)
    choose_(1, out, 1.0)
    assert len(unit.overloads) == found + 1
    with pytest.raises(TypeError, match="from a kernel only"):
        unit(out, 1.0)


@pytest.mark.kernel
def test_threads_that_call_it_at_once():
    outs, barrier = [np.zeros(1, np.int32) for _ in range(4)], threading.Barrier(4, timeout=60)

    def run(out):
        barrier.wait()
        choose_(1, out, 6.0)

    threads = [threading.Thread(target=run, args=(out,)) for out in outs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [out[0] for out in outs] == [6] * 4


@pytest.mark.skipif(not JIT, reason="nothing is compiled")
def test_python_computes_with_subnormals_meanwhile(monkeypatch):
    found, native, smallest = [], module.native, math.ulp(0.0)

    def compile(unit, kinds):
        found.append(smallest * 1.0)
        return native(unit, kinds)

    monkeypatch.setattr(module, "native", compile)
    out = np.zeros(1)
    flushing_third_(out, smallest * 9)
    assert found == [smallest]
    assert out[0] == 0


@pytest.mark.skipif(not JIT, reason="nothing is compiled")
@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_a_compilation_that_ends_early(error, monkeypatch, capsys):
    def compile(unit, kinds):
        raise error("early")

    out = np.zeros(1, np.int16)
    with monkeypatch.context() as patch:
        patch.setattr(module, "native", compile)
        with pytest.raises(error):
            failing_(out, 1.0)
        assert ("early" in capsys.readouterr().err) == (error is RuntimeError)
    monkeypatch.undo()
