"""Threads that work in step, from inside their kernels.

A thread pool hands out work in tens of microseconds; a step of a mini-batch takes less.  So each
thread runs one kernel over a whole slice of batches, and the threads see by counters in shared
memory how far the others are, within a tenth of a microsecond.

Their work comes in stages of as many tasks; a task is done by the thread that begins it, and the
next stage opens when all are finished.  The state is an int64 array: `FINISHED` counts tasks,
`ABORTED` is set where one cannot be finished, and `ALONE` by the first thread where it goes on
without the others; each task has a word that tells in how many stages it was begun.  The waiting
spin for a while; then they lose patience, or give their core away between looks.  All that was
stored before a count is seen by those who waited for it.
"""

import os
import time
from typing import Any

import numpy as np
from llvmlite import ir

from fastnn.kernels.jit import JIT, helper, intrinsic, types

#: Places in the state, a line of the cache or more apart.
FINISHED, ABORTED, ALONE, BEGUN, APART = 0, 16, 32, 48, 16
#: Looks in a row, of about 10 ns each, before a waiting thread gives its core away.
SPINS = 2000


def stages_state(tasks: int) -> np.ndarray:
    """Return the state before the first stage, for stages of so many tasks."""
    return np.zeros(BEGUN + APART * tasks, np.int64)


if JIT:
    _I32, _I64 = ir.IntType(32), ir.IntType(64)
    #: The C library's name for giving a core away.
    _YIELD = "SwitchToThread" if os.name == "nt" else "sched_yield"

    def _address(context: Any, builder: Any, array: Any, value: Any, place: Any) -> Any:
        return builder.gep(context.make_array(array)(context, builder, value).data, [place])

    def _call(builder: Any, name: str, result: Any, args: list) -> None:
        """Call a function of the C library or of LLVM, declaring it on first use."""
        function = builder.module.globals.get(name)
        if function is None:
            signature = ir.FunctionType(result, [arg.type for arg in args])
            function = ir.Function(builder.module, signature, name)
        builder.call(function, args)

    @intrinsic
    def exchange(typing: Any, array: Any, place: Any, old: Any, new: Any) -> Any:
        """Store ``new`` in ``array[place]`` if ``old`` is there, indivisibly; return whether."""

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            address = _address(context, builder, array, *args[:2])
            return builder.extract_value(builder.cmpxchg(address, *args[2:], "seq_cst"), 1)

        return types.boolean(array, types.intp, types.int64, types.int64), codegen

    @intrinsic
    def count(typing: Any, array: Any, place: Any) -> Any:
        """Add 1 to ``array[place]``, indivisibly and after all that was stored before."""

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            builder.atomic_rmw("add", _address(context, builder, array, *args), _I64(1), "seq_cst")
            return context.get_dummy_value()

        return types.void(array, types.intp), codegen

    @intrinsic
    def look(typing: Any, array: Any, place: Any) -> Any:
        """Return ``array[place]`` as it is now, and with it all that was stored before it."""

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.load_atomic(_address(context, builder, array, *args), "seq_cst", 8)

        return types.int64(array, types.intp), codegen

    @intrinsic
    def publish(typing: Any, array: Any, place: Any, value: Any) -> Any:
        """Store ``array[place] = value`` after all that was stored before."""

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            address = _address(context, builder, array, *args[:2])
            builder.store_atomic(args[2], address, "seq_cst", 8)
            return context.get_dummy_value()

        return types.void(array, types.intp, types.int64), codegen

    @intrinsic
    def rest(typing: Any, long: Any) -> Any:
        """Wait a few cycles, or give the core to another thread if ``long``."""

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            triple = context.codegen().magic_tuple()[0]
            with builder.if_else(args[0]) as (away, here):
                with away:
                    _call(builder, _YIELD, _I32, [])
                with here:
                    if triple.startswith(("x86_64", "i386", "i686")):
                        _call(builder, "llvm.x86.sse2.pause", ir.VoidType(), [])
                    elif triple.startswith(("aarch64", "arm64")):
                        _call(builder, "llvm.aarch64.hint", ir.VoidType(), [_I32(1)])
            return context.get_dummy_value()

        return types.void(types.boolean), codegen

else:
    import threading

    _LOCK = threading.Lock()

    def exchange(array: Any, place: Any, old: Any, new: Any) -> bool:
        """Store ``new`` in ``array[place]`` if ``old`` is there, indivisibly; return whether."""
        with _LOCK:
            found = array[place] == old
            if found:
                array[place] = new
            return found

    def count(array: Any, place: Any) -> None:
        """Add 1 to ``array[place]``, indivisibly."""
        with _LOCK:
            array[place] += 1

    def look(array: Any, place: Any) -> Any:
        """Return ``array[place]`` as it is now."""
        return array[place]

    def publish(array: Any, place: Any, value: Any) -> None:
        """Store ``array[place] = value``."""
        array[place] = value

    def rest(long: Any) -> None:
        """Give the core to another thread."""
        time.sleep(0)


@helper
def begin(state, task, stage):
    """Return whether this thread is to do a task of a stage, from 0."""
    place = BEGUN + APART * task
    return look(state, place) == stage and exchange(state, place, stage, stage + 1)


@helper
def wait_for(state, place, least, leaves, patience):
    """Wait until a counter has reached ``least``; return False where it has not.

    That is so where a task cannot be finished; where the first thread goes on alone, for one that
    ``leaves`` then; and after ``patience`` looks, unless that is 0.
    """
    looks = 0
    while True:
        if leaves and look(state, ALONE) != 0:
            return False
        if look(state, place) >= least:
            return True
        if look(state, ABORTED) != 0 or looks == patience > 0:
            return False
        rest(patience == 0 and looks >= SPINS)
        looks += 1
