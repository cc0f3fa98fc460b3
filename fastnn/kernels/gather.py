"""Rows of a matrix brought into the order in which they are visited.

Rows of a large matrix visited at random are far from the CPU when they are copied: those a few
rows ahead are asked for in advance.
"""

from typing import Any

from llvmlite import ir

from fastnn.kernels.jit import JIT, intrinsic, types
from fastnn.kernels.vector_function import VectorFunction, call_codegen
from fastnn.kernels.views import LINE_BYTES

_I64 = ir.IntType(64)
#: How many rows ahead, and how many lines of them; a long row's others are fetched unasked.
_AHEAD, _LINES = 8, 2


def _gather_rows(f: VectorFunction) -> None:
    """Emit ``out[t] = x[order[t]]`` for ``count`` rows of ``width`` numbers without gaps."""
    b, arg, emit = f.builder, f.args, f.emit
    width, last = arg["width"], b.sub(arg["count"], _I64(1))
    line = LINE_BYTES // (emit.index.width // 8)

    def single(t: Any, _: list) -> list:
        b.store(b.load(f.at(arg["x"], b.load(f.at(arg["order"], t)))), f.at(arg["out"], t))
        return []

    def row(t: Any, _: list) -> list:
        ahead = b.add(t, _I64(_AHEAD))
        ahead = b.select(b.icmp_signed("<", ahead, last), ahead, last)
        later = f.at(arg["x"], b.mul(b.load(f.at(arg["order"], ahead)), width))
        for k in range(_LINES):
            emit.prefetch(f.at(later, _I64(k * line)))
        x = f.at(arg["x"], b.mul(b.load(f.at(arg["order"], t)), width))
        out = f.at(arg["out"], b.mul(t, width))

        def vector(i: Any, _: list, mask: Any = None) -> list:
            emit.store(emit.load(f.at(x, i), mask), f.at(out, i), mask)
            return []

        i = f.loop(_I64(0), width, emit.lanes, [], vector)[0]
        with (
            b.if_then(b.icmp_signed("<", i, width)),
            b.if_else(b.icmp_signed(">", i, _I64(0))) as (long, short),
        ):
            with long:
                vector(b.sub(width, _I64(emit.lanes)), [])  # some numbers once more
            with short:
                vector(i, [], emit.first(width))
        return []

    with b.if_else(b.icmp_signed("==", width, _I64(1))) as (one, several):
        with one:
            f.loop(_I64(0), arg["count"], 1, [], single)
        with several:
            f.loop(_I64(0), arg["count"], 1, [], row)
    b.ret_void()


if JIT:

    @intrinsic
    def gather_rows_(typing: Any, count: Any, width: Any, order: Any, x: Any, out: Any) -> Any:
        """Write ``out[t] = x[order[t]]`` for ``count`` rows of ``width`` numbers, `pointer`s."""
        signature = types.void(types.intp, types.intp, order, x, out)
        return signature, call_codegen(_gather_rows, "count width order x out", like=x)

else:

    def gather_rows_(count: int, width: int, order: Any, x: Any, out: Any) -> None:
        """Write ``out[t] = x[order[t]]`` for ``count`` rows of ``width`` numbers."""
        for t in range(count):
            i = order[t]
            out[t * width : (t + 1) * width] = x[i * width : (i + 1) * width]
