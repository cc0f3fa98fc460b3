"""What watches an estimator's `fit`: plain functions, a progress bar, scikit-learn's callbacks.

Functions given as ``callbacks=[f]`` see a `Progress` after each epoch, as in `Network.fit`.
scikit-learn's own protocol (``estimator.set_callbacks(ProgressBar())``) has a task for the whole
fit and one for each epoch in it; versions that lack it lack ``set_callbacks`` here, too.
"""

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

from fastnn.arguments import check_callbacks
from fastnn.progress import ProgressBar
from fastnn.training import Progress

try:
    from sklearn.callback import CallbackSupportMixin
except ImportError:  # scikit-learn before 1.9

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Stands for a protocol that this scikit-learn does not have."""


class FitTasks:
    """The tasks of one fit, as scikit-learn's callbacks see them.

    Parameters
    ----------
    estimator : estimator with `CallbackMixin`
        Whose `fit` has just begun.
    epochs : int
        The most epochs.
    X, y, sample_weight
        As the user gave them.
    snapshot : callable
        Returns the fitted attributes as they stand, not to be changed by the epochs that follow.

    Attributes
    ----------
    watched : bool
        Whether there is a callback that sees the epochs.
    """

    def __init__(
        self,
        estimator: Any,
        epochs: int,
        X: Any,
        y: Any,
        sample_weight: Any,
        snapshot: Callable[[], dict[str, Any]],
    ) -> None:
        self._fit = estimator._init_callback_context(max_subtasks=epochs)
        self._epoch: Any = None
        self.watched = hasattr(estimator, "_skl_callbacks")
        self._given = {
            "estimator": estimator,
            "X": X,
            "y": y,
            "metadata": None if sample_weight is None else {"sample_weight": sample_weight},
        }
        self._snapshot = snapshot
        self._fit.call_on_fit_task_begin(**self._given)

    def epoch_begins(self) -> None:
        """Open an epoch's task."""
        if self.watched:
            self._epoch = self._fit.subcontext(task_name="epoch")
            self._epoch.call_on_fit_task_begin(**self._given)

    def epoch_ends(self) -> bool:
        """Close it; return whether a callback asks to stop."""
        if self._epoch is None:
            return False
        context, self._epoch = self._epoch, None
        return self._end(context)

    def fit_ends(self) -> None:
        """Close the task of the fit, and that of an epoch which was not made."""
        if self._epoch is not None:
            self._epoch.call_on_fit_task_end(estimator=self._given["estimator"])
        self._end(self._fit)

    def _end(self, context: Any) -> bool:
        return context.call_on_fit_task_end(**self._given, reconstruction_attributes=self._snapshot)


class Hooks:
    """All that watches one fit; a context manager, which leaves the progress bar as it stands.

    Parameters
    ----------
    callbacks : sequence of callable
        Called with a `Progress` after each epoch, and those with a method ``on_slice`` by that
        after each kernel call.
    bar : bool
        Whether a progress bar is shown.
    tasks : FitTasks or None
        scikit-learn's callbacks.
    """

    def __init__(
        self,
        callbacks: Sequence[Callable[[Progress], object]] = (),
        *,
        bar: bool = False,
        tasks: FitTasks | None = None,
    ) -> None:
        self._bar = ProgressBar() if bar else None
        self._called: list[Any] = [*callbacks, *([self._bar] if self._bar is not None else [])]
        self._slices = [hook.on_slice for hook in self._called if hasattr(hook, "on_slice")]
        self._tasks = tasks

    @property
    def watches_slices(self) -> bool:
        """Whether anything wants to know of each kernel call."""
        return bool(self._slices)

    @property
    def watches_epochs(self) -> bool:
        """Whether anything wants to know of each epoch."""
        return bool(self._called) or (self._tasks is not None and self._tasks.watched)

    def epoch_begins(self) -> None:
        """Say that an epoch begins."""
        if self._tasks is not None:
            self._tasks.epoch_begins()

    def on_slice(self, progress: Progress) -> None:
        """Say that a kernel call ended."""
        for hook in self._slices:
            hook(progress)

    def epoch_ends(self, progress: Progress) -> bool:
        """Say that an epoch ended; return whether training should."""
        stops = [bool(hook(progress)) for hook in self._called]
        if self._tasks is not None:
            stops.append(self._tasks.epoch_ends())
        return any(stops)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()
        if self._tasks is not None and kind is None:
            self._tasks.fit_ends()


class Relay:
    """Tells the hooks of one fit what the fit within it tells its callbacks."""

    def __init__(self, hooks: Hooks) -> None:
        self._hooks = hooks

    def on_slice(self, progress: Progress) -> None:
        """Say that a kernel call ended."""
        self._hooks.on_slice(progress)

    def __call__(self, progress: Progress) -> bool:
        """Say that an epoch ended; return whether training should."""
        stop = self._hooks.epoch_ends(progress)
        if not stop and progress.epoch + 1 < progress.epochs:
            self._hooks.epoch_begins()
        return stop


class CallbackMixin(CallbackSupportMixin):
    """Gives an estimator ``set_callbacks`` and the `Hooks` of a fit.

    ``fit`` must be decorated with scikit-learn's ``_fit_context``, which ends what
    ``set_callbacks`` began, also after an error.
    """

    callbacks: Any
    verbose: Any

    def _hooks(
        self,
        epochs: int,
        X: Any,
        y: Any,
        sample_weight: Any,
        snapshot: Callable[[], dict[str, Any]],
        *,
        tasks: bool = True,
    ) -> Hooks:
        """Return what watches a fit that begins, for parameters ``callbacks`` and ``verbose``.

        The arguments are those of `FitTasks`; without ``tasks``, as in `partial_fit`,
        scikit-learn's callbacks are not called.
        """
        called = check_callbacks(self.callbacks)
        known = tasks and hasattr(self, "_init_callback_context")
        return Hooks(
            called,
            bar=self.verbose is True or self.verbose == 1,
            tasks=FitTasks(self, epochs, X, y, sample_weight, snapshot) if known else None,
        )
