"""Learning-rate schedules: the rate of an epoch, and the table of them by name.

Each is a frozen dataclass with its parameters; ``rate(initial, epoch, epochs)`` gives the rate
of epoch 0, 1, ... of ``epochs``.  `Adaptive` reacts to the loss instead.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from fastnn.errors import choose, integer, number


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

    def __post_init__(self) -> None:
        number("power_t", self.power_t, closed="neither")

    def rate(self, initial: float, epoch: int, epochs: int) -> float:
        """Return the learning rate of ``epoch``, counted from 0."""
        return initial / (epoch + 1) ** self.power_t


@dataclass(frozen=True)
class Step:
    """The rate is multiplied by ``gamma`` after each ``step_size`` epochs."""

    step_size: int = 10
    gamma: float = 0.1

    def __post_init__(self) -> None:
        integer("step_size", self.step_size)
        number("gamma", self.gamma, low=0, closed="left")

    def rate(self, initial: float, epoch: int, epochs: int) -> float:
        """Return the learning rate of ``epoch``, counted from 0."""
        return initial * self.gamma ** (epoch // self.step_size)


@dataclass(frozen=True)
class Cosine:
    """Half a cosine from ``initial`` to ``final * initial`` over the run (Loshchilov 2017)."""

    final: float = 0.0

    def __post_init__(self) -> None:
        number("final", self.final, low=0, closed="left")

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
        number("factor", self.factor, low=0, high=1, closed="neither")
        integer("patience", self.patience)
        number("minimum", self.minimum, low=0, closed="left")

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
    if hasattr(schedule, "rate") and not isinstance(schedule, type):
        return schedule  # type: ignore[return-value]
    return TABLE[choose("schedule", schedule, TABLE)]()
