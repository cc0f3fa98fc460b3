"""One pass over a block of rows' weights: the change by the rows before, the product by the next.

The weights are in *panels* of two vectors of the host's width, rows one behind the other.  For each
row of a panel, which is read and written once,

    ``W_j -= sum_s before_sj step_s``    and then    ``Z_t += sum_j X_tj W_j``

with ``step`` and ``Z`` of a whole block in registers.  A number of X is read for two multiply-adds
with vectors that are there already: a core reads two numbers in the time of two multiply-adds,
and two separate products would have to read and write W in between as well.

Rows come in any order, which the CPU cannot foresee.  The pass therefore also asks for two rows of
the block after, line by line between the arithmetic: if asked for all at once, they would hold it
up until they have come.
"""

from itertools import product
from typing import Any

from llvmlite import ir

from fastnn.kernels.jit import JIT, intrinsic, types
from fastnn.kernels.simd import Shape, host_shape
from fastnn.kernels.vector_function import VectorFunction, call_codegen

_I64 = ir.IntType(64)
#: Vectors of a panel.
VECTORS = 2
#: Rows of a panel that are visited side by side, lest the changes of one wait for each other.
PAIR = 2


def _rows(shape: Shape) -> int:
    """Return the rows of a block: steps and ``Z`` take the registers of a product's tile."""
    return shape.rows * shape.vectors // (2 * VECTORS)


def _visit(f: VectorFunction, vectors: int, change: bool, multiply: bool) -> None:
    """Emit the pass over a panel of some vectors, or one half of it."""
    b, arg, emit = f.builder, f.args, f.emit
    rows = range(_rows(f.shape))
    pair = range(PAIR)
    # LLVM would keep an address for each row of X, more than there are registers; through an empty
    # assembly statement it cannot.
    same = ir.FunctionType(arg["W"].type, [arg["W"].type])

    def number(base: Any, r: int, u: int) -> Any:
        return emit.spread(b.load(f.at(base, b.mul(arg["n"], _I64(r)), _I64(u))))

    def hidden(base: Any, j: Any) -> Any:
        return b.asm(same, "", "=r,0", [f.at(base, j)], True)

    def places(base: Any) -> list:
        return [f.at(base, b.mul(arg["width"], _I64(r))) for r in rows]

    steps = [f.load(place, vectors) for place in places(arg["steps"])] if change else []
    minus = [[b.fneg(step) for step in row] for row in steps]
    start = [z for place in places(arg["Z"]) for z in f.load(place, vectors)] if multiply else []

    def some(j: Any, sums: list) -> list:
        at = [f.at(arg["W"], b.mul(b.add(j, _I64(u)), _I64(vectors * emit.lanes))) for u in pair]
        W = [f.load(place, vectors) for place in at]
        for name in ("p0", "p1"):
            emit.prefetch(f.at(arg[name], j))
        if change:
            before = hidden(arg["before"], j)
            for r, u in product(rows, pair):
                x = number(before, r, u)
                W[u] = [emit.multiply_add(x, s, w) for s, w in zip(minus[r], W[u], strict=True)]
            for place, values in zip(at, W, strict=True):
                f.store(values, place)
        if not multiply:
            return []
        X, Z = hidden(arg["X"], j), list(sums)
        for u, r in product(pair, rows):
            x = number(X, r, u)
            for v, w in enumerate(W[u]):
                z = r * vectors + v
                Z[z] = emit.multiply_add(x, w, Z[z])
        return Z

    Z = f.loop(_I64(0), arg["count"], PAIR, start, some)[1:]
    for r, place in enumerate(places(arg["Z"]) if multiply else []):
        f.store(Z[r * vectors : (r + 1) * vectors], place)


def _advance(f: VectorFunction) -> None:
    """Emit the pass over a panel; without ``before``, or X, only the other half."""
    b, arg = f.builder, f.args
    whole = b.icmp_signed("==", arg["columns"], _I64(VECTORS * f.emit.lanes))
    with b.if_else(whole) as branches:
        for branch, vectors in zip(branches, (VECTORS, 1), strict=True):
            with branch, b.if_else(f.present(arg["X"])) as (multiplies, only_changes):
                with multiplies, b.if_else(f.present(arg["before"])) as (changes, does_not):
                    with changes:
                        _visit(f, vectors, change=True, multiply=True)
                    with does_not:
                        _visit(f, vectors, change=False, multiply=True)
                with only_changes:
                    _visit(f, vectors, change=True, multiply=False)
    b.ret_void()


def _products(f: VectorFunction) -> None:
    """Emit ``out = -sum_j X_sj X_tj`` for all s < t: those of t = 1, those of t = 2, ..."""
    b, arg, emit = f.builder, f.args, f.emit
    rows = range(_rows(f.shape))
    pairs = [(s, t) for t in rows for s in range(t)]

    def column(j: Any, sums: list) -> list:
        X = [emit.load(f.at(arg["X"], b.mul(arg["n"], _I64(r)), j)) for r in rows]
        each = zip(pairs, sums, strict=True)
        return [emit.multiply_add(X[s], X[t], total) for (s, t), total in each]

    sums = f.loop(_I64(0), arg["width"], emit.lanes, [emit.zero] * len(pairs), column)[1:]
    for first in range(0, len(pairs), emit.lanes):
        total = f.sum_each(sums[first : first + emit.lanes])
        emit.store(b.fneg(total), f.at(arg["out"], _I64(first)))
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

        W is ``count`` rows, a multiple of `PAIR`, of a panel of one vector or of `VECTORS`,
        ``columns`` numbers.  The rows
        of X are ``n`` apart, those of steps and Z ``width``.  None for ``before`` leaves W, None
        for X leaves Z.  Asks for ``count`` numbers from ``p0`` and ``p1``.
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
