"""`explain`: one step of training as the textbook's product of derivatives.

Scores, activations, the loss, ``dJ/dz``, ``dJ/dW`` and the updated weights come from the
kernels that train; the factors ``dJ/da`` and ``da/dz`` come from the same tables.  The product
of the factors is multiplied here, so that it can be seen to equal the kernels' gradient.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from fastnn.errors import number
from fastnn.inputs import check_rows
from fastnn.inspect.derivation import all_sections, folded_sections, layer_section
from fastnn.inspect.models import as_subject, dense, duplicate, one_hot
from fastnn.inspect.render import as_html, as_latex, as_markdown, as_text, show
from fastnn.kernels import activations, losses
from fastnn.kernels.functional import activation_, factors_, predict_
from fastnn.network import Network
from fastnn.training import score


@dataclass(frozen=True)
class LayerTrace:
    """One layer in one step; the arrays are of the network's precision.

    Attributes
    ----------
    index : int
        Number of the layer, from 0.
    output : bool
        Whether it is the last; its activation is the loss's link.
    formula, derivative_formula : str
        ``a`` and ``da/dz``.
    W, b : array (n_in, n_out), array (n_out,)
        Before the step.
    x, z, a : array (n_in,), array (n_out,), array (n_out,)
        What comes in, the scores ``x W + b``, what goes out.
    dJ_da : array (n_out,)
        From the loss, or handed down by the layer above.
    da_dz : array (n_out,) or (n_out, n_out)
        Derivative of the activation; of a softmax the Jacobian ``da_k/dz_j``.
    delta : array (n_out,)
        ``dJ/dz`` of the kernels.
    dJ_dW, dJ_db : array (n_in, n_out), array (n_out,)
        Gradient of the kernels.
    W_new, b_new : array (n_in, n_out), array (n_out,)
        After the kernels' step.
    """

    index: int
    output: bool
    formula: str
    derivative_formula: str
    W: np.ndarray
    b: np.ndarray
    x: np.ndarray
    z: np.ndarray
    a: np.ndarray
    dJ_da: np.ndarray
    da_dz: np.ndarray
    delta: np.ndarray
    dJ_dW: np.ndarray
    dJ_db: np.ndarray
    W_new: np.ndarray
    b_new: np.ndarray

    @property
    def dz_dW(self) -> np.ndarray:
        """``dz_k/dW_jk = x_j``, (n_in,), the same for every output k."""
        return self.x

    @property
    def dz_db(self) -> np.ndarray:
        """``dz_k/db_k = 1``, (n_out,)."""
        return np.ones_like(self.b)

    @property
    def product_b(self) -> np.ndarray:
        """``dJ/da * da/dz * dz/db``, (n_out,), multiplied from its factors."""
        with np.errstate(all="ignore"):
            product = self.dJ_da @ self.da_dz if self.da_dz.ndim == 2 else self.dJ_da * self.da_dz
            return product * self.dz_db

    @property
    def product_W(self) -> np.ndarray:
        """``dJ/da * da/dz * dz/dW``, (n_in, n_out), multiplied from its factors."""
        with np.errstate(all="ignore"):
            return np.outer(self.dz_dW, self.product_b)

    @property
    def handed_down(self) -> np.ndarray:
        """``dJ/dx = delta W^T``, (n_in,): ``dJ/da`` of the layer below."""
        return self.W @ self.delta


@dataclass(frozen=True, repr=False)
class Trace:
    """One step of training on one row, as `explain` returns it.

    Printed, it is aligned text with formulas; in a notebook, tables.  The lines N1 to N10 are
    those of the README's derivation.  A network of several layers is folded to a few lines
    each; ``trace.layer(l)`` unfolds one and ``trace.full()`` all of them.

    Attributes
    ----------
    network : str
        What was explained.
    x, y : array
        The row and its target, as the network sees them; a class as one probability each.
    loss : float
        ``J`` before the step, times ``loss_scale``.
    loss_name, loss_parameter, loss_scale
        Of the network.
    learning_rate : float
        ``alpha``.
    layers : list of LayerTrace
        From the input to the output, with every number.
    """

    network: str
    x: np.ndarray
    y: np.ndarray
    loss: float
    loss_name: str
    loss_parameter: float
    loss_scale: float
    learning_rate: float
    layers: list[LayerTrace]

    def full(self) -> str:
        """Return every step of every layer as text."""
        return f"{self._header()}\n\n{as_text(all_sections(self))}{self._note()}"

    def layer(self, index: int) -> str:
        """Return every step of one layer as text."""
        return as_text([layer_section(self, index)])

    def __repr__(self) -> str:
        if len(self.layers) == 1:
            return self.full()
        text = f"{self._header()}\n\n{as_text(folded_sections(self))}{self._note()}"
        return f"{text}\n\nprint(trace.layer(l)) unfolds a layer, print(trace.full()) all of them."

    def _repr_markdown_(self) -> str:
        header = self._header().replace("\n", "  \n")
        folded = all_sections if len(self.layers) == 1 else folded_sections
        return f"{header}\n\n{as_markdown(folded(self))}{self._note()}"

    def _repr_latex_(self) -> str:
        return as_latex(all_sections(self))

    def _repr_html_(self) -> str:
        header = f"<pre>{self._header()}{self._note()}</pre>"
        if len(self.layers) == 1:
            return header + as_html(all_sections(self))
        layers = [layer_section(self, l) for l in range(len(self.layers))]
        return header + as_html(folded_sections(self)) + as_html(layers, folded=True)

    def _header(self) -> str:
        y = self.y[0] if self.y.size == 1 else self.y
        lines = [
            f"One step of gradient descent of {self.network}",
            f"x = {show(self.x)}, y = {show(y)}, alpha = {self.learning_rate:g}",
        ]
        top = self.layers[-1]
        if len(self.layers) == 1 and top.z.size == 1:
            lines.append(f"w = {show(top.W[:, 0])}, b = {show(top.b[0])}")
        parameter = losses.TABLE[self.loss_name].parameter
        if parameter is not None:
            lines.append(f"p = {self.loss_parameter:g}, the {parameter[0]} of the loss")
        return "\n".join(lines)

    def _note(self) -> str:
        """Return what is to be said where a factor leaves the range of its precision."""
        if all(np.isfinite(layer.product_b).all() for layer in self.layers):
            return ""
        return (
            "\n\nThe output is saturated: dJ/da is beyond the range of the precision, so the "
            "product of the\nfactors is undefined; the fused form, which the kernels use, is not."
        )


def explain(model: Any, x: Any, y: Any, *, learning_rate: float = 0.01) -> Trace:
    """Show one step of stochastic gradient descent on one row, factor by factor.

    Parameters
    ----------
    model : Network, Model or fitted estimator
        It is left as it is.
    x : array-like, shape (n_features,) or (1, n_features)
        The row, in the units of the model's data.
    y : label, number or array-like, shape (n_outputs,)
        Its target: a label of a classifier, else what `Network.step` takes.
    learning_rate : float
        ``alpha`` of ``w_new = w_old - alpha dJ/dw``.

    Returns
    -------
    Trace

    Raises
    ------
    ValueError, TypeError
        The row is not of the network's width, the target is not one of the loss's, the model is
        not fitted, or is not a network.

    Examples
    --------
    >>> from fastnn import Network, explain
    >>> neuron = Network([2, 1], loss="log_loss", dtype="float64")
    >>> neuron.parameters[:] = [0.5, -0.25, 0.1]
    >>> trace = explain(neuron, [1.0, 2.0], 1, learning_rate=0.1)
    >>> layer = trace.layers[0]
    >>> bool(abs(layer.product_W - layer.dJ_dW).max() < 1e-15)
    True
    >>> " ".join(str(trace).splitlines()[4].split())
    'N1 z = x.w + b = 1 * 0.5 + 2 * (-0.25) + 0.1 = 0.1'
    """
    subject = as_subject(model)
    network = subject.network
    rate = number("learning_rate", learning_rate, low=0)
    row = _one_row(subject.rows(np.atleast_2d(dense(x)), "x"), network)
    target = subject.targets(np.reshape(y, (1, -1) if np.ndim(y) else 1))
    _, targets, _ = network._check(row, np.reshape(target, (1, -1)), None)
    gradient = network.gradients(row, targets.y)
    after = duplicate(network)
    loss = after.step(row[0], targets.y[0], learning_rate=rate)
    target = one_hot(targets.y, network)[0]
    below, layers = row[0], []
    scores = _scores(network, row)
    top = len(scores) - 1
    plan, sizes = network.plan, network.layer_sizes
    for l, z in enumerate(scores):
        of_weights = slice(plan.weights[l], plan.biases[l])
        of_biases = slice(plan.biases[l], plan.biases[l] + sizes[l + 1])
        shape = sizes[l], sizes[l + 1]
        if l == top:
            a, dJ_da, da_dz = _output_factors(network, z, target)
            link = losses.TABLE[network.loss_name].link
            formulas = link.formula, link.derivative_formula
        else:
            a, da_dz = np.empty_like(z), np.empty_like(z)
            activation_(plan.activations[l], z, a, da_dz)
            above = plan.biases[l + 1]
            delta_above = gradient[above : above + sizes[l + 2]]
            dJ_da = network.weights[l + 1] @ delta_above
            row_of_table = list(activations.TABLE.values())[plan.activations[l]]
            formulas = row_of_table.formula, row_of_table.derivative_formula
        layers.append(
            LayerTrace(
                l, l == top, *formulas,
                network.parameters[of_weights].reshape(shape).copy(),
                network.parameters[of_biases].copy(),
                below, z, a, dJ_da, da_dz,
                gradient[of_biases],  # of one row, dJ/db is dJ/dz
                gradient[of_weights].reshape(shape), gradient[of_biases],
                after.parameters[of_weights].reshape(shape), after.parameters[of_biases],
            )
        )  # fmt: skip
        below = a
    return Trace(
        repr(network), row[0], target, loss, network.loss_name, network.loss_parameter,
        network.loss_scale, rate, layers,
    )  # fmt: skip


def _one_row(x: Any, network: Network) -> np.ndarray:
    """Return ``x`` checked, (1, n_features)."""
    row = check_rows(x, network.layer_sizes[0], network.dtype, "x").dense
    if row.shape[0] != 1:
        raise ValueError(f"x must be one row, got {row.shape[0]}")
    return row


def _scores(network: Network, row: np.ndarray) -> list[np.ndarray]:
    """Return ``z`` of every layer: the scores of the network cut off after it."""
    plan = network.plan
    rows = check_rows(row, network.layer_sizes[0], network.dtype)
    none = activations.CODES["identity"]  # of an output
    found = []
    for n in range(1, len(network.layer_sizes)):
        cut = plan._replace(
            sizes=plan.sizes[: n + 1], weights=plan.weights[:n], biases=plan.biases[:n],
            units=plan.units[: n + 2], activations=np.append(plan.activations[: n - 1], none),
        )  # fmt: skip
        found.append(score(cut, network.parameters, rows, 1)[0][0])
    return found


def _output_factors(
    network: Network, z: np.ndarray, target: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return ``a``, ``dJ/da`` and ``da/dz`` (a Jacobian for the softmax) of the output."""
    code = losses.CODES[network.loss_name]
    Z, A, slopes = z[None], np.empty_like(z[None]), np.empty_like(z[None])
    jacobians = np.empty((1, z.size, z.size), z.dtype)
    predict_(code, Z, A)
    factors_(code, Z, A, target[None], network.loss_parameter, slopes, jacobians)
    coupled = network.loss_name == "cross_entropy"
    da_dz = jacobians[0] if coupled else jacobians[0].diagonal().copy()
    return A[0], slopes[0] * z.dtype.type(network.loss_scale), da_dz
