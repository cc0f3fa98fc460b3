"""Copies of the last finite parameters: taken when due, and written back whole."""

import numpy as np
import pytest

from fastnn import finite
from fastnn.training import OptimizerState


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_all_finite(bad):
    values = np.full(5, 1e30, np.float32)  # whose squares are not finite
    assert finite.all_finite(values)
    values[3] = bad
    assert not finite.all_finite(values)


@pytest.mark.parametrize(("few", "kept"), [(3, [1, 2, 3, 4]), (2, [0, 2, 2, 4])])
def test_large_networks_are_copied_after_some_rows(few, kept, monkeypatch):
    monkeypatch.setattr(finite, "_FEW", few)
    monkeypatch.setattr(finite, "_ROWS", 10)
    parameters = np.zeros(3)
    state = OptimizerState(np.zeros((2, 3)))
    copies = finite.LastFinite(parameters, state)
    for epoch, expected in enumerate(kept, 1):
        parameters += 1
        state.slots += 1
        state.t += 1
        copies.keep(5)
        parameters[1] = np.nan
        copies.restore()
        assert (parameters == expected).all()
        assert (state.slots == expected).all()
        assert state.t == expected
        parameters[:], state.slots[:], state.t = epoch, epoch, epoch
