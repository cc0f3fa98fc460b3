"""A layer's two products for one CSR row, in whole vectors of the host's width.

The row's non-zeros pick rows of ``W``, of ``n`` numbers each: they are summed in registers, or
added to, a few columns at a time.
"""

from typing import Any

import numpy as np
from llvmlite import ir

from fastnn.kernels.jit import JIT, helper, intrinsic, types
from fastnn.kernels.vector_function import VectorFunction, call_codegen

_I64 = ir.IntType(64)
#: Vectors of columns, or of non-zeros, that are taken together.
_TOGETHER = 4


def _columns(f: VectorFunction, body: Any) -> None:
    """Emit ``body(column, vectors, mask)`` over ``n`` columns; the last ones come with a mask."""
    b, lanes, n = f.builder, f.emit.lanes, f.args["n"]
    column: Any = _I64(0)
    for vectors in (_TOGETHER, 1):

        def block(at: Any, _: list, vectors: int = vectors) -> list:
            body(at, vectors, None)
            return []

        column = f.loop(column, n, vectors * lanes, [], block)[0]
    with b.if_then(b.icmp_signed("<", column, n)):
        body(column, 1, f.emit.first(b.sub(n, column)))


def _entry(f: VectorFunction, p: Any, column: Any) -> tuple[Any, Any]:
    """Return non-zero ``p``, in all lanes, and the address of its row of ``W`` at a column."""
    b, arg = f.builder, f.args
    row = b.sext(b.load(f.at(arg["indices"], p)), _I64)
    x = f.emit.spread(b.load(f.at(arg["data"], p)))
    return x, f.at(arg["W"], b.mul(row, arg["n"]), column)


def _gather(f: VectorFunction) -> None:
    """Emit ``out = start + sum_p data_p W[indices_p]``."""
    b, arg, emit = f.builder, f.args, f.emit

    def columns(column: Any, vectors: int, mask: Any) -> None:
        unroll = _TOGETHER // vectors

        def step(p: Any, sums: list, rows: int) -> list:
            after = []
            for r in range(rows):
                x, place = _entry(f, b.add(p, _I64(r)), column)
                for v in range(vectors):
                    w = emit.load(f.at(place, _I64(v * emit.lanes)), mask)
                    after.append(emit.multiply_add(x, w, sums[r * vectors + v]))
            return after + sums[rows * vectors :]

        places = [f.at(base, column) for base in (arg["start"], arg["out"])]
        sums = [emit.load(f.at(places[0], _I64(v * emit.lanes)), mask) for v in range(vectors)]
        sums += [emit.zero] * (vectors * (unroll - 1))
        p: Any = _I64(0)
        for rows in sorted({unroll, 1}, reverse=True):
            p, *sums = f.loop(p, arg["count"], rows, sums, lambda p, s, rows=rows: step(p, s, rows))
        for v in range(vectors):
            total = sums[v]
            for r in range(1, unroll):
                total = b.fadd(total, sums[r * vectors + v])
            emit.store(total, f.at(places[1], _I64(v * emit.lanes)), mask)

    _columns(f, columns)
    b.ret_void()


def _gather_one(f: VectorFunction) -> None:
    """Emit ``start_0 + sum_p data_p W[indices_p]`` of a single column, in a few sums.

    Left to LLVM it would take gathers, which are no faster than as many loads, and slow for few.
    """
    b, arg = f.builder, f.args
    zero = ir.Constant(f.element, 0.0)

    def step(p: Any, sums: list, rows: int) -> list:
        after = []
        for r in range(rows):
            entry = b.add(p, _I64(r))
            row = b.sext(b.load(f.at(arg["indices"], entry)), _I64)
            x, w = b.load(f.at(arg["data"], entry)), b.load(f.at(arg["W"], row))
            after.append(b.fadd(sums[r], b.fmul(x, w, flags=["contract"]), flags=["contract"]))
        return after + sums[rows:]

    sums = [b.load(arg["start"]), *[zero] * (_TOGETHER - 1)]
    p: Any = _I64(0)
    for rows in (_TOGETHER, 1):
        p, *sums = f.loop(p, arg["count"], rows, sums, lambda p, s, rows=rows: step(p, s, rows))
    pairs = b.fadd(sums[0], sums[1]), b.fadd(sums[2], sums[3])
    b.ret(b.fadd(*pairs))


def _scatter(f: VectorFunction) -> None:
    """Emit ``W[indices_p] += data_p step``, one non-zero after the other."""
    b, arg, emit = f.builder, f.args, f.emit

    def columns(column: Any, vectors: int, mask: Any) -> None:
        step = f.at(arg["step"], column)
        steps = [emit.load(f.at(step, _I64(v * emit.lanes)), mask) for v in range(vectors)]

        def add(p: Any, _: list) -> list:
            x, place = _entry(f, p, column)
            for v in range(vectors):
                at = f.at(place, _I64(v * emit.lanes))
                emit.store(emit.multiply_add(x, steps[v], emit.load(at, mask)), at, mask)
            return []

        f.loop(_I64(0), arg["count"], 1, [], add)

    _columns(f, columns)
    b.ret_void()


if JIT:

    @intrinsic
    def gather_(
        typing: Any, count: Any, n: Any, data: Any, indices: Any, W: Any, start: Any, out: Any
    ) -> Any:
        """Write ``out = start + sum_p data_p W[indices_p]`` of ``count`` non-zeros."""
        signature = types.void(types.intp, types.intp, data, indices, W, start, out)
        return signature, call_codegen(_gather, "count n data indices W start out")

    @intrinsic
    def gather_one(typing: Any, count: Any, data: Any, indices: Any, W: Any, start: Any) -> Any:
        """Return ``start_0 + sum_p data_p W[indices_p]`` of a single column."""
        signature = data.dtype(types.intp, data, indices, W, start)
        return signature, call_codegen(_gather_one, "count data indices W start", number=True)

    @intrinsic
    def scatter_(
        typing: Any, count: Any, n: Any, data: Any, indices: Any, step: Any, W: Any
    ) -> Any:
        """Write ``W[indices_p] += data_p step`` of ``count`` non-zeros."""
        signature = types.void(types.intp, types.intp, data, indices, step, W)
        return signature, call_codegen(_scatter, "count n data indices step W")

else:

    def gather_(count: int, n: int, data: Any, indices: Any, W: Any, start: Any, out: Any) -> None:
        """Write ``out = start + sum_p data_p W[indices_p]`` of ``count`` non-zeros."""
        rows = W[: W.size // n * n].reshape(-1, n)
        out[:n] = start[:n] + data[:count] @ rows[indices[:count]]

    def gather_one(count: int, data: Any, indices: Any, W: Any, start: Any) -> Any:
        """Return ``start_0 + sum_p data_p W[indices_p]`` of a single column."""
        return start[0] + data[:count] @ W[indices[:count]]

    def scatter_(count: int, n: int, data: Any, indices: Any, step: Any, W: Any) -> None:
        """Write ``W[indices_p] += data_p step`` of ``count`` non-zeros."""
        rows = W[: W.size // n * n].reshape(-1, n)
        np.add.at(rows, indices[:count], np.outer(data[:count], step[:n]))


@helper
def sparse_products_(count, n, data, indices, W, start, out):
    """Write ``out = start + sum_p data_p W[indices_p]``; all are pointers."""
    if n > 1:
        gather_(count, n, data, indices, W, start, out)
    else:
        out[0] = gather_one(count, data, indices, W, start)


@helper
def sparse_outer_(count, n, data, indices, step, W):
    """Write ``W[indices_p] += data_p step``; all are pointers."""
    if n > 1:
        scatter_(count, n, data, indices, step, W)
    else:
        factor = step[0]
        for p in range(count):
            W[indices[p]] += data[p] * factor
