"""The names in the package's tables, read from the sources beside this folder.

asv runs parameter number ``i`` of a benchmark against every commit.  Taken from the package that is
installed, the ``i``-th optimiser of an old commit could be another one than today's; taken from the
tree that holds the benchmarks, it never is, and a commit that lacks the name is skipped.
"""

import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "fastnn"


def keys(file: str, table: str = "TABLE") -> list[str]:
    """Return the keys of a dictionary written in ``file``, a path inside the package."""
    for node in ast.parse((PACKAGE / file).read_text()).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == table for target in targets):
            return [ast.literal_eval(key) for key in node.value.keys]
    raise LookupError(f"{file} has no {table}")


def source_names() -> list[str]:
    """Return the ``name`` of every class in ``fastnn/datasets``: the synthetic sources."""
    return [
        ast.literal_eval(line.value)
        for path in sorted((PACKAGE / "datasets").glob("*.py"))
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ClassDef)
        for line in node.body
        if isinstance(line, ast.Assign) and getattr(line.targets[0], "id", "") == "name"
    ]


ACTIVATIONS = keys("kernels/activations.py")
LOSSES = keys("kernels/losses.py")
OPTIMIZERS = keys("kernels/optimizers.py")
LINEAR_LOSSES = keys("kernels/linear_losses.py")
SOURCES = source_names()
#: What of `fastnn.plot` draws; classes record what is to be drawn.
PICTURES = [name for name in keys("plot/__init__.py", "_HOMES") if name.islower()]
