"""The exponential and the sigmoid of a vector in registers, for functions that are emitted.

They have few operations one after another, for loops that wait for the result.

The sigmoid divides anyway, and so may have the exponential as a quotient, which takes half the
coefficients of a polynomial: with ``t(r) = tanh(r / 2) / r``, a function of ``r^2``,
``e^r = (1 + r t) / (1 - r t)``.  ``t`` is the quotient of polynomials of `_COEFFICIENTS`, equal to
it where a Chebyshev polynomial of ``r^2`` between 0 and ``(ln(2) / 2)^2`` is zero; the exponential
then is right to 2^-32 and 2^-59.
"""

from typing import Any

from llvmlite import ir

from fastnn.kernels.elementary import (
    EXP_TAIL_32,
    EXP_TAIL_64,
    LN2_64,
    LN2_HIGH_32,
    LN2_HIGH_64,
    LN2_LOW_32,
    LN2_LOW_64,
)
from fastnn.kernels.vector_function import VectorFunction

#: Numbers up to this have exponentials, and sums of them, that neither overflow nor underflow.
SAFE = 80.0
_TAIL = {32: tuple(map(float, EXP_TAIL_32)), 64: EXP_TAIL_64}
_LOG_2 = {
    32: (float(LN2_HIGH_32), float(LN2_LOW_32)),
    64: (LN2_HIGH_64, LN2_LOW_64),
}
_MAGIC = {32: 1.5 * 2.0**23, 64: 1.5 * 2.0**52}
_FRACTION = {32: (23, 127), 64: (52, 1023)}
#: Of ``t(r)``, by powers of ``r^2``: numerator and denominator.
_COEFFICIENTS = {
    32: ((0.5, 0.008322595555763165), (1.0, 0.09997844371547127)),
    64: (
        (0.5, 0.013887380828893021, 3.3043667637222464e-05),
        (1.0, 0.11110809499111734, 0.0009917619180301949),
    ),
}
#: Beyond it the sigmoid of a negative number is taken as that of this one, which is nearly 0.
_FAR = {32: 87.0, 64: 708.0}


def _polynomial(f: VectorFunction, x: Any, powers: list, coefficients: tuple) -> Any:
    """Return the sum of ``coefficients`` times powers of x, halved down: few wait for others.

    ``powers`` are x^2, x^4, ...
    """
    emit = f.emit
    if len(coefficients) == 1:
        return emit.constant(coefficients[0])
    half = 1
    while 2 * half < len(coefficients):
        half *= 2
    low = _polynomial(f, x, powers, coefficients[:half])
    high = _polynomial(f, x, powers, coefficients[half:])
    power = x if half == 1 else powers[half.bit_length() - 2]
    return emit.multiply_add(high, power, low)


def _reduced(f: VectorFunction, x: Any, exact: bool) -> tuple[Any, Any]:
    """Return ``n`` in the low bits of a number, and ``r``, with ``e^x = 2^n e^r``."""
    b, emit = f.builder, f.emit
    bits = emit.index.width
    magic = emit.constant(_MAGIC[bits])
    shifted = emit.multiply_add(x, emit.constant(1.4426950408889634), magic)
    n = b.fsub(shifted, magic)
    r = x
    for part in _LOG_2[bits] if exact else (LN2_64,):
        r = emit.multiply_add(n, emit.constant(-part), r)
    return shifted, r


def _power(f: VectorFunction, shifted: Any) -> Any:
    """Return ``2^n`` of the ``n`` of `_reduced`; the bits above it leave."""
    b, emit = f.builder, f.emit
    whole = ir.VectorType(emit.index, emit.lanes)
    fraction, bias = _FRACTION[emit.index.width]
    exponent = b.shl(b.bitcast(shifted, whole), ir.Constant(whole, [fraction] * emit.lanes))
    one = ir.Constant(whole, [bias << fraction] * emit.lanes)
    return b.bitcast(b.add(exponent, one), emit.vector)


def exponentials(f: VectorFunction, x: Any, *, exact: bool = False) -> Any:
    """Return ``e^x`` of ``|x| <= SAFE``, as `elementary.exp_factors` computes it.

    Without ``exact`` an error of log 2 counts once for each time that x has it, and an operation
    less is to be waited for.
    """
    b, emit = f.builder, f.emit
    bits = emit.index.width
    shifted, r = _reduced(f, x, exact)
    powers = [b.fmul(r, r)]
    while 2 ** len(powers) < len(_TAIL[bits]):
        powers.append(b.fmul(powers[-1], powers[-1]))
    start = b.fadd(emit.constant(1.0), r)
    low = emit.multiply_add(powers[0], _polynomial(f, r, powers, _TAIL[bits][:2]), start)
    high = _polynomial(f, r, powers, _TAIL[bits][2:])
    mantissa = emit.multiply_add(powers[1], high, low)
    return b.fmul(mantissa, _power(f, shifted))


def sigmoid(f: VectorFunction, x: Any) -> Any:
    """Return ``1 / (1 + e^-x)``, with the relative error of `exponentials`; NaN of NaN."""
    b, emit = f.builder, f.emit
    far = emit.constant(_FAR[emit.index.width])
    near = b.fneg(x)
    # The operands' order keeps a NaN.
    near = b.select(b.fcmp_ordered("<", far, near), far, near)
    near = b.select(b.fcmp_ordered(">", b.fneg(far), near), b.fneg(far), near)
    shifted, r = _reduced(f, near, exact=False)
    powers = [b.fmul(r, r)]
    powers.append(b.fmul(powers[0], powers[0]))
    p, q = (_polynomial(f, powers[0], powers[1:], part) for part in _COEFFICIENTS[emit.index.width])
    p = b.fmul(r, p)
    low = b.fsub(q, p)
    return b.fdiv(low, emit.multiply_add(_power(f, shifted), b.fadd(q, p), low))
