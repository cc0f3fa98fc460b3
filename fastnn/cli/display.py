"""What a training run shows: a live bar on a terminal, lines elsewhere, the result at the end."""

import json
import logging
import math
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
import numpy as np
from tqdm import tqdm

from fastnn.cli.data import Problem
from fastnn.training import History, Progress

#: Seconds between two lines about epochs.
_LINE_SECONDS = 1.0


class Scores:
    """A callback that scores the validation rows after each epoch, and shows how it goes.

    Parameters
    ----------
    problem : Problem
    X : ndarray
        The validation rows, standardised.
    total : int
        Rows to train on, all epochs together.
    shown : bool
        A bar where stderr is a terminal, else lines: of the first epoch, of the last, and of one
        a second between them.

    Attributes
    ----------
    values : list of float
        Validation accuracy, or R2, by epoch.
    """

    def __init__(self, problem: Problem, X: np.ndarray, total: int, shown: bool) -> None:
        self._problem = problem
        self._X = X
        self._shown = shown
        self._bar: tqdm | None = None
        self._pending = ""
        self._told = -math.inf
        self.values: list[float] = []
        if shown and sys.stderr.isatty():
            logging.getLogger("fastnn").setLevel(logging.ERROR)  # the bar says it
            self._bar = tqdm(
                total=total,
                desc="preparing kernels, compiled at their first use",
                unit=" samples",
                unit_scale=True,
                dynamic_ncols=True,
                bar_format="{desc} |{bar}| {rate_fmt}{postfix}",
            )

    def on_slice(self, progress: Progress) -> None:
        """Move the bar to the rows trained so far."""
        if self._bar is not None:
            self._bar.set_description_str(
                f"epoch {progress.epoch + 1}/{progress.epochs}", refresh=False
            )
            self._bar.set_postfix_str(self._text(progress), refresh=False)
            self._bar.update(progress.epoch * progress.rows + progress.done - self._bar.n)

    def __call__(self, progress: Progress) -> None:
        """Score the validation rows."""
        outputs = progress.network.forward(self._X)
        self.values.append(self._problem.score(outputs, self._problem.validation.y))
        self.on_slice(progress)
        if self._bar is None and self._shown:
            rate = tqdm.format_sizeof(progress.history.samples_per_second)
            text = f"epoch {progress.epoch + 1}/{progress.epochs}: {self._text(progress)}"
            self._pending = f"{text}, {rate} samples/s"
            if time.monotonic() > self._told + _LINE_SECONDS:
                self._tell()

    def _tell(self) -> None:
        if self._pending:
            click.echo(self._pending, err=True)
        self._pending, self._told = "", time.monotonic()

    def _text(self, progress: Progress) -> str:
        text = f"loss {progress.loss:.4g}"
        if self.values:
            text += f", validation {self._problem.metric} {self.values[-1]:.4f}"
        return text

    def close(self) -> None:
        """Leave the bar as it stands, and tell of the last epoch."""
        self._tell()
        if self._bar is not None:
            if not self.values:
                self._bar.leave = False
            self._bar.close()


def print_table(rows: Iterable[tuple[str, str]]) -> None:
    """Print names and values in two aligned columns to stdout."""
    rows = list(rows)
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        click.echo(f"{name:<{width}}   {value}")


def print_json(result: dict[str, Any]) -> None:
    """Print one JSON object to stdout; what is not finite becomes null."""
    click.echo(json.dumps(_plain(result)))


def _plain(value: Any) -> Any:
    """Return a value as JSON knows it."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value) if isinstance(value, Path) else value


def draw_losses(path: Path, history: History, best_loss: float | None) -> None:
    """Draw the loss of each epoch to an image file; ImportError without matplotlib."""
    from matplotlib.figure import Figure

    from fastnn.plot import loss_curve

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    loss_curve(history, best_loss=best_loss, ax=figure.add_subplot())
    figure.savefig(path, dpi=150)
