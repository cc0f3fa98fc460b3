"""The output layer of a small classifier for one row: scores, softmax, step, all in one go.

A network of a few vectors does little arithmetic for a row, and each operation waits for the one
before.  As functions of their own, scores, exponentials, steps, the layer below's and the
change of the weights would hand their numbers on through memory, and each would look afresh at how
many there are.  Here they stay in registers, if all outputs fit one vector; for more, the softmax
and what follows it are two functions.  The weights are by columns (`packed`), a row of ``W`` for
each output, and are read once for the layer below's step and for their change.  That step
is multiplied by the slope da/dz of what the outputs come from at once, where the slope is a
polynomial of ``a``.

For other losses and momentum there are the functions of `row`, which agree to rounding.
"""

from typing import Any

import numpy as np
from llvmlite import ir

from fastnn.kernels.jit import JIT, intrinsic, types
from fastnn.kernels.row import dot_products
from fastnn.kernels.vector_exp import SAFE, exponentials
from fastnn.kernels.vector_function import VectorFunction, call_codegen

_I64 = ir.IntType(64)
#: Rows of ``W`` that are changed side by side; more of them take a loop.
_FEW = (2, 4)


def _by_count(f: VectorFunction, count: Any, heights: list, value: Any, other: Any = None) -> list:
    """Return the list ``value(height)`` for the least height of at least ``count``.

    ``other()`` beyond them all; without it, ``count`` is at most the last.
    """
    b = f.builder
    done = b.append_basic_block("chosen")
    results = []
    for height in heights:
        otherwise = None
        if other is not None or height != heights[-1]:
            fits = b.icmp_signed("<=", count, _I64(height))
            here, otherwise = b.append_basic_block("fits"), b.append_basic_block("more")
            b.cbranch(fits, here, otherwise)
            b.position_at_end(here)
        results.append((value(height), b.block))
        b.branch(done)
        if otherwise is not None:
            b.position_at_end(otherwise)
    if other is not None:
        results.append((other(), b.block))
        b.branch(done)
    b.position_at_end(done)
    nodes = [b.phi(x.type) for x in results[0][0]]
    for values, origin in results:
        for node, x in zip(nodes, values, strict=True):
            node.add_incoming(x, origin)
    return nodes


def _slope(f: VectorFunction, a: Any) -> Any:
    """Return da/dz as the polynomial of a that the arguments say."""
    c0, c1, c2 = (f.emit.spread(f.args[name]) for name in ("c0", "c1", "c2"))
    return f.emit.multiply_add(f.emit.multiply_add(c2, a, c1), a, c0)


def _keeping(f: VectorFunction, body: Any) -> None:
    """Emit ``body(kept)``, ``kept(w)`` being what is left of weights; most often that is all."""
    b, keep = f.builder, f.args["keep"]
    if keep is None:
        body(lambda w: w)
        return
    factor = f.emit.spread(keep)
    with b.if_else(b.fcmp_ordered("==", keep, f.element(1.0))) as (all_of_them, less):
        with all_of_them:
            body(lambda w: w)
        with less:
            body(lambda w: b.fmul(factor, w))


def _hand_down(f: VectorFunction, step: Any, rows: int) -> None:
    """Emit the hand-down of a layer of up to ``rows`` rows, side by side.

    Rows beyond the last are the last one once more, written before it; their steps are 0.
    """
    b, arg, emit = f.builder, f.args, f.emit
    last = b.sub(arg["n"], _I64(1))
    steps = [emit.permute(step, [k] * emit.lanes) for k in range(rows)]
    places = []
    for k in range(rows):
        row = b.select(b.icmp_signed("<", _I64(k), last), _I64(k), last)
        places.append(f.at(arg["W"], b.mul(row, arg["width"])))

    def over_columns(kept: Any) -> None:
        def vector(column: Any, _: list) -> list:
            a = emit.load(f.at(arg["v"], column))
            W = [emit.load(f.at(place, column)) for place in places]
            below = b.fmul(steps[0], W[0])
            for s, w in zip(steps[1:], W[1:], strict=True):
                below = emit.multiply_add(s, w, below)
            emit.store(b.fmul(below, _slope(f, a)), f.at(arg["below"], column))
            for s, w, place in reversed(list(zip(steps, W, places, strict=True))):
                emit.store(emit.multiply_add(b.fneg(s), a, kept(w)), f.at(place, column))
            return []

        f.loop(_I64(0), arg["width"], emit.lanes, [], vector)

    _keeping(f, over_columns)


def hand_down_by_loop(f: VectorFunction) -> None:
    """Emit the same for any number of rows, with the steps from memory."""
    b, arg, emit = f.builder, f.args, f.emit

    def over_columns(kept: Any) -> None:
        def block(column: Any, vectors: int) -> None:
            a = f.load(f.at(arg["v"], column), vectors)

            def row(k: Any, below: list) -> list:
                place = f.at(arg["W"], b.mul(k, arg["width"]), column)
                s = emit.spread(b.load(f.at(arg["step"], k)))
                minus = b.fneg(s)
                W = f.load(place, vectors)
                changed = [emit.multiply_add(minus, x, kept(w)) for x, w in zip(a, W, strict=True)]
                f.store(changed, place)
                return [emit.multiply_add(s, w, total) for w, total in zip(W, below, strict=True)]

            below = f.loop(_I64(0), arg["n"], 1, [emit.zero] * vectors, row)[1:]
            scaled = [b.fmul(x, _slope(f, y)) for x, y in zip(below, a, strict=True)]
            f.store(scaled, f.at(arg["below"], column))

        f.column_blocks((4, 2, 1), block)

    _keeping(f, over_columns)


def _hand_down_rows(f: VectorFunction) -> None:
    """Emit `hand_down_by_loop` as a function of its own."""
    hand_down_by_loop(f)
    f.builder.ret_void()


def _safe(f: VectorFunction, z: Any, inside: Any) -> Any:
    """Return a mask of the lanes whose scores are `SAFE`, or outside."""
    emit = f.emit
    size = emit.call(f"llvm.fabs.v{emit.lanes}{emit.suffix}", emit.vector, z)
    safe = f.builder.fcmp_ordered("<=", size, emit.constant(SAFE))
    return f.builder.or_(safe, f.builder.not_(inside))


def _return_unless(f: VectorFunction, safe: Any) -> None:
    """Emit ``return 0`` where a lane of the mask is not safe."""
    b, mask = f.builder, ir.IntType(f.emit.lanes)
    with b.if_then(b.icmp_unsigned("!=", b.bitcast(safe, mask), mask(-1))):
        b.ret(ir.Constant(f.element, 0.0))


def _step_of(f: VectorFunction, e: Any, scale: Any, column: Any) -> Any:
    """Return ``scale e - factor [k = label]`` of the outputs from ``column`` on."""
    b, emit = f.builder, f.emit
    lanes = ir.Constant(ir.VectorType(_I64, emit.lanes), list(range(emit.lanes)))
    is_label = b.icmp_signed("==", lanes, emit.spread(b.sub(f.args["label"], column)))
    one = b.select(is_label, emit.spread(b.fneg(f.args["factor"])), emit.zero)
    return emit.multiply_add(e, scale, one)


def softmax_step(f: VectorFunction) -> Any:
    """Emit the step of scores of several vectors and return their sum; 0 is it if not `SAFE`."""
    b, arg, emit = f.builder, f.args, f.emit
    true = ir.Constant(emit.mask, [1] * emit.lanes)
    lanes = _I64(emit.lanes)

    def add(column: Any, state: list) -> list:
        sums, safe = state
        z = emit.load(f.at(arg["z"], column))
        left = b.sub(arg["n"], column)
        inside = emit.first(b.select(b.icmp_signed("<", left, lanes), left, lanes))
        e = b.select(inside, exponentials(f, z), emit.zero)
        emit.store(e, f.at(arg["step"], column))
        return [b.fadd(sums, e), b.and_(safe, _safe(f, z, inside))]

    sums, safe = f.loop(_I64(0), arg["width"], emit.lanes, [emit.zero, true], add)[1:]
    _return_unless(f, safe)
    total = f.first_lane(f.fold(b.fadd, sums))
    scale = emit.spread(b.fdiv(arg["factor"], total))

    def block(column: Any, vectors: int) -> None:
        place, bias = f.at(arg["step"], column), f.at(arg["bias"], column)
        step = _step_of(f, emit.load(place), scale, column)
        emit.store(step, place)
        emit.store(b.fsub(emit.load(bias), step), bias)

    f.column_blocks((1,), block)
    return total


def _softmax_step(f: VectorFunction) -> None:
    """Emit `softmax_step` as a function of its own."""
    f.builder.ret(softmax_step(f))


def output_step(f: VectorFunction) -> Any:
    """Emit the step of the output layer; return the sum of exponentials, or 0 if not `SAFE`."""
    b, arg, emit = f.builder, f.args, f.emit
    inside = emit.first(arg["n"])
    heights = sorted({max(emit.lanes * k // 8, 1) for k in (1, 2, 4, 6, 8)})
    dots = _by_count(f, arg["n"], heights, lambda rows: [dot_products(f, _I64(0), rows, arg["n"])])[
        0
    ]
    z = b.fadd(emit.load(arg["bias"]), dots)
    emit.store(z, arg["z"])
    _return_unless(f, _safe(f, z, inside))
    e = b.select(inside, exponentials(f, z), emit.zero)
    few = [2, 4] if emit.lanes > 4 else [2]
    total = _by_count(
        f, arg["n"], few, lambda lanes: [f.fold(b.fadd, e, lanes)], lambda: [f.fold(b.fadd, e)]
    )[0]
    total = f.first_lane(total)
    scale = emit.spread(b.fdiv(arg["factor"], total))
    step = _step_of(f, e, scale, _I64(0))
    emit.store(step, arg["step"])
    emit.store(b.fsub(emit.load(arg["bias"]), step), arg["bias"])

    def unrolled(rows: int) -> list:
        _hand_down(f, step, rows)
        return []

    def looped() -> list:
        hand_down_by_loop(f)
        return []

    _by_count(f, arg["n"], [rows for rows in _FEW if rows <= emit.lanes], unrolled, looped)
    return total


def _output_step(f: VectorFunction) -> None:
    """Emit `output_step` as a function of its own."""
    f.builder.ret(output_step(f))


if JIT:

    @intrinsic
    def output_step_(  # type: ignore[no-untyped-def]
        typing, n, width, keep, c0, c1, c2, label, factor, v, W, bias, z, step, below
    ) -> Any:
        """Make the step of an output layer with softmax for one row.

        ``z = W v + bias``, then what `softmax_step_` and `hand_down_` do, for ``n`` outputs, one
        vector at the most, of rows of ``width`` numbers.
        """
        number, m = W.dtype, types.intp
        signature = number(
            m, m, number, number, number, number, m, number, v, W, bias, z, step, below
        )  # fmt: skip
        names = "n width keep c0 c1 c2 label factor v W bias z step below"
        return signature, call_codegen(_output_step, names, number=True)

    @intrinsic
    def softmax_step_(  # type: ignore[no-untyped-def]
        typing, n, width, label, factor, z, bias, step
    ) -> Any:
        """Write ``step = factor (softmax(z) - [k = label])`` of ``n`` scores, ``bias -= step``.

        Returns ``sum_k exp(z_k)``; or 0 where scores are so large that they take care, and then
        the biases are as they were.
        """
        number, m = z.dtype, types.intp
        signature = number(m, m, m, number, z, bias, step)
        names = "n width label factor z bias step"
        return signature, call_codegen(_softmax_step, names, number=True)

    @intrinsic
    def hand_down_(  # type: ignore[no-untyped-def]
        typing, n, width, keep, c0, c1, c2, v, W, step, below
    ) -> Any:
        """Write ``below = (step W) (c0 + c1 v + c2 v^2)``, then ``W_k = keep W_k - step_k v``."""
        number, m = W.dtype, types.intp
        signature = types.void(m, m, number, number, number, number, v, W, step, below)
        names = "n width keep c0 c1 c2 v W step below"
        return signature, call_codegen(_hand_down_rows, names)

else:

    def output_step_(  # type: ignore[no-untyped-def]
        n, width, keep, c0, c1, c2, label, factor, v, W, bias, z, step, below
    ) -> Any:
        """Make the step of an output layer with softmax for one row; return its sum, or 0."""
        z[:n] = W[: n * width].reshape(n, width) @ v[:width] + bias[:n]
        total = softmax_step_(n, n, label, factor, z, bias, step)
        if total > 0:
            hand_down_(n, width, keep, c0, c1, c2, v, W, step, below)
        return total

    def softmax_step_(  # type: ignore[no-untyped-def]
        n, width, label, factor, z, bias, step
    ) -> Any:
        """Write ``step = factor (softmax(z) - [k = label])``, ``bias -= step``; return the sum."""
        if not np.all(abs(z[:n]) <= SAFE):
            return 0.0
        e = np.exp(z[:n])
        step[:n] = factor / e.sum() * e
        step[label] -= factor
        bias[:n] -= step[:n]
        return e.sum()

    def hand_down_(  # type: ignore[no-untyped-def]
        n, width, keep, c0, c1, c2, v, W, step, below
    ) -> None:
        """Write ``below = (step W) (c0 + c1 v + c2 v^2)``, then ``W_k = keep W_k - step_k v``."""
        rows, v = W[: n * width].reshape(n, width), v[:width]
        below[:width] = step[:n] @ rows * (c0 + c1 * v + c2 * v * v)
        rows *= keep
        rows -= step[:n, None] * v
