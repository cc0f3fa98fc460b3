"""How gradients change parameters, as a user says it, and what an optimiser remembers."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastnn.errors import choose, number
from fastnn.kernels import optimizers
from fastnn.kernels.plan import Rule
from fastnn.memory import aligned_zeros


@dataclass
class OptimizerState:
    """What an optimiser remembers between steps.

    Attributes
    ----------
    slots : array (n_slots, n_parameters)
        Velocities and moments.
    t : int
        Steps made so far.
    """

    slots: np.ndarray
    t: int = 0

    @classmethod
    def fresh(cls, optimizer: str, parameters: np.ndarray) -> "OptimizerState":
        """Return the state before the first step."""
        n_slots = optimizers.TABLE[optimizer].n_slots
        return cls(aligned_zeros((n_slots, parameters.size), parameters.dtype))


def make_rule(
    optimizer: str = "sgd",
    *,
    reduction: str = "mean",
    l1: float = 0.0,
    l2: float = 0.0,
    alpha: float = 0.0,
    weight_decay: float | None = None,
    clip_norm: float | None = None,
    **options: Any,
) -> Rule:
    """Check a training rule and put it in the form that kernels take.

    Parameters
    ----------
    optimizer : str
        Name in `fastnn.kernels.optimizers.TABLE`.
    reduction : {"mean", "sum"}
        What a batch's gradient is of its rows' gradients.
    l1, l2 : float
        Penalties ``l1 |W|_1 + l2/2 |W|^2`` of the weights, whatever the batch size.
    alpha : float
        scikit-learn's penalty ``alpha/2 |W|^2``, divided by the batch's weight.
    weight_decay : float, optional
        Decoupled decay; the optimiser's own default if None.
    clip_norm : float, optional
        Largest norm of the gradient.
    **options
        The optimiser's own parameters (``momentum``, ``beta_1``, ...).

    Raises
    ------
    ValueError, TypeError
        An unknown name or a number outside its interval.
    """
    row = optimizers.TABLE[choose("optimizer", optimizer, optimizers.TABLE)]
    unknown = sorted(set(options) - set(row.options))
    if unknown:
        takes = ", ".join(row.options) or "no parameters"
        raise TypeError(f"optimizer {optimizer!r} does not take {unknown[0]}; it takes {takes}")
    values = [
        number(name, options.get(name, default), low=low, high=high, closed="left")
        for name, (default, low, high) in row.options.items()
    ]
    return Rule(
        optimizers.CODES[optimizer],
        np.array(values, np.float64),
        choose("reduction", reduction, ("mean", "sum")) == "mean",
        number("l1", l1, low=0, closed="left"),
        number("l2", l2, low=0, closed="left"),
        number("alpha", alpha, low=0, closed="left"),
        number(
            "weight_decay",
            row.weight_decay if weight_decay is None else weight_decay,
            low=0,
            closed="left",
        ),
        math.inf if clip_norm is None else number("clip_norm", clip_norm, low=0, closed="right"),
    )
