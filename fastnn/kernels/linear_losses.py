"""Losses of one score, for linear models trained by stochastic gradient descent.

Each is a value and its derivative by the score ``z = x.w + b``, of ``(z, y, epsilon)``, and a row
of `TABLE`.  Where two classes are told apart, ``y`` is -1 or 1, but 0 or 1 for the log loss.  At a
kink the derivative is the one-sided limit that scikit-learn takes, so that both follow one path.
"""

from collections.abc import Callable
from typing import NamedTuple

from fastnn.kernels.jit import helper
from fastnn.kernels.losses import (
    huber,
    huber_delta,
    log_loss,
    log_loss_delta,
    squared_error,
    squared_error_delta,
)
from fastnn.kernels.table import dispatch
from fastnn.kernels.views import constant


@helper
def hinge(z, y, epsilon):
    """Return ``max(0, 1 - y z)``."""
    return max(constant(1, z) - y * z, constant(0, z))


@helper
def hinge_slope(z, y, epsilon):
    """Return ``-y`` where ``y z <= 1``, else 0."""
    return -y if y * z <= constant(1, z) else constant(0, z)


@helper
def perceptron(z, y, epsilon):
    """Return ``max(0, -y z)``."""
    return max(-y * z, constant(0, z))


@helper
def perceptron_slope(z, y, epsilon):
    """Return ``-y`` where ``y z <= 0``, else 0."""
    return -y if y * z <= constant(0, z) else constant(0, z)


@helper
def squared_hinge(z, y, epsilon):
    """Return ``max(0, 1 - y z)^2``."""
    gap = hinge(z, y, epsilon)
    return gap * gap


@helper
def squared_hinge_slope(z, y, epsilon):
    """Return ``-2 y max(0, 1 - y z)``."""
    return constant(-2, z) * y * hinge(z, y, epsilon)


@helper
def modified_huber(z, y, epsilon):
    """Return ``max(0, 1 - y z)^2`` where ``y z >= -1``, else ``-4 y z``.

    T. Zhang, Solving large scale linear prediction problems using stochastic gradient descent
    algorithms, ICML 2004.
    """
    margin = y * z
    return squared_hinge(z, y, epsilon) if margin >= constant(-1, z) else constant(-4, z) * margin


@helper
def modified_huber_slope(z, y, epsilon):
    """Return ``-2 y max(0, 1 - y z)`` where ``y z >= -1``, else ``-4 y``."""
    return constant(-2, z) * y * min(hinge(z, y, epsilon), constant(2, z))


@helper
def epsilon_insensitive(z, y, epsilon):
    """Return ``max(0, |z - y| - epsilon)``."""
    return max(abs(z - y) - epsilon, constant(0, z))


@helper
def epsilon_insensitive_slope(z, y, epsilon):
    """Return the sign of ``z - y`` where ``|z - y| > epsilon``, else 0."""
    r = z - y
    if r > epsilon:
        return constant(1, z)
    if r < -epsilon:
        return constant(-1, z)
    return constant(0, z)


@helper
def squared_epsilon_insensitive(z, y, epsilon):
    """Return ``max(0, |z - y| - epsilon)^2``."""
    gap = epsilon_insensitive(z, y, epsilon)
    return gap * gap


@helper
def squared_epsilon_insensitive_slope(z, y, epsilon):
    """Return ``2 sign(z - y) max(0, |z - y| - epsilon)``."""
    gap = constant(2, z) * epsilon_insensitive(z, y, epsilon)
    return gap if z > y else -gap


class LinearLoss(NamedTuple):
    """One row of the table: the two functions, and their formulas with ``e`` for epsilon.

    ``labels`` are the targets that stand for two classes; ``regression`` says whether the loss
    takes real targets too.
    """

    formula: str
    slope_formula: str
    value: Callable
    slope: Callable
    labels: tuple[float, float] = (-1.0, 1.0)
    regression: bool = False


TABLE: dict[str, LinearLoss] = {
    "log_loss": LinearLoss(
        "-(y log a + (1 - y) log(1 - a)), a = sigmoid(z)",
        "a - y",
        log_loss,
        log_loss_delta,
        (0.0, 1.0),
    ),
    "hinge": LinearLoss("max(0, 1 - y z)", "-y if y z <= 1 else 0", hinge, hinge_slope),
    "modified_huber": LinearLoss(
        "max(0, 1 - y z)^2 if y z >= -1 else -4 y z",
        "-2 y min(2, max(0, 1 - y z))",
        modified_huber,
        modified_huber_slope,
    ),
    "squared_hinge": LinearLoss(
        "max(0, 1 - y z)^2",
        "-2 y max(0, 1 - y z)",
        squared_hinge,
        squared_hinge_slope,
    ),
    "perceptron": LinearLoss("max(0, -y z)", "-y if y z <= 0 else 0", perceptron, perceptron_slope),
    "squared_error": LinearLoss(
        "(z - y)^2 / 2", "z - y", squared_error, squared_error_delta, regression=True
    ),
    "huber": LinearLoss(
        "(z - y)^2 / 2 if |z - y| <= e else e (|z - y| - e/2)",
        "clip(z - y, -e, e)",
        huber,
        huber_delta,
        regression=True,
    ),
    "epsilon_insensitive": LinearLoss(
        "max(0, |z - y| - e)",
        "sign(z - y) if |z - y| > e else 0",
        epsilon_insensitive,
        epsilon_insensitive_slope,
        regression=True,
    ),
    "squared_epsilon_insensitive": LinearLoss(
        "max(0, |z - y| - e)^2",
        "2 sign(z - y) max(0, |z - y| - e)",
        squared_epsilon_insensitive,
        squared_epsilon_insensitive_slope,
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
