"""Vectors of the host CPU: their width, the operations that LLVM's IR has on them, prefetch.

`Emitter` writes operations on whole vectors in LLVM's intermediate representation (IR): Python
code runs once, at compile time, and *emits* the instructions.  `tile` builds the matrix product
from them, `row` the products of one row.

`_SHAPES` gives the vector width and the matrix product's tile for the features of the CPU for
which Numba compiles.  They are part of Numba's cache key, so cached code of another CPU is never
run.  A CPU not listed gets 128-bit vectors, which LLVM lowers to whatever there is.

This is the one file besides ``jit.py`` that asks the compiler what it compiles for.
"""

from typing import Any, NamedTuple

from llvmlite import ir

from fastnn.kernels.jit import JIT, intrinsic, types


class Shape(NamedTuple):
    """A vector width in bytes, and the rows and vectors of the accumulator tile."""

    width: int
    rows: int
    vectors: int


#: Accumulators leave registers for B's vectors and one of A: 24 + 4 of 32, 12 + 4 of 16.
_SHAPES = {
    "avx512": Shape(64, 8, 3),
    "avx2": Shape(32, 4, 3),
    "neon": Shape(16, 8, 2),
    "other": Shape(16, 4, 2),
}

#: Independent sums that hide the latency of any current CPU: 4 or 5 cycles, 2 units.
CHAINS = 12

_I32, _I64 = ir.IntType(32), ir.IntType(64)


def host_shape(context: Any) -> Shape:
    """Return the shape for the CPU that Numba's target `context` compiles for."""
    triple, _, features = context.codegen().magic_tuple()
    features = features.split(",")
    if "+avx512f" in features and "+avx512vl" in features:
        return _SHAPES["avx512"]
    if "+avx2" in features and "+fma" in features:
        return _SHAPES["avx2"]
    if triple.startswith(("aarch64", "arm64")):
        return _SHAPES["neon"]
    return _SHAPES["other"]


class Emitter:
    """Emits operations on vectors of ``lanes`` numbers of one precision.

    Addresses are pointers to one number, in steps of one number.
    """

    def __init__(self, builder: ir.IRBuilder, element: ir.Type, width: int) -> None:
        self.builder = builder
        self.element = element
        bits = 64 if isinstance(element, ir.DoubleType) else 32
        self.suffix = f"f{bits}"
        self.lanes = 8 * width // bits
        self.vector = ir.VectorType(element, self.lanes)
        self.mask = ir.VectorType(ir.IntType(1), self.lanes)
        self.index = ir.IntType(bits)
        self.zero = ir.Constant(self.vector, [0.0] * self.lanes)
        #: AMD's CPUs take 20 cycles for a masked store of AVX2, which has no register for masks.
        self.slow_masks = width == _SHAPES["avx2"].width

    def call(self, name: str, result: ir.Type, *args: ir.Value) -> ir.Value:
        """Call an LLVM intrinsic, declaring it on first use."""
        module = self.builder.module
        function = module.globals.get(name)
        if function is None:
            signature = ir.FunctionType(result, [arg.type for arg in args])
            function = ir.Function(module, signature, name)
        return self.builder.call(function, args)

    def constant(self, number: float) -> ir.Value:
        """Return a vector with every lane equal to a number known at compile time."""
        return ir.Constant(self.vector, [number] * self.lanes)

    def spread(self, scalar: ir.Value) -> ir.Value:
        """Return a vector with every lane equal to ``scalar``."""
        kind = ir.VectorType(scalar.type, self.lanes)
        one = self.builder.insert_element(ir.Constant(kind, ir.Undefined), scalar, _I32(0))
        lanes = ir.Constant(ir.VectorType(_I32, self.lanes), [0] * self.lanes)
        return self.builder.shuffle_vector(one, ir.Constant(kind, ir.Undefined), lanes)

    def permute(self, x: ir.Value, lanes: list, y: ir.Value | None = None) -> ir.Value:
        """Return the vector of the given lanes, counted through x and then y (or zeros)."""
        order = ir.Constant(ir.VectorType(_I32, self.lanes), lanes)
        zeros = ir.Constant(x.type, [0.0] * x.type.count)
        return self.builder.shuffle_vector(x, zeros if y is None else y, order)

    def first(self, count: ir.Value) -> ir.Value:
        """Return the mask of the first ``count`` (int64, 0 to lanes) lanes."""
        kind = ir.VectorType(self.index, self.lanes)
        narrow = count if count.type == self.index else self.builder.trunc(count, self.index)
        return self.builder.icmp_signed(
            "<", ir.Constant(kind, list(range(self.lanes))), self.spread(narrow)
        )

    def some(self, start: ir.Value, count: ir.Value) -> ir.Value:
        """Return the mask of ``count`` lanes from lane ``start`` on, both int64."""
        kind = ir.VectorType(self.index, self.lanes)
        first, size = (
            x if x.type == self.index else self.builder.trunc(x, self.index) for x in (start, count)
        )
        lane = self.builder.sub(ir.Constant(kind, list(range(self.lanes))), self.spread(first))
        return self.builder.icmp_unsigned("<", lane, self.spread(size))

    def load(self, address: ir.Value, mask: ir.Value | None = None) -> ir.Value:
        """Load a vector; lanes outside the mask are zero and their memory is not touched."""
        pointer = self.builder.bitcast(address, self.vector.as_pointer())
        align = self.vector_alignment()
        if mask is None:
            return self.builder.load(pointer, align=align)
        name = f"llvm.masked.load.v{self.lanes}{self.suffix}.p0"
        return self.call(name, self.vector, pointer, _I32(align), mask, self.zero)

    def store(self, value: ir.Value, address: ir.Value, mask: ir.Value | None = None) -> None:
        """Store a vector; memory of lanes outside the mask is not touched."""
        pointer = self.builder.bitcast(address, self.vector.as_pointer())
        align = self.vector_alignment()
        if mask is None:
            self.builder.store(value, pointer, align=align)
            return
        name = f"llvm.masked.store.v{self.lanes}{self.suffix}.p0"
        arguments = value, pointer, _I32(align), mask
        if not self.slow_masks:
            self.call(name, ir.VoidType(), *arguments)
            return
        lanes = ir.IntType(self.lanes)
        whole = self.builder.icmp_signed("==", self.builder.bitcast(mask, lanes), lanes(-1))
        with self.builder.if_else(whole) as (then, otherwise):
            with then:
                self.builder.store(value, pointer, align=align)
            with otherwise:
                self.call(name, ir.VoidType(), *arguments)

    def vector_alignment(self) -> int:
        """Return the alignment of one number: all that a row of a matrix promises."""
        return self.index.width // 8

    def prefetch(self, address: ir.Value) -> None:
        """Ask for the cache line of ``address``, which need not be valid."""
        byte = self.builder.bitcast(address, ir.IntType(8).as_pointer())
        self.call("llvm.prefetch.p0", ir.VoidType(), byte, _I32(0), _I32(3), _I32(1))

    def multiply_add(self, x: ir.Value, y: ir.Value, z: ir.Value) -> ir.Value:
        """Return ``x * y + z``, fused where the CPU can."""
        return self.call(f"llvm.fmuladd.v{self.lanes}{self.suffix}", self.vector, x, y, z)


def _address(context: Any, builder: ir.IRBuilder, array: Any, value: Any, offset: Any) -> Any:
    if isinstance(array, types.Array):
        value = context.make_array(array)(context, builder, value).data
    return builder.gep(value, [offset])


if JIT:

    @intrinsic
    def prefetch_(typing: Any, array: Any, position: Any) -> Any:
        """Ask the CPU to fetch the cache line of ``array[position]``, which will be read soon."""

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            address = _address(context, builder, signature.args[0], *args)
            Emitter(builder, ir.FloatType(), 16).prefetch(address)
            return context.get_dummy_value()

        return types.void(array, types.intp), codegen

else:

    def prefetch_(array: Any, position: Any) -> None:
        """Ask for nothing."""


@intrinsic
def fused_multiply_adds(typing: Any, rounds: Any, like: Any) -> Any:
    """Return (operations, sum) of ``rounds`` steps ``x = x / 2 + 1 / 2`` of `CHAINS` registers."""
    result = types.Tuple((types.intp, like.dtype))

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        width = host_shape(context).width
        emit = Emitter(builder, context.get_value_type(like.dtype), width)
        entry = builder.block
        loop = builder.append_basic_block("peak.loop")
        done = builder.append_basic_block("peak.done")
        factor = ir.Constant(emit.vector, [0.5] * emit.lanes)
        builder.branch(loop)
        builder.position_at_end(loop)
        step = builder.phi(_I64)
        step.add_incoming(_I64(0), entry)
        sums = [builder.phi(emit.vector) for _ in range(CHAINS)]
        added = [emit.multiply_add(total, factor, factor) for total in sums]
        following = builder.add(step, _I64(1))
        step.add_incoming(following, loop)
        for i, (total, new) in enumerate(zip(sums, added, strict=True)):
            total.add_incoming(ir.Constant(emit.vector, [float(i)] * emit.lanes), entry)
            total.add_incoming(new, loop)
        builder.cbranch(builder.icmp_signed("<", following, args[0]), loop, done)
        builder.position_at_end(done)
        total = added[0]
        for other in added[1:]:
            total = builder.fadd(total, other)
        number = builder.extract_element(total, _I32(0))
        operations = builder.mul(args[0], _I64(2 * CHAINS * emit.lanes))
        return context.make_tuple(builder, result, [operations, number])

    return result(types.intp, like), codegen
