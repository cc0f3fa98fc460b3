"""Mini-batch training by a team of threads.

A batch is cut into parts, and the parameters into as many shares, the same whoever works on them:

    parts    gradient of the part's rows, in a vector of its own           until all are finished
    shares   sum of the parts' gradients, in order; the optimiser's step   until all are finished

The result depends neither on timing nor on how many threads there are: it is that of one thread
which does all of it in turn.  It differs from `train_batches_` in rounding only, because that
sums a batch in one go.

Between cores, moving a number costs more than computing with it.  So every thread has a copy of
the parameters, to which it copies the shares of others in one sweep; reading them as they come
in a matrix product would cost twice as much.

The first thread works on the caller's arrays.  If the others lose their cores, it takes over what
nobody has begun and goes on alone until its kernel ends; they see it and leave.
"""

import math

import numpy as np

from fastnn.kernels.jit import helper, kernel
from fastnn.kernels.minibatch import batch_weight, borrowed_rule, penalise_range_
from fastnn.kernels.network import chunk_rows, gradient_, workspace, workspace_size
from fastnn.kernels.optimizers import step_
from fastnn.kernels.plan import borrow
from fastnn.kernels.stages import ALONE, FINISHED, begin, count, publish, wait_for
from fastnn.kernels.subnormals import flushing_
from fastnn.kernels.views import constant, keep_alive, offset, pointer, vector

#: Rows and parameters are cut at multiples of these.
FEW, MANY = 8, 64
#: Parameters whose gradients are added up and used while they are in the first cache.
BLOCK = 1024
#: Looks that a thread may take to appear: 2 ms.
START = 200_000


@helper
def cut(n, grain, part, parts):
    """Return where ``part`` of ``n`` things begins."""
    return min(n, (n + grain - 1) // grain * part // parts * grain)


@helper
def copy_numbers_(n, x, out):
    """Write ``out = x``."""
    for i in range(n):
        out[i] = x[i]


@helper
def part_(job, params, low, high, part, parts, divisor, work, grads, accumulate):
    """Return the loss of a part of batch ``low:high``; write, or add, its gradient."""
    first = low + cut(high - low, FEW, part, parts)
    last = low + cut(high - low, FEW, part + 1, parts)
    if first == last and not accumulate:
        n = job.biases[job.n_layers - 1] + job.sizes[job.n_layers]
        for i in range(n):
            grads[i] = constant(0, params[0])
    return gradient_(job, params, first, last, 1 / divisor, work, grads, accumulate)


@helper
def sum_parts_(job, params, rule, l2, start, stop, n, parts, grads, total):
    """Write the gradient of parameters ``start:stop``; return the value of their penalties."""
    size = stop - start
    copy_numbers_(size, offset(grads, start), total)
    out = vector(total, 0, size)
    for part in range(1, parts):
        other = vector(grads, part * n + start, size)
        for i in range(size):
            out[i] += other[i]
    value = 0.0
    if l2 != 0 or rule.l1 != 0:
        for l in range(job.n_layers):
            low, high = max(start, job.weights[l]), min(stop, job.biases[l])
            if low < high:
                value += penalise_range_(
                    rule, l2, high - low, offset(params, low), offset(total, low - start)
                )  # fmt: skip
    return value


@helper
def decay_range_(job, params, amount, start, stop):
    """Take ``amount * W`` from the weights among parameters ``start:stop``."""
    keep = constant(1 - amount, params[0])
    for l in range(job.n_layers):
        for i in range(max(start, job.weights[l]), min(stop, job.biases[l])):
            params[i] *= keep


@helper
def clip_factor(job, params, rule, l2, n, parts, grads, total):
    """Return what makes the gradient of all parameters no longer than the rule allows."""
    squares = 0.0
    for start in range(0, n, BLOCK):
        stop = min(start + BLOCK, n)
        sum_parts_(job, params, rule, l2, start, stop, n, parts, grads, total)
        for i in range(stop - start):
            squares += total[i] * total[i]
    norm = math.sqrt(squares)
    return rule.clip_norm / norm if norm > rule.clip_norm else 1.0


@helper
def update_share_(
    job, params, rule, rate, divisor, t, n, first, last, parts, grads, slots, total
):  # fmt: skip
    """Step parameters ``first:last`` by the parts' gradients; return their penalties' value."""
    l2 = rule.l2 + rule.alpha / divisor
    factor, value = 1.0, 0.0
    if rule.clip_norm < math.inf:
        factor = clip_factor(job, params, rule, l2, n, parts, grads, total)
    scale = constant(factor, params[0])
    for start in range(first, last, BLOCK):
        stop = min(start + BLOCK, last)
        value += sum_parts_(job, params, rule, l2, start, stop, n, parts, grads, total)
        if factor != 1:
            for i in range(stop - start):
                total[i] *= scale
        if rule.weight_decay != 0:
            decay_range_(job, params, rate * rule.weight_decay, start, stop)
        at = min(start, slots.size)  # none have size 0
        step_(
            rule.optimizer, vector(params, start, stop - start), vector(total, 0, stop - start),
            vector(slots, at, slots.size - at), n, rate, rule.options, t,
        )  # fmt: skip
    return value


@helper
def flushed_train_parts_(
    plan, params, rows, targets, order, start, stop, batch_size, normaliser, rule, rate,
    grads, slots, t, steps, copies, owners, values, patience, totals, member, members, state,
):  # fmt: skip
    """Do what `train_parts_` does, subnormal numbers being zero."""
    job = borrow(plan, rows, targets, order)
    parts, n = grads.shape
    own = member > 0
    at_once = chunk_rows(job, params.itemsize, batch_size // parts + FEW)
    memory = np.empty(workspace_size(job, at_once, True), params.dtype)
    block = np.empty(BLOCK, params.dtype)
    work = workspace(job, at_once, memory, True)
    first_copy, gradients = pointer(params), pointer(grads)
    moments, settings = vector(slots, 0, slots.size), borrowed_rule(rule)
    flat, total, losses = first_copy, pointer(block), pointer(values)
    penalties = offset(losses, parts)
    if own:
        flat = offset(copies, (member - 1) * n)
        copy_numbers_(n, first_copy, flat)
    begun, end = parts * member // members, parts * (member + 1) // members
    bearing, alone = 0 if own else patience + START, members == 1
    stage = 0
    for low in range(start, stop, batch_size):
        high = min(low + batch_size, stop)
        weight = batch_weight(job, low, high)
        divisor = normaliser
        if divisor == 0:
            divisor = weight if rule.mean else 1.0
        t += steps
        for updates in range(2 if steps else 1):
            while True:
                for task in range(begun, end):
                    if begin(state, task, stage):
                        if updates:
                            owners[task] = member
                            penalties[task] = update_share_(
                                job, flat, settings, rate, divisor, t, n, cut(n, MANY, task, parts),
                                cut(n, MANY, task + 1, parts), parts, gradients, moments, total,
                            )  # fmt: skip
                        else:
                            losses[task] = part_(
                                job, flat, low, high, task, parts, divisor, work,
                                offset(gradients, task * n), normaliser != 0,
                            )  # fmt: skip
                        count(state, FINISHED)
                    elif own:
                        return  # the first thread has taken it over
                if wait_for(state, FINISHED, (stage + 1) * parts, own, 0 if alone else bearing):
                    break
                if own or alone:
                    return
                alone, begun, end = True, 0, parts
                publish(state, ALONE, 1)
            stage += 1
            bearing = 0 if own else patience
            if not own:  # before others may begin the next batch and write anew
                for task in range(parts):
                    totals[0] += penalties[task] * divisor if updates else losses[task]
        if steps:
            for share in range(parts):
                owner = owners[share]
                if owner != member:
                    first, last = cut(n, MANY, share, parts), cut(n, MANY, share + 1, parts)
                    source = first_copy if owner == 0 else offset(copies, (owner - 1) * n)
                    copy_numbers_(last - first, offset(source, first), offset(flat, first))
        if not own:
            totals[1] += weight
    keep_alive((memory, block))


@kernel
def train_parts_(
    plan, params, rows, targets, order, start, stop, batch_size, normaliser, rule, rate,
    grads, slots, t, steps, copies, owners, values, patience, totals, member, members, state,
):  # fmt: skip
    """Be one ``member`` of ``members`` threads that do together what `train_batches_` does.

    All have the same arguments but for ``member``, from 0.  A batch has as many parts as ``grads``
    (parts, n_parameters) has rows, and ``state`` as many tasks.  ``copies`` has room for the
    parameters of all members but the first; int64 ``owners`` (parts,) and float64 ``values``
    (2, parts) are scratch.  ``patience`` is how many looks the first thread waits for the others,
    `START` more at first.
    """
    arguments = (
        plan, params, rows, targets, order, start, stop, batch_size, normaliser, rule, rate,
        grads, slots, t, steps, copies, owners, values, patience, totals, member, members, state,
    )  # fmt: skip
    flushing_(flushed_train_parts_, arguments)
