"""Vector code for the host CPU: the register tile of a matrix product; a transposer; prefetch.

How the matrix product works
----------------------------
A core multiplies and adds one or two whole vectors per cycle (32 or 64 float32 operations), but
reads no more than that and waits four cycles for each sum.  A product therefore runs at
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
right without reading or writing outside the matrices; and there are tiles of full height, half,
a quarter, ... and one row.

Narrow products: with one to four columns, most lanes would idle.  If B has no gaps, one vector
spans several of its rows; it is multiplied with as many entries of A, each repeated once per
column, and the parts are added up at the end.

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

from fastnn.kernels.jit import JIT, intrinsic, types


class Shape(NamedTuple):
    """A vector width in bytes, and the rows and vectors of the accumulator tile."""

    width: int
    rows: int
    vectors: int


#: Accumulators leave registers for B's vectors and one of A: 16 + 3 of 32, 12 + 4 of 16.
#: Measured on Zen 4: 8 x 3 gains 2 % over 8 x 2 and doubles the code; 4 x 4 loses on narrow B.
_SHAPES = {
    "avx512": Shape(64, 8, 2),
    "avx2": Shape(32, 4, 3),
    "neon": Shape(16, 8, 2),
    "other": Shape(16, 4, 2),
}

#: Up to this many columns, a vector of B takes several of its rows together.
JOINED = 4

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

    def prefetch(self, address: ir.Value) -> None:
        """Ask for the cache line of ``address``, which need not be valid."""
        byte = self.builder.bitcast(address, ir.IntType(8).as_pointer())
        self.call("llvm.prefetch.p0", ir.VoidType(), byte, _I32(0), _I32(3), _I32(1))

    def multiply_add(self, x: ir.Value, y: ir.Value, z: ir.Value) -> ir.Value:
        """Return ``x * y + z``, fused where the CPU can."""
        return self.call(f"llvm.fmuladd.v{self.lanes}{self.suffix}", self.vector, x, y, z)


#: The arguments of a tile function.
_TILE_ARGUMENTS = (
    "a", "a_row", "a_column", "b", "b_row", "c", "c_row", "start", "start_row", "k", "last",
)  # fmt: skip


def _tile_function(
    module: ir.Module, element: ir.Type, shape: Shape, columns: int | None = None
) -> ir.Function:
    """Return the function that computes one tile, emitting it on first use.

    ``c[i, v] = start[i, v] + sum_p a[i, p] b[p, v]`` for p < k; a null ``start`` counts as zero.
    The last vector of a row has only its first ``last`` lanes.

    With ``columns`` given, the tile is that of a narrow B without gaps between its rows: a vector
    of B holds ``together = lanes // columns`` rows, lane l the entry (l // columns, l % columns).
    It is multiplied with as many entries of A, each repeated ``columns`` times, and the rows'
    sums are added up at the end.  ``a_column`` must then be 1.
    """
    pointer = element.as_pointer()
    name = f"fastnn.tile.{element.intrinsic_name}.{shape.width}.{shape.rows}x{shape.vectors}"
    name += f".{columns}" if columns else ""
    if name in module.globals:
        return module.globals[name]
    kinds = [pointer if x in ("a", "b", "c", "start") else _I64 for x in _TILE_ARGUMENTS]
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), kinds), name)
    function.linkage = "linkonce_odr"
    function.attributes.add("noinline")
    function.attributes.add("nounwind")
    arg = dict(zip(_TILE_ARGUMENTS, function.args, strict=True))

    builder = ir.IRBuilder(function.append_basic_block("entry"))
    emit = Emitter(builder, element, shape.width)
    lanes = emit.lanes
    together = lanes // columns if columns else 1
    step = _I64(together)
    # A vector of A just long enough for `together` entries crosses fewer cache lines.
    few = Emitter(builder, element, shape.width // lanes << (together - 1).bit_length())
    width = _I64(columns) if columns else arg["last"]
    masks = [None] * (shape.vectors - 1) + [emit.first(width)]

    def each(value: Any) -> list:
        return [[value(i, v) for v in range(shape.vectors)] for i in range(shape.rows)]

    def at(base: ir.Value, row: ir.Value, i: int, v: int) -> ir.Value:
        return builder.gep(base, [builder.add(builder.mul(row, _I64(i)), _I64(v * lanes))])

    def phi(*incoming: tuple[ir.Value, ir.Block]) -> ir.PhiInstr:
        node = builder.phi(incoming[0][0].type)
        for value, block in incoming:
            node.add_incoming(value, block)
        return node

    def finish(total: ir.Value) -> ir.Value:
        if columns:
            for half in (8, 4, 2, 1):
                if half < together:
                    shifted = [lane + half * columns for lane in range(lanes)]
                    used = [lane if lane < together * columns else lanes for lane in shifted]
                    total = builder.fadd(total, emit.permute(total, used))
        return total

    # The sums start from the matrix at `start`, or from zero.
    entry = builder.block
    null = builder.icmp_unsigned("==", arg["start"], ir.Constant(pointer, None))
    with builder.if_then(builder.not_(null)):
        given = each(lambda i, v: emit.load(at(arg["start"], arg["start_row"], i, v), masks[v]))
        loaded = builder.block
    before = builder.block
    initial = each(lambda i, v: phi((emit.zero, entry), (given[i][v], loaded)))

    loop, body, done = (builder.append_basic_block(x) for x in ("loop", "body", "done"))
    # The rows' addresses pass through an empty assembly statement: LLVM would otherwise compute
    # each from the one before, a chain as long as the multiply-adds of a narrow tile.
    same = ir.FunctionType(pointer, [pointer])
    a_rows = [
        builder.asm(same, "", "=r,0", [at(arg["a"], arg["a_row"], i, 0)], False)
        for i in range(shape.rows)
    ]
    builder.branch(loop)

    builder.position_at_end(loop)
    p, a, b = (phi((x, before)) for x in (_I64(0), _I64(0), arg["b"]))
    sums = each(lambda i, v: phi((initial[i][v], before)))
    builder.cbranch(builder.icmp_signed("<", p, arg["k"]), body, done)

    builder.position_at_end(body)
    from_a = [builder.gep(row, [a]) for row in a_rows]
    if columns:
        left = builder.sub(arg["k"], p)
        some = builder.select(builder.icmp_signed("<", left, step), left, step)
        entries = [few.load(x, few.first(some)) for x in from_a]
        repeated = [lane // columns % together for lane in range(lanes)]
        a_vectors = [emit.permute(x, repeated) for x in entries]
        b_vectors = [emit.load(b, emit.first(builder.mul(some, width)))]
    else:
        a_vectors = [emit.spread(builder.load(x)) for x in from_a]
        b_vectors = [
            emit.load(builder.gep(b, [_I64(v * lanes)]), masks[v]) for v in range(shape.vectors)
        ]
    each(
        lambda i, v: sums[i][v].add_incoming(
            emit.multiply_add(a_vectors[i], b_vectors[v], sums[i][v]), body
        )
    )
    p.add_incoming(builder.add(p, step), body)
    a.add_incoming(builder.add(a, builder.mul(arg["a_column"], step)), body)
    b.add_incoming(builder.gep(b, [builder.mul(arg["b_row"], step)]), body)
    builder.branch(loop)

    builder.position_at_end(done)
    totals = each(lambda i, v: finish(sums[i][v]))
    # Masked stores are slow on some CPUs (20 cycles on AMD with AVX2), so full vectors do without.
    whole = builder.icmp_signed("==", width, _I64(lanes))
    with builder.if_else(whole) as (then, otherwise):
        for branch, last in ((then, None), (otherwise, masks[-1])):
            with branch:
                for i, row in enumerate(totals):
                    for v, total in enumerate(row):
                        mask = masks[v] and last
                        emit.store(total, at(arg["c"], arg["c_row"], i, v), mask)
    builder.ret_void()
    return function


def _transpose_function(module: ir.Module, element: ir.Type, width: int) -> ir.Function:
    """Return the function that transposes a block of up to lanes x lanes numbers.

    ``c[j, i] = a[i, j]``.  Step s of log2(lanes) swaps the upper right and lower left s x s
    quarters of every 2s x 2s square; rows below the last are read as copies of it and not kept.
    """
    name = f"fastnn.transpose.{element.intrinsic_name}.{width}"
    if name in module.globals:
        return module.globals[name]
    pointer = element.as_pointer()
    kinds = [pointer, _I64, pointer, _I64, _I64, _I64]
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), kinds), name)
    function.linkage = "linkonce_odr"
    function.attributes.add("noinline")
    function.attributes.add("nounwind")
    a, a_row, c, c_row, rows, columns = function.args

    builder = ir.IRBuilder(function.append_basic_block("entry"))
    emit = Emitter(builder, element, width)
    lanes = range(emit.lanes)
    mask = emit.first(columns)
    block = []
    for i in lanes:
        exists = builder.icmp_signed("<", _I64(i), rows)
        row = builder.select(exists, _I64(i), builder.sub(rows, _I64(1)))
        block.append(emit.load(builder.gep(a, [builder.mul(row, a_row)]), mask))
    half = 1
    while half < emit.lanes:
        for i in lanes:
            if not i & half:
                low, high = block[i], block[i + half]
                other = [lane + emit.lanes for lane in lanes]
                block[i] = emit.permute(
                    low, [other[x - half] if x & half else x for x in lanes], high
                )
                block[i + half] = emit.permute(
                    low, [other[x] if x & half else x + half for x in lanes], high
                )
        half *= 2
    kept = emit.first(rows)
    none = ir.Constant(emit.mask, [False] * emit.lanes)
    for j in lanes:
        exists = builder.icmp_signed("<", _I64(j), columns)
        emit.store(
            block[j],
            builder.gep(c, [builder.mul(c_row, _I64(j))]),
            builder.select(exists, kept, none),
        )
    builder.ret_void()
    return function


def _address(context: Any, builder: ir.IRBuilder, array: Any, value: Any, offset: Any) -> Any:
    if isinstance(array, types.Array):
        value = context.make_array(array)(context, builder, value).data
    return builder.gep(value, [offset])


def _heights(rows: int) -> list[int]:
    """Return the tile heights: the full one, then halves down to one row."""
    return [rows] if rows == 1 else [rows, *_heights(rows // 2)]


_BASE = 64  # more than any digit of a tile's number


def _number(joined: int, across: int, height: int) -> int:
    """Return the number of a tile function: its kind, vectors or columns, and rows as digits."""
    return (joined * _BASE + across) * _BASE + height


@intrinsic
def tile_shape(typing: Any, array: Any) -> Any:
    """Return (rows, columns, lanes) of the tile for the precision of ``array``."""
    result = types.UniTuple(types.intp, 3)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        shape = host_shape(context)
        lanes = shape.width // (array.dtype.bitwidth // 8)
        values = [_I64(x) for x in (shape.rows, shape.vectors * lanes, lanes)]
        return context.make_tuple(builder, result, values)

    return result(array), codegen


@intrinsic
def tile_(  # type: ignore[no-untyped-def]
    typing, rows, columns, joined, k, A, a0, a_row, a_column, B, b0, b_row, C, c0, c_row,
    S, s0, s_row, begin,
) -> Any:  # fmt: skip
    """Write ``C = [S +] A B`` of one tile.

    ``A[i, p]`` is at ``A[a0 + i * a_row + p * a_column]``; B, C and S are row-major, at
    ``B[b0 + p * b_row + j]`` and so on.  S is added where ``begin`` is true; it may be C.

    ``rows`` is the height of `tile_shape`, or that halved (rounding down) any number of times.
    ``columns`` is at most that of `tile_shape`.  With ``joined``, for up to `JOINED` columns
    and half a vector, each vector takes several rows of B together: ``b_row`` must equal
    ``columns``, ``a_column`` be 1, and ``rows`` be full or 1.
    """
    integer, boolean = types.intp, types.boolean
    signature = types.void(
        integer, integer, boolean, integer, A, integer, integer, integer, B, integer, integer,
        C, integer, integer, S, integer, integer, boolean,
    )  # fmt: skip

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        rows, columns, joined, k = args[:4]
        a, b, c, s = (
            _address(context, builder, signature.args[i], args[i], args[i + 1])
            for i in (4, 8, 11, 14)
        )
        (a_row, a_column), b_row, c_row, s_row = args[6:8], args[10], args[13], args[16]
        start = builder.select(args[17], s, ir.Constant(s.type, None))
        full = host_shape(context)
        lanes = full.width // (A.dtype.bitwidth // 8)
        earlier = builder.sdiv(builder.sub(columns, _I64(1)), _I64(lanes))
        last = builder.sub(columns, builder.mul(earlier, _I64(lanes)))

        tiles: dict[int, tuple] = {}
        for height in _heights(full.rows):
            for vectors in range(1, full.vectors + 1):
                tiles[_number(0, vectors, height)] = Shape(full.width, height, vectors), None
        for height in (full.rows, 1):
            for across in range(1, min(JOINED, lanes // 2) + 1):
                tiles[_number(1, across, height)] = Shape(full.width, height, 1), across

        across = builder.select(joined, columns, builder.add(earlier, _I64(1)))
        digits = builder.zext(joined, _I64), across, rows
        number = _I64(0)
        for digit in digits:
            number = builder.add(builder.mul(number, _I64(_BASE)), digit)
        done = builder.append_basic_block("tile.done")
        switch = builder.switch(number, done)
        for case, (shape, narrow) in tiles.items():
            element = context.get_value_type(A.dtype)
            function = _tile_function(builder.module, element, shape, narrow)
            block = builder.append_basic_block("tile")
            switch.add_case(_I64(case), block)
            builder.position_at_end(block)
            builder.call(function, [a, a_row, a_column, b, b_row, c, c_row, start, s_row, k, last])
            builder.branch(done)
        builder.position_at_end(done)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def transpose_block_(  # type: ignore[no-untyped-def]
    typing, rows, columns, A, a0, a_row, C, c0, c_row
) -> Any:
    """Write ``C = A^T`` of an A of ``rows`` by ``columns``, each 1 to lanes of `tile_shape`."""
    integer = types.intp

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        rows, columns, A_value, a0, a_row, C_value, c0, c_row = args
        element = context.get_value_type(A.dtype)
        function = _transpose_function(builder.module, element, host_shape(context).width)
        a = _address(context, builder, A, A_value, a0)
        c = _address(context, builder, C, C_value, c0)
        builder.call(function, [a, a_row, c, c_row, rows, columns])
        return context.get_dummy_value()

    return types.void(integer, integer, A, integer, integer, C, integer, integer), codegen


@intrinsic
def tile_buffer(typing: Any, like: Any) -> Any:
    """Return an uninitialised vector on the stack that holds a full tile, until the caller ends."""
    result = types.Array(like.dtype, 1, "C")

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        shape = host_shape(context)
        item = like.dtype.bitwidth // 8
        size = shape.rows * shape.vectors * shape.width // item
        with builder.goto_entry_block():
            memory = builder.alloca(context.get_value_type(like.dtype), size)
        view = context.make_array(result)(context, builder)
        context.populate_array(
            view, data=memory, shape=[_I64(size)], strides=[_I64(item)], itemsize=_I64(item),
            meminfo=None,
        )  # fmt: skip
        return view._getvalue()

    return result(like), codegen


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
