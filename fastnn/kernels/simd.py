"""Vector code for the host CPU: the register tile of a matrix product, and prefetch.

How the matrix product works
----------------------------
A core multiplies and adds two whole vectors per cycle (about 64 float32 operations), but reads
only one or two vectors per cycle and waits four cycles for each sum.  A product therefore runs at
full speed only if every number read is used several times and many sums are under way at once.
The *tile* does both: it holds ``rows x vectors`` accumulators of C in registers, and for each p

    load   ``vectors`` neighbouring vectors of row p of B
    for each of the ``rows``: broadcast A[i, p] to all lanes and add its product with them

so ``vectors + rows`` reads feed ``rows * vectors`` multiply-adds, none of which waits for another
(8 x 2 on AVX-512: 10 reads, 16 multiply-adds).  C is touched once, at the end.

       B  p ->  [ 16 lanes ][ 16 lanes ]
    A  a[i,p]   [ acc[0,0] ][ acc[0,1] ]     acc[i,v] = fma(a[i,p], b[p,v], acc[i,v])
       ...      [ acc[7,0] ][ acc[7,1] ]

LLVM's loop vectoriser does not find this arrangement, so the functions below write it out in
LLVM's intermediate representation (IR): Python code runs once, at compile time, and *emits* the
instructions.  ``[[fma(...) for v in ...] for i in ...]`` is thus an unrolled loop.  Each tile
becomes one small function of its own, so that it is not inlined, and compiled, many times.

Edges: the last vector of a tile is loaded and stored under a mask, which makes any width
right without reading or writing outside the matrices; and there is a tile of every height
up to the full one.

A is addressed by two strides, ``A[i, p] = a[i * row + p * column]``, so the same code serves
A (row = width, column = 1) and its transpose (row = 1, column = width).

Which width
-----------
`_SHAPES` gives the vector width and tile for the features of the CPU for which Numba compiles.
They are part of Numba's cache key, so cached code of another CPU is never run.  A CPU not listed
gets 128-bit vectors, which LLVM lowers to whatever there is.

This is the one file besides ``jit.py`` that touches the compiler: `llvmlite.ir` builds the IR.
"""

from typing import Any, NamedTuple

from llvmlite import ir

from fastnn.kernels.jit import intrinsic, types


class Shape(NamedTuple):
    """A vector width in bytes, and the rows and vectors of the accumulator tile."""

    width: int
    rows: int
    vectors: int


#: Tiles leave registers for B's vectors and one of A: 16 + 3 of 32, or 12 + 3 of 16.
_SHAPES = {
    "avx512": Shape(64, 8, 2),
    "avx2": Shape(32, 6, 2),
    "neon": Shape(16, 8, 2),
    "other": Shape(16, 4, 2),
}

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


class _Emitter:
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

    def call(self, name: str, result: ir.Type, *args: ir.Value) -> ir.Value:
        """Call an LLVM intrinsic, declaring it on first use."""
        module = self.builder.module
        function = module.globals.get(name)
        if function is None:
            signature = ir.FunctionType(result, [arg.type for arg in args])
            function = ir.Function(module, signature, name)
        return self.builder.call(function, args)

    def spread(self, scalar: ir.Value) -> ir.Value:
        """Return a vector with every lane equal to ``scalar``."""
        kind = ir.VectorType(scalar.type, self.lanes)
        one = self.builder.insert_element(ir.Constant(kind, ir.Undefined), scalar, _I32(0))
        lanes = ir.Constant(ir.VectorType(_I32, self.lanes), [0] * self.lanes)
        return self.builder.shuffle_vector(one, ir.Constant(kind, ir.Undefined), lanes)

    def first(self, count: ir.Value) -> ir.Value:
        """Return the mask of the first ``count`` (int64, 0 to lanes) lanes."""
        kind = ir.VectorType(self.index, self.lanes)
        narrow = count if count.type == self.index else self.builder.trunc(count, self.index)
        return self.builder.icmp_signed(
            "<", ir.Constant(kind, list(range(self.lanes))), self.spread(narrow)
        )

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
        else:
            name = f"llvm.masked.store.v{self.lanes}{self.suffix}.p0"
            self.call(name, ir.VoidType(), value, pointer, _I32(align), mask)

    def vector_alignment(self) -> int:
        """Return the alignment of one number: all that a row of a matrix promises."""
        return self.index.width // 8

    def multiply_add(self, x: ir.Value, y: ir.Value, z: ir.Value) -> ir.Value:
        """Return ``x * y + z``, fused where the CPU can."""
        return self.call(f"llvm.fmuladd.v{self.lanes}{self.suffix}", self.vector, x, y, z)


#: The arguments of a tile function, after the three matrices' types are known.
_TILE_ARGUMENTS = tuple("a a_row a_column b b_row c c_row start start_row k last".split())


def _tile_function(module: ir.Module, element: ir.Type, shape: Shape) -> ir.Function:
    """Return the function that computes one tile, emitting it on first use.

    ``c[i, v] = start[i, v] + sum_p a[i, p] b[p, v]``; a null ``start`` counts as zero.
    Only the first ``last`` lanes of the last vector exist.
    """
    pointer = element.as_pointer()
    name = f"fastnn.tile.{element.intrinsic_name}.{shape.width}.{shape.rows}x{shape.vectors}"
    if name in module.globals:
        return module.globals[name]
    kinds = [pointer if x in ("a", "b", "c", "start") else _I64 for x in _TILE_ARGUMENTS]
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), kinds), name)
    function.linkage = "linkonce_odr"
    function.attributes.add("noinline")
    function.attributes.add("nounwind")
    arg = dict(zip(_TILE_ARGUMENTS, function.args, strict=True))
    for x, value in arg.items():
        value.name = x

    builder = ir.IRBuilder(function.append_basic_block("entry"))
    emit = _Emitter(builder, element, shape.width)
    rows, vectors = range(shape.rows), range(shape.vectors)
    masks = [None] * (shape.vectors - 1) + [emit.first(arg["last"])]

    def each(value: Any) -> list:
        return [[value(i, v) for v in vectors] for i in rows]

    def place(base: ir.Value, row: ir.Value, i: int, v: int) -> ir.Value:
        offset = builder.add(builder.mul(row, _I64(i)), _I64(v * emit.lanes))
        return builder.gep(base, [offset])

    # The sums start from the matrix at `start`, or from zero.
    entry = builder.block
    null = builder.icmp_unsigned("==", arg["start"], ir.Constant(pointer, None))
    with builder.if_then(builder.not_(null)):
        initial = each(
            lambda i, v: emit.load(place(arg["start"], arg["start_row"], i, v), masks[v])
        )
        loaded = builder.block
    before = builder.block

    def phi(*incoming: tuple[ir.Value, ir.Block]) -> ir.PhiInstr:
        node = builder.phi(incoming[0][0].type)
        for value, block in incoming:
            node.add_incoming(value, block)
        return node

    initial = each(lambda i, v: phi((emit.zero, entry), (initial[i][v], loaded)))

    loop = builder.append_basic_block("loop")
    body = builder.append_basic_block("body")
    done = builder.append_basic_block("done")
    builder.branch(loop)

    builder.position_at_end(loop)
    p = phi((_I64(0), before))
    a, b = phi((arg["a"], before)), phi((arg["b"], before))
    sums = each(lambda i, v: phi((initial[i][v], before)))
    builder.cbranch(builder.icmp_signed("<", p, arg["k"]), body, done)

    builder.position_at_end(body)
    b_vectors = [emit.load(builder.gep(b, [_I64(v * emit.lanes)]), masks[v]) for v in vectors]
    a_vectors = [
        emit.spread(builder.load(builder.gep(a, [builder.mul(arg["a_row"], _I64(i))])))
        for i in rows
    ]
    added = each(lambda i, v: emit.multiply_add(a_vectors[i], b_vectors[v], sums[i][v]))
    p.add_incoming(builder.add(p, _I64(1)), body)
    a.add_incoming(builder.gep(a, [arg["a_column"]]), body)
    b.add_incoming(builder.gep(b, [arg["b_row"]]), body)
    each(lambda i, v: sums[i][v].add_incoming(added[i][v], body))
    builder.branch(loop)

    builder.position_at_end(done)
    each(lambda i, v: emit.store(sums[i][v], place(arg["c"], arg["c_row"], i, v), masks[v]))
    builder.ret_void()
    return function


def _address(context: Any, builder: ir.IRBuilder, array: Any, value: Any, offset: Any) -> Any:
    return builder.gep(context.make_array(array)(context, builder, value).data, [offset])


@intrinsic
def tile_shape(typing: Any, array: Any) -> Any:
    """Return (rows, columns, lanes) of the tile for the precision of ``array``."""
    result = types.UniTuple(types.intp, 3)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        shape = host_shape(context)
        lanes = shape.width // (array.dtype.bitwidth // 8)
        values = [
            context.get_constant(types.intp, x) for x in (shape.rows, shape.vectors * lanes, lanes)
        ]
        return context.make_tuple(builder, result, values)

    return result(array), codegen


@intrinsic
def tile_(  # type: ignore[no-untyped-def]
    typing,
    rows,
    columns,
    k,
    A,
    a0,
    a_row,
    a_column,
    B,
    b0,
    b_row,
    C,
    c0,
    c_row,
    S,
    s0,
    s_row,
    begin,
) -> Any:
    """Write ``C = [S +] A B`` of one tile, of ``rows`` (1 to the shape's) by ``columns``.

    ``A[i, p]`` is at ``A[a0 + i * a_row + p * a_column]``; B, C and S are row-major, at
    ``B[b0 + p * b_row + j]`` and so on.  S is added where ``begin`` is true; it may be C.
    """
    integer = types.intp
    signature = types.void(
        integer, integer, integer, A, integer, integer, integer, B, integer, integer,
        C, integer, integer, S, integer, integer, types.boolean,
    )  # fmt: skip

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        rows, columns, k, _, _, a_row, a_column, _, _, b_row, _, _, c_row, _, _, s_row, begin = args

        def address(position: int) -> Any:
            kind = signature.args[position]
            return _address(context, builder, kind, args[position], args[position + 1])

        a, b, c, s = (address(position) for position in (3, 7, 10, 13))
        start = builder.select(begin, s, ir.Constant(s.type, None))
        full = host_shape(context)
        element = context.get_value_type(A.dtype)
        lanes = full.width // (A.dtype.bitwidth // 8)

        # Tile functions are numbered by (vectors - 1) * full.rows + rows - 1.
        before = builder.sdiv(builder.sub(columns, _I64(1)), _I64(lanes))
        last = builder.sub(columns, builder.mul(before, _I64(lanes)))
        number = builder.add(builder.mul(before, _I64(full.rows)), builder.sub(rows, _I64(1)))
        done = builder.append_basic_block("tile.done")
        switch = builder.switch(number, done)
        for i in range(full.rows * full.vectors):
            vectors, height = i // full.rows + 1, i % full.rows + 1
            function = _tile_function(builder.module, element, Shape(full.width, height, vectors))
            block = builder.append_basic_block(f"tile.{height}x{vectors}")
            switch.add_case(_I64(i), block)
            builder.position_at_end(block)
            builder.call(function, [a, a_row, a_column, b, b_row, c, c_row, start, s_row, k, last])
            builder.branch(done)
        builder.position_at_end(done)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def prefetch_(typing: Any, array: Any, position: Any) -> Any:
    """Ask the CPU to fetch the cache line of ``array[position]``, which will be read soon."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        address = _address(context, builder, signature.args[0], *args)
        byte = builder.bitcast(address, ir.IntType(8).as_pointer())
        emit = _Emitter(builder, ir.FloatType(), 16)
        emit.call("llvm.prefetch.p0", ir.VoidType(), byte, _I32(0), _I32(3), _I32(1))
        return context.get_dummy_value()

    return types.void(array, types.intp), codegen
