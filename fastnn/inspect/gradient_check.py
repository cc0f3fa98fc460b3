"""`check_gradients`: the kernels' derivatives against differences of the kernels' own loss.

Two witnesses: fourth-order central differences, and the complex step through a forward pass
in NumPy.  Both work in float64, whatever the network's precision.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy.sparse

from fastnn.errors import integer, number
from fastnn.inspect.models import as_subject, dense, duplicate, one_hot
from fastnn.inspect.reference import Reference
from fastnn.network import Network
from fastnn.training import score

_STEPS = (1e-3, 1e-4, 1e-5)  # relative; smaller ones for where the loss bends sharply
_TINY = 1e-6  # relative step of one-sided differences, which see a kink at the point itself
_FLOOR = 1e-5  # of J: differences cannot tell a derivative that is smaller from 0
_SINGLE = 1e-3  # largest error of a float32 gradient, relative to the layer's largest


@dataclass(frozen=True)
class Disagreement:
    """A parameter whose gradient a witness contradicts.

    Attributes
    ----------
    layer : int
        From 0, the layer next to the input.
    name : str
        "W[j, k]" or "b[k]".
    analytic, difference, complex_step : float
        The kernels' derivative and the witnesses'; ``complex_step`` is NaN where there is none.
    error : float
        Relative to the size of the derivative.
    kink : bool
        Whether the loss has no derivative there (or one within a step that has a jump), so that
        the analytic one is one of several right answers.
    """

    layer: int
    name: str
    analytic: float
    difference: float
    complex_step: float
    error: float
    kink: bool


@dataclass(frozen=True, repr=False)
class GradientReport:
    """What `check_gradients` found; prints as text.

    Attributes
    ----------
    ok : bool
        Whether no derivative is wrong.
    disagreements : list of Disagreement
        Wrong derivatives, the worst first.
    kinks : list of Disagreement
        Parameters at a kink, which count as right.
    layer_errors : list of float
        Largest relative error of each layer, kinks apart.
    n_checked, n_parameters : int
    tolerance : float
    forward_error : float
        Relative difference between the kernels' loss and the NumPy forward pass's; NaN without.
    single_error : float
        Largest error of the float32 gradient, relative to its layer's largest entry; 0 where
        the network is float64.
    """

    disagreements: list[Disagreement]
    kinks: list[Disagreement]
    layer_errors: list[float]
    n_checked: int
    n_parameters: int
    tolerance: float
    forward_error: float
    single_error: float
    functions: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether no derivative is wrong."""
        forward = not self.forward_error > self.tolerance
        return not self.disagreements and forward and self.single_error <= _SINGLE

    def __repr__(self) -> str:
        verdict = "agree" if self.ok else "DISAGREE"
        lines = [
            f"Gradients {verdict}: {self.n_checked} of {self.n_parameters} parameters checked, "
            f"tolerance {self.tolerance:g}"
        ]
        lines += [
            f"  layer {l}: largest relative error {error:.1e}"
            for l, error in enumerate(self.layer_errors)
        ]
        if self.forward_error > self.tolerance:
            lines.append(f"  the loss itself differs from NumPy's by {self.forward_error:.1e}")
        if self.single_error > _SINGLE:
            lines.append(
                f"  the float32 gradient differs from float64's by {self.single_error:.1e}"
            )
        lines += _table("wrong", self.disagreements) + _table("at a kink", self.kinks)
        if self.disagreements:
            lines.append(self._suspect())
        return "\n".join(lines)

    def _suspect(self) -> str:
        """Return where to look: errors spread downwards from the layer that makes them."""
        top = max(found.layer for found in self.disagreements)
        biased = any(f.layer == top and f.name.startswith("b") for f in self.disagreements)
        if biased:
            return f"  look at the derivative of {self.functions[top]}, above layer {top}"
        return f"  look at dJ/dW = x^T delta of layer {top}"


def _table(title: str, found: list[Disagreement], most: int = 10) -> list[str]:
    if not found:
        return []
    head = f"  {title}: {len(found)}"
    rows = [
        f"    layer {f.layer} {f.name:<10} analytic {f.analytic: .8e}  "
        f"difference {f.difference: .8e}  complex step {f.complex_step: .8e}  error {f.error:.1e}"
        for f in found[:most]
    ]
    return [head, *rows] + (["    ..."] if len(found) > most else [])


def check_gradients(
    model: Any,
    X: Any,
    y: Any,
    sample_weight: Any = None,
    *,
    n_parameters: int | None = None,
    tolerance: float = 1e-6,
    random_state: int | np.random.Generator | None = 0,
) -> GradientReport:
    """Compare the analytic gradient with differences, parameter by parameter.

    Parameters
    ----------
    model : Network, Model or fitted estimator
        It is left as it is.
    X, y, sample_weight
        A few rows, as in `Network.fit`; labels for a classifier.
    n_parameters : int, optional
        Check a random sample of this many; every parameter if None.
    tolerance : float
        Largest relative error.
    random_state : int, numpy.random.Generator or None
        Draws the sample.

    Returns
    -------
    GradientReport

    Raises
    ------
    ValueError, TypeError
        Bad input, as in `Network.fit`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn import Network, check_gradients
    >>> net = Network([3, 4, 1], activation="tanh", random_state=0)
    >>> X = np.random.default_rng(0).normal(size=(5, 3))
    >>> report = check_gradients(net, X, X[:, 0])
    >>> report.ok, report.n_checked
    (True, 21)
    """
    subject = as_subject(model)
    network = subject.network
    tolerance = number("tolerance", tolerance, low=0, closed="right")
    X, y = subject.rows(X), subject.targets(y)
    if n_parameters is not None:
        n_parameters = integer("n_parameters", n_parameters)
    check = _Check(network, X, y, sample_weight)
    size = network.parameters.size
    numbers = np.arange(size)
    if n_parameters is not None and n_parameters < size:
        rng = np.random.default_rng(random_state)
        numbers = np.sort(rng.choice(size, n_parameters, replace=False))
    layers = len(network.layer_sizes) - 1
    found, errors = [], [0.0] * layers
    for i in numbers:
        entry = check.compare(int(i), tolerance)
        if not entry.kink:
            errors[entry.layer] = max(errors[entry.layer], entry.error)
        if entry.kink or not entry.error <= tolerance:
            found.append(entry)
    found.sort(key=lambda entry: -entry.error)
    return GradientReport(
        [entry for entry in found if not entry.kink],
        [entry for entry in found if entry.kink],
        errors,
        numbers.size,
        size,
        tolerance,
        check.forward_error,
        check.single_error(network, X, y, sample_weight),
        [*network.activation, f"the loss {network.loss_name}"],
    )


class _Check:
    """The loss as a function of one parameter, by the kernels in float64 and by NumPy."""

    def __init__(self, network: Network, X: Any, y: Any, sample_weight: Any) -> None:
        double = duplicate(network, np.float64)
        self.network = double
        # What the network sees: the rounding of X to float32 is not an error of the gradient.
        seen, targets, _ = network._check(X, y, sample_weight)
        rows = seen.dense
        if scipy.sparse.issparse(X):
            rows = scipy.sparse.csr_array((seen.data, seen.indices, seen.indptr), X.shape)
        weight = targets.weight if targets.weight.size else None
        self.rows, self.targets, self.n = double._check(rows, targets.y, weight)
        self.gradient = double.gradients(rows, targets.y, weight)
        self.loss = self._loss(double.parameters)
        self.floor = _FLOOR * abs(self.loss)
        self.reference = self._make_reference(rows)
        self.forward_error = np.nan
        if self.reference is not None:
            value = float(self.reference.loss(double.parameters))
            if np.isfinite(value):
                self.forward_error = abs(value - self.loss) / max(abs(self.loss), 1e-12)

    def _make_reference(self, rows: Any) -> Reference | None:
        X = dense(rows)
        weight = self.targets.weight if self.targets.weight.size else np.ones(self.n)
        try:
            return Reference(self.network, X, one_hot(self.targets.y, self.network), weight)
        except KeyError:  # a new row of the tables, which NumPy has no formula for
            return None

    def _loss(self, parameters: np.ndarray) -> float:
        plan = self.network.plan
        return score(plan, parameters, self.rows, self.n, targets=self.targets)[1]

    def _at(self, i: int, offset: float) -> float:
        shifted = self.network.parameters.copy()
        shifted[i] += offset
        return self._loss(shifted)

    def compare(self, i: int, tolerance: float) -> Disagreement:
        """Compare the derivative of parameter ``i`` with the witnesses'."""
        analytic = float(self.gradient[i])
        unit = max(1.0, abs(self.network.parameters[i]))
        error, difference = np.inf, np.nan
        for step in _STEPS:
            h = step * unit
            near = self._at(i, h) - self._at(i, -h)
            far = self._at(i, 2 * h) - self._at(i, -2 * h)
            slope = (8 * near - far) / (12 * h)
            found = abs(slope - analytic) / max(abs(slope), abs(analytic), self.floor, 1e-300)
            if found < error:
                error, difference = found, slope
            if error <= tolerance:
                break
        exact = np.nan
        if self.reference is not None:
            exact = self.reference.derivative(self.network.parameters, i)
        complex_error = self._complex_error(analytic, exact)
        worst = float(np.fmax(error, complex_error))
        kink = False
        if not worst <= tolerance:
            # Where the complex step and the loss itself agree, only a jump explains it.
            near_one = complex_error <= tolerance and self.forward_error <= tolerance
            kink = near_one or self._at_kink(i, unit, analytic)
        layer, name = self._name(i)
        return Disagreement(layer, name, analytic, difference, exact, worst, kink)

    def _complex_error(self, analytic: float, exact: float) -> float:
        """Return the error against the complex step; NaN where that is not finite."""
        if not np.isfinite(exact):
            return np.nan
        rounding = 1e-9 * np.abs(self.gradient).max()
        return abs(exact - analytic) / max(abs(exact), abs(analytic), rounding, 1e-300)

    def _at_kink(self, i: int, unit: float, analytic: float) -> bool:
        """Return whether the slopes to the left and right differ and embrace the analytic one."""
        slopes = []
        for step in (10 * _TINY, _TINY):
            h = step * unit
            right, left = self._at(i, h) - self.loss, self.loss - self._at(i, -h)
            slopes.append((left / h, right / h))
        (far_left, far_right), (left, right) = slopes
        jump = abs(right - left)
        slack = 1e-3 * max(abs(left), abs(right), self.floor)
        stays = jump > slack and jump > 0.5 * abs(far_right - far_left)
        return stays and min(left, right) - slack <= analytic <= max(left, right) + slack

    def _name(self, i: int) -> tuple[int, str]:
        plan = self.network.plan
        layer = int(np.searchsorted(plan.weights, i, side="right")) - 1
        if i >= plan.biases[layer]:
            return layer, f"b[{i - plan.biases[layer]}]"
        j, k = divmod(i - plan.weights[layer], plan.sizes[layer + 1])
        return layer, f"W[{j}, {k}]"

    def single_error(self, network: Network, X: Any, y: Any, sample_weight: Any) -> float:
        """Return the largest error of the network's own gradient, layer by layer."""
        found = network.gradients(X, y, sample_weight)
        if found.dtype == np.float64:
            return 0.0
        ends = np.append(network.plan.weights[1:], found.size)
        worst = 0.0
        for start, end in zip(network.plan.weights, ends, strict=True):
            exact = self.gradient[start:end]
            size = max(np.abs(exact).max(), self.floor, 1e-30)
            worst = max(worst, float(np.abs(found[start:end] - exact).max() / size))
        return worst
