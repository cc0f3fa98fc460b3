"""The steps of a block of rows on the weights of one output, each waiting for the one before.

All that does not depend on scores is computed for the whole block before: rates, scales, targets.
What only adds up, losses and averages of the intercept, comes after.  So little is left to do
between one row and the next.
"""

import math
from typing import Any, NamedTuple

from fastnn.kernels.jit import helper
from fastnn.kernels.linear_losses import near_slope
from fastnn.kernels.linear_row import (
    prefetch_ahead_,
    row_add_,
    row_dot,
    row_norms,
    row_number,
    row_squares,
    row_truncate_,
)
from fastnn.kernels.linear_rule import PA1, limited_slope, scheduled_rate
from fastnn.kernels.row_pass import GROUP, PAIRS, add_row_, pass_
from fastnn.kernels.simd import prefetch_
from fastnn.kernels.views import constant, offset

#: The most rows of a block.
ROWS = 256
#: Numbers of a block in the precision of the weights and in float64, the last vector with one row
#: more.
N_OWN, N_WIDE = 7 * ROWS + 1 + 2 * GROUP + len(PAIRS), 5 * ROWS + 1
#: Bytes of dense rows to ask for ahead, and the fewest and most rows.
AHEAD_BYTES = 8192
AHEAD_LEAST, AHEAD_MOST = 4, 16
N_PLACES = ROWS + AHEAD_MOST + 2 * GROUP


class Block(NamedTuple):
    """Numbers of a block's rows, as `pointer`s.

    Attributes
    ----------
    places
        In int64, and of `N_PLACES` rows: where dense rows begin.
    rates, keeps, numbers, charges, times
        In float64: rates times weights of the rows; what the decay leaves; how many weights are
        averaged with those of a row, 0 for none; L1 penalty due so far; numbers of the steps, and
        of the one after.
    targets, gains, scales, averages
        Targets; minus the rate by the scale; the scale after the decay; what the average takes of
        a step.
    scores, slopes, sizes
        Written by the steps: scores, slopes of the loss, and ``|x|^2`` of dense rows, of one more.
    factors, sums, overlaps
        Of a group of rows, as `row_pass.group_pass_` has them.
    """

    places: Any
    rates: Any
    keeps: Any
    numbers: Any
    charges: Any
    times: Any
    targets: Any
    gains: Any
    scales: Any
    averages: Any
    scores: Any
    slopes: Any
    sizes: Any
    factors: Any
    sums: Any
    overlaps: Any


@helper
def rows_ahead(X):
    """Return how many dense rows ahead a row is asked for."""
    return min(max(AHEAD_BYTES // (X.d * X.itemsize), AHEAD_LEAST), AHEAD_MOST)


@helper
def block_at(own, wide, places):
    """Return the block whose vectors are at three pointers."""
    group = offset(own, 7 * ROWS + 1)
    return Block(
        places,
        wide,
        offset(wide, ROWS),
        offset(wide, 2 * ROWS),
        offset(wide, 3 * ROWS),
        offset(wide, 4 * ROWS),
        own,
        offset(own, ROWS),
        offset(own, 2 * ROWS),
        offset(own, 3 * ROWS),
        offset(own, 4 * ROWS),
        offset(own, 5 * ROWS),
        offset(own, 6 * ROWS),
        group,
        offset(group, GROUP),
        offset(group, 2 * GROUP),
    )


@helper
def begin_block_(rule, X, block, first, stop, eta, t, u, like):
    """Write what does not depend on scores, of up to `ROWS` rows; return how many."""
    count = min(ROWS, stop - first)
    for k in range(count + 1):
        block.times[k] = t + k
    if rule.schedule == PA1:  # a row of zeros is no step
        for k in range(count):
            size = row_squares(X, row_number(X, first + k), like)
            block.times[k + 1] = block.times[k] + (1.0 if size > 0 else 0.0)
    for k in range(count):
        block.rates[k] = scheduled_rate(rule, eta, block.times[k])
    decay = (1 - rule.l1_ratio) * rule.alpha if rule.decay else 0.0
    for k in range(count):
        block.keeps[k] = max(0.0, 1 - decay * block.rates[k])
    for k in range(count):
        number = block.times[k] - rule.average + 1
        block.numbers[k] = number if 0 < rule.average <= block.times[k] else 0.0
    for k in range(count if rule.truncate else 0):
        counts = block.times[k + 1] > block.times[k]
        u += rule.l1_ratio * rule.alpha * block.rates[k] if counts else 0.0
        block.charges[k] = u
    for k in range(count):
        i = row_number(X, first + k)
        prefetch_(X.y, row_number(X, min(first + k + ROWS, stop - 1)))
        block.targets[k] = X.y[i]
        rate = rule.positive_weight if X.y[i] > rule.middle else rule.negative_weight
        if X.weighted:
            rate *= X.weight[i]
        block.rates[k] = rate * (block.rates[k] if rule.schedule < PA1 else 1.0)
    for k in range(count if rule.schedule == PA1 else 0):
        if block.times[k + 1] == block.times[k]:
            block.rates[k], block.keeps[k], block.numbers[k] = 0.0, 1.0, 0.0
    for k in range(0 if X.sparse else count + rows_ahead(X) + 2 * GROUP):
        block.places[k] = row_number(X, min(first + k, stop - 1)) * X.d
    return count


class Step(NamedTuple):
    """What goes from one row to the next.

    Attributes
    ----------
    z : float
        Score of the row.
    factor, past
        The weights lack ``factor`` times the row ``past``.
    bias : float
        The intercept, in float64.
    """

    z: Any
    factor: Any
    past: Any
    bias: float


@helper
def walk_beside_(X, rule, block, count, step, V, A, averaging):
    """Take the steps on dense rows, a pass over each beside the loss of the row before.

    Return the `Step` to go on with.
    """
    z, factor, past, bias = step.z, step.factor, step.past, step.bias
    epsilon = constant(rule.epsilon, z)
    intercept_rate = rule.intercept_rate if rule.fit_intercept else 0.0
    rise = constant(intercept_rate, z)
    limited = rule.schedule >= PA1 or rule.clip < math.inf
    d, ahead = X.d, rows_ahead(X)
    x = offset(X.dense, block.places[0])
    for k in range(count):
        following = offset(X.dense, block.places[k + 1])
        later = offset(X.dense, block.places[k + 1 + ahead])
        # So that the CPU knows by then in which page the row lies.
        prefetch_(X.dense, block.places[k + 1 + ahead + AHEAD_LEAST])
        score, overlap, square = pass_(d, factor, past, x, following, later, V)
        block.scores[k] = z
        g = near_slope(rule.loss, z, block.targets[k], epsilon)
        if limited:
            size = float(block.sizes[k])
            places = offset(block.scores, k), offset(block.targets, k)
            g = limited_slope(rule, g, places[0], places[1], epsilon, size)
        block.slopes[k] = g
        block.sizes[k + 1] = square
        factor = g * block.gains[k]
        rate = block.rates[k]
        # All but one product of the next score is there before the slope.
        near = block.scales[k] * score + constant(bias, z)
        z = near - g * (constant(rate, z) * (overlap + rise))
        bias -= float(g) * (rate * intercept_rate)
        if averaging:
            add_row_(d, block.averages[k] * factor, x, A)
        past, x = x, following
    return Step(z, factor, past, bias)


@helper
def walk_each_(
    X, rule, block, first, count, stop, step, V, A, averaging, q, squares, absolutes
):  # fmt: skip
    """Take the steps on sparse rows, or under L1: each row is read once more when it is added.

    Return the `Step` to go on with, the norms for the penalty, and the sum of the penalties.
    """
    z, bias = step.z, step.bias
    epsilon = constant(rule.epsilon, z)
    intercept_rate = rule.intercept_rate if rule.fit_intercept else 0.0
    limited = rule.schedule >= PA1 or rule.clip < math.inf
    penalty = 0.0
    for k in range(count):
        n = first + k
        i = row_number(X, n)
        prefetch_ahead_(X, n, stop)
        penalty += (1 - rule.l1_ratio) * 0.5 * squares + rule.l1_ratio * absolutes
        block.scores[k] = z
        g = near_slope(rule.loss, z, block.targets[k], epsilon)
        if limited:
            size = float(row_squares(X, i, z))
            places = offset(block.scores, k), offset(block.targets, k)
            g = limited_slope(rule, g, places[0], places[1], epsilon, size)
        block.slopes[k] = g
        factor, scale = g * block.gains[k], block.scales[k]
        bias -= float(g) * (block.rates[k] * intercept_rate)
        squares *= block.keeps[k] * block.keeps[k]
        absolutes *= block.keeps[k]
        if factor != constant(0, z):
            row_add_(X, i, factor, V)
            if averaging:
                row_add_(X, i, block.averages[k] * factor, A)
            if rule.watch_penalty:
                near_squares, near_absolutes = row_norms(X, i, V)
                squares = float(near_squares) * float(scale) * float(scale)
                absolutes = float(near_absolutes) * float(scale)
        if rule.truncate:
            row_truncate_(X, i, constant(block.charges[k], z), scale, V, q)
        if n + 1 < stop:
            z = scale * row_dot(X, row_number(X, n + 1), V) + constant(bias, z)
    return Step(z, step.factor, step.past, bias), squares, absolutes, penalty
