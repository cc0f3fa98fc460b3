"""Products among four rows and a vector, and a vector plus four rows, in whole vectors.

A linear model trains a block of rows together: each number of the block is read from memory
once, and the ten products that four rows need advance side by side instead of one after
another.  The vector is padded with zeros to whole vectors of the host's width; rows are not.  A
vector that stuck out behind a row would touch the line of the cache behind it, for which nothing
has asked and which takes as long to come as the whole row.  So the last vector of a row is the one
that ends with it, without the numbers that the one before has already, and the padded vector
begins its last one with zeros: `pack_` lays it out.

Rows come in any order, which the CPU cannot foresee.  Each function therefore also asks for two
rows of a later block, ``p0`` and ``p1``, a line of the cache at a time between the arithmetic: if
asked for all at once, they would hold up the loads of the present block until they have come.
"""

from typing import Any

import numpy as np
from llvmlite import ir

from fastnn.kernels.jit import JIT, helper, intrinsic, types
from fastnn.kernels.row import lanes_of
from fastnn.kernels.vector_function import VectorFunction, call_codegen

_I64 = ir.IntType(64)
#: Rows of a block.
BLOCK = 4
#: Pairs of rows whose products are wanted, in the order of the results.
PAIRS = ((1, 0), (2, 0), (3, 0), (2, 1), (3, 1), (3, 2), (0, 0), (1, 1), (2, 2), (3, 3))
#: Results of `block_products_`, padded: at least one vector of any host.
N_PRODUCTS = 16
_ROWS = "x0 x1 x2 x3"


@helper
def split(n, lanes):
    """Return how many of ``n`` numbers stand in their places, and how far the others are moved."""
    left = n % lanes
    return (n, 0) if n < lanes or left == 0 else (n - left, lanes - left)


@helper
def pack_(n, lanes, row, W):
    """Write ``n`` numbers to a vector for `block_products_`, whose padding is zero already."""
    whole, shift = split(n, lanes)
    for j in range(whole):
        W[j] = row[j]
    for j in range(whole, n):
        W[j + shift] = row[j]


@helper
def unpack_(n, lanes, W, row):
    """Write what `pack_` wrote back to ``row``."""
    whole, shift = split(n, lanes)
    for j in range(whole):
        row[j] = W[j]
    for j in range(whole, n):
        row[j] = W[j + shift]


def _over_columns(f: VectorFunction, state: list, body: Any) -> list:
    """Emit ``state = body(column, load, state)`` over ``n`` columns, vector by vector.

    ``load(row)`` loads a row's numbers that belong to the vector of W at ``column``.
    """
    b, emit, n = f.builder, f.emit, f.args["n"]

    def step(column: Any, now: list) -> list:
        for name in ("p0", "p1"):
            emit.prefetch(f.at(f.args[name], column))
        return body(column, lambda row: emit.load(f.at(row, column)), now)

    column, *state = f.loop(_I64(0), n, emit.lanes, state, step)
    left = b.sub(n, column)
    lanes = _I64(emit.lanes)
    long = b.icmp_signed(">=", n, lanes)
    start = b.select(long, b.sub(n, lanes), _I64(0))
    before = b.block
    with b.if_then(b.icmp_signed(">", left, _I64(0))):
        mask = emit.some(b.select(long, b.sub(lanes, left), _I64(0)), left)
        after = body(column, lambda row: emit.load(f.at(row, start), mask), state)
        inside = b.block
    nodes = [b.phi(value.type) for value in state]
    for node, value, new in zip(nodes, state, after, strict=True):
        node.add_incoming(value, before)
        node.add_incoming(new, inside)
    for name in ("p0", "p1"):  # the line in which the loads of a row end
        emit.prefetch(f.at(f.args[name], start, b.sub(lanes, _I64(1))))
    return nodes


def _block_products(f: VectorFunction) -> None:
    """Emit the products of four rows with W, and those of `PAIRS`."""
    b, arg, emit = f.builder, f.args, f.emit
    rows = [arg[name] for name in _ROWS.split()]

    def add(column: Any, load: Any, sums: list) -> list:
        X = [load(row) for row in rows]
        W = emit.load(f.at(arg["W"], column))
        pairs = [(x, W) for x in X] + [(X[r], X[s]) for r, s in PAIRS]
        return [emit.multiply_add(x, y, s) for (x, y), s in zip(pairs, sums, strict=True)]

    sums = _over_columns(f, [emit.zero] * (BLOCK + len(PAIRS)), add)
    for first in range(0, len(sums), emit.lanes):
        total = f.sum_each(sums[first : first + emit.lanes])
        emit.store(total, f.at(arg["out"], _I64(first)))
    b.ret_void()


def _add_rows(f: VectorFunction) -> None:
    """Emit ``W += sum_s c_s x_s`` over four rows."""
    b, arg, emit = f.builder, f.args, f.emit
    rows = [arg[name] for name in _ROWS.split()]
    factors = [emit.spread(b.load(f.at(arg["c"], _I64(s)))) for s in range(BLOCK)]

    def add(column: Any, load: Any, _: list) -> list:
        place = f.at(arg["W"], column)
        W = emit.load(place)
        for factor, row in zip(factors, rows, strict=True):
            W = emit.multiply_add(factor, load(row), W)
        emit.store(W, place)
        return []

    _over_columns(f, [], add)
    b.ret_void()


if JIT:

    @intrinsic
    def block_products_(
        typing: Any, n: Any, x0: Any, x1: Any, x2: Any, x3: Any, p0: Any, p1: Any, W: Any, out: Any
    ) -> Any:
        """Write ``x_r . W`` of four rows of ``n`` numbers, then the products of `PAIRS`."""
        signature = types.void(types.intp, x0, x1, x2, x3, p0, p1, W, out)
        return signature, call_codegen(_block_products, f"n {_ROWS} p0 p1 W out")

    @intrinsic
    def add_rows_(
        typing: Any, n: Any, x0: Any, x1: Any, x2: Any, x3: Any, p0: Any, p1: Any, c: Any, W: Any
    ) -> Any:
        """Write ``W += sum_s c_s x_s`` over four rows of ``n`` numbers."""
        signature = types.void(types.intp, x0, x1, x2, x3, p0, p1, c, W)
        return signature, call_codegen(_add_rows, f"n {_ROWS} p0 p1 c W")

else:

    def _places(n: int) -> np.ndarray:
        whole, shift = split(n, lanes_of(None))
        return np.arange(n) + np.where(np.arange(n) < whole, 0, shift)

    def block_products_(
        n: int, x0: Any, x1: Any, x2: Any, x3: Any, p0: Any, p1: Any, W: Any, out: Any
    ) -> None:
        """Write ``x_r . W`` of four rows of ``n`` numbers, then the products of `PAIRS`."""
        rows = [x[:n] for x in (x0, x1, x2, x3)]
        out[:BLOCK] = [x @ W[_places(n)] for x in rows]
        out[BLOCK : BLOCK + len(PAIRS)] = [rows[r] @ rows[s] for r, s in PAIRS]

    def add_rows_(
        n: int, x0: Any, x1: Any, x2: Any, x3: Any, p0: Any, p1: Any, c: Any, W: Any
    ) -> None:
        """Write ``W += sum_s c_s x_s`` over four rows of ``n`` numbers."""
        for factor, x in zip(c[:BLOCK], (x0, x1, x2, x3), strict=True):
            W[_places(n)] += factor * x[:n]
