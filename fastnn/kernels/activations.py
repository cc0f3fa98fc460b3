"""Activations: the formula, its derivative, and the table that everything else derives from.

An activation is a scalar function ``a = f(z)`` and its derivative ``da/dz`` as a function of
``(z, a)``, written from the output where that is cheaper.  To add one, write the two functions
and a row of `TABLE`.

Every function is finite and right for every finite ``z``, takes its limit at +-inf, and gives
NaN for NaN (``max(z, c)`` keeps a NaN in its first argument).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from fastnn.kernels.elementary import expm1, gauss_cdf, gauss_pdf, sigmoid, softplus, tanh
from fastnn.kernels.elementwise import map_, map_whole_, multiply_map_, multiply_map_whole_
from fastnn.kernels.jit import scalar, types
from fastnn.kernels.table import dispatch
from fastnn.kernels.views import constant

#: Beyond it ``silu`` and ``gelu`` equal their asymptotes in both precisions; it keeps
#: ``inf * 0`` out of their products.
FAR = 1000.0
LEAK = 0.01


@scalar
def identity(z):
    """Return ``z``."""
    return z


@scalar
def identity_derivative(z, a):
    """Return 1."""
    return constant(1, z)


@scalar
def logistic(z):
    """Return ``1 / (1 + exp(-z))``."""
    return sigmoid(z)


@scalar
def logistic_derivative(z, a):
    """Return ``a (1 - a)``."""
    return a * (constant(1, a) - a)


@scalar
def hyperbolic_tangent(z):
    """Return ``tanh(z)``."""
    return tanh(z)


@scalar
def hyperbolic_tangent_derivative(z, a):
    """Return ``1 - a^2``."""
    return constant(1, a) - a * a


@scalar
def relu(z):
    """Return ``max(z, 0)``."""
    return max(z, constant(0, z))


@scalar
def relu_derivative(z, a):
    """Return 1 where ``z > 0``, else ``a``, which is 0, or NaN."""
    return constant(1, z) if z > 0 else a


@scalar
def leaky_relu(z):
    """Return ``max(z, 0.01 z)``."""
    return max(z, constant(LEAK, z) * z)


@scalar
def leaky_relu_derivative(z, a):
    """Return 1 where ``z > 0``, else 0.01."""
    low = constant(LEAK, z) if z <= 0 else z  # NaN
    return constant(1, z) if z > 0 else low


@scalar
def elu(z):
    """Return ``z`` where ``z > 0``, else ``exp(z) - 1``."""
    return z if z > 0 else expm1(z)


@scalar
def elu_derivative(z, a):
    """Return 1 where ``z > 0``, else ``a + 1 = exp(z)``."""
    return constant(1, z) if z > 0 else a + constant(1, a)


@scalar
def softplus_derivative(z, a):
    """Return ``sigmoid(z)``."""
    return sigmoid(z)


@scalar
def silu(z):
    """Return ``z sigmoid(z)``."""
    return max(z, constant(-FAR, z)) * sigmoid(z)


@scalar
def silu_derivative(z, a):
    """Return ``s (1 + z (1 - s))`` with ``s = sigmoid(z)``."""
    near = min(max(z, constant(-FAR, z)), constant(FAR, z))
    s = sigmoid(near)
    return s * (constant(1, z) + near * sigmoid(-near))


@scalar
def gelu(z):
    """Return ``z Phi(z)``, Phi the standard normal distribution function."""
    return max(z, constant(-FAR, z)) * gauss_cdf(z)


@scalar
def gelu_derivative(z, a):
    """Return ``Phi(z) + z phi(z)``."""
    near = min(max(z, constant(-FAR, z)), constant(FAR, z))
    return gauss_cdf(near) + near * gauss_pdf(near)


@scalar
def square(z):
    """Return ``z^2``."""
    return z * z


@scalar
def square_derivative(z, a):
    """Return ``2 z``."""
    return z + z


class Activation(NamedTuple):
    """One row of the table."""

    formula: str
    derivative_formula: str
    function: Callable
    derivative: Callable


TABLE: dict[str, Activation] = {
    "identity": Activation("z", "1", identity, identity_derivative),
    "logistic": Activation("1 / (1 + exp(-z))", "a (1 - a)", logistic, logistic_derivative),
    "tanh": Activation("tanh(z)", "1 - a^2", hyperbolic_tangent, hyperbolic_tangent_derivative),
    "relu": Activation("max(z, 0)", "1 if z > 0 else 0", relu, relu_derivative),
    "leaky_relu": Activation(
        "max(z, 0.01 z)", "1 if z > 0 else 0.01", leaky_relu, leaky_relu_derivative
    ),
    "elu": Activation("z if z > 0 else exp(z) - 1", "1 if z > 0 else a + 1", elu, elu_derivative),
    "softplus": Activation("log(1 + exp(z))", "sigmoid(z)", softplus, softplus_derivative),
    "silu": Activation("z sigmoid(z)", "s (1 + z (1 - s)), s = sigmoid(z)", silu, silu_derivative),
    "gelu": Activation("z Phi(z)", "Phi(z) + z phi(z)", gelu, gelu_derivative),
    "square": Activation("z^2", "2 z", square, square_derivative),
}
ALIASES = {"sigmoid": "logistic"}
CODES = {name: code for code, name in enumerate(TABLE)}
IDENTITY, LOGISTIC, TANH = CODES["identity"], CODES["logistic"], CODES["tanh"]
CODES |= {alias: CODES[name] for alias, name in ALIASES.items()}

_ROWS = [{"f": row.function, "df": row.derivative} for row in TABLE.values()]


def _activate(name: str, loop: Callable, result: Any = None) -> Any:
    body = "loop({f}, size, start, z, a)"
    return dispatch(name, "size, start, z, a", body, _ROWS, __name__, {"loop": loop}, result)


def _deactivate(name: str, loop: Callable, result: Any = None) -> Any:
    body = "loop({df}, size, start, z, a, delta)"
    return dispatch(name, "size, start, z, a, delta", body, _ROWS, __name__, {"loop": loop}, result)


#: ``activate_(code, size, start, z, a)`` writes ``a = f(z)`` at ``size`` places from ``start``
#: of two pointers.
activate_ = _activate("activate_", map_)

#: ``deactivate_(code, size, start, z, a, delta)`` turns ``dJ/da`` in ``delta`` into
#: ``dJ/dz = dJ/da * da/dz`` at ``size`` places from ``start``.
deactivate_ = _deactivate("deactivate_", multiply_map_)

#: The same for ``size`` rounded up to whole vectors: faster, but what lies behind is written too.
activate_whole_ = _activate("activate_whole_", map_whole_)
deactivate_whole_ = _deactivate("deactivate_whole_", multiply_map_whole_)

#: The same for batches: each row is compiled when it is used.
activate_batch_ = _activate("activate_batch_", map_whole_, types.none)
deactivate_batch_ = _deactivate("deactivate_batch_", multiply_map_whole_, types.none)


class Slope(NamedTuple):
    """The derivative ``c0 + c1 a + c2 a^2`` of an activation, if it is ``known`` to be one."""

    known: bool
    c0: float
    c1: float
    c2: float


@scalar
def slope_of(code, like):
    """Return the `Slope` of an activation in the precision of ``like``; 1 if it is another."""
    logistic, tanh = code == LOGISTIC, code == TANH
    return Slope(
        logistic or tanh or code == IDENTITY,
        constant(0 if logistic else 1, like),
        constant(1 if logistic else 0, like),
        constant(-1 if logistic or tanh else 0, like),
    )
