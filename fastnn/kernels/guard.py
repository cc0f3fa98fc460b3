"""What goes around a single step, so that one that diverges can be undone."""

import math

from fastnn.kernels.jit import kernel


@kernel
def guard_(params, before, totals, done):
    """Keep the parameters before a step; after it, put them back unless all is finite.

    Before the step, ``totals`` (2,) becomes 0 and ``before`` a copy of ``params``.  Once it is
    ``done``, ``totals[0]`` is its loss; ``totals[1]`` is left 1 where the step was undone, else 0.
    """
    if not done:
        totals[0] = totals[1] = 0
        for i in range(params.size):
            before[i] = params[i]
        return
    infinite = 0
    for i in range(params.size):
        infinite += 0 if abs(params[i]) < math.inf else 1  # NaN counts too
    diverged = infinite > 0 or not math.isfinite(totals[0])
    totals[1] = 1.0 if diverged else 0.0
    if diverged:
        for i in range(params.size):
            params[i] = before[i]
