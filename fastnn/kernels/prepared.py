"""A kernel's call with its arguments taken apart once, for a row at a time.

Called the usual way, a kernel finds out the types of all its arguments and looks into each array,
which takes 4 us where they are a `plan.Plan` and its like: longer than the step of a small network.
Here the words that its machine code takes (of an array: address, sizes and strides) are put
into one block of memory, and a few instructions, compiled in 15 ms once per kernel and precision,
load them from there.
"""

import ctypes
import functools
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from llvmlite import ir

from fastnn.kernels.jit import JIT, kinds_of, link, native

_I32, _I64 = ir.IntType(32), ir.IntType(64)
_WORDS = _I64.as_pointer()
#: Held where code is compiled: of two modules with one name, one would be freed.
_LOCK = threading.Lock()


class Prepared:
    """One kernel's calls on memory that stays, all made by one call from Python.

    Parameters
    ----------
    kernel : callable
        As `jit.kernel` makes it.
    *calls : tuple
        The arguments of each call: arrays, whose memory is used as it is and kept alive, numbers,
        and tuples of them; of the same types in each.

    Attributes
    ----------
    integers, floats : array (n_calls, n_words) of int64, of float64
        Two views of the words of each call; a number may be changed where `place` says.
    """

    def __init__(self, kernel: Any, *calls: tuple) -> None:
        self._kernel, self._calls = kernel, calls
        names = getattr(kernel, "py_func", kernel).__code__.co_varnames
        words = [list(_words(call, names)) for call in calls]
        self._places = {name: i for i, (name, _) in enumerate(words[0])}
        block = np.zeros(1 + len(calls) * len(words[0]), np.int64)
        block[0] = len(calls)
        self.integers = block[1:].reshape(len(calls), -1)
        self.floats = self.integers.view(np.float64)
        for i, call in enumerate(words):
            for j, (_, word) in enumerate(call):
                (self.floats if isinstance(word, float) else self.integers)[i, j] = word
        #: Makes the calls, in turn; what it returns is 0 unless one of them failed.
        self.run: Callable[[], int] = self._slowly
        self._code = 0
        if JIT:
            self._block = block
            self._code, code = _machine_code(kernel, calls[0], len(words[0]))
            self.run = functools.partial(code, block.ctypes.data)
            self.run.keeps = block, calls  # type: ignore[attr-defined]

    def place(self, name: str) -> int:
        """Return where a number stands, by its parameter and field such as ``"plan.origin"``."""
        return self._places[name]

    def _slowly(self) -> int:
        """Make the calls from Python, with the numbers of the block."""
        for call, integers, floats in zip(self._calls, self.integers, self.floats, strict=True):
            words = (
                (floats if isinstance(word, float) else integers)[i].item()
                for i, (_, word) in enumerate(_words(call))
            )
            self._kernel(*_rebuilt(call, words))
        return 0


def _words(values: tuple, names: Sequence[str] | None = None) -> Iterator[tuple[str, Any]]:
    """Yield the words of arguments, with the names of numbers, in the order of Numba's calls."""
    names = names or getattr(values, "_fields", None) or [""] * len(values)
    for name, value in zip(names, values, strict=False):  # a function's names go on
        if isinstance(value, tuple):
            yield from ((f"{name}.{field}", word) for field, word in _words(value))
        elif isinstance(value, np.ndarray):
            # Without an owner: nobody counts references to it.
            header = 0, 0, value.size, value.itemsize, value.ctypes.data
            yield from (("", word) for word in (*header, *value.shape, *value.strides))
        else:
            yield name, value


def _rebuilt(value: Any, words: Iterator) -> Any:
    """Return an argument with the numbers among ``words`` in it."""
    if isinstance(value, tuple):
        parts = [_rebuilt(part, words) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    if isinstance(value, np.ndarray):
        for _ in _words((value,)):
            next(words)
        return value
    return type(value)(next(words))


def chained(*steps: Prepared) -> Callable[[], int]:
    """Return what makes the calls of several, one after the other, until one fails."""
    if not JIT:
        return lambda: next((status for step in steps if (status := step.run())), 0)
    block = np.array(
        [len(steps), *(word for step in steps for word in (step._code, step._block.ctypes.data))]
    )
    with _LOCK:
        run = functools.partial(_chain(), block.ctypes.data)
    run.keeps = block, steps  # type: ignore[attr-defined]
    return run


def _machine_code(kernel: Any, arguments: tuple, n_words: int) -> tuple[int, Callable]:
    """Return what makes the calls of the block at an address, and returns 0 unless one failed."""
    with _LOCK:
        return _loader(kernel, kinds_of(arguments), n_words)


@functools.cache
def _loader(kernel: Any, kinds: tuple, n_words: int) -> tuple[int, Callable]:
    """Compile the loop over the calls of a block; kept, as the kernel's code is."""
    address, places = native(kernel, kinds)
    assert len(places) == n_words, "Numba passes arguments in another way"

    def body(b: ir.IRBuilder, words: Any) -> Any:
        with b.goto_entry_block():
            result, exception = (b.alloca(_WORDS) for _ in range(2))
        words = [_load(b, b.gep(words, [_I64(j)]), kind) for j, kind in enumerate(places)]
        kind = ir.FunctionType(_I32, [result.type, exception.type, *places])
        return b.call(b.inttoptr(_I64(address), kind.as_pointer()), [result, exception, *words])

    return _looped(f"prepared_{address:x}", len(places), body)


@functools.cache
def _chain() -> Callable:
    """Compile the loop over pairs of a `_loader`'s address and its block's."""

    def body(b: ir.IRBuilder, words: Any) -> Any:
        code = b.inttoptr(b.load(words), ir.FunctionType(_I32, [_WORDS]).as_pointer())
        return b.call(code, [b.inttoptr(b.load(b.gep(words, [_I64(1)])), _WORDS)])

    return _looped("prepared_chain", 2, body)[1]


def _looped(name: str, size: int, body: Callable) -> tuple[int, Callable]:
    """Compile a function of a block: how many records there are, then each, of ``size`` words.

    ``body`` emits what is done with a record, and returns its status; the loop ends at one that is
    not 0, which the function returns.
    """
    module = ir.Module(name)
    function = ir.Function(module, ir.FunctionType(_I32, [_WORDS]), name)
    block = function.args[0]
    names = "entry", "head", "body", "end"
    entry, head, inside, end = (function.append_basic_block(name) for name in names)
    b = ir.IRBuilder(entry)
    count = b.load(block)
    b.branch(head)
    b.position_at_end(head)
    i, status = b.phi(_I64), b.phi(_I32)
    more = b.and_(b.icmp_signed("<", i, count), b.icmp_signed("==", status, _I32(0)))
    b.cbranch(more, inside, end)
    b.position_at_end(inside)
    after = body(b, b.gep(block, [b.add(b.mul(i, _I64(size)), _I64(1))]))
    for phi, start, later in ((i, _I64(0), b.add(i, _I64(1))), (status, _I32(0), after)):
        phi.add_incoming(start, entry)
        phi.add_incoming(later, inside)
    b.branch(head)
    b.position_at_end(end)
    b.ret(status)
    address, library = link(module, name)
    call = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(address)
    call.library = library  # type: ignore[attr-defined]
    return address, call


def _load(b: ir.IRBuilder, place: Any, kind: Any) -> Any:
    """Emit the load of a word as what the kernel takes."""
    if isinstance(kind, ir.DoubleType):
        return b.load(b.bitcast(place, kind.as_pointer()))
    word = b.load(place)
    if isinstance(kind, ir.PointerType):
        return b.inttoptr(word, kind)
    return b.trunc(word, kind) if kind.width < _I64.width else word
