"""The epoch loop: slices of compiled training, schedules, early stopping, callbacks, history.

One kernel call trains on a slice of about 100 ms at the most, so an interrupt, a callback or
a progress bar gets its turn, and the parameters are whole whenever Python sees them.
"""

import math
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fastnn.errors import DivergenceWarning
from fastnn.finite import LastFinite, all_finite
from fastnn.inputs import check_finite
from fastnn.kernels import optimizers
from fastnn.kernels.jit import CompileTimer
from fastnn.kernels.minibatch import score_
from fastnn.kernels.plan import Plan, Rows, Rule, Targets
from fastnn.kernels.sgd import train_samples_
from fastnn.memory import aligned_empty
from fastnn.orders import NATURAL_ORDER, STORED, Ahead, Order, draw_order, part_of
from fastnn.parallel import (
    Team,
    checkpoint,
    count_parts,
    count_shares,
    is_shared,
    team_of,
    train_batches,
)
from fastnn.replicas import BLOCK_ROWS, Replicas
from fastnn.rules import OptimizerState, make_rule
from fastnn.schedules import Adaptive, Schedule
from fastnn.together import AHEAD, Alone, Shared, Shuffles, Together

_PIECE = 4096  # rows that are scored in one call; the sum of a loss is that of its pieces
_WHOLE_ROWS = 1024  # of a batch that is never taken in parts
_PART_ROWS = 256  # of a batch in several calls, each of which adds to the gradient of all weights
_WORTH = 8  # epochs that pay for laying out calls of several
_SLICE_FLOP = 4e8  # arithmetic of one kernel call: 100 ms at the slowest measured rate


@dataclass
class History:
    """What happened in training, a value per epoch.

    Attributes
    ----------
    loss : list of float
        Mean objective over the epoch's rows, penalties included, each batch before its step;
        of exact per-sample SGD the penalty as it stands after the epoch.
    validation_loss : list of float
        Mean loss of the validation data after the epoch; empty without.
    learning_rate : list of float
        Rate of the epoch.
    seconds : list of float
        Wall time of the epoch, compilation apart.
    compile_seconds : float
        Time spent compiling kernels; 0 where they came from the cache.
    samples : int
        Rows trained on, all epochs together.
    best_epoch : int or None
        Epoch (from 0) whose parameters were restored by early stopping.
    stopped : {"epochs", "early", "callback", "interrupted", "diverged"}
        Why training ended.
    """

    loss: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    learning_rate: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    compile_seconds: float = 0.0
    samples: int = 0
    best_epoch: int | None = None
    stopped: str = "epochs"

    @property
    def samples_per_second(self) -> float:
        """Throughput of training, compilation and validation apart."""
        total = sum(self.seconds)
        return self.samples / total if total > 0 else 0.0


@dataclass
class Progress:
    """What a callback sees.

    A callback is called with it after each epoch and ends the training by returning True.
    If it has a method ``on_slice``, that is called with it after each kernel call.

    Attributes
    ----------
    network : Network
        As it stands; its parameters may be read and written.
    epoch, epochs : int
        Number of the epoch, from 0, and how many there are at the most.
    done, rows : int
        Rows of the epoch trained on so far, and in all.
    loss : float
        Mean objective of the epoch so far.
    history : History
        The epochs that are complete.
    """

    network: Any
    epoch: int
    epochs: int
    done: int
    rows: int
    loss: float
    history: History


def slice_rows(
    plan: Plan, n_parameters: int, rows: Rows | None = None, *, shared: bool = False
) -> int:
    """Return how many rows one kernel call may take.

    ``rows`` that are only evaluated, without a step, cost no more than their non-zeros.  Batches
    that threads have ``shared`` are those of wide layers, whose arithmetic is fast.
    """
    units = int(plan.units[-1])
    if rows is not None and rows.indptr.size > 1:
        absent = int(plan.sizes[0]) - rows.data.size / (rows.indptr.size - 1)
        n_parameters -= int(absent * plan.sizes[1])
        units -= int(absent)
    flop = 6 * n_parameters + 100 * units
    return max(1, int(_SLICE_FLOP * (16 if shared else 1) / flop))


def is_linear(rule: Rule, rows: Rows) -> bool:
    """Return whether `train_samples_` makes the steps: linear in weights, velocities, gradient.

    Momentum changes every weight at each step: with CSR rows there is nothing to gain.
    """
    others = rule.l1 or rule.alpha or rule.weight_decay or rule.clip_norm < math.inf
    known = ("sgd",) if rows.indptr.size else ("sgd", "momentum", "nesterov")
    return not others and rule.optimizer in [optimizers.CODES[name] for name in known]


def counts_batches(plan: Plan, rule: Rule, rows: Rows, batch_size: int, team: Team | None) -> bool:
    """Return whether an epoch can tell its batches' losses: of few rows, in one thread."""
    samples = batch_size == 1 and is_linear(rule, rows) and not plan.dropout.any()
    return team is None and batch_size <= _WHOLE_ROWS and not samples


def train_epoch(
    plan: Plan,
    parameters: np.ndarray,
    rows: Rows,
    targets: Targets,
    order: Order,
    n: int,
    batch_size: int,
    rule: Rule,
    rate: float,
    state: OptimizerState,
    on_slice: Callable[[int, float], None] | None = None,
    team: Team | None = None,
    replicas: Replicas | None = None,
    by_batches: list[float] | None = None,
) -> float:
    """Train one epoch over ``n`` rows in ``order``; return the mean objective.

    Batches of one without dropout, with a rule that `is_linear`, run as exact per-sample SGD; with
    every optimiser their steps are in proportion to the row's weight, which a mean would cancel.
    Writes ``parameters`` and ``state``.  Stops early with NaN when the objective is no longer
    finite.  ``replicas`` share the rows of exact per-sample SGD.  ``by_batches`` is given the mean
    loss and the mean penalty of each batch times its number of rows, added up; only where
    `counts_batches`.
    """
    totals = np.zeros(4)
    parts = count_parts(team, batch_size, parameters.size)
    shared = parts > 1 or count_shares(team, plan, rule, batch_size) > 1
    size = slice_rows(plan, parameters.size, shared=shared)
    samples, rule, targets = _kind(plan, parameters, rows, targets, batch_size, rule)
    large = batch_size > max(size, _WHOLE_ROWS)
    if large:
        size = max(size, _PART_ROWS)
    gradient = aligned_empty((parts, 0 if samples else parameters.size), parameters.dtype)
    start = 0
    while start < n:
        checkpoint()
        if samples:
            if replicas is None:
                stop = min(start + size, n)
                numbers, first = part_of(order, start, stop)
                train_samples_(
                    plan, parameters, rows, targets, numbers, start - first, stop - first, rule,
                    rate, state.slots, BLOCK_ROWS, totals,
                )  # fmt: skip
            else:
                stop = start + replicas.rows(n - start, size)
                replicas.train(
                    team, plan, parameters, rows, targets, order, start, stop, rule, rate,
                    state.slots, size, totals,
                )  # fmt: skip
            state.t += stop - start
        else:
            batch_end = min(start - start % batch_size + batch_size, n)
            if large:
                stop = min(start + size, batch_end)
                normaliser = _batch_weight(targets, order, batch_end, batch_size, n, rule)
            else:
                stop = min(start + max(size // batch_size, 1) * batch_size, n)
                normaliser = 0.0
            steps = not large or stop == batch_end
            if large and start % batch_size == 0:
                gradient[:] = 0
            numbers, first = part_of(order, start, stop)
            train_batches(
                team, plan._replace(origin=plan.origin + first), parameters, rows, targets, numbers,
                start - first, stop - first, batch_size, normaliser, rule, rate, gradient,
                state.slots, state.t, steps, totals,
            )  # fmt: skip
            state.t += -(-(stop - start) // batch_size) if steps else 0
        if not math.isfinite(totals[0]):
            return math.nan
        start = stop
        if on_slice is not None:
            on_slice(start, float(totals[0] / totals[1]))
    if by_batches is not None:
        by_batches[:] = totals[2:].tolist()
    if samples and rule.l2:
        totals[0] += n * rule.l2 / 2 * _squared_norm(plan, parameters)
    return float(totals[0] / totals[1])


def _kind(
    plan: Plan, parameters: np.ndarray, rows: Rows, targets: Targets, batch_size: int, rule: Rule
) -> tuple[bool, Rule, Targets]:
    """Return whether the steps are those of exact per-sample SGD, its rule and its targets."""
    if batch_size == 1:
        rule = rule._replace(mean=False)
    samples = batch_size == 1 and is_linear(rule, rows) and not plan.dropout.any()
    if samples and targets.numbers.size:
        targets = Targets(targets.numbers.astype(parameters.dtype)[:, None], targets.weight)
    return samples, rule, targets


def several_epochs(
    plan: Plan,
    parameters: np.ndarray,
    rows: Rows,
    targets: Targets,
    order: np.ndarray,
    shuffles: Shuffles | None,
    n: int,
    batch_size: int,
    rule: Rule,
    finite: LastFinite,
    epochs: int,
    team: Team | None,
) -> Together | None:
    """Return what trains up to ``epochs`` epochs in a call; None where that would be but one.

    Such a call is a slice at the most, half of one where an epoch's arithmetic is not all it does.
    """
    samples, rule, targets = _kind(plan, parameters, rows, targets, batch_size, rule)
    shared = not samples and is_shared(team, plan, rule, n, batch_size)
    size = slice_rows(plan, parameters.size, shared=shared)
    most = min(min(size if shared else size // 2, AHEAD) // n, epochs)
    if most < 2 or not finite.keeps_each(n):
        return None
    if samples and rule.l2:  # the penalty is that after each epoch
        return None
    data = most, plan, parameters, rows, targets, n, batch_size, rule, order, shuffles, finite
    if team is not None and shared:
        return Shared(team, *data)
    if count_parts(team, batch_size, parameters.size) > 1:
        return None
    return Alone(*data, BLOCK_ROWS if samples else None)


def _squared_norm(plan: Plan, parameters: np.ndarray) -> float:
    """Return ``|W|^2`` over the weights of all layers."""
    layers = zip(plan.weights, plan.biases, strict=True)
    return sum(float(np.square(parameters[w:b], dtype=np.float64).sum()) for w, b in layers)


def _batch_weight(
    targets: Targets, order: Order, stop: int, batch_size: int, n: int, rule: Rule
) -> float:
    """Return what the gradient of the batch that ends at ``stop`` is divided by."""
    start = (stop - 1) // batch_size * batch_size
    if not rule.mean:
        return 1.0
    if targets.weight.size == 0:
        return float(stop - start)
    total = 0.0
    for low in range(start, stop, STORED):
        high = min(low + STORED, stop)
        numbers, first = part_of(order, low, high)
        found = numbers[low - first : high - first] if numbers.size else slice(low, high)
        total += float(targets.weight[found].sum(dtype=np.float64))
    return total


def sum_gradients(
    plan: Plan, parameters: np.ndarray, rows: Rows, targets: Targets, n: int, divisor: float
) -> np.ndarray:
    """Return the gradient of ``sum_i w_i J_i / divisor`` over ``n`` rows, without penalties."""
    return loss_and_gradients(plan, parameters, rows, targets, n, divisor)[1]


def loss_and_gradients(
    plan: Plan,
    parameters: np.ndarray,
    rows: Rows,
    targets: Targets,
    n: int,
    divisor: float,
    team: Team | None = None,
) -> tuple[float, np.ndarray]:
    """Return ``sum_i w_i J_i / divisor`` over ``n`` rows, without penalties, and its gradient."""
    size = slice_rows(plan, parameters.size, rows)
    parts = count_parts(team, min(size, n), parameters.size)
    gradient = np.zeros((parts, parameters.size), parameters.dtype)
    totals = np.zeros(2)
    none = np.zeros((0, 0), parameters.dtype)
    rule = make_rule()
    for start in range(0, n, size):
        stop = min(start + size, n)
        train_batches(
            team, plan, parameters, rows, targets, NATURAL_ORDER, start, stop, size, divisor,
            rule, 0.0, gradient, none, 0, False, totals,
        )  # fmt: skip
    return float(totals[0] / divisor), gradient.sum(axis=0)


def score(
    plan: Plan,
    parameters: np.ndarray,
    rows: Rows,
    n: int,
    *,
    order: np.ndarray = NATURAL_ORDER,
    targets: Targets | None = None,
    linked: bool = False,
    team: Team | None = None,
) -> tuple[np.ndarray, float]:
    """Run ``n`` rows forward, in ``order``, piece by piece.

    Returns
    -------
    out : array (n, n_outputs)
        Scores, or predictions after the link if ``linked``; no rows where ``targets`` are given.
    loss : float
        Weighted mean loss of the ``targets``, without penalties; 0 without them.

    Raises
    ------
    ValueError
        Dense rows hold NaN or inf.
    """
    dtype = parameters.dtype
    out = np.empty((0 if targets is not None else n, int(plan.sizes[-1])), dtype)
    if targets is None:
        targets = Targets(np.empty((0, 1), dtype), np.empty(0, dtype))
    size = min(slice_rows(plan, parameters.size, rows), _PIECE)
    totals = np.zeros((-(-n // size), 2))

    def piece(i: int) -> None:
        start, stop = i * size, min((i + 1) * size, n)
        if not score_(plan, parameters, rows, targets, order, start, stop, linked, out, totals[i]):
            check_finite(rows.dense, "X")

    if team is None or len(totals) == 1:
        for i in range(len(totals)):
            piece(i)
    else:
        team.share(piece, len(totals))
    loss, weight = totals.sum(axis=0)
    return out, float(loss / weight) if weight else 0.0


@dataclass
class Stopping:
    """When to end training before its last epoch, and which parameters to keep.

    Attributes
    ----------
    early : bool
        Stop once the monitored loss has not improved by ``tol`` for ``n_iter_no_change``
        epochs in a row, and restore the parameters of the best epoch.
    tol : float
        Least improvement that counts.
    n_iter_no_change : int
        Epochs of patience.
    """

    early: bool = False
    tol: float = 1e-4
    n_iter_no_change: int = 10


def train(
    network: Any,
    rows: Rows,
    targets: Targets,
    n: int,
    rule: Rule,
    *,
    state: OptimizerState,
    batch_size: int,
    epochs: int,
    learning_rate: float,
    schedule: Schedule,
    warmup_epochs: int = 0,
    rng: np.random.Generator | None = None,
    validation: tuple[Rows, Targets, int] | None = None,
    stopping: Stopping,
    callbacks: Sequence[Callable[[Progress], object]] = (),
    plan: Plan | None = None,
    threads: int | None = None,
    replicas: int = 1,
) -> History:
    """Train ``network`` for up to ``epochs`` epochs.

    Rows of weight 0 are left out.  ``rng`` draws the order of each epoch; None keeps the rows'
    own.  ``plan`` is the network's with the rates and the seed of dropout; None for none.  Several
    ``replicas`` need exact per-sample SGD.  Ctrl-C and divergence warn and keep the last whole,
    finite parameters, as of `LastFinite`.

    Returns
    -------
    History
    """
    history = History()
    parameters = network.parameters
    plan = network.plan if plan is None else plan
    present = _present(targets, n)
    count = n if present is None else present.size
    watch = _Watch(stopping, schedule, learning_rate)
    finite = LastFinite(parameters, state)
    copies = None if replicas == 1 else Replicas(replicas, parameters, state.slots)
    hooks = [callback.on_slice for callback in callbacks if hasattr(callback, "on_slice")]
    progress = Progress(network, 0, epochs, 0, count, math.nan, history)

    def on_slice(done: int, loss: float) -> None:
        progress.done, progress.loss = done, loss
        for hook in hooks:
            hook(progress)

    with CompileTimer() as timer, team_of(threads) as team:
        several = None
        seen = callbacks or validation or stopping.early or watch.schedule or copies
        if not seen and (epochs >= _WORTH or team is not None):
            several = several_epochs(
                plan, parameters, rows, targets, NATURAL_ORDER if present is None else present,
                None if rng is None else Ahead(rng, present, n), count, batch_size, rule, finite,
                epochs, team,
            )  # fmt: skip
        try:
            epoch = -1
            while (epoch := epoch + 1) < epochs:
                progress.epoch = epoch
                if several is not None:
                    checkpoint()
                    rates = [
                        _rate(schedule, watch, learning_rate, e, epochs, warmup_epochs)
                        for e in range(epoch, min(epoch + several.most, epochs))
                    ]
                    begin, compiled = time.perf_counter(), timer.seconds
                    totals = several.train(rates, history.samples)
                    seconds = time.perf_counter() - begin - (timer.seconds - compiled)
                    if totals is None:
                        several = None
                    else:
                        history.samples += len(rates) * count
                        history.loss += (totals[:, 0] / totals[:, 1]).tolist()
                        history.learning_rate += rates
                        history.seconds += [seconds / len(rates)] * len(rates)
                        epoch += len(rates) - 1
                        continue
                rate = _rate(schedule, watch, learning_rate, epoch, epochs, warmup_epochs)
                order = draw_order(rng, present, n)
                begin, compiled = time.perf_counter(), timer.seconds
                loss = train_epoch(
                    plan._replace(origin=history.samples), parameters, rows, targets, order,
                    count, batch_size, rule, rate, state, on_slice, team, copies,
                )  # fmt: skip
                seconds = time.perf_counter() - begin - (timer.seconds - compiled)
                if not (math.isfinite(loss) and all_finite(parameters)):
                    finite.restore()
                    history.stopped = "diverged"
                    _warn_divergence(epoch, rate, loss)
                    break
                finite.keep(count)
                history.samples += count
                history.loss.append(loss)
                history.learning_rate.append(rate)
                history.seconds.append(seconds)
                monitored = loss
                if validation is not None:
                    rows_v, targets_v, n_v = validation
                    monitored = score(
                        network.plan, parameters, rows_v, n_v, targets=targets_v, team=team
                    )[1]
                    history.validation_loss.append(monitored)
                progress.done, progress.loss = count, loss
                stops = [bool(callback(progress)) for callback in callbacks]
                if watch.ends(monitored, epoch, parameters):
                    history.stopped = "early"
                    break
                if any(stops):
                    history.stopped = "callback"
                    break
        except KeyboardInterrupt:
            history.stopped = "interrupted"
            if not all_finite(parameters):
                finite.restore()
            warnings.warn("Training interrupted by user.", stacklevel=3)
    history.compile_seconds = timer.seconds
    if stopping.early and watch.best is not None and history.stopped != "diverged":
        parameters[:] = watch.best
        history.best_epoch = watch.best_epoch
    return history


class _Watch:
    """Follows the monitored loss: the best parameters, patience, the adaptive rate."""

    def __init__(self, stopping: Stopping, schedule: Schedule, learning_rate: float) -> None:
        self.stopping = stopping
        self.learning_rate = learning_rate
        self.schedule = schedule if isinstance(schedule, Adaptive) else None
        self.lowest = math.inf
        self.best: np.ndarray | None = None
        self.best_epoch = 0
        self.factor = 1.0
        self._waited = 0
        self._slowed = 0

    def ends(self, loss: float, epoch: int, parameters: np.ndarray) -> bool:
        """Take in an epoch's loss; return whether training should end."""
        improved = loss < self.lowest - self.stopping.tol
        if loss < self.lowest:
            self.lowest = loss
            if self.stopping.early:
                self.best, self.best_epoch = parameters.copy(), epoch
        self._waited = 0 if improved else self._waited + 1
        self._slowed = 0 if improved else self._slowed + 1
        if self.schedule is not None and self._slowed >= self.schedule.patience:
            self.factor *= self.schedule.factor
            self._slowed = 0
            if self.factor * self.learning_rate < self.schedule.minimum:
                return True
        return self.stopping.early and self._waited >= self.stopping.n_iter_no_change


def _rate(
    schedule: Schedule, watch: _Watch, initial: float, epoch: int, epochs: int, warmup: int
) -> float:
    """Return the epoch's learning rate: a linear warm-up, then the schedule."""
    if epoch < warmup:
        return initial * (epoch + 1) / (warmup + 1)
    return watch.factor * schedule.rate(initial, epoch - warmup, epochs - warmup)


def _present(targets: Targets, n: int) -> np.ndarray | None:
    """Return the numbers of the rows whose weight is not 0, or None for all of them."""
    if targets.weight.size == 0 or targets.weight.all():
        return None
    return np.flatnonzero(targets.weight)


def _warn_divergence(epoch: int, rate: float, loss: float) -> None:
    warnings.warn(
        f"Training diverged in epoch {epoch + 1} with learning rate {rate:g}: the loss or a "
        f"parameter is not finite (loss {loss}). The last finite parameters are kept; "
        "lower the learning rate, scale the inputs or set clip_norm.",
        DivergenceWarning,
        stacklevel=4,
    )
