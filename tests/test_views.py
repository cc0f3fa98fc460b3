"""Pointers must not outlive the arrays they borrow."""

import ast
from pathlib import Path

import numpy as np
import pytest

import fastnn.kernels
from fastnn.kernels.jit import kernel
from fastnn.kernels.views import keep_alive, pointer

SOURCES = sorted(Path(fastnn.kernels.__file__).parent.glob("*.py"))
BORROWERS = {"pointer", "aligned", "vector", "matrix", "workspace"}
MAKERS = {"empty", "zeros", "ones", "full", "empty_like", "zeros_like"}


@kernel
def write_read_(n, out):
    """Write through a pointer, allocate and fill as much again, and read it back."""
    first = np.empty(n, np.float32)
    second = np.empty(n + 1, np.float64)
    a, b = pointer(first), pointer(second)
    for i in range(5):
        a[i] = 7
        b[i] = 9
        other = np.empty(n, np.float32)
        other[:] = 3
        out[0] += a[i]
        out[1] += b[i]
        out[2] += other[i]
    keep_alive((first, second))


@pytest.mark.kernel
@pytest.mark.parametrize("n", [10, 1000, 1_000_000])
def test_keep_alive(n):
    out = np.zeros(3)
    write_read_(n, out)
    np.testing.assert_array_equal(out, [35, 45, 15])


def _called(node):
    """Return the name of the function that a call calls."""
    return node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")


def borrowed(function):
    """Return the names of arrays that a function makes and passes to a borrower."""
    calls = [node for node in ast.walk(function) if isinstance(node, ast.Call)]
    made = {
        target.id
        for node in ast.walk(function)
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call)
        if _called(node.value) in MAKERS
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    return {
        argument.id
        for call in calls
        if _called(call) in BORROWERS
        for argument in call.args
        if isinstance(argument, ast.Name)
    } & made


def kept(function):
    """Return the names in the `keep_alive` that ends a function, but for a ``return`` of a flag."""
    body = function.body
    others = {  # than constants: these may be pointers
        target.id
        for node in ast.walk(function)
        if isinstance(node, ast.Assign) and not isinstance(node.value, ast.Constant)
        for target in ast.walk(node)
        if isinstance(target, ast.Name) and isinstance(target.ctx, ast.Store)
    }
    match body[-1]:
        case ast.Return(ast.Name(name)) if name not in others:
            body = body[:-1]
    match body[-1]:
        case ast.Expr(ast.Call(ast.Name("keep_alive"), [ast.Tuple(names)])):
            return {name.id for name in names}
    return set()


def functions():
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                yield path.name, node


def test_every_borrowed_local_array_is_kept_alive():
    found = 0
    for file, function in functions():
        missing = borrowed(function) - kept(function)
        assert not missing, f"{file}: {function.name} must end with keep_alive of {missing}"
        found += len(borrowed(function))
    assert found > 0
