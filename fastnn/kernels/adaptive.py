"""Adam's step in whole vectors of the host's width.

A network of a few thousand parameters that learns from a few dozen rows at a time spends as long
on the step as on the rows.  The CPU divides and takes roots at a twentieth of the speed of its
multiply-adds; so both are done by multiply-adds where the CPU has estimates to start from.
"""

import math
from typing import Any

from llvmlite import ir

from fastnn.kernels.jit import JIT, intrinsic, types
from fastnn.kernels.vector_function import VectorFunction, call_codegen

_I64 = ir.IntType(64)


#: Vectors that are stepped side by side.  Each is a chain of twenty operations that wait for each
#: other: the CPU would run out of places to keep those of one vector after the other.
_TOGETHER = 2


def _each(operation: Any, *vectors: list) -> list:
    """Return the operation on the first of every list, on the second, and so on."""
    return [operation(*some) for some in zip(*vectors, strict=True)]


def _estimate(f: VectorFunction, name: str, x: Any) -> Any:
    """Return the CPU's estimate, "rcp" of ``1 / x`` or "rsqrt" of ``1 / sqrt(x)``."""
    emit = f.emit
    if emit.lanes * emit.index.width == 256:
        return emit.call(f"llvm.x86.avx.{name}.ps.256", emit.vector, x)
    every = ir.Constant(ir.IntType(emit.lanes), -1)
    kind = "pd" if emit.index.width == 64 else "ps"
    return emit.call(
        f"llvm.x86.avx512.{name}14.{kind}.512", emit.vector, x, emit.zero, every
    )  # fmt: skip


def _roots(f: VectorFunction, v: list) -> list:
    """Return ``sqrt(v)`` of vectors, which may be NaN where v is infinite.

    From AVX-512's estimate ``y = 1 / sqrt(v)`` to 14 bits a round of Newton's method on ``s = v y``
    and ``h = y / 2`` is ``e = 1/2 - s h``, ``s += s e``, ``h += h e``, and doubles them.  With
    AVX's, the CPU's own roots are faster, as it takes them beside all else.
    """
    b, emit = f.builder, f.emit
    double = emit.index.width == 64
    if emit.lanes * emit.index.width < 512:
        name = f"llvm.sqrt.v{emit.lanes}{emit.suffix}"
        return [emit.call(name, emit.vector, value) for value in v]
    # The estimate of 0 would be infinite.
    least, half = emit.constant(2.0**-1022 if double else 2.0**-126), emit.constant(0.5)
    y = [b.select(b.fcmp_ordered(">", least, value), least, value) for value in v]
    y = [_estimate(f, "rsqrt", value) for value in y]
    s, h = _each(b.fmul, v, y), [b.fmul(value, half) for value in y]
    for _ in range(2 if double else 1):
        e = _each(lambda s, h: emit.multiply_add(b.fneg(s), h, half), s, h)
        s, h = _each(emit.multiply_add, s, e, s), _each(emit.multiply_add, h, e, h)
    return s


def _ratios(f: VectorFunction, x: list, v: list, epsilon: Any) -> list:
    """Return ``x / (sqrt(v) + epsilon)`` of vectors, right to 2 units in the last place.

    AVX-512 estimates ``r = 1 / d`` to 14 bits, AVX to 12 in float32; a round of Newton's method,
    ``e = 1 - d r``, ``r += r e``, doubles them.
    """
    b, emit = f.builder, f.emit
    double, bits = emit.index.width == 64, emit.lanes * emit.index.width
    d = [b.fadd(root, epsilon) for root in _roots(f, v)]
    if bits < (512 if double else 256):
        return _each(b.fdiv, x, d)
    one = emit.constant(1.0)
    if bits < 512:  # where d is infinite, the estimate is 0 then, and no product with d is NaN
        most = emit.constant(2.0**127)
        d = [b.select(b.fcmp_ordered("<", value, most), value, most) for value in d]
    r = [_estimate(f, "rcp", value) for value in d]
    for _ in range(2 if double else 1):
        e = _each(lambda d, r: emit.multiply_add(b.fneg(d), r, one), d, r)
        r = _each(emit.multiply_add, r, e, r)
    if bits < 512:
        return _each(b.fmul, x, r)
    infinite = [b.fcmp_ordered("==", value, emit.constant(math.inf)) for value in v]
    return _each(lambda far, x, r: b.select(far, emit.zero, b.fmul(x, r)), infinite, x, r)


def _adam(f: VectorFunction) -> None:
    """Emit ``m = b1 m + r1 g``, ``v = b2 v + r2 g^2``, ``w -= alpha m / (sqrt(v) + epsilon)``."""
    b, arg, emit = f.builder, f.args, f.emit
    names = ("beta_1", "rest_1", "beta_2", "rest_2", "alpha", "epsilon")
    beta_1, rest_1, beta_2, rest_2, alpha, epsilon = (emit.spread(arg[x]) for x in names)

    def step(i: Any, vectors: int, mask: Any = None) -> list:
        starts = [b.add(i, _I64(k * emit.lanes)) for k in range(vectors)]
        places = {name: [f.at(arg[name], start) for start in starts] for name in "wgmv"}

        def load(name: str) -> list:
            return [emit.load(place, mask) for place in places[name]]

        def store(values: list, name: str) -> None:
            _each(lambda value, place: emit.store(value, place, mask), values, places[name])

        g = load("g")
        m = _each(lambda m, g: emit.multiply_add(beta_1, m, b.fmul(rest_1, g)), load("m"), g)
        v = _each(
            lambda v, g: emit.multiply_add(beta_2, v, b.fmul(b.fmul(rest_2, g), g)), load("v"), g
        )  # fmt: skip
        store(m, "m")
        store(v, "v")
        ratios = _ratios(f, [b.fmul(alpha, value) for value in m], v, epsilon)
        store(_each(b.fsub, load("w"), ratios), "w")
        return []

    i: Any = _I64(0)
    for vectors in (_TOGETHER, 1):
        stride = vectors * emit.lanes
        i = f.loop(i, arg["n"], stride, [], lambda at, _, vectors=vectors: step(at, vectors))[0]
    rest = b.sub(arg["n"], i)
    with b.if_then(b.icmp_signed(">", rest, _I64(0))):
        step(i, 1, emit.first(rest))
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
