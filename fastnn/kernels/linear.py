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

from typing import NamedTuple

import numpy as np

from fastnn.kernels.jit import helper, kernel
from fastnn.kernels.linear_groups import takes_groups, walk_groups_
from fastnn.kernels.linear_losses import loss_sum, loss_value
from fastnn.kernels.linear_row import borrow_data, dense_row, row_dot, row_number
from fastnn.kernels.linear_rule import scheduled_rate
from fastnn.kernels.linear_walk import (
    N_OWN,
    N_PLACES,
    N_WIDE,
    Step,
    begin_block_,
    block_at,
    walk_beside_,
    walk_each_,
)
from fastnn.kernels.packed import padded
from fastnn.kernels.row import lanes_of
from fastnn.kernels.row_pass import add_row_, pack_, pass_, unpack_
from fastnn.kernels.subnormals import flushing_
from fastnn.kernels.views import aligned, constant, keep_alive, offset, pointer

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


@kernel
def compose_(order, shuffle, out):
    """Write ``out = order[shuffle]``, which NumPy does with two more arrays."""
    for i in range(order.size):
        out[i] = order[shuffle[i]]


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
    zero = constant(0, like)
    X = borrow_data(rows, y, weight, order, model.W.itemsize)
    d = model.W.shape[1]
    averaging = model.A.size > 0
    beside = not (X.sparse or rule.truncate)
    grouped = beside and takes_groups(X, rows.dense.shape[0])
    lanes = lanes_of(X.dense)
    width = padded(d, lanes) if beside else 0
    size = width if beside else d
    work = np.zeros(2 * width + X.line, model.W.dtype)
    own, wide = np.empty(N_OWN, model.W.dtype), np.empty(N_WIDE)
    places = np.empty(N_PLACES, np.int64)
    block = block_at(pointer(own), pointer(wide), pointer(places))
    V, A, q = pointer(model.W), pointer(model.A), pointer(model.q)
    if beside:
        V = aligned(work)
        pack_(d, lanes, pointer(model.W), V)
        if averaging:
            A = offset(V, width)
            pack_(d, lanes, pointer(model.A), A)

    epsilon = constant(rule.epsilon, like)
    smallest = smallest_scale(model.W.itemsize, averaging)
    intercept_rate = rule.intercept_rate if rule.fit_intercept else 0.0
    t, u, average_bias = state[T], state[U], model.a[0]
    scale, average_a, average_b = 1.0, state[AVERAGE_A], state[AVERAGE_B]
    squares, absolutes = state[SQUARES], state[ABSOLUTES]
    loss, penalty, last = 0.0, 0.0, t
    x = dense_row(X, start, stop)
    if beside:
        z, _, block.sizes[0] = pass_(d, zero, x, x, x, x, V)
    else:
        z = row_dot(X, row_number(X, start), V)
    step = Step(z + constant(model.b[0], like), zero, x, model.b[0])
    n = start
    while n < stop:
        if beside and rule.watch_penalty:  # anew, for rounding adds up over rows
            add_row_(d, step.factor, step.past, V)
            step = Step(step.z, zero, step.past, step.bias)
            total = zero
            for j in range(width):
                total += V[j] * V[j]
            squares = float(total) * scale * scale
        count = begin_block_(rule, X, block, n, stop, state[ETA], t, u, like)
        for k in range(count):
            keep = block.keeps[k]
            if scale * keep < smallest and k > 0:
                count = k  # only whole weights can be folded: this row begins the next block
                break
            scale *= keep
            if scale < smallest:
                if beside:
                    add_row_(d, step.factor, step.past, V)
                    step = Step(step.z, zero, step.past, step.bias)
                fold_(size, scale, average_a, average_b, V, A, averaging)
                average_a, average_b, scale = 0.0, 1.0, 1.0
            block.scales[k] = constant(scale, like)
            block.gains[k] = constant(-block.rates[k] / scale, like)
            if averaging:
                block.averages[k] = constant(-average_a, like)
                number = block.numbers[k]
                if number > 1:
                    average_b /= 1 - 1 / number
                if number > 0:
                    average_a += average_b * scale / number
        bias = step.bias
        if grouped:
            step = walk_groups_(X, rule, block, n, count, step, V, A, averaging)
        elif beside:
            step = walk_beside_(X, rule, block, count, step, V, A, averaging)
        else:
            step, squares, absolutes, cost = walk_each_(
                X, rule, block, n, count, stop, step, V, A, averaging, q, squares, absolutes
            )
            penalty += cost
        for k in range(count if averaging or (beside and rule.watch_penalty) else 0):
            change = -float(block.slopes[k]) * block.rates[k]
            if beside:
                keep = block.keeps[k]
                penalty += 0.5 * squares
                squares *= keep * keep
                across = 2 * keep * (float(block.scores[k]) - bias)
                squares += change * (across + change * float(block.sizes[k]))
            bias += change * intercept_rate
            if block.numbers[k] > 0:
                average_bias += (bias - average_bias) / block.numbers[k]
        if beside:
            block.sizes[0] = block.sizes[count]
        if rule.watch_loss:
            loss += loss_sum(rule.loss, count, block.scores, block.targets, epsilon)
        n += count
        last, t = block.times[count - 1], block.times[count]
        u = block.charges[count - 1] if rule.truncate else u

    if beside:
        add_row_(d, step.factor, step.past, V)
    finish_(rule, state, size, scale, average_a, average_b, V, A, averaging)
    if beside:
        unpack_(d, lanes, V, pointer(model.W))
        if averaging:
            unpack_(d, lanes, A, pointer(model.A))
    model.b[0], model.a[0] = step.bias, average_bias
    state[T], state[U] = t, u
    state[SQUARES], state[ABSOLUTES] = squares, absolutes
    state[LOSS_SUM] += loss
    state[RATE] = scheduled_rate(rule, state[ETA], last)
    if rule.watch_penalty:
        state[PENALTY_SUM] += rule.alpha * penalty
    keep_alive((work, own, wide, places))


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
