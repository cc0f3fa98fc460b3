"""Mini-batch and full-batch training: the gradient of a batch, then one optimiser step."""

import math

import numpy as np

from fastnn.kernels.jit import helper, kernel
from fastnn.kernels.losses import identity_link_, link_
from fastnn.kernels.network import (
    chunk_rows,
    evaluate_,
    forward_,
    gather_,
    gradient_,
    workspace,
    workspace_size,
)
from fastnn.kernels.optimizers import step_
from fastnn.kernels.plan import Rule, borrow, row_number, row_weight
from fastnn.kernels.subnormals import flush_subnormals_, restore_
from fastnn.kernels.views import constant, keep_alive, offset, pointer, vector


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
def weights_of(job, flat, l):
    """Return the weights of layer ``l``, without its biases, as a vector."""
    return vector(flat, job.weights[l], job.biases[l] - job.weights[l])


@helper
def penalise_range_(rule, l2, size, W, gW):
    """Return the value of the penalties of ``size`` weights; add their gradient to ``gW``."""
    lasso, ridge = constant(rule.l1, W[0]), constant(l2, W[0])
    W, gW = vector(W, 0, size), vector(gW, 0, size)
    squares = constant(0, W[0])
    sizes = constant(0, W[0])
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
        W = weights_of(job, params, l)
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
def update_(job, params, rule, rate, normaliser, t, grads, slots):
    """Make one step from the gradient of a batch; return the penalties' value."""
    value = penalise_(job, params, rule, normaliser, grads)
    clip_(grads, rule.clip_norm)
    decay_(job, params, rate * rule.weight_decay)
    step_(rule.optimizer, params, grads, slots, params.size, rate, rule.options, t)
    return value


@kernel
def train_batches_(
    plan, params, rows, targets, order, start, stop, batch_size, normaliser, rule, rate,
    grads, slots, t, steps, totals,
):  # fmt: skip
    """Train on consecutive batches of rows ``order[start:stop]``.

    Writes ``params`` and ``slots``; adds the objective times the batch's weight, and the
    weight, to ``totals`` (2,) float64.  ``t`` is the number of steps made before.

    A batch too large for one call comes in several, each with the whole batch's ``normaliser``
    and all but the last without ``steps``: its gradient adds up in ``grads``, which is zero
    before the first call.  Otherwise ``normaliser`` is 0 and ``grads`` is scratch.
    """
    job = borrow(plan, rows, targets, order)
    at_once = chunk_rows(job, params.itemsize, batch_size)
    memory = np.empty(workspace_size(job, at_once), params.dtype)
    work = workspace(job, at_once, memory)
    # Borrowed, so that their references are not counted at every call.
    own = borrowed_rule(rule)
    flat, gradient = vector(params, 0, params.size), vector(grads, 0, grads.size)
    memories = vector(slots, 0, slots.size)
    loss, total_weight = 0.0, 0.0
    mode = flush_subnormals_()  # such as the moments of a unit that is never active any more
    for first in range(start, stop, batch_size):
        last = min(first + batch_size, stop)
        weight = batch_weight(job, first, last)
        divisor = normaliser
        if divisor == 0:
            divisor = weight if rule.mean else 1.0
        loss += gradient_(
            job, pointer(params), first, last, 1 / divisor, work, pointer(grads), normaliser != 0
        )
        total_weight += weight
        if steps:
            t += 1
            loss += divisor * update_(job, flat, own, rate, divisor, t, gradient, memories)
    restore_(mode)
    totals[0] += loss
    totals[1] += total_weight
    keep_alive((memory,))


@kernel
def score_(plan, params, rows, targets, order, start, stop, linked, out, totals):
    """Run rows ``order[start:stop]`` forward.

    Where ``out`` (n, n_out) has rows, writes scores to them, or predictions after the loss's
    link; row ``t`` belongs to ``order[t]``.  Where ``targets`` has rows, adds
    ``sum_i w_i J_i`` and ``sum_i w_i`` to ``totals`` (2,) float64.
    """
    job = borrow(plan, rows, targets, order)
    n_out = plan.sizes[-1]
    at_once = chunk_rows(job, params.itemsize, stop - start)
    memory = np.empty(workspace_size(job, at_once), params.dtype)
    work = workspace(job, at_once, memory)
    predictions = pointer(out)
    for first in range(start, stop, at_once):
        last = min(first + at_once, stop)
        gather_(job, first, last, work.a)
        forward_(job, pointer(params), first, last, work)
        if targets.y.shape[0] > 0:
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
