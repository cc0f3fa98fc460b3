"""The softmax of one row of scores, in whole vectors.

LLVM would take the ten scores of a row one by one.  Here the last vector ends where the row ends,
and so overlaps the one before; of a row shorter than a vector the rest is masked.

Exponentials of scores up to `LIMIT` can be added up without care.  Other rows are refused, and left
to `losses`, which subtracts the largest score first.
"""

from typing import Any

import numpy as np
from llvmlite import ir

from fastnn.kernels.jit import JIT, intrinsic, types
from fastnn.kernels.vector_exp import exponentials
from fastnn.kernels.vector_function import VectorFunction, call_codegen

_I64 = ir.IntType(64)
#: Scores up to this have exponentials of which 10^10 add up to a float32.
LIMIT = 64.0


def _softmax_row(f: VectorFunction) -> None:
    """Emit ``a = exp(z) / sum(exp(z))``; return the sum, or 0 if scores are beyond the limit."""
    b, arg, emit = f.builder, f.args, f.emit
    lanes, limit = _I64(emit.lanes), emit.constant(LIMIT)

    def seen(x: Any, faults: Any) -> Any:
        """Return ``faults``, but 1 in lanes where x is beyond the limit, or NaN."""
        size = emit.call(f"llvm.fabs.v{emit.lanes}{emit.suffix}", emit.vector, x)
        return b.select(b.fcmp_ordered("<=", size, limit), faults, emit.constant(1.0))

    def refuse(faults: Any) -> None:
        flags = b.bitcast(b.fcmp_ordered("!=", faults, emit.zero), ir.IntType(emit.lanes))
        with b.if_then(b.icmp_unsigned("!=", flags, ir.IntType(emit.lanes)(0))):
            b.ret(ir.Constant(f.element, 0.0))

    def share(total: Any) -> Any:
        return emit.spread(b.fdiv(ir.Constant(f.element, 1.0), total))

    with b.if_then(b.icmp_signed("<", arg["n"], lanes)):
        inside = emit.first(arg["n"])
        z = emit.load(arg["z"], inside)
        refuse(seen(z, emit.zero))
        e = b.select(inside, exponentials(f, z, exact=True), emit.zero)
        total = f.first_lane(f.fold(b.fadd, e))
        emit.store(b.fmul(e, share(total)), arg["a"], inside)
        b.ret(total)

    before = b.sub(arg["n"], _I64(1))  # the last vector is never a whole one of the loops
    last = b.sub(arg["n"], lanes)
    z = emit.load(f.at(arg["z"], last))  # before it is written, where a is z

    def look(at: Any, state: list) -> list:
        return [seen(emit.load(f.at(arg["z"], at)), state[0])]

    refuse(f.loop(_I64(0), before, emit.lanes, [seen(z, emit.zero)], look)[1])

    def powers(at: Any, state: list) -> list:
        e = exponentials(f, emit.load(f.at(arg["z"], at)), exact=True)
        emit.store(e, f.at(arg["a"], at))
        return [b.fadd(state[0], e)]

    at, sums = f.loop(_I64(0), before, emit.lanes, [emit.zero], powers)
    e = exponentials(f, z, exact=True)
    new = b.not_(emit.first(b.sub(at, last)))
    total = f.first_lane(f.fold(b.fadd, b.fadd(sums, b.select(new, e, emit.zero))))
    scale = share(total)

    def scaled(at: Any, _: list) -> list:
        place = f.at(arg["a"], at)
        emit.store(b.fmul(emit.load(place), scale), place)
        return []

    f.loop(_I64(0), before, emit.lanes, [], scaled)
    emit.store(b.fmul(e, scale), f.at(arg["a"], last))
    b.ret(total)


if JIT:

    @intrinsic
    def softmax_row_(typing: Any, n: Any, z: Any, a: Any) -> Any:
        """Write the softmax of ``n`` scores; return the sum of their exponentials.

        Or return 0, and write nothing, where a score is not within `LIMIT`.  ``a`` may be ``z``.
        """
        codegen = call_codegen(_softmax_row, "n z a", number=True)
        return z.dtype(types.intp, z, a), codegen

else:

    def softmax_row_(n: int, z: Any, a: Any) -> Any:
        """Write the softmax of ``n`` scores; return the sum of their exponentials, or 0."""
        if not np.all(abs(z[:n]) <= LIMIT):
            return z.dtype.type(0)
        a[:n] = np.exp(z[:n])
        total = a[:n].sum()
        a[:n] /= total
        return total
