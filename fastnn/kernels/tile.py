"""The register tile of a matrix product.

A core multiplies and adds one or two whole vectors per cycle (32 or 64 float32 operations), but
reads no more than that and waits four cycles for each sum.  A product therefore runs at
full speed only if every number read is used several times and many sums are under way at once.
The *tile* does both: it holds ``rows x vectors`` accumulators of C in registers, and for each p

    load   ``vectors`` neighbouring vectors of row p of B
    for each of the ``rows``: broadcast A[i, p] to all lanes and add its product with them

so ``vectors + rows`` reads feed ``rows * vectors`` multiply-adds, none of which waits for another
(8 x 3 on AVX-512: 11 reads, 24 multiply-adds).

       B  p ->  [ 16 lanes ][ 16 lanes ][ 16 lanes ]
    A  a[i,p]   [ acc[0,0] ][ acc[0,1] ][ acc[0,2] ]   acc[i,v] = fma(a[i,p], b[p,v], acc[i,v])
       ...      [ acc[7,0] ][ acc[7,1] ][ acc[7,2] ]

C is touched once, at the end.  What a layer does to each of its numbers is done there, while they
are in registers: the bias (as what the sums start from), relu (as a *floor* of 0) and its
derivative (as a *gate*: 0 where the layer's activation is not positive).

LLVM's loop vectoriser does not find this arrangement, so the functions below write it out in
LLVM's intermediate representation (IR): Python code runs once, at compile time, and *emits* the
instructions.  ``[[fma(...) for v in ...] for i in ...]`` is thus an unrolled loop.

Edges: the last of several vectors ends where the row ends, and so overlaps the one before, whose
numbers it computes again; a mask would cost an instruction per load.  A lone vector needs one.
There are tiles of full height, half, a quarter, ... and one row.

A is addressed by two strides, ``A[i, p] = a[i * row + p * column]``, so the same code serves
A (row = width, column = 1) and its transpose (row = 1, column = width).
"""

import math
from typing import Any

from llvmlite import ir

from fastnn.kernels.jit import intrinsic, types
from fastnn.kernels.panels import PANEL_BYTES
from fastnn.kernels.simd import host_shape
from fastnn.kernels.vector_function import VectorFunction

_I64 = ir.IntType(64)

#: The arguments of a tile function.
_ARGUMENTS = "a a_row a_column b b_row c c_row start start_row gate blocks k width floor"


def _tiles(f: VectorFunction, rows: int, vectors: int) -> None:
    """Emit the function that computes ``blocks`` tiles, one below the other.

    ``c[i, j] = max(floor, start[i, j] + sum_p a[i, p] b[p, j])`` for p < k and j < ``width``, set
    to 0 where not ``gate[i, j] > 0``.  A null ``start`` counts as zero, a null ``gate`` as
    positive; ``gate`` has the strides of ``c``.
    """
    b, arg, emit = f.builder, f.args, f.emit
    mask = emit.first(arg["width"]) if vectors == 1 else None
    columns = [_I64(v * emit.lanes) for v in range(vectors)]
    if vectors > 1:
        columns[-1] = b.sub(arg["width"], _I64(emit.lanes))
    floor = emit.spread(arg["floor"])
    limited = b.fcmp_ordered(">", arg["floor"], ir.Constant(f.element, -math.inf))
    # LLVM would compute each row's address from the one before, a chain as long as the
    # multiply-adds of a short tile; through an empty assembly statement it cannot.
    pointer = arg["a"].type
    same = ir.FunctionType(pointer, [pointer])

    def each(value: Any) -> list:
        return [value(i, v) for i in range(rows) for v in range(vectors)]

    def load(base: Any, row: Any) -> list:
        return each(lambda i, v: emit.load(f.at(base, b.mul(row, _I64(i)), columns[v]), mask))

    def gated(gate: Any, totals: list) -> list:
        values = load(gate, arg["c_row"])
        positive = [b.fcmp_ordered(">", value, emit.zero) for value in values]
        return [b.select(*x, emit.zero) for x in zip(positive, totals, strict=True)]

    def raised(totals: list) -> list:
        # The operands' order keeps a NaN, and is that of the x86 instruction.
        return [b.select(b.fcmp_ordered(">", floor, x), floor, x) for x in totals]

    def block(_: Any, state: list) -> list:
        a, c, start, gate = state
        zeros = each(lambda i, v: emit.zero)
        given = f.present(arg["start"])
        sums = f.choose_all(given, lambda: load(start, arg["start_row"]), zeros)
        a_rows = [
            b.asm(same, "", "=r,0", [f.at(a, b.mul(arg["a_row"], _I64(i)))], False)
            for i in range(rows)
        ]

        def step(_: Any, state: list) -> list:
            at, b_row, *sums = state
            left = [emit.spread(b.load(f.at(row, at))) for row in a_rows]
            right = [emit.load(f.at(b_row, column), mask) for column in columns]
            sums = each(lambda i, v: emit.multiply_add(left[i], right[v], sums[i * vectors + v]))
            return [b.add(at, arg["a_column"]), f.at(b_row, arg["b_row"]), *sums]

        sums = f.loop(_I64(0), arg["k"], 1, [_I64(0), arg["b"], *sums], step)[3:]
        totals = f.choose_all(limited, lambda: raised(sums), sums)
        totals = f.choose_all(f.present(arg["gate"]), lambda: gated(gate, totals), totals)

        for i in range(rows):
            for v, column in enumerate(columns):
                place = f.at(c, b.mul(arg["c_row"], _I64(i)), column)
                emit.store(totals[i * vectors + v], place, mask)
        down = b.mul(arg["c_row"], _I64(rows))
        return [
            f.at(a, b.mul(arg["a_row"], _I64(rows))),
            f.at(c, down),
            f.at(start, b.mul(arg["start_row"], _I64(rows))),
            f.at(gate, down),
        ]

    f.loop(_I64(0), arg["blocks"], 1, [arg[x] for x in ("a", "c", "start", "gate")], block)
    b.ret_void()


def _heights(rows: int) -> list[int]:
    """Return the tile heights: the full one, then halves down to one row."""
    return [rows] if rows == 1 else [rows, *_heights(rows // 2)]


@intrinsic
def tile_shape(typing: Any, array: Any) -> Any:
    """Return the full tile's (rows, columns, lanes of a vector, depth of a panel)."""
    result = types.UniTuple(types.intp, 4)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        shape = host_shape(context)
        lanes = shape.width // (array.dtype.bitwidth // 8)
        depth = PANEL_BYTES // (shape.vectors * shape.width)
        values = [_I64(x) for x in (shape.rows, shape.vectors * lanes, lanes, depth)]
        return context.make_tuple(builder, result, values)

    return result(array), codegen


@intrinsic
def tiles_(  # type: ignore[no-untyped-def]
    typing, rows, blocks, width, k, A, a_row, a_column, B, b_row, C, c_row,
    start, s_row, gate, floor,
) -> Any:  # fmt: skip
    """Write ``C = max(floor, [start +] A B)`` of ``blocks`` tiles below each other.

    The matrices are `pointer`s with the distances between rows (and columns of A).  ``start`` and
    ``gate``, as of `_tiles`, may be None.  ``rows`` is the height of `tile_shape`, or that halved
    (rounding down) any number of times; ``width`` at most its columns.
    """
    n = types.intp
    signature = types.void(
        n, n, n, n, A, n, n, B, n, C, n, start, n, gate, C.dtype
    )  # fmt: skip

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        rows, blocks, width, k, a, a_row, a_column, b, b_row, c, c_row, s, s_row, g, floor = args
        null = ir.Constant(c.type, None)
        s = null if isinstance(start, types.NoneType) else s
        g = null if isinstance(gate, types.NoneType) else g
        shape = host_shape(context)
        lanes = shape.width // (C.dtype.bitwidth // 8)
        vectors = builder.sdiv(builder.add(width, _I64(lanes - 1)), _I64(lanes))
        done = builder.append_basic_block("tile.done")
        number = builder.add(builder.mul(rows, _I64(shape.vectors + 1)), vectors)
        switch = builder.switch(number, done)
        for height in _heights(shape.rows):
            for count in range(1, shape.vectors + 1):
                name = f"tile.{height}x{count}"
                f = VectorFunction(context, builder, C.dtype, name, _ARGUMENTS, number=False)
                if not f.exists:
                    _tiles(f, height, count)
                case = builder.append_basic_block(name)
                switch.add_case(_I64(height * (shape.vectors + 1) + count), case)
                builder.position_at_end(case)
                builder.call(
                    f.function,
                    [a, a_row, a_column, b, b_row, c, c_row, s, s_row, g, blocks, k, width, floor],
                )
                builder.branch(done)
        builder.position_at_end(done)
        return context.get_dummy_value()

    return signature, codegen
