"""How large the gradient of each layer is, epoch by epoch."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from fastnn.inspect.models import as_subject
from fastnn.plot.style import MARKERS, finish, new_axes, palette
from fastnn.training import Progress


class GradientFlow:
    """A callback of `Network.fit` that records the gradient norm of each layer's weights.

    Parameters
    ----------
    X, y : array-like
        Rows, and targets as `Network.fit` takes them, whose mean loss is differentiated; a few
        hundred rows are enough.

    Attributes
    ----------
    norms : list of list of float
        ``|dJ/dW[l]|`` of each layer, by epoch.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn import Network, plot
    >>> X = np.random.default_rng(0).normal(size=(100, 2))
    >>> flow = plot.GradientFlow(X, X[:, 0] > 0)
    >>> net = Network([2, 8, 8, 1], loss="log_loss", random_state=0)
    >>> history = net.fit(X, X[:, 0] > 0, epochs=3, callbacks=[flow])
    >>> np.shape(flow.norms)
    (3, 3)
    """

    def __init__(self, X: Any, y: Any) -> None:
        self.X, self.y = X, y
        self.norms: list[list[float]] = []

    def __call__(self, progress: Progress) -> None:
        """Record an epoch."""
        network = as_subject(progress.network).network
        gradient = network.gradients(self.X, self.y)
        layers = zip(network.plan.weights, network.plan.biases, strict=True)
        self.norms.append([float(np.linalg.norm(gradient[w:b])) for w, b in layers])


def gradient_flow(flow: Any, *, ax: Axes | None = None) -> Axes:
    """Draw the gradient norm of each layer by epoch, on a logarithmic axis.

    Lines far below the others are layers that hardly learn: vanishing gradients.

    Parameters
    ----------
    flow : GradientFlow or array-like, shape (n_epochs, n_layers)
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ValueError
        Nothing has been recorded.
    """
    norms = np.asarray(getattr(flow, "norms", flow), dtype=float)
    if norms.ndim != 2 or norms.size == 0:
        raise ValueError(
            "gradient_flow needs a norm per epoch and layer; pass a GradientFlow that was among "
            f"the callbacks of fit, got shape {norms.shape}"
        )
    ax = new_axes(ax)
    colors = palette(ax)
    epochs = np.arange(1, len(norms) + 1)
    for l, values in enumerate(norms.T):
        ax.plot(
            epochs, np.where(values > 0, values, np.nan), color=colors[l % len(colors)],
            marker=MARKERS[l % len(MARKERS)], markevery=max(len(norms) // 10, 1), ms=4,
            label=f"layer {l}",
        )  # fmt: skip
    ax.set_yscale("log")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set(xlabel="epoch", ylabel="norm of dJ/dW")
    ax.legend(frameon=False)
    return finish(ax)
