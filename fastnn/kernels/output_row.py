"""The output layer of a small classifier for one row: scores, softmax, step, all in one go.

A network of a few vectors does little arithmetic for a row, and each operation waits for the one
before.  As functions of their own, scores, exponentials, steps, the layer below's and the
change of the weights would hand their numbers on through memory, and each would look afresh at how
many there are.  Here they stay in registers, if all outputs fit one vector: those of the layer are
then by columns (`packed`), a row of ``W`` for each output.

For more outputs, other losses and momentum there are the functions of `row`, which agree to
rounding.
"""

from typing import Any

import numpy as np
from llvmlite import ir

from fastnn.kernels.elementary import (
    EXP_TAIL_32,
    EXP_TAIL_64,
    LN2_64,
    LN2_HIGH_32,
    LN2_HIGH_64,
    LN2_LOW_32,
    LN2_LOW_64,
)
from fastnn.kernels.jit import JIT, intrinsic, types
from fastnn.kernels.row import dot_products
from fastnn.kernels.vector_function import VectorFunction, call_codegen

_I32, _I64 = ir.IntType(32), ir.IntType(64)
#: Scores up to this have exponentials, and sums of them, that neither overflow nor underflow.
SAFE = 80.0
#: Rows of ``W`` that are changed side by side; more of them take a loop.
_FEW = (2, 4)
_TAIL = {32: tuple(map(float, EXP_TAIL_32)), 64: EXP_TAIL_64}
_LOG_2 = {
    32: (float(LN2_HIGH_32), float(LN2_LOW_32)),
    64: (LN2_HIGH_64, LN2_LOW_64),
}
_MAGIC = {32: 1.5 * 2.0**23, 64: 1.5 * 2.0**52}
_FRACTION = {32: (23, 127), 64: (52, 1023)}


def _polynomial(f: VectorFunction, x: Any, powers: list, coefficients: tuple) -> Any:
    """Return the sum of ``coefficients`` times powers of x, halved down: few wait for others.

    ``powers`` are x^2, x^4, ...
    """
    emit = f.emit
    if len(coefficients) == 1:
        return emit.constant(coefficients[0])
    half = 1
    while 2 * half < len(coefficients):
        half *= 2
    low = _polynomial(f, x, powers, coefficients[:half])
    high = _polynomial(f, x, powers, coefficients[half:])
    power = x if half == 1 else powers[half.bit_length() - 2]
    return emit.multiply_add(high, power, low)


def exponentials(f: VectorFunction, x: Any, *, exact: bool = False) -> Any:
    """Return ``e^x`` of ``|x| <= SAFE``, as `elementary.exp_factors` computes it.

    Without ``exact`` an error of log 2 counts once for each time that x has it, and an operation
    less is to be waited for.
    """
    b, emit = f.builder, f.emit
    bits = emit.index.width
    magic = emit.constant(_MAGIC[bits])
    shifted = emit.multiply_add(x, emit.constant(1.4426950408889634), magic)
    n = b.fsub(shifted, magic)
    parts = _LOG_2[bits] if exact else (LN2_64,)
    r = x
    for part in parts:
        r = emit.multiply_add(n, emit.constant(-part), r)
    powers = [b.fmul(r, r)]
    while 2 ** len(powers) < len(_TAIL[bits]):
        powers.append(b.fmul(powers[-1], powers[-1]))
    start = b.fadd(emit.constant(1.0), r)
    low = emit.multiply_add(powers[0], _polynomial(f, r, powers, _TAIL[bits][:2]), start)
    high = _polynomial(f, r, powers, _TAIL[bits][2:])
    mantissa = emit.multiply_add(powers[1], high, low)
    # n is in the low bits of `shifted`; those above it leave.
    whole = ir.VectorType(emit.index, emit.lanes)
    fraction, bias = _FRACTION[bits]
    exponent = b.shl(b.bitcast(shifted, whole), ir.Constant(whole, [fraction] * emit.lanes))
    one = ir.Constant(whole, [bias << fraction] * emit.lanes)
    return b.fmul(mantissa, b.bitcast(b.add(exponent, one), emit.vector))


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


def _hand_down(f: VectorFunction, step: Any, rows: int) -> None:
    """Emit ``below = sum_k step_k W_k`` and ``W_k = keep W_k - step_k a`` for up to ``rows`` rows.

    Rows beyond the last are the last one once more, written before it; their steps are 0.
    """
    b, arg, emit = f.builder, f.args, f.emit
    keep = emit.spread(arg["keep"])
    last = b.sub(arg["n"], _I64(1))
    steps = [emit.permute(step, [k] * emit.lanes) for k in range(rows)]
    places = []
    for k in range(rows):
        row = b.select(b.icmp_signed("<", _I64(k), last), _I64(k), last)
        places.append(f.at(arg["W"], b.mul(row, arg["width"])))

    def vector(column: Any, _: list) -> list:
        a = emit.load(f.at(arg["v"], column))
        W = [emit.load(f.at(place, column)) for place in places]
        below = b.fmul(steps[0], W[0])
        for s, w in zip(steps[1:], W[1:], strict=True):
            below = emit.multiply_add(s, w, below)
        emit.store(below, f.at(arg["below"], column))
        for s, w, place in reversed(list(zip(steps, W, places, strict=True))):
            changed = emit.multiply_add(b.fneg(s), a, b.fmul(keep, w))
            emit.store(changed, f.at(place, column))
        return []

    f.loop(_I64(0), arg["width"], emit.lanes, [], vector)


def _hand_down_by_loop(f: VectorFunction) -> None:
    """Emit the same for any number of rows, with the steps from memory."""
    b, arg, emit = f.builder, f.args, f.emit
    keep = emit.spread(arg["keep"])

    def block(column: Any, vectors: int) -> None:
        a = f.load(f.at(arg["v"], column), vectors)

        def row(k: Any, below: list) -> list:
            place = f.at(arg["W"], b.mul(k, arg["width"]), column)
            s = emit.spread(b.load(f.at(arg["step"], k)))
            minus = b.fneg(s)
            W = f.load(place, vectors)
            changed = [
                emit.multiply_add(minus, x, b.fmul(keep, w)) for x, w in zip(a, W, strict=True)
            ]
            f.store(changed, place)
            return [emit.multiply_add(s, w, total) for w, total in zip(W, below, strict=True)]

        below = f.loop(_I64(0), arg["n"], 1, [emit.zero] * vectors, row)[1:]
        f.store(below, f.at(arg["below"], column))

    f.column_blocks((4, 2, 1), block)


def _output_step(f: VectorFunction) -> None:
    """Emit the step of the output layer; return the sum of exponentials, or 0 if not `SAFE`."""
    b, arg, emit = f.builder, f.args, f.emit
    inside = emit.first(arg["n"])
    heights = sorted({max(emit.lanes * k // 8, 1) for k in (1, 2, 4, 6, 8)})
    dots = _by_count(f, arg["n"], heights, lambda rows: [dot_products(f, _I64(0), rows, arg["n"])])[
        0
    ]
    z = b.fadd(emit.load(arg["bias"]), dots)
    emit.store(z, arg["z"])
    size = emit.call(f"llvm.fabs.v{emit.lanes}{emit.suffix}", emit.vector, z)
    safe = b.fcmp_ordered("<=", size, emit.constant(SAFE))
    outside = b.not_(inside)
    flags = b.bitcast(b.or_(safe, outside), ir.IntType(emit.lanes))
    with b.if_then(b.icmp_unsigned("!=", flags, ir.IntType(emit.lanes)(-1))):
        b.ret(ir.Constant(f.element, 0.0))

    e = b.select(inside, exponentials(f, z), emit.zero)
    few = [2, 4] if emit.lanes > 4 else [2]
    total = _by_count(
        f, arg["n"], few, lambda lanes: [f.fold(b.fadd, e, lanes)], lambda: [f.fold(b.fadd, e)]
    )[0]
    total = f.first_lane(total)
    scale = emit.spread(b.fdiv(arg["factor"], total))
    lanes = ir.Constant(ir.VectorType(_I64, emit.lanes), list(range(emit.lanes)))
    is_label = b.icmp_signed("==", lanes, emit.spread(arg["label"]))
    one = b.select(is_label, emit.spread(b.fneg(arg["factor"])), emit.zero)
    step = emit.multiply_add(e, scale, one)
    emit.store(step, arg["step"])
    emit.store(b.fsub(emit.load(arg["bias"]), step), arg["bias"])

    def unrolled(rows: int) -> list:
        _hand_down(f, step, rows)
        return []

    def looped() -> list:
        _hand_down_by_loop(f)
        return []

    _by_count(f, arg["n"], [rows for rows in _FEW if rows <= emit.lanes], unrolled, looped)
    b.ret(total)


if JIT:

    @intrinsic
    def output_step_(  # type: ignore[no-untyped-def]
        typing, n, width, keep, label, factor, v, W, bias, z, step, below
    ) -> Any:
        """Make the step of an output layer with softmax for one row.

        ``z = W v + bias``, ``step = factor (softmax(z) - [k = label])``, ``below = step W`` and the
        changes ``W_k = keep W_k - step_k v``, ``bias -= step``, for ``n`` outputs, one vector at
        the most, of rows of ``width`` numbers.  Returns ``sum_k exp(z_k)``; or 0 where scores are
        so large that they take care, and then has written but ``z``.
        """
        number, m = W.dtype, types.intp
        signature = number(m, m, number, m, number, v, W, bias, z, step, below)
        names = "n width keep label factor v W bias z step below"
        return signature, call_codegen(_output_step, names, number=True)

else:

    def output_step_(  # type: ignore[no-untyped-def]
        n, width, keep, label, factor, v, W, bias, z, step, below
    ) -> Any:
        """Make the step of an output layer with softmax for one row; return its sum, or 0."""
        rows = W[: n * width].reshape(n, width)
        z[:n] = rows @ v[:width] + bias[:n]
        if not np.all(abs(z[:n]) <= SAFE):
            return 0.0
        e = np.exp(z[:n])
        step[:n] = factor / e.sum() * e
        step[label] -= factor
        below[:width] = step[:n] @ rows
        rows *= keep
        rows -= step[:n, None] * v[:width]
        bias[:n] -= step[:n]
        return e.sum()
