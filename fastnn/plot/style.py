"""What the pictures have in common: axes, colours, words."""

from typing import Any

from matplotlib import colormaps, pyplot
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LinearSegmentedColormap, to_rgba

#: Okabe & Ito (2008), without black; on a dark ground the two darkest are lightened.
ON_LIGHT = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
ON_DARK = ("#56b4e9", "#ff8c42", "#2fcf9f", "#e8a5c8", "#f0c04a", "#a9d8f5")
#: A marker for each class, so that colour is never the only difference.
MARKERS = "osD^vP*X"


def new_axes(ax: Any, size: tuple[float, float] = (6.4, 4.2)) -> Axes:
    """Return ``ax``, or the axes of a new figure of ``size`` inches."""
    if ax is None:
        _, ax = pyplot.subplots(figsize=size, layout="constrained")
    elif not isinstance(ax, Axes):
        raise TypeError(f"ax must be a matplotlib Axes or None, got {type(ax).__name__}")
    return ax


def figure_of(ax: Axes) -> Any:
    """Return the figure that the axes are on."""
    return ax.get_figure(root=True)


def is_dark(ax: Axes) -> bool:
    """Return whether the axes have a dark ground."""
    red, green, blue, opacity = to_rgba(ax.get_facecolor())
    if opacity < 0.5:  # as good as transparent
        red, green, blue, _ = to_rgba(figure_of(ax).get_facecolor())
    return 0.299 * red + 0.587 * green + 0.114 * blue < 0.5


def palette(ax: Axes) -> tuple[str, ...]:
    """Return the line colours for the ground of the axes."""
    return ON_DARK if is_dark(ax) else ON_LIGHT


def ink(ax: Axes) -> Any:
    """Return the colour of the axes' text."""
    return ax.xaxis.label.get_color()


def signed_colors(ax: Axes) -> Colormap:
    """Return a colour map from negative to positive with the ground's tone in the middle."""
    if not is_dark(ax):
        return colormaps["PuOr_r"]
    return LinearSegmentedColormap.from_list("signed", ["#56b4e9", "#303030", "#ff8c42"])


def finish(ax: Axes, *, grid: bool = True) -> Axes:
    """Give the axes a light grid and no box."""
    ax.spines[["top", "right"]].set_visible(False)
    if grid:
        ax.grid(alpha=0.25)
        ax.set_axisbelow(True)
    return ax
