"""How `LogisticRegression` is fitted: L-BFGS, SAGA and gradient descent on one network.

All minimise ``sum_i w_i J_i + l2/2 |W|^2 + l1 |W|_1`` over the weights and biases of a `Network`
without hidden layers; L-BFGS and gradient descent the same divided by ``sum_i w_i``.
"""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.extmath import row_norms

from fastnn.estimators import lbfgs
from fastnn.estimators.callbacks import Hooks
from fastnn.inputs import as_rows
from fastnn.kernels.plan import Targets
from fastnn.kernels.saga import N_STATE, SCALE, WORD, SagaModel, SagaRule, saga_dense_, saga_sparse_
from fastnn.network import Network
from fastnn.training import History, Progress, loss_and_gradients

ADVICE = "Or scale the features, for example with StandardScaler."
NON_FINITE = (
    "Floating-point under-/overflow occurred at epoch #{}. Scaling input data with StandardScaler "
    "or MinMaxScaler might help."
)
_SLICE_NANOSECONDS = 1e8  # of one kernel call, so that an interrupt is heard
_POWER_STEPS = 10


@dataclass
class Problem:
    """What is minimised, and when to stop.

    Attributes
    ----------
    network : Network
        Of one layer; its parameters are where to begin, and are written.
    X : array or CSR matrix
        All rows, in the network's precision.
    targets : Targets
    l2, l1 : float
        Factors of the penalties.
    fit_intercept : bool
        Whether the biases are trained; they are 0 otherwise.
    max_iter : int
        The most iterations or epochs.
    tol : float
        Of the solver's own criterion.
    verbose : int
        2 prints a line per iteration.
    hooks : Hooks
        What watches the iterations.
    """

    network: Network
    X: Any
    targets: Targets
    l2: float
    l1: float
    fit_intercept: bool
    max_iter: int
    tol: float
    verbose: int = 0
    hooks: Hooks = field(default_factory=Hooks)

    def __post_init__(self) -> None:
        weight = self.targets.weight
        self.rows = as_rows(self.X, self.network.dtype)
        self.n = n = self.X.shape[0]
        self.made = 0
        self.progress = Progress(self.network, 0, self.max_iter, n, n, math.nan, History())
        self.total = float(weight.sum(dtype=np.float64)) if weight.size else float(self.n)

    def objective(self, point: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the mean objective at a float64 vector of parameters, and its gradient.

        Without the L1 penalty, whose gradient does not exist.
        """
        network = self.network
        network.parameters[:] = point
        loss, found = loss_and_gradients(
            network.plan, network.parameters, self.rows, self.targets, self.n, self.total
        )
        gradient = found.astype(np.float64)
        bias = int(network.plan.biases[0])
        decay = self.l2 / self.total
        if decay:
            W = point[:bias]
            gradient[:bias] += decay * W
            loss += 0.5 * decay * float(W @ W)
        if not self.fit_intercept:
            gradient[bias:] = 0
        return loss, gradient

    def begins(self) -> None:
        """Say that the first iteration begins."""
        self.hooks.epoch_begins()

    def iterated(self, loss: Callable[[], float]) -> bool:
        """Take in an iteration, ``loss()`` being the mean objective; return whether to stop."""
        progress = self.progress
        progress.epoch, self.made = self.made, self.made + 1
        if self.verbose >= 2 or self.hooks.watches_epochs:
            progress.loss = loss()
            progress.history.loss.append(progress.loss)
        if self.verbose >= 2:
            print(f"Iteration {self.made}, loss = {progress.loss:.8f}")
        stop = self.hooks.epoch_ends(progress)
        if not stop and self.made < self.max_iter:
            self.hooks.epoch_begins()
        return stop


def fit_lbfgs(problem: Problem) -> int:
    """Minimise by L-BFGS until no derivative exceeds ``tol``; return the iterations."""
    network = problem.network

    def report(point: np.ndarray) -> bool:
        network.parameters[:] = point
        return problem.iterated(lambda: problem.objective(point)[0])

    problem.begins()
    point, _, n_iter = lbfgs.minimize(
        problem.objective,
        network.parameters,
        max_iter=problem.max_iter,
        options={"maxls": 50, "gtol": problem.tol, "ftol": 64 * np.finfo(float).eps},
        advice=ADVICE,
        on_iteration=report,
    )
    network.parameters[:] = point
    return n_iter


def fit_gd(problem: Problem, rate: float | None) -> int:
    """Step against the mean gradient until no derivative exceeds ``tol``; return the steps.

    Parameters
    ----------
    problem : Problem
    rate : float or None
        Of every step; None takes the reciprocal of the objective's largest curvature.
    """
    network = problem.network
    if rate is None:
        rate = 1 / largest_curvature(problem)
    point = network.parameters.astype(np.float64)
    loss = math.nan

    def latest() -> float:
        return loss

    try:
        problem.begins()
        loss, gradient = problem.objective(point)
        while np.abs(gradient).max() > problem.tol:
            if problem.made == problem.max_iter:
                warnings.warn(
                    f"gd failed to converge after {problem.made} iteration(s): a derivative is "
                    f"still {np.abs(gradient).max():.3g}, above tol={problem.tol:g}. Increase the "
                    "number of iterations (max_iter), or scale the features.",
                    ConvergenceWarning,
                    stacklevel=4,
                )
                break
            with np.errstate(over="ignore"):  # the loss tells
                point -= rate * gradient
            loss, gradient = problem.objective(point)
            if not math.isfinite(loss):
                raise ValueError(NON_FINITE.format(problem.made + 1))
            if problem.iterated(latest):
                break
    except KeyboardInterrupt:
        warnings.warn("Training interrupted by user.", stacklevel=2)
    network.parameters[:] = point
    return problem.made


def largest_curvature(problem: Problem) -> float:
    """Return about the largest second derivative of the mean objective in any direction.

    That of the log loss by the score is at most 1/4, of the cross-entropy 1/2.  A few steps of the
    power method find more than half of the largest eigenvalue of ``X^T X``, which is what a
    descent needs to be stable.
    """
    X, weight = problem.X, problem.targets.weight
    v = np.ones(X.shape[1])
    b = float(problem.fit_intercept)
    value = 0.0
    for _ in range(_POWER_STEPS):
        size = math.sqrt(v @ v + b * b)
        if size == 0:
            break
        v, b = v / size, b / size
        z = np.asarray(X @ v.astype(X.dtype), np.float64) + b
        value = float(z @ (z * weight if weight.size else z)) / problem.total
        if weight.size:
            z *= weight
        v = np.asarray(X.T @ z.astype(X.dtype), np.float64)
        b = z.sum() if problem.fit_intercept else 0.0
    return curvature_of_loss(problem) * value + problem.l2 / problem.total or 1.0


def curvature_of_loss(problem: Problem) -> float:
    """Return the largest second derivative of the loss by the scores."""
    return 0.25 if problem.network.loss_name == "log_loss" else 0.5


def fit_saga(problem: Problem, seed: int) -> int:
    """Minimise by SAGA until no weight changes by more than ``tol`` in an epoch; return the epochs.

    The change is relative to the largest weight.

    Parameters
    ----------
    problem : Problem
    seed : int
        Of the rows drawn, from 1.
    """
    network, rows, n = problem.network, problem.rows, problem.n
    sparse = rows.indptr.size > 0
    model = _begin_saga(problem, seed)
    rule = _saga_rule(problem)
    kernel = saga_sparse_ if sparse else saga_dense_
    y, weight = problem.targets.y.reshape(-1), problem.targets.weight
    size = _slice_rows(problem)
    before = np.zeros_like(model.W)

    def loss() -> float:
        network.weights[0][:], network.biases[0][:] = model.W, model.b
        value = problem.objective(network.parameters.astype(np.float64))[0]
        return value + problem.l1 / problem.total * float(np.abs(model.W).sum())

    problem.begins()
    try:
        for epoch in range(1, problem.max_iter + 1):
            for start in range(0, n, size):
                kernel(rule, model, rows, y, weight, start, min(start + size, n))
            if not (np.isfinite(model.W).all() and np.isfinite(model.b).all()):
                raise ValueError(NON_FINITE.format(epoch))
            largest = float(np.abs(model.W).max())
            change = float(np.abs(model.W - before).max())
            before[:] = model.W
            if problem.iterated(loss) or change <= problem.tol * largest:
                break
    except KeyboardInterrupt:
        warnings.warn("Training interrupted by user.", stacklevel=2)
        model.W[:] *= model.state[SCALE]
    network.weights[0][:] = model.W
    network.biases[0][:] = model.b
    if problem.made == problem.max_iter:
        warnings.warn(
            "The max_iter was reached which means the coef_ did not converge",
            ConvergenceWarning,
            stacklevel=4,
        )
    return problem.made


def _saga_rule(problem: Problem) -> SagaRule:
    """Return scikit-learn's rule: the rate is ``1 / (2 L + min(2 n l2, L))``.

    ``L`` bounds the curvature of a row's objective, its weight apart, the intercept included: so
    that of sparse rows needs no lower rate, with which it would lag behind for hundreds of epochs.
    """
    l2 = problem.l2 / problem.n
    largest = float(row_norms(problem.X, squared=True).max())
    curvature = 0.25 * (largest + problem.fit_intercept) + l2
    return SagaRule(
        rate=1 / (2 * curvature + min(2 * problem.n * l2, curvature)),
        l2=l2,
        l1=problem.l1 / problem.n,
        fit_intercept=problem.fit_intercept,
    )


def _begin_saga(problem: Problem, seed: int) -> SagaModel:
    """Return a model with the network's weights that has seen no row."""
    network, n = problem.network, problem.n
    sparse = problem.rows.indptr.size > 0
    W = network.weights[0].copy()
    k = network.layer_sizes[-1]
    state = np.zeros(N_STATE)
    state[SCALE], state[WORD] = 1, seed
    steps = n + 1 if sparse else 0
    return SagaModel(
        W=W,
        G=np.zeros_like(W),
        b=network.biases[0].astype(np.float64),
        g=np.zeros(k),
        D=np.zeros((n, k), W.dtype),
        seen=np.zeros(n, np.uint8),
        order=np.empty(n, np.int32),
        drift=np.zeros(steps),
        shrink=np.zeros(steps if problem.l1 else 0),
        last=np.zeros(W.shape[0] if sparse else 0, np.int32),
        state=state,
    )


def _slice_rows(problem: Problem) -> int:
    """Return how many rows one kernel call may take."""
    rows = problem.rows
    entries = rows.data.size / problem.n if rows.indptr.size else rows.dense.shape[1]
    return max(1, int(_SLICE_NANOSECONDS / (500 + 8 * entries * problem.network.layer_sizes[-1])))


def sgd_rate(X: Any, weight: np.ndarray, n_classes: int, l2: float, fit_intercept: bool) -> float:
    """Return the reciprocal of a row's mean curvature, for SGD row by row."""
    squares = float(np.average(row_norms(X, squared=True), weights=weight if weight.size else None))
    curvature = (0.25 if n_classes == 2 else 0.5) * (squares + fit_intercept)
    return 1 / (curvature + l2 / X.shape[0] or 1.0)
