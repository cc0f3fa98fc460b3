"""Loops over vectors that stay vectorised however short they are.

LLVM takes a plain loop over 16 numbers 64 at a time, and so does the 16 one by one.  The loops
here carry its metadata: one vector at a time, the last under a mask, and no look at whether
the arrays overlap, which they must not, unless they are equal.  Arrays come as `pointer`s.

A load that overlaps a masked store just made waits for it, and masked stores are slow.  The maps
of whole vectors do without: they round ``size`` up and also write what lies behind.
"""

from typing import Any

from llvmlite import ir

from fastnn.kernels.jit import JIT, intrinsic, types
from fastnn.kernels.simd import host_shape

_I64 = ir.IntType(64)


class _Distinct(ir.values.MDValue):
    """A metadata node that equals no other; LLVM knows a loop by one that begins with itself."""

    def __init__(self, module: ir.Module, values: list, itself: bool) -> None:
        super().__init__(module, values, name=str(len(module.metadata)))
        if itself:
            self.operands: tuple = (self, *values)

    def descr(self, buf: list) -> None:
        """Write the node."""
        start = len(buf)
        super().descr(buf)
        buf[start] = "distinct " + buf[start]


def _loop_metadata(module: ir.Module, lanes: int, whole: bool) -> tuple[Any, Any]:
    """Return the metadata of a loop's closing branch, and of its loads and stores."""
    group = _Distinct(module, [], itself=False)

    def option(name: str, value: Any) -> Any:
        return module.add_metadata([ir.MetaDataString(module, f"llvm.loop.{name}"), value])

    options = [
        option("vectorize.width", ir.IntType(32)(lanes)),
        option("interleave.count", ir.IntType(32)(1)),
        option("vectorize.predicate.enable", ir.IntType(1)(not whole)),
        option("parallel_accesses", group),
    ]
    return _Distinct(module, options, itself=True), group


def _emit_loop(  # type: ignore[no-untyped-def]
    context, builder, function, called, size, pointers, multiply=False, whole=False
) -> None:
    """Emit ``out[i] = f(inputs[i]...)``, or ``out[i] *= ...``, with the last pointer as ``out``."""
    implementation = context.get_function(function, called)
    element = called.return_type
    width = host_shape(context).width * 8 // element.bitwidth
    loop_id, group = _loop_metadata(builder.module, width, whole)
    if whole:  # a product, so that LLVM sees that nothing is left over
        vectors = builder.sdiv(builder.add(size, _I64(width - 1)), _I64(width))
        size = builder.mul(vectors, _I64(width))
    entry = builder.block
    loop, done = builder.append_basic_block("each"), builder.append_basic_block("each.done")
    builder.cbranch(builder.icmp_signed(">", size, _I64(0)), loop, done)

    builder.position_at_end(loop)
    i = builder.phi(_I64)
    i.add_incoming(_I64(0), entry)
    places = [builder.gep(pointer, [i]) for pointer in pointers]
    values = [builder.load(place) for place in places]
    for value in values:
        value.set_metadata("llvm.access.group", group)
    result = implementation(builder, values[: len(called.args)])
    if multiply:
        result = builder.fmul(values[-1], result)
    builder.store(result, places[-1]).set_metadata("llvm.access.group", group)
    following = builder.add(i, _I64(1))
    i.add_incoming(following, builder.block)
    branch = builder.cbranch(builder.icmp_signed("<", following, size), loop, done)
    branch.set_metadata("llvm.loop", loop_id)
    builder.position_at_end(done)


if JIT:

    def _codegen(function: Any, called: Any, **options: bool) -> Any:
        """Return the codegen of an intrinsic of ``(f, size, start, *pointers)``."""

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            _, size, start, *bases = args
            pointers = [builder.gep(base, [start]) for base in bases]
            _emit_loop(context, builder, function, called, size, pointers, **options)
            return context.get_dummy_value()

        return codegen

    @intrinsic
    def map_(typing: Any, f: Any, size: Any, start: Any, x: Any, out: Any) -> Any:
        """Write ``out[i] = f(x[i])`` for the ``size`` places from ``start``."""
        called = f.get_call_type(typing, (x.dtype,), {})
        return types.void(f, types.intp, types.intp, x, out), _codegen(f, called)

    @intrinsic
    def map_whole_(typing: Any, f: Any, size: Any, start: Any, x: Any, out: Any) -> Any:
        """Write ``out[i] = f(x[i])`` for ``size``, rounded up to whole vectors, places."""
        called = f.get_call_type(typing, (x.dtype,), {})
        return types.void(f, types.intp, types.intp, x, out), _codegen(f, called, whole=True)

    @intrinsic
    def multiply_map_(typing: Any, f: Any, size: Any, start: Any, x: Any, y: Any, out: Any) -> Any:
        """Write ``out[i] *= f(x[i], y[i])`` for the ``size`` places from ``start``."""
        called = f.get_call_type(typing, (x.dtype, y.dtype), {})
        signature = types.void(f, types.intp, types.intp, x, y, out)
        return signature, _codegen(f, called, multiply=True)

    @intrinsic
    def multiply_map_whole_(
        typing: Any, f: Any, size: Any, start: Any, x: Any, y: Any, out: Any
    ) -> Any:
        """Write ``out[i] *= f(x[i], y[i])`` for ``size``, rounded up to whole vectors, places."""
        called = f.get_call_type(typing, (x.dtype, y.dtype), {})
        signature = types.void(f, types.intp, types.intp, x, y, out)
        return signature, _codegen(f, called, multiply=True, whole=True)

else:

    def map_(f: Any, size: Any, start: Any, x: Any, out: Any) -> None:
        """Write ``out[i] = f(x[i])`` for the ``size`` places from ``start``."""
        for i in range(start, start + size):
            out[i] = f(x[i])

    def multiply_map_(f: Any, size: Any, start: Any, x: Any, y: Any, out: Any) -> None:
        """Write ``out[i] *= f(x[i], y[i])`` for the ``size`` places from ``start``."""
        for i in range(start, start + size):
            out[i] *= f(x[i], y[i])

    map_whole_, multiply_map_whole_ = map_, multiply_map_
