"""The lines of the derivation, N1 to N10, written from the numbers of a trace."""

from typing import TYPE_CHECKING

import numpy as np

from fastnn import functional
from fastnn.inspect.render import Section, Step, operand, put_in, show
from fastnn.kernels import losses

if TYPE_CHECKING:
    from fastnn.inspect.trace import LayerTrace, Trace


def all_sections(trace: "Trace") -> list[Section]:
    """Return every step: forward layer by layer, the loss, then backward."""
    if len(trace.layers) == 1:
        layer = trace.layers[0]
        steps = [*_forward(layer), *_loss(trace), *_backward(trace, layer), *_update(trace, layer)]
        return [Section("", steps)]
    return [
        *(Section(f"Forward, {_title(layer)}", _forward(layer)) for layer in trace.layers),
        Section("Loss", _loss(trace)),
        *(
            Section(
                f"Backward, {_title(layer)}", [*_backward(trace, layer), *_update(trace, layer)]
            )
            for layer in reversed(trace.layers)
        ),
    ]


def layer_section(trace: "Trace", index: int) -> Section:
    """Return every step of one layer."""
    layer = trace.layers[index]
    steps = [*_forward(layer), *_backward(trace, layer), *_update(trace, layer)]
    return Section(_title(layer).capitalize(), steps)


def folded_sections(trace: "Trace") -> list[Section]:
    """Return a few lines per layer: what goes up, what comes down, how large the gradient is."""
    forward, backward, update = [], [], []
    for layer in trace.layers:
        l, x = layer.index, "x" if layer.index == 0 else f"a[{layer.index - 1}]"
        forward.append(Step("N1", f"z[{l}]", f"{x} W[{l}] + b[{l}]", "", _single(layer.z)))
        forward.append(Step("N2", f"a[{l}]", layer.formula, "", _single(layer.a)))
    for layer in reversed(trace.layers):
        l, x = layer.index, "x" if layer.index == 0 else f"a[{layer.index - 1}]"
        formula = _fused(trace) if layer.output else f"(delta[{l + 1}] W[{l + 1}]^T) * da/dz"
        norm = np.linalg.norm(layer.dJ_dW)
        backward.append(Step("N6-7", f"delta[{l}]", formula, "", _single(layer.delta)))
        backward.append(Step("N9", f"|dJ/dW[{l}]|", f"|{x}^T delta[{l}]|", "", norm))
        change = np.linalg.norm(layer.W_new - layer.W)
        update.append(Step("N10", f"|W_new - W_old|[{l}]", f"alpha |dJ/dW[{l}]|", "", change))
    return [
        Section("Forward", forward),
        Section("Loss", _loss(trace)),
        Section("Backward", backward),
        Section("Update", update),
    ]


def _title(layer: "LayerTrace") -> str:
    return f"layer {layer.index}: {layer.W.shape[0]} -> {layer.W.shape[1]}"


def _symbols(layer: "LayerTrace") -> tuple[str, str]:
    """Return what a layer's input and weights are called; a neuron's weights are a vector."""
    x = "x" if layer.index == 0 else f"a[{layer.index - 1}]"
    return x, "w" if layer.z.size == 1 else "W"


def _forward(layer: "LayerTrace") -> list[Step]:
    x, _ = _symbols(layer)
    neuron = layer.z.size == 1
    link = "N3" if layer.output and "softmax" in layer.formula else "N2"
    return [
        Step("N1", "z", f"{x}.w + b" if neuron else f"{x} W + b", _weighted_sum(layer),
             _single(layer.z)),
        Step(link, "a", layer.formula, put_in(layer.formula, z=layer.z), _single(layer.a)),
    ]  # fmt: skip


def _loss(trace: "Trace") -> list[Step]:
    """Return the loss; of a single sigmoid also its form as a softmax of two classes."""
    top = trace.layers[-1]
    tag = {"log_loss": "N4", "cross_entropy": "N5"}.get(trace.loss_name, "")
    formula = _scaled(trace, losses.TABLE[trace.loss_name].formula)
    numbers = put_in(formula, a=top.a, y=trace.y, p=trace.loss_parameter)
    steps = [Step(tag, "J", formula, numbers, trace.loss)]
    if trace.loss_name == "log_loss" and top.z.size == 1:
        z = np.array([0, top.z[0]], top.z.dtype)
        y = np.array([1 - trace.y[0], trace.y[0]])
        pair = Step("N3", "(1 - a, a)", "softmax(0, z)", f"softmax(0, {show(top.z[0])})",
                    functional.softmax(z))  # fmt: skip
        same = trace.loss_scale * functional.cross_entropy(z, y)
        formula = _scaled(trace, losses.TABLE["cross_entropy"].formula)
        steps = [pair, *steps, Step("N5", "J", formula, f"the same of {show(y)}", same)]
    return steps


def _backward(trace: "Trace", layer: "LayerTrace") -> list[Step]:
    """Return the factors, their product, and the kernels' gradient in its fused form."""
    x, W = _symbols(layer)
    neuron = layer.z.size == 1
    of = {"a": layer.a, "y": trace.y, "z": layer.z, "p": trace.loss_parameter}
    row, slope, rise = show(layer.x), _single(layer.dJ_da), _single(layer.da_dz)
    chain = f"{operand(slope)} * {operand(rise)}" if neuron else ""
    if layer.output:
        slope_formula = _scaled(trace, losses.TABLE[trace.loss_name].slope_formula)
        fused, fused_name = _fused(trace), f"({_fused(trace)}) {x}"
        fused_numbers = put_in(fused, **of)
        slope_numbers = put_in(slope_formula, **of)
    else:
        slope_formula, slope_numbers = f"delta[{layer.index + 1}] W[{layer.index + 1}]^T", ""
        fused, fused_name, fused_numbers = "dJ/da * da/dz", f"delta[{layer.index}] {x}", chain
    delta = "delta" if len(trace.layers) == 1 else f"delta[{layer.index}]"
    down = "w" if neuron else f"{W}^T"
    return [
        Step("N6", "dJ/da", slope_formula, slope_numbers, slope),
        Step("N7", "da/dz", layer.derivative_formula, put_in(layer.derivative_formula, **of), rise),
        Step("N8", f"dz/d{W}", x, "", layer.x),
        Step("", "dz/db", "1", "", _single(layer.dz_db)),
        Step("N9", f"dJ/d{W}", f"dJ/da * da/dz * dz/d{W}", chain and f"{chain} * {row}",
             _neuron(layer.product_W)),
        Step("", f"dJ/d{W}", fused_name, fused_numbers and f"({fused_numbers}) {row}",
             _neuron(layer.dJ_dW)),
        Step("", "dJ/db", "dJ/da * da/dz * dz/db", chain and f"{chain} * 1",
             _single(layer.product_b)),
        Step("", f"dJ/db = {delta}", fused, fused_numbers, _single(layer.delta)),
        Step("", f"dJ/d{x}", f"{delta} {down}", "", layer.handed_down),
    ]  # fmt: skip


def _update(trace: "Trace", layer: "LayerTrace") -> list[Step]:
    _, W = _symbols(layer)
    alpha = f"{trace.learning_rate:g}"
    w_numbers = b_numbers = ""
    if layer.z.size == 1:
        w_numbers = f"{show(_neuron(layer.W))} - {alpha} * {show(_neuron(layer.dJ_dW))}"
        b_numbers = f"{show(layer.b[0])} - {alpha} * {operand(layer.dJ_db)}"
    return [
        Step("N10", f"{W}_new", f"{W}_old - alpha * dJ/d{W}", w_numbers, _neuron(layer.W_new)),
        Step("", "b_new", "b_old - alpha * dJ/db", b_numbers, _single(layer.b_new)),
    ]


def _fused(trace: "Trace") -> str:
    return _scaled(trace, losses.TABLE[trace.loss_name].delta_formula)


def _scaled(trace: "Trace", formula: str) -> str:
    return formula if trace.loss_scale == 1 else f"{trace.loss_scale:g} * ({formula})"


def _single(value: np.ndarray) -> np.ndarray:
    """Return the number of an array that has only one."""
    return value.reshape(()) if value.size == 1 else value


def _neuron(value: np.ndarray) -> np.ndarray:
    """Return the weights of a single neuron as a vector, as the derivation writes them."""
    return value[:, 0] if value.shape[1] == 1 else value


def _weighted_sum(layer: "LayerTrace") -> str:
    """Return ``x.w + b`` of a neuron in numbers, where it is short."""
    if layer.z.size > 1 or layer.x.size > 4:
        return ""
    pairs = zip(layer.x, layer.W[:, 0], strict=True)
    terms = [f"{operand(x)} * {operand(w)}" for x, w in pairs]
    return " + ".join([*terms, operand(layer.b)])
