"""Mini-batches for linear models: the gradient of a batch, then one step of any optimiser.

A batch of rows B takes one step against ``sum_B w_i dJ_i / (share |B|)``, ``w_i`` the weight of row
i with that of its class and ``share`` the mean of them all: over all rows it is the weighted mean,
so that a row of weight 2 is a row twice; over a part it is that mean's unbiased estimate.

The L1 penalty works as in OWL-QN, whatever the optimiser: where a weight is 0 the penalty's
gradient is the part of the slope that it can hold, and a step ends where a weight would change its
sign (G. Andrew and J. Gao, Scalable training of L1-regularized log-linear models, ICML 2007).
"""

from typing import NamedTuple

import numpy as np

from fastnn.kernels.jit import helper, kernel
from fastnn.kernels.linear import ETA, LOSS_SUM, RATE, T
from fastnn.kernels.linear_losses import loss_slope, loss_value
from fastnn.kernels.linear_row import borrow_data, prefetch_ahead_, row_add_, row_dot, row_number
from fastnn.kernels.linear_rule import scheduled_rate
from fastnn.kernels.linear_softmax import softmax_slopes_
from fastnn.kernels.minibatch import clip_
from fastnn.kernels.optimizers import step_
from fastnn.kernels.subnormals import flushing_
from fastnn.kernels.views import constant, keep_alive, offset, pointer, vector

#: Rows, or as many as there are columns, whose gradients add up before the batch's sum takes them:
#: a long sum in one precision would lose the digits of its last terms.
PART = 256


class BatchRule(NamedTuple):
    """What a batch needs beyond a `linear_rule.LinearRule`.

    Attributes
    ----------
    optimizer : int
        Code of `optimizers.TABLE`.
    options : float64 array
        The optimiser's own numbers.
    size : int
        Rows of a batch; the last one of an epoch may have fewer.
    share : float
        What the gradient of a batch is divided by, per row.
    weight_decay : float
        Decoupled: each step first takes ``rate * weight_decay * W`` from the weights.
    joint : bool
        Whether the loss is the softmax's of all scores.
    """

    optimizer: int
    options: np.ndarray
    size: int
    share: float
    weight_decay: float
    joint: bool


class Memory(NamedTuple):
    """What passes from one call to the next; flat vectors of the weights, then the intercepts.

    Attributes
    ----------
    grads, part : arrays (k (d + 1),)
        Gradient of the batch so far, and of its last rows.
    slots : array (n_slots, k (d + 1))
        The optimiser's velocities and moments.
    steps : float64 array (1,)
        Steps that it has made.
    """

    grads: np.ndarray
    part: np.ndarray
    slots: np.ndarray
    steps: np.ndarray


@helper
def row_slopes_(rule, joint, k, y, weight, z):
    """Return the weighted loss of a row's scores ``z`` (k,); write its slopes in their place."""
    if joint:
        loss = softmax_slopes_(k, int(y), rule.smoothing, z)
    else:
        weight *= rule.positive_weight if y > rule.middle else rule.negative_weight
        epsilon = constant(rule.epsilon, z[0])
        loss = float(loss_value(rule.loss, z[0], y, epsilon))
        z[0] = loss_slope(rule.loss, z[0], y, epsilon)
    for c in range(k):
        z[c] *= constant(weight, z[0])
    return weight * loss


@helper
def move_(n, source, sums):
    """Add ``n`` numbers to ``sums`` and leave zeros."""
    for j in range(n):
        sums[j] += source[j]
        source[j] = constant(0, source[0])


@helper
def penalise_(n, ridge, lasso, W, grads, sides):
    """Add the penalties' gradient; where there is L1, write the side on which each weight stays."""
    l2, l1 = constant(ridge, W[0]), constant(lasso, W[0])
    zero, one = constant(0, W[0]), constant(1, W[0])
    for j in range(n):
        grads[j] += l2 * W[j]
    if lasso == 0:
        return
    for j in range(n):
        g = grads[j]
        held = g - min(max(g, -l1), l1)  # at 0 the penalty holds a slope up to its own
        side = one if W[j] > zero else -one if W[j] < zero else zero
        grads[j] = g + l1 * side if side != zero else held
        if side == zero:
            side = -one if held > zero else one if held < zero else zero
        sides[j] = side


@helper
def stay_(n, sides, W):
    """Set weights that have left their side to 0."""
    for j in range(n):
        if W[j] * sides[j] <= constant(0, W[0]):
            W[j] = constant(0, W[0])


@helper
def step_batch_(rule, batch, state, model, count, params, grads, memory, sides):
    """Make the step of a batch of ``count`` rows from the sum of their gradients."""
    k, d = model.W.shape
    n = k * d
    t = state[T]
    rate = scheduled_rate(rule, state[ETA], t)
    scale = constant(1 / (batch.share * count), grads[0])
    for j in range(n + k):
        grads[j] *= scale
    if not rule.fit_intercept:
        for c in range(k):
            grads[n + c] = constant(0, grads[0])
    clip_(vector(grads, 0, n + k), rule.clip)
    l1 = rule.alpha * rule.l1_ratio if rule.truncate else 0.0
    l2 = rule.alpha * (1 - rule.l1_ratio) if rule.decay else 0.0
    penalise_(n, l2, l1, params, grads, sides)
    keep = constant(1 - rate * batch.weight_decay, params[0])
    for j in range(n):
        params[j] *= keep
    memory.steps[0] += 1
    slots = vector(memory.slots, 0, memory.slots.size)
    step_(
        batch.optimizer, vector(params, 0, n + k), vector(grads, 0, n + k), slots, n + k, rate,
        batch.options, int(memory.steps[0]),
    )  # fmt: skip
    if l1 > 0:
        stay_(n, sides, params)
    if 0 < rule.average <= t:
        A = pointer(model.A)
        number = t - rule.average + 1
        part = constant(1 / number, params[0])
        for j in range(n):
            A[j] += (params[j] - A[j]) * part
        for c in range(k):
            model.a[c] += (float(params[n + c]) - model.a[c]) / number
    state[T], state[RATE] = t + 1, rate


@helper
def flushed_train_linear_batches_(
    rule, batch, model, memory, rows, y, weight, order, start, stop, total
):  # fmt: skip
    """Do what `train_linear_batches_` does, subnormal numbers being zero."""
    state, b = model.state, model.b
    k, d = model.W.shape
    n = k * d
    X = borrow_data(rows, y, weight, order, model.W.itemsize)
    work = np.empty(n + 2 * k + (n if rule.truncate else 0), model.W.dtype)
    params = pointer(work)
    z, sides = offset(params, n + k), offset(params, n + 2 * k)
    W, grads, part = pointer(model.W), pointer(memory.grads), pointer(memory.part)
    for j in range(n):
        params[j] = W[j]
    for c in range(k):
        params[n + c] = constant(b[c], W[0])
    part_rows = max(PART, d)
    # A sum of few rows, or of small batches, needs no parts.
    sums = grads if batch.size <= part_rows else part
    loss = 0.0
    for t in range(start, stop):
        place = t % batch.size
        if place == 0:
            for j in range(n + k):
                grads[j] = constant(0, grads[0])
        i = row_number(X, t)
        prefetch_ahead_(X, t, stop)
        for c in range(k):
            z[c] = row_dot(X, i, offset(params, c * d)) + params[n + c]
        own = float(X.weight[i]) if X.weighted else 1.0
        loss += row_slopes_(rule, batch.joint, k, X.y[i], own, z)
        for c in range(k):
            row_add_(X, i, z[c], offset(sums, c * d))
            sums[n + c] += z[c]
        ends = place + 1 == batch.size or t + 1 == total
        if batch.size > part_rows and (ends or (place + 1) % part_rows == 0):
            move_(n + k, part, grads)
        if ends:
            step_batch_(rule, batch, state, model, place + 1, params, grads, memory, sides)
    for j in range(n):
        W[j] = params[j]
    for c in range(k):
        b[c] = params[n + c]
    state[LOSS_SUM] += loss
    keep_alive((work,))


@kernel
def train_linear_batches_(
    rule, batch, model, memory, rows, y, weight, order, start, stop, total
):  # fmt: skip
    """Train on rows ``order[start:stop]`` of an epoch of ``total``, one step after each batch.

    A call may end within a batch, which the next one goes on with.

    Parameters
    ----------
    rule : LinearRule
    batch : BatchRule
    model : Model
        Written; its scale stays 1.
    memory : Memory
        Written.
    rows : Rows
    y : array (n,)
        Targets, or class numbers for the softmax.
    weight : array (n,) or (0,)
        Weights of the rows.
    order : int32 array
        Numbers of the rows; empty for the natural order.
    start, stop, total : int
    """
    arguments = (rule, batch, model, memory, rows, y, weight, order, start, stop, total)
    flushing_(flushed_train_linear_batches_, arguments)
