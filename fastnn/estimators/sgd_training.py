"""The epochs of a linear model's SGD: rates, orders, stopping, messages.

Everything that decides which numbers come out follows scikit-learn 1.9: the order of the rows, the
stopping rule and the messages.  Early stopping alone is deliberately different: scikit-learn
scores weights that lack the scale of the L2 penalty, and under the log loss counts every negative
row as wrong; here the model itself is scored.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastnn.kernels import linear
from fastnn.kernels.linear import LinearRule, Model
from fastnn.kernels.linear_losses import CODES
from fastnn.kernels.plan import Rows

#: The intercept's rate on sparse rows: sparse features are seldom non-zero, the intercept is always
#: trained, and would swing.
SPARSE_INTERCEPT_RATE = 0.01
NATURAL_ORDER = np.empty(0, np.int32)
_SLICE_NANOSECONDS = 1e8  # of one kernel call, so that an interrupt is heard


@dataclass
class Parameters:
    """The weights of a linear model of k outputs, plain and averaged.

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
    """

    W: np.ndarray
    b: np.ndarray
    A: np.ndarray
    a: np.ndarray

    def model(self, output: slice, truncate: bool) -> Model:
        """Return what a kernel trains: views of some outputs, and fresh working numbers."""
        W = self.W[output]
        q = np.zeros_like(W) if truncate else np.empty((0, 0), W.dtype)
        A = self.A[output] if self.A.size else self.A
        return Model(W, self.b[output], A, self.a[output], q, np.zeros(linear.N_STATE))


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
    score : callable or None
        ``score(W, b)`` on the rows held out; without it the training objective decides.
    verbose : bool
        Whether each epoch is printed.
    """

    max_iter: int
    tol: float
    n_iter_no_change: int
    held_out: np.ndarray | None = None
    score: Callable[[np.ndarray, np.ndarray], float] | None = None
    verbose: bool = False

    @property
    def watches_objective(self) -> bool:
        """Whether the sums over the training rows are needed."""
        return self.verbose or (self.score is None and self.tol > -math.inf)


def make_rule(
    estimator: Any,
    *,
    sparse: bool,
    stopping: Stopping,
    positive: float = 1.0,
    negative: float = 1.0,
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
    """
    alpha = float(estimator.alpha)
    schedule = linear.SCHEDULES[estimator.learning_rate]
    penalty = estimator.penalty
    l1_ratio = {"l1": 1.0, "elasticnet": estimator.l1_ratio}.get(penalty, 0.0)
    # The first rate is the size a weight typically has, |w| = alpha^(-1/4); L. Bottou's rule.
    optimal_init = alpha**-0.75 if schedule == linear.OPTIMAL else 0.0
    passive_aggressive = schedule in (linear.PA1, linear.PA2)
    penalised = penalty is not None and not passive_aggressive
    return LinearRule(
        loss=CODES[estimator.loss],
        epsilon=float(estimator.epsilon),
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
        intercept_rate=SPARSE_INTERCEPT_RATE if sparse else 1.0,
        average=float(estimator.average),
        watch_loss=stopping.watches_objective,
        watch_penalty=stopping.verbose or (stopping.watches_objective and penalised),
    )


def begin(model: Model, rule: LinearRule, t: float) -> None:
    """Write the numbers with which a call of fit starts."""
    state = model.state
    state[:] = 0
    state[linear.T] = t
    state[linear.ETA] = rule.eta0
    state[linear.SCALE] = 1
    state[linear.AVERAGE_B] = 1
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
) -> int:
    """Train until the rule says stop; return the number of epochs.

    Parameters
    ----------
    kernel : callable
        ``linear.train_rows_`` or ``linear.train_softmax_rows_``.
    rule, model, rows, y, weight
        Its arguments; ``model`` is written.
    t : float
        Number of the first step, from 1.
    seed : int or None
        Of the order of the rows; None for the natural one.
    stopping : Stopping
        When to end.

    Raises
    ------
    ValueError
        A weight is no longer finite.
    """
    n = y.shape[0]
    begin(model, rule, t)
    state = model.state
    shuffle = None
    order = NATURAL_ORDER
    if seed is not None:
        shuffle = np.empty(n, np.int32)
        linear.permutation_(shuffle, seed)
        order = shuffle
    n_train = n if stopping.held_out is None else n - int(np.count_nonzero(stopping.held_out))
    size = _slice_rows(rows, model.W.shape[0])
    best, stale = -math.inf, 0
    started = time.perf_counter()
    epoch = 0
    try:
        for epoch in range(1, stopping.max_iter + 1):
            if stopping.verbose:
                print(f"-- Epoch {epoch}")
            if shuffle is not None and epoch > 1:
                order = order[shuffle]  # the same shuffle again, of the order so far
            visited = _without(stopping.held_out, order)
            state[linear.LOSS_SUM] = state[linear.PENALTY_SUM] = 0
            for start in range(0, n_train, size):
                kernel(rule, model, rows, y, weight, visited, start, min(start + size, n_train))
            if not (np.isfinite(model.b).all() and np.isfinite(model.W).all()):
                raise ValueError(
                    f"Floating-point under-/overflow occurred at epoch #{epoch}. Scaling input "
                    "data with StandardScaler or MinMaxScaler might help."
                )
            # What should grow: the score, or the objective's negative.
            if stopping.score is not None:
                merit = stopping.score(model.W * state[linear.SCALE], model.b)
                enough = best + stopping.tol
            else:
                penalty = state[linear.PENALTY_SUM] if _penalised(rule) else 0.0
                merit = -(state[linear.LOSS_SUM] + penalty) / n_train
                enough = best + stopping.tol
            if stopping.verbose:
                _print_epoch(rule, model, state[linear.T] - t, n_train, merit, stopping, started)
            stale = stale + 1 if stopping.tol > -math.inf and merit < enough else 0
            best = max(best, merit)
            if stale >= stopping.n_iter_no_change:
                if rule.schedule == linear.ADAPTIVE and state[linear.ETA] > 1e-6:
                    state[linear.ETA] /= 5
                    stale = 0
                else:
                    if stopping.verbose:
                        seconds = time.perf_counter() - started
                        print(f"Convergence after {epoch} epochs took {seconds:.2f} seconds")
                    break
    finally:
        linear.finish_(model)
    return epoch


def _penalised(rule: LinearRule) -> bool:
    return (rule.decay or rule.truncate) and rule.schedule not in (linear.PA1, linear.PA2)


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
    n_train: int,
    merit: float,
    stopping: Stopping,
    started: float,
) -> None:
    """Print an epoch as scikit-learn does."""
    state = model.state
    loss = state[linear.LOSS_SUM] / n_train
    penalty = state[linear.PENALTY_SUM] / n_train if _penalised(rule) else 0.0
    line = (
        f"Norm: {math.sqrt(state[linear.SQUARES]):.2f}, NNZs: {np.count_nonzero(model.W)}, "
        f"Bias: {model.b[0]:.6f}, T: {int(steps)}, Avg. loss: {loss:f}, "
        f"Objective: {loss + penalty:f}"
    )
    if stopping.score is not None:
        line += f", Validation score: {merit:f}"
    print(line)
    print(f"Total training time: {time.perf_counter() - started:.2f} seconds.")
