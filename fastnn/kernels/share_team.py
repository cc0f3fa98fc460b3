"""Mini-batch training of wide layers by threads that share the units.

A parameter that one core changed and another reads costs more than the arithmetic done with it.
Here none is: the hidden units are cut into shares, and to each belong the weights into its units of
the first hidden layer, and those out of its units of every one.  What the shares exchange, for all
rows of a batch, is

    ascending     their parts of the scores of a layer, ``z = sum_s a_s W_s + b``, of which each
                  takes the sum for its own units; for the outputs, for a share of the rows
    descending    ``delta`` of the outputs for a share of the rows; then that of their units of a
                  layer, which every thread puts together

With L layers of weights these are ``2 L - 2`` stages (see `stages`): a batch's last, where the
first hidden layer gets its ``delta``, is the next batch's first, for what a share does then is its
own.  The optimiser's steps follow the gradients layer by layer.  A share's parameters lie together
while the kernel runs, as gradients and moments do.

The result depends on how many shares there are, not on who works on them or when.  It differs
from `train_batches_` in rounding only.
"""

import math

import numpy as np

from fastnn.kernels.activations import activate_batch_, deactivate_batch_
from fastnn.kernels.column_sums import column_sums_
from fastnn.kernels.dense import (
    batch_backward_,
    batch_forward_,
    sparse_forward_,
    sparse_gradient_,
)
from fastnn.kernels.gemm import gemm_nn_, gemm_tn_
from fastnn.kernels.jit import helper, kernel
from fastnn.kernels.matrix_sum import add_rows_
from fastnn.kernels.minibatch import AT_ONCE, LEAST, batch_weight, borrowed_rule, step_range_
from fastnn.kernels.network import evaluate_rows_, gather_, inputs, is_rectified, lines, targets_
from fastnn.kernels.plan import borrow
from fastnn.kernels.shares import (
    BIASES,
    BLOCKS,
    CUTS,
    SUMS,
    WEIGHTS,
    Batch,
    Shares,
    Thread,
    load_share_,
    numbers_of,
    place,
    save_share_,
    width,
)
from fastnn.kernels.simd import prefetch_
from fastnn.kernels.stages import ALONE, FINISHED, begin, count, publish, wait_for
from fastnn.kernels.subnormals import flushing_
from fastnn.kernels.team import FEW, START, copy_numbers_, cut
from fastnn.kernels.views import aligned, constant, keep_alive, matrix, offset, pointer, vector

#: Numbers of which one is asked for: as many as a line of the cache has at the least.
AHEAD = 8


@helper
def ask_(n, x):
    """Ask for ``n`` numbers of another core's, all at once: each alone would be waited for."""
    for i in range(0, n, AHEAD):
        prefetch_(x, i)


@helper
def ascend_(job, shares, share, l, batch):
    """Write a share's units of layer ``l + 1``, and its part in the scores above."""
    rows, n = batch.stop - batch.start, width(shares, share, l + 1)
    block, b = place(shares, BLOCKS, share, l + 1), place(shares, BIASES, share, l)
    flat = numbers_of(shares, share)
    rectified = is_rectified(job, l)
    out, floor = (shares.a, 0.0) if rectified else (shares.z, -math.inf)
    if l > 0:
        first = place(shares, CUTS, share, l + 1)
        collect_(shares, l + 1, rows, n, rows * first, offset(flat, b), offset(out, block), floor)
    elif job.sparse:
        W, bias = matrix(flat, 0, job.sizes[0], n), vector(flat, b, n)
        sparse_forward_(job, batch.start, batch.stop, W, bias, out, block)
    else:
        batch_forward_(rows, job.sizes[0], n, batch.x, batch.x0, flat, 0, b, out, block, floor)
    if not rectified:
        activate_batch_(job.activations[l], rows * n, block, shares.z, shares.a)
    above, w = job.sizes[l + 2], place(shares, WEIGHTS, share, l + 1)
    part = place(shares, SUMS, share, l + 2)
    for other in range(shares.number):  # what each is to take lies together
        first, columns = place(shares, CUTS, other, l + 2), width(shares, other, l + 2)
        gemm_nn_(
            rows, columns, n, shares.a, block, n, flat, w + first, above,
            shares.sums, part + rows * first, columns, False,
        )  # fmt: skip


@helper
def collect_(shares, l, rows, columns, at, bias, out, floor):
    """Write a (rows, columns) block of the scores of layer ``l``.

    It is the sum of the ``bias`` and of what begins ``at`` a place in the shares' parts.
    """
    for share in range(shares.number):
        ask_(rows * columns, offset(shares.sums, place(shares, SUMS, share, l) + at))
    for share in range(shares.number):
        part = offset(shares.sums, place(shares, SUMS, share, l) + at)
        least = constant(floor if share == shares.number - 1 else -math.inf, out[0])
        before, apart = (bias, 0) if share == 0 else (out, columns)
        add_rows_(rows, columns, part, columns, before, apart, least, out, columns)


@helper
def outputs_delta(job, shares):
    """Return where ``delta`` of the outputs is."""
    return offset(shares.sums, place(shares, SUMS, shares.number, job.n_layers))


@helper
def judge_(job, shares, share, batch, thread):
    """Return the loss of a share of the rows; write their ``delta`` of the outputs."""
    n, top = job.sizes[job.n_layers], job.n_layers - 1
    first = cut(batch.stop - batch.start, FEW, share, shares.number)
    last = cut(batch.stop - batch.start, FEW, share + 1, shares.number)
    if first == last:
        return 0.0
    bias = offset(numbers_of(shares, 0), place(shares, BIASES, 0, top))
    collect_(shares, top + 1, last - first, n, first * n, bias, thread.scores, -math.inf)
    start, stop = batch.start + first, batch.start + last
    goal = targets_(job, start, stop, thread.goals)
    delta = offset(outputs_delta(job, shares), first * n)
    return evaluate_rows_(job, start, stop, 1 / batch.divisor, thread.scores, goal, delta)


@helper
def join_(shares, l, rows, n, out):
    """Put ``delta`` of layer ``l`` together from the shares' blocks."""
    for share in range(shares.number):
        block = offset(shares.delta, place(shares, BLOCKS, share, l))
        ask_(rows * width(shares, share, l), block)
    for share in range(shares.number):
        columns = width(shares, share, l)
        block = offset(shares.delta, place(shares, BLOCKS, share, l))
        into = offset(out, place(shares, CUTS, share, l))
        for r in range(rows):
            copy_numbers_(columns, offset(block, r * columns), offset(into, r * n))


@helper
def descend_(job, shares, share, l, rule, batch, delta):
    """Write a share's ``delta`` of layer ``l > 0`` and step its weights from there.

    ``delta`` is that of the whole layer above.  Returns the value of the weights' penalties.
    """
    rows, n, above = batch.stop - batch.start, width(shares, share, l), job.sizes[l + 1]
    block, w = place(shares, BLOCKS, share, l), place(shares, WEIGHTS, share, l)
    flat = numbers_of(shares, share)
    grads = offset(flat, shares.size)
    if l + 1 == job.n_layers:
        ask_(rows * above, delta)
    gemm_tn_(n, above, rows, shares.a, block, n, delta, 0, above, grads, w, above, False)
    gb = offset(grads, place(shares, BIASES, share, l))
    if l + 1 < job.n_layers:
        upper = offset(shares.delta, place(shares, BLOCKS, share, l + 1))
        column_sums_(rows, width(shares, share, l + 1), upper, None, gb)
    elif share == 0:
        column_sums_(rows, above, delta, None, gb)
    rectified = is_rectified(job, l - 1)
    batch_backward_(
        rows, n, above, delta, 0, flat, w, shares.delta, block, shares.a, rectified
    )  # fmt: skip
    if not rectified:
        deactivate_batch_(
            job.activations[l - 1], rows * n, block, shares.z, shares.a, shares.delta
        )  # fmt: skip
    return step_layer_(job, shares, share, l, rule, batch, 0, n)


@helper
def step_layer_(job, shares, share, l, rule, batch, first, count):
    """Step ``count`` rows of a share's weights from layer ``l``; return their penalties' value.

    With the last of them come the biases of the layer above.
    """
    flat = numbers_of(shares, share)
    row, rows = width(shares, share, 1), job.sizes[0]
    if l > 0:
        row, rows = job.sizes[l + 1], width(shares, share, l)
    at, n_weights = place(shares, WEIGHTS, share, l) + first * row, count * row
    size = n_weights
    if first + count == rows:
        size = place(shares, BIASES, share, l) + width(shares, share, l + 1) - at
    return batch.divisor * step_range_(
        flat, rule, batch.rate, rule.l2 + rule.alpha / batch.divisor, batch.t, shares.size, at,
        size, n_weights, offset(flat, shares.size + at),
        vector(flat, 2 * shares.size, shares.slots * shares.size),
    )  # fmt: skip


@helper
def first_layer_(job, shares, share, rule, batch):
    """Step the weights and biases into a share's units of the first layer, as of `step_layer_`."""
    rows, n, n_in = batch.stop - batch.start, width(shares, share, 1), job.sizes[0]
    block, b = place(shares, BLOCKS, share, 1), place(shares, BIASES, share, 0)
    grads = offset(numbers_of(shares, share), shares.size)
    if job.sparse:
        D = matrix(shares.delta, block, rows, n)
        gW, gb = matrix(grads, 0, n_in, n), vector(grads, b, n)
        sparse_gradient_(job, batch.start, batch.stop, D, gW, gb, False)
        return step_layer_(job, shares, share, 0, rule, batch, 0, n_in)
    column_sums_(rows, n, offset(shares.delta, block), None, offset(grads, b))
    value, at_once = 0.0, max(AT_ONCE // max(n, 1), LEAST)
    for i in range(0, n_in, at_once):  # the gradient is in the cache when it is used
        count = min(at_once, n_in - i)
        gemm_tn_(
            count, n, rows, batch.x, batch.x0 + i, n_in, shares.delta, block, n,
            grads, i * n, n, False,
        )  # fmt: skip
        value += step_layer_(job, shares, share, 0, rule, batch, i, count)
    return value


@helper
def work_(job, shares, share, stage, rule, batch, thread):
    """Do a share's task of a stage after the first; return what it adds to the objective."""
    top = job.n_layers - 1
    if stage < top:
        ascend_(job, shares, share, stage, batch)
        return 0.0
    if stage == top:
        return judge_(job, shares, share, batch, thread)
    delta = outputs_delta(job, shares) if stage == top + 1 else thread.delta
    return descend_(job, shares, share, 2 * top + 1 - stage, rule, batch, delta)


@helper
def end_(job, shares, share, rule, batch, thread):
    """Do the rest of a share's work on a batch, where nothing of others is waited for any more."""
    delta = outputs_delta(job, shares) if job.n_layers == 2 else thread.delta
    value = descend_(job, shares, share, 1, rule, batch, delta)
    return value + first_layer_(job, shares, share, rule, batch)


@helper
def hold_(job, batch, held, thread):
    """Bring together a batch's rows unless they are those ``held``; return what is held then."""
    if held != batch.start:
        gather_(job, batch.start, batch.stop, thread.rows)
    return batch.start


@helper
def flushed_train_shares_(
    plan, params, rows, targets, order, start, stop, batch_size, rule, rates, apart, slots,
    t, places, own, units, sums, values, patience, totals, made, member, members, state,
):  # fmt: skip
    """Do what `train_shares_` does, subnormal numbers being zero."""
    job = borrow(plan, rows, targets, order)
    block = pointer(units)
    shares = Shares(
        own.shape[0], places.shape[2], places.shape[1] * places.shape[2], pointer(places),
        own.shape[2], own.shape[1] - 2, pointer(own),
        block, offset(block, units.shape[1]), offset(block, 2 * units.shape[1]), pointer(sums),
    )  # fmt: skip
    widest, n_out = 0, job.sizes[job.n_layers]
    for l in range(2, job.n_layers):
        widest = max(widest, job.sizes[l])
    n_rows = lines(0 if job.sparse else batch_size * job.sizes[0])
    n_delta, n_scores = lines(batch_size * widest), lines(batch_size * n_out)
    memory = np.empty(n_rows + n_delta + n_scores + lines(batch_size * job.n_targets), params.dtype)
    gathered = aligned(memory)
    delta = offset(gathered, n_rows)
    scores = offset(delta, n_delta)
    thread = Thread(gathered, delta, scores, offset(scores, n_scores))
    settings, objective = borrowed_rule(rule), pointer(values)
    first = member == 0
    begun, end = shares.number * member // members, shares.number * (member + 1) // members
    bearing, alone = patience + START if first else 0, members == 1
    done, top, held = 0, job.n_layers - 1, -1
    x, x0 = inputs(job, 0, start, 0, thread.rows)
    batch = Batch(start, start, x, x0, 1.0, rates[0], t)
    epoch, told, low, number, deserted = 0, 0, start, 0, 0
    while True:  # one more than there are batches ends the last
        # Who looked for ALONE just before it was set may begin a task of two stages more, and
        # does not know that the first thread ends there: so it does not.
        early = members > 1 and alone and number > deserted + 1
        closing = epoch == rates.size or (early and epoch > 0 and low == start)
        before = batch
        high = min(low + batch_size, stop)
        weight = 0.0 if closing else batch_weight(job, low, high)
        x, x0 = inputs(job, 0, low, high - low, thread.rows)
        t += 1
        rate = rates[min(epoch, rates.size - 1)]
        batch = Batch(low, high, x, x0, weight if settings.mean else 1.0, rate, t)
        for stage in range(1 if closing else 2 * top):
            if stage == 0 and number > 0 and top > 1:
                join_(shares, 2, before.stop - before.start, job.sizes[2], thread.delta)
            elif stage > top + 1:
                l = 2 * top + 2 - stage
                join_(shares, l, high - low, job.sizes[l], thread.delta)
            while True:
                taken, leaves = 0, False
                for share in range(begun, end):
                    if begin(state, share, done):
                        taken |= 1 << share
                        value = 0.0
                        if done == 0:
                            load_share_(job, shares, share, params, slots)
                        if stage > 0:
                            value = work_(job, shares, share, stage, settings, batch, thread)
                        elif number > 0:
                            held = hold_(job, before, held, thread)
                            value = end_(job, shares, share, settings, before, thread)
                        objective[done % 2 * shares.number + share] = value
                    else:
                        leaves = not first  # the first thread has taken it over
                if stage == 0 and not closing:
                    held = hold_(job, batch, held, thread)
                for share in range(begun, end):
                    if taken >> share & 1:
                        if closing:
                            save_share_(job, shares, share, params, slots)
                        elif stage == 0:
                            ascend_(job, shares, share, 0, batch)
                        count(state, FINISHED)
                if leaves:
                    return
                finished = (done + 1) * shares.number
                if wait_for(state, FINISHED, finished, not first, 0 if alone else bearing):
                    break
                if alone or not first:
                    return
                alone, begun, end, deserted = True, 0, shares.number, number
                publish(state, ALONE, 1)
            if first:  # before others may finish the next stage and write anew after it
                for share in range(shares.number):
                    totals[told, 0] += objective[done % 2 * shares.number + share]
            done += 1
            told = epoch
            bearing = patience if first else 0
        if closing:
            break
        if first:
            totals[epoch, 1] += weight
        number, low = number + 1, high
        if low == stop:
            epoch, start, stop = epoch + 1, start + apart, stop + apart
            low = start
    if first:
        made[0] = epoch
    keep_alive((memory,))


@kernel
def train_shares_(
    plan, params, rows, targets, order, start, stop, batch_size, rule, rates, apart, slots,
    t, places, own, units, sums, values, patience, totals, made, member, members, state,
):  # fmt: skip
    """Be one ``member`` of ``members`` threads that do together what `train_batches_` does.

    They do it for each of the ``rates`` (epochs,), every time ``apart`` places further in the
    order, and the objective is added to that epoch's ``totals`` (epochs, 2).  How many were
    ``made`` is written to that int64 array (1,): where the first thread goes on alone it ends with
    the epoch, for the others may be back by then.

    All have the same arguments but for ``member``, from 0.  ``places`` is that of `layout`; ``own``
    (shares, 2 + slots, parameters), ``units`` (3, units), ``sums`` and float64 ``values`` (2,
    shares) are scratch, and ``state`` has a task for each share.  The network has hidden layers and
    no dropout, the rule does not clip.  ``patience`` is how many looks the first thread waits for
    the others, `START` more at first.  All is done when the first thread returns, unless it was
    aborted: the others do not touch the arrays any more then, but for ``state``.
    """
    arguments = (
        plan, params, rows, targets, order, start, stop, batch_size, rule, rates, apart, slots, t,
        places, own, units, sums, values, patience, totals, made, member, members, state,
    )  # fmt: skip
    flushing_(flushed_train_shares_, arguments)
