"""Steps on long dense rows, of which `row_pass.GROUP` are read at a time.

The weights lack all rows of a group while it is read: so each of its numbers is loaded once for
all products, and several rows come from memory at the same time.  Then each row's score is mended
with the steps of the rows before it.

That takes more arithmetic than a pass over each row, and less of the memory's time: it pays where
rows are read from memory, not from a cache.
"""

import math

from fastnn.kernels.jit import helper
from fastnn.kernels.linear_losses import near_slope
from fastnn.kernels.linear_row import row_number, row_squares
from fastnn.kernels.linear_rule import PA1, limited_slope
from fastnn.kernels.linear_walk import Step, rows_ahead
from fastnn.kernels.row_pass import GROUP, add_row_, group_pass_
from fastnn.kernels.simd import prefetch_
from fastnn.kernels.views import constant, offset

#: Bytes of the shortest rows for which it pays: the losses of shorter ones take longer than a pass.
LONG_BYTES = 512
#: Bytes of all rows up to which a cache keeps enough of them from epoch to epoch: half of a large
#: one, which other cores use as well.
CACHED_BYTES = 1 << 24
#: Lines of the cache of each row that are asked for between the steps, which wait for each other
#: and leave the memory idle.  They are of a later group than those that the pass asks for.
LINES = 4


@helper
def takes_groups(X, n):
    """Return whether steps on dense rows, of ``n`` in memory, take less time in groups."""
    row = X.d * X.itemsize
    return row >= LONG_BYTES and row * n > CACHED_BYTES


@helper
def walk_groups_(X, rule, block, first, count, step, V, A, averaging):
    """Take the steps of a block of rows; return the `Step` to go on with, which owes nothing."""
    z, bias = step.z, step.bias
    zero = constant(0, z)
    epsilon = constant(rule.epsilon, z)
    intercept_rate = rule.intercept_rate if rule.fit_intercept else 0.0
    rise = constant(intercept_rate, z)
    limited = rule.schedule >= PA1 or rule.clip < math.inf
    d, ahead = X.d, rows_ahead(X)
    factors, sums, overlaps = block.factors, block.sums, block.overlaps
    factors[0] = step.factor
    for r in range(1, GROUP):
        factors[r] = zero
    past = block.places
    for start in range(0, count + GROUP, GROUP):
        k = min(start, count)  # after the last row comes the one to go on with
        places = offset(block.places, k)
        later = offset(places, ahead)
        group_pass_(d, factors, X.dense, past, places, later, V, sums, overlaps)
        if k > 0:
            z = block.scales[k - 1] * sums[0] + constant(bias, z)
        for r in range(GROUP):
            factors[r] = zero
        for r in range(min(GROUP, count - k)):
            i = k + r
            for line in range(0, min(LINES * X.line, d), X.line):
                prefetch_(X.dense, later[GROUP + r] + line)
            block.scores[i] = z
            g = near_slope(rule.loss, z, block.targets[i], epsilon)
            if limited or rule.watch_penalty:
                block.sizes[i] = row_squares(X, row_number(X, first + i), z)
            if limited:
                at = offset(block.scores, i), offset(block.targets, i)
                g = limited_slope(rule, g, at[0], at[1], epsilon, float(block.sizes[i]))
            block.slopes[i] = g
            factor = g * block.gains[i]
            factors[r] = factor
            rate = block.rates[i]
            if r + 1 < GROUP:
                # All but one product of the next score is there before the slope.
                near = block.scales[i] * sums[r + 1] + constant(bias, z)
                z = near - g * (constant(rate, z) * (overlaps[(r + 1) * r // 2 + r] + rise))
            for later_row in range(r + 2, GROUP):
                pair = later_row * (later_row - 1) // 2 + r
                sums[later_row] += factor * overlaps[pair]
            bias -= float(g) * (rate * intercept_rate)
            if averaging:
                x = offset(X.dense, places[r])
                add_row_(d, block.averages[i] * factor, x, A)
        past = places
    return Step(z, zero, step.past, bias)
