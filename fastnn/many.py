"""`fit_many`: train many small models side by side."""

import itertools
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import numpy as np

from fastnn.parallel import count_threads, stoppable

#: Seconds of an epoch below which threads only wait for Python's lock: one goes on.
_SHORT = 2e-4


def fit_many(
    models: Sequence[Any],
    X: Any = None,
    y: Any = None,
    *,
    each: Sequence[Mapping[str, Any]] | None = None,
    n_jobs: int | None = -1,
    **options: Any,
) -> list[Any]:
    """Fit models side by side, a thread for each core: seeds, folds, a grid of parameters.

    Every model comes out as from a ``fit`` of its own, to the bit.

    Parameters
    ----------
    models : sequence of Network or estimator
        What has a method ``fit(X, y, **options)``.  No two may share a random generator.
    X, y : array-like, optional
        For all models; not copied for each.
    each : sequence of dict, optional
        Arguments of each model's ``fit``, over those given for all; "X" and "y" too.  Folds
        need no copies of their rows: a ``sample_weight`` of 0 leaves a row out.
    n_jobs : int, optional
        How many train at a time: -1 is all cores, None one.  It is one in the end where epochs
        take less than 0.2 ms, most of which is not spent in kernels.
    **options
        Further arguments of every ``fit``.

    Returns
    -------
    list
        What each ``fit`` returns: a `History` of a `Network`, the estimator itself of others.

    Raises
    ------
    ValueError, TypeError
        Bad arguments.  The first error of a ``fit`` ends all others; the message or a note on
        the error says whose it is.
    KeyboardInterrupt
        After an interrupt, when those in training have stopped; they keep what they learned.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn import Network, fit_many
    >>> X = np.linspace(-1, 1, 32).reshape(-1, 1)
    >>> nets = [Network([1, 8, 1], random_state=seed) for seed in range(4)]
    >>> histories = fit_many(nets, X, X**2, epochs=50, learning_rate=0.05)
    >>> best = min(range(4), key=lambda i: histories[i].loss[-1])
    """
    threads = count_threads(n_jobs) or 1
    models = list(models)
    arguments = [
        _check({"X": X, "y": y, **options, **own}, i)
        for i, own in enumerate(_each(each, len(models)))
    ]
    _check_apart(models)
    stop = threading.Event()
    numbers = itertools.count()  # its next() is indivisible
    results: list[Any] = [None] * len(models)
    failed: list[tuple[int, BaseException]] = []

    def work(worker: int) -> None:
        with stoppable(stop):
            while not stop.is_set() and (i := next(numbers)) < len(models):
                begin = time.perf_counter()
                try:
                    results[i] = models[i].fit(**arguments[i])
                except BaseException as error:
                    if not stop.is_set():
                        failed.append((i, error))
                        stop.set()
                    return
                if worker > 0 and time.perf_counter() - begin < _SHORT * _epochs(results[i]):
                    return

    with ThreadPoolExecutor(threads, thread_name_prefix="fastnn") as pool:
        try:
            wait([pool.submit(work, worker) for worker in range(min(threads, len(models)))])
        except BaseException:
            stop.set()
            raise
    if failed:
        _raise(failed[0][1], failed[0][0], models[failed[0][0]])
    return results


def _epochs(fitted: Any) -> int:
    """Return how many epochs a model was trained."""
    if hasattr(fitted, "loss") and not isinstance(fitted.loss, str):
        return len(fitted.loss)
    return int(np.max(getattr(fitted, "n_iter_", 1)))


def _each(each: Any, n: int) -> list[Mapping[str, Any]]:
    """Return the own arguments of each of ``n`` models."""
    if each is None:
        return [{}] * n
    found = list(each)
    if len(found) != n:
        raise ValueError(f"each must have one dict per model, {n}, got {len(found)}")
    for i, own in enumerate(found):
        if not isinstance(own, Mapping):
            raise TypeError(f"each[{i}] must be a dict of arguments of fit, got {own!r}")
    return found


def _check(given: dict[str, Any], i: int) -> dict[str, Any]:
    if given["X"] is None:
        raise ValueError(f"models[{i}] has no X; give it for all models or in each[{i}]")
    return given


def _check_apart(models: list[Any]) -> None:
    """Raise where a model, or a generator, would be used by two threads at once."""
    seen: dict[int, int] = {}
    for i, model in enumerate(models):
        if not callable(getattr(model, "fit", None)):
            raise TypeError(f"models[{i}] has no method fit: {model!r}")
        generators = [getattr(model, name, None) for name in ("random_state", "_rng")]
        held = [(model, "are one object")]
        held += [(rng, "share a random generator") for rng in generators if hasattr(rng, "shuffle")]
        for thing, what in held:
            if id(thing) in seen:
                raise ValueError(f"models[{seen[id(thing)]}] and models[{i}] {what}")
            seen[id(thing)] = i


def _raise(error: BaseException, i: int, model: Any) -> None:
    """Raise the error of a model's fit under the model's name."""
    if type(error) in (ValueError, TypeError):
        raise type(error)(f"models[{i}]: {error}") from error
    error.add_note(f"in the fit of models[{i}], {model!r}")
    raise error
