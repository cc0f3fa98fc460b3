"""Copies of blocks of a matrix in the form that a product reads fastest.

A *panel* is a block of B as wide as the tile, its rows one behind the other in the first cache:
a matrix whose rows are a power of two apart finds only a few places there.  B's transpose is made
in this form too.
"""

from typing import Any

from llvmlite import ir

from fastnn.kernels.jit import intrinsic, types
from fastnn.kernels.vector_function import VectorFunction, call_codegen
from fastnn.kernels.views import LINE_BYTES

_I64 = ir.IntType(64)

#: Bytes of a panel, at the most.  It is read once per row of tiles, from the second cache at need;
#: a shorter one would have C read and written more often.
PANEL_BYTES = 72 * 1024

#: Rows of a block of A, numbers of one, and the distance between two: 9 lines of the cache, or 18,
#: so that the rows fall on different places.
BLOCK_DEPTH, BLOCK_WIDTH, BLOCK_ROW = 256, 128, 144


def _pack(f: VectorFunction) -> None:
    """Emit ``c[i, j] = a[i, j]``, and zeros from ``width`` up to a whole vector."""
    b, arg, emit = f.builder, f.args, f.emit

    def row(_: Any, state: list) -> list:
        a, c = state

        def vector(at: Any, _: list) -> list:
            left = b.sub(arg["width"], at)
            emit.store(emit.load(f.at(a, at), emit.first(left)), f.at(c, at))
            return []

        stop = b.add(arg["width"], _I64(emit.lanes - 1))
        f.loop(_I64(0), stop, emit.lanes, [], vector)
        return [f.at(a, arg["a_row"]), f.at(c, arg["c_row"])]

    f.loop(_I64(0), arg["count"], 1, [arg["a"], arg["c"]], row)
    b.ret_void()


def _transpose(f: VectorFunction) -> None:
    """Emit ``c[j, i] = a[i, j]`` for up to lanes rows, as many columns of C as a vector has lanes.

    Step s of log2(lanes) swaps the upper right and lower left s x s quarters of every
    2s x 2s square.  Rows below the last are copies of it, and so are the numbers in their place.
    """
    b, arg, emit = f.builder, f.args, f.emit
    rows, columns = arg["rows"], arg["columns"]
    lanes = range(emit.lanes)
    other = [lane + emit.lanes for lane in lanes]
    starts = []
    for i in lanes:
        exists = b.icmp_signed("<", _I64(i), rows)
        row = b.select(exists, _I64(i), b.sub(rows, _I64(1)))
        starts.append(f.at(arg["a"], b.mul(row, arg["a_row"])))

    def turned(column: Any, mask: Any = None) -> list:
        block = [emit.load(f.at(start, column), mask) for start in starts]
        half = 1
        while half < emit.lanes:
            for i in lanes:
                if not i & half:
                    low, high = block[i], block[i + half]
                    block[i] = emit.permute(
                        low, [other[x - half] if x & half else x for x in lanes], high
                    )
                    block[i + half] = emit.permute(
                        low, [other[x] if x & half else x + half for x in lanes], high
                    )
            half *= 2
        return block

    def whole(column: Any, state: list) -> list:
        for j, vector in enumerate(turned(column)):
            emit.store(vector, f.at(state[0], b.mul(arg["c_row"], _I64(j))))
        return [f.at(state[0], b.mul(arg["c_row"], _I64(emit.lanes)))]

    column, c = f.loop(_I64(0), columns, emit.lanes, [arg["c"]], whole)
    rest = b.sub(columns, column)
    with b.if_then(b.icmp_signed(">", rest, _I64(0))):
        for j, vector in enumerate(turned(column, emit.first(rest))):
            with b.if_then(b.icmp_signed("<", _I64(j), rest)):
                emit.store(vector, f.at(c, b.mul(arg["c_row"], _I64(j))))
    b.ret_void()


@intrinsic
def pack_(typing: Any, count: Any, width: Any, a: Any, a_row: Any, c: Any, c_row: Any) -> Any:
    """Copy ``count`` rows of ``width`` numbers, with zeros up to a whole vector behind each."""
    n = types.intp
    return types.void(n, n, a, n, c, n), call_codegen(_pack, "count width a a_row c c_row")


@intrinsic
def transpose_rows_(
    typing: Any, rows: Any, columns: Any, a: Any, a_row: Any, c: Any, c_row: Any
) -> Any:
    """Write ``C = A^T`` of an A of up to the lanes of a vector rows, C's in whole vectors."""
    n = types.intp
    signature = types.void(n, n, a, n, c, n)
    return signature, call_codegen(_transpose, "rows columns a a_row c c_row")


def _buffer(numbers: Any) -> Any:
    """Return the codegen of a pointer to ``numbers(dtype)`` numbers on the stack."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        dtype = signature.args[0].dtype
        with builder.goto_entry_block():
            memory = builder.alloca(context.get_value_type(dtype), numbers(dtype))
            memory.align = LINE_BYTES
        return memory

    return codegen


@intrinsic
def panel_buffer(typing: Any, like: Any) -> Any:
    """Return a pointer to `PANEL_BYTES` on the stack, which are the caller's until it ends."""
    codegen = _buffer(lambda dtype: PANEL_BYTES // (dtype.bitwidth // 8))
    return types.CPointer(like.dtype)(like), codegen


@intrinsic
def block_buffer(typing: Any, like: Any) -> Any:
    """Return a pointer to memory for a block on the stack, which is the caller's until it ends."""
    return types.CPointer(like.dtype)(like), _buffer(lambda dtype: BLOCK_DEPTH * BLOCK_ROW)
