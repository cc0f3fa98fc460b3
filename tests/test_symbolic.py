"""SymPy derives lines N4 to N9 of the derivation; the kernels must agree to rounding.

The symbolic results are evaluated with 50 digits at random points and compared with what the
kernels compute in float64 and float32.
"""

import numpy as np
import pytest
import sympy as sp

from fastnn import Network, explain, functional
from fastnn.kernels import activations

pytestmark = pytest.mark.kernel

DIGITS = 50
x1, x2, w1, w2, b, y, z, alpha = sp.symbols("x1 x2 w1 w2 b y z alpha", real=True)
a = sp.Symbol("a", positive=True)
SIGMOID = 1 / (1 + sp.exp(-z))
SCORE = x1 * w1 + x2 * w2 + b
POINTS = np.random.default_rng(8).normal(scale=2, size=(12, 5))


def close(found, expected, dtype, ulps=8, least=1e-3):
    """Assert that a number equals a 50-digit one within a few units of its precision.

    Numbers below ``least`` may be off by units of that.
    """
    expected = sp.N(expected, DIGITS)
    error = abs(sp.Float(float(found), DIGITS) - expected)
    assert error <= ulps * float(np.finfo(dtype).eps) * max(abs(expected), sp.Float(least))


def at(expression, values):
    """Evaluate exactly at floats: their binary values, not their decimal prints."""
    exact = {symbol: sp.Rational(*float(v).as_integer_ratio()) for symbol, v in values.items()}
    return expression.subs(exact).evalf(DIGITS)


def test_n4_to_n9_follow_from_the_definitions():
    J = -(y * sp.log(a) + (1 - y) * sp.log(1 - a))  # N4
    dJ_da = sp.diff(J, a)
    assert sp.simplify(dJ_da - (a - y) / (a * (1 - a))) == 0  # N6
    da_dz = sp.diff(SIGMOID, z)
    assert sp.simplify(da_dz - SIGMOID * (1 - SIGMOID)) == 0  # N7
    assert sp.diff(SCORE, w1) == x1  # N8
    assert sp.diff(SCORE, b) == 1
    product = (dJ_da * a * (1 - a)).simplify()
    assert sp.simplify(product - (a - y)) == 0  # N9
    whole = J.subs(a, SIGMOID).subs(z, SCORE)
    fused = (SIGMOID - y).subs(z, SCORE)
    assert sp.simplify(sp.diff(whole, w1) - fused * x1) == 0
    assert sp.simplify(sp.diff(whole, b) - fused) == 0


def test_n5_softmax_of_three_classes():
    scores, targets = sp.symbols("z0:3", real=True), sp.symbols("y0:3", real=True)
    total = sum(sp.exp(s) for s in scores)
    softmax = [sp.exp(s) / total for s in scores]
    J = -sum(t * sp.log(p) for t, p in zip(targets, softmax, strict=True))
    constraint = {targets[2]: 1 - targets[0] - targets[1]}
    for j in range(3):
        fused = (softmax[j] - targets[j]).subs(constraint)
        assert sp.simplify(sp.diff(J, scores[j]).subs(constraint) - fused) == 0
        for k in range(3):
            jacobian = softmax[k] * (int(k == j) - softmax[j])
            assert sp.simplify(sp.diff(softmax[k], scores[j]) - jacobian) == 0
    for point in POINTS[:6]:
        values = dict(zip(scores, point[:3], strict=True))
        for label in range(3):
            exact = at(J.subs({t: int(t == targets[label]) for t in targets}), values)
            close(functional.cross_entropy(point[:3], label), exact, np.float64)
        for k in range(3):
            close(functional.softmax(point[:3])[k], at(softmax[k], values), np.float64)


def test_n3_sigmoid_is_the_softmax_of_0_and_z():
    assert sp.simplify(sp.exp(z) / (sp.exp(0) + sp.exp(z)) - SIGMOID) == 0
    for point in POINTS[:, 0]:
        close(functional.softmax([0, point])[1], at(SIGMOID, {z: point}), np.float64)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_kernels_compute_the_derived_formulas(dtype):
    whole = (-(y * sp.log(a) + (1 - y) * sp.log(1 - a))).subs(a, SIGMOID).subs(z, SCORE)
    slope = sp.diff(-(y * sp.log(a) + (1 - y) * sp.log(1 - a)), a)
    for point in POINTS.astype(dtype):
        neuron = Network([2, 1], loss="log_loss", dtype=dtype)
        neuron.parameters[:] = point[2:]
        label = dtype(0.3)
        layer = explain(neuron, point[:2], label).layers[0]
        values = dict(zip((x1, x2, w1, w2, b), point, strict=True)) | {y: label}
        # The rounding of z itself moves everything after it.
        size = float(abs(at(SCORE, values))) + float(np.abs(point[:2] * point[2:4]).sum())
        ulps = 8 * (1 + size)
        close(layer.z[0], at(SCORE, values), dtype, ulps)
        activation = at(SIGMOID.subs(z, SCORE), values)
        close(layer.a[0], activation, dtype, ulps)
        close(neuron.loss([point[:2]], [label]), at(whole, values), dtype, ulps)  # N4
        n6 = at(slope.subs(a, SIGMOID).subs(z, SCORE), values)
        close(layer.dJ_da[0], n6, dtype, 10 * ulps * max(1.0, float(abs(n6))))
        close(layer.da_dz[0], at(sp.diff(SIGMOID, z).subs(z, SCORE), values), dtype, ulps)  # N7
        close(layer.dz_dW[0], at(x1, values), dtype)  # N8
        for found, symbol in zip([*layer.dJ_dW[:, 0], layer.dJ_db[0]], (w1, w2, b), strict=True):
            close(found, at(sp.diff(whole, symbol), values), dtype, ulps)  # N9


#: The activations that are one formula, and the pieces of the others on either side of 0.
FORMULAS = {
    "identity": (z, z),
    "logistic": (SIGMOID, SIGMOID),
    "tanh": (sp.tanh(z), sp.tanh(z)),
    "relu": (sp.Integer(0) * z, z),
    "leaky_relu": (z / 100, z),
    "elu": (sp.exp(z) - 1, z),
    "softplus": (sp.log(1 + sp.exp(z)),) * 2,
    "silu": (z * SIGMOID,) * 2,
    "gelu": (z * (1 + sp.erf(z / sp.sqrt(2))) / 2,) * 2,
    "square": (z**2, z**2),
}


@pytest.mark.parametrize("name", activations.TABLE)
def test_every_activation_and_its_symbolic_derivative(name):
    for point in POINTS[:, 0]:
        formula = FORMULAS[name][int(point > 0)]
        close(functional.activation(name, point), at(formula, {z: point}), np.float64, 16)
        exact = at(sp.diff(formula, z), {z: point})
        # A derivative from the output, such as 1 - a^2, has the rounding of 1.
        close(functional.activation_derivative(name, point), exact, np.float64, 8, least=1)


#: The elementwise losses as a function of z below and above y, with their parameter.
LOSSES = {
    "log_loss": (sp.log(1 + sp.exp(z)) - y * z,) * 2,
    "squared_error": ((z - y) ** 2 / 2,) * 2,
    "absolute_error": (y - z, z - y),
    "huber": ((z - y) ** 2 / 2,) * 2,  # of near points
    "poisson": (sp.exp(z) - y * z + y * sp.log(y) - y,) * 2,
    "quantile": ((y - z) / 2, (z - y) / 2),
}


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_and_its_symbolic_derivative(name):
    net = Network([1, 1], loss=name, dtype="float64")
    for score, target in np.random.default_rng(9).uniform(0.1, 0.9, (8, 2)):
        formula = LOSSES[name][int(score > target)]
        net.parameters[:] = [0, score]
        values = {z: score, y: target}
        close(net.loss([[0.0]], [target]), at(formula, values), np.float64, 32)
        exact = at(sp.diff(formula, z), values)
        close(net.gradients([[0.0]], [target])[1], exact, np.float64, 32)
