"""Checks of what a network is made of and told, with errors that say what is accepted."""

import itertools
import sys
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from fastnn.errors import choose, integer, number
from fastnn.kernels import activations, losses

PRECISIONS = ("float32", "float64")


def check_sizes(layer_sizes: Any) -> tuple[int, ...]:
    """Return the layers' widths, input and output included, as a tuple of int."""
    try:
        sizes = tuple(layer_sizes)
    except TypeError:
        raise TypeError(f"layer_sizes must be a sequence, got {layer_sizes!r}") from None
    if len(sizes) < 2:
        raise ValueError(f"layer_sizes needs an input and an output size, got {sizes}")
    sizes = tuple(integer("each of layer_sizes", size) for size in sizes)
    n_parameters = sum((n_in + 1) * n_out for n_in, n_out in itertools.pairwise(sizes))
    if n_parameters * 8 > sys.maxsize:
        raise ValueError(
            f"layer_sizes must make at most {sys.maxsize // 8} parameters, got {n_parameters}"
        )
    return sizes


def check_activation(activation: Any, n_hidden: int) -> tuple[str, ...]:
    """Return the name of each hidden layer's activation."""
    if isinstance(activation, str):
        activation = (choose("activation", activation, activations.CODES),) * n_hidden
    expected = f"activation must be one name or one per hidden layer ({n_hidden})"
    try:
        names = tuple(activation)
    except TypeError:
        raise TypeError(f"{expected}, got {activation!r}") from None
    if len(names) != n_hidden:
        raise ValueError(f"{expected}, got {len(names)}")
    return tuple(choose("activation", name, activations.CODES) for name in names)


def check_dropout(dropout: Any, input_dropout: Any, n_hidden: int) -> np.ndarray:
    """Return the rate at which each layer's inputs are dropped out: features, hidden layers.

    Raises
    ------
    ValueError, TypeError
        A rate outside [0, 1), or another number of rates than hidden layers.
    """
    one = np.ndim(dropout) == 0
    given = [
        number("dropout", rate, low=0, high=1, closed="left")
        for rate in ([dropout] if one else dropout)
    ]
    if not one and len(given) != n_hidden:
        raise ValueError(
            f"dropout must be one rate or one per hidden layer ({n_hidden}), got {len(given)}"
        )
    first = number("input_dropout", input_dropout, low=0, high=1, closed="left")
    return np.array([first, *(given * n_hidden if one else given)])


def check_loss_parameter(loss: str, value: float | None) -> float:
    """Return the loss's own number, by default the usual one; 0 where it has none."""
    spec = losses.TABLE[loss].parameter
    if spec is None:
        if value is not None:
            raise ValueError(f"loss {loss!r} has no parameter, got loss_parameter={value!r}")
        return 0.0
    name, default, low, high = spec
    if value is None:
        return default
    return number(f"loss_parameter ({name})", value, low=low, high=high, closed="neither")


def check_dtype(dtype: Any) -> np.dtype:
    """Return one of the two precisions."""
    try:
        name = None if dtype is None else np.dtype(dtype).name
    except TypeError:
        name = None
    if name not in PRECISIONS:
        raise ValueError(f"dtype must be one of {', '.join(PRECISIONS)}; got {dtype!r}")
    return np.dtype(name)


def check_random_state(random_state: Any) -> np.random.Generator:
    """Return a generator for a seed or a generator."""
    try:
        return np.random.default_rng(random_state)
    except (TypeError, ValueError):
        raise ValueError(
            "random_state must be None, an integer from 0 or a numpy.random.Generator, got "
            f"{random_state!r}"
        ) from None


def check_callbacks(callbacks: Any) -> list[Callable[[Any], object]]:
    """Return the callbacks as a list, or raise TypeError if they are not a sequence of them."""
    many = isinstance(callbacks, Iterable) and not callable(callbacks)
    found = list(callbacks) if many else []
    if not many or not all(callable(callback) for callback in found):
        raise TypeError(f"callbacks must be a sequence of callables, got {callbacks!r}")
    return found
