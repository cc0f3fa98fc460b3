"""Parameters of an estimator: stored under their names, and compared with their defaults."""

import functools
import inspect
from typing import Any

import numpy as np


def store_parameters(estimator: Any, given: dict[str, Any]) -> None:
    """Set a constructor's arguments, its ``locals()``, as attributes of the same names."""
    for name, value in given.items():
        if name not in ("self", "__class__"):
            setattr(estimator, name, value)


@functools.cache
def defaults_of(cls: type) -> dict[str, Any]:
    """Return the defaults of a class's parameters."""
    parameters = inspect.signature(cls).parameters
    return {name: parameter.default for name, parameter in parameters.items()}


def is_set(estimator: Any, name: str) -> bool:
    """Return whether a parameter is there, and other than its default."""
    defaults = defaults_of(estimator.__class__)
    if name not in defaults:
        return False
    value = getattr(estimator, name)
    return value is not defaults[name] and not np.array_equal(value, defaults[name])
