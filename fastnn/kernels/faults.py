"""Whether numbers are finite, looked at in whole vectors.

``x * 0`` is 0, but NaN where x is NaN or infinite, and once a sum is NaN it stays so: each vector
costs a load and one multiply-add.
"""

import math
from typing import Any

from llvmlite import ir

from fastnn.kernels.jit import JIT, intrinsic, types
from fastnn.kernels.vector_function import VectorFunction, call_codegen

_I64 = ir.IntType(64)
#: Sums under way at once, which hide most of a multiply-add's latency.
_CHAINS = 4


def _faults(f: VectorFunction) -> None:
    """Emit ``sum_i 0 x_i``."""
    b, arg, emit = f.builder, f.args, f.emit

    def add(at: Any, sums: list, mask: Any = None) -> list:
        places = [f.at(arg["x"], at, _I64(v * emit.lanes)) for v in range(len(sums))]
        vectors = [emit.load(place, mask) for place in places]
        pairs = zip(vectors, sums, strict=True)
        return [emit.multiply_add(x, emit.zero, total) for x, total in pairs]

    zeros = [emit.zero] * _CHAINS
    at, *sums = f.loop(_I64(0), arg["n"], _CHAINS * emit.lanes, zeros, add)
    at, sums[0] = f.loop(at, arg["n"], emit.lanes, sums[:1], add)
    (total,) = add(at, sums[:1], emit.first(b.sub(arg["n"], at)))
    for other in sums[1:]:
        total = b.fadd(total, other)
    b.ret(f.first_lane(f.fold(b.fadd, total)))


if JIT:

    @intrinsic
    def faults(typing: Any, n: Any, x: Any) -> Any:
        """Return 0 if ``n`` numbers are finite, else NaN."""
        return x.dtype(types.intp, x), call_codegen(_faults, "n x", number=True)

else:

    def faults(n: int, x: Any) -> Any:
        """Return 0 if ``n`` numbers are finite, else NaN."""
        return 0.0 if all(map(math.isfinite, x[:n])) else math.nan
