"""Losses: link, value and ``delta = dJ/dz`` from raw scores, and the table of them.

A loss owns its link, the function that turns raw scores ``z`` into what the network predicts,
and is computed from ``z`` itself: no probability is ever clipped before a logarithm.
``J`` is in nats where the loss is a negative log-likelihood.

An elementwise loss is a scalar value and derivative of ``(z, y, parameter)``, summed over the
outputs; cross-entropy couples the outputs of a row.  To add a loss, write its functions and a
row of `TABLE`.

Training takes ``dJ/dz`` in one.  Its two factors, ``dJ/da`` (the slope) and ``da/dz`` (the
link's derivative), stand beside it for `fastnn.explain`, which shows that they multiply to it.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

from fastnn.kernels.elementary import exp, expm1, log, log1p, log_one_plus, sigmoid
from fastnn.kernels.elementwise import map_
from fastnn.kernels.jit import elementary, helper, scalar, types
from fastnn.kernels.softmax_row import softmax_row_
from fastnn.kernels.table import dispatch
from fastnn.kernels.views import constant, offset, vector

#: A product of sums so large goes through the logarithm before the next factor.
ENOUGH = 1e200


@scalar
def log_loss(z, y, parameter):
    """Return ``-(y log a + (1 - y) log(1 - a))``, ``a = sigmoid(z)``, from ``z``.

    With ``s = |z|`` it is ``log(1 + exp(-s))`` plus ``s`` times the weight of the wrong side.
    """
    wrong = constant(1, z) - y if z >= 0 else y
    size = abs(z)
    value = log1p(exp(-size))
    return value + wrong * size if wrong != 0 else value


@scalar
def log_loss_delta(z, y, parameter):
    """Return ``a - y``."""
    return sigmoid(z) - y


@scalar
def log_loss_slope(z, a, y, parameter):
    """Return ``(a - y) / (a (1 - a))``, with ``1 - a`` as ``sigmoid(-z)``, which cannot cancel."""
    return (a - y) / (a * sigmoid(-z))


@scalar
def cross_entropy_slope(z, a, y, parameter):
    """Return ``-y / a`` of one class."""
    return -y / a


@scalar
def squared_error(z, y, parameter):
    """Return ``(z - y)^2 / 2``."""
    return constant(0.5, z) * (z - y) * (z - y)


@scalar
def squared_error_delta(z, y, parameter):
    """Return ``z - y``."""
    return z - y


@scalar
def squared_error_slope(z, a, y, parameter):
    """Return ``a - y``."""
    return a - y


@scalar
def absolute_error(z, y, parameter):
    """Return ``|z - y|``."""
    return abs(z - y)


@scalar
def absolute_error_delta(z, y, parameter):
    """Return the sign of ``z - y``; 0, a subgradient, at the kink."""
    return quantile_delta(z, y, constant(0.5, z)) * constant(2, z)


@scalar
def absolute_error_slope(z, a, y, parameter):
    """Return the sign of ``a - y``."""
    return absolute_error_delta(a, y, parameter)


@scalar
def huber(z, y, parameter):
    """Return ``r^2 / 2`` where ``|r| <= p``, else ``p (|r| - p/2)``, with ``r = z - y``."""
    size = abs(z - y)
    if size <= parameter:
        return constant(0.5, z) * size * size
    return parameter * (size - constant(0.5, z) * parameter)


@scalar
def huber_delta(z, y, parameter):
    """Return ``r`` clipped to ``[-p, p]``."""
    return min(max(z - y, -parameter), parameter)


@scalar
def huber_slope(z, a, y, parameter):
    """Return ``a - y`` clipped to ``[-p, p]``."""
    return huber_delta(a, y, parameter)


@elementary
def poisson(z, y, parameter):
    """Return ``mu - y z + (y log y - y)``, ``mu = exp(z)``: half the Poisson deviance.

    With ``d = z - log y`` it is ``y (exp(d) - 1 - d)``, which keeps its digits where ``mu`` is
    near a large ``y``; the sum of the terms would be left with their rounding errors.
    """
    if y == 0:
        return exp(z)
    d = z - log(y)
    return y * (expm1(d) - d) if d < 1 else (exp(z) - y) - y * d


@scalar
def poisson_delta(z, y, parameter):
    """Return ``mu - y``."""
    return exp(z) - y


@scalar
def poisson_slope(z, a, y, parameter):
    """Return ``1 - y / a``."""
    return constant(1, z) - y / a


@scalar
def quantile(z, y, parameter):
    """Return ``p (y - z)`` where ``y >= z``, else ``(1 - p) (z - y)``."""
    r = y - z
    return parameter * r if r >= 0 else (parameter - constant(1, z)) * r


@scalar
def quantile_delta(z, y, parameter):
    """Return ``-p`` where ``y > z``, ``1 - p`` where ``y < z``; 0, a subgradient, at the kink."""
    if y > z:
        return -parameter
    if y < z:
        return constant(1, z) - parameter
    return z - y  # 0, or NaN


@scalar
def quantile_slope(z, a, y, parameter):
    """Return ``-p`` where ``y > a``, ``1 - p`` where ``y < a``."""
    return quantile_delta(a, y, parameter)


@helper
def exponentials_(batch, n_out, z, e):
    """Write ``e = exp(z - largest)`` of each row of scores, which cannot overflow."""
    for r in range(batch):
        scores, shifted = vector(z, r * n_out, n_out), vector(e, r * n_out, n_out)
        largest = scores[0]
        for k in range(1, n_out):
            largest = max(largest, scores[k])
        for k in range(n_out):
            shifted[k] = scores[k] - largest
    map_(exp, batch * n_out, 0, e, e)


@helper
def softmax_of_two_(batch, z, a):
    """Write the softmax of rows of two scores: both shares are of ``e = exp(-|difference|)``."""
    scores, shares = vector(z, 0, 2 * batch), vector(a, 0, 2 * batch)
    for r in range(batch):
        difference = scores[2 * r + 1] - scores[2 * r]
        e = exp(-abs(difference))
        larger = constant(1, e) / (constant(1, e) + e)
        smaller = e * larger
        shares[2 * r] = smaller if difference >= 0 else larger
        shares[2 * r + 1] = larger if difference >= 0 else smaller


@helper
def softmax_(batch, n_out, z, a):
    """Write the softmax of each row of scores ``z`` to ``a``."""
    if n_out == 2:
        softmax_of_two_(batch, z, a)
        return
    for r in range(batch):
        scores = offset(z, r * n_out)
        if softmax_row_(n_out, scores, offset(a, r * n_out)) == 0:
            exponentials_(1, n_out, scores, offset(a, r * n_out))
            row = vector(a, r * n_out, n_out)
            total = constant(0, row[0])
            for k in range(n_out):
                total += row[k]
            for k in range(n_out):
                row[k] /= total


@helper
def cross_entropy_(batch, n_out, n_targets, z, y, parameter, delta):
    """Return ``-sum_k y_k log a_k``, ``a = softmax(z)``, by log-sum-exp; write ``a - y``.

    ``y`` is the number of the class, or a probability per class.  Where further columns follow, the
    outputs are several softmaxes side by side, and those columns are their sizes.
    """
    if n_targets == 1 and n_out == 2:
        return cross_entropy_of_two_(batch, z, y, delta)
    if n_targets == 1:
        return cross_entropy_of_labels_(batch, n_out, z, y, delta)
    if n_targets == n_out:
        return cross_entropy_of_probabilities_(batch, n_out, z, y, delta)
    value = 0.0
    for r in range(batch):
        first, target = r * n_out, r * n_targets
        for g in range(n_out, n_targets):
            size = int(y[r * n_targets + g])
            value += cross_entropy_of_probabilities_(
                1, size, offset(z, first), offset(y, target), offset(delta, first)
            )
            first, target = first + size, target + size
    return value


@helper
def cross_entropy_of_probabilities_(batch, n_out, z, y, delta):
    """Return `cross_entropy_` for a probability per class.

    With ``s`` the sum of ``exp(z - largest)`` it is ``sum_k y_k (log s - (z_k - largest))``, where
    no term is negative; summed as ``(log s + largest) - z_k``, it would lose the digits of a large
    score.
    """
    exponentials_(batch, n_out, z, delta)
    value = 0.0
    for r in range(batch):
        scores, target = vector(z, r * n_out, n_out), vector(y, r * n_out, n_out)
        row = vector(delta, r * n_out, n_out)
        largest = scores[0]
        total, mass = constant(0, largest), constant(0, largest)
        for k in range(n_out):
            largest = max(largest, scores[k])
            total += row[k]
            mass += target[k]
        normaliser = log(total)
        for k in range(n_out):
            if target[k] != 0:
                value += float(target[k] * surprise(scores[k], largest, normaliser))
            row[k] = row[k] * (mass / total) - target[k]
    return value


@helper
def cross_entropy_of_two_(batch, z, y, delta):
    """Return `cross_entropy_` for two class numbers: the softmax of (0, s) is the sigmoid of s.

    With ``s`` the score of the wrong class minus that of the right one, ``J = softplus(s)``; both
    are of ``e = exp(-|s|)``.
    """
    scores, labels = vector(z, 0, 2 * batch), vector(y, 0, batch)
    out = vector(delta, 0, 2 * batch)
    total = constant(0, scores[0])
    for r in range(batch):
        difference = scores[2 * r + 1] - scores[2 * r]
        s = -difference if labels[r] != 0 else difference
        e = exp(-abs(s))
        total += max(s, constant(0, s)) + log_one_plus(e)
        one = constant(1, s)
        wrong = (one if s >= 0 else e) / (one + e)
        first = wrong if labels[r] != 0 else -wrong
        out[2 * r] = first
        out[2 * r + 1] = -first
    return float(total)


@helper
def cross_entropy_of_labels_(batch, n_out, z, y, delta):
    """Return `cross_entropy_` for class numbers; a sum of logarithms is one of their product."""
    value, product = 0.0, 1.0
    exponentials_(batch, n_out, z, delta)
    for r in range(batch):
        scores, row = vector(z, r * n_out, n_out), vector(delta, r * n_out, n_out)
        largest, total = scores[0], constant(0, scores[0])
        for k in range(n_out):
            largest = max(largest, scores[k])
            total += row[k]
        scale = constant(1, total) / total
        for k in range(n_out):
            row[k] *= scale
        label = int(y[r])
        row[label] -= constant(1, total)
        value += float(largest - scores[label])
        product *= float(total)
        if product > ENOUGH:
            value += log(product)
            product = 1.0
    return value + log(product)


@elementary
def surprise(z, largest, normaliser):
    """Return ``-log a = normaliser - (z - largest)``, in this order."""
    return normaliser - (z - largest)


def elementwise(value: Callable, delta: Callable, name: str) -> Callable:
    """Return the block function of an elementwise loss: sum of values, ``delta`` written."""

    def block(batch, n_out, n_targets, z, y, parameter, gradient):  # type: ignore[no-untyped-def]
        size = batch * n_out
        scores, targets, out = vector(z, 0, size), vector(y, 0, size), vector(gradient, 0, size)
        total = constant(0, scores[0])
        for i in range(size):
            total += value(scores[i], targets[i], parameter)
            out[i] = delta(scores[i], targets[i], parameter)
        return float(total)

    block.__name__ = block.__qualname__ = f"{name}_"  # Numba links by name
    return helper(block)


@helper
def identity_link_(batch, n_out, z, a):
    """Write ``a = z``."""
    for i in range(batch * n_out):
        a[i] = z[i]


@helper
def sigmoid_link_(batch, n_out, z, a):
    """Write ``a = sigmoid(z)``."""
    map_(sigmoid, batch * n_out, 0, z, a)


@helper
def exp_link_(batch, n_out, z, a):
    """Write ``a = exp(z)``."""
    map_(exp, batch * n_out, 0, z, a)


@scalar
def identity_link_derivative(z, a, other, same):
    """Return ``[k = j]``."""
    return same


@scalar
def sigmoid_link_derivative(z, a, other, same):
    """Return ``a_k (1 - a_k) [k = j]``, with ``1 - a`` as ``sigmoid(-z)``, which cannot cancel."""
    return a * sigmoid(-z) * same


@scalar
def exp_link_derivative(z, a, other, same):
    """Return ``a_k [k = j]``."""
    return a * same


@scalar
def softmax_link_derivative(z, a, other, same):
    """Return ``a_k ([k = j] - a_j)``."""
    return a * (same - other)


class Link(NamedTuple):
    """The function ``a = link(z)`` from raw scores to predictions.

    ``derivative(z_k, a_k, a_j, same)`` is ``da_k/dz_j``; ``same`` is 1 where ``k = j``, else 0.
    """

    formula: str
    derivative_formula: str
    function: Callable
    derivative: Callable


IDENTITY = Link("z", "1", identity_link_, identity_link_derivative)
SIGMOID = Link("1 / (1 + exp(-z))", "a (1 - a)", sigmoid_link_, sigmoid_link_derivative)
EXP = Link("exp(z)", "a", exp_link_, exp_link_derivative)
SOFTMAX = Link("softmax(z)", "a_k ([k = j] - a_j)", softmax_, softmax_link_derivative)


class Loss(NamedTuple):
    """One row of the table.

    The formulas are of the prediction ``a``: the value, ``dJ/da`` and ``dJ/dz``.  ``targets``
    says what ``y`` may be: "probability" in [0, 1], "class", "real" or "count" (>= 0).
    ``parameter`` is the name of the loss's own parameter ``p`` with its default and the open
    interval it lies in.
    """

    formula: str
    slope_formula: str
    delta_formula: str
    block: Callable
    slope: Callable
    link: Link
    targets: str
    parameter: tuple[str, float, float, float] | None = None


TABLE: dict[str, Loss] = {
    "log_loss": Loss(
        "-(y log a + (1 - y) log(1 - a))",
        "(a - y) / (a (1 - a))",
        "a - y",
        elementwise(log_loss, log_loss_delta, "log_loss"),
        log_loss_slope,
        SIGMOID,
        "probability",
    ),
    "cross_entropy": Loss(
        "-sum_k y_k log a_k",
        "-y / a",
        "a - y",
        cross_entropy_,
        cross_entropy_slope,
        SOFTMAX,
        "class",
    ),
    "squared_error": Loss(
        "(a - y)^2 / 2",
        "a - y",
        "a - y",
        elementwise(squared_error, squared_error_delta, "squared_error"),
        squared_error_slope,
        IDENTITY,
        "real",
    ),
    "absolute_error": Loss(
        "|a - y|",
        "sign(a - y)",
        "sign(a - y)",
        elementwise(absolute_error, absolute_error_delta, "absolute_error"),
        absolute_error_slope,
        IDENTITY,
        "real",
    ),
    "huber": Loss(
        "(a - y)^2 / 2 if |a - y| <= p else p (|a - y| - p/2)",
        "clip(a - y, -p, p)",
        "clip(a - y, -p, p)",
        elementwise(huber, huber_delta, "huber"),
        huber_slope,
        IDENTITY,
        "real",
        ("delta", 1.0, 0.0, math.inf),
    ),
    "poisson": Loss(
        "a - y log a + (y log y - y)",
        "1 - y / a",
        "a - y",
        elementwise(poisson, poisson_delta, "poisson"),
        poisson_slope,
        EXP,
        "count",
    ),
    "quantile": Loss(
        "p (y - a) if y >= a else (1 - p) (a - y)",
        "-p if y > a else 1 - p",
        "-p if y > a else 1 - p",
        elementwise(quantile, quantile_delta, "quantile"),
        quantile_slope,
        IDENTITY,
        "real",
        ("quantile", 0.5, 0.0, 1.0),
    ),
}
CODES = {name: code for code, name in enumerate(TABLE)}

#: ``loss_(code, batch, n_out, n_targets, z, y, parameter, delta)`` returns the sum of J over rows
#: of scores ``z`` (batch, n_out) and targets ``y`` (batch, n_targets), and writes their
#: ``delta = dJ/dz``; all three are pointers.
loss_ = dispatch(
    "loss_",
    "batch, n_out, n_targets, z, y, parameter, delta",
    "return {block}(batch, n_out, n_targets, z, y, parameter, delta)",
    [{"block": loss.block} for loss in TABLE.values()],
    __name__,
    result=types.float64,
)

#: ``link_(code, batch, n_out, z, a)`` writes the predictions of rows of scores; ``a`` may be ``z``.
link_ = dispatch(
    "link_",
    "batch, n_out, z, a",
    "{link}(batch, n_out, z, a)",
    [{"link": loss.link.function} for loss in TABLE.values()],
    __name__,
)

#: ``slope(code, z, a, y, parameter)`` returns ``dJ/da`` of one output.
slope = dispatch(
    "slope",
    "z, a, y, parameter",
    "return {slope}(z, a, y, parameter)",
    [{"slope": loss.slope} for loss in TABLE.values()],
    __name__,
)

#: ``link_derivative(code, z, a, other, same)`` returns ``da_k/dz_j``, as of `Link`.
link_derivative = dispatch(
    "link_derivative",
    "z, a, other, same",
    "return {derivative}(z, a, other, same)",
    [{"derivative": loss.link.derivative} for loss in TABLE.values()],
    __name__,
)
