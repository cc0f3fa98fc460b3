"""Random orders of rows: shuffled in memory, or of many rows computed and never stored.

The latter are a Feistel network over a grid (Black and Rogaway 2002, "Ciphers with arbitrary
finite domains"): number ``t`` stands at row ``l`` and column ``r`` of an ``a x b`` grid of at
least ``n`` places.  Each round moves ``l`` by a hash of ``r``, then ``r`` by a hash of ``l``,
which can be undone, so different places stay different; a place beyond ``n`` is sent on until it
lands below.
"""

import numpy as np

from fastnn.kernels.generators import integer_below, random_bits
from fastnn.kernels.jit import kernel

#: Rounds of two moves; four moves of good hashes pass for random, six are on the safe side.
ROUNDS = 3
_U1 = np.uint64(1)


@kernel
def shuffle_(key, order):
    """Shuffle int64 ``order``, of fewer than 2^32 numbers (Fisher and Yates, Durstenfeld 1964).

    ``key`` is the shuffle's, an integer from 0 below 2^63.
    """
    seed = np.uint64(key)
    for i in range(order.size - 1, 0, -1):
        j = integer_below(random_bits(seed, np.uint64(i)), i + 1)
        order[i], order[j] = order[j], order[i]


@kernel
def shuffled_(key, n, start, out):
    """Write the rows visited at times ``start, start + 1, ...`` of ``n`` to int64 ``out``.

    ``key`` is the order's, an integer from 0 below 2^63.  ``n`` is at most 2^62.
    """
    a = np.int64(np.sqrt(float(n))) + 1
    b = (n + a - 1) // a
    seed = np.uint64(key)
    for i in range(out.size):
        place = start + i
        inside = False
        while not inside:
            l, r = place // b, place % b
            for k in range(2 * ROUNDS):
                own = random_bits(seed, np.uint64(k))
                if k % 2 == 0:
                    l += integer_below(random_bits(own, np.uint64(r) + _U1), a)
                    l -= a if l >= a else 0
                else:
                    r += integer_below(random_bits(own, np.uint64(l) + _U1), b)
                    r -= b if r >= b else 0
            place = l * b + r
            inside = place < n
        out[i] = place
