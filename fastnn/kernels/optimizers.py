"""Optimisers: one step on the flat parameter vector, and the table of them.

A step reads ``grads = dJ/dparams``, updates ``params`` and its own state ``slots`` in place; each
slot begins ``stride`` numbers behind the one before, so that the vectors may be a part of all
parameters.  ``options`` are the optimiser's own numbers in the order of its row of `TABLE`; ``t``
counts steps from 1.  To add one, write the step and a row.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

from fastnn.kernels.adaptive import adam_vectors_
from fastnn.kernels.jit import helper, types
from fastnn.kernels.table import dispatch
from fastnn.kernels.views import constant, offset, pointer, vector


@helper
def sgd_(params, grads, slots, stride, rate, options, t):
    """``w -= rate * g``."""
    alpha = constant(rate, params[0])
    for i in range(params.size):
        params[i] -= alpha * grads[i]


@helper
def momentum_(params, grads, slots, stride, rate, options, t):
    """``v = mu v - rate * g;  w += v``  (Polyak 1964)."""
    alpha = constant(rate, params[0])
    mu = constant(options[0], params[0])
    velocity = vector(slots, 0, params.size)
    for i in range(params.size):
        velocity[i] = mu * velocity[i] - alpha * grads[i]
        params[i] += velocity[i]


@helper
def nesterov_(params, grads, slots, stride, rate, options, t):
    """``v = mu v - rate * g;  w += mu v - rate * g``  (Sutskever et al. 2013, eq. 3-4)."""
    alpha = constant(rate, params[0])
    mu = constant(options[0], params[0])
    velocity = vector(slots, 0, params.size)
    for i in range(params.size):
        velocity[i] = mu * velocity[i] - alpha * grads[i]
        params[i] += mu * velocity[i] - alpha * grads[i]


@helper
def adam_(params, grads, slots, stride, rate, options, t):
    """``w -= rate * m' / (sqrt(v') + eps)`` with bias-corrected moments  (Kingma & Ba 2015).

    With ``epsilon_hat`` set, ``eps`` is added before the correction of ``v``: the form of the
    paper's section 2, which scikit-learn takes.
    """
    beta_1 = constant(options[0], params[0])
    beta_2 = constant(options[1], params[0])
    rest_1 = constant(1 - options[0], params[0])
    rest_2 = constant(1 - options[1], params[0])
    correction = math.sqrt(1 - math.pow(options[1], t))
    alpha = constant(rate * correction / (1 - math.pow(options[0], t)), params[0])
    scale = 1.0 if options[3] != 0 else correction
    epsilon = constant(options[2] * scale, params[0])
    adam_vectors_(
        params.size, pointer(params), pointer(grads), pointer(slots),
        offset(pointer(slots), stride),
        beta_1, rest_1, beta_2, rest_2, alpha, epsilon,
    )  # fmt: skip


@helper
def rmsprop_(params, grads, slots, stride, rate, options, t):
    """``s = rho s + (1 - rho) g^2;  w -= rate * g / (sqrt(s) + eps)``  (Tieleman & Hinton 2012)."""
    alpha = constant(rate, params[0])
    rho = constant(options[0], params[0])
    rest = constant(1 - options[0], params[0])
    epsilon = constant(options[1], params[0])
    s = vector(slots, 0, params.size)
    for i in range(params.size):
        s[i] = rho * s[i] + rest * grads[i] * grads[i]
        params[i] -= alpha * grads[i] / (math.sqrt(s[i]) + epsilon)


@helper
def adagrad_(params, grads, slots, stride, rate, options, t):
    """``s += g^2;  w -= rate * g / (sqrt(s) + eps)``  (Duchi et al. 2011)."""
    alpha = constant(rate, params[0])
    epsilon = constant(options[0], params[0])
    s = vector(slots, 0, params.size)
    for i in range(params.size):
        s[i] += grads[i] * grads[i]
        params[i] -= alpha * grads[i] / (math.sqrt(s[i]) + epsilon)


class Optimizer(NamedTuple):
    """One row of the table.

    ``options`` are its parameters by name: default, lowest (allowed) and highest (not allowed)
    value.  ``weight_decay`` is the default of the decoupled decay, which every optimiser takes.
    """

    formula: str
    step: Callable
    n_slots: int
    options: dict[str, tuple[float, float, float]]
    weight_decay: float = 0.0


_MOMENTUM = {"momentum": (0.9, 0.0, 1.0)}
_ADAM = {
    "beta_1": (0.9, 0.0, 1.0),
    "beta_2": (0.999, 0.0, 1.0),
    "epsilon": (1e-8, 0.0, math.inf),
    "epsilon_hat": (0.0, 0.0, 2.0),
}
_ADAM_FORMULA = "w -= rate m' / (sqrt(v') + epsilon)"

TABLE: dict[str, Optimizer] = {
    "sgd": Optimizer("w -= rate g", sgd_, 0, {}),
    "momentum": Optimizer("v = mu v - rate g;  w += v", momentum_, 1, _MOMENTUM),
    "nesterov": Optimizer("v = mu v - rate g;  w += mu v - rate g", nesterov_, 1, _MOMENTUM),
    "adam": Optimizer(_ADAM_FORMULA, adam_, 2, _ADAM),
    "adamw": Optimizer(f"w -= rate decay w;  {_ADAM_FORMULA}", adam_, 2, _ADAM, weight_decay=0.01),
    "rmsprop": Optimizer(
        "s = rho s + (1 - rho) g^2;  w -= rate g / (sqrt(s) + epsilon)",
        rmsprop_,
        1,
        {"rho": (0.99, 0.0, 1.0), "epsilon": (1e-8, 0.0, math.inf)},
    ),
    "adagrad": Optimizer(
        "s += g^2;  w -= rate g / (sqrt(s) + epsilon)",
        adagrad_,
        1,
        {"epsilon": (1e-10, 0.0, math.inf)},
    ),
}
CODES = {name: code for code, name in enumerate(TABLE)}

#: ``step_(code, params, grads, slots, stride, rate, options, t)`` makes one step of the optimiser.
step_ = dispatch(
    "step_",
    "params, grads, slots, stride, rate, options, t",
    "{step}(params, grads, slots, stride, rate, options, t)",
    [{"step": optimizer.step} for optimizer in TABLE.values()],
    __name__,
    result=types.none,
)
