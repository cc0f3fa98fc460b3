"""LLVM functions of their own over pointers and numbers, emitted vector by vector.

A function that LLVM keeps to itself is compiled once however often kernels call it.
"""

from typing import Any

from llvmlite import ir

from fastnn.kernels.jit import types
from fastnn.kernels.simd import Emitter, host_shape

_I32, _I64 = ir.IntType(32), ir.IntType(64)
#: Names of arguments that are integers, or numbers of the pointers' precision; all others are
#: pointers, ``indices`` to int32, ``order`` and places to int64.
_INTEGERS = (
    "count", "width", "n", "label", "rows", "columns", "blocks", "k",
    "a_row", "a_column", "b_row", "c_row", "start_row", "gated",
)  # fmt: skip
_NUMBERS = (
    "keep", "factor", "change", "own", "mean", "amount", "floor",
    "c0", "c1", "c2", "decay", "mu", "ahead", "direct",
    "beta_1", "rest_1", "beta_2", "rest_2", "alpha", "epsilon",
)  # fmt: skip
_PLACES = ("order", "past_places", "places", "later_places")


class VectorFunction:
    """A function being emitted; `args` are its arguments by name, `emit` its vectors.

    These have ``lanes`` numbers, by default those of the host; a function of such vectors is
    part of its callers.
    """

    def __init__(
        self, context: Any, builder: Any, dtype: Any, name: str, arguments: str, number: bool,
        lanes: int | None = None,
    ) -> None:  # fmt: skip
        self.element = context.get_value_type(dtype)
        self.shape = host_shape(context)
        width = self.shape.width if lanes is None else lanes * dtype.bitwidth // 8
        name = f"fastnn.{name}.{self.element.intrinsic_name}.{width}"
        self.exists = name in builder.module.globals
        if self.exists:
            self.function = builder.module.globals[name]
            return
        pointer = self.element.as_pointer()
        names = arguments.split()
        kinds = dict.fromkeys(_INTEGERS, _I64) | dict.fromkeys(_NUMBERS, self.element)
        kinds |= {"indices": _I32.as_pointer()} | dict.fromkeys(_PLACES, _I64.as_pointer())
        signature = [kinds.get(argument, pointer) for argument in names]
        result = self.element if number else ir.VoidType()
        self.function = ir.Function(builder.module, ir.FunctionType(result, signature), name)
        self.function.linkage = "linkonce_odr"
        for attribute in ("noinline" if lanes is None else "alwaysinline", "nounwind"):
            self.function.attributes.add(attribute)
        self.builder = ir.IRBuilder(self.function.append_basic_block("entry"))
        self.emit = Emitter(self.builder, self.element, width)
        self.args = dict(zip(names, self.function.args, strict=True))

    @classmethod
    def within(cls, context: Any, builder: Any, dtype: Any, args: dict) -> "VectorFunction":
        """Return one without a function of its own: what it emits is part of the caller."""
        f = cls.__new__(cls)
        f.element = context.get_value_type(dtype)
        f.shape = host_shape(context)
        f.builder, f.args = builder, args
        f.emit = Emitter(builder, f.element, f.shape.width)
        return f

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

    def column_blocks(self, counts: tuple[int, ...], body: Any) -> None:
        """Emit ``body(column, vectors)`` over ``width`` in blocks of ``counts`` vectors.

        ``counts`` falls to 1.
        """
        column: Any = _I64(0)
        for vectors in counts:

            def block(at: Any, _: list, vectors: int = vectors) -> list:
                body(at, vectors)
                return []

            step = vectors * self.emit.lanes
            column = self.loop(column, self.args["width"], step, [], block)[0]

    def at(self, base: Any, *offsets: Any) -> Any:
        """Return the address ``base + sum(offsets)``."""
        for offset in offsets:
            base = self.builder.gep(base, [offset])
        return base

    def load(self, base: Any, vectors: int) -> list:
        """Load neighbouring vectors."""
        return [self.emit.load(self.at(base, _I64(v * self.emit.lanes))) for v in range(vectors)]

    def store(self, values: list, base: Any) -> None:
        """Store neighbouring vectors."""
        for v, value in enumerate(values):
            self.emit.store(value, self.at(base, _I64(v * self.emit.lanes)))

    def present(self, base: Any) -> Any:
        """Return whether a pointer is not null."""
        return self.builder.icmp_unsigned("!=", base, ir.Constant(base.type, None))

    def choose(self, condition: Any, value: Any, other: Any) -> Any:
        """Return ``value()`` where the condition holds, else ``other``."""
        return self.choose_all(condition, lambda: [value()], [other])[0]

    def choose_all(self, condition: Any, values: Any, others: list) -> list:
        """Return the list ``values()`` where the condition holds, else ``others``."""
        b = self.builder
        before = b.block
        with b.if_then(condition):
            chosen = values()
            inside = b.block
        nodes = [b.phi(other.type) for other in others]
        for node, other, value in zip(nodes, others, chosen, strict=True):
            node.add_incoming(other, before)
            node.add_incoming(value, inside)
        return nodes

    def sum_each(self, sums: list) -> Any:
        """Return the vector of the sums over the lanes of each of up to ``lanes`` vectors.

        They are summed together: each round adds half the lanes of a vector to the other half,
        and puts two vectors into one.
        """
        b, emit = self.builder, self.emit
        lanes = emit.lanes
        sums = sums + [None] * (lanes - len(sums))
        half = lanes // 2
        while half:
            # Lanes with bit `half` clear end up with the sums of x, the others with those of y.
            low = [lane if not lane & half else lane + lanes - half for lane in range(lanes)]
            high = [lane + half if not lane & half else lane + lanes for lane in range(lanes)]
            other = [lane ^ half for lane in range(lanes)]
            for r in range(half):
                x, y = sums[r], sums[r + half]
                if y is not None:
                    sums[r] = b.fadd(emit.permute(x, low, y), emit.permute(x, high, y))
                elif x is not None:
                    sums[r] = b.fadd(x, emit.permute(x, other))
            half //= 2
        return sums[0]

    def either(self, condition: Any, value: Any, other: Any) -> Any:
        """Return ``value()`` where the condition holds, else ``other()``."""
        b = self.builder
        chosen = []
        with b.if_else(condition) as branches:
            for branch, result in zip(branches, (value, other), strict=True):
                with branch:
                    chosen.append((result(), b.block))
        node = b.phi(chosen[0][0].type)
        for result, block in chosen:
            node.add_incoming(result, block)
        return node

    def fold(self, operation: Any, x: Any, lanes: int | None = None) -> Any:
        """Return the operation over the first ``lanes`` lanes of ``x``, by default all, in each."""
        half = (lanes or self.emit.lanes) // 2
        while half:
            other = self.emit.permute(x, [lane ^ half for lane in range(self.emit.lanes)])
            x = operation(x, other)
            half //= 2
        return x

    def first_lane(self, x: Any) -> Any:
        """Return the first number of a vector."""
        return self.builder.extract_element(x, ir.IntType(32)(0))


def call_codegen(
    emit_body: Any,
    arguments: str,
    number: bool = False,
    like: Any = None,
    lanes: int | None = None,
) -> Any:
    """Return the codegen of an intrinsic that calls the emitted function.

    ``arguments`` are its names in order; ``None`` for a pointer is the null one.  The precision is
    that of a pointer ``like``, by default the first.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointers = [kind for kind in signature.args if isinstance(kind, types.CPointer)]
        model = pointers[0] if like is None else like
        # The linker merges functions of one name: those of two files must not have the same.
        file = emit_body.__module__.rsplit(".", 1)[-1]
        name = f"{file}.{emit_body.__name__.strip('_')}"
        function = VectorFunction(context, builder, model.dtype, name, arguments, number, lanes)
        if not function.exists:
            emit_body(function)
        null = ir.Constant(context.get_value_type(model), None)
        given = zip(signature.args, args, strict=True)
        values = [null if isinstance(kind, types.NoneType) else value for kind, value in given]
        result = builder.call(function.function, values)
        return result if number else context.get_dummy_value()

    return codegen
