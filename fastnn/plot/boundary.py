"""What a model says of every point of a plane."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb

from fastnn.errors import integer
from fastnn.network import Network
from fastnn.plot.style import MARKERS, figure_of, finish, ink, is_dark, new_axes, palette

_MOST_POINTS = 2000


def decision_boundary(
    model: Any, X: Any, y: Any, *, resolution: int = 200, ax: Axes | None = None
) -> Axes:
    """Draw the prediction over the plane of two features, and the rows on it.

    Of a classifier the ground shows the class, the stronger the surer, and the line where the
    choice changes; of a regression the predicted value.

    Parameters
    ----------
    model : Network, Model or fitted classifier or regressor
        Anything with ``predict``, of two features; its probabilities are used where it has them.
    X : array-like, shape (n, 2)
        Rows; of more than 2,000 every so many-th is drawn.
    y : array-like, shape (n,)
        Their labels or values.
    resolution : int
        Points of the ground along each axis.
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ValueError, TypeError
        The rows do not have two columns, or the model takes another number.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn import Network, plot
    >>> X = np.random.default_rng(0).normal(size=(100, 2))
    >>> net = Network([2, 8, 1], loss="log_loss", random_state=0)
    >>> history = net.fit(X, X[:, 0] * X[:, 1] > 0, epochs=50)
    >>> plot.decision_boundary(net, X, X[:, 0] * X[:, 1] > 0).get_xlabel()
    'feature 0'
    """
    names = [str(name) for name in getattr(X, "columns", ("feature 0", "feature 1"))]
    points, labels = np.asarray(X, dtype=float), np.asarray(y).reshape(-1)
    if points.ndim != 2 or points.shape[1] != 2:
        raise ValueError(f"decision_boundary needs rows of two features, got shape {points.shape}")
    if len(points) != len(labels):
        raise ValueError(f"X has {len(points)} rows, but y has {len(labels)}")
    count = integer("resolution", resolution, low=2)
    ax = new_axes(ax, (5.4, 4.6))
    low, high = points.min(axis=0), points.max(axis=0)
    margin = 0.06 * np.where(high > low, high - low, 1)
    axes = [np.linspace(a, b, count) for a, b in zip(low - margin, high + margin, strict=True)]
    grid = np.stack(np.meshgrid(*axes), axis=-1)
    classes, values = _predictions(model, grid.reshape(-1, 2), labels)
    few = slice(None, None, -(-len(points) // _MOST_POINTS))
    if classes is None:
        _draw_values(ax, axes, values.reshape(count, count), points[few], labels[few])
    else:
        shares = values.reshape(count, count, -1)
        _draw_classes(ax, axes, shares, classes, points[few], labels[few])
    ax.set(xlabel=names[0], ylabel=names[1])
    return finish(ax, grid=False)


def _predictions(model: Any, points: np.ndarray, y: np.ndarray) -> tuple[Any, np.ndarray]:
    """Return the classes with a share of each for every point, or None with values."""
    if isinstance(model, Network):
        outputs = model.forward(points)
        if model.loss_name == "log_loss" and outputs.shape[1] == 1:
            return np.array([0, 1]), np.hstack([1 - outputs, outputs])
        if model.loss_name == "cross_entropy":
            return np.arange(outputs.shape[1]), outputs
        return None, outputs[:, 0]
    classes = getattr(model, "classes_", getattr(model, "classes", None))
    if classes is None:
        return None, np.asarray(model.predict(points), dtype=float).reshape(len(points))
    if hasattr(model, "predict_proba"):
        return np.asarray(classes), np.asarray(model.predict_proba(points))
    chosen = np.asarray(model.predict(points))
    return np.asarray(classes), (chosen[:, None] == np.asarray(classes)).astype(float)


def _draw_classes(
    ax: Axes, axes: list, shares: np.ndarray, classes: np.ndarray, X: np.ndarray, y: np.ndarray
) -> None:
    colors = [palette(ax)[k % 6] for k in range(len(classes))]
    chosen = shares.argmax(axis=-1)
    ground = np.array(to_rgb(ax.get_facecolor()))
    sure = (shares.max(axis=-1) * len(classes) - 1) / (len(classes) - 1)
    strength = (0.08 + 0.37 * np.clip(sure, 0, 1))[..., None]
    shade = np.array([to_rgb(color) for color in colors])[chosen]
    extent = (axes[0][0], axes[0][-1], axes[1][0], axes[1][-1])
    ax.imshow(
        ground + (shade - ground) * strength, origin="lower", extent=extent, aspect="auto",
        interpolation="bilinear",
    )  # fmt: skip
    for k in range(len(classes) - 1 if len(classes) == 2 else len(classes)):
        others = np.delete(shares, k, axis=-1).max(axis=-1)
        margin = shares[..., k] - others
        if margin.min() < 0 < margin.max():
            ax.contour(*axes, margin, levels=[0], colors=[ink(ax)], linewidths=1)
    for k, label in enumerate(classes):
        mine = y == label
        ax.scatter(
            X[mine, 0], X[mine, 1], s=18, marker=MARKERS[k % len(MARKERS)], color=colors[k],
            edgecolors="black" if is_dark(ax) else "white", linewidths=0.5, label=str(label),
        )  # fmt: skip
    ax.legend(title="class", loc="upper right", framealpha=0.85)


def _draw_values(ax: Axes, axes: list, values: np.ndarray, X: np.ndarray, y: np.ndarray) -> None:
    numbers = y.astype(float)
    low, high = min(values.min(), numbers.min()), max(values.max(), numbers.max())
    ground = ax.contourf(*axes, values, levels=20, cmap="viridis", vmin=low, vmax=high)
    ax.scatter(
        X[:, 0], X[:, 1], c=numbers, cmap="viridis", vmin=low, vmax=high, s=18,
        edgecolors="white", linewidths=0.6,
    )  # fmt: skip
    figure_of(ax).colorbar(ground, ax=ax, label="prediction (ground), y (points)")
