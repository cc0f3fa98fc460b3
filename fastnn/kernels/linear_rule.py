"""How a row changes the weights of a linear model: schedules of the rate, limits of a step."""

import math
from typing import NamedTuple

from fastnn.kernels.jit import helper
from fastnn.kernels.linear_losses import loss_sum
from fastnn.kernels.views import constant

SCHEDULES = {
    name: code
    for code, name in enumerate(("constant", "optimal", "invscaling", "adaptive", "pa1", "pa2"))
}
CONSTANT, OPTIMAL, INVSCALING, ADAPTIVE, PA1, PA2 = SCHEDULES.values()


class LinearRule(NamedTuple):
    """How rows change the weights.

    Attributes
    ----------
    loss : int
        Code of `linear_losses.TABLE`.
    epsilon : float
        The loss's own parameter.
    schedule : int
        Code of `SCHEDULES`.
    eta0, power_t, optimal_init : float
        Of the schedules: the rate is ``eta`` of the state, ``eta0 / t^power_t``, or
        ``1 / (alpha (optimal_init + t - 1))``.
    alpha, l1_ratio : float
        The penalty is ``alpha (l1_ratio |w|_1 + (1 - l1_ratio) |w|^2 / 2)``.
    decay, truncate : bool
        Whether the L2 part and the L1 part are applied.
    positive_weight, negative_weight : float
        Weight of rows with ``y > middle`` and of the others.
    fit_intercept : bool
        Whether the intercept is trained.
    intercept_rate : float
        Factor of the intercept's rate.
    average : float
        The step from which on weights are averaged; 0 for never.
    watch_loss, watch_penalty : bool
        Whether the sums of the losses and of the penalties are wanted.
    clip : float
        Largest norm of the gradient of a row's loss, before its weight; inf for any.
    warmup : float
        Steps in which the rate first rises linearly; 0 for none.
    middle : float
        Targets above have ``positive_weight``.
    smoothing : float
        Part of a class's mass that is spread evenly over all, in `train_softmax_rows_`.
    """

    loss: int
    epsilon: float
    schedule: int
    eta0: float
    power_t: float
    optimal_init: float
    alpha: float
    l1_ratio: float
    decay: bool
    truncate: bool
    positive_weight: float
    negative_weight: float
    fit_intercept: bool
    intercept_rate: float
    average: float
    watch_loss: bool
    watch_penalty: bool
    clip: float
    warmup: float
    middle: float
    smoothing: float


@helper
def inverse_scaling(t, power):
    """Return ``t^power``; the usual powers are roots, which cost a third of it."""
    if power == 0.25:
        return math.sqrt(math.sqrt(t))
    return math.sqrt(t) if power == 0.5 else t**power


@helper
def scheduled_rate(rule, eta, t):
    """Return the learning rate of step ``t``."""
    rate = eta
    if rule.schedule == OPTIMAL:
        rate = 1 / (rule.alpha * (rule.optimal_init + t - 1))
    elif rule.schedule == INVSCALING:
        rate = rule.eta0 / inverse_scaling(t, rule.power_t)
    return rate * (t / rule.warmup) if t < rule.warmup else rate


@helper
def largest_slope(rule, row_size):
    """Return the slope at which the gradient of a row with that ``|x|^2`` is of norm ``clip``."""
    return rule.clip / math.sqrt(row_size + (1.0 if rule.fit_intercept else 0.0))


@helper
def limited_slope(rule, slope, z, y, epsilon, squares):
    """Return what takes a slope's place where steps are clipped or passive-aggressive.

    A passive-aggressive step would correct the row, limited, whatever the rate (K. Crammer et al.,
    Online passive-aggressive algorithms, JMLR 7, 2006); ``z`` and ``y`` point to the score and the
    target, and ``squares`` is ``|x|^2``.
    """
    if rule.clip < math.inf:
        limit = constant(largest_slope(rule, squares), slope)
        slope = min(max(slope, -limit), limit)
    if rule.schedule < PA1:
        return slope
    # The sum is there anyway; the values of all losses would be compiled for this line alone.
    loss = loss_sum(rule.loss, 1, z, y, epsilon)
    if rule.schedule == PA1:
        return slope * constant(min(rule.eta0, loss / squares if squares > 0 else 0.0), slope)
    return slope * constant(loss / (squares + 0.5 / rule.eta0), slope)
