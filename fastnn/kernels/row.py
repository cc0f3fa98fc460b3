"""A layer's three products for one row, in vectors of the host's width.

The matrix is ``W`` (n_in, n_out), row-major, at ``w0`` of a pointer; the last vector of its
rows is masked, so any width runs at the speed of whole vectors.  For one row nothing is used
twice: the products run at the speed of reading ``W``, if enough sums are under way at once.
"""

from typing import Any

from llvmlite import ir

from fastnn.kernels.jit import JIT, intrinsic, types
from fastnn.kernels.simd import Emitter, host_shape

_I64 = ir.IntType(64)
#: Sums under way at once: the latency of a multiply-add times how many start each cycle.
_CHAINS = 4


class _Function:
    """An LLVM function of its own over pointers and int64 numbers, being emitted."""

    def __init__(self, context: Any, builder: Any, dtype: Any, name: str, arguments: str) -> None:
        self.element = context.get_value_type(dtype)
        width = host_shape(context).width
        name = f"fastnn.{name}.{self.element.intrinsic_name}.{width}"
        self.exists = name in builder.module.globals
        if self.exists:
            self.function = builder.module.globals[name]
            return
        pointer = self.element.as_pointer()
        names = arguments.split()
        kinds = {"k": self.element, "n": _I64}
        signature = [kinds.get(argument[0], pointer) for argument in names]
        self.function = ir.Function(builder.module, ir.FunctionType(ir.VoidType(), signature), name)
        self.function.linkage = "linkonce_odr"
        for attribute in ("noinline", "nounwind"):
            self.function.attributes.add(attribute)
        self.builder = ir.IRBuilder(self.function.append_basic_block("entry"))
        self.emit = Emitter(self.builder, self.element, width)
        self.args = dict(zip(names, self.function.args, strict=True))

    def loop(self, start: Any, stop: Any, step: int, state: list, body: Any) -> list:
        """Emit ``for i in range(start, stop - step + 1, step): state = body(i, state)``.

        Returns the counter and the state after the last round.
        """
        b = self.builder
        before = b.block
        head, inside, after = (b.append_basic_block(name) for name in ("loop", "body", "after"))
        b.branch(head)
        b.position_at_end(head)
        nodes = [b.phi(value.type) for value in (start, *state)]
        for node, value in zip(nodes, (start, *state), strict=True):
            node.add_incoming(value, before)
        following = b.add(nodes[0], _I64(step))
        b.cbranch(b.icmp_signed("<=", following, stop), inside, after)
        b.position_at_end(inside)
        for node, value in zip(nodes, (following, *body(nodes[0], nodes[1:])), strict=True):
            node.add_incoming(value, b.block)
        b.branch(head)
        b.position_at_end(after)
        return nodes

    def column_blocks(self, n_out: Any, counts: tuple[int, ...], body: Any) -> None:
        """Emit ``body(column, vectors, mask)`` over blocks of ``counts`` vectors of columns.

        ``counts`` falls to 1; ``mask`` belongs to the last vector of the block.
        """
        b, lanes = self.builder, self.emit.lanes
        column: Any = _I64(0)
        for vectors in counts:
            # A block is taken while more columns are left than one vector fewer would hold.
            least = (vectors - 1) * lanes + 1

            def block(at: Any, _: list, vectors: int = vectors) -> list:
                left = b.sub(n_out, b.add(at, _I64((vectors - 1) * lanes)))
                body(at, vectors, self.emit.first(b.select(
                    b.icmp_signed("<", left, _I64(lanes)), left, _I64(lanes)
                )))  # fmt: skip
                return []

            stop = b.add(n_out, _I64(vectors * lanes - least))
            column = self.loop(column, stop, vectors * lanes, [], block)[0]

    def at(self, base: Any, *offsets: Any) -> Any:
        """Return the address ``base + sum(offsets)``."""
        for offset in offsets:
            base = self.builder.gep(base, [offset])
        return base

    def load_row(self, base: Any, vectors: int, mask: Any) -> list:
        """Load a block of a row, its last vector under the mask."""
        return [
            self.emit.load(
                self.at(base, _I64(v * self.emit.lanes)), mask if v == vectors - 1 else None
            )
            for v in range(vectors)
        ]

    def store_row(self, values: list, base: Any, mask: Any) -> None:
        """Store a block of a row, its last vector under the mask."""
        for v, value in enumerate(values):
            place = self.at(base, _I64(v * self.emit.lanes))
            self.emit.store(value, place, mask if v == len(values) - 1 else None)


def _forward(f: _Function) -> None:
    """Emit ``z = x W + b``: rows of W, scaled by x, summed in registers."""
    b, arg, emit = f.builder, f.args, f.emit

    def block(column: Any, vectors: int, mask: Any) -> None:
        unroll = max(1, _CHAINS // vectors)

        def step(j: Any, sums: list, rows: int) -> list:
            after = []
            for r in range(rows):
                row = b.add(j, _I64(r))
                x = emit.spread(b.load(f.at(arg["x"], row)))
                W = f.load_row(f.at(arg["W"], b.mul(row, arg["n_out"]), column), vectors, mask)
                mine = sums[r * vectors : (r + 1) * vectors]
                after += [emit.multiply_add(x, w, s) for w, s in zip(W, mine, strict=True)]
            return after + sums[rows * vectors :]

        sums = f.load_row(f.at(arg["b"], column), vectors, mask)
        sums += [emit.zero] * (vectors * (unroll - 1))
        j, *sums = f.loop(
            _I64(0), arg["n_in"], unroll, sums, lambda j, state: step(j, state, unroll)
        )
        if unroll > 1:
            j, *sums = f.loop(j, arg["n_in"], 1, sums, lambda j, state: step(j, state, 1))
        totals = sums[:vectors]
        for r in range(1, unroll):
            more = sums[r * vectors : (r + 1) * vectors]
            totals = [b.fadd(t, s) for t, s in zip(totals, more, strict=True)]
        f.store_row(totals, f.at(arg["z"], column), mask)

    f.column_blocks(arg["n_out"], (8, 4, 2, 1), block)
    b.ret_void()


def _update(f: _Function) -> None:
    """Emit ``W = keep W - x^T step``.

    Several rows are loaded before the first is stored: a load that touches the masked part of
    a store just made waits until that is in the cache.
    """
    b, arg, emit = f.builder, f.args, f.emit
    keep = emit.spread(arg["keep"])

    def block(column: Any, vectors: int, mask: Any) -> None:
        minus = [b.fneg(s) for s in f.load_row(f.at(arg["step"], column), vectors, mask)]

        def some(j: Any, rows: int) -> list:
            places, updated = [], []
            for r in range(rows):
                row = b.add(j, _I64(r))
                places.append(f.at(arg["W"], b.mul(row, arg["n_out"]), column))
                x = emit.spread(b.load(f.at(arg["x"], row)))
                W = [b.fmul(keep, w) for w in f.load_row(places[r], vectors, mask)]
                updated.append([emit.multiply_add(x, s, w) for s, w in zip(minus, W, strict=True)])
            for place, values in zip(places, updated, strict=True):
                f.store_row(values, place, mask)
            return []

        j = _I64(0)
        for rows in (16 // vectors, max(4 // vectors, 1), 1):
            j = f.loop(j, arg["n_in"], rows, [], lambda j, _, rows=rows: some(j, rows))[0]

    f.column_blocks(arg["n_out"], (4, 2, 1), block)
    b.ret_void()


def _backward(f: _Function) -> None:
    """Emit ``below = delta W^T``: the dot product of each row of W with delta.

    The products of ``lanes`` rows are summed together: each round adds half the lanes of a
    vector to the other half, and puts two rows into one vector.
    """
    b, arg, emit = f.builder, f.args, f.emit
    lanes = emit.lanes

    def dots(j: Any, rows: Any) -> Any:
        """Return the vector of the dot products of rows ``j`` to ``j + lanes``."""
        last = b.sub(rows, _I64(1))
        places = []
        for r in range(lanes):  # rows beyond the last are read as copies of it
            row = b.add(j, _I64(r))
            row = b.select(b.icmp_signed("<", row, last), row, last)
            places.append(f.at(arg["W"], b.mul(row, arg["n_out"])))

        def add(column: Any, sums: list, mask: Any) -> list:
            d = emit.load(f.at(arg["delta"], column), mask)
            W = [emit.load(f.at(place, column), mask) for place in places]
            return [emit.multiply_add(w, d, s) for w, s in zip(W, sums, strict=True)]

        column, *sums = f.loop(
            _I64(0), arg["n_out"], lanes, [emit.zero] * lanes, lambda c, s: add(c, s, None)
        )
        sums = add(column, sums, emit.first(b.sub(arg["n_out"], column)))
        half = lanes // 2
        while half:
            # Lanes with bit `half` clear end up with the sums of x, the others with those of y.
            low = [lane if not lane & half else lane + lanes - half for lane in range(lanes)]
            high = [lane + half if not lane & half else lane + lanes for lane in range(lanes)]
            pairs = [(sums[r], sums[r + half]) for r in range(half)]
            sums = [b.fadd(emit.permute(x, low, y), emit.permute(x, high, y)) for x, y in pairs]
            half //= 2
        return sums[0]

    def block(j: Any, _: list) -> list:
        left = b.sub(arg["n_in"], j)
        mask = emit.first(b.select(b.icmp_signed("<", left, _I64(lanes)), left, _I64(lanes)))
        emit.store(dots(j, arg["n_in"]), f.at(arg["below"], j), mask)
        return []

    f.loop(_I64(0), b.add(arg["n_in"], _I64(lanes - 1)), lanes, [], block)
    b.ret_void()


def _call(name: str, arguments: str, emit_body: Any) -> Any:
    """Return the codegen of an intrinsic that calls the emitted function."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        dtype = next(kind.dtype for kind in signature.args if isinstance(kind, types.CPointer))
        function = _Function(context, builder, dtype, name, arguments)
        if not function.exists:
            emit_body(function)
        builder.call(function.function, args)
        return context.get_dummy_value()

    return codegen


if JIT:

    @intrinsic
    def row_forward_(typing: Any, n_in: Any, n_out: Any, x: Any, W: Any, b: Any, z: Any) -> Any:
        """Write ``z = x W + b``."""
        signature = types.void(types.intp, types.intp, x, W, b, z)
        return signature, _call("row_forward", "n_in n_out x W b z", _forward)

    @intrinsic
    def row_backward_(typing: Any, n_in: Any, n_out: Any, delta: Any, W: Any, below: Any) -> Any:
        """Write ``below = delta W^T``."""
        signature = types.void(types.intp, types.intp, delta, W, below)
        return signature, _call("row_backward", "n_in n_out delta W below", _backward)

    @intrinsic
    def rank_one_(typing: Any, n_in: Any, n_out: Any, keep: Any, x: Any, step: Any, W: Any) -> Any:
        """Write ``W = keep W - x^T step``."""
        signature = types.void(types.intp, types.intp, W.dtype, x, step, W)
        return signature, _call("rank_one", "n_in n_out keep x step W", _update)

else:

    def row_forward_(n_in: Any, n_out: Any, x: Any, W: Any, b: Any, z: Any) -> None:
        """Write ``z = x W + b``."""
        z[:n_out] = b[:n_out] + x[:n_in] @ W[: n_in * n_out].reshape(n_in, n_out)

    def row_backward_(n_in: Any, n_out: Any, delta: Any, W: Any, below: Any) -> None:
        """Write ``below = delta W^T``."""
        below[:n_in] = W[: n_in * n_out].reshape(n_in, n_out) @ delta[:n_out]

    def rank_one_(n_in: Any, n_out: Any, keep: Any, x: Any, step: Any, W: Any) -> None:
        """Write ``W = keep W - x^T step``."""
        V = W[: n_in * n_out].reshape(n_in, n_out)
        V *= keep
        V -= x[:n_in, None] * step[:n_out]
