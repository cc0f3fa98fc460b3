"""A layer's three products for one row, and a row's softmax, in whole vectors of the host's width.

A matrix is ``count`` rows of ``width`` numbers, and every ``width`` here is a multiple of
`lanes_of`, the numbers of a vector; what is beyond a layer's own size is padding, and zero.  So no
load or store needs a mask: a load that overlaps a masked store just made waits until that is
in the cache, several times as long as the arithmetic of a small layer.

For one row nothing is used twice: the products run at the speed of reading the matrix, if
enough sums are under way at once.
"""

from typing import Any

from llvmlite import ir

from fastnn.kernels import elementary
from fastnn.kernels.jit import JIT, intrinsic, types
from fastnn.kernels.simd import host_shape
from fastnn.kernels.vector_exp import sigmoid
from fastnn.kernels.vector_function import VectorFunction, call_codegen

_I64 = ir.IntType(64)
#: Sums under way at once: the latency of a multiply-add times how many start each cycle.
_CHAINS = 4
#: Up to so many numbers at the start of a vector are summed among themselves.
_FEW = 4


def combine(f: VectorFunction, activate: Any = None) -> None:
    """Emit ``out = [start +] sum_i x_i W_i`` over the rows of W, summed in registers.

    ``activate`` is what else is done to a vector of sums, in registers besides theirs.
    """
    b, arg, emit = f.builder, f.args, f.emit

    def block(column: Any, vectors: int) -> None:
        unroll = max(1, _CHAINS // vectors)

        def step(i: Any, sums: list, rows: int) -> list:
            after = []
            for r in range(rows):
                row = b.add(i, _I64(r))
                x = emit.spread(b.load(f.at(arg["x"], row)))
                W = f.load(f.at(arg["W"], b.mul(row, arg["width"]), column), vectors)
                mine = sums[r * vectors : (r + 1) * vectors]
                after += [emit.multiply_add(x, w, s) for w, s in zip(W, mine, strict=True)]
            return after + sums[rows * vectors :]

        given = f.present(arg["start"])
        sums = []
        for v in range(vectors):
            place = f.at(arg["start"], column, _I64(v * emit.lanes))
            sums.append(f.choose(given, lambda place=place: emit.load(place), emit.zero))
        sums += [emit.zero] * (vectors * (unroll - 1))
        i, *sums = f.loop(
            _I64(0), arg["count"], unroll, sums, lambda i, state: step(i, state, unroll)
        )
        while len(sums) > vectors:  # two halves at a time, and before the last rows: few rows
            half = len(sums) // 2  # then wait for no sums but their own
            sums = [b.fadd(s, t) for s, t in zip(sums[:half], sums[half:], strict=True)]
        if unroll > 1:
            i, *sums = f.loop(i, arg["count"], 1, sums, lambda i, state: step(i, state, 1))
        f.store([activate(f, z) for z in sums] if activate else sums, f.at(arg["out"], column))

    most = f.shape.rows * f.shape.vectors // 3 if activate else 8
    f.column_blocks(tuple(vectors for vectors in (8, 4, 2, 1) if vectors <= most), block)


def _combine(f: VectorFunction) -> None:
    """Emit `combine` as a function of its own."""
    combine(f)
    f.builder.ret_void()


def _combine_sigmoid(f: VectorFunction) -> None:
    """Emit ``out = sigmoid(start + sum_i x_i W_i)``."""
    combine(f, sigmoid)
    f.builder.ret_void()


def dot_products(f: VectorFunction, i: Any, rows: int, count: Any) -> Any:
    """Return the vector of ``W_i . v`` of ``rows`` rows; beyond ``count``, of the last."""
    b, arg, emit = f.builder, f.args, f.emit
    last = b.sub(count, _I64(1))
    places = []
    for r in range(rows):
        row = b.add(i, _I64(r))
        row = b.select(b.icmp_signed("<", row, last), row, last)
        places.append(f.at(arg["W"], b.mul(row, arg["width"])))

    def add(column: Any, sums: list, vectors: int) -> list:
        after = []
        for c in range(vectors):
            at = b.add(column, _I64(c * emit.lanes))
            v = emit.load(f.at(arg["v"], at))
            W = [emit.load(f.at(place, at)) for place in places]
            mine = sums[c * rows : (c + 1) * rows]
            after += [emit.multiply_add(w, v, s) for w, s in zip(W, mine, strict=True)]
        return after + sums[vectors * rows :]

    column: Any = _I64(0)
    together = 2 if rows <= _CHAINS else 1  # vectors of v, each with sums of its own
    sums = [emit.zero] * (rows * together)
    for vectors in sorted({together, 1}, reverse=True):
        column, *sums = f.loop(
            column, arg["width"], vectors * emit.lanes, sums,
            lambda column, state, vectors=vectors: add(column, state, vectors),
        )  # fmt: skip
    if together > 1:
        sums = [b.fadd(s, t) for s, t in zip(sums[:rows], sums[rows:], strict=True)]
    return f.sum_each(sums)


def dots(f: VectorFunction) -> None:
    """Emit ``out_i = [start_i +] W_i . v``, and the start or 0 in the padding of ``out``."""
    b, arg, emit = f.builder, f.args, f.emit
    lanes = emit.lanes

    def block(i: Any, _: list) -> list:
        left = b.sub(arg["count"], i)
        done = b.append_basic_block("dots.done")
        results = []
        for rows in sorted({max(lanes * k // 8, 1) for k in (1, 2, 4, 6, 8)}):
            if rows < lanes:
                fits = b.icmp_signed("<=", left, _I64(rows))
                here, otherwise = b.append_basic_block("dots"), b.append_basic_block("dots.more")
                b.cbranch(fits, here, otherwise)
                b.position_at_end(here)
            value = dot_products(f, i, rows, arg["count"])
            results.append((value, b.block))
            b.branch(done)
            if rows < lanes:
                b.position_at_end(otherwise)
        b.position_at_end(done)
        sums = b.phi(emit.vector)
        for value, origin in results:
            sums.add_incoming(value, origin)
        inside = emit.first(b.select(b.icmp_signed("<", left, _I64(lanes)), left, _I64(lanes)))
        place = f.at(arg["start"], i)
        start = f.choose(f.present(arg["start"]), lambda: emit.load(place), emit.zero)
        emit.store(b.fadd(start, b.select(inside, sums, emit.zero)), f.at(arg["out"], i))
        return []

    f.loop(_I64(0), b.add(arg["count"], _I64(lanes - 1)), lanes, [], block)


def _dots(f: VectorFunction) -> None:
    """Emit `dots` as a function of its own."""
    dots(f)
    f.builder.ret_void()


def _rank_one(f: VectorFunction) -> None:
    """Emit ``W_i = keep W_i - x_i step``, several rows at a time."""
    b, arg, emit = f.builder, f.args, f.emit
    keep = emit.spread(arg["keep"])

    def block(column: Any, vectors: int) -> None:
        minus = [b.fneg(s) for s in f.load(f.at(arg["step"], column), vectors)]

        def some(i: Any, rows: int) -> list:
            places, updated = [], []
            for r in range(rows):
                row = b.add(i, _I64(r))
                places.append(f.at(arg["W"], b.mul(row, arg["width"]), column))
                x = emit.spread(b.load(f.at(arg["x"], row)))
                W = [b.fmul(keep, w) for w in f.load(places[r], vectors)]
                updated.append([emit.multiply_add(x, s, w) for s, w in zip(minus, W, strict=True)])
            for place, values in zip(places, updated, strict=True):
                f.store(values, place)
            return []

        i = _I64(0)
        for rows in (8 // vectors, 1):
            i = f.loop(i, arg["count"], rows, [], lambda i, _, rows=rows: some(i, rows))[0]

    f.column_blocks((4, 2, 1), block)
    b.ret_void()


def _heavy_ball(f: VectorFunction) -> None:
    """Emit ``g = x_i step + decay W_i;  V_i = mu V_i - g;  W_i += ahead V_i - direct g``."""
    b, arg, emit = f.builder, f.args, f.emit
    decay, mu, ahead, direct = (emit.spread(arg[x]) for x in ("decay", "mu", "ahead", "direct"))

    def block(column: Any, vectors: int) -> None:
        step = f.load(f.at(arg["step"], column), vectors)

        def row(i: Any, _: list) -> list:
            at = b.mul(i, arg["width"])
            x = emit.spread(b.load(f.at(arg["x"], i)))
            places = f.at(arg["W"], at, column), f.at(arg["V"], at, column)
            before = (f.load(place, vectors) for place in places)
            W, V = [], []
            for w, v, s in zip(*before, step, strict=True):
                minus = b.fneg(emit.multiply_add(x, s, b.fmul(decay, w)))
                V.append(emit.multiply_add(mu, v, minus))
                W.append(emit.multiply_add(ahead, V[-1], emit.multiply_add(direct, minus, w)))
            for place, values in zip(places, (W, V), strict=True):
                f.store(values, place)
            return []

        f.loop(_I64(0), arg["count"], 1, [], row)

    f.column_blocks((4, 1), block)
    b.ret_void()


def _subtract(f: VectorFunction) -> None:
    """Emit ``b -= step``."""
    b, arg, emit = f.builder, f.args, f.emit

    def block(column: Any, vectors: int) -> None:
        place = f.at(arg["bias"], column)
        step = emit.load(f.at(arg["step"], column))
        emit.store(b.fsub(emit.load(place), step), place)

    f.column_blocks((1,), block)
    b.ret_void()


def _shift(f: VectorFunction) -> None:
    """Emit ``out = z - max(z)`` and return the maximum."""
    b, arg, emit = f.builder, f.args, f.emit

    def larger(x: Any, y: Any) -> Any:
        return b.select(b.fcmp_ordered(">", x, y), x, y)

    def widen(column: Any, state: list) -> list:
        return [larger(state[0], emit.load(f.at(arg["z"], column)))]

    start = emit.load(arg["z"])
    largest = f.fold(larger, f.loop(_I64(emit.lanes), arg["width"], emit.lanes, [start], widen)[1])

    def block(column: Any, vectors: int) -> None:
        z = emit.load(f.at(arg["z"], column))
        emit.store(b.fsub(z, largest), f.at(arg["out"], column))

    f.column_blocks((1,), block)
    b.ret(f.first_lane(largest))


def _residual(f: VectorFunction) -> None:
    """Emit ``out = factor (e / sum(e) - [k = label])`` and return the sum."""
    b, arg, emit = f.builder, f.args, f.emit

    def add(column: Any, state: list) -> list:
        return [b.fadd(state[0], emit.load(f.at(arg["e"], column)))]

    start = emit.load(arg["e"])
    sums = f.loop(_I64(emit.lanes), arg["width"], emit.lanes, [start], add)[1]
    few = b.icmp_signed("<=", arg["n"], _I64(_FEW))
    total = f.either(
        few,
        lambda: f.first_lane(f.fold(b.fadd, sums, _FEW)),
        lambda: f.first_lane(f.fold(b.fadd, sums)),
    )
    factor = emit.spread(arg["factor"])
    scale = emit.spread(b.fdiv(arg["factor"], total))
    lanes = ir.Constant(ir.VectorType(_I64, emit.lanes), list(range(emit.lanes)))

    def block(column: Any, vectors: int) -> None:
        label = emit.spread(b.sub(arg["label"], column))
        one = b.select(b.icmp_signed("==", lanes, label), factor, emit.zero)
        e = emit.load(f.at(arg["e"], column))
        emit.store(emit.multiply_add(e, scale, b.fneg(one)), f.at(arg["out"], column))

    f.column_blocks((1,), block)
    b.ret(total)


def _copy(f: VectorFunction) -> None:
    """Emit ``out = x`` for ``n`` numbers, and zeros in the padding of ``out``."""
    b, arg, emit = f.builder, f.args, f.emit

    def vector(i: Any, mask: Any) -> list:
        emit.store(emit.load(f.at(arg["x"], i), mask), f.at(arg["out"], i))
        return []

    i = f.loop(_I64(0), arg["n"], emit.lanes, [], lambda i, _: vector(i, None))[0]
    with b.if_then(b.icmp_signed("<", i, arg["n"])):
        vector(i, emit.first(b.sub(arg["n"], i)))
    b.ret_void()


def trim(f: VectorFunction) -> None:
    """Emit zeros in the padding of ``out``, whose first ``n`` numbers stay."""
    b, arg, emit = f.builder, f.args, f.emit
    left = b.and_(arg["n"], _I64(emit.lanes - 1))
    with b.if_then(b.icmp_signed("!=", left, _I64(0))):
        place = f.at(arg["out"], b.sub(arg["n"], left))
        kept = b.select(emit.first(left), emit.load(place), emit.zero)
        emit.store(kept, place)


def _trim(f: VectorFunction) -> None:
    """Emit `trim` as a function of its own."""
    trim(f)
    f.builder.ret_void()


if JIT:

    @intrinsic
    def lanes_of(typing: Any, flat: Any) -> Any:
        """Return how many numbers of a pointer's precision make a vector."""

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return _I64(host_shape(context).width * 8 // flat.dtype.bitwidth)

        return types.intp(flat), codegen

    @intrinsic
    def combine_(typing: Any, count: Any, width: Any, x: Any, W: Any, start: Any, out: Any) -> Any:
        """Write ``out = start + sum_i x_i W_i`` over the rows of W; ``start`` None is 0."""
        signature = types.void(types.intp, types.intp, x, W, start, out)
        return signature, call_codegen(_combine, "count width x W start out")

    @intrinsic
    def combine_sigmoid_(
        typing: Any, count: Any, width: Any, x: Any, W: Any, start: Any, out: Any
    ) -> Any:
        """Write ``out = sigmoid(start + sum_i x_i W_i)`` over the rows of W."""
        signature = types.void(types.intp, types.intp, x, W, start, out)
        return signature, call_codegen(_combine_sigmoid, "count width x W start out")

    @intrinsic
    def dots_(typing: Any, count: Any, width: Any, v: Any, W: Any, start: Any, out: Any) -> Any:
        """Write ``out_i = start_i + W_i . v``; the start alone in the padding."""
        signature = types.void(types.intp, types.intp, v, W, start, out)
        return signature, call_codegen(_dots, "count width v W start out")

    @intrinsic
    def rank_one_(typing: Any, count: Any, width: Any, keep: Any, x: Any, step: Any, W: Any) -> Any:
        """Write ``W_i = keep W_i - x_i step``."""
        signature = types.void(types.intp, types.intp, W.dtype, x, step, W)
        return signature, call_codegen(_rank_one, "count width keep x step W")

    @intrinsic
    def heavy_ball_(  # type: ignore[no-untyped-def]
        typing, count, width, decay, mu, ahead, direct, x, step, W, V
    ) -> Any:
        """Write ``g = x_i step + decay W_i;  V_i = mu V_i - g;  W_i += ahead V_i - direct g``."""
        number = W.dtype
        signature = types.void(
            types.intp, types.intp, number, number, number, number, x, step, W, V
        )  # fmt: skip
        names = "count width decay mu ahead direct x step W V"
        return signature, call_codegen(_heavy_ball, names)

    @intrinsic
    def subtract_(typing: Any, width: Any, step: Any, bias: Any) -> Any:
        """Write ``bias -= step``."""
        return types.void(types.intp, step, bias), call_codegen(_subtract, "width step bias")

    @intrinsic
    def shift_(typing: Any, width: Any, z: Any, out: Any) -> Any:
        """Write ``out = z - max(z)`` and return the maximum."""
        return z.dtype(types.intp, z, out), call_codegen(_shift, "width z out", number=True)

    @intrinsic
    def residual_(
        typing: Any, n: Any, width: Any, e: Any, label: Any, factor: Any, out: Any
    ) -> Any:
        """Write ``out = factor (e / sum(e) - [k = label])`` of ``n`` e; return the sum."""
        signature = e.dtype(types.intp, types.intp, e, types.intp, e.dtype, out)
        return signature, call_codegen(_residual, "n width e label factor out", number=True)

    @intrinsic
    def copy_(typing: Any, n: Any, x: Any, out: Any) -> Any:
        """Write ``n`` numbers ``x`` to ``out``, and zeros up to a whole vector."""
        return types.void(types.intp, x, out), call_codegen(_copy, "n x out")

    @intrinsic
    def trim_(typing: Any, n: Any, out: Any) -> Any:
        """Write zeros behind the first ``n`` numbers, up to a whole vector."""
        return types.void(types.intp, out), call_codegen(_trim, "n out")

else:
    _LANES = 4

    def lanes_of(flat: Any) -> int:
        """Return how many numbers of a pointer's precision make a vector."""
        return _LANES

    def _rows(W: Any, count: int, width: int) -> Any:
        return W[: count * width].reshape(count, width)

    def combine_(count: int, width: int, x: Any, W: Any, start: Any, out: Any) -> None:
        """Write ``out = start + sum_i x_i W_i`` over the rows of W; ``start`` None is 0."""
        product = x[:count] @ _rows(W, count, width)
        out[:width] = product if start is None else start[:width] + product

    def combine_sigmoid_(count: int, width: int, x: Any, W: Any, start: Any, out: Any) -> None:
        """Write ``out = sigmoid(start + sum_i x_i W_i)`` over the rows of W."""
        combine_(count, width, x, W, start, out)
        out[:width] = [elementary.sigmoid(z) for z in out[:width]]

    def dots_(count: int, width: int, v: Any, W: Any, start: Any, out: Any) -> None:
        """Write ``out_i = start_i + W_i . v``; the start alone in the padding."""
        whole = -(-count // _LANES) * _LANES
        out[:whole] = 0 if start is None else start[:whole]
        out[:count] += _rows(W, count, width) @ v[:width]

    def rank_one_(count: int, width: int, keep: Any, x: Any, step: Any, W: Any) -> None:
        """Write ``W_i = keep W_i - x_i step``."""
        rows = _rows(W, count, width)
        rows *= keep
        rows -= x[:count, None] * step[:width]

    def heavy_ball_(  # type: ignore[no-untyped-def]
        count, width, decay, mu, ahead, direct, x, step, W, V
    ) -> None:
        """Write ``g = x_i step + decay W_i;  V_i = mu V_i - g;  W_i += ahead V_i - direct g``."""
        W, V = _rows(W, count, width), _rows(V, count, width)
        g = x[:count, None] * step[:width] + decay * W
        V *= mu
        V -= g
        W += ahead * V - direct * g

    def subtract_(width: int, step: Any, bias: Any) -> None:
        """Write ``bias -= step``."""
        bias[:width] -= step[:width]

    def shift_(width: int, z: Any, out: Any) -> Any:
        """Write ``out = z - max(z)`` and return the maximum."""
        largest = z[:width].max()
        out[:width] = z[:width] - largest
        return largest

    def residual_(n: int, width: int, e: Any, label: int, factor: Any, out: Any) -> Any:
        """Write ``out = factor (e / sum(e) - [k = label])`` of ``n`` e; return the sum."""
        total = e[:width].sum()
        out[:width] = factor / total * e[:width]
        out[label] -= factor
        return total

    def copy_(n: int, x: Any, out: Any) -> None:
        """Write ``n`` numbers ``x`` to ``out``, and zeros up to a whole vector."""
        out[:n] = x[:n]
        trim_(n, out)

    def trim_(n: int, out: Any) -> None:
        """Write zeros behind the first ``n`` numbers, up to a whole vector."""
        out[n : -(-n // _LANES) * _LANES] = 0
