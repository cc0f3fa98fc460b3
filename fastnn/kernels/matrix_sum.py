"""The sum of two matrices whose rows are apart, in whole vectors."""

from typing import Any

from llvmlite import ir

from fastnn.kernels.jit import JIT, intrinsic, types
from fastnn.kernels.vector_function import VectorFunction, call_codegen

_I64 = ir.IntType(64)


def _add_rows(f: VectorFunction) -> None:
    """Emit ``c[i, j] = max(floor, start[i, j] + a[i, j])``, the last vector under a mask."""
    b, arg, emit = f.builder, f.args, f.emit
    floor = emit.spread(arg["floor"])

    def row(_: Any, state: list) -> list:
        a, start, c = state

        def vector(at: Any, _: list, mask: Any = None) -> list:
            total = b.fadd(emit.load(f.at(start, at), mask), emit.load(f.at(a, at), mask))
            total = b.select(b.fcmp_ordered(">", floor, total), floor, total)
            emit.store(total, f.at(c, at), mask)
            return []

        at = f.loop(_I64(0), arg["width"], emit.lanes, [], vector)[0]
        left = b.sub(arg["width"], at)
        with b.if_then(b.icmp_signed(">", left, _I64(0))):
            vector(at, [], emit.first(left))
        return [f.at(a, arg["a_row"]), f.at(start, arg["start_row"]), f.at(c, arg["c_row"])]

    f.loop(_I64(0), arg["count"], 1, [arg["a"], arg["start"], arg["c"]], row)
    b.ret_void()


if JIT:

    @intrinsic
    def add_rows_(  # type: ignore[no-untyped-def]
        typing, count, width, a, a_row, start, start_row, floor, c, c_row
    ) -> Any:
        """Write ``C = max(floor, start + A)`` of matrices (count, width); NaN stays."""
        n = types.intp
        signature = types.void(n, n, a, n, start, n, a.dtype, c, n)
        arguments = "count width a a_row start start_row floor c c_row"
        return signature, call_codegen(_add_rows, arguments)

else:

    def add_rows_(  # type: ignore[no-untyped-def]
        count, width, a, a_row, start, start_row, floor, c, c_row
    ) -> None:
        """Write ``C = max(floor, start + A)`` of matrices (count, width); NaN stays."""
        for i in range(count):
            for j in range(width):
                total = start[i * start_row + j] + a[i * a_row + j]
                c[i * c_row + j] = max(total, floor)
