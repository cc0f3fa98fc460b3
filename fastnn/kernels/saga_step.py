"""The step of SAGA on one dense row, in whole vectors of the host's width."""

from typing import Any

from fastnn.kernels.jit import JIT, intrinsic, types
from fastnn.kernels.vector_function import VectorFunction, call_codegen


def _saga_step(f: VectorFunction) -> None:
    """Emit ``G += change x``, ``W -= own x + mean G`` and ``W -= clip(W, -amount, amount)``."""
    b, arg, emit = f.builder, f.args, f.emit
    change, own, mean, amount = (
        emit.spread(arg[name]) for name in ("change", "own", "mean", "amount")
    )
    minus_own, minus_mean, least = b.fneg(own), b.fneg(mean), b.fneg(amount)

    def block(column: Any, vectors: int) -> None:
        x = f.load(f.at(arg["x"], column), vectors)
        sums, weights = f.at(arg["G"], column), f.at(arg["W"], column)
        pairs = zip(x, f.load(sums, vectors), strict=True)
        G = [emit.multiply_add(change, v, total) for v, total in pairs]
        f.store(G, sums)
        updated = []
        for v, total, w in zip(x, G, f.load(weights, vectors), strict=True):
            w = emit.multiply_add(minus_own, v, w)
            w = emit.multiply_add(minus_mean, total, w)
            inner = b.select(b.fcmp_ordered(">", w, least), w, least)
            inner = b.select(b.fcmp_ordered("<", inner, amount), inner, amount)
            updated.append(b.fsub(w, inner))
        f.store(updated, weights)

    f.column_blocks((4, 2, 1), block)
    b.ret_void()


if JIT:

    @intrinsic
    def saga_step_(
        typing: Any, width: Any, change: Any, own: Any, mean: Any, amount: Any, x: Any, G: Any,
        W: Any,
    ) -> Any:  # fmt: skip
        """Write ``G += change x`` and ``W -= own x + mean G``, then moved ``amount`` towards 0."""
        number = W.dtype
        signature = types.void(types.intp, number, number, number, number, x, G, W)
        return signature, call_codegen(_saga_step, "width change own mean amount x G W")

else:

    def saga_step_(
        width: int, change: Any, own: Any, mean: Any, amount: Any, x: Any, G: Any, W: Any
    ) -> None:
        """Write ``G += change x`` and ``W -= own x + mean G``, then moved ``amount`` towards 0."""
        G[:width] += change * x[:width]
        W[:width] -= own * x[:width] + mean * G[:width]
        W[:width] -= W[:width].clip(-amount, amount)
