"""Adam's step in whole vectors of the host's width.

A network of a few thousand parameters that learns from a few dozen rows at a time spends as long
on the step as on the rows.  The CPU divides and takes roots at a twentieth of the speed of its
multiply-adds; so both are done by multiply-adds where the CPU has estimates to start from.
"""

from typing import Any

from llvmlite import ir

from fastnn.kernels.jit import JIT, intrinsic, types
from fastnn.kernels.vector_function import VectorFunction, call_codegen

_I64 = ir.IntType(64)


def _ratio(f: VectorFunction, x: Any, v: Any, epsilon: Any) -> Any:
    """Return ``x / (sqrt(v) + epsilon)`` of vectors, right to 2 units in the last place.

    AVX-512 estimates ``y = 1 / sqrt(v)`` and ``r = 1 / d`` to 14 bits, which a round of Newton's
    method doubles: of ``s = v y`` and ``h = y / 2`` it is ``e = 1/2 - s h``, ``s += s e``,
    ``h += h e``; of r it is ``e = 1 - d r``, ``r += r e``.
    """
    b, emit = f.builder, f.emit
    if emit.lanes * emit.index.width < 512:
        root = emit.call(f"llvm.sqrt.v{emit.lanes}{emit.suffix}", emit.vector, v)
        return b.fdiv(x, b.fadd(root, epsilon))
    double = emit.index.width == 64
    rounds = range(2 if double else 1)

    def estimate(name: str, x: Any) -> Any:
        every = ir.Constant(ir.IntType(emit.lanes), -1)
        name = f"llvm.x86.avx512.{name}14.{'pd' if double else 'ps'}.512"
        return emit.call(name, emit.vector, x, emit.zero, every)

    # The estimate of 0 would be infinite.
    least = emit.constant(2.0**-1022 if double else 2.0**-126)
    y = estimate("rsqrt", b.select(b.fcmp_ordered(">", least, v), least, v))
    half, one = emit.constant(0.5), emit.constant(1.0)
    s, h = b.fmul(v, y), b.fmul(y, half)
    for _ in rounds:
        e = emit.multiply_add(b.fneg(s), h, half)
        s, h = emit.multiply_add(s, e, s), emit.multiply_add(h, e, h)
    d = b.fadd(s, epsilon)
    r = estimate("rcp", d)
    for _ in rounds:
        r = emit.multiply_add(r, emit.multiply_add(b.fneg(d), r, one), r)
    infinite = b.fcmp_ordered("==", v, emit.constant(float("inf")))
    return b.select(infinite, emit.zero, b.fmul(x, r))


def _adam(f: VectorFunction) -> None:
    """Emit ``m = b1 m + r1 g``, ``v = b2 v + r2 g^2``, ``w -= alpha m / (sqrt(v) + epsilon)``."""
    b, arg, emit = f.builder, f.args, f.emit
    names = ("beta_1", "rest_1", "beta_2", "rest_2", "alpha", "epsilon")
    beta_1, rest_1, beta_2, rest_2, alpha, epsilon = (emit.spread(arg[x]) for x in names)

    def step(i: Any, _: list, mask: Any = None) -> list:
        places = [f.at(arg[x], i) for x in ("w", "g", "m", "v")]
        w, g, m, v = (emit.load(place, mask) for place in places)
        m = emit.multiply_add(beta_1, m, b.fmul(rest_1, g))
        v = emit.multiply_add(beta_2, v, b.fmul(b.fmul(rest_2, g), g))
        ratio = _ratio(f, b.fmul(alpha, m), v, epsilon)
        for value, place in ((b.fsub(w, ratio), places[0]), (m, places[2]), (v, places[3])):
            emit.store(value, place, mask)
        return []

    i = f.loop(_I64(0), arg["n"], emit.lanes, [], step)[0]
    rest = b.sub(arg["n"], i)
    with b.if_then(b.icmp_signed(">", rest, _I64(0))):
        step(i, [], emit.first(rest))
    b.ret_void()


if JIT:

    @intrinsic
    def adam_vectors_(  # type: ignore[no-untyped-def]
        typing, n, w, g, m, v, beta_1, rest_1, beta_2, rest_2, alpha, epsilon
    ) -> Any:
        """Make Adam's step on ``n`` parameters ``w`` with gradient ``g`` and moments ``m, v``."""
        number = w.dtype
        signature = types.void(types.intp, w, g, m, v, *[number] * 6)
        arguments = "n w g m v beta_1 rest_1 beta_2 rest_2 alpha epsilon"
        return signature, call_codegen(_adam, arguments)

else:

    def adam_vectors_(  # type: ignore[no-untyped-def]
        n, w, g, m, v, beta_1, rest_1, beta_2, rest_2, alpha, epsilon
    ):
        """Make Adam's step on ``n`` parameters ``w`` with gradient ``g`` and moments ``m, v``."""
        for i in range(n):
            m[i] = beta_1 * m[i] + rest_1 * g[i]
            v[i] = beta_2 * v[i] + rest_2 * g[i] * g[i]
            w[i] -= alpha * m[i] / (v[i] ** 0.5 + epsilon)
