"""The benchmarks cover the package's tables, and each of them runs on this very commit."""

import importlib
import importlib.util
import inspect
import itertools
import os
import sys
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).parent.parent / "asv_bench"
if not FOLDER.exists():
    pytest.skip("no asv_bench beside the tests", allow_module_level=True)
MODULES = sorted(
    path.stem for path in (FOLDER / "benchmarks").glob("*.py") if path.stem != "__init__"
)
KINDS = ("time_", "track_", "peakmem_")


@pytest.fixture(scope="module", autouse=True)
def imported():
    """Import the benchmarks, whose package sets the environment of its process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        before = dict(os.environ)
        try:
            for name in MODULES:
                importlib.import_module(f"benchmarks.{name}")
            changed = {n: v for n, v in os.environ.items() if before.get(n) != v}
            assert set(changed) <= {"NUMBA_CACHE_DIR", *(n for n in changed if "THREADS" in n)}
        finally:
            os.environ.clear()
            os.environ.update(before)
        yield
        for name in [name for name in sys.modules if name.split(".")[0] == "benchmarks"]:
            del sys.modules[name]


def module(name):
    return importlib.import_module(f"benchmarks.{name}")


def test_parameters_are_the_tables():
    from fastnn.datasets import SYNTHETIC
    from fastnn.kernels import activations, linear_losses, losses, optimizers

    tables = module("tables")
    assert list(activations.TABLE) == tables.ACTIVATIONS
    assert list(losses.TABLE) == tables.LOSSES
    assert list(optimizers.TABLE) == tables.OPTIMIZERS
    assert list(linear_losses.TABLE) == tables.LINEAR_LOSSES
    assert sorted(SYNTHETIC) == sorted(tables.SOURCES)


def test_a_missing_feature_is_skipped():
    problems = module("problems")
    for place in ("fastnn:NoSuchThing", "fastnn.nowhere:Network"):
        with pytest.raises(NotImplementedError, match=place):
            problems.available(place)
    with pytest.raises(NotImplementedError, match="'cubic'"):
        problems.row("fastnn.kernels.activations:TABLE", "cubic")


def test_ratio_of_twice_the_work(monkeypatch):
    """On a clock that counts calls, a job of six ticks takes three times one of two."""
    measure, ticks = module("measure"), itertools.count()
    monkeypatch.setattr(measure.time, "process_time", lambda: float(next(ticks)))
    monkeypatch.setattr(measure, "SECONDS", 0.0)
    monkeypatch.setattr(measure, "FORKS", 3)

    def work(n):
        return lambda: [next(ticks) for _ in range(n)]

    assert measure.ratio(lambda: work(5), work(1)) == 3


def test_calls_on_cold_caches_do_not_count(monkeypatch):
    """Nor the first ones: here both are the shortest, and the seventh call loses its core."""
    measure = module("measure")
    costs = [1.0] * 4 + [9.0] * 2 + [1.0] * 5 + [8.0] * 9
    called, now = itertools.count(), [0.0]

    def call():
        now[0] += costs[next(called)]

    monkeypatch.setattr(measure.time, "process_time", lambda: now[0])
    monkeypatch.setattr(measure, "LONG", 1e9)
    monkeypatch.setattr(measure, "_switches", lambda: int(sum(costs[:6]) < now[0]))
    assert measure._shortest(call) == (8.0, True)
    assert next(called) == 12
    monkeypatch.setattr(measure, "_switches", lambda: now[0])  # in every call
    monkeypatch.setattr(measure, "LONG", 20.0)
    assert measure._shortest(call) == (8.0, False)


def test_forks_that_differ_are_followed_by_more(monkeypatch):
    measure = module("measure")
    for ratios, forks in (([1.0] * 20, measure.FORKS), ([1.0, 2.0] * 20, measure.MORE_FORKS)):
        left = iter([None, *ratios])  # the first one compiles
        monkeypatch.setattr(measure, "_forked", lambda *_, left=left: next(left))
        assert 1 <= measure.ratio(None, None) <= 2
        assert len(list(left)) == len(ratios) - forks


def test_a_job_that_fails_in_a_fork_fails(monkeypatch):
    measure = module("measure")
    monkeypatch.setattr(measure, "_ratio_of_rounds", lambda *_: 1 / 0)
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        measure.ratio(lambda: int, int)


def test_copies_lie_elsewhere_and_hold_the_same():
    movable = module("measure").Movable(np.arange(12.0).reshape(3, 4))
    places = set()
    for _ in range(20):
        copy = movable()
        assert (copy == movable.array).all()
        places.add(copy.ctypes.data)
    assert len(places) > 1


def cases():
    """Return (class, method, parameters) of every benchmark; of its parameters, the first."""
    for name in MODULES:
        path = FOLDER / "benchmarks" / f"{name}.py"
        if "class " in path.read_text() and name not in ("startup", "measure"):
            yield name


@pytest.mark.parametrize("name", list(cases()))
def test_benchmarks_run(name, monkeypatch):
    """Every parameter is set up, and every method runs with the first."""
    measure = module("measure")
    monkeypatch.setattr(measure, "ratio", lambda prepare, reference: [prepare()(), reference()])
    for cls in vars(module(name)).values():
        if not inspect.isclass(cls) or cls.__module__ != f"benchmarks.{name}":
            continue
        if cls.__name__.startswith("_"):
            continue
        methods = [method for method in dir(cls) if method.startswith(KINDS)]
        assert methods, cls
        for i, values in enumerate(itertools.product(*getattr(cls, "params", []))):
            benchmark = cls()
            try:
                benchmark.setup(*values)
            except NotImplementedError:
                if importlib.util.find_spec("pyarrow"):  # an optional dependency
                    raise
                continue
            for method in methods if i == 0 else ():
                getattr(benchmark, method)(*values)
            getattr(benchmark, "teardown", lambda *_: None)(*values)


def test_ratios_have_their_unit_and_their_reference_in_the_name():
    for name in cases():
        for cls in vars(module(name)).values():
            for method in dir(cls) if inspect.isclass(cls) else ():
                if "_over_" in method:
                    assert getattr(cls, method).unit.startswith("x ")
