"""Exact per-sample SGD on networks none of whose layers is wider than four.

Such a network does nothing but wait: each operation for the one before, each row for the weights
that the last one left.  Here all layers are alike: four by four weights and four biases, padded
with zeros, and vectors of four numbers whatever the host's width.  So nothing looks at how many
there are, and no loop is set up; a layer takes a dozen operations forward and two dozen back.

Units are as far apart as whole vectors of the host, and stored as such, so that activations and
losses can read what was just written.
"""

import math
from typing import Any

import numpy as np
from llvmlite import ir

from fastnn.kernels.activations import CODES, activate_whole_, deactivate_whole_
from fastnn.kernels.elementary import log
from fastnn.kernels.jit import JIT, helper, intrinsic, scalar, types
from fastnn.kernels.packed import LOWEST, Packed, padded
from fastnn.kernels.plan import row_number, row_weight
from fastnn.kernels.row import lanes_of
from fastnn.kernels.sample_loss import CROSS_ENTROPY, sample_loss_, settle
from fastnn.kernels.simd import prefetch_
from fastnn.kernels.vector_exp import SAFE, exponentials
from fastnn.kernels.vector_function import VectorFunction, call_codegen
from fastnn.kernels.views import LINE_BYTES, aligned, constant, keep_alive, offset, pointer

_I64 = ir.IntType(64)
#: Units of a layer, at the most, and numbers of its weights and biases, padded.
SLIM = 4
_LAYER = SLIM * SLIM + SLIM
#: Rows ahead of the present one whose memory is asked for.
_AHEAD = 4
RELU = CODES["relu"]


def _lane(f: VectorFunction, x: Any, lane: int) -> Any:
    return f.emit.permute(x, [lane] * SLIM)


def _rows(f: VectorFunction) -> tuple[list, list]:
    """Return the addresses of the rows of weights, and the rows."""
    places = [f.at(f.args["W"], _I64(SLIM * row)) for row in range(SLIM)]
    return places, [f.emit.load(place) for place in places]


def _products(f: VectorFunction, x: Any, rows: list, start: Any = None) -> Any:
    """Return ``[start +] sum_i x_i rows_i``, in two sums."""
    b, emit = f.builder, f.emit
    x0, x1, x2, x3 = (_lane(f, x, lane) for lane in range(SLIM))
    low = b.fmul(x0, rows[0]) if start is None else emit.multiply_add(x0, rows[0], start)
    low = emit.multiply_add(x1, rows[1], low)
    high = emit.multiply_add(x3, rows[3], b.fmul(x2, rows[2]))
    return b.fadd(low, high)


def _store(f: VectorFunction, value: Any, place: Any, padding: float) -> None:
    """Store a vector of four, and ``padding`` up to a whole vector of the host."""
    lanes = f.shape.width * 8 // f.emit.index.width
    if lanes > SLIM:
        b = f.builder
        rest = ir.Constant(f.emit.vector, [padding] * SLIM)
        order = [min(lane, SLIM) for lane in range(lanes)]
        kind = ir.VectorType(ir.IntType(32), lanes)
        value = b.shuffle_vector(value, rest, ir.Constant(kind, order))
        whole = b.bitcast(place, value.type.as_pointer())
        b.store(value, whole, align=f.emit.vector_alignment())
    else:
        f.emit.store(value, place)


def _take(f: VectorFunction) -> None:
    """Emit ``out = x``, which has ``n`` numbers."""
    _store(f, f.emit.load(f.args["x"], f.emit.first(f.args["n"])), f.args["out"], 0.0)
    f.builder.ret_void()


def _trim(f: VectorFunction) -> None:
    """Emit zeros in ``out`` behind its first ``n`` numbers."""
    place, emit = f.args["out"], f.emit
    kept = f.builder.select(emit.first(f.args["n"]), emit.load(place), emit.zero)
    _store(f, kept, place, 0.0)
    f.builder.ret_void()


def _forward(f: VectorFunction) -> None:
    """Emit ``out = max(floor, x W + b)``; b is behind W."""
    b, emit = f.builder, f.emit
    bias = emit.load(f.at(f.args["W"], _I64(SLIM * SLIM)))
    z = _products(f, emit.load(f.args["x"]), _rows(f)[1], bias)
    floor = emit.spread(f.args["floor"])
    z = b.select(b.fcmp_ordered(">", floor, z), floor, z)
    _store(f, z, f.args["out"], LOWEST)
    b.ret_void()


def _backward(f: VectorFunction) -> None:
    """Emit ``below = W step``, ``W_i = keep W_i - x_i step`` and ``b -= step``.

    If ``n``, what is below is 0 where not ``x > 0``.
    """
    b, emit = f.builder, f.emit
    x, step = emit.load(f.args["x"]), emit.load(f.args["step"])
    places, rows = _rows(f)
    columns = []
    for low in ([0, 4, 1, 5], [2, 6, 3, 7]):
        left, right = (emit.permute(rows[i], low, rows[i + 1]) for i in (0, 2))
        columns += [emit.permute(left, order, right) for order in ([0, 1, 4, 5], [2, 3, 6, 7])]
    below = _products(f, step, columns)
    free = emit.spread(b.icmp_signed("==", f.args["n"], _I64(0)))
    open_ = b.or_(free, b.fcmp_ordered(">", x, emit.zero))
    _store(f, b.select(open_, below, emit.zero), f.args["below"], 0.0)
    keep, minus = emit.spread(f.args["keep"]), b.fneg(step)
    for i, (place, row) in enumerate(zip(places, rows, strict=True)):
        emit.store(emit.multiply_add(_lane(f, x, i), minus, b.fmul(keep, row)), place)
    bias = f.at(f.args["W"], _I64(SLIM * SLIM))
    emit.store(b.fsub(emit.load(bias), step), bias)
    b.ret_void()


def _softmax(f: VectorFunction) -> None:
    """Emit ``step = factor (softmax(z) - [k = label])``; return the sum, or 0 if not `SAFE`."""
    b, emit = f.builder, f.emit
    inside = emit.first(f.args["n"])
    z = emit.load(f.args["z"])
    size = emit.call(f"llvm.fabs.v{SLIM}{emit.suffix}", emit.vector, z)
    unsafe = b.and_(inside, b.fcmp_unordered(">", size, emit.constant(SAFE)))
    with b.if_then(b.icmp_unsigned("!=", b.bitcast(unsafe, ir.IntType(SLIM)), ir.IntType(SLIM)(0))):
        b.ret(ir.Constant(f.element, 0.0))
    e = b.select(inside, exponentials(f, z), emit.zero)
    total = f.fold(b.fadd, e)
    factor = emit.spread(f.args["factor"])
    lanes = ir.Constant(ir.VectorType(_I64, SLIM), list(range(SLIM)))
    is_label = b.icmp_signed("==", lanes, emit.spread(f.args["label"]))
    one = b.select(is_label, b.fneg(factor), emit.zero)
    _store(f, emit.multiply_add(e, b.fdiv(factor, total), one), f.args["step"], 0.0)
    b.ret(f.first_lane(total))


if JIT:

    def _codegen(emit_body: Any, arguments: str, number: bool = False) -> Any:
        return call_codegen(emit_body, arguments, number, lanes=SLIM)

    @intrinsic
    def take_(typing: Any, n: Any, x: Any, out: Any) -> Any:
        """Write ``out = x`` of ``n`` numbers, and zeros behind."""
        return types.void(types.intp, x, out), _codegen(_take, "n x out")

    @intrinsic
    def trim_slim_(typing: Any, n: Any, out: Any) -> Any:
        """Write zeros behind the first ``n`` of four numbers."""
        return types.void(types.intp, out), _codegen(_trim, "n out")

    @intrinsic
    def forward_slim_(typing: Any, floor: Any, x: Any, W: Any, out: Any) -> Any:
        """Write ``out = max(floor, x W + b)``; b is behind W."""
        return types.void(W.dtype, x, W, out), _codegen(_forward, "floor x W out")

    @intrinsic
    def backward_slim_(  # type: ignore[no-untyped-def]
        typing, gated, keep, x, step, W, below
    ) -> Any:
        """Write ``below = W step``, then ``W_i = keep W_i - x_i step`` and ``b -= step``.

        If ``gated``, an integer, is not 0, what is below is 0 where not ``x > 0``.
        """
        signature = types.void(types.intp, W.dtype, x, step, W, below)
        return signature, _codegen(_backward, "n keep x step W below")

    @intrinsic
    def softmax_slim_(  # type: ignore[no-untyped-def]
        typing, n, label, factor, z, step
    ) -> Any:
        """Write ``step = factor (softmax(z) - [k = label])`` of ``n`` scores.

        Returns ``sum_k exp(z_k)``; or 0 where scores are so large that they take care, and then
        has written nothing.
        """
        signature = z.dtype(types.intp, types.intp, z.dtype, z, step)
        return signature, _codegen(_softmax, "n label factor z step", number=True)

else:

    def _layer(W: Any) -> tuple[Any, Any]:
        return W[: SLIM * SLIM].reshape(SLIM, SLIM), W[SLIM * SLIM : _LAYER]

    def take_(n: int, x: Any, out: Any) -> None:
        """Write ``out = x`` of ``n`` numbers, and zeros behind."""
        out[:SLIM] = 0
        out[:n] = x[:n]

    def trim_slim_(n: int, out: Any) -> None:
        """Write zeros behind the first ``n`` of four numbers."""
        out[n:SLIM] = 0

    def forward_slim_(floor: float, x: Any, W: Any, out: Any) -> None:
        """Write ``out = max(floor, x W + b)``; b is behind W."""
        weights, bias = _layer(W)
        z = x[:SLIM] @ weights + bias
        out[:SLIM] = np.where(floor > z, floor, z)

    def backward_slim_(gated: int, keep: float, x: Any, step: Any, W: Any, below: Any) -> None:
        """Write ``below = W step``, then ``W_i = keep W_i - x_i step`` and ``b -= step``."""
        weights, bias = _layer(W)
        handed = weights @ step[:SLIM]
        below[:SLIM] = np.where((x[:SLIM] > 0) | (gated == 0), handed, 0)
        weights *= keep
        weights -= np.outer(x[:SLIM], step[:SLIM])
        bias -= step[:SLIM]

    def softmax_slim_(n: int, label: int, factor: float, z: Any, step: Any) -> Any:
        """Write ``step = factor (softmax(z) - [k = label])`` of ``n`` scores; return their sum."""
        if not np.all(abs(z[:n]) <= SAFE):
            return z[0] * 0
        e = np.exp(z[:n])
        step[:n] = factor / e.sum() * e
        step[label] -= factor
        return e.sum()


@helper
def is_slim(job, slots):
    """Return whether `train_slim_` can train a network: at most four units a layer, plain SGD."""
    widest = 0
    for l in range(job.n_layers + 1):
        widest = max(widest, job.sizes[l])
    return widest <= SLIM and not job.sparse and slots.size == 0


@helper
def pack_slim_(job, params, work):
    """Copy weights and biases to ``work``; `LOWEST` fills the padding of the output's biases."""
    for l in range(job.n_layers):
        n_in, n_out, at = job.sizes[l], job.sizes[l + 1], _LAYER * l
        for j in range(n_in):
            for k in range(n_out):
                work[at + SLIM * j + k] = params[job.weights[l] + j * n_out + k]
        for k in range(n_out):
            work[at + SLIM * SLIM + k] = params[job.biases[l] + k]
    for k in range(job.sizes[job.n_layers], SLIM):
        work[_LAYER * job.n_layers - SLIM + k] = LOWEST


@helper
def unpack_slim_(job, work, params):
    """Copy weights and biases back."""
    for l in range(job.n_layers):
        n_in, n_out, at = job.sizes[l], job.sizes[l + 1], _LAYER * l
        for j in range(n_in):
            for k in range(n_out):
                params[job.weights[l] + j * n_out + k] = work[at + SLIM * j + k]
        for k in range(n_out):
            params[job.biases[l] + k] = work[at + SLIM * SLIM + k]


@scalar
def is_rectified(job, l):
    """Return whether layer ``l``, not the last, has relu, which is done in registers."""
    return l + 1 < job.n_layers and job.activations[l] == RELU


@helper
def train_slim_(job, params, start, stop, rate, l2, totals):
    """Do what `train_samples_` does, for a network that `is_slim`."""
    flat = pointer(params)
    lanes, top, n_in = lanes_of(flat), job.n_layers, job.sizes[0]
    distance = padded(SLIM, lanes)
    places = np.empty(top + 1, np.int64)
    for l in range(top + 1):
        places[l] = distance * l
    size = padded(_LAYER * top, 2 * SLIM)
    memory = np.zeros(size + 3 * distance * (top + 1) + LINE_BYTES, params.dtype)
    W = aligned(memory)
    z = offset(W, size)
    a = offset(z, distance * (top + 1))
    step = offset(a, distance * (top + 1))
    units = pointer(places)
    packed = Packed(lanes, 0, units, units, units, units, W, W, W, z, a, step)
    pack_slim_(job, flat, W)
    keep = constant(1 - rate * l2, flat[0])
    zero, least = constant(0.0, flat[0]), constant(-math.inf, flat[0])
    scores, out, first = offset(z, units[top]), offset(step, units[top]), offset(step, units[1])
    n_out = job.sizes[top]
    labels = job.loss == CROSS_ENTROPY and job.n_targets == 1
    loss, product, weight = 0.0, 1.0, 0.0
    for t in range(start, stop):
        i = row_number(job, t)
        if t + _AHEAD < stop:
            prefetch_(job.dense, row_number(job, t + _AHEAD) * n_in)
        take_(n_in, offset(job.dense, i * n_in), a)
        for l in range(top):
            at, above = units[l], units[l + 1]
            x, layer = offset(a, at), offset(W, _LAYER * l)
            if is_rectified(job, l):
                forward_slim_(zero, x, layer, offset(a, above))
            else:
                forward_slim_(least, x, layer, offset(z, above))
                if l + 1 < top:
                    activate_whole_(job.activations[l], job.sizes[l + 1], above, z, a)
                    trim_slim_(job.sizes[l + 1], offset(a, above))
        own = row_weight(job, i)
        value, factor = 0.0, 0.0
        if labels:
            label, scale = int(job.y[i]), job.loss_scale * own
            factor = float(softmax_slim_(n_out, label, constant(rate * scale, z[0]), scores, out))
            value = -scale * float(scores[label])
            if job.weighted and factor > 0:
                value, factor = value + scale * log(factor), 1.0
        if not factor > 0:
            value, factor = sample_loss_(job, packed, i, rate, first)
        loss, product = settle(job, loss + value, product * factor)
        weight += own
        for down in range(top):
            l = top - 1 - down
            x, below = offset(a, units[l]), offset(step, units[l])
            gated = 1 if l > 0 and is_rectified(job, l - 1) else 0
            above = offset(step, units[l + 1])
            backward_slim_(gated, keep, x, above, offset(W, _LAYER * l), below)
            if l > 0 and gated == 0:
                activation, n = job.activations[l - 1], job.sizes[l]
                deactivate_whole_(activation, n, units[l], z, a, step)
    unpack_slim_(job, W, flat)
    totals[0] += loss + job.loss_scale * log(product)
    totals[1] += weight
    keep_alive((places, memory))
