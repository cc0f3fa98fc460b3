"""A progress bar over epochs and rows."""

from typing import TYPE_CHECKING

from tqdm.auto import tqdm

if TYPE_CHECKING:
    from fastnn.training import Progress


class ProgressBar:
    """A callback of `Network.fit` that shows epoch, loss and samples per second."""

    def __init__(self) -> None:
        self._bar: tqdm | None = None

    def on_slice(self, progress: "Progress") -> None:
        """Move the bar to the rows trained so far."""
        if self._bar is None:
            self._bar = tqdm(
                total=progress.rows * progress.epochs, unit=" samples", unit_scale=True
            )
        self._bar.set_description(f"epoch {progress.epoch + 1}/{progress.epochs}", refresh=False)
        self._bar.set_postfix_str(self.describe(progress), refresh=False)
        self._bar.update(progress.epoch * progress.rows + progress.done - self._bar.n)

    def __call__(self, progress: "Progress") -> None:
        """Show an epoch's end."""
        self.on_slice(progress)

    def describe(self, progress: "Progress") -> str:
        """Return what stands behind the bar."""
        text = f"loss {progress.loss:.4f}"
        if progress.history.validation_loss:
            text += f", validation loss {progress.history.validation_loss[-1]:.4f}"
        return text

    def close(self) -> None:
        """Leave the bar as it stands."""
        if self._bar is not None:
            self._bar.close()
