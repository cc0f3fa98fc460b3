"""Learning-rate schedules: the rate of an epoch, and the table of them by name.

Each is a frozen dataclass with its parameters; ``rate(initial, epoch, epochs)`` gives the rate
of epoch 0, 1, ... of ``epochs``.  `Adaptive` reacts to the loss instead.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from fastnn.errors import choose


class Schedule(Protocol):
    """What a schedule can be asked."""

    def rate(self, initial: float, epoch: int, epochs: int) -> float:
        """Return the learning rate of ``epoch``, counted from 0."""


@dataclass(frozen=True)
class Constant:
    """``rate = initial``."""

    def rate(self, initial: float, epoch: int, epochs: int) -> float:
        """Return the learning rate of ``epoch``, counted from 0."""
        return initial


@dataclass(frozen=True)
class InvScaling:
    """``rate = initial / (epoch + 1)^power_t``."""

    power_t: float = 0.5

    def rate(self, initial: float, epoch: int, epochs: int) -> float:
        """Return the learning rate of ``epoch``, counted from 0."""
        return initial / (epoch + 1) ** self.power_t


@dataclass(frozen=True)
class Step:
    """The rate is multiplied by ``gamma`` after each ``step_size`` epochs."""

    step_size: int = 10
    gamma: float = 0.1

    def __post_init__(self) -> None:
        if self.step_size < 1:
            raise ValueError(f"step_size must be at least 1, got {self.step_size}")

    def rate(self, initial: float, epoch: int, epochs: int) -> float:
        """Return the learning rate of ``epoch``, counted from 0."""
        return initial * self.gamma ** (epoch // self.step_size)


@dataclass(frozen=True)
class Cosine:
    """Half a cosine from ``initial`` to ``final * initial`` over the run (Loshchilov 2017)."""

    final: float = 0.0

    def rate(self, initial: float, epoch: int, epochs: int) -> float:
        """Return the learning rate of ``epoch``, counted from 0."""
        done = epoch / max(epochs, 1)
        return initial * (self.final + (1 - self.final) * (1 + math.cos(math.pi * done)) / 2)


@dataclass(frozen=True)
class Adaptive:
    """The rate is multiplied by ``factor`` each time the loss stops falling.

    It stops falling when it has not improved by the fit's ``tol`` for ``patience`` epochs in a
    row; training ends once the rate would fall below ``minimum``.
    """

    factor: float = 0.2
    patience: int = 2
    minimum: float = 1e-6

    def __post_init__(self) -> None:
        if not 0 < self.factor < 1:
            raise ValueError(f"factor must lie between 0 and 1, got {self.factor}")

    def rate(self, initial: float, epoch: int, epochs: int) -> float:
        """Return ``initial``; the fit lowers it."""
        return initial


TABLE: dict[str, Callable[[], Schedule]] = {
    "constant": Constant,
    "invscaling": InvScaling,
    "step": Step,
    "cosine": Cosine,
    "adaptive": Adaptive,
}


def as_schedule(schedule: str | Schedule) -> Schedule:
    """Return the schedule of a name, or the one that was given."""
    if hasattr(schedule, "rate"):
        return schedule  # type: ignore[return-value]
    return TABLE[choose("schedule", schedule, TABLE)]()
