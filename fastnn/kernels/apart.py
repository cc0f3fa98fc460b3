"""Parts of kernels that are compiled by themselves, when first they are called.

A kernel is compiled with all that it may ever call: ten activations and seven losses, of which a
network has one or two.  A function that is `apart` is not among it.  The kernel keeps a place
for its address, null at first, and calls through it; the first call asks Python, which compiles
the function, or finds it in the cache on disk.  Kernels that call the same function share it.

A call costs some nanoseconds and is not inlined, so these are functions of whole batches.
"""

import ctypes
import hashlib
import inspect
import pickle
import traceback
from collections.abc import Callable
from typing import Any

import llvmlite.binding
from llvmlite import ir

from fastnn.kernels.jit import JIT, UNITS, intrinsic, native, types, unit
from fastnn.kernels.subnormals import emit_mode, emit_set_mode

_BYTES, _I64 = ir.IntType(8).as_pointer(), ir.IntType(64)
#: The name under which machine code, also from the cache, finds `_find`.
_FINDER = "fastnn_find_apart"
#: What `_find` returns instead of an address.
_FAILED, _INTERRUPTED = 0, 1


def apart(function: Callable, result: Any = types.none) -> Any:
    """Compile a function of kernels by itself, at its first call.

    Parameters
    ----------
    function : callable
        Its name is unique in its module.
    result : Numba type
        Of what it returns, which callers must know before it is compiled.

    Returns
    -------
    callable
        Called from compiled code only, unless the JIT is off.
    """
    if not JIT:
        return function
    name = f"{function.__module__}.{function.__qualname__}"
    unit(function)

    def call(typing: Any, *arguments: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            convention = context.call_conv
            address = _emit_address(context, builder, name, signature)
            kind = convention.get_function_type(signature.return_type, signature.args)
            status, value = convention.call_function(
                builder, builder.bitcast(address, kind.as_pointer()),
                signature.return_type, signature.args, args,
            )  # fmt: skip
            with builder.if_then(status.is_error, likely=False):
                convention.return_status_propagate(builder, status)
            return value

        return result(*map(types.unliteral, arguments)), codegen

    first = inspect.Parameter("typing", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = [first, *inspect.signature(function).parameters.values()]
    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    for attribute in ("__name__", "__qualname__", "__module__", "__doc__"):
        setattr(call, attribute, getattr(function, attribute))
    return intrinsic(call)


def _emit_address(context: Any, builder: Any, name: str, signature: Any) -> Any:
    """Emit the look at the place of a function's address, and the call that fills it."""
    module = builder.module
    key = pickle.dumps((name, signature.args, signature.return_type))
    text, place = _place(module, hashlib.sha256(key).hexdigest(), key)
    known = builder.load_atomic(place, "acquire", 8)
    before = builder.block
    with builder.if_then(builder.icmp_unsigned("==", known, _BYTES(None)), likely=False):
        arguments = [place, builder.bitcast(text, _BYTES), _I64(len(key))]
        found = builder.call(_filler(context, module), arguments)
        for value, error, words in (
            (_FAILED, RuntimeError, (f"{name} could not be compiled",)),
            (_INTERRUPTED, KeyboardInterrupt, ()),
        ):
            code = _I64(value).inttoptr(_BYTES)
            with builder.if_then(builder.icmp_unsigned("==", found, code), likely=False):
                context.call_conv.return_user_exc(builder, error, words)
        inside = builder.block
    address = builder.phi(_BYTES)
    address.add_incoming(known, before)
    address.add_incoming(found, inside)
    return address


def _filler(context: Any, module: Any) -> Any:
    """Return a module's function that asks Python for an address and keeps it in a place."""
    name = "fastnn.fill"
    if name not in module.globals:
        kind = ir.FunctionType(_BYTES, [_BYTES.as_pointer(), _BYTES, _I64])
        function = ir.Function(module, kind, name)
        function.linkage = "internal"
        function.attributes.add("noinline")
        builder = ir.IRBuilder(function.append_basic_block("entry"))
        finder = ir.Function(module, ir.FunctionType(_BYTES, [_BYTES, _I64]), _FINDER)
        # Python computes with subnormal numbers.
        mode, flush = emit_mode(context, builder)
        emit_set_mode(context, builder, builder.and_(mode, _I64(~flush)))
        found = builder.call(finder, function.args[1:])
        emit_set_mode(context, builder, mode)
        code = builder.ptrtoint(found, _I64)
        with builder.if_then(builder.icmp_unsigned(">", code, _I64(_INTERRUPTED))):
            builder.store_atomic(found, function.args[0], "release", 8)
        builder.ret(found)
    return module.globals[name]


def _place(module: Any, name: str, key: bytes) -> tuple[Any, Any]:
    """Return a module's constant of ``key``, and its place for an address."""
    text_name, place_name = f"fastnn.key.{name}", f"fastnn.address.{name}"
    if place_name not in module.globals:
        value = ir.Constant(ir.ArrayType(ir.IntType(8), len(key)), bytearray(key))
        for global_name, initial in ((text_name, value), (place_name, _BYTES(None))):
            variable = ir.GlobalVariable(module, initial.type, global_name)
            variable.linkage, variable.initializer = "internal", initial
            variable.global_constant = initial is value
    return module.globals[text_name], module.globals[place_name]


def _find(key: int, size: int) -> int:
    """Return the address of the function of a key; C calls this and hears of no exception."""
    try:
        name, kinds, result = pickle.loads(ctypes.string_at(key, size))
        UNITS[name].compile(result(*kinds))  # converts what it returns, where it has to
        return native(UNITS[name], kinds)[0]
    except KeyboardInterrupt:
        return _INTERRUPTED
    except Exception:
        traceback.print_exc()
        return _FAILED


_FIND = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)(_find)
llvmlite.binding.add_symbol(_FINDER, ctypes.cast(_FIND, ctypes.c_void_p).value)
