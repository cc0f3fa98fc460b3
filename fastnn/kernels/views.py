"""Views of a flat vector formed by pointer arithmetic, and constants of a given precision.

Slicing and reshaping inside a kernel costs about 20 ns a view (reference counts); these cost
nothing.  They borrow the memory: the flat vector must outlive them, as an argument of the
kernel does.  They are not bounds-checked: offsets come from a `Plan`, which is.
"""

from typing import Any

from fastnn.kernels.jit import JIT, intrinsic, types

if JIT:

    def _view(context: Any, builder: Any, flat: tuple, result: Any, start: Any, shape: list) -> Any:
        """Emit an array header at ``flat.data + start`` without a reference count."""
        source = context.make_array(flat[0])(context, builder, flat[1])
        view = context.make_array(result)(context, builder)
        itemsize = context.get_constant(
            types.intp, context.get_abi_sizeof(context.get_data_type(result.dtype))
        )
        strides = [itemsize]
        for extent in reversed(shape[1:]):
            strides.insert(0, builder.mul(strides[0], extent))
        context.populate_array(
            view,
            data=builder.gep(source.data, [start]),
            shape=shape,
            strides=strides,
            itemsize=itemsize,
            meminfo=None,
        )
        return view._getvalue()

    @intrinsic
    def vector(typing: Any, flat: Any, start: Any, size: Any) -> Any:
        """Return the 1-D view ``flat[start : start + size]``."""
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

    def vector(flat: Any, start: Any, size: Any) -> Any:
        """Return the 1-D view ``flat[start : start + size]``."""
        return flat[start : start + size]

    def matrix(flat: Any, start: Any, rows: Any, columns: Any) -> Any:
        """Return the 2-D view of ``rows * columns`` entries of ``flat`` from ``start``."""
        return flat[start : start + rows * columns].reshape(rows, columns)

    def constant(value: Any, like: Any) -> Any:
        """Return ``value`` in the precision of the scalar ``like``."""
        return type(like)(value)
