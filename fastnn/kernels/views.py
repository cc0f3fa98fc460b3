"""Borrowed memory: pointers and views without reference counts; constants of a precision.

Every use of an array in a kernel may count its references up and down, two atomic operations
of 5 ns; slicing and reshaping cost 20.  A `pointer` is indexed like a flat array and costs
nothing, nor does a `vector` or `matrix` formed from it.  All of them borrow the memory: the
array must outlive them.  An argument of the kernel does; an array made in the kernel is freed
after its last use by name, which may be where its pointer is taken, unless `keep_alive` names it
at the end.  Pointers and the offsets of views are not bounds-checked; they come from a `Plan`.
"""

from typing import Any

from llvmlite import ir

from fastnn.kernels.jit import JIT, intrinsic, types

#: Vectors that do not cross a line of the cache are read and written fastest.
LINE_BYTES = 64

if JIT:

    def _view(context: Any, builder: Any, flat: tuple, result: Any, start: Any, shape: list) -> Any:
        """Emit an array header at ``flat + start`` without a reference count."""
        kind, data = flat
        if isinstance(kind, types.Array):
            data = context.make_array(kind)(context, builder, data).data
        view = context.make_array(result)(context, builder)
        itemsize = context.get_constant(
            types.intp, context.get_abi_sizeof(context.get_data_type(result.dtype))
        )
        strides = [itemsize]
        for extent in reversed(shape[1:]):
            strides.insert(0, builder.mul(strides[0], extent))
        context.populate_array(
            view,
            data=builder.gep(data, [start]),
            shape=shape,
            strides=strides,
            itemsize=itemsize,
            meminfo=None,
        )
        return view._getvalue()

    @intrinsic
    def pointer(typing: Any, array: Any) -> Any:
        """Return a C-contiguous array's memory, to be indexed as a flat vector."""

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return context.make_array(array)(context, builder, args[0]).data

        return types.CPointer(array.dtype)(array), codegen

    @intrinsic
    def aligned(typing: Any, array: Any) -> Any:
        """Return the `pointer` to the first number of an array that begins a cache line.

        Numbers before it, at most `LINE_BYTES` less one number, are not used.
        """

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            data = context.make_array(array)(context, builder, args[0]).data
            address = context.get_constant(types.intp, LINE_BYTES - 1)
            address = builder.add(builder.ptrtoint(data, address.type), address)
            mask = context.get_constant(types.intp, -LINE_BYTES)
            return builder.inttoptr(builder.and_(address, mask), data.type)

        return types.CPointer(array.dtype)(array), codegen

    @intrinsic
    def keep_alive(typing: Any, arrays: Any) -> Any:
        """Be the last use of a tuple of arrays, which are not freed before."""

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return context.get_dummy_value()

        return types.void(arrays), codegen

    @intrinsic
    def offset(typing: Any, base: Any, start: Any) -> Any:
        """Return the pointer ``start`` places behind a pointer, or an array's first number."""

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            data = args[0]
            if isinstance(base, types.Array):
                data = context.make_array(base)(context, builder, data).data
            return builder.gep(data, [args[1]])

        return types.CPointer(base.dtype)(base, types.intp), codegen

    @intrinsic
    def shifted(typing: Any, base: Any, start: Any) -> Any:
        """Return the pointer ``start`` places behind a pointer; null where that is null."""

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            null = ir.Constant(args[0].type, None)
            absent = builder.icmp_unsigned("==", args[0], null)
            return builder.select(absent, null, builder.gep(args[0], [args[1]]))

        return base(base, types.intp), codegen

    @intrinsic
    def only_if(typing: Any, condition: Any, base: Any) -> Any:
        """Return a pointer where the condition holds, else null."""

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.select(args[0], args[1], ir.Constant(args[1].type, None))

        return base(types.boolean, base), codegen

    @intrinsic
    def vector(typing: Any, flat: Any, start: Any, size: Any) -> Any:
        """Return the 1-D view ``flat[start : start + size]`` of an array's memory."""
        result = types.Array(flat.dtype, 1, "C")

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return _view(context, builder, (signature.args[0], args[0]), result, args[1], [args[2]])

        return result(flat, types.intp, types.intp), codegen

    @intrinsic
    def matrix(typing: Any, flat: Any, start: Any, rows: Any, columns: Any) -> Any:
        """Return the 2-D view of ``rows * columns`` entries of ``flat`` from ``start``."""
        result = types.Array(flat.dtype, 2, "C")

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return _view(
                context, builder, (signature.args[0], args[0]), result, args[1], [args[2], args[3]]
            )

        return result(flat, types.intp, types.intp, types.intp), codegen

    @intrinsic
    def constant(typing: Any, value: Any, like: Any) -> Any:
        """Return ``value`` in the precision of the scalar ``like``.

        In compiled code ``1 - x`` of a float32 is a float64, which halves the width of every
        vector after it; ``constant(1, x) - x`` stays float32.
        """
        found = types.unliteral(value)

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return context.cast(builder, args[0], found, signature.return_type)

        return like(found, like), codegen

else:

    def pointer(array: Any) -> Any:
        """Return a C-contiguous array's memory, to be indexed as a flat vector."""
        return array.reshape(-1)

    def aligned(array: Any) -> Any:
        """Return the `pointer` to the first number of an array that begins a cache line."""
        return array.reshape(-1)

    def keep_alive(arrays: Any) -> None:
        """Be the last use of a tuple of arrays, which are not freed before."""

    def offset(base: Any, start: Any) -> Any:
        """Return the pointer ``start`` places behind a pointer."""
        return base[start:]

    def shifted(base: Any, start: Any) -> Any:
        """Return the pointer ``start`` places behind a pointer; None where that is None."""
        return None if base is None else base[start:]

    def only_if(condition: Any, base: Any) -> Any:
        """Return a pointer where the condition holds, else None."""
        return base if condition else None

    def vector(flat: Any, start: Any, size: Any) -> Any:
        """Return the 1-D view ``flat[start : start + size]`` of an array's memory."""
        return flat.reshape(-1)[start : start + size]

    def matrix(flat: Any, start: Any, rows: Any, columns: Any) -> Any:
        """Return the 2-D view of ``rows * columns`` entries of ``flat`` from ``start``."""
        return flat.reshape(-1)[start : start + rows * columns].reshape(rows, columns)

    def constant(value: Any, like: Any) -> Any:
        """Return ``value`` in the precision of the scalar ``like``."""
        return type(like)(value)
