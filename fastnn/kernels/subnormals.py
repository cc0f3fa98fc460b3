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


def emit_mode(context: Any, builder: Any) -> tuple[Any, int]:
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


def emit_set_mode(context: Any, builder: Any, mode: Any) -> None:
    """Emit the change of the CPU's mode."""
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
    def flushing_(typing: Any, f: Any, arguments: Any) -> Any:
        """Call a `helper` that returns nothing, subnormal numbers being zero in this thread.

        The mode before is put back at the end, also where the helper raises.
        """
        called = f.get_call_type(typing, arguments.types, {})

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            before, flush = emit_mode(context, builder)
            emit_set_mode(context, builder, builder.or_(before, _I64(flush)))
            values = [builder.extract_value(args[1], k) for k in range(len(arguments))]
            compiled = f.dispatcher.overloads[called.args]
            context.add_linking_libs((compiled.library,))
            status, _ = context.call_internal_no_propagate(builder, compiled.fndesc, called, values)
            emit_set_mode(context, builder, before)
            with builder.if_then(status.is_error, likely=False):
                context.call_conv.return_status_propagate(builder, status)
            return context.get_dummy_value()

        return types.void(f, arguments), codegen

else:

    def flushing_(f: Any, arguments: Any) -> None:
        """Call a function that returns nothing; subnormal numbers stay what they are."""
        f(*arguments)
