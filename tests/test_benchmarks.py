"""The benchmarks cover the package's tables, and each of them runs on this very commit."""

import importlib
import importlib.util
import inspect
import itertools
import math
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


@pytest.fixture
def clock(monkeypatch):
    """Replace the clock by one that stands still until it is told; the witness takes a second."""
    measure, now = module("measure"), [0.0]

    def lasting(seconds):
        def call():
            now[0] += seconds

        return call

    monkeypatch.setattr(measure.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(measure.time, "process_time", lambda: now[0])
    monkeypatch.setattr(measure, "witness", lasting(1.0))
    monkeypatch.setattr(measure, "PATIENCE", 1e9)
    monkeypatch.setattr(measure, "LONG", 1e9)
    return lasting


def test_ratio_of_three_times_the_work(clock):
    assert module("measure").ratio(lambda: clock(6.0), clock(2.0)) == 3


def test_the_shortest_of_a_few_calls_counts(clock):
    measure = module("measure")
    calls = [clock(seconds) for seconds in (9.0, 4.0, 3.0, 8.0, 3.0, 5.0, 4.0, 1.0)]
    left = iter(calls)
    assert measure._shortest(lambda: next(left)()) == 3.0
    assert len(list(left)) == len(calls) - measure.CALLS


def test_a_round_counts_when_the_witness_is_fast(clock, monkeypatch):
    """Here most rounds are disturbed: the job takes twice as long, and the witness 1.5 times."""
    measure, count = module("measure"), itertools.count()
    factors = itertools.cycle([2.0, 1.0, 2.0, 2.0])
    factor = [1.0]

    def prepare():  # once a round, between two calls of the witness
        factor[0] = next(factors)
        return lambda: clock(6.0 * factor[0])()

    monkeypatch.setattr(measure, "witness", lambda: clock(1.5 if factor[0] > 1 else 1.0)())
    monkeypatch.setattr(measure, "PATIENCE", 1e5)
    times = measure._times(prepare, lambda: (next(count), clock(2.0)()), math.inf)
    assert times == [1.0, 2.0, 6.0]
    assert next(count) > 2 * measure.ROUNDS * measure.CALLS  # it waited for them
    # Where there are no others, they count, but the witness tells of it.
    monkeypatch.setattr(measure, "PATIENCE", 1e3)
    factors = itertools.cycle([2.0])
    assert measure._times(prepare, clock(2.0), 1.0) == [1.5, 2.0, 12.0]


def test_forks_that_differ_are_followed_by_more(monkeypatch):
    measure = module("measure")
    for ratios, forks in (([1.0] * 20, measure.FORKS), ([1.0, 2.0] * 20, measure.MORE_FORKS)):
        left = iter([None, *([1.0, 1.0, ratio] for ratio in ratios)])  # the first one compiles
        monkeypatch.setattr(measure, "_forked", lambda *_, left=left: next(left))
        assert 1 <= measure.ratio(None, None) <= 2
        assert len(list(left)) == len(ratios) - forks


def test_forks_with_a_slow_witness_do_not_count(monkeypatch):
    measure = module("measure")
    quiet, disturbed = [[1.0, 2.0, 6.0]], [[1.3, 2.0, 9.0]]
    left = iter([None, *disturbed * (measure.FORKS - 1), *quiet * measure.FORKS])
    monkeypatch.setattr(measure, "_forked", lambda *_: next(left))
    assert measure.ratio(None, None) == 3
    assert not list(left)
    assert measure._undisturbed([*disturbed * 3, *quiet]) == [*quiet, *disturbed * 2]


def test_a_job_that_fails_in_a_fork_fails(monkeypatch):
    measure = module("measure")
    monkeypatch.setattr(measure, "_times", lambda *_: 1 / 0)
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
        if "class " in path.read_text() and name not in ("startup", "cli", "measure"):
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
                if all(map(importlib.util.find_spec, ("pyarrow", "matplotlib"))):  # optional ones
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
