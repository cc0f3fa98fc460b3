"""The loss by epoch, after the training and while it runs."""

import sys
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from fastnn.plot.style import figure_of, finish, ink, new_axes, palette
from fastnn.training import History, Progress


def loss_curve(fitted: Any, *, best_loss: float | None = None, ax: Axes | None = None) -> Axes:
    """Draw the training loss, and the validation loss where there is one, by epoch.

    The training loss is a mean over the epoch, so it stands at the epoch's middle; the
    validation loss at its end.  The axis is logarithmic where the values span a factor of ten.

    Parameters
    ----------
    fitted : History or fitted estimator
        What `Network.fit` returned, or an estimator with ``loss_curve_``.
    best_loss : float, optional
        The lowest loss that is possible, drawn as a line.
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ValueError
        There is no epoch to draw.
    TypeError
        ``fitted`` has no losses.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn import Network, plot
    >>> X = np.random.default_rng(0).normal(size=(100, 2))
    >>> history = Network([2, 1], loss="log_loss").fit(X, X[:, 0] > 0, epochs=5)
    >>> plot.loss_curve(history).get_xlabel()
    'epoch'
    """
    training, validation = _losses(fitted)
    if not training:
        raise ValueError("there is no epoch to draw: the history is empty")
    ax = new_axes(ax)
    first, second, *_ = palette(ax)
    epochs = np.arange(1, len(training) + 1)
    size = 3 if len(training) <= 60 else 0
    ax.plot(epochs - 0.5, training, "o-", ms=size, color=first, label="training")
    values = list(training)
    if validation:
        ax.plot(epochs, validation, "s--", ms=size, color=second, label="validation")
        values += validation
    if best_loss is not None:
        ax.axhline(best_loss, ls=":", lw=1.2, color=ink(ax), label="best reachable")
        values.append(best_loss)
    finite = [value for value in values if np.isfinite(value)]
    if finite and min(finite) > 0 and max(finite) > 10 * min(finite):
        ax.set_yscale("log")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set(xlabel="epoch", ylabel="mean loss", xlim=(0, None))
    ax.legend(frameon=False)
    return finish(ax)


def _losses(fitted: Any) -> tuple[list[float], list[float]]:
    """Return the training and the validation losses."""
    if isinstance(fitted, History):
        return fitted.loss, fitted.validation_loss
    training = getattr(fitted, "loss_curve_", None)
    if training is None:
        kind = type(fitted).__name__
        if hasattr(fitted, "fit"):
            raise ValueError(
                f"this {kind} has no loss_curve_; fit it with a solver that has epochs"
            )
        raise TypeError(f"loss_curve takes a History or a fitted estimator, got {kind}")
    return list(training), list(getattr(fitted, "validation_loss_curve_", None) or [])


class LossCurve:
    """A callback of `Network.fit` that draws the loss curve while the network learns.

    In a notebook the picture is replaced in place; elsewhere the figure's window is redrawn.

    Parameters
    ----------
    every : int
        Epochs between two drawings.
    best_loss : float, optional
    ax : matplotlib Axes, optional

    Attributes
    ----------
    ax : matplotlib Axes
        From the first drawing on.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn import Network, plot
    >>> X = np.random.default_rng(0).normal(size=(100, 2))
    >>> live = plot.LossCurve(every=5)
    >>> history = Network([2, 1], loss="log_loss").fit(
    ...     X, X[:, 0] > 0, epochs=10, callbacks=[live]
    ... )
    >>> len(live.ax.lines[0].get_xdata())
    10
    """

    def __init__(
        self, *, every: int = 1, best_loss: float | None = None, ax: Axes | None = None
    ) -> None:
        self.every = every
        self.best_loss = best_loss
        self.ax: Any = ax
        self._handle: Any = None

    def __call__(self, progress: Progress) -> None:
        """Draw the epochs so far."""
        last = progress.epoch + 1 == progress.epochs
        if not last and (progress.epoch + 1) % self.every:
            return
        self.ax = new_axes(self.ax)
        self.ax.clear()
        loss_curve(progress.history, best_loss=self.best_loss, ax=self.ax)
        figure = figure_of(self.ax)
        if "IPython" in sys.modules and sys.modules["IPython"].get_ipython() is not None:
            from IPython.display import display

            if self._handle is None:
                self._handle = display(figure, display_id=True)
            else:
                self._handle.update(figure)
        else:
            figure.canvas.draw_idle()
            figure.canvas.flush_events()
