"""The shares of a network's units: where they stand, and how they get there and back.

A share has some units of every hidden layer, and to it belong the weights from the inputs into its
units of the first, and those out of its units of every one.  See `share_team`.
"""

from typing import Any, NamedTuple

import numpy as np

from fastnn.kernels.jit import helper
from fastnn.kernels.network import lines
from fastnn.kernels.team import copy_numbers_
from fastnn.kernels.views import constant, offset, pointer

#: Units are cut at multiples of this many, a whole vector of any host.
UNITS = 16
#: Tables of `layout`.
CUTS, WEIGHTS, BIASES, BLOCKS, SUMS = range(5)


def _lines(n: int) -> int:
    return getattr(lines, "py_func", lines)(int(n))


def layout(sizes: np.ndarray, shares: int, rows: int) -> tuple[np.ndarray, int, int, int]:
    """Return where everything of a network's shares stands, and how many numbers that takes.

    Parameters
    ----------
    sizes : int array (L + 1,)
        Widths, input and output included.
    shares, rows : int
        How many shares, and rows of a batch at the most.

    Returns
    -------
    places : int64 array (5, shares + 1, L + 1)
        Of layer ``l`` in a share: its first unit; where the weights from it, and the biases of the
        layer above, begin in the share's parameters; where the (rows, units) block of its units
        begins; and that of the share's part in its scores, after which comes the outputs' delta.
    parameters, units, sums : int
        Numbers of a share's parameters, of all shares' units, and of those parts and that delta.
    """
    n_layers = len(sizes) - 1
    places = np.zeros((5, shares + 1, n_layers + 1), np.int64)
    cuts, weights, biases, blocks, sums = places
    for share in range(shares + 1):
        cuts[share] = np.minimum(sizes, -(-sizes // UNITS) * share // shares * UNITS)
    cuts[1:, n_layers] = sizes[n_layers]  # the outputs are the first share's
    widths = np.diff(cuts, axis=0)
    largest, unit, part = 0, 0, 0
    for share in range(shares):
        at = 0
        for l in range(n_layers):
            weights[share, l] = at
            own, above = widths[share, l], widths[share, l + 1]
            at += _lines(sizes[0] * above if l == 0 else own * sizes[l + 1])
            biases[share, l] = at
            at += _lines(above)
        largest = max(largest, at)
        for l in range(1, n_layers):
            blocks[share, l] = unit
            unit += _lines(rows * widths[share, l])
            sums[share, l + 1] = part
            part += _lines(rows * sizes[l + 1])
    sums[shares, n_layers] = part
    return places, largest, unit, part + _lines(rows * sizes[n_layers])


class Shares(NamedTuple):
    """The shares of a network; all but the numbers are `pointer`s.

    Attributes
    ----------
    number : int
        How many.
    apart, table : int
        Numbers between the shares in a table of `layout`, and between the tables.
    places
        The tables.
    size, slots : int
        A share's parameters, and how many vectors of such a size the optimiser remembers.
    own
        Of each share the parameters, their gradient, and the optimiser's vectors.
    z, a, delta
        Of the units, block by block.
    sums
        The shares' parts in scores.
    """

    number: int
    apart: int
    table: int
    places: Any
    size: int
    slots: int
    own: Any
    z: Any
    a: Any
    delta: Any
    sums: Any


class Batch(NamedTuple):
    """Rows ``start:stop`` of the order, and how they change the parameters.

    Attributes
    ----------
    start, stop : int
    x, x0
        A pointer to the inputs, and their position there.
    divisor : float
        What the sum of their gradients is divided by.
    rate : float
    t : int
        Number of the step, from 1.
    """

    start: int
    stop: int
    x: Any
    x0: int
    divisor: float
    rate: float
    t: int


class Thread(NamedTuple):
    """Memory of one thread, `pointer`s: rows, ``delta`` of a layer, scores and targets."""

    rows: Any
    delta: Any
    scores: Any
    goals: Any


@helper
def place(shares, table, share, l):
    """Return an entry of a table of `layout`."""
    return shares.places[table * shares.table + share * shares.apart + l]


@helper
def width(shares, share, l):
    """Return how many units of layer ``l`` a share has."""
    return place(shares, CUTS, share + 1, l) - place(shares, CUTS, share, l)


@helper
def numbers_of(shares, share):
    """Return where a share's parameters begin; its gradient and the optimiser's follow."""
    return offset(shares.own, share * (2 + shares.slots) * shares.size)


@helper
def load_share_(job, shares, share, params, slots):
    """Copy a share's parameters, and what the optimiser remembers, to its own memory."""
    flat, n = numbers_of(shares, share), (2 + shares.slots) * shares.size
    for i in range(n):
        flat[i] = constant(0, flat[0])  # between the layers too, where the step looks at it
    move_share_(job, shares, share, pointer(params), flat, False)
    for k in range(shares.slots):
        move_share_(
            job, shares, share, offset(pointer(slots), k * params.size),
            offset(flat, (2 + k) * shares.size), False,
        )  # fmt: skip


@helper
def save_share_(job, shares, share, params, slots):
    """Copy them back."""
    flat = numbers_of(shares, share)
    move_share_(job, shares, share, pointer(params), flat, True)
    for k in range(shares.slots):
        move_share_(
            job, shares, share, offset(pointer(slots), k * params.size),
            offset(flat, (2 + k) * shares.size), True,
        )  # fmt: skip


@helper
def move_share_(job, shares, share, params, own, back):
    """Copy a share's parameters from all ``params`` to its ``own``, or ``back``."""
    for l in range(job.n_layers):
        n_out = job.sizes[l + 1]
        above, columns = place(shares, CUTS, share, l + 1), width(shares, share, l + 1)
        first, rows = place(shares, CUTS, share, l), width(shares, share, l)
        source = job.weights[l] + first * n_out
        if l == 0:
            rows, source = job.sizes[0], job.weights[0] + above
        size = columns if l == 0 else n_out
        at = place(shares, WEIGHTS, share, l)
        for i in range(rows):
            move_(size, offset(params, source + i * n_out), offset(own, at + i * size), back)
        at = place(shares, BIASES, share, l)
        move_(columns, offset(params, job.biases[l] + above), offset(own, at), back)


@helper
def move_(size, x, y, back):
    """Copy ``size`` numbers from ``x`` to ``y``, or ``back``."""
    if back:
        copy_numbers_(size, y, x)
    else:
        copy_numbers_(size, x, y)
