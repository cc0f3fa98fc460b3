"""A network as layers of units joined by weights."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize

from fastnn.errors import integer
from fastnn.inspect.models import as_subject
from fastnn.plot.style import figure_of, ink, new_axes, signed_colors


def network(model: Any, *, most: int = 16, ax: Axes | None = None) -> Axes:
    """Draw the units of each layer and the weights between them as coloured lines.

    Colour is the weight's value, width its size; the fill of a unit is its bias.

    Parameters
    ----------
    model : Network, Model or fitted estimator
    most : int
        Units drawn per layer; of a wider one the first and the last.
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ValueError, TypeError
        The model is not fitted, or not a network.

    Examples
    --------
    >>> from fastnn import Network, plot
    >>> ax = plot.network(Network([2, 3, 1], random_state=0))
    >>> len(ax.collections[0].get_segments())  # 2 x 3 + 3 x 1 weights
    9
    """
    net = as_subject(model).network
    shown = [_shown(size, integer("most", most, low=3)) for size in net.layer_sizes]
    depth = len(shown)
    tallest = max(len(units) for units in shown)
    ax = new_axes(ax, (1.6 + 1.5 * depth, 1.4 + 0.3 * max(tallest, 8)))
    places = [_places(l, len(units)) for l, units in enumerate(shown)]
    segments, values = [], []
    for l, W in enumerate(net.weights):
        for j, start in zip(shown[l], places[l], strict=True):
            for k, end in zip(shown[l + 1], places[l + 1], strict=True):
                segments.append([start, end])
                values.append(float(W[j, k]))
    weights = np.array(values)
    limit = max(np.abs(weights).max(), max(np.abs(b).max() for b in net.biases)) or 1.0
    colors, norm = signed_colors(ax), Normalize(-limit, limit)
    order = np.argsort(np.abs(weights))  # the strongest on top
    ax.add_collection(
        LineCollection(
            [segments[i] for i in order],
            colors=colors(norm(weights[order])),
            linewidths=0.4 + 2.4 * np.abs(weights[order]) / limit,
            zorder=1,
        )
    )
    for l, (units, spots) in enumerate(zip(shown, places, strict=True)):
        fill = net.biases[l - 1][units] if l else np.zeros(len(units))
        ax.scatter(
            spots[:, 0], spots[:, 1], s=130, c=fill, cmap=colors, norm=norm,
            edgecolors=ink(ax), linewidths=1, zorder=2,
        )  # fmt: skip
        if len(units) < net.layer_sizes[l]:
            middle = (spots[len(units) // 2 - 1] + spots[len(units) // 2]) / 2
            ax.text(middle[0], middle[1], "⋮", ha="center", va="center", fontsize=11, zorder=3)
        ax.text(
            l, -0.1 - tallest / 2, _caption(net, l), ha="center", va="top", fontsize="small"
        )  # fmt: skip
    bar = figure_of(ax).colorbar(
        ScalarMappable(norm, colors), ax=ax, shrink=0.7, label="weight (line), bias (unit)"
    )
    bar.outline.set_visible(False)
    ax.set(xlim=(-0.5, depth - 0.5), ylim=(-1.2 - tallest / 2 - 0.06 * tallest, tallest / 2 + 0.5))
    ax.set_axis_off()
    return ax


def _shown(size: int, most: int) -> np.ndarray:
    """Return the numbers of the units that are drawn."""
    if size <= most:
        return np.arange(size)
    first = most // 2
    return np.r_[np.arange(first), np.arange(size - (most - first), size)]


def _places(layer: int, count: int) -> np.ndarray:
    """Return the positions of a layer's units, from the top down."""
    heights = (count - 1) / 2 - np.arange(count)
    return np.column_stack([np.full(count, float(layer)), heights])


def _caption(net: Any, layer: int) -> str:
    size = f"{net.layer_sizes[layer]:,}"
    if layer == 0:
        return f"input\n{size}"
    if layer == len(net.layer_sizes) - 1:
        return f"output\n{size}"
    return f"{net.activation[layer - 1]}\n{size}"
