"""Mini-batch and full-batch training: the gradient of a batch, then one optimiser step."""

import math

import numpy as np

from fastnn.kernels.jit import helper, kernel
from fastnn.kernels.losses import identity_link_, link_
from fastnn.kernels.network import (
    MOST,
    are_finite,
    backward_,
    chunk_rows,
    complete_delta_,
    evaluate_,
    forward_,
    gather_,
    hand_down_,
    layer_gradient_,
    workspace,
    workspace_size,
)
from fastnn.kernels.optimizers import step_
from fastnn.kernels.plan import Rule, borrow, row_number, row_weight
from fastnn.kernels.subnormals import flushing_
from fastnn.kernels.views import constant, keep_alive, offset, pointer, vector

#: Numbers of a gradient that are stepped by at once, in networks of more; and the least rows of
#: weights that they are, for each such product packs the batch's deltas anew.
AT_ONCE, LEAST = 1 << 16, 64


@helper
def batch_weight(job, start, stop):
    """Return ``sum_i w_i`` over rows ``start:stop`` of the order."""
    if not job.weighted:
        return float(stop - start)
    total = 0.0
    for t in range(start, stop):
        total += row_weight(job, row_number(job, t))
    return total


@helper
def penalise_range_(rule, l2, size, W, gW):
    """Return the value of the penalties of ``size`` weights; add their gradient to ``gW``."""
    if size == 0:  # biases alone
        return 0.0
    lasso, ridge = constant(rule.l1, W[0]), constant(l2, W[0])
    W, gW = vector(W, 0, size), vector(gW, 0, size)
    squares = constant(0, W[0])
    sizes = constant(0, W[0])
    if rule.l1 == 0:  # the usual case, at a third of the time
        for i in range(size):
            squares += W[i] * W[i]
            gW[i] += ridge * W[i]
        return 0.5 * l2 * squares
    for i in range(size):
        squares += W[i] * W[i]
        sizes += abs(W[i])
        sign = constant(W[i] > 0, W[i]) - constant(W[i] < 0, W[i])
        gW[i] += ridge * W[i] + lasso * sign
    return 0.5 * l2 * squares + rule.l1 * sizes


@helper
def penalise_(job, params, rule, normaliser, grads):
    """Return the value of the penalties and add their gradient to ``grads``."""
    l2 = rule.l2 + rule.alpha / normaliser
    value = 0.0
    if l2 != 0 or rule.l1 != 0:
        for l in range(job.n_layers):
            w = job.weights[l]
            value += penalise_range_(
                rule, l2, job.biases[l] - w, offset(params, w), offset(grads, w)
            )  # fmt: skip
    return value


@helper
def clip_(grads, largest):
    """Scale ``grads`` so that its Euclidean norm is at most ``largest``."""
    if not largest < math.inf:
        return
    squares = 0.0
    for i in range(grads.size):
        squares += grads[i] * grads[i]
    norm = math.sqrt(squares)
    if norm > largest:
        factor = constant(largest / norm, grads[0])
        for i in range(grads.size):
            grads[i] *= factor


@helper
def decay_(job, params, amount):
    """Take ``amount * W`` from the weights of every layer."""
    if amount == 0:
        return
    keep = constant(1 - amount, params[0])
    for l in range(job.n_layers):
        W = vector(params, job.weights[l], job.biases[l] - job.weights[l])  # without the biases
        for i in range(W.size):
            W[i] *= keep


@helper
def borrowed_rule(rule):
    """Return the rule with a view of its options."""
    options = vector(rule.options, 0, rule.options.size)
    return Rule(
        rule.optimizer, options, rule.mean, rule.l1, rule.l2, rule.alpha, rule.weight_decay,
        rule.clip_norm,
    )  # fmt: skip


@helper
def step_range_(params, rule, rate, l2, t, n, first, size, n_weights, grads, slots):
    """Step ``size`` parameters from number ``first`` of ``n``; return their penalties' value.

    ``grads`` begins with their gradient; the first ``n_weights`` of them are weights.
    """
    own = offset(params, first)
    value = 0.0
    if l2 != 0 or rule.l1 != 0:
        value = penalise_range_(rule, l2, n_weights, own, grads)
    if rule.weight_decay != 0:
        W = vector(own, 0, n_weights)
        keep = constant(1 - rate * rule.weight_decay, own[0])
        for i in range(n_weights):
            W[i] *= keep
    at = min(first, slots.size)  # none have size 0
    step_(
        rule.optimizer, vector(own, 0, size), vector(grads, 0, size),
        vector(slots, at, slots.size - at), n, rate, rule.options, t,
    )  # fmt: skip
    return value


@helper
def update_(job, params, rule, rate, normaliser, t, grads, slots):
    """Make one step from the gradient of a batch; return the penalties' value."""
    value = penalise_(job, params, rule, normaliser, grads)
    clip_(grads, rule.clip_norm)
    decay_(job, params, rate * rule.weight_decay)
    n = params.size
    step_range_(pointer(params), rule, rate, 0.0, t, n, 0, n, 0, pointer(grads), slots)
    return value


@helper
def train_batch_(
    job, params, rule, rate, divisor, t, n, start, stop, by_layers, work, grads, slots, accumulate
):  # fmt: skip
    """Write the gradient of a batch, or add it; or step layer by layer, and leave none.

    Returns ``sum_i w_i J_i`` and the penalties' value of a step by layers.  Stepped so the batch
    goes through the network at once, and of a large layer some rows of weights at a time are:
    their gradient is still in the cache when it is used, and does not go through memory.
    """
    loss, penalties = 0.0, 0.0
    l2 = rule.l2 + rule.alpha / divisor
    for first in range(start, stop, work.rows):
        last = min(first + work.rows, stop)
        gather_(job, first, last, work.a)
        forward_(job, params, first, last, work)
        loss += evaluate_(job, first, last, 1 / divisor, work, work.delta)
        if not by_layers:
            backward_(job, params, first, last, work, grads, accumulate)
            accumulate = True
            continue
        for down in range(job.n_layers):
            l = job.n_layers - 1 - down
            n_in, n_out, w0 = job.sizes[l], job.sizes[l + 1], job.weights[l]
            hand_down_(job, params, last - first, work, l)
            whole = l == 0 and job.sparse
            rows = n_in if whole else min(max(AT_ONCE // n_out, LEAST), n_in)
            for i in range(0, n_in, rows):
                count = min(rows, n_in - i)
                layer_gradient_(job, first, last, work, l, i, count, grads, accumulate)
                size = job.biases[l] - w0 + n_out if i + count == n_in else (i + count) * n_out
                penalties += step_range_(
                    params, rule, rate, l2, t, n, w0 + i * n_out, size - i * n_out,
                    count * n_out, grads, slots,
                )  # fmt: skip
            complete_delta_(job, first, last, work, l)
    return loss, penalties


@helper
def train_each_batch_(
    plan, params, rows, targets, order, start, stop, batch_size, normaliser, rule, rate,
    grads, slots, t, steps, totals,
):  # fmt: skip
    """Do what `train_batches_` does, subnormal numbers being zero."""
    job = borrow(plan, rows, targets, order)
    at_once = chunk_rows(job, params.itemsize, batch_size)
    memory = np.empty(workspace_size(job, at_once, True), params.dtype)
    work = workspace(job, at_once, memory, True)
    # Borrowed, so that their references are not counted at every call.
    own = borrowed_rule(rule)
    flat, gradient = vector(params, 0, params.size), vector(grads, 0, grads.size)
    memories = vector(slots, 0, slots.size)
    loss, total_weight, mean_loss, mean_penalty = 0.0, 0.0, 0.0, 0.0
    by_layers = params.size > AT_ONCE and steps and not rule.clip_norm < math.inf
    for first in range(start, stop, batch_size):
        last = min(first + batch_size, stop)
        weight = batch_weight(job, first, last)
        divisor = normaliser
        if divisor == 0:
            divisor = weight if rule.mean else 1.0
        total_weight += weight
        if steps:
            t += 1
        together = by_layers and normaliser == 0 and last - first <= at_once
        value, penalties = train_batch_(
            job, pointer(params), own, rate, divisor, t, params.size, first, last, together, work,
            pointer(grads), memories, normaliser != 0,
        )  # fmt: skip
        if steps and not together:
            penalties = update_(job, flat, own, rate, divisor, t, gradient, memories)
        loss += value + divisor * penalties
        if weight > 0:
            share = (last - first) / weight
            mean_loss += share * value
            mean_penalty += share * divisor * penalties
    totals[0] += loss
    totals[1] += total_weight
    if totals.size > 2:
        totals[2] += mean_loss
        totals[3] += mean_penalty
    keep_alive((memory,))


@kernel
def train_batches_(
    plan, params, rows, targets, order, start, stop, batch_size, normaliser, rule, rate,
    grads, slots, t, steps, totals,
):  # fmt: skip
    """Train on consecutive batches of rows ``order[start:stop]``.

    Writes ``params`` and ``slots``; adds the objective times the batch's weight, and the
    weight, to ``totals`` (2,) float64.  ``t`` is the number of steps made before.  Where ``totals``
    has four numbers, adds to the last two the mean loss and the mean penalty of each batch times
    the number of its rows, as scikit-learn counts batches of weighted rows.

    A batch too large for one call comes in several, each with the whole batch's ``normaliser``
    and all but the last without ``steps``: its gradient adds up in ``grads``, which is zero
    before the first call.  Otherwise ``normaliser`` is 0 and ``grads`` is scratch.  Then a large
    network is stepped layer by layer.
    """
    arguments = (
        plan, params, rows, targets, order, start, stop, batch_size, normaliser, rule, rate,
        grads, slots, t, steps, totals,
    )  # fmt: skip
    flushing_(train_each_batch_, arguments)


@kernel
def score_(plan, params, rows, targets, order, start, stop, linked, out, totals):
    """Run rows ``order[start:stop]`` forward.

    Returns whether all dense rows are finite, which costs little while they are in the cache.

    Where ``out`` (n, n_out) has rows, writes scores to them, or predictions after the loss's
    link; row ``t`` belongs to ``order[t]``.  Where ``targets`` has any, adds
    ``sum_i w_i J_i`` and ``sum_i w_i`` to ``totals`` (2,) float64.
    """
    job = borrow(plan, rows, targets, order)
    n_out = plan.sizes[-1]
    at_once = min(stop - start, MOST)
    memory = np.empty(workspace_size(job, at_once, False), params.dtype)
    work = workspace(job, at_once, memory, False)
    predictions = pointer(out)
    fine = True
    for first in range(start, stop, at_once):
        last = min(first + at_once, stop)
        gather_(job, first, last, work.a)
        fine &= are_finite(job, first, last, work.a)
        forward_(job, pointer(params), first, last, work)
        if targets.y.shape[0] > 0 or job.numbered:
            totals[0] += evaluate_(job, first, last, 1.0, work, work.a)
            totals[1] += batch_weight(job, first, last)
        rows = min(last, out.shape[0]) - first
        if rows > 0:
            scores = offset(work.z, (last - first) * plan.units[plan.sizes.size - 1])
            into = offset(predictions, first * n_out)
            if linked:
                link_(plan.loss, rows, n_out, scores, into)
            else:
                identity_link_(rows, n_out, scores, into)
    keep_alive((memory,))
    return fine
