"""Subnormal numbers, the last before zero, taken for zero while a kernel trains.

CPUs compute with them in microcode, up to a hundred times as long as with others, and a network
that has learned makes them in plenty: the share of a class whose score lies 90 below the
largest is one in float32, and so is its product with everything on the way down.  Steps so small
change no weight.
"""

from typing import Any

from llvmlite import ir

from fastnn.kernels.jit import JIT, intrinsic, types

#: The bits of the CPU's floating-point mode by which subnormal operands and results are zero.
_X86_FLUSH = 0x8040
_ARM_FLUSH = 1 << 24
_I32, _I64, _VOID = ir.IntType(32), ir.IntType(64), ir.VoidType()


def _call(builder: Any, name: str, result: Any, *args: Any) -> Any:
    """Call an LLVM intrinsic, declaring it on first use."""
    function = builder.module.globals.get(name)
    if function is None:
        kind = ir.FunctionType(result, [arg.type for arg in args])
        function = ir.Function(builder.module, kind, name)
    return builder.call(function, args)


def _architecture(context: Any) -> str:
    return context.codegen().magic_tuple()[0].split("-")[0]


def _emit_read(context: Any, builder: Any) -> tuple[Any, int]:
    """Emit the CPU's mode, an int64; return it with the bits to set."""
    architecture = _architecture(context)
    if architecture == "x86_64":
        with builder.goto_entry_block():
            place = builder.alloca(_I32)
        byte = builder.bitcast(place, ir.IntType(8).as_pointer())
        _call(builder, "llvm.x86.sse.stmxcsr", _VOID, byte)
        return builder.zext(builder.load(place), _I64), _X86_FLUSH
    if architecture in ("aarch64", "arm64"):
        return _call(builder, "llvm.aarch64.get.fpcr", _I64), _ARM_FLUSH
    return _I64(0), 0


def _emit_write(context: Any, builder: Any, mode: Any) -> None:
    architecture = _architecture(context)
    if architecture == "x86_64":
        with builder.goto_entry_block():
            place = builder.alloca(_I32)
        builder.store(builder.trunc(mode, _I32), place)
        byte = builder.bitcast(place, ir.IntType(8).as_pointer())
        _call(builder, "llvm.x86.sse.ldmxcsr", _VOID, byte)
    elif architecture in ("aarch64", "arm64"):
        _call(builder, "llvm.aarch64.set.fpcr", _VOID, mode)


if JIT:

    @intrinsic
    def flush_subnormals_(typing: Any) -> Any:
        """Take subnormal numbers for zero in this thread; return the mode before."""

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            before, flush = _emit_read(context, builder)
            _emit_write(context, builder, builder.or_(before, _I64(flush)))
            return before

        return types.int64(), codegen

    @intrinsic
    def restore_(typing: Any, mode: Any) -> Any:
        """Put the mode that `flush_subnormals_` returned back."""

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            _emit_write(context, builder, args[0])
            return context.get_dummy_value()

        return types.void(types.int64), codegen

else:

    def flush_subnormals_() -> int:
        """Leave subnormal numbers what they are."""
        return 0

    def restore_(mode: int) -> None:
        """Leave the mode as it is."""
