"""One pass over a block of rows' weights: the change by the rows before, the product by the next.

The weights are in *panels* of two vectors of the host's width, rows one behind the other.  A slice
of a panel is so short that it stays in the first cache while both halves go over it,

    ``W_j -= sum_s before_sj step_s``    and then    ``Z_t += sum_j X_tj W_j``

with ``step``, then ``Z``, of a whole block in registers: a number of X, read once in each half, is
good for two multiply-adds with vectors that are there already.  The more rows a block has, the
less often the weights come from the second cache; there are as many as registers.

Rows come in any order, which the CPU cannot foresee.  The pass therefore also asks for two rows of
the block after, line by line between the arithmetic: if asked for all at once, they would hold it
up until they have come.
"""

from typing import Any

from llvmlite import ir

from fastnn.kernels.jit import JIT, intrinsic, types
from fastnn.kernels.simd import Shape, host_shape
from fastnn.kernels.vector_function import VectorFunction, call_codegen

_I64 = ir.IntType(64)
#: Vectors of a panel.
VECTORS = 2


def _rows(shape: Shape) -> int:
    """Return the rows of a block: steps, then ``Z``, take the registers of a product's tile."""
    return shape.rows * shape.vectors // VECTORS


def _places(f: VectorFunction, name: str) -> list:
    """Return the addresses of the rows of ``steps`` or ``Z``."""
    distance = f.args["width"]
    rows = range(_rows(f.shape))
    return [f.at(f.args[name], f.builder.mul(distance, _I64(r))) for r in rows]


def _numbers(f: VectorFunction, name: str, j: Any) -> list:
    """Return number ``j`` of each row of ``before`` or ``X``, in all lanes.

    LLVM would keep an address for each row, more than there are registers; through an empty
    assembly statement it cannot.
    """
    b, base = f.builder, f.args[name]
    same = ir.FunctionType(base.type, [base.type])
    first = b.asm(same, "", "=r,0", [f.at(base, j)], True)
    places = [f.at(first, b.mul(f.args["n"], _I64(r))) for r in range(_rows(f.shape))]
    return [f.emit.spread(b.load(place)) for place in places]


def _change(f: VectorFunction, vectors: int) -> None:
    """Emit ``W_j -= sum_s before_sj step_s`` over a panel of some vectors."""
    b, arg, emit = f.builder, f.args, f.emit
    minus = [[b.fneg(x) for x in f.load(place, vectors)] for place in _places(f, "steps")]

    def row(j: Any, _: list) -> list:
        place = f.at(arg["W"], b.mul(j, _I64(vectors * emit.lanes)))
        W = f.load(place, vectors)
        emit.prefetch(f.at(arg["p0"], j))
        for x, step in zip(_numbers(f, "before", j), minus, strict=True):
            W = [emit.multiply_add(x, s, w) for s, w in zip(step, W, strict=True)]
        f.store(W, place)
        return []

    f.loop(_I64(0), arg["count"], 1, [], row)


def _multiply(f: VectorFunction, vectors: int) -> None:
    """Emit ``Z_t += sum_j X_tj W_j`` over a panel of some vectors."""
    b, arg, emit = f.builder, f.args, f.emit

    def row(j: Any, Z: list) -> list:
        W = f.load(f.at(arg["W"], b.mul(j, _I64(vectors * emit.lanes))), vectors)
        emit.prefetch(f.at(arg["p1"], j))
        products = [(x, w) for x in _numbers(f, "X", j) for w in W]
        return [emit.multiply_add(x, w, z) for (x, w), z in zip(products, Z, strict=True)]

    start = [z for place in _places(f, "Z") for z in f.load(place, vectors)]
    Z = f.loop(_I64(0), arg["count"], 1, start, row)[1:]
    for r, place in enumerate(_places(f, "Z")):
        f.store(Z[r * vectors : (r + 1) * vectors], place)


def _advance(f: VectorFunction) -> None:
    """Emit the pass over a panel; without ``before``, or X, only the other half."""
    b, arg = f.builder, f.args
    whole = b.icmp_signed("==", arg["columns"], _I64(VECTORS * f.emit.lanes))
    with b.if_else(whole) as branches:
        for branch, vectors in zip(branches, (VECTORS, 1), strict=True):
            with branch:
                with b.if_then(f.present(arg["before"])):
                    _change(f, vectors)
                with b.if_then(f.present(arg["X"])):
                    _multiply(f, vectors)
    b.ret_void()


def _products(f: VectorFunction) -> None:
    """Emit ``out = -sum_j X_sj X_tj`` for all s < t: those of t = 1, those of t = 2, ..."""
    b, arg, emit = f.builder, f.args, f.emit
    pairs = [(s, t) for t in range(_rows(f.shape)) for s in range(t)]
    together = max(emit.lanes, 8)  # sums at once: enough to hide a latency, few enough registers
    for first in range(0, len(pairs), together):
        some = pairs[first : first + together]

        def column(j: Any, sums: list, some: list = some) -> list:
            rows = {r for pair in some for r in pair}
            X = {r: emit.load(f.at(arg["X"], b.mul(arg["n"], _I64(r)), j)) for r in sorted(rows)}
            each = zip(some, sums, strict=True)
            return [emit.multiply_add(X[s], X[t], total) for (s, t), total in each]

        sums = f.loop(_I64(0), arg["width"], emit.lanes, [emit.zero] * len(some), column)[1:]
        for k in range(0, len(some), emit.lanes):
            total = f.sum_each(sums[k : k + emit.lanes])
            emit.store(b.fneg(total), f.at(arg["out"], _I64(first + k)))
    b.ret_void()


if JIT:

    @intrinsic
    def most_rows(typing: Any, flat: Any) -> Any:
        """Return how many rows a block can have."""

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return _I64(_rows(host_shape(context)))

        return types.intp(flat), codegen

    @intrinsic
    def advance_(  # type: ignore[no-untyped-def]
        typing, columns, count, n, width, before, steps, W, X, Z, p0, p1
    ) -> Any:
        """Write ``W_j -= sum_s before_sj step_s``, then ``Z_t += sum_j X_tj W_j``.

        W is ``count`` rows of a panel of one vector or of `VECTORS`, ``columns`` numbers.  The rows
        of X are ``n`` apart, those of steps and Z ``width``.  None for ``before`` leaves W, None
        for X leaves Z.  Asks for ``count`` numbers from ``p0`` in one half, ``p1`` in the other.
        """
        m = types.intp
        signature = types.void(m, m, m, m, before, steps, W, X, Z, p0, p1)
        return signature, call_codegen(_advance, "columns count n width before steps W X Z p0 p1")

    @intrinsic
    def products_(typing: Any, width: Any, n: Any, X: Any, out: Any) -> Any:
        """Write ``-sum_j X_sj X_tj`` for all s < t: those of t = 1, those of t = 2, ...

        The rows of X are ``n`` apart, and zero from their end to ``width``.
        """
        signature = types.void(types.intp, types.intp, X, out)
        return signature, call_codegen(_products, "width n X out")

else:
    _ROWS = 3

    def most_rows(flat: Any) -> int:
        """Return how many rows a block can have."""
        return _ROWS

    def advance_(  # type: ignore[no-untyped-def]
        columns, count, n, width, before, steps, W, X, Z, p0, p1
    ) -> None:
        """Write ``W_j -= sum_s before_sj step_s``, then ``Z_t += sum_j X_tj W_j``."""
        W = W[: count * columns].reshape(count, columns)
        for s in range(_ROWS if before is not None else 0):
            x, step = before[s * n : s * n + count], steps[s * width : s * width + columns]
            W -= x[:, None] * step
        for t in range(_ROWS if X is not None else 0):
            Z[t * width : t * width + columns] += X[t * n : t * n + count] @ W

    def products_(width: int, n: int, X: Any, out: Any) -> None:
        """Write ``-sum_j X_sj X_tj`` for all s < t: those of t = 1, those of t = 2, ..."""
        pairs = [(s, t) for t in range(_ROWS) for s in range(t)]
        for i, (s, t) in enumerate(pairs):
            out[i] = -X[s * n : s * n + width] @ X[t * n : t * n + width]
