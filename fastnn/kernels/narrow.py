"""Products with a matrix of a few columns, such as the weights of one or two outputs.

The register tile would leave most lanes idle.  Here vectors run along the sums instead: entry
(i, j) of C is the dot product of row i of A and row j of B's transpose.  As many entries as a
vector has lanes are under way at once, and their lanes are added up together.

Where a delta is handed down, the rows of the weights' transpose stay in registers while those of
the activations pass by, and so do the sums of the transpose of the weights' gradient.
`interleave_` brings that into place, and `separate_` makes the transpose of the weights.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir

from fastnn.kernels.jit import JIT, intrinsic, types
from fastnn.kernels.simd import host_shape
from fastnn.kernels.vector_function import VectorFunction

_I64 = ir.IntType(64)

#: Columns of a narrow matrix, at the most; at the most half of a vector, too.
NARROW = 4


def _narrow(lanes: int) -> int:
    return min(NARROW, lanes // 2)


def _sums_of_lanes(f: VectorFunction, vectors: list) -> Any:
    """Return the vector whose lane t is the sum over the lanes of vector t.

    In each round, vectors t and t + half become one, which has half as many parts of either sum:
    segments of ``size`` lanes become twice as many of ``size / 2``.
    """
    emit, lanes = f.emit, f.emit.lanes
    vectors = vectors + [emit.zero] * (lanes - len(vectors))
    size = lanes
    while size > 1:
        half, count = size // 2, len(vectors) // 2
        low = []
        for lane in range(lanes):
            segment, place = divmod(lane, half)
            low.append(segment % 2 * lanes + segment // 2 * size + place)
        high = [lane + half for lane in low]
        pairs = zip(vectors[:count], vectors[count:], strict=True)
        vectors = [
            f.builder.fadd(emit.permute(x, low, y), emit.permute(x, high, y)) for x, y in pairs
        ]
        size = half
    return vectors[0]


#: For so many columns of C, the lengths of sums too short to have vectors along them: those run
#: along the rows of C, as in networks of one unit a layer.
_SHORT = {1: (1, 2), 2: (1,)}


def _dots(f: VectorFunction, n: int) -> None:
    """Emit ``c[i, j] = max(floor, start[i, j] + sum_p a[i, p] b[j, p])`` for ``n`` columns of c.

    Where not ``gate[i, j] > 0``, it is 0.  Null pointers count as in a tile.  The rows of c, and
    of gate, have no gaps between them; nor have those of start, or it is one row for all.
    """
    b, arg, emit = f.builder, f.args, f.emit
    together = emit.lanes // n
    repeated = [lane % n for lane in range(emit.lanes)]
    floor = emit.spread(arg["floor"])

    def finish(total: Any, first: Any, kept: Any) -> None:
        """Store a vector of entries of C, the ``kept`` ones from number ``first``."""

        def start() -> Any:
            shared = b.icmp_signed("==", arg["start_row"], _I64(0))
            row = emit.permute(emit.load(arg["start"], emit.first(_I64(n))), repeated)
            own = f.choose(b.not_(shared), lambda: emit.load(f.at(arg["start"], first), kept), row)
            return b.fadd(total, own)

        total = f.choose(f.present(arg["start"]), start, total)
        total = b.select(b.fcmp_ordered(">", floor, total), floor, total)

        def gated() -> Any:
            gate = emit.load(f.at(arg["gate"], first), kept)
            return b.select(b.fcmp_ordered(">", gate, emit.zero), total, emit.zero)

        emit.store(f.choose(f.present(arg["gate"]), gated, total), f.at(arg["c"], first), kept)

    def some(count: Any) -> Any:
        limit = _I64(emit.lanes)
        return emit.first(b.select(b.icmp_signed("<", count, limit), count, limit))

    def group(i: Any, _: list) -> list:
        left = b.sub(arg["rows"], i)
        a_rows = []
        for r in range(together):  # rows below the last are read as copies of it
            last = b.sub(left, _I64(1))
            row = b.select(b.icmp_signed("<", _I64(r), left), _I64(r), last)
            a_rows.append(f.at(arg["a"], b.mul(b.add(i, row), arg["a_row"])))
        b_rows = [f.at(arg["b"], b.mul(_I64(j), arg["b_row"])) for j in range(n)]

        def step(p: Any, sums: list, mask: Any = None) -> list:
            right = [emit.load(f.at(row, p), mask) for row in b_rows]
            left = [emit.load(f.at(row, p), mask) for row in a_rows]
            pairs = [(x, y) for x in left for y in right]
            return [emit.multiply_add(x, y, s) for (x, y), s in zip(pairs, sums, strict=True)]

        sums = [emit.zero] * (together * n)
        p, *sums = f.loop(_I64(0), arg["k"], emit.lanes, sums, step)
        rest = b.sub(arg["k"], p)
        more = b.icmp_signed(">", rest, _I64(0))
        sums = f.choose_all(more, lambda: step(p, sums, emit.first(rest)), sums)
        kept = b.mul(left, _I64(n))
        fit = _I64(together * n)
        kept = emit.first(b.select(b.icmp_signed("<", kept, fit), kept, fit))
        finish(_sums_of_lanes(f, sums), b.mul(i, _I64(n)), kept)
        return []

    def along(k: int) -> Any:
        """Return the body of a loop over vectors of rows, whose ``k`` numbers have no gaps."""
        weights = [
            [
                emit.spread(b.load(f.at(arg["b"], b.mul(_I64(j), arg["b_row"]), _I64(p))))
                for p in range(k)
            ]
            for j in range(n)
        ]

        def vector(i: Any, _: list) -> list:
            a = []
            for v in range(k):
                at = b.add(b.mul(i, _I64(k)), _I64(v * emit.lanes))
                a.append(
                    emit.load(f.at(arg["a"], at), some(b.sub(b.mul(arg["rows"], _I64(k)), at)))
                )
            columns = [
                _pick(f, a, [divmod(row * k + p, emit.lanes) for row in range(emit.lanes)])
                for p in range(k)
            ]
            totals = []
            for row in weights:
                total = b.fmul(columns[0], row[0])
                for x, w in zip(columns[1:], row[1:], strict=True):
                    total = emit.multiply_add(x, w, total)
                totals.append(total)
            for v in range(n):
                places = [divmod(v * emit.lanes + lane, n) for lane in range(emit.lanes)]
                first = b.add(b.mul(i, _I64(n)), _I64(v * emit.lanes))
                kept = some(b.sub(b.mul(arg["rows"], _I64(n)), first))
                finish(_pick(f, totals, [(j, row) for row, j in places]), first, kept)
            return []

        return vector

    for k in _SHORT.get(n, ()):
        fits = b.icmp_signed("==", arg["k"], _I64(k))
        with b.if_then(b.and_(fits, b.icmp_signed("==", arg["a_row"], _I64(k)))):
            stop = b.add(arg["rows"], _I64(emit.lanes - 1))
            f.loop(_I64(0), stop, emit.lanes, [], along(k))
            b.ret_void()
    stop = b.add(arg["rows"], _I64(together - 1))
    f.loop(_I64(0), stop, together, [], group)
    b.ret_void()


def _held(n: int) -> int:
    """Return the vectors of each of ``n`` rows that `_descend` holds, and sums: 16 in all."""
    return max(1, 4 // n)


def _descend(f: VectorFunction, n: int) -> None:
    """Emit ``c[i, j] = sum_p a[i, p] b[p, j]`` and ``out[p, j] = sum_i a[i, p] x[i, j]``, p < n.

    Where ``gated`` is not 0, c is 0 where not ``x[i, j] > 0``.  A's rows have no gaps; x has the
    strides of c, and out those of b.
    """
    b, arg, emit = f.builder, f.args, f.emit
    gated = b.icmp_signed("!=", arg["gated"], _I64(0))

    def block(column: Any, vectors: int, mask: Any = None) -> None:
        places = [b.add(column, _I64(v * emit.lanes)) for v in range(vectors)]
        weights = [
            [emit.load(f.at(arg["b"], b.mul(_I64(p), arg["b_row"]), at), mask) for at in places]
            for p in range(n)
        ]

        def row(_: Any, state: list) -> list:
            a, c, x, *sums = state
            left = [emit.spread(b.load(f.at(a, _I64(p)))) for p in range(n)]
            given = [emit.load(f.at(x, at), mask) for at in places]
            totals = [b.fmul(left[0], w) for w in weights[0]]
            for p in range(1, n):
                totals = [
                    emit.multiply_add(left[p], *y) for y in zip(weights[p], totals, strict=True)
                ]
            sums = [
                emit.multiply_add(left[p], given[v], sums[p * vectors + v])
                for p in range(n)
                for v in range(vectors)
            ]

            def positive() -> list:
                kept = [b.fcmp_ordered(">", value, emit.zero) for value in given]
                return [b.select(*y, emit.zero) for y in zip(kept, totals, strict=True)]

            for total, at in zip(f.choose_all(gated, positive, totals), places, strict=True):
                emit.store(total, f.at(c, at), mask)
            return [f.at(a, _I64(n)), f.at(c, arg["c_row"]), f.at(x, arg["c_row"]), *sums]

        state = [arg["a"], arg["c"], arg["x"], *[emit.zero] * (n * vectors)]
        sums = f.loop(_I64(0), arg["rows"], 1, state, row)[4:]
        for p in range(n):
            for v, at in enumerate(places):
                place = f.at(arg["out"], b.mul(_I64(p), arg["b_row"]), at)
                emit.store(sums[p * vectors + v], place, mask)

    def step(vectors: int, stop: Any) -> Any:
        def whole(at: Any, _: list) -> list:
            block(at, vectors)
            return []

        return f.loop(_I64(0), stop, vectors * emit.lanes, [], whole)[0]

    vectors = _held(n)
    held, width = _I64(vectors * emit.lanes), arg["width"]
    with b.if_else(b.icmp_signed("<=", held, width)) as (wide, slim):
        with wide:
            column = step(vectors, width)
            with b.if_then(b.icmp_signed("<", column, width)):
                block(b.sub(width, held), vectors)  # some columns once more
        with slim:
            column = step(1, width) if vectors > 1 else _I64(0)
            rest = b.sub(width, column)
            with b.if_then(b.icmp_signed(">", rest, _I64(0))):
                block(column, 1, emit.first(rest))
    b.ret_void()


def _pick(f: VectorFunction, vectors: list, lanes: list) -> Any:
    """Return the vector of the given (vector, lane) pairs."""
    emit = f.emit
    found = vectors[0]
    for number, vector in enumerate(vectors):
        order = [
            place if chosen == number else emit.lanes + lane
            for lane, (chosen, place) in enumerate(lanes)
        ]
        found = emit.permute(vector, order, found)
    return found


def _interleave(f: VectorFunction, n: int) -> None:
    """Emit ``c[i, j] = start[i, j] + a[j, i]`` for ``n`` columns of c; start has c's shape."""
    b, arg, emit = f.builder, f.args, f.emit
    given = f.present(arg["start"])

    def group(i: Any, _: list) -> list:
        left = b.sub(arg["rows"], i)
        mask = emit.first(left)
        rows = [emit.load(f.at(arg["a"], b.mul(_I64(j), arg["a_row"]), i), mask) for j in range(n)]
        for v in range(n):
            places = [divmod(v * emit.lanes + lane, n) for lane in range(emit.lanes)]
            values = _pick(f, rows, [(j, row) for row, j in places])
            at = b.add(b.mul(i, _I64(n)), _I64(v * emit.lanes))
            kept = emit.first(b.sub(b.mul(arg["rows"], _I64(n)), at))

            def add(at: Any = at, kept: Any = kept, values: Any = values) -> Any:
                return b.fadd(values, emit.load(f.at(arg["start"], at), kept))

            emit.store(f.choose(given, add, values), f.at(arg["c"], at), kept)
        return []

    f.loop(_I64(0), b.add(arg["rows"], _I64(emit.lanes - 1)), emit.lanes, [], group)
    b.ret_void()


def _separate(f: VectorFunction, n: int) -> None:
    """Emit ``c[j, i] = a[i, j]`` for ``n`` columns of an a without gaps between its rows."""
    b, arg, emit = f.builder, f.args, f.emit

    def group(i: Any, _: list) -> list:
        vectors = []
        for v in range(n):
            at = b.add(b.mul(i, _I64(n)), _I64(v * emit.lanes))
            kept = emit.first(b.sub(b.mul(arg["rows"], _I64(n)), at))
            vectors.append(emit.load(f.at(arg["a"], at), kept))
        mask = emit.first(b.sub(arg["rows"], i))
        for j in range(n):
            places = [divmod(row * n + j, emit.lanes) for row in range(emit.lanes)]
            place = f.at(arg["c"], b.mul(_I64(j), arg["c_row"]), i)
            emit.store(_pick(f, vectors, places), place, mask)
        return []

    f.loop(_I64(0), b.add(arg["rows"], _I64(emit.lanes - 1)), emit.lanes, [], group)
    b.ret_void()


def _codegen(emit_body: Callable, arguments: str) -> Callable:
    """Return the codegen of an intrinsic that calls the function emitted for its first argument."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointers = [kind for kind in signature.args if isinstance(kind, types.CPointer)]
        dtype = pointers[0].dtype
        done = builder.append_basic_block("narrow.done")
        switch = builder.switch(args[0], done)
        for n in range(1, _narrow(host_shape(context).width * 8 // dtype.bitwidth) + 1):
            name = f"{emit_body.__name__.strip('_')}.{n}"
            f = VectorFunction(context, builder, dtype, name, arguments, number=False)
            if not f.exists:
                emit_body(f, n)
            case = builder.append_basic_block(name)
            switch.add_case(_I64(n), case)
            builder.position_at_end(case)
            builder.call(f.function, args[1:])
            builder.branch(done)
        builder.position_at_end(done)
        return context.get_dummy_value()

    return codegen


if JIT:

    @intrinsic
    def is_narrow(typing: Any, n: Any, like: Any) -> Any:
        """Return whether a matrix of ``n`` columns is narrow."""

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            most = _narrow(host_shape(context).width * 8 // like.dtype.bitwidth)
            return builder.icmp_signed("<=", args[0], _I64(most))

        return types.boolean(types.intp, like), codegen

else:

    def is_narrow(n: int, like: Any) -> bool:
        """Return whether a matrix of ``n`` columns is narrow."""
        return n <= NARROW


@intrinsic
def dots_narrow_(  # type: ignore[no-untyped-def]
    typing, n, rows, k, a, a_row, b, b_row, c, start, start_row, gate, floor
) -> Any:  # fmt: skip
    """Write ``C = max(floor, [start +] A B^T)`` for a B of ``n`` rows, `pointer`s, as of `_dots`.

    ``start_row`` is 0 for one row, else ``n``.
    """
    m = types.intp
    signature = types.void(m, m, m, a, m, b, m, c, start, m, gate, c.dtype)
    return signature, _codegen(_dots, "rows k a a_row b b_row c start start_row gate floor")


@intrinsic
def descend_narrow_(  # type: ignore[no-untyped-def]
    typing, n, rows, width, a, b, b_row, c, c_row, x, gated, out
) -> Any:  # fmt: skip
    """Write ``C = A B`` for a B of ``n`` rows, gated by X, and ``out = A^T X``: `_descend`."""
    m = types.intp
    signature = types.void(m, m, m, a, b, m, c, m, x, m, out)
    return signature, _codegen(_descend, "rows width a b b_row c c_row x gated out")


@intrinsic
def interleave_(typing: Any, n: Any, rows: Any, a: Any, a_row: Any, c: Any, start: Any) -> Any:
    """Write ``C = [start +] A^T`` for an A of ``n`` rows, ``a_row`` apart; C has no gaps."""
    m = types.intp
    return types.void(m, m, a, m, c, start), _codegen(_interleave, "rows a a_row c start")


@intrinsic
def separate_(typing: Any, n: Any, rows: Any, a: Any, c: Any, c_row: Any) -> Any:
    """Write ``C = A^T`` for an A of ``n`` columns without gaps; C's rows are ``c_row`` apart."""
    m = types.intp
    return types.void(m, m, a, c, m), _codegen(_separate, "rows a c c_row")
