"""Stochastic gradient descent for linear models: one row, one step.

The weights of an output are ``scale * W[k]``, so that the L2 penalty multiplies one number and a
sparse row costs its non-zeros.  The scale is folded into ``W`` before it underflows.

The L1 penalty is cumulative (Y. Tsuruoka, J. Tsujii and S. Ananiadou, Stochastic gradient descent
training for L1-regularized log-linear models with cumulative penalty, ACL 2009): ``u`` is what each
weight could have been charged so far, ``q`` what it has been; the weights of a row's features
are charged the difference, never across zero.

The average of all weights since a given step costs a row's non-zeros too (L. Bottou, Stochastic
gradient descent tricks, 2012): it is ``(A + a scale W) / b`` with two numbers ``a`` and ``b``.

Steps, stopping quantities and their order are scikit-learn's, so that both follow one path to
rounding.  Scalars are float64 in both precisions.
"""

import math
from typing import NamedTuple

import numpy as np

from fastnn.kernels.elementary import exp
from fastnn.kernels.jit import helper, kernel
from fastnn.kernels.linear_losses import loss_slope, loss_value
from fastnn.kernels.simd import prefetch_
from fastnn.kernels.views import constant

SCHEDULES = {
    name: code
    for code, name in enumerate(("constant", "optimal", "invscaling", "adaptive", "pa1", "pa2"))
}
CONSTANT, OPTIMAL, INVSCALING, ADAPTIVE, PA1, PA2 = SCHEDULES.values()

#: Slopes beyond are cut off, against overflow.
MAX_SLOPE = 1e12
#: Bytes of rows to fetch ahead, and the most rows.
AHEAD_BYTES = 8192
AHEAD_ROWS = 16
CACHE_LINE = 64


class LinearRule(NamedTuple):
    """How rows change the weights.

    Attributes
    ----------
    loss : int
        Code of `linear_losses.TABLE`.
    epsilon : float
        The loss's own parameter.
    schedule : int
        Code of `SCHEDULES`.
    eta0, power_t, optimal_init : float
        Of the schedules: the rate is ``eta`` of the state, ``eta0 / t^power_t``, or
        ``1 / (alpha (optimal_init + t - 1))``.
    alpha, l1_ratio : float
        The penalty is ``alpha (l1_ratio |w|_1 + (1 - l1_ratio) |w|^2 / 2)``.
    decay, truncate : bool
        Whether the L2 part and the L1 part are applied.
    positive_weight, negative_weight : float
        Weight of rows with ``y > 0`` and of the others.
    fit_intercept : bool
        Whether the intercept is trained.
    intercept_rate : float
        Factor of the intercept's rate.
    average : float
        The step from which on weights are averaged; 0 for never.
    watch_loss, watch_penalty : bool
        Whether the sums of the losses and of the penalties are wanted.
    """

    loss: int
    epsilon: float
    schedule: int
    eta0: float
    power_t: float
    optimal_init: float
    alpha: float
    l1_ratio: float
    decay: bool
    truncate: bool
    positive_weight: float
    negative_weight: float
    fit_intercept: bool
    intercept_rate: float
    average: float
    watch_loss: bool
    watch_penalty: bool


#: Places in the state, a float64 array of `N_STATE`.
N_STATE = 10
T, ETA, SCALE, U, AVERAGE_A, AVERAGE_B, SQUARES, ABSOLUTES, LOSS_SUM, PENALTY_SUM = range(N_STATE)


class Model(NamedTuple):
    """What is trained; all arrays are written.

    Attributes
    ----------
    W : array (k, d)
        Weights over the scale.
    b : float64 array (k,)
        Intercepts.
    A : array (k, d) or (0, 0)
        Averaged weights, as explained above; empty where nothing is averaged.
    a : float64 array (k,)
        Averaged intercepts.
    q : array (k, d) or (0, 0)
        L1 penalty charged so far; empty where there is none.
    state : float64 array (N_STATE,)
        Numbers that pass from one call to the next.
    """

    W: np.ndarray
    b: np.ndarray
    A: np.ndarray
    a: np.ndarray
    q: np.ndarray
    state: np.ndarray


@kernel
def permutation_(order, seed):
    """Write the permutation of ``0 .. n - 1`` that scikit-learn's SGD draws for a seed.

    Fisher and Yates's shuffle with the 32-bit xorshift generator of G. Marsaglia, Xorshift RNGs,
    Journal of Statistical Software 8, 2003.
    """
    n = order.size
    for i in range(n):
        order[i] = i
    word = max(seed, 1)
    for i in range(n - 1):
        word ^= (word << 13) & 0xFFFFFFFF
        word ^= word >> 17
        word ^= (word << 5) & 0xFFFFFFFF
        j = i + (word & 0x7FFFFFFF) % (n - i)
        order[i], order[j] = order[j], order[i]


@helper
def row_number(order, t):
    """Return the row visited at time ``t``; an empty ``order`` is the natural one."""
    return order[t] if order.size > 0 else t


@helper
def row_dot(rows, i, W, k):
    """Return ``x_i . W[k]``."""
    total = constant(0, W[0, 0])
    if rows.indptr.size == 0:
        for j in range(W.shape[1]):
            total += rows.dense[i, j] * W[k, j]
    else:
        for s in range(rows.indptr[i], rows.indptr[i + 1]):
            total += rows.data[s] * W[k, np.uintp(rows.indices[s])]
    return total


@helper
def row_squares(rows, i, like):
    """Return ``|x_i|^2``."""
    total = constant(0, like)
    if rows.indptr.size == 0:
        for j in range(rows.dense.shape[1]):
            total += rows.dense[i, j] * rows.dense[i, j]
    else:
        for s in range(rows.indptr[i], rows.indptr[i + 1]):
            total += rows.data[s] * rows.data[s]
    return total


@helper
def row_add_(rows, i, c, W, k):
    """Add ``c x_i`` to ``W[k]``."""
    if rows.indptr.size == 0:
        for j in range(W.shape[1]):
            W[k, j] += c * rows.dense[i, j]
    else:
        for s in range(rows.indptr[i], rows.indptr[i + 1]):
            W[k, np.uintp(rows.indices[s])] += c * rows.data[s]


@helper
def row_norms(rows, i, W, k):
    """Return the sums of squares and of absolute values of the entries of ``W[k]`` that x_i has.

    For a sparse row these are not the norms of ``W[k]``; scikit-learn stops by them all the same.
    """
    squares = constant(0, W[0, 0])
    absolutes = constant(0, W[0, 0])
    if rows.indptr.size == 0:
        for j in range(W.shape[1]):
            squares += W[k, j] * W[k, j]
            absolutes += abs(W[k, j])
    else:
        for s in range(rows.indptr[i], rows.indptr[i + 1]):
            w = W[k, np.uintp(rows.indices[s])]
            squares += w * w
            absolutes += abs(w)
    return squares, absolutes


@helper
def truncated(w, charge_down, charge_up):
    """Return ``w`` less ``charge_down`` if positive, plus ``charge_up`` if negative, not past 0."""
    zero = constant(0, w)
    if w > zero:
        return max(zero, w - charge_down)
    if w < zero:
        return min(zero, w + charge_up)
    return w


@helper
def row_truncate_(rows, i, u, scale, W, q, k):
    """Charge the entries of ``W[k]`` that x_i has with the L1 penalty due."""
    inverse = constant(1, u) / scale
    if rows.indptr.size == 0:
        for j in range(W.shape[1]):
            w = W[k, j]
            W[k, j] = truncated(w, (u + q[k, j]) * inverse, (u - q[k, j]) * inverse)
            q[k, j] += scale * (W[k, j] - w)
    else:
        for s in range(rows.indptr[i], rows.indptr[i + 1]):
            feature = np.uintp(rows.indices[s])
            w = W[k, feature]
            W[k, feature] = truncated(
                w, (u + q[k, feature]) * inverse, (u - q[k, feature]) * inverse
            )
            q[k, feature] += scale * (W[k, feature] - w)


@helper
def prefetch_row_(rows, i, lanes):
    """Fetch row ``i``; a cache line holds ``lanes`` numbers."""
    if rows.indptr.size == 0:
        d = rows.dense.shape[1]
        for j in range(0, d, lanes):
            prefetch_(rows.dense, i * d + j)
    else:
        for s in range(rows.indptr[i], rows.indptr[i + 1], lanes):
            prefetch_(rows.data, s)
            prefetch_(rows.indices, s)


@helper
def fold_scale_(model, averaging):
    """Multiply the scale into ``W`` and make ``A`` the average; both stay what they stand for."""
    state = model.state
    scale = constant(state[SCALE], model.W[0, 0])
    if averaging:
        a = constant(state[AVERAGE_A], scale)
        b = constant(1 / state[AVERAGE_B], scale)
        for k in range(model.W.shape[0]):
            for j in range(model.W.shape[1]):
                model.A[k, j] = (model.A[k, j] + a * model.W[k, j]) * b
        state[AVERAGE_A] = 0
        state[AVERAGE_B] = 1
    for k in range(model.W.shape[0]):
        for j in range(model.W.shape[1]):
            model.W[k, j] *= scale
    state[SCALE] = 1


@kernel
def finish_(model):
    """Make ``W`` the weights and ``A`` their average."""
    fold_scale_(model, model.A.size > 0)


@helper
def scheduled_rate(rule, eta, t):
    """Return the learning rate of step ``t``."""
    if rule.schedule == OPTIMAL:
        return 1 / (rule.alpha * (rule.optimal_init + t - 1))
    if rule.schedule == INVSCALING:
        return rule.eta0 / t**rule.power_t
    return eta


@helper
def passive_aggressive(rule, z, y, squares):
    """Return the step that would correct the row, limited; NaN for an empty row under PA-I.

    K. Crammer et al., Online passive-aggressive algorithms, JMLR 7, 2006.
    """
    loss = float(loss_value(rule.loss, z, y, constant(rule.epsilon, z)))
    direction = -float(loss_slope(rule.loss, z, y, constant(rule.epsilon, z)))
    if rule.schedule == PA1:
        if squares == 0:
            return math.nan
        return direction * min(rule.eta0, loss / squares)
    return direction * (loss / (squares + 0.5 / rule.eta0))


@helper
def average_(rows, i, step, scale, model, k):
    """Take the step of a row out of the sum that ``A`` stands for."""
    c = constant(-model.state[AVERAGE_A] * step / scale, model.W[0, 0])
    row_add_(rows, i, c, model.A, k)


@kernel
def train_rows_(rule, model, rows, y, weight, order, start, stop):
    """Make one step for each of rows ``order[start:stop]`` in turn, for one output.

    Parameters
    ----------
    rule : LinearRule
    model : Model
        Written.
    rows : Rows
    y : array (n,)
        Targets; -1 and 1 or 0 and 1 for two classes.
    weight : array (n,) or (0,)
        Weights of the rows.
    order : int32 array
        Numbers of the rows; empty for the natural order.
    start, stop : int
        The part of the order to go through.
    """
    W, b, state = model.W, model.b, model.state
    like = W[0, 0]
    lanes = CACHE_LINE // W.itemsize
    ahead = min(max(AHEAD_BYTES // (W.itemsize * (1 + rows.dense.shape[1])), 2), AHEAD_ROWS)
    epsilon = constant(rule.epsilon, like)
    for n in range(start, stop):
        i = row_number(order, n)
        if n + ahead < stop:
            prefetch_row_(rows, row_number(order, n + ahead), lanes)
        t = state[T]
        scale = state[SCALE]
        eta = scheduled_rate(rule, state[ETA], t)
        z = constant(scale, like) * row_dot(rows, i, W, 0) + constant(b[0], like)
        if rule.watch_loss:
            state[LOSS_SUM] += loss_value(rule.loss, z, y[i], epsilon)
            if rule.watch_penalty:
                state[PENALTY_SUM] += rule.alpha * (
                    (1 - rule.l1_ratio) * 0.5 * state[SQUARES] + rule.l1_ratio * state[ABSOLUTES]
                )
        if rule.schedule >= PA1:
            step = passive_aggressive(rule, z, y[i], float(row_squares(rows, i, like)))
            if math.isnan(step):
                continue
        else:
            slope = float(loss_slope(rule.loss, z, y[i], epsilon))
            step = -eta * min(max(slope, -MAX_SLOPE), MAX_SLOPE)
        step *= rule.positive_weight if y[i] > 0 else rule.negative_weight
        if weight.size > 0:
            step *= weight[i]

        if rule.decay:
            keep = max(0.0, 1 - (1 - rule.l1_ratio) * eta * rule.alpha)
            state[SCALE] *= keep
            state[SQUARES] *= keep * keep
            state[ABSOLUTES] *= keep
            if state[SCALE] < (1e-9 if W.itemsize == 8 else 1e-6):
                fold_scale_(model, model.A.size > 0)
            scale = state[SCALE]
        if step != 0:
            row_add_(rows, i, constant(step / scale, like), W, 0)
            if rule.watch_penalty:
                squares, absolutes = row_norms(rows, i, W, 0)
                state[SQUARES] = squares * scale * scale
                state[ABSOLUTES] = absolutes * scale
            if rule.fit_intercept:
                b[0] += step * rule.intercept_rate
        if 0 < rule.average <= t:
            count = t - rule.average + 1
            if step != 0:
                average_(rows, i, step, scale, model, 0)
            if count > 1:
                state[AVERAGE_B] /= 1 - 1 / count
            state[AVERAGE_A] += state[AVERAGE_B] * scale / count
            model.a[0] += (b[0] - model.a[0]) / count
        if rule.truncate:
            state[U] += rule.l1_ratio * eta * rule.alpha
            row_truncate_(rows, i, constant(state[U], like), constant(scale, like), W, model.q, 0)
        state[T] = t + 1


@kernel
def train_softmax_rows_(rule, model, rows, y, weight, order, start, stop):
    """Make one step for each of rows ``order[start:stop]`` in turn, for the softmax of k scores.

    The arguments are those of `train_rows_`; ``y`` (n,) holds the numbers of the classes, and the
    loss is the cross-entropy.
    """
    W, b, state = model.W, model.b, model.state
    like = W[0, 0]
    n_out = W.shape[0]
    steps = np.empty(n_out, W.dtype)
    for n in range(start, stop):
        i = row_number(order, n)
        t = state[T]
        scale = state[SCALE]
        eta = scheduled_rate(rule, state[ETA], t)
        largest = constant(-math.inf, like)
        for k in range(n_out):
            steps[k] = constant(scale, like) * row_dot(rows, i, W, k) + constant(b[k], like)
            largest = max(largest, steps[k])
        z_true = steps[int(y[i])]
        total = constant(0, like)
        for k in range(n_out):
            steps[k] = exp(steps[k] - largest)
            total += steps[k]
        if rule.watch_loss:
            state[LOSS_SUM] += math.log(float(total)) - float(z_true - largest)
        if rule.watch_penalty:
            state[PENALTY_SUM] += rule.alpha * (
                (1 - rule.l1_ratio) * 0.5 * state[SQUARES] + rule.l1_ratio * state[ABSOLUTES]
            )
        rate = -eta * (weight[i] if weight.size > 0 else 1.0)
        for k in range(n_out):
            steps[k] *= constant(rate, like) / total
        steps[int(y[i])] -= constant(rate, like)

        if rule.decay:
            state[SCALE] *= max(0.0, 1 - (1 - rule.l1_ratio) * eta * rule.alpha)
            if state[SCALE] < (1e-9 if W.itemsize == 8 else 1e-6):
                fold_scale_(model, model.A.size > 0)
            scale = state[SCALE]
        averaging = 0 < rule.average <= t
        count = t - rule.average + 1
        for k in range(n_out):
            row_add_(rows, i, constant(float(steps[k]) / scale, like), W, k)
            if rule.fit_intercept:
                b[k] += float(steps[k]) * rule.intercept_rate
            if averaging:
                average_(rows, i, float(steps[k]), scale, model, k)
                model.a[k] += (b[k] - model.a[k]) / count
        if averaging:
            if count > 1:
                state[AVERAGE_B] /= 1 - 1 / count
            state[AVERAGE_A] += state[AVERAGE_B] * scale / count
        if rule.truncate:
            state[U] += rule.l1_ratio * eta * rule.alpha
            for k in range(n_out):
                row_truncate_(
                    rows, i, constant(state[U], like), constant(scale, like), W, model.q, k
                )
        state[T] = t + 1
