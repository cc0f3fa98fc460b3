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
        names = _names(kernel)
        self._lay_out(kernel, calls, [list(_words(call, names)) for call in calls], len(calls))

    @classmethod
    def repeated(cls, kernel: Any, call: tuple, name: str, arrays: np.ndarray) -> "Prepared":
        """Return one call many times: the i-th takes ``arrays[i]`` for the parameter ``name``.

        ``call`` has the first of them.  Nothing is looked into but once, however many calls there
        are.
        """
        names = _names(kernel)
        at, count = names.index(name), len(arrays)
        calls: tuple = (call, arrays)
        if not JIT:
            calls = tuple((*call[:at], array, *call[at + 1 :]) for array in arrays)
        prepared = cls.__new__(cls)
        prepared._lay_out(kernel, calls, [list(_words(call, names))], count)
        prepared.integers[:, prepared.place(name)] += arrays.strides[0] * np.arange(count)
        return prepared

    def _lay_out(self, kernel: Any, calls: tuple, words: list[list], count: int) -> None:
        """Write the words of each call, or of one for all calls, to memory."""
        self._kernel, self._calls = kernel, calls
        size = len(words[0])
        self._places = {name: i for i, (name, _) in enumerate(words[0])}
        self._block = np.empty(1 + count * size, np.int64)
        self.integers = self._block[1:].reshape(count, -1)
        self.floats = self.integers.view(np.float64)
        self.integers[:] = [
            [0 if isinstance(word, float) else word for _, word in call] for call in words
        ]
        for place, (_, word) in enumerate(words[0]):
            if isinstance(word, float):
                self.floats[:, place] = [call[place][1] for call in words]
        self.count = count
        #: Makes the calls, in turn; what it returns is 0 unless one of them failed.
        self.run: Callable[[], int] = self._slowly
        self._code = 0
        if JIT:
            self._code, code = _machine_code(kernel, calls[0], size)
            self.run = functools.partial(code, self._block.ctypes.data)
            self.run.keeps = self._block, calls  # type: ignore[attr-defined]

    @property
    def count(self) -> int:
        """How many of the calls, from the first on, `run` makes."""
        return int(self._block[0])

    @count.setter
    def count(self, count: int) -> None:
        self._block[0] = count

    def place(self, name: str) -> int:
        """Return where a number stands, by its parameter and field such as ``"plan.origin"``.

        Of an array it is where its address stands.
        """
        return self._places[name]

    def _slowly(self) -> int:
        """Make the calls from Python, with the numbers of the block."""
        made = self._calls[: self.count]
        for call, integers, floats in zip(made, self.integers, self.floats, strict=False):
            words = (
                (floats if isinstance(word, float) else integers)[i].item()
                for i, (_, word) in enumerate(_words(call))
            )
            self._kernel(*_rebuilt(call, words))
        return 0


def _names(kernel: Any) -> tuple[str, ...]:
    """Return the names of a kernel's parameters, and of the variables after them."""
    return getattr(kernel, "py_func", kernel).__code__.co_varnames


def _words(values: tuple, names: Sequence[str] | None = None) -> Iterator[tuple[str, Any]]:
    """Yield the words of arguments, with the names of numbers, in the order of Numba's calls."""
    names = names or getattr(values, "_fields", None) or [""] * len(values)
    for name, value in zip(names, values, strict=False):  # a function's names go on
        if isinstance(value, tuple):
            yield from ((f"{name}.{field}", word) for field, word in _words(value))
        elif isinstance(value, np.ndarray):
            # Without an owner: nobody counts references to it.
            yield from (("", 0), ("", 0), ("", value.size), ("", value.itemsize))
            yield name, value.__array_interface__["data"][0]
            for word in (*value.shape, *value.strides):
                yield "", word
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


#: What has been found for kernels and arguments of certain kinds.
_FOUND: dict[tuple, tuple[int, Callable]] = {}


def _machine_code(kernel: Any, arguments: tuple, n_words: int) -> tuple[int, Callable]:
    """Return what makes the calls of the block at an address, and returns 0 unless one failed."""
    key = kernel, _kind(arguments)
    found = _FOUND.get(key)  # Numba takes a millisecond to name the kinds
    if found is None:
        with _LOCK:
            found = _FOUND[key] = _loader(kernel, kinds_of(arguments), n_words)
    return found


def _kind(value: Any) -> Any:
    """Return what decides on Numba's type of an argument, in less time."""
    if isinstance(value, tuple):
        return type(value), *map(_kind, value)
    if isinstance(value, np.ndarray):
        return value.dtype, value.ndim, value.flags.num
    return type(value)


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
