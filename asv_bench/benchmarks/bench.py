"""The limits that ``fastnn bench`` measures, beside references that are not the package's."""

import numpy as np

from benchmarks import measure, reference
from benchmarks.problems import available

ROUNDS, NUMBERS, PASSES = 20_000, 16_384, 50


class Limits:
    """Multiply-adds on registers, and a pass over numbers: 1 where neither loses any time."""

    def setup(self):
        self.multiply_adds = available("fastnn.kernels.peak:multiply_adds")
        self.read = available("fastnn.kernels.peak:read")
        self.x = measure.Movable(np.ones(NUMBERS, np.float32))

    def in_registers(self):
        return self.multiply_adds(ROUNDS, self.x.array)

    def prepare_pass(self):
        x = self.x()
        return lambda: self.read(x, PASSES)

    def time_multiply_adds(self):
        self.in_registers()

    def time_read(self):
        self.prepare_pass()()

    def track_multiply_adds_over_peak(self):
        operations, _ = self.in_registers()
        work = reference.multiply_adds(operations // 2)
        return measure.ratio(lambda: self.in_registers, work)

    track_multiply_adds_over_peak.unit = "x FMA peak time"

    def track_read_over_memory_pass(self):
        return measure.ratio(self.prepare_pass, reference.memory_pass(self.x.array, PASSES))

    track_read_over_memory_pass.unit = "x reading the same numbers by the reference"
