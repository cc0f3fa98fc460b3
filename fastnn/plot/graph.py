"""The computation graph of one training step, with its numbers."""

import itertools
from typing import Any

import numpy as np
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.font_manager import font_scalings
from matplotlib.text import Text

from fastnn.inspect.trace import LayerTrace, Trace
from fastnn.plot.style import figure_of, ink, new_axes, palette

_WIDEST = 30  # characters of a formula that fit into a box
_COLUMN, _HEIGHT = 2.3, 3.4  # inches of a column, and of the whole, for text of size "small"
_APART = 0.09  # of the arrows there and back from their middle, a box being 1 away from the next


def explain(trace: Trace, *, ax: Axes | None = None) -> Axes:
    """Draw the computation graph of one training step.

    From left to right the values: the row ``x``, each layer's scores ``z`` and activations
    ``a``, the loss ``J``.  Below them, in colour, what flows back: ``dJ/d`` of each.  Under each
    layer its weights and biases, their gradients and their new values.  Each ``dJ/dz`` is the
    product of the two derivatives to its right, ``dJ/da`` and ``da/dz``.

    Parameters
    ----------
    trace : Trace
        What `fastnn.explain` returned.
    ax : matplotlib Axes, optional
        The text shrinks to fit into it; a column (two per layer, and two) takes 2.3 inches.

    Returns
    -------
    matplotlib Axes

    Examples
    --------
    >>> from fastnn import Network, explain, plot
    >>> neuron = Network([2, 1], loss="log_loss", random_state=0)
    >>> ax = plot.explain(explain(neuron, [1.0, 2.0], 1))
    >>> any("dJ/dw" in text.get_text() for text in ax.texts)
    True
    """
    if not isinstance(trace, Trace):
        raise TypeError(f"trace must be what fastnn.explain returned, got {type(trace).__name__}")
    columns = 2 + 2 * len(trace.layers)
    ax = new_axes(ax, (_COLUMN * columns, _HEIGHT))
    size, apart = _scale(ax, columns)
    back, first = palette(ax)[1], trace.layers[0]

    def box(column: float, row: float, lines: list[tuple[str, int]], line: str = "-") -> Text:
        return _box(ax, column, row, lines, line, size)

    row = [box(0, 1, [("x", 0), (brief(trace.x), 0), _slope("dJ/dx", first.handed_down)])]
    for layer in trace.layers:
        at = len(row)
        x, W = ("x" if layer.index == 0 else f"a[{layer.index - 1}]"), _weights_name(layer)
        mark = "" if len(trace.layers) == 1 else f"[{layer.index}]"
        z = [(f"z{mark} = {x} {W} + b", 0), (brief(layer.z), 0), _slope("dJ/dz", layer.delta)]
        a = [(_fitting(f"a{mark} = {layer.formula}"), 0), (brief(layer.a), 0),
             _slope("dJ/da", layer.dJ_da), _slope("da/dz", layer.da_dz)]  # fmt: skip
        row += [box(at, 1, z), box(at + 1, 1, a)]
        _arrow(ax, box(at, 0, _parameters(layer, W, mark), ":"), row[at], ink(ax), "-", 0)
    lines = [(f"J = {trace.loss_name}", 0), (brief(trace.loss), 0), (f"y = {brief(trace.y)}", 0)]
    row.append(box(len(row), 1, lines))
    for left, right in itertools.pairwise(row):
        _arrow(ax, left, right, ink(ax), "-", apart)
        _arrow(ax, right, left, back, "--", -apart)
    ax.text(0, 1.5, "values flow right", color=ink(ax), ha="center", fontsize=size)
    ax.text(0, 0.45, "derivatives flow left", color=back, ha="center", fontsize=size)
    ax.set(xlim=(-0.55, len(row) - 0.45), ylim=(-0.5, 1.65))
    ax.set_axis_off()
    return ax


def _scale(ax: Axes, columns: int) -> tuple[float, float]:
    """Return the points of text that keep the boxes apart, and half the distance of the arrows."""
    figure = figure_of(ax)
    box, (width, height) = ax.get_position(), figure.get_size_inches()
    width, height = box.width * width, box.height * height
    room = min(width / (_COLUMN * columns), height / _HEIGHT)
    small = font_scalings["small"] * rcParams["font.size"]
    # A figure that lays itself out will give its axes more room than they have now.
    if room > (1.0 if figure.get_layout_engine() is None else 0.7):
        return small, _APART
    return small * room, _APART * room * _HEIGHT / height


def _weights_name(layer: LayerTrace) -> str:
    return "w" if layer.z.size == 1 else "W"


def _fitting(formula: str) -> str:
    return formula if len(formula) <= _WIDEST else formula[: _WIDEST - 1] + "…"


def _slope(name: str, value: Any) -> tuple[str, int]:
    """Return a line for a derivative, which is set in the second colour."""
    return f"{name} = {brief(value)}", 1


def _parameters(layer: LayerTrace, W: str, mark: str) -> list[tuple[str, int]]:
    """Return the lines for a layer's parameters, before and after the step."""
    weights, gradient, new = layer.W, layer.dJ_dW, layer.W_new
    if layer.z.size == 1:
        weights, gradient, new = weights[:, 0], gradient[:, 0], new[:, 0]
    return [
        (f"{W}{mark} = {brief(weights)}", 0),
        (f"b{mark} = {brief(layer.b)}", 0),
        _slope(f"dJ/d{W}", gradient),
        _slope("dJ/db", layer.dJ_db),
        (f"{W}_new = {brief(new)}", 0),
        (f"b_new = {brief(layer.b_new)}", 0),
    ]


def _box(
    ax: Axes, column: float, row: float, lines: list[tuple[str, int]], line: str, size: float
) -> Text:
    """Draw a box of lines, each in the first or the second colour; return what holds the box."""
    style: dict[str, Any] = {
        "ha": "center", "va": "center", "fontsize": size, "linespacing": 1.35,
        "parse_math": False,
    }  # fmt: skip
    shape = {"boxstyle": "round,pad=0.5", "facecolor": "none", "edgecolor": ink(ax), "ls": line}
    whole = "\n".join(text for text, _ in lines)
    holder = ax.text(column, row, whole, color="none", bbox=shape, zorder=2, **style)
    for number, color in enumerate((ink(ax), palette(ax)[1])):
        # The other colour's lines are blank, so that these stand where they should.
        shown = "\n".join(text if mine == number else " " for text, mine in lines)
        ax.text(column, row, shown, color=color, zorder=3, **style)
    return holder


def _arrow(ax: Axes, start: Text, end: Text, color: Any, line: str, rise: float) -> None:
    """Draw an arrow from box to box, above or below their middle."""
    (x0, y0), (x1, y1) = start.get_position(), end.get_position()
    ax.annotate(
        "", (x1, y1 + rise), (x0, y0 + rise), zorder=4,
        arrowprops={
            "arrowstyle": "-|>", "color": color, "linestyle": line, "lw": 1.1,
            "patchA": start.get_bbox_patch(), "patchB": end.get_bbox_patch(),
            "shrinkA": 1, "shrinkB": 1,
        },
    )  # fmt: skip


def brief(value: Any) -> str:
    """Return a number with three digits, a vector of up to three, or the norm of a larger one."""
    array = np.asarray(value, dtype=float) + 0.0  # -0 becomes 0
    if array.size == 1:
        return f"{array.reshape(()):.3g}"
    if array.ndim == 1 and array.size <= 3:
        return "[" + ", ".join(f"{entry:.3g}" for entry in array) + "]"
    shape = " x ".join(str(n) for n in array.shape)
    return f"{shape}, norm {np.linalg.norm(array):.3g}"
