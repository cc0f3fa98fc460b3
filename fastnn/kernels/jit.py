"""The one place that calls Numba: compiler flags, the on-disk cache, and the reason for each.

Four decorators, for the four kinds of compiled function in this folder:

``kernel``
    An entry point, called from Python.  Compiled at its first call for each
    precision and cached on disk.
``helper``
    Called from kernels only.  Compiled into them, so it needs no cache of its own.  A `unit` is
    called from kernels, too, but compiled by itself; see `apart`.
``scalar``
    A helper on scalars, inlined wherever it is called.
``elementary``
    A scalar function such as ``exp`` whose rounding is part of its design: the
    compiler may fuse multiply-adds but not reorder sums.  `by_precision` joins a float32
    and a float64 one under one name.

Flags
-----
``error_model="numpy"``
    Division by zero gives inf or NaN as in NumPy, without a branch per division.
``nogil=True``
    Other Python threads run while a kernel does.
``fastmath={"reassoc", "contract", "nsz", "arcp"}``
    Sums may be reordered, so reductions vectorise.  Plain ``fastmath=True`` would add
    ``nnan`` and ``ninf``, under which ``isfinite`` is always true and divergence goes unseen.
``fastmath={"contract", "nsz"}`` for ``elementary``
    ``reassoc`` simplifies ``(t + magic) - magic`` to ``t`` and destroys a range reduction.
    The flags belong to instructions, so they survive LLVM's inlining into a ``kernel``, which
    ``forceinline`` demands because a loop with a call in it is not vectorised.  Numba's own
    ``inline="always"`` would rebuild the instructions with the caller's flags.

Cache
-----
Numba's own cache looks at one source file: an edited callee in another file, an upgraded
package, changed flags or ``NUMBA_BOUNDSCHECK`` all run stale machine code.  Here an entry's
file name carries a hash of every kernel source, the flags and the compiler settings, so a
stale entry is never even opened; a damaged, missing or unwritable entry counts as absent.
Numba chooses the folder (``NUMBA_CACHE_DIR``, ``__pycache__``, the user's cache folder);
where there is none, kernels are compiled in memory.
"""

import contextlib
import ctypes
import functools
import gc
import hashlib
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import llvmlite
import numba
import numpy as np
from llvmlite.binding import Linkage
from numba import extending
from numba import types as types
from numba.core import event
from numba.core.caching import FunctionCache
from numba.core.cgutils import normalize_ir_text
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase
from numba.core.compiler_lock import global_compiler_lock
from numba.core.compiler_machinery import PassManager
from numba.core.registry import cpu_target
from numba.core.serialize import dumps as serialize
from numba.core.typed_passes import (
    AnnotateTypes,
    IRLegalization,
    NativeLowering,
    NoPythonBackend,
    NopythonTypeInference,
    PreLowerStripPhis,
)
from numba.core.untyped_passes import (
    FixupArgs,
    GenericRewrites,
    IRProcessing,
    ReconstructSSA,
    TranslateByteCode,
)

from fastnn.kernels.cache_file import CacheFile

# Numba's annotations do not describe what its decorators and settings are.
config: Any = numba.config
njit: Any = numba.njit
intrinsic: Any = extending.intrinsic
overload: Any = extending.overload

#: False under ``NUMBA_DISABLE_JIT=1``, when every kernel runs as plain Python.
JIT: bool = not config.DISABLE_JIT

FLAGS: dict[str, Any] = {
    "error_model": "numpy",
    "nogil": True,
    "fastmath": {"reassoc", "contract", "nsz", "arcp"},
}
ELEMENTARY_FLAGS: dict[str, Any] = {
    **FLAGS,
    "fastmath": {"contract", "nsz"},
    "forceinline": True,
}

#: What makes arrays.
_MAKERS = {"empty", "zeros"}
_NO_WRAPPERS = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}

#: Every cached entry point, by name.
KERNELS: dict[str, Any] = {}
#: Every `unit`, by name.
UNITS: dict[str, Any] = {}


def kernel(function: Callable) -> Any:
    """Compile an entry point lazily, with the on-disk cache."""
    return _whole(function, FLAGS, KERNELS)


def unit(function: Callable) -> Any:
    """Compile as `kernel` does what only machine code calls, by the address of `native`."""
    return _refusing(_whole(function, {**FLAGS, **_NO_WRAPPERS}, UNITS))


def _whole(function: Callable, flags: dict[str, Any], register: dict[str, Any]) -> Any:
    dispatcher = njit(pipeline_class=_Compiler, **flags)(function)
    if JIT:
        with contextlib.suppress(AttributeError):
            compiler = dispatcher._compiler
            compiler.compile = _compiled_as(_Whole, _announced(dispatcher, compiler.compile))
        _enable_cache(dispatcher, flags)
        register[f"{function.__module__}.{function.__qualname__}"] = dispatcher
    return dispatcher


def kinds_of(arguments: tuple) -> tuple:
    """Return Numba's types of arguments."""
    return tuple(numba.typeof(argument) for argument in arguments)


def native(dispatcher: Any, kinds: tuple) -> tuple[int, list]:
    """Return what a kernel runs for arguments of these types, compiled if it has to be.

    Returns
    -------
    address : int
        Of its machine code, which takes where to put the result and an exception, then `places`.
    places : list of llvmlite.ir.Type
        The words of all arguments, one after the other.
    """
    dispatcher.compile(kinds)
    compiled = dispatcher.overloads[kinds]
    address = compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name)
    return address, list(cpu_target.target_context.get_arg_packer(kinds).argument_types)


def link(module: Any, name: str) -> tuple[int, Any]:
    """Return the address of a module's function, and what has to be kept while it is used."""
    with global_compiler_lock:
        library: Any = cpu_target.target_context.codegen().create_library(name)
        library.add_ir_module(module)
        library.finalize()
        return library.get_pointer_to_function(name), library


def helper(function: Callable) -> Any:
    """Compile a function that only kernels call.

    Numba would optimise it and emit machine code for it alone, then do both again for each
    caller; here LLVM sees it first where it is linked into a kernel, which halves the time of
    a cold start.  Calling one from Python needs a kernel around it, or the JIT off.
    """
    return _linked(function, FLAGS)


def scalar(function: Callable) -> Any:
    """Compile a `helper` on scalars that is inlined, so that the loop around it is vectorised."""
    return _linked(function, {**FLAGS, "forceinline": True})


def _linked(function: Callable, flags: dict[str, Any]) -> Any:
    """Compile a function for linking into kernels only.

    References are counted only in one that makes arrays: others borrow them, return none but views
    that own nothing, and are half as long without.
    """
    counts = not _MAKERS.isdisjoint(function.__code__.co_names)
    options = {**flags, **_NO_WRAPPERS, "_nrt": counts}
    dispatcher: Any = njit(pipeline_class=_Compiler, **options)(function)
    if JIT:
        with contextlib.suppress(AttributeError):
            compiler = dispatcher._compiler
            compiler.compile = _compiled_as(_Part, compiler.compile)
            dispatcher.get_call_template = _without_literals(dispatcher.get_call_template)
            _refusing(dispatcher)
    return dispatcher


def _refusing(dispatcher: Any) -> Any:
    """Return a dispatcher without an entry point, where Python would jump to none."""
    dispatcher._insert = lambda *args, **kws: None
    dispatcher._compile_for_args = _refusal(dispatcher.__name__)
    return dispatcher


def _refusal(name: str) -> Callable:
    def refuse(*args: Any, **kws: Any) -> Any:
        raise TypeError(
            f"{name} can be called from a kernel only; put one around it, or set "
            "NUMBA_DISABLE_JIT=1 to run it as Python"
        )

    return refuse


def _without_literals(template: Callable) -> Callable:
    """Return ``template`` for plain types: Numba compiles a copy per literal argument otherwise."""

    def wrapped(args: Any, kws: Any) -> Any:
        plain = {name: types.unliteral(kind) for name, kind in kws.items()}
        return template(tuple(types.unliteral(kind) for kind in args), plain)

    return wrapped


class _Compiler(CompilerBase):
    """Numba's passes that kernels need: no closures, inlining, literals or array expressions.

    A pass costs a millisecond a function, whatever it finds.
    """

    def define_pipelines(self) -> list[PassManager]:
        """Return the passes, in their order."""
        manager = _Passes("kernel")
        for step in (
            TranslateByteCode, FixupArgs, IRProcessing, GenericRewrites, ReconstructSSA,
            NopythonTypeInference, PreLowerStripPhis, IRLegalization, AnnotateTypes,
            NativeLowering, NoPythonBackend,
        ):  # fmt: skip
            manager.add_pass(step, "")
        manager.finalize()
        return [manager]


class _Passes(PassManager):
    """Runs passes without looking after each at what it has changed; those that must know, do."""

    def _runPass(self, index: int, step: Any, state: Any) -> None:
        step.analysis = self._analysis
        step.run_initialization(state)
        step.run_pass(state)
        step.run_finalizer(state)


class _NoEngine:
    """Stands in for LLVM's execution engine while code is compiled for linking only."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self._environment = ctypes.c_void_p()

    def get_global_value_address(self, name: str) -> int:
        """Return where Numba may store the function's Python environment, which is not used."""
        return ctypes.addressof(self._environment)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)


class _Part(JITCodeLibrary):
    """The code of a function that is compiled for linking only.

    Numba's own library would optimise it, and copy into it all that it calls, and that into each
    caller again; this one holds the function as it was written, until a `_Whole` takes it.
    """

    def add_ir_module(self, module: Any) -> None:
        """Add code, but no wrapper through which C would call it; all is verified in the whole."""
        if module.name != "cfunc_wrapper":
            parsed = llvmlite.binding.parse_assembly(normalize_ir_text(str(module)))
            parsed.data_layout = self._codegen._data_layout
            self._final_module.link_in(parsed)

    def finalize(self) -> None:
        """Take no more code."""
        self._raise_if_finalized()
        self._finalized = True

    def get_pointer_to_function(self, name: str) -> int:
        """Return that there is no machine code."""
        self._ensure_finalized()
        return 0

    def linkable(self) -> Any:
        """Return the module of this function alone, of which one copy stays in a whole."""
        if self._shared_module is None:
            for function in self._final_module.functions:
                if not function.is_declaration and function.linkage == Linkage.external:
                    function.linkage = "linkonce_odr"
            self._shared_module = self._final_module
        return self._shared_module

    def _get_module_for_linking(self) -> Any:
        """Return the module with all that it calls, for a caller that is neither part nor whole."""
        module = self.linkable().clone()
        for library in _reached([self]):
            if library is not self:
                other = library.linkable() if isinstance(library, _Part) else None
                module.link_in(other or library._get_module_for_linking(), preserve=True)
        return module


class _Whole(JITCodeLibrary):
    """The code of a kernel; it takes in every part that it reaches, once, then is optimised."""

    def finalize(self) -> None:
        """Link, optimise and emit machine code."""
        libraries = _reached(self._linking_libraries)
        for library in libraries:
            if isinstance(library, _Part):
                self._reload_init.update(library._reload_init)
                self._final_module.link_in(library.linkable(), preserve=True)
        self._linking_libraries = [x for x in libraries if not isinstance(x, _Part)]
        super().finalize()


def _reached(libraries: Iterable[Any]) -> list[Any]:
    """Return libraries with all those that parts among them call, each once."""
    found: dict[Any, None] = {}
    pending = list(libraries)[::-1]
    while pending:
        library = pending.pop()
        if library not in found:
            found[library] = None
            if isinstance(library, _Part):
                pending += library._linking_libraries[::-1]
    return list(found)


def _compiled_as(library: type, compile: Callable) -> Callable:
    """Return a dispatcher's ``compile`` into a kind of library; Numba holds its lock around it."""

    def wrapped(args: Any, return_type: Any) -> Any:
        codegen = cpu_target.target_context.codegen()
        saved = codegen._engine, codegen._library_class
        codegen._library_class = library
        if library is _Part:
            codegen._engine = _NoEngine(codegen._engine)
        try:
            with _quick_typing():
                return compile(args, return_type)
        finally:
            codegen._engine, codegen._library_class = saved

    return wrapped


def _announced(dispatcher: Any, compile: Callable) -> Callable:
    """Return ``compile`` that says, before the first kernel of a process, what takes so long.

    It is one line on stderr, unless the program sets up logging or the level of "fastnn" in it.
    """

    def wrapped(args: Any, return_type: Any) -> Any:
        folder = cache_folder(dispatcher)
        _announce(
            "fastnn compiles its kernels for this processor, and finds no folder to keep them in; "
            "NUMBA_CACHE_DIR may name one"
            if folder is None
            else f"fastnn compiles its kernels for this processor, once: they are kept in {folder}"
        )
        return compile(args, return_type)

    return wrapped


@functools.cache
def _announce(text: str) -> None:
    """Say something, once."""
    logging.getLogger("fastnn").warning(text)


def cache_folder(dispatcher: Any) -> str | None:
    """Return the folder in which a kernel's machine code is kept; None where there is none."""
    return getattr(dispatcher._cache, "cache_path", None)


@contextlib.contextmanager
def _quick_typing() -> Iterator[None]:
    """Work out each operator on each kinds of numbers once, and collect no garbage meanwhile.

    Numba tries all its definitions of ``+`` for each ``+``, and loads all its parts again at each
    intrinsic; and its millions of objects, nearly all of which stay, would be gone over again and
    again.
    """
    context, target = cpu_target.typing_context, cpu_target.target_context
    if "resolve_function_type" in vars(context):  # already so
        yield
        return
    target.refresh()
    registries = list(target._registries)
    known: dict[Any, Any] = {}
    resolve = context.resolve_function_type

    def look_up(function: Any, args: Any, kws: Any) -> Any:
        numbers = all(isinstance(kind, types.Number | types.Boolean) for kind in args)
        if kws or not numbers or isinstance(function, types.Dispatcher):
            return resolve(function, args, kws)
        key = function, args
        if key not in known:
            known[key] = resolve(function, args, kws)
        return known[key]

    collecting = gc.isenabled()
    gc.disable()
    context.resolve_function_type = look_up
    context.load_additional_registries = lambda: None
    target.load_additional_registries = lambda: [*map(target.install_registry, registries)]
    try:
        yield
    finally:
        del context.resolve_function_type, context.load_additional_registries
        del target.load_additional_registries
        if collecting:
            if gc.get_freeze_count() == 0:  # the objects count as old, without a look at them
                gc.freeze()
                gc.unfreeze()
            gc.enable()


def elementary(function: Callable) -> Any:
    """Compile a scalar function whose order of operations must be kept."""
    if not JIT:  # NumPy scalars warn where machine code yields inf or NaN
        return np.errstate(all="ignore")(function)
    return _linked(function, ELEMENTARY_FLAGS)


def by_precision(single: Callable, double: Callable) -> Any:
    """Return a function that is ``single`` where its first argument is a float32, else ``double``.

    Compiled code decides by type, at compile time.

    Parameters
    ----------
    single, double : callable
        Plain functions of equal parameters, for float32 and for float64; their names differ,
        because Numba links by name.

    Returns
    -------
    callable
        Compiled as `elementary`; called from compiled code only, unless the JIT is off.
    """

    def function(x: Any, *others: Any) -> Any:
        return (single if isinstance(x, np.float32) else double)(x, *others)

    if JIT:

        def choose(x: Any, *others: Any) -> Any:
            return {types.float32: single, types.float64: double}.get(x)

        options = {**ELEMENTARY_FLAGS, "no_cfunc_wrapper": True}
        overload(function, jit_options=options, strict=False)(choose)
    return function


def compiled_signatures(register: dict[str, Any] = KERNELS) -> dict[str, int]:
    """Return how many signatures of each entry point this process has compiled or loaded."""
    return {name: len(dispatcher.overloads) for name, dispatcher in register.items()}


class CompileTimer:
    """Measure the seconds that this thread spends compiling; cache loads do not count.

    Attributes
    ----------
    seconds : float
        Time in the compiler since the start of the ``with`` block.
    """

    def __enter__(self) -> "CompileTimer":
        _listen()
        self._before = _COMPILING.seconds
        return self

    def __exit__(self, *_: object) -> None:
        self._after = _COMPILING.seconds

    @property
    def seconds(self) -> float:
        """Seconds so far, or in the whole block once it has ended."""
        return getattr(self, "_after", _COMPILING.seconds) - self._before


class _Compiling(threading.local):
    """Adds up a thread's outermost compile events."""

    seconds = 0.0
    depth = 0
    start = 0.0


_COMPILING = _Compiling()


class _Listener(event.Listener):
    """Hears of the compilations of all threads, each in the thread that compiles."""

    def on_start(self, _event: event.Event) -> None:
        if _COMPILING.depth == 0:
            _COMPILING.start = time.perf_counter()
        _COMPILING.depth += 1

    def on_end(self, _event: event.Event) -> None:
        _COMPILING.depth -= 1
        if _COMPILING.depth == 0:
            _COMPILING.seconds += time.perf_counter() - _COMPILING.start


@functools.cache
def _listen() -> None:
    """Begin to hear of compilations; once, because Numba's list of listeners has no lock."""
    event.register("numba:compile", _Listener())


@functools.cache
def _sources_hash() -> str:
    """Hash every kernel source together with the compiler and its settings."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    settings = (
        numba.__version__,
        llvmlite.__version__,
        config.BOUNDSCHECK,
        config.OPT,
        config.LOOP_VECTORIZE,
        config.SLP_VECTORIZE,
    )
    digest.update(repr(settings).encode())
    return digest.hexdigest()


class _StampedCache(FunctionCache):
    """Numba's function cache over a `CacheFile`; trouble with a file is a cache miss.

    Raises
    ------
    RuntimeError
        No folder can be written.
    AttributeError
        This Numba keeps its cache in another way.
    """

    def __init__(self, function: Callable, flags: dict[str, Any]) -> None:
        super().__init__(function)
        options = sorted(
            (name, str(sorted(value) if isinstance(value, set) else value))
            for name, value in flags.items()
        )
        impl: Any = self._impl
        stamp = f"{_sources_hash()}{options}"
        self._cache_file: Any = CacheFile(
            impl.locator.get_cache_path(), impl.filename_base, stamp, serialize
        )

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(sig, target_context)
        except Exception:
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        with contextlib.suppress(OSError):
            super().save_overload(sig, data)


def _enable_cache(dispatcher: Any, flags: dict[str, Any]) -> None:
    """Give a dispatcher the stamped cache; without one it runs uncached, never stale."""
    with contextlib.suppress(AttributeError, RuntimeError, OSError):
        dispatcher._cache = _StampedCache(dispatcher.py_func, flags)
