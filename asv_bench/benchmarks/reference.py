"""Fixed work to compare a job with: none of it is fastnn's, and it changes with no commit.

Its time is the machine's alone, for the versions of NumPy, Numba and scikit-learn are pinned.
"""

import functools

import llvmlite.binding
import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

#: As wide as the CPU's registers, and enough of them at work to hide their latency.
_LANES = 16 if llvmlite.binding.get_host_cpu_features().get("avx512f") else 8
_CHAINS = 12


@intrinsic
def _in_registers(typing, rounds):
    """Do ``x = x / 2 + 1 / 2`` in each register, again and again.

    Written in LLVM's own terms, for a loop in Python over an array would keep it in memory, and
    take 25 % longer where that happens to lie across cache lines.
    """

    def generate(context, builder, signature, arguments):
        i64, vector = ir.IntType(64), ir.VectorType(ir.FloatType(), _LANES)
        form = ir.FunctionType(vector, [vector] * 3)
        multiply_add = cgutils.get_or_insert_function(
            builder.module, form, f"llvm.fma.v{_LANES}f32"
        )
        half = ir.Constant(vector, [0.5] * _LANES)
        before, loop, done = builder.block, *map(builder.append_basic_block, ("loop", "done"))
        builder.branch(loop)
        builder.position_at_end(loop)
        step = builder.phi(i64)
        registers = [builder.phi(vector) for _ in range(_CHAINS)]
        following = builder.add(step, i64(1))
        results = [builder.call(multiply_add, [x, half, half]) for x in registers]
        step.add_incoming(i64(0), before)
        step.add_incoming(following, loop)
        for number, (x, result) in enumerate(zip(registers, results, strict=True)):
            x.add_incoming(ir.Constant(vector, [float(number)] * _LANES), before)
            x.add_incoming(result, loop)
        builder.cbranch(builder.icmp_signed("<", following, arguments[0]), loop, done)
        builder.position_at_end(done)
        total = functools.reduce(builder.fadd, results)  # without a use there is no work
        return builder.extract_element(total, ir.IntType(32)(0))

    return types.float32(types.int64), generate


@njit(cache=True)
def _multiply_adds(rounds):
    return _in_registers(rounds)


@njit(cache=True)
def _integers(rounds, a, b, c, d, e, f, g, h):
    for _ in range(rounds):
        a, c, e, g = (a + b) ^ rounds, (c + d) ^ rounds, (e + f) ^ rounds, (g + h) ^ rounds
        b, d, f, h = (b ^ a) + rounds, (d ^ c) + rounds, (f ^ e) + rounds, (h ^ g) + rounds
    return a + b + c + d + e + f + g + h


@njit(cache=True, fastmath={"reassoc", "contract", "nsz"})
def _sum(x, passes):
    total = x.dtype.type(0)
    for _ in range(passes):
        for i in range(x.size):  # an iterator would add one number after another
            total += x[i]
    return total


def multiply_adds(number):
    """Return a job: ``number`` float32 multiply-adds in registers, at the CPU's peak rate."""
    return functools.partial(_multiply_adds, max(1, round(number / (_LANES * _CHAINS))))


def witness():
    """Do 60 microseconds of work in registers that leaves the core's front end no cycle to spare.

    It is the first to suffer, by up to 90 %, when another thread runs on the same core: a
    processor's own, or in a virtual machine somebody else's, whom no counter of this system shows.
    Multiply-adds at peak rate hardly notice, but nearly any job does.
    """
    _integers(40_000, 1, 2, 3, 4, 5, 6, 7, 8)


def memory_pass(x, passes=1):
    """Return a job: read the array's numbers from end to end, as a sum; from whole cache lines."""
    room = np.empty(x.nbytes + 64, np.uint8)
    start = -room.ctypes.data % 64
    copy = room[start : start + x.nbytes].view(x.dtype)
    copy[:] = x.reshape(-1)
    return functools.partial(_sum, copy, passes)
