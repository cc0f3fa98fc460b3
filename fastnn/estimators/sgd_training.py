"""The epochs of a linear model's SGD: rates, orders, stopping, messages.

Everything that decides which numbers come out follows scikit-learn 1.9: the order of the rows, the
stopping rule and the messages.  Early stopping alone is deliberately different: scikit-learn
scores weights that lack the scale of the L2 penalty, and under the log loss counts every negative
row as wrong; here the model itself is scored.
"""

import math
import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import joblib
import numpy as np
from sklearn.utils.parallel import Parallel, delayed

from fastnn.estimators.callbacks import Hooks
from fastnn.estimators.sgd_batches import has_batches
from fastnn.kernels import linear, linear_rule
from fastnn.kernels.linear import Model
from fastnn.kernels.linear_losses import CODES, TABLE
from fastnn.kernels.linear_rule import LinearRule
from fastnn.kernels.plan import Rows
from fastnn.parallel import checkpoint
from fastnn.schedules import Adaptive, Schedule
from fastnn.training import History, Progress

#: The intercept's rate on sparse rows: sparse features are seldom non-zero, the intercept is always
#: trained, and would swing.
SPARSE_INTERCEPT_RATE = 0.01
NATURAL_ORDER = np.empty(0, np.int32)
_SLICE_NANOSECONDS = 1e8  # of one kernel call, so that an interrupt is heard


@dataclass
class Parameters:
    """What training of a linear model of k outputs goes on with.

    Attributes
    ----------
    W : array (k, d)
        Weights.
    b : float64 array (k,)
        Intercepts.
    A : array (k, d) or (0, 0)
        Averaged weights; empty where nothing is averaged.
    a : float64 array (k,)
        Averaged intercepts.
    q : array (k, d) or (0, 0)
        L1 penalty charged so far; empty where there is none.
    state : float64 array (k, N_STATE)
        Working numbers; those of outputs that are trained together in the first row.
    """

    W: np.ndarray
    b: np.ndarray
    A: np.ndarray
    a: np.ndarray
    q: np.ndarray
    state: np.ndarray

    @classmethod
    def begun(cls, W: np.ndarray, b: np.ndarray, *, average: bool, truncate: bool) -> "Parameters":
        """Return the parameters of a path that begins at some weights and intercepts."""
        state = np.zeros((b.size, linear.N_STATE))
        state[:, linear.AVERAGE_B] = 1
        none = np.zeros((0, 0), W.dtype)
        averaged = np.zeros_like(W) if average else none
        return cls(W, b, averaged, np.zeros(b.size), np.zeros_like(W) if truncate else none, state)

    def model(self, output: slice) -> Model:
        """Return what a kernel trains: views of some outputs."""
        A, q = (array[output] if array.size else array for array in (self.A, self.q))
        state = self.state[output.start or 0]
        return Model(self.W[output], self.b[output], A, self.a[output], q, state)

    def average(self, outputs: list[slice]) -> np.ndarray:
        """Return the averaged weights; the outputs of each slice are trained together."""
        if not self.state[:, linear.AVERAGE_A].any():
            return self.A
        return np.concatenate([current_average(self.model(output)) for output in outputs])


@dataclass
class Stopping:
    """When training ends.

    Attributes
    ----------
    max_iter : int
        The most epochs.
    tol : float
        The improvement that counts; -inf for any.
    n_iter_no_change : int
        Epochs without it after which training ends.
    held_out : bool array (n,) or None
        Rows that are not trained on.
    judge : callable or None
        ``judge(W, b)`` returns loss and score of the validation rows.
    early : bool
        Whether that score decides, rather than the training objective.
    restore : bool
        Whether the weights of the best score are restored at the end.
    lines : bool
        Whether each epoch is printed.
    cancelled : threading.Event
        Set where the user interrupts; problems that share it are not begun any more.
    """

    max_iter: int
    tol: float
    n_iter_no_change: int
    held_out: np.ndarray | None = None
    judge: Callable[[np.ndarray, np.ndarray], tuple[float, float]] | None = None
    early: bool = False
    restore: bool = False
    lines: bool = False
    cancelled: threading.Event = field(default_factory=threading.Event)

    @property
    def watches_objective(self) -> bool:
        """Whether the sums over the training rows decide, or are printed."""
        return self.lines or (not self.early and self.tol > -math.inf)


@dataclass
class Course:
    """What happened in the training of one problem.

    Attributes
    ----------
    history : History
        Mean loss of the rows, each before its step and without the penalty, of each epoch; loss of
        the validation rows; rates.
    scores : list of float
        Validation scores.
    n_iter : int
        Epochs.
    """

    history: History = field(default_factory=History)
    scores: list[float] = field(default_factory=list)
    n_iter: int = 0


@dataclass
class LinearProgress(Progress):
    """What a callback sees of a linear model; ``network`` is None.

    Of several problems, a class against the rest each, one is trained after the other, and
    ``epoch`` and ``epochs`` count through all.

    Attributes
    ----------
    model : Model or None
        The problem's own weights.
    """

    model: Any = None

    @property
    def coef_(self) -> np.ndarray:
        """The problem's weights as they stand, a copy of shape (k, d)."""
        return self.model.W.copy()

    @property
    def intercept_(self) -> np.ndarray:
        """Its intercepts, a copy."""
        return self.model.b.copy()


def current_average(model: Model) -> np.ndarray:
    """Return the average of the weights of a model in training."""
    a, b = model.state[[linear.AVERAGE_A, linear.AVERAGE_B]].astype(model.W.dtype)
    return (model.A + a * model.W) / b


def make_rule(
    estimator: Any,
    *,
    sparse: bool,
    stopping: Stopping,
    positive: float = 1.0,
    negative: float = 1.0,
    warmup_steps: int = 0,
) -> LinearRule:
    """Return the rule that an estimator's parameters describe.

    Parameters
    ----------
    estimator : SGDClassifier or SGDRegressor
    sparse : bool
        Whether the rows are sparse.
    stopping : Stopping
    positive, negative : float
        Weights of the two classes.
    warmup_steps : int
        Steps in which the rate first rises.
    """
    alpha = float(estimator.alpha)
    schedule = linear_rule.SCHEDULES[schedule_of(estimator)]
    penalty = estimator.penalty
    smoothing = float(getattr(estimator, "label_smoothing", 0.0))
    l1_ratio = {"l1": 1.0, "elasticnet": estimator.l1_ratio}.get(penalty, 0.0)
    # The first rate is the size a weight typically has, |w| = alpha^(-1/4); L. Bottou's rule.
    optimal_init = alpha**-0.75 if schedule == linear_rule.OPTIMAL else 0.0
    passive_aggressive = schedule in (linear_rule.PA1, linear_rule.PA2)
    penalised = penalty is not None and not passive_aggressive
    return LinearRule(
        loss=CODES[estimator.loss],
        epsilon=loss_number(estimator),
        schedule=schedule,
        eta0=float(estimator.eta0),
        power_t=float(estimator.power_t),
        optimal_init=optimal_init,
        alpha=alpha,
        l1_ratio=float(l1_ratio),
        decay=penalty in ("l2", "elasticnet"),
        truncate=penalty in ("l1", "elasticnet"),
        positive_weight=float(positive),
        negative_weight=float(negative),
        fit_intercept=bool(estimator.fit_intercept),
        intercept_rate=SPARSE_INTERCEPT_RATE if sparse and not has_batches(estimator) else 1.0,
        average=float(estimator.average),
        watch_loss=True,
        watch_penalty=stopping.lines or (stopping.watches_objective and penalised),
        clip=math.inf if estimator.clip_norm is None else float(estimator.clip_norm),
        warmup=0.0 if passive_aggressive else float(warmup_steps),
        middle=_middle(estimator, smoothing),
        smoothing=smoothing,
    )


def schedule_of(estimator: Any) -> str:
    """Return which rates the steps have: "optimal" ones are plain SGD's, others stay.

    So does that of an epoch, where ``schedule`` sets it.
    """
    name: str = estimator.learning_rate
    stays = name == "optimal" and estimator.optimizer != "sgd"
    return "constant" if stays or estimator.schedule is not None else name


class Pace:
    """The rates that ``schedule`` gives the epochs, after a warm-up.

    Parameters
    ----------
    schedule : Schedule
    initial : float
        Rate to which the warm-up rises.
    epochs, warmup : int
        Of the fit at the most, and of the warm-up.
    """

    def __init__(self, schedule: Schedule, initial: float, epochs: int, warmup: int) -> None:
        self._schedule, self._initial = schedule, initial
        self._epochs, self._warmup = epochs, warmup
        self._factor = 1.0

    @property
    def patience(self) -> int | None:
        """Epochs without improvement after which the rate falls; None where it does not."""
        return self._schedule.patience if isinstance(self._schedule, Adaptive) else None

    def rate(self, epoch: int) -> float:
        """Return the rate of an epoch, from 0."""
        after = max(epoch - self._warmup, 0)
        epochs = self._epochs - self._warmup
        return self._factor * self._schedule.rate(self._initial, after, epochs)

    def falls(self) -> bool:
        """Lower the rate; return whether it is still large enough to go on."""
        if not isinstance(self._schedule, Adaptive):
            return False
        self._factor *= self._schedule.factor
        return self._factor * self._initial >= self._schedule.minimum


def loss_number(estimator: Any) -> float:
    """Return the number that the loss takes: its own ``epsilon``, or the quantile."""
    if estimator.loss != "quantile":
        return float(estimator.epsilon)
    given = estimator.loss_parameter
    return 0.5 if given is None else float(given)


def _middle(estimator: Any, smoothing: float) -> float:
    """Return the number between the targets of two classes."""
    labels = TABLE[estimator.loss].labels
    if labels is None:
        return 0.0
    middle = sum(labels) / 2
    if estimator.loss != "log_loss" or smoothing == 0:
        return middle
    return middle * (1 - smoothing) + smoothing / len(estimator.classes_)


def begin(model: Model, rule: LinearRule, t: float) -> None:
    """Write the numbers with which a call of fit starts."""
    state = model.state
    state[linear.SQUARES :] = 0
    state[linear.T] = t
    state[linear.ETA] = rule.eta0
    if rule.watch_penalty:
        state[linear.SQUARES] = np.vdot(model.W, model.W)
        state[linear.ABSOLUTES] = np.abs(model.W).sum()


def train(
    kernel: Callable,
    rule: LinearRule,
    model: Model,
    rows: Rows,
    y: np.ndarray,
    weight: np.ndarray,
    *,
    t: float,
    seed: int | None,
    stopping: Stopping,
    hooks: Hooks,
    problem: int = 0,
    problems: int = 1,
    mass: float | None = None,
    pace: Pace | None = None,
) -> Course:
    """Train until the rule says stop; return what happened.

    Parameters
    ----------
    kernel : callable
        ``linear.train_rows_``, ``linear_softmax.train_softmax_rows_`` or a `BatchKernel`.
    rule, model, rows, y, weight
        Its arguments; ``model`` is written.
    t : float
        Number of the first step, from 1.
    seed : int or None
        Of the order of the rows; None for the natural one.
    stopping : Stopping
        When to end.
    hooks : Hooks
        What watches.
    problem, problems : int
        Number of this one, and how many there are.
    mass : float, optional
        What the sum of an epoch's losses is divided by; by default the number of its rows.
    pace : Pace, optional
        Rates of the epochs, in the place of the rule's ``eta0``.

    Raises
    ------
    ValueError
        A weight is no longer finite.
    """
    n = y.shape[0]
    begin(model, rule, t)
    state = model.state
    shuffle = None
    order = spare = NATURAL_ORDER
    if seed is not None:
        shuffle = np.empty(n, np.int32)
        linear.permutation_(shuffle, seed)
        order, spare = shuffle.copy(), np.empty_like(shuffle)
    n_train = n if stopping.held_out is None else n - int(np.count_nonzero(stopping.held_out))
    mass = n_train if mass is None else mass
    size = _slice_rows(rows, model.W.shape[0])
    course = Course()
    first = problem * stopping.max_iter
    progress = LinearProgress(
        None, first, problems * stopping.max_iter, 0, n_train, math.nan, course.history, model
    )
    best, stale, kept = -math.inf, 0, None
    started = time.perf_counter()
    try:
        for epoch in range(1, 1 if stopping.cancelled.is_set() else stopping.max_iter + 1):
            if stopping.lines:
                print(f"-- Epoch {epoch}")
            if shuffle is not None and epoch > 1:
                linear.compose_(order, shuffle, spare)  # the same shuffle again
                order, spare = spare, order
            visited = _without(stopping.held_out, order)
            state[linear.LOSS_SUM] = state[linear.PENALTY_SUM] = 0
            if pace is not None:
                state[linear.ETA] = pace.rate(epoch - 1)
            progress.epoch = first + epoch - 1
            hooks.epoch_begins()
            for start in range(0, n_train, size):
                checkpoint()
                stop = min(start + size, n_train)
                kernel(rule, model, rows, y, weight, visited, start, stop)
                if hooks.watches_slices:
                    progress.done = stop
                    progress.loss = state[linear.LOSS_SUM] / (mass * stop / n_train)
                    hooks.on_slice(progress)
            if not _is_finite(model):
                raise ValueError(
                    f"Floating-point under-/overflow occurred at epoch #{epoch}. Scaling input "
                    "data with StandardScaler or MinMaxScaler might help."
                )
            course.n_iter = epoch
            penalty = _penalty(kernel, rule, model, n_train) if rule.watch_penalty else 0.0
            loss = state[linear.LOSS_SUM] / mass
            course.history.loss.append(loss)
            course.history.learning_rate.append(float(state[linear.RATE]))
            # What should grow: the score, or the objective's negative.
            merit = -(loss + penalty)
            if stopping.judge is not None:
                held_loss, score = stopping.judge(model.W.copy(), model.b)
                course.history.validation_loss.append(held_loss)
                if stopping.early:
                    course.scores.append(score)
                    merit = score
                    if stopping.restore and score > best:
                        kept = [array.copy() for array in model]
            if stopping.lines:
                _print_epoch(rule, model, state[linear.T] - t, loss, penalty, stopping, merit)
                print(f"Total training time: {time.perf_counter() - started:.2f} seconds.")
            worse = merit < best + stopping.tol
            stale = stale + 1 if stopping.tol > -math.inf and worse else 0
            best = max(best, merit)
            progress.done, progress.loss = n_train, loss
            if hooks.epoch_ends(progress):
                break
            patience = stopping.n_iter_no_change
            if pace is not None and pace.patience is not None:
                patience = pace.patience
            if stale >= patience:
                if rule.schedule == linear_rule.ADAPTIVE and state[linear.ETA] > 1e-6:
                    state[linear.ETA] /= 5
                    stale = 0
                elif pace is not None and pace.falls():
                    stale = 0
                else:
                    if stopping.lines:
                        seconds = time.perf_counter() - started
                        print(f"Convergence after {epoch} epochs took {seconds:.2f} seconds")
                    break
    except KeyboardInterrupt:
        stopping.cancelled.set()
        warnings.warn("Training interrupted by user.", stacklevel=2)
    if kept is not None:
        for array, value in zip(model, kept, strict=True):
            array[:] = value
    return course


def in_parallel(
    work: Callable[..., Course], problems: list[tuple], n_jobs: int | None, verbose: int
) -> list[Course]:
    """Return ``work(*problem)`` of each, by threads; joblib alone takes 0.2 ms, so not by one."""
    if verbose < 2 and joblib.effective_n_jobs(n_jobs) == 1:
        return [work(*problem) for problem in problems]
    parallel = Parallel(n_jobs=n_jobs, verbose=verbose if verbose >= 2 else 0, require="sharedmem")
    return list(parallel(delayed(work)(*problem) for problem in problems))


def _is_finite(model: Model) -> bool:
    """Return whether all weights are finite, which their squares mostly settle, and sooner."""
    W, b = model.W, model.b
    squares = math.isfinite(np.vdot(W, W)) and math.isfinite(np.vdot(b, b))
    return squares or bool(np.isfinite(W).all() and np.isfinite(b).all())


def _penalty(kernel: Callable, rule: LinearRule, model: Model, n: int) -> float:
    """Return the penalty's part of the objective of an epoch of ``n`` rows.

    For one output it is the mean over the rows as scikit-learn has it, else as it stands.
    """
    if not (rule.decay or rule.truncate) or rule.schedule in (linear_rule.PA1, linear_rule.PA2):
        return 0.0
    if kernel is linear.train_rows_:
        return model.state[linear.PENALTY_SUM] / n
    squares, absolutes = float(np.vdot(model.W, model.W)), float(np.abs(model.W).sum())
    model.state[linear.SQUARES] = squares
    return rule.alpha * ((1 - rule.l1_ratio) * 0.5 * squares + rule.l1_ratio * absolutes)


def _slice_rows(rows: Rows, n_outputs: int) -> int:
    """Return how many rows one kernel call may take."""
    if rows.indptr.size:
        entries = rows.data.size / max(rows.indptr.size - 1, 1)
    else:
        entries = rows.dense.shape[1]
    return max(1, int(_SLICE_NANOSECONDS / (500 + 8 * entries * n_outputs)))


def _without(held_out: np.ndarray | None, order: np.ndarray) -> np.ndarray:
    """Return the order without the rows held out."""
    if held_out is None:
        return order
    if order.size == 0:
        return np.flatnonzero(~held_out).astype(np.int32)
    return order[~held_out[order]]


def _print_epoch(
    rule: LinearRule,
    model: Model,
    steps: float,
    loss: float,
    penalty: float,
    stopping: Stopping,
    merit: float,
) -> None:
    """Print an epoch as scikit-learn does."""
    norm = math.sqrt(max(model.state[linear.SQUARES], 0.0))
    line = (
        f"Norm: {norm:.2f}, NNZs: {np.count_nonzero(model.W)}, Bias: {model.b[0]:.6f}, "
        f"T: {int(steps)}, Avg. loss: {loss:f}, Objective: {loss + penalty:f}"
    )
    if stopping.early:
        line += f", Validation score: {merit:f}"
    print(line)
