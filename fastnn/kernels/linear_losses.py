"""Losses of one score, for linear models trained by stochastic gradient descent.

Each is a value and its derivative by the score ``z = x.w + b``, of ``(z, y, epsilon)``, and a row
of `TABLE`.  Where two classes are told apart, ``y`` is -1 or 1, but 0 or 1 for the log loss.  At a
kink the derivative is the one-sided limit that scikit-learn takes, so that both follow one path.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

from fastnn.kernels.elementary import exp, exp_factors, two_to
from fastnn.kernels.jit import elementary, helper, scalar
from fastnn.kernels.losses import (
    absolute_error,
    absolute_error_delta,
    huber,
    huber_delta,
    log_loss,
    poisson,
    poisson_delta,
    quantile,
    quantile_delta,
    squared_error,
)
from fastnn.kernels.table import dispatch
from fastnn.kernels.views import constant

#: Slopes beyond are cut off, against overflow.
MAX_SLOPE = 1e12


@scalar
def limited(slope):
    """Return the slope within `MAX_SLOPE`."""
    return min(max(slope, constant(-MAX_SLOPE, slope)), constant(MAX_SLOPE, slope))


@elementary
def log_loss_slope(z, y, epsilon):
    """Return ``a - y = ((1 - y) - y e) / (1 + e)``, ``e = exp(-z)``.

    Each row waits for the slope of the row before, so few operations follow one another here; where
    ``e`` is beyond rounding, the limits do.
    """
    one, limit = constant(1, z), constant(80, z)
    rest = one - y
    n, p = exp_factors(-z)
    power = two_to(z, n)
    slope = (rest - (y * power) * p) / (one + power * p)
    slope = rest if z > limit else slope
    return -y if z < -limit else slope


@scalar
def hinge(z, y, epsilon):
    """Return ``max(0, 1 - y z)``."""
    return max(constant(1, z) - y * z, constant(0, z))


@scalar
def hinge_slope(z, y, epsilon):
    """Return ``-y`` where ``y z <= 1``, else 0."""
    return -y if y * z <= constant(1, z) else constant(0, z)


@scalar
def perceptron(z, y, epsilon):
    """Return ``max(0, -y z)``."""
    return max(-y * z, constant(0, z))


@scalar
def perceptron_slope(z, y, epsilon):
    """Return ``-y`` where ``y z <= 0``, else 0."""
    return -y if y * z <= constant(0, z) else constant(0, z)


@scalar
def squared_hinge(z, y, epsilon):
    """Return ``max(0, 1 - y z)^2``."""
    gap = hinge(z, y, epsilon)
    return gap * gap


@scalar
def squared_hinge_slope(z, y, epsilon):
    """Return ``-2 y max(0, 1 - y z)``."""
    return limited(constant(-2, z) * y * hinge(z, y, epsilon))


@scalar
def modified_huber(z, y, epsilon):
    """Return ``max(0, 1 - y z)^2`` where ``y z >= -1``, else ``-4 y z``.

    T. Zhang, Solving large scale linear prediction problems using stochastic gradient descent
    algorithms, ICML 2004.
    """
    margin = y * z
    return squared_hinge(z, y, epsilon) if margin >= constant(-1, z) else constant(-4, z) * margin


@scalar
def modified_huber_slope(z, y, epsilon):
    """Return ``-2 y max(0, 1 - y z)`` where ``y z >= -1``, else ``-4 y``."""
    return constant(-2, z) * y * min(hinge(z, y, epsilon), constant(2, z))


@scalar
def squared_error_slope(z, y, epsilon):
    """Return ``z - y``."""
    return limited(z - y)


@scalar
def epsilon_insensitive(z, y, epsilon):
    """Return ``max(0, |z - y| - epsilon)``."""
    return max(abs(z - y) - epsilon, constant(0, z))


@scalar
def epsilon_insensitive_slope(z, y, epsilon):
    """Return the sign of ``z - y`` where ``|z - y| > epsilon``, else 0."""
    r = z - y
    if r > epsilon:
        return constant(1, z)
    if r < -epsilon:
        return constant(-1, z)
    return constant(0, z)


@scalar
def squared_epsilon_insensitive(z, y, epsilon):
    """Return ``max(0, |z - y| - epsilon)^2``."""
    gap = epsilon_insensitive(z, y, epsilon)
    return gap * gap


@scalar
def squared_epsilon_insensitive_slope(z, y, epsilon):
    """Return ``2 sign(z - y) max(0, |z - y| - epsilon)``."""
    gap = limited(constant(2, z) * epsilon_insensitive(z, y, epsilon))
    return gap if z > y else -gap


@scalar
def poisson_slope(z, y, epsilon):
    """Return ``exp(z) - y``."""
    return limited(poisson_delta(z, y, epsilon))


def summed(value: Callable, name: str) -> Callable:
    """Return the function of ``(n, z, y, epsilon)`` that sums a loss over n scores."""

    def total_loss(n, z, y, epsilon):  # type: ignore[no-untyped-def]
        total = 0.0
        for i in range(n):
            total += float(value(z[i], y[i], epsilon))
        return total

    total_loss.__name__ = total_loss.__qualname__ = f"{name}_sum"  # Numba links by name
    return helper(total_loss)


@helper
def log_loss_sum(n, z, y, epsilon):
    """Return the sum of `log_loss` over up to 1000 scores; that of logarithms, of their product."""
    total, product = 0.0, 1.0
    for i in range(n):
        size = abs(z[i])
        wrong = constant(1, size) - y[i] if z[i] >= 0 else y[i]
        total += float(wrong * size)
        product *= float(constant(1, size) + exp(-size))
    return total + math.log(product)


class LinearLoss(NamedTuple):
    """One row of the table: value, slope and sum, and two formulas with ``e`` for epsilon.

    ``labels`` are the targets that stand for two classes, None where the sign of a score tells none
    apart; ``regression`` says whether the loss takes real targets too.
    """

    formula: str
    slope_formula: str
    value: Callable
    slope: Callable
    total: Callable
    labels: tuple[float, float] | None = (-1.0, 1.0)
    regression: bool = False


TABLE: dict[str, LinearLoss] = {
    "log_loss": LinearLoss(
        "-(y log a + (1 - y) log(1 - a)), a = sigmoid(z)",
        "a - y",
        log_loss,
        log_loss_slope,
        log_loss_sum,
        (0.0, 1.0),
    ),
    "hinge": LinearLoss(
        "max(0, 1 - y z)", "-y if y z <= 1 else 0", hinge, hinge_slope, summed(hinge, "hinge")
    ),
    "modified_huber": LinearLoss(
        "max(0, 1 - y z)^2 if y z >= -1 else -4 y z",
        "-2 y min(2, max(0, 1 - y z))",
        modified_huber,
        modified_huber_slope,
        summed(modified_huber, "modified_huber"),
    ),
    "squared_hinge": LinearLoss(
        "max(0, 1 - y z)^2",
        "-2 y max(0, 1 - y z)",
        squared_hinge,
        squared_hinge_slope,
        summed(squared_hinge, "squared_hinge"),
    ),
    "perceptron": LinearLoss(
        "max(0, -y z)",
        "-y if y z <= 0 else 0",
        perceptron,
        perceptron_slope,
        summed(perceptron, "perceptron"),
    ),
    "squared_error": LinearLoss(
        "(z - y)^2 / 2",
        "z - y",
        squared_error,
        squared_error_slope,
        summed(squared_error, "squared_error"),
        regression=True,
    ),
    "huber": LinearLoss(
        "(z - y)^2 / 2 if |z - y| <= e else e (|z - y| - e/2)",
        "clip(z - y, -e, e)",
        huber,
        huber_delta,
        summed(huber, "huber"),
        regression=True,
    ),
    "epsilon_insensitive": LinearLoss(
        "max(0, |z - y| - e)",
        "sign(z - y) if |z - y| > e else 0",
        epsilon_insensitive,
        epsilon_insensitive_slope,
        summed(epsilon_insensitive, "epsilon_insensitive"),
        regression=True,
    ),
    "squared_epsilon_insensitive": LinearLoss(
        "max(0, |z - y| - e)^2",
        "2 sign(z - y) max(0, |z - y| - e)",
        squared_epsilon_insensitive,
        squared_epsilon_insensitive_slope,
        summed(squared_epsilon_insensitive, "squared_epsilon_insensitive"),
        regression=True,
    ),
    "absolute_error": LinearLoss(
        "|z - y|",
        "sign(z - y)",
        absolute_error,
        absolute_error_delta,
        summed(absolute_error, "absolute_error"),
        regression=True,
    ),
    "quantile": LinearLoss(
        "e (y - z) if y >= z else (1 - e) (z - y)",
        "-e if y > z else 1 - e",
        quantile,
        quantile_delta,
        summed(quantile, "quantile"),
        None,
        regression=True,
    ),
    "poisson": LinearLoss(
        "a - y log a + (y log y - y), a = exp(z)",
        "a - y",
        poisson,
        poisson_slope,
        summed(poisson, "poisson"),
        None,
        regression=True,
    ),
}
CODES = {name: code for code, name in enumerate(TABLE)}

#: ``loss_value(code, z, y, epsilon)`` returns the loss of a score.
loss_value = dispatch(
    "loss_value",
    "z, y, epsilon",
    "return {value}(z, y, epsilon)",
    [{"value": loss.value} for loss in TABLE.values()],
    __name__,
)

#: ``loss_slope(code, z, y, epsilon)`` returns its derivative by the score.
loss_slope = dispatch(
    "loss_slope",
    "z, y, epsilon",
    "return {slope}(z, y, epsilon)",
    [{"slope": loss.slope} for loss in TABLE.values()],
    __name__,
)

_LOG_LOSS, _HINGE, _SQUARED_ERROR = (CODES[name] for name in ("log_loss", "hinge", "squared_error"))


@scalar
def near_slope(code, z, y, epsilon):
    """Return `loss_slope`, whose call the usual losses need not make: they are in the caller."""
    if code == _LOG_LOSS:
        return log_loss_slope(z, y, epsilon)
    if code == _HINGE:
        return hinge_slope(z, y, epsilon)
    if code == _SQUARED_ERROR:
        return squared_error_slope(z, y, epsilon)
    return loss_slope(code, z, y, epsilon)


#: ``loss_sum(code, n, z, y, epsilon)`` returns the sum of the losses of n scores.
loss_sum = dispatch(
    "loss_sum",
    "n, z, y, epsilon",
    "return {total}(n, z, y, epsilon)",
    [{"total": loss.total} for loss in TABLE.values()],
    __name__,
)
