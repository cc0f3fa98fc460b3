"""Activation functions and their derivatives."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import pyplot
from matplotlib.axes import Axes

from fastnn import functional
from fastnn.errors import choose
from fastnn.kernels.activations import CODES, TABLE
from fastnn.plot.style import finish, new_axes, palette


def activations(names: str | Sequence[str] | None = None, *, ax: Any = None) -> Any:
    """Draw activation functions and their derivatives, as the kernels compute them.

    Parameters
    ----------
    names : str or sequence of str, optional
        One name, or several; all of them by default.
    ax : matplotlib Axes or array of them, optional
        One for each name.

    Returns
    -------
    matplotlib Axes, or array of them where ``names`` is not a single one

    Raises
    ------
    ValueError
        An unknown name, or fewer axes than names.

    Examples
    --------
    >>> from fastnn import plot
    >>> plot.activations("relu").get_title()
    'relu'
    >>> len(plot.activations(["tanh", "gelu"]))
    2
    """
    if isinstance(names, str):
        return _draw(choose("names", names, CODES), new_axes(ax, (4.2, 3.4)))
    chosen = [choose("names", name, CODES) for name in (TABLE if names is None else names)]
    if ax is None:
        columns = min(len(chosen), 5)
        rows = -(-len(chosen) // columns)
        size = (2.6 * columns, 2.5 * rows)
        _, ax = pyplot.subplots(rows, columns, figsize=size, layout="constrained", squeeze=False)
    places = np.asarray(ax, dtype=object).reshape(-1)
    if places.size < len(chosen):
        raise ValueError(f"ax must have one Axes per name ({len(chosen)}), got {places.size}")
    for name, place in zip(chosen, places, strict=False):
        _draw(name, new_axes(place))
    for place in places[len(chosen) :]:
        place.set_visible(False)
    for place in places[1 : len(chosen)]:
        place.get_legend().remove()
    return places[: len(chosen)]


def _draw(name: str, ax: Axes) -> Axes:
    z = np.linspace(-4, 4, 401)
    first, second, *_ = palette(ax)
    ax.plot(z, functional.activation(name, z), color=first, label="a = f(z)")
    ax.plot(z, functional.activation_derivative(name, z), "--", color=second, label="da/dz")
    ax.set(title=name, xlabel="z", xlim=(-4, 4), ylim=(-1.3, 2.6))
    ax.legend(frameon=False, loc="upper left")
    return finish(ax)
