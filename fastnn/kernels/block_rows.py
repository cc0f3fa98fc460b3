"""The rows of a block one after another through a network of one hidden layer, and back.

What `blocked` leaves to do for each row is short: correct its scores, activate them, take the
output layer's step.  As functions of their own, called from a loop over rows, these would spend a
third of their time on being called, on constants, and on looking at sizes.  Here they are one.
"""

from typing import Any

from llvmlite import ir

from fastnn.kernels.blocked import fades, prefetch_row_
from fastnn.kernels.elementary import log
from fastnn.kernels.jit import JIT, helper, intrinsic, scalar, types
from fastnn.kernels.output_row import (
    hand_down_by_loop,
    output_step,
    output_step_,
    softmax_step,
)
from fastnn.kernels.plan import row_number, row_weight
from fastnn.kernels.row import combine, combine_sigmoid_, dots, trim, trim_
from fastnn.kernels.sample_loss import settle
from fastnn.kernels.vector_exp import sigmoid
from fastnn.kernels.vector_function import VectorFunction, call_codegen
from fastnn.kernels.views import constant, offset

_I64 = ir.IntType(64)


def _rows_step(f: VectorFunction) -> None:
    """Emit the steps of rows ``k`` to ``rows``; return 0 where one's scores are not `SAFE`."""
    b, arg, emit = f.builder, f.args, f.emit
    n, width, a, z = arg["n"], arg["width"], arg["a"], arg["z"]
    few = b.icmp_signed("<=", n, _I64(emit.lanes))
    whole = b.and_(b.add(n, _I64(emit.lanes - 1)), _I64(-emit.lanes))
    slope = {"c0": f.element(0.0), "c1": f.element(1.0), "c2": f.element(-1.0)}
    output = {"n": n, "keep": None, "v": a, "z": z, **slope}
    output |= {name: arg[name] for name in ("W", "bias", "step")}

    def row(r: Any, _: list) -> list:
        at = b.mul(r, width)
        before = b.ashr(b.mul(r, b.sub(r, _I64(1))), _I64(1))
        f.args = {
            "count": r, "width": width, "x": f.at(arg["gram"], before), "W": arg["steps"],
            "start": f.at(arg["Z"], at), "out": a,
        }  # fmt: skip
        combine(f, sigmoid)
        f.args = {"n": arg["count"], "out": a}
        trim(f)
        label = b.load(f.at(arg["places"], r))
        layer = output | {"label": label, "below": f.at(arg["steps"], at)}
        layer["factor"] = b.load(f.at(arg["factors"], r))

        def in_registers() -> Any:
            f.args = layer | {"width": width}
            return output_step(f)

        def in_memory() -> Any:
            f.args = layer | {"count": n, "width": width, "start": arg["bias"], "out": z}
            dots(f)
            f.args["width"] = whole
            total = softmax_step(f)
            f.args["width"] = width
            hand_down_by_loop(f)
            return total

        b.store(f.either(few, in_registers, in_memory), f.at(arg["sums"], r))
        b.store(b.load(f.at(z, label)), f.at(arg["scores"], r))
        return []

    f.loop(arg["k"], arg["rows"], 1, [], row)
    b.ret(f.element(1.0))


if JIT:

    @intrinsic
    def rows_step_(  # type: ignore[no-untyped-def]
        typing, n, count, width, k, rows, places, factors, gram, Z, steps, a, W, bias, z, step,
        sums, scores,
    ) -> Any:  # fmt: skip
        """Make the steps of rows ``k`` to ``rows`` of a block; return 0 if one is left, else 1.

        Row ``r`` has the scores ``Z_r + sum_s gram_rs steps_s`` over the rows ``s < r`` and
        writes ``steps_r``, of ``width`` numbers, ``count`` without padding.  ``W`` to ``step``
        are those of the ``n`` outputs for `output_step_`, with the label ``places_r`` and the
        factor ``factors_r``; to ``sums`` go the sums of exponentials, to ``scores`` the labels'.
        A row is left, and its sum not written, if its scores are not `SAFE`.
        """
        m, number = types.intp, W.dtype
        pointers = places, factors, gram, Z, steps, a, W, bias, z, step, sums, scores
        names = "n count width k rows places factors gram Z steps a W bias z step sums scores"
        codegen = call_codegen(_rows_step, names, number=True, like=W)
        return number(m, m, m, m, m, *pointers), codegen

else:

    def rows_step_(  # type: ignore[no-untyped-def]
        n, count, width, k, rows, places, factors, gram, Z, steps, a, W, bias, z, step, sums, scores
    ) -> Any:
        """Make the steps of rows ``k`` to ``rows`` of a block; return 0 if one is left, else 1."""
        for r in range(k, rows):
            combine_sigmoid_(r, width, gram[r * (r - 1) // 2 :], steps, Z[r * width :], a)
            trim_(count, a)
            label, below = places[r], steps[r * width :]
            total = output_step_(
                n, width, 1, 0, 1, -1, label, factors[r], a, W, bias, z, step, below
            )
            if not total > 0:
                return 0.0
            sums[r], scores[r] = total, z[label]
        return 1.0


@scalar
def is_swift(job, descent):
    """Return whether `swift_rows_` makes the steps, where `activates_at_once`, `steps_at_once`."""
    return job.n_layers == 2 and not fades(descent)


@helper
def swift_rows_(job, packed, blocks, labels, rate, t, r, size, stop, loss, product, weight):
    """Make the steps of rows ``r`` to ``size`` of a block, of times ``t`` and on.

    Returns the first row that is not done, the loss and the product of factors, which `settle`
    settles, and the sum of weights.  Asks for the rows of the next block.
    """
    factors, sums = blocks.numbers, offset(blocks.numbers, blocks.most)
    scores = offset(sums, blocks.most)
    for k in range(r, size):
        i = row_number(job, t + k - r)
        labels[k] = int(job.y[i])
        factors[k] = constant(rate * (job.loss_scale * row_weight(job, i)), factors[0])
        sums[k] = constant(0, sums[0])
        if t + k - r + size < stop:
            prefetch_row_(job, blocks, k, t + k - r + size)
    inner, outer = packed.units[1], packed.units[2]
    rows_step_(
        job.sizes[2], job.sizes[1], blocks.width, r, size, labels, factors, blocks.gram,
        blocks.Z, blocks.steps, offset(packed.a, inner), offset(packed.flat, packed.weights[1]),
        offset(packed.flat, packed.biases[1]), offset(packed.z, outer),
        offset(packed.step, outer), sums, scores,
    )  # fmt: skip
    first = r
    while r < size and sums[r] > 0:
        own = row_weight(job, row_number(job, t + r - first))
        surprise, factor = -float(scores[r]), float(sums[r])
        if job.weighted:
            surprise, factor = surprise + log(factor), 1.0
        loss, product = settle(job, loss + job.loss_scale * own * surprise, product * factor)
        weight += own
        r += 1
    return r, loss, product, weight
