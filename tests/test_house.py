"""The house: which room may open which door, what stands at the top, how long a file may be."""

import ast
import importlib.util
import re
import subprocess
from pathlib import Path

import pytest

import fastnn

PACKAGE = Path(fastnn.__file__).parent
ROOT = PACKAGE.parent
SOURCES = sorted(path for path in PACKAGE.rglob("*.py"))
CHECKOUT = (ROOT / ".git").exists()

#: Doors open downwards: a room may use those before it in a chain, and itself.
STOREYS = ["kernels", "network", "training", "estimators", "cli"]
#: Side rooms may use `network` and what is below; the command line is the roof over all.
SIDE_ROOMS = {"datasets", "export", "inspect", "bench", "plot", "functional"}
#: Pillars that any room may lean on, and that lean on kernels at the most.
PILLARS = {
    "errors", "inputs", "initializers", "schedules", "progress", "online", "parallel", "many",
    "memory", "finite", "orders", "arguments", "replicas", "rules", "together",
}  # fmt: skip
#: `network` calls the epoch loop, which is told of networks, and never imports one; the progress
#: bar is told of the progress.
ALSO = {("network", "training"), ("progress", "training")}
#: Heavy packages, and the only places that may import them when they are imported themselves.
RESERVED = {
    "numba": {"kernels/jit.py"},
    "llvmlite": {"kernels/"},
    "sklearn": {"estimators/"},
    "matplotlib": {"plot/"},
    "torch": set(),
    "jax": set(),
    "pandas": set(),
}


def imports(path, everywhere=True):
    """Return the modules a file imports: all of them, or those at module level only."""
    tree = ast.parse(path.read_text())
    found = set()
    nodes = ast.walk(tree) if everywhere else _executed(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return found


def _executed(tree):
    """Return the nodes that run at import: not those in functions or under TYPE_CHECKING."""
    pending = list(tree.body)
    while pending:
        node = pending.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        yield node
        pending += ast.iter_child_nodes(node)


def room(module):
    """Return the room of ``fastnn.room...`` or of a file of the package."""
    if isinstance(module, Path):
        return module.relative_to(PACKAGE).with_suffix("").parts[0]
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def allowed(source, target):
    if source == target or (source, target) in ALSO:
        return True
    if source in {"__init__", "__main__", "cli"}:
        return True
    if target in PILLARS:
        return source != "kernels"
    if source in PILLARS:
        return target == "kernels"
    if source in SIDE_ROOMS:
        return target in {"kernels", "network", "training"} | SIDE_ROOMS
    below = STOREYS[: STOREYS.index(source)] if source in STOREYS else []
    return target in below or (source == "estimators" and target in SIDE_ROOMS)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_doors(path):
    source = room(path)
    for module in imports(path):
        if module.split(".")[0] != "fastnn" or not room(module):
            continue
        target = room(module)
        if (PACKAGE / target).is_dir() or (PACKAGE / f"{target}.py").exists():
            assert allowed(source, target), f"{path.name} ({source}) may not import {module}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_heavy_packages_stay_in_their_rooms(path):
    place = path.relative_to(PACKAGE).as_posix()
    for package, places in RESERVED.items():
        loaded = {module.split(".")[0] for module in imports(path, everywhere=False)}
        if package in loaded:
            assert any(place.startswith(start) for start in places), f"{place}: {package}"


def test_only_one_file_calls_numba():
    users = {path.name for path in SOURCES if any(m.startswith("numba") for m in imports(path))}
    assert users == {"jit.py"}


def tracked():
    """Return the files under version control."""
    names = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    return [ROOT / name for name in names if (ROOT / name).exists()]


@pytest.mark.skipif(not CHECKOUT, reason="not in a checkout")
def test_top_level():
    expected = {
        "pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md",
        "fastnn", "tests", "asv_bench", "examples",
    }  # fmt: skip
    found = {path.relative_to(ROOT).parts[0] for path in tracked()}
    assert {name for name in found if not name.startswith(".")} <= expected


@pytest.mark.skipif(not CHECKOUT, reason="not in a checkout")
def test_every_room_has_a_file_of_benchmarks():
    rooms = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert rooms <= {path.stem for path in (ROOT / "asv_bench" / "benchmarks").glob("*.py")}


@pytest.mark.skipif(not CHECKOUT, reason="not in a checkout")
def test_files_are_short():
    long = {
        str(path): count
        for path in tracked()
        if path.suffix == ".py" and (count := len(path.read_text().splitlines())) >= 600
    }
    assert not long


@pytest.mark.skipif(not (ROOT / "README.md").exists(), reason="no README beside the package")
def test_the_readme_names_places_that_exist():
    readme = (ROOT / "README.md").read_text()
    section = readme.split("## How it is built")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| `")]
    assert len(rows) >= 5
    for row in rows:
        place, contents = row.strip("|").split("|")[:2]
        folder = ROOT / re.search(r"`([^`]+)`", place)[1]
        assert folder.exists(), folder
        for name in re.findall(r"`([a-z_]+\.py)`", contents):
            assert (folder / name).exists(), f"{folder / name}"
    rooms = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name[0] != "_"}
    for name in rooms:
        assert f"`fastnn/{name}/`" in section, f"README does not say what fastnn/{name}/ is"


def test_every_public_name_is_there():
    for name in fastnn.__all__:
        assert getattr(fastnn, name) is not None
    assert dir(fastnn) == sorted(fastnn.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        fastnn.nothing  # noqa: B018


def test_python_finds_the_types():
    assert importlib.util.find_spec("fastnn").origin
    assert (PACKAGE / "py.typed").exists()
