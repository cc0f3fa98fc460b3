"""Dispatch from a table: one compiled function that picks a row by its integer code.

A network is data, not a type: its activation, loss and optimiser are integers, so one machine
code serves them all.  A chain of ``if code == ...`` around whole loops is the only form that
Numba compiles once, inlines and caches; it is written here from the table, so that a new row
is reachable by being in the table.
"""

import sys
from collections.abc import Callable, Iterable
from typing import Any

from fastnn.kernels.apart import apart
from fastnn.kernels.jit import helper


def dispatch(
    name: str,
    arguments: str,
    body: str,
    rows: Iterable[dict[str, Callable]],
    module: str,
    shared: dict[str, Callable] | None = None,
    result: Any = None,
) -> Any:
    """Compile ``name(code, arguments)``, which runs ``body`` with the functions of row ``code``.

    Parameters
    ----------
    name : str
        Name of the function; unique in ``module``, because Numba links by it.
    arguments : str
        Its parameters after ``code``.
    body : str
        Statements, one a line, in which ``{key}`` stands for the row's function of that key.
    rows : iterable of dict
        The functions of each row, in the order of the codes.
    module : str
        The ``__name__`` of the module that the function belongs to.
    shared : dict, optional
        Further names that ``body`` uses.
    result : Numba type, optional
        If given, each row is compiled by itself, when first it is used, and returns such.

    Returns
    -------
    callable
        Raises ValueError for a code outside the table.
    """
    namespace: dict[str, Any] = {"__name__": module, **(shared or {})}
    lines = [f"def {name}(code, {arguments}):"]
    separate: dict[tuple, str] = {}
    for code, row in enumerate(rows):
        names = {key: f"{key}_{code}" for key in row}
        namespace |= {names[key]: function for key, function in row.items()}
        statements = body.format(**names).strip().splitlines()
        if result is not None:
            same = tuple(row.values())
            if same not in separate:
                separate[same] = one = f"{name}of_{code}"
                text = [f"def {one}({arguments}):", *(f"    {line}" for line in statements)]
                namespace[one] = apart(_made(text, one, namespace), result)
            statements = [f"return {separate[same]}({arguments})"]
        lines.append(f"    {'if' if code == 0 else 'elif'} code == {code}:")
        lines += [f"        {statement}" for statement in statements]
    lines += ["    else:", f"        raise ValueError('{name}: the code is not in the table')"]
    return helper(_made(lines, name, namespace))


def _made(lines: list[str], name: str, namespace: dict[str, Any]) -> Callable:
    """Return the function of some source, which is taken for a part of its module's file."""
    file = sys.modules[namespace["__name__"]].__file__
    assert file is not None
    exec(compile("\n".join(lines), file, "exec"), namespace)
    return namespace[name]
