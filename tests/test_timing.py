"""The race's clock: who is timed when, what a turn is, and on how many cores.  Never the time."""

import dataclasses
import math
import os
import threading

import numpy as np
import pytest

from fastnn.bench import cases, environment, run, timing
from fastnn.bench.peers import Peer, ours
from fastnn.bench.race import Case, Comparison, _compare, race
from fastnn.bench.tasks import Linear, Prediction, Training

SAMPLES = Training((4, 6, 3), 60, "sigmoid", learning_rate=0.05)
PREDICTION = Prediction((4, 6, 3), 50)
SPEED = {"rounds": 2, "seconds": 1e-6, "operations": 1e9}


CLOCK = timing.clock

pytestmark = pytest.mark.usefixtures("steady_time")


class Sleeper:
    """A contender that only counts: what it is asked for, and in which order."""

    def __init__(self, name, log):
        self.name, self.log = name, log

    def run(self, times):
        self.log.append((self.name, times))

    def result(self):
        return np.zeros(1)


def test_all_take_turns_and_end_with_a_long_fit():
    log = []
    timings = [timing.Timing(Sleeper(name, log), 2, 1, 0.0, 0.0) for name in "abc"]
    timing.take_turns(timings, 4)
    names = "".join(name for name, _ in log[::2])
    assert names == "abcbcacababc"
    assert [times for _, times in log] == [1, 3] * 12


def test_slow_contenders_sit_out_later_rounds():
    log = []
    slow = timing.Timing(Sleeper("slow", log), 1, 1, 0.0, timing.SLOW_TURN * 2)
    fast = timing.Timing(Sleeper("fast", log), 1, 1, 0.0, 0.0)
    timing.take_turns([slow, fast], timing.SLOW_ROUNDS + 2)
    assert log.count(("slow", 2)) == timing.SLOW_ROUNDS
    assert log.count(("fast", 2)) == timing.SLOW_ROUNDS + 2
    assert fast.median() == 1.0
    slow.seconds, fast.seconds = {0: 2.0, 1: 6.0}, {0: 1.0, 1: 2.0, 2: 9.0}
    np.testing.assert_array_equal(timing.ratios(slow, fast), [2.0, 3.0])
    assert fast.median() == 2.0


class Timed(Sleeper):
    """Takes so long to set up, 20 s at its first call, and 1 s an epoch, on a clock of its own."""

    now = 0.0

    def __init__(self, set_up):
        super().__init__("t", [])
        self.set_up = set_up

    def run(self, times):
        self.now += self.set_up + times + (20 if not self.log else 0)
        super().run(times)


def test_calibration_asks_for_epochs_enough():
    contender = Timed(set_up=5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timing, "clock", CLOCK)
        patch.setattr(timing.time, "perf_counter", lambda: contender.now)
        found = timing.calibrate(contender, 12.0)
    assert found.first_call == 20.0
    assert found.extra == 12
    assert found.turn == 6 + 18
    assert timing._epochs(1.0, 1e-12) == timing.MOST_EPOCHS
    assert timing._epochs(1e-9, 5.0) == timing.LEAST_EPOCHS


def test_what_sets_nothing_up_has_no_short_run(monkeypatch):
    """Its time is no difference: what slows a short run down could make it look too fast."""
    contender = Timed(set_up=0)
    monkeypatch.setattr(timing, "clock", CLOCK)
    monkeypatch.setattr(timing.time, "perf_counter", lambda: contender.now)
    found = timing.calibrate(contender, 3.0, sets_up=False)
    assert (found.first_call, found.extra, found.short, found.long, found.turn) == (20, 3, 0, 3, 3)
    del contender.log[:-1]
    timing.take_turns([found], 2)
    assert [times for _, times in contender.log[1:]] == [3, 3]
    assert found.seconds == {0: 1.0, 1: 1.0}


def test_only_predictions_set_nothing_up():
    assert SAMPLES.sets_up
    assert Linear(5, 400).sets_up
    assert not PREDICTION.sets_up
    for task in SAMPLES, PREDICTION:
        log = []

        class Recorded(Sleeper):
            def __init__(self, task, log=log):
                super().__init__("recorded", log)
                self._contender = ours.contender(task)

            def run(self, times):
                super().run(times)
                self._contender.run(times)

            def result(self):
                return self._contender.result()

        race(Case("a case", task), {"recorded": Peer("recorded", lambda: None, Recorded)}, **SPEED)
        first, second, *later = [times for _, times in log]
        assert first == second == 1
        assert (1 in later) == task.sets_up


def test_rounds_that_went_wrong_do_not_count():
    class Backwards(Sleeper):
        """Its long fits take no time."""

        now = 0.0

        def run(self, times):
            self.now += 1.0 if times == 1 else 0.5

    contender = Backwards("b", [])
    found = timing.Timing(contender, 2, 1, 0.0, 0.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timing, "clock", CLOCK)
        patch.setattr(timing.time, "perf_counter", lambda: contender.now)
        timing.take_turns([found], 2)
    assert found.seconds == {}
    assert math.isnan(found.median())
    comparison = Comparison()
    task = dataclasses.replace(SAMPLES)
    mine = timing.Timing(ours.Train(task), 2, 1, 0.0, 0.0, {0: 1.0})
    theirs = timing.Timing(ours.Train(task), 2, 1, 0.0, 0.0)
    mine.contender.run(3)
    theirs.contender.run(3)
    _compare(comparison, theirs, mine, task)
    assert comparison.refused.startswith("no round gave it")


# One core


def test_one_core_is_all_that_threads_started_meanwhile_have():
    before = environment.cores()
    found = []
    with environment.one_core():
        thread = threading.Thread(target=lambda: found.append(environment.cores()))
        thread.start()
        thread.join()
        found.append(environment.cores())
    assert environment.cores() == before
    assert found == [1, 1] if hasattr(os, "sched_setaffinity") else [before, before]


def test_one_core_needs_a_system_that_has_it(monkeypatch):
    monkeypatch.delattr(os, "sched_setaffinity", raising=False)
    before = environment.cores()
    with environment.one_core():
        assert environment.cores() == before


@pytest.mark.parametrize("threads", [1, 2])
def test_tables_of_one_thread_are_measured_on_one_core(threads):
    found = []

    class Asking(ours.Train):
        def run(self, times):
            found.append(environment.cores())
            super().run(times)

    before = environment.cores()
    race_of = Case("asked", SAMPLES, ours=Asking)
    table = cases.Table("a table", "a limit", [race_of], {}, threads=threads)
    measured = run.Run(rounds=1, seconds=1e-6, peers=(), say=lambda text: None)
    measured._table(table)
    held = threads == 1 and hasattr(os, "sched_setaffinity")
    assert set(found) == {1 if held else before}
    assert cases.make_table("threads", None, True).threads == cases.THREADS
    assert cases.make_table("predict", None, True).threads == 1
