"""A vector plus rows, and its products with rows to come, in one pass.

A linear model adds a multiple of each row to its weights, and needs the product of the new weights
with the next row for that row's multiple: one addition, one product and one loss wait for each
other.  So the product is taken one row early: that of the row after the next with weights that
lack the next row, whose part is its multiple times the product of the two rows.  The pass over the
columns and the loss then go on side by side, and only a few scalars wait for scalars.

Where rows are long, what counts is how often a number is loaded, and how many rows the memory is
asked for at once.  There `group_pass_` takes a `GROUP` of rows at a time, with weights that lack
all of them: what a row misses is multiples of its products with those before it.

The vector is padded with zeros to whole vectors of the host's width; rows are not.  A vector that
stuck out behind a row would touch the line of the cache behind it, for which nothing has asked and
which takes as long to come as the whole row.  So the last vector of a row is the one that ends with
it, without the numbers that the one before has already, and the padded vector begins its last one
with zeros: `pack_` lays it out.

Rows come in any order, which the CPU cannot foresee.  So a pass also asks for a later row, a line
of the cache at a time between the arithmetic: if asked for all at once, its lines would hold up the
loads of the present rows until they have come.
"""

from typing import Any

import numpy as np
from llvmlite import ir

from fastnn.kernels.jit import JIT, helper, intrinsic, types
from fastnn.kernels.row import lanes_of
from fastnn.kernels.vector_function import VectorFunction, call_codegen
from fastnn.kernels.views import LINE_BYTES

_I32, _I64 = ir.IntType(32), ir.IntType(64)
#: Vectors that are taken together.
_TOGETHER = 2
#: Rows of a group.
GROUP = 4
#: The pairs of them: two rows ``i > j`` are the pair ``i (i - 1) / 2 + j``.
PAIRS = tuple((i, j) for i in range(GROUP) for j in range(i))


@helper
def split(n, lanes):
    """Return how many of ``n`` numbers stand in their places, and how far the others are moved."""
    left = n % lanes
    return (n, 0) if n < lanes or left == 0 else (n - left, lanes - left)


@helper
def pack_(n, lanes, row, W):
    """Write ``n`` numbers to a vector for `pass_`, whose padding is zero already."""
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


def _over_columns(
    f: VectorFunction, sums: list, ask: Any, body: Any, chains: int = _TOGETHER
) -> list:
    """Emit ``sums = body(place, load, sums)`` over ``n`` columns, vector by vector; return sums.

    ``place`` is the column's place in the padded vector, ``load(row)`` loads a row's numbers for
    it, and ``ask(column)`` asks for a line.  Vectors that are taken together have sums of their
    own, or in one chain the same.
    """
    b, emit, n = f.builder, f.emit, f.args["n"]
    line = emit.lanes * LINE_BYTES // f.shape.width

    def several(column: Any, now: list, vectors: int) -> list:
        for ahead in range(0, vectors * emit.lanes, line):
            ask(b.add(column, _I64(ahead)))
        after = list(now)
        for v in range(vectors):
            at = b.add(column, _I64(v * emit.lanes))
            first = v % chains * len(sums)
            own = slice(first, first + len(sums))
            after[own] = body(at, lambda row, at=at: emit.load(f.at(row, at)), after[own])
        return after

    column, *state = f.loop(
        _I64(0), n, _TOGETHER * emit.lanes, sums * chains, lambda c, s: several(c, s, _TOGETHER)
    )
    if chains > 1:
        halves = zip(state[: len(sums)], state[len(sums) :], strict=True)
        state = [b.fadd(x, y) for x, y in halves]
    column, *state = f.loop(column, n, emit.lanes, state, lambda c, s: several(c, s, 1))
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
    ask(b.sub(n, _I64(1)))  # the line in which the loads of a row end
    return nodes


def _add_row(f: VectorFunction) -> None:
    """Emit ``W += factor x``."""
    arg, emit = f.args, f.emit
    factor = emit.spread(arg["factor"])

    def add(at: Any, load: Any, _: list) -> list:
        place = f.at(arg["W"], at)
        emit.store(emit.multiply_add(factor, load(arg["x"]), emit.load(place)), place)
        return []

    _over_columns(f, [], lambda column: None, add)
    f.builder.ret_void()


def _totals(f: VectorFunction, sums: list) -> list:
    """Return the sum over the lanes of each vector, by halves."""
    b = f.builder
    lanes = f.emit.lanes
    while lanes > 1:
        half = lanes // 2
        low, high = (
            ir.Constant(ir.VectorType(_I32, half), list(range(first, first + half)))
            for first in (0, half)
        )
        sums = [b.fadd(b.shuffle_vector(x, x, low), b.shuffle_vector(x, x, high)) for x in sums]
        lanes = half
    return [b.extract_element(x, _I32(0)) for x in sums]


def _pass(f: VectorFunction) -> list:
    """Emit ``W += factor past`` and return products of ``following`` with W, ``now`` and itself."""
    arg, emit = f.args, f.emit
    factor = emit.spread(arg["factor"])

    def add(at: Any, load: Any, sums: list) -> list:
        place = f.at(arg["W"], at)
        W = emit.multiply_add(factor, load(arg["past"]), emit.load(place))
        emit.store(W, place)
        x = load(arg["following"])
        pairs = [(x, W), (x, load(arg["now"])), (x, x)]
        return [emit.multiply_add(x, y, s) for (x, y), s in zip(pairs, sums, strict=True)]

    def ask(column: Any) -> None:
        emit.prefetch(f.at(arg["later"], column))

    return _totals(f, _over_columns(f, [emit.zero] * 3, ask, add))


def _group_pass(f: VectorFunction) -> None:
    """Emit ``W += sum_r factor_r past_r``, ``sums = rows . W`` and ``overlaps`` of `PAIRS`."""
    b, arg, emit = f.builder, f.args, f.emit
    each = [_I64(r) for r in range(GROUP)]
    factors = [emit.spread(b.load(f.at(arg["factors"], r))) for r in each]
    pasts, rows, later = (
        [f.at(arg["X"], b.load(f.at(arg[places], r))) for r in each]
        for places in ("past_places", "places", "later_places")
    )

    def add(at: Any, load: Any, sums: list) -> list:
        place = f.at(arg["W"], at)
        W = emit.load(place)
        for factor, past in zip(factors, pasts, strict=True):
            W = emit.multiply_add(factor, load(past), W)
        emit.store(W, place)
        x = [load(row) for row in rows]
        pairs = [*((x[r], W) for r in range(GROUP)), *((x[i], x[j]) for i, j in PAIRS)]
        return [emit.multiply_add(x, y, s) for (x, y), s in zip(pairs, sums, strict=True)]

    def ask(column: Any) -> None:
        for row in later:
            emit.prefetch(f.at(row, column))

    zeros = [emit.zero] * (GROUP + len(PAIRS))
    totals = _totals(f, _over_columns(f, zeros, ask, add, chains=1))
    for r, total in enumerate(totals[:GROUP]):
        b.store(total, f.at(arg["sums"], _I64(r)))
    for pair, total in enumerate(totals[GROUP:]):
        b.store(total, f.at(arg["overlaps"], _I64(pair)))
    b.ret_void()


if JIT:

    @intrinsic
    def add_row_(typing: Any, n: Any, factor: Any, x: Any, W: Any) -> Any:
        """Write ``W += factor x`` of a row of ``n`` numbers."""
        signature = types.void(types.intp, x.dtype, x, W)
        return signature, call_codegen(_add_row, "n factor x W")

    @intrinsic
    def pass_(
        typing: Any, n: Any, factor: Any, past: Any, now: Any, following: Any, later: Any, W: Any
    ) -> Any:
        """Write ``W += factor past``; return products of ``following`` with W, ``now``, itself.

        Rows have ``n`` numbers; ``later`` is a row that will be read soon.
        """
        result = types.UniTuple(past.dtype, 3)

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            names = ["n", "factor", "past", "now", "following", "later", "W"]
            given = dict(zip(names, args, strict=True))
            f = VectorFunction.within(context, builder, past.dtype, given)
            return context.make_tuple(builder, result, _pass(f))

        return result(types.intp, past.dtype, past, now, following, later, W), codegen

    @intrinsic
    def group_pass_(
        typing: Any, n: Any, factors: Any, X: Any, past_places: Any, places: Any,
        later_places: Any, W: Any, sums: Any, overlaps: Any,
    ) -> Any:  # fmt: skip
        """Write ``W += sum_r factor_r past_r``, then ``sums = rows . W``, ``overlaps`` of `PAIRS`.

        Rows of ``n`` numbers are at a `GROUP` of places in ``X`` each; the last ones will be read
        soon.
        """
        places_of = past_places, places, later_places
        signature = types.void(types.intp, factors, X, *places_of, W, sums, overlaps)
        names = "n factors X past_places places later_places W sums overlaps"
        return signature, call_codegen(_group_pass, names)

else:

    def _places(n: int) -> np.ndarray:
        whole, shift = split(n, lanes_of(None))
        return np.arange(n) + np.where(np.arange(n) < whole, 0, shift)

    def add_row_(n: int, factor: Any, x: Any, W: Any) -> None:
        """Write ``W += factor x`` of a row of ``n`` numbers."""
        W[_places(n)] += factor * x[:n]

    def pass_(
        n: int, factor: Any, past: Any, now: Any, following: Any, later: Any, W: Any
    ) -> tuple:
        """Write ``W += factor past``; return products of ``following`` with W, ``now``, itself.

        Rows have ``n`` numbers; ``later`` is a row that will be read soon.
        """
        add_row_(n, factor, past, W)
        x = following[:n]
        return x @ W[_places(n)], x @ now[:n], x @ x

    def group_pass_(
        n: int, factors: Any, X: Any, past_places: Any, places: Any,
        later_places: Any, W: Any, sums: Any, overlaps: Any,
    ) -> None:  # fmt: skip
        """Write ``W += sum_r factor_r past_r``, then ``sums = rows . W``, ``overlaps`` of `PAIRS`.

        Rows of ``n`` numbers are at a `GROUP` of places in ``X`` each; the last ones will be read
        soon.
        """
        for r in range(GROUP):
            add_row_(n, factors[r], X[past_places[r] :], W)
        rows = np.stack([X[place : place + n] for place in places[:GROUP]])
        sums[:GROUP] = rows @ W[_places(n)]
        overlaps[: len(PAIRS)] = [rows[i] @ rows[j] for i, j in PAIRS]
