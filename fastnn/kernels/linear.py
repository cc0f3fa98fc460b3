"""Stochastic gradient descent for linear models: one row, one step.

The weights of an output are ``scale * W[k]``, so that the L2 penalty multiplies one number and a
sparse row costs its non-zeros.  The scale is folded into ``W`` before it underflows, and at the end
of each call: so the bits do not depend on who makes the calls.

The L1 penalty is cumulative (Y. Tsuruoka, J. Tsujii and S. Ananiadou, Stochastic gradient descent
training for L1-regularized log-linear models with cumulative penalty, ACL 2009): ``u`` is what each
weight could have been charged so far, ``q`` what it has been; the weights of a row's features
are charged the difference, never across zero.

The average of all weights since a given step costs a row's non-zeros too (L. Bottou, Stochastic
gradient descent tricks, 2012): it is ``(A + a W) / b`` with two numbers ``a`` and ``b``.  That too
is made whole at the end of each call; not under L1, whose charges scikit-learn leaves out of ``A``,
so that its average depends on when it is made: where it is shown.

Steps, stopping quantities and their order are scikit-learn's, so that both follow one path to
rounding.  Scalars are float64 in both precisions.
"""

import math
from typing import NamedTuple

import numpy as np

from fastnn.kernels.jit import helper, kernel
from fastnn.kernels.linear_losses import loss_slope, loss_sum, loss_value
from fastnn.kernels.linear_row import (
    block_of,
    borrow_data,
    prefetch_ahead_,
    row_add_,
    row_dot,
    row_norms,
    row_number,
    row_squares,
    row_truncate_,
)
from fastnn.kernels.packed import padded
from fastnn.kernels.row import lanes_of
from fastnn.kernels.row_block import (
    BLOCK,
    N_PRODUCTS,
    PAIRS,
    add_rows_,
    block_products_,
    pack_,
    unpack_,
)
from fastnn.kernels.simd import prefetch_
from fastnn.kernels.subnormals import flushing_
from fastnn.kernels.views import aligned, constant, keep_alive, offset, pointer

SCHEDULES = {
    name: code
    for code, name in enumerate(("constant", "optimal", "invscaling", "adaptive", "pa1", "pa2"))
}
CONSTANT, OPTIMAL, INVSCALING, ADAPTIVE, PA1, PA2 = SCHEDULES.values()

#: Bytes of dense rows to ask for ahead, and the most blocks.
AHEAD_BYTES = 8192
AHEAD_BLOCKS = 4
#: Where the squared norms of a block's rows are among its products.
SQUARE = BLOCK + PAIRS.index((0, 0))
#: Scores whose losses are summed together.
SCORES = 256


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
        Weight of rows with ``y > middle`` and of the others.
    fit_intercept : bool
        Whether the intercept is trained.
    intercept_rate : float
        Factor of the intercept's rate.
    average : float
        The step from which on weights are averaged; 0 for never.
    watch_loss, watch_penalty : bool
        Whether the sums of the losses and of the penalties are wanted.
    clip : float
        Largest norm of the gradient of a row's loss, before its weight; inf for any.
    warmup : float
        Steps in which the rate first rises linearly; 0 for none.
    middle : float
        Targets above have ``positive_weight``.
    smoothing : float
        Part of a class's mass that is spread evenly over all, in `train_softmax_rows_`.
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
    clip: float
    warmup: float
    middle: float
    smoothing: float


#: Places in the state, a float64 array of `N_STATE`.
N_STATE = 10
T, ETA, U, AVERAGE_A, AVERAGE_B, SQUARES, ABSOLUTES, LOSS_SUM, PENALTY_SUM, RATE = range(N_STATE)


class Model(NamedTuple):
    """What is trained; all arrays are written.

    Attributes
    ----------
    W : array (k, d)
        Weights.
    b : float64 array (k,)
        Intercepts.
    A : array (k, d) or (0, 0)
        Averaged weights, under L1 as explained above; empty where nothing is averaged.
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
def inverse_scaling(t, power):
    """Return ``t^power``; the usual powers are roots, which cost a third of it."""
    if power == 0.25:
        return math.sqrt(math.sqrt(t))
    return math.sqrt(t) if power == 0.5 else t**power


@helper
def scheduled_rate(rule, eta, t):
    """Return the learning rate of step ``t``."""
    rate = eta
    if rule.schedule == OPTIMAL:
        rate = 1 / (rule.alpha * (rule.optimal_init + t - 1))
    elif rule.schedule == INVSCALING:
        rate = rule.eta0 / inverse_scaling(t, rule.power_t)
    return rate * (t / rule.warmup) if t < rule.warmup else rate


@helper
def largest_slope(rule, row_size):
    """Return the slope at which the gradient of a row with that ``|x|^2`` is of norm ``clip``."""
    return rule.clip / math.sqrt(row_size + (1.0 if rule.fit_intercept else 0.0))


@helper
def row_slope(rule, scores, targets, epsilon, squares):
    """Return the loss's slope at a score, the first, the step against which is a rate times it.

    A passive-aggressive step would correct the row, limited, whatever the rate (K. Crammer et al.,
    Online passive-aggressive algorithms, JMLR 7, 2006); ``squares`` is ``|x|^2``, above 0 for PA-I.
    """
    z = scores[0]
    slope = loss_slope(rule.loss, z, targets[0], epsilon)
    if rule.clip < math.inf:
        limit = constant(largest_slope(rule, squares), z)
        slope = min(max(slope, -limit), limit)
    if rule.schedule < PA1:
        return slope
    # The sum is there anyway; the values of all losses would be compiled for this line alone.
    loss = loss_sum(rule.loss, 1, scores, targets, epsilon)
    if rule.schedule == PA1:
        return slope * constant(min(rule.eta0, loss / squares), z)
    return slope * constant(loss / (squares + 0.5 / rule.eta0), z)


@helper
def smallest_scale(itemsize, averaging):
    """Return the scale below which it is folded into the weights.

    An average is the difference of numbers that grow as the scale falls, which costs digits.
    """
    if averaging:
        return 1e-2
    return 1e-9 if itemsize == 8 else 1e-6


@helper
def fold_(d, scale, average_a, average_b, V, A, averaging):
    """Multiply the scale into the weights ``V``, and make ``A`` their average."""
    factor = constant(scale, V[0])
    if averaging:
        a, b = constant(average_a, V[0]), constant(1 / average_b, V[0])
        for j in range(d):
            A[j] = (A[j] + a * V[j]) * b
    for j in range(d):
        V[j] *= factor


@helper
def finish_(rule, state, d, scale, average_a, average_b, V, A, averaging):
    """Make ``V`` the weights and ``A`` their average at the end of a call; under L1 that later."""
    fold_(d, scale, average_a, average_b, V, A, averaging and not rule.truncate)
    state[AVERAGE_A] = average_a / scale if rule.truncate else 0.0
    state[AVERAGE_B] = average_b if rule.truncate else 1.0


@helper
def train_each_row_(rule, model, rows, y, weight, order, start, stop):
    """Do what `train_rows_` does, subnormal numbers being zero."""
    state = model.state
    like = model.W[0, 0]
    X = borrow_data(rows, y, weight, order, model.W.itemsize)
    d = model.W.shape[1]
    averaging = model.A.size > 0
    blocked = not (X.sparse or rule.truncate)
    lanes = lanes_of(X.dense)
    width = padded(d, lanes) if blocked else 0
    size = width if blocked else d
    work = np.zeros(2 * width + N_PRODUCTS + 3 * X.line + 2 * SCORES, model.W.dtype)
    products = aligned(work)
    c, e = offset(products, N_PRODUCTS), offset(products, N_PRODUCTS + BLOCK)
    scores = offset(products, N_PRODUCTS + X.line)
    targets = offset(scores, SCORES)
    V, A, q = pointer(model.W), pointer(model.A), pointer(model.q)
    if blocked:
        V = offset(targets, SCORES)
        pack_(d, lanes, pointer(model.W), V)
        if averaging:
            A = offset(V, width)
            pack_(d, lanes, pointer(model.A), A)

    epsilon = constant(rule.epsilon, like)
    zero = constant(0, like)
    smallest = smallest_scale(model.W.itemsize, averaging)
    t, u, bias, average_bias = state[T], state[U], model.b[0], model.a[0]
    scale, average_a, average_b = 1.0, state[AVERAGE_A], state[AVERAGE_B]
    squares, absolutes = state[SQUARES], state[ABSOLUTES]
    if blocked and rule.watch_penalty:  # anew, for rounding adds up over blocks
        total = zero
        for j in range(width):
            total += V[j] * V[j]
        squares = float(total)
    ahead = min(max(AHEAD_BYTES // (d * model.W.itemsize) // BLOCK, 1), AHEAD_BLOCKS) * BLOCK
    loss, penalty, eta = 0.0, 0.0, 0.0
    n_scores = 0
    n = start
    while n < stop:
        if blocked:
            count = min(BLOCK, stop - n)
            x0, x1, x2, x3 = block_of(X, n, n + count - 1)
            p0, p1, p2, p3 = block_of(X, n + ahead, stop - 1)
            for r in range(BLOCK):
                prefetch_(X.y, row_number(X, min(n + ahead + r, stop - 1)))
                if X.ordered:  # so that the CPU knows by then in which page the row lies
                    prefetch_(X.dense, row_number(X, min(n + ahead + BLOCK + r, stop - 1)) * d)
            block_products_(d, x0, x1, x2, x3, p0, p1, V, products)
            z0, z1, z2, z3 = products[0], products[1], products[2], products[3]
            g1, g2, g3 = products[4], products[5], products[6]
            h2, h3, k3 = products[7], products[8], products[9]
        else:
            count = 1
            i = row_number(X, n)
            prefetch_ahead_(X, n, stop)
            z0 = row_dot(X, i, V)
            z1 = z2 = z3 = g1 = g2 = g3 = h2 = h3 = k3 = zero
            if rule.schedule >= PA1 or rule.clip < math.inf:
                products[SQUARE] = row_squares(X, i, like)
        # Sums in the precision of the scores are good for a block, and ready sooner.
        near = constant(bias, like)
        changed = False
        s = 0
        while s < count:
            i = row_number(X, n + s)
            eta = scheduled_rate(rule, state[ETA], t)
            keep = max(0.0, 1 - (1 - rule.l1_ratio) * eta * rule.alpha) if rule.decay else 1.0
            if s > 0 and scale * keep < smallest:
                break  # only whole weights can be folded: this row begins the next block
            z = constant(scale, like) * z0 + near
            row_size = float(products[SQUARE + s])
            counts = not (rule.schedule == PA1 and row_size == 0)
            rate = rule.positive_weight if X.y[i] > rule.middle else rule.negative_weight
            if X.weighted:
                rate *= X.weight[i]
            if rule.schedule < PA1:
                rate *= eta
            if not counts:
                rate, keep, row_size = 0.0, 1.0, 1.0
            scores[n_scores] = z
            targets[n_scores] = X.y[i]
            n_scores += 1
            penalty += (1 - rule.l1_ratio) * 0.5 * squares + rule.l1_ratio * absolutes

            scale *= keep
            if scale < smallest:
                fold_(size, scale, average_a, average_b, V, A, averaging)
                f = constant(scale, like)
                z1, z2, z3 = z1 * f, z2 * f, z3 * f
                average_a, average_b, scale = 0.0, 1.0, 1.0
            own = n_scores - 1
            slope = row_slope(rule, offset(scores, own), offset(targets, own), epsilon, row_size)
            factor = slope * constant(-rate / scale, like)
            step = float(slope) * -rate
            absolutes *= keep
            squares *= keep * keep
            if blocked:
                c[s] = factor
                e[s] = constant(-average_a, like) * factor
                changed = changed or step != 0
                squares += step * (2 * keep * (float(z) - bias) + step * row_size)
            elif step != 0:
                row_add_(X, i, factor, V)
                if averaging:
                    row_add_(X, i, constant(-average_a, like) * factor, A)
                if rule.watch_penalty:
                    near_squares, near_absolutes = row_norms(X, i, V)
                    squares = float(near_squares) * scale * scale
                    absolutes = float(near_absolutes) * scale
            if rule.fit_intercept:
                bias += step * rule.intercept_rate
                near -= slope * constant(rate * rule.intercept_rate, like)
            if counts and 0 < rule.average <= t:
                number = t - rule.average + 1
                if number > 1:
                    average_b /= 1 - 1 / number
                average_a += average_b * scale / number
                average_bias += (bias - average_bias) / number
            if counts and rule.truncate:
                u += rule.l1_ratio * eta * rule.alpha
                row_truncate_(X, i, constant(u, like), constant(scale, like), V, q)
            if counts:
                t += 1
            z0, z1, z2 = z1 + factor * g1, z2 + factor * g2, z3 + factor * g3
            g1, g2, g3, h2, h3 = h2, h3, zero, k3, zero
            s += 1
        n += s
        if blocked and changed:
            for r in range(s, BLOCK):
                c[r] = e[r] = zero
            add_rows_(d, x0, x1, x2, x3, p2, p3, c, V)
            if averaging:
                add_rows_(d, x0, x1, x2, x3, p2, p3, e, A)
        if n_scores > SCORES - BLOCK or n >= stop:
            if rule.watch_loss:
                loss += loss_sum(rule.loss, n_scores, scores, targets, epsilon)
            n_scores = 0

    finish_(rule, state, size, scale, average_a, average_b, V, A, averaging)
    if blocked:
        unpack_(d, lanes, V, pointer(model.W))
        if averaging:
            unpack_(d, lanes, A, pointer(model.A))
    model.b[0], model.a[0] = bias, average_bias
    state[T], state[U] = t, u
    state[SQUARES], state[ABSOLUTES] = squares, absolutes
    state[LOSS_SUM] += loss
    state[RATE] = eta
    if rule.watch_penalty:
        state[PENALTY_SUM] += rule.alpha * penalty
    keep_alive((work,))


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
    arguments = (rule, model, rows, y, weight, order, start, stop)
    flushing_(train_each_row_, arguments)


@kernel
def losses_(loss, epsilon, z, y, values):
    """Write the losses of scores ``z`` (n,) and targets ``y`` (n,) to ``values`` (n,)."""
    for i in range(z.size):
        values[i] = loss_value(loss, z[i], y[i], constant(epsilon, z[i]))
