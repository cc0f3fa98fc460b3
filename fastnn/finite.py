"""Whether numbers are finite, and the last parameters that were."""

import math
from typing import Any

import numpy as np

#: Rows after which a copy is due; parameters of which there may be one after every epoch.
_ROWS, _FEW = 1024, 1 << 16


def all_finite(values: np.ndarray) -> bool:
    """Return whether no number of a vector is infinite or NaN; fast where their squares are not."""
    with np.errstate(over="ignore", invalid="ignore"):
        squares = values.dot(values)
    return math.isfinite(squares) or bool(np.isfinite(values).all())


class LastFinite:
    """Copies of a network's parameters and its optimiser's state, for when training diverges.

    To copy them takes as long as to train on a few dozen rows, so a large network that sees
    fewer in an epoch is copied after some epochs only.

    Parameters
    ----------
    parameters : array (n_parameters,)
    state : OptimizerState
    """

    def __init__(self, parameters: np.ndarray, state: Any) -> None:
        self.state = state
        self._parameters = parameters
        self._copies = parameters.copy(), state.slots.copy()
        self._t = state.t
        self._rows = 0

    def keeps_each(self, rows: int) -> bool:
        """Return whether every call of `keep` with so many rows takes a copy."""
        return rows >= _ROWS or self._parameters.size <= _FEW

    def keep(self, rows: int) -> None:
        """Take a copy, if one is due ``rows`` after the last call."""
        parameters, state = self._parameters, self.state
        self._rows += rows
        if self.keeps_each(self._rows):
            for copy, live in zip(self._copies, (parameters, state.slots), strict=True):
                copy[:] = live
            self._t, self._rows = state.t, 0

    def restore(self) -> None:
        """Write the last copy back."""
        self._parameters[:], self.state.slots[:] = self._copies
        self.state.t = self._t
