"""Checks of plain parameters, with errors that name what was found and what is accepted."""

import numbers
from collections.abc import Iterable
from typing import Any

import numpy as np


class DivergenceWarning(RuntimeWarning):
    """Training met a loss or a parameter that is not finite; the last finite ones are kept."""


def choose(name: str, value: Any, accepted: Iterable[str]) -> str:
    """Return ``value`` if it is one of the ``accepted`` names, else raise ValueError."""
    names = list(accepted)
    if not isinstance(value, str) or value not in names:
        raise ValueError(f"{name} must be one of {', '.join(names)}; got {value!r}")
    return value


def number(
    name: str,
    value: Any,
    *,
    low: float = float("-inf"),
    high: float = float("inf"),
    closed: str = "both",
) -> float:
    """Return ``value`` as a float within an interval.

    Parameters
    ----------
    closed : {"both", "left", "right", "neither"}
        Which ends belong to the interval.

    Raises
    ------
    TypeError
        ``value`` is not a real number.
    ValueError
        It lies outside, or is NaN.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a number, got {type(value).__name__}")
    found = float(value)
    left = found >= low if closed in ("both", "left") else found > low
    right = found <= high if closed in ("both", "right") else found < high
    if not (left and right):
        opening = "[" if closed in ("both", "left") else "("
        closing = "]" if closed in ("both", "right") else ")"
        raise ValueError(f"{name} must lie in {opening}{low:g}, {high:g}{closing}, got {value!r}")
    return found


def boolean(name: str, value: Any) -> bool:
    """Return ``value`` if it is True or False (also NumPy's), else raise TypeError."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be True or False, got {value!r}")
    return bool(value)


def integer(name: str, value: Any, *, low: int = 1) -> int:
    """Return ``value`` as an int that is at least ``low``, else raise TypeError or ValueError."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if value < low:
        raise ValueError(f"{name} must be at least {low}, got {value}")
    return int(value)
