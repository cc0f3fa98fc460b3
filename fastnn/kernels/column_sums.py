"""The sums of a matrix's columns: the gradient of a layer's biases."""

from typing import Any

from llvmlite import ir

from fastnn.kernels.jit import JIT, intrinsic, types
from fastnn.kernels.vector_function import VectorFunction, call_codegen

_I64 = ir.IntType(64)
#: Sums under way at once.
_CHAINS = 4


def _column_sums(f: VectorFunction) -> None:
    """Emit the sums of blocks of vectors over all rows, the last vector under a mask."""
    b, arg, emit = f.builder, f.args, f.emit

    def block(column: Any, vectors: int, mask: Any) -> None:
        unroll = _CHAINS // vectors

        def add(r: Any, sums: list, rows: int) -> list:
            after = []
            for k in range(rows):
                start = f.at(arg["X"], b.mul(b.add(r, _I64(k)), arg["width"]), column)
                for v in range(vectors):
                    x = emit.load(f.at(start, _I64(v * emit.lanes)), mask)
                    after.append(b.fadd(sums[k * vectors + v], x))
            return after + sums[rows * vectors :]

        sums = [emit.zero] * (vectors * unroll)
        r, *sums = f.loop(
            _I64(0), arg["count"], unroll, sums, lambda r, state: add(r, state, unroll)
        )
        if unroll > 1:
            r, *sums = f.loop(r, arg["count"], 1, sums, lambda r, state: add(r, state, 1))
        given = f.present(arg["start"])
        for v in range(vectors):
            place = f.at(arg["start"], column, _I64(v * emit.lanes))
            total = sums[v]
            for k in range(1, unroll):
                total = b.fadd(total, sums[k * vectors + v])
            start = f.choose(given, lambda place=place: emit.load(place, mask), emit.zero)
            place = f.at(arg["out"], column, _I64(v * emit.lanes))
            emit.store(b.fadd(start, total), place, mask)

    column: Any = _I64(0)
    for vectors in (4, 2, 1):

        def whole(at: Any, _: list, vectors: int = vectors) -> list:
            block(at, vectors, None)
            return []

        column = f.loop(column, arg["width"], vectors * emit.lanes, [], whole)[0]
    with b.if_then(b.icmp_signed("<", column, arg["width"])):
        block(column, 1, emit.first(b.sub(arg["width"], column)))
    b.ret_void()


if JIT:

    @intrinsic
    def column_sums_(typing: Any, count: Any, width: Any, X: Any, start: Any, out: Any) -> Any:
        """Write ``out = start +`` the sums of the columns of X (count, width); None is 0."""
        signature = types.void(types.intp, types.intp, X, start, out)
        return signature, call_codegen(_column_sums, "count width X start out")

else:

    def column_sums_(count: int, width: int, X: Any, start: Any, out: Any) -> None:
        """Write ``out = start +`` the sums of the columns of X (count, width); None is 0."""
        sums = X[: count * width].reshape(count, width).sum(axis=0)
        out[:width] = sums if start is None else start[:width] + sums
