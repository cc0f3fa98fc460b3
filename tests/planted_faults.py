"""Derivatives broken on purpose; test_check_gradients.py runs this file with the JIT off.

There the dispatch functions look their rows up by name at each call, so a fault can be planted
in a single derivative of the very code that trains, and `check_gradients` must find it.
"""

import numpy as np
import pytest

from fastnn import Network, check_gradients
from fastnn.kernels import activations, losses, network

X = np.array([[0.6, -1.1], [-0.4, 0.8]])
TARGETS = {
    "probability": [[0.2, 0.9], [0.7, 0.4]],
    "class": [1, 0],
    "real": [[0.3, -1.5], [2.0, 0.4]],
    "count": [[2, 0], [1, 3]],
}
#: Every form of an activation and of its derivative that training takes from the table.
ACTIVATE = activations.activate_, activations.activate_whole_, activations.activate_batch_
DEACTIVATE = activations.deactivate_, activations.deactivate_whole_, activations.deactivate_batch_


def check(activation, loss):
    net = Network([2, 2, 2, 2], activation=activation, loss=loss, dtype="float64", random_state=1)
    net.parameters += 0.1  # no zeros among the biases
    return check_gradients(net, X, np.array(TARGETS[losses.TABLE[loss].targets]))


@pytest.mark.parametrize("factor", [1.001, -1.0])
@pytest.mark.parametrize("name", activations.TABLE)
def test_activation_fault_is_caught(name, factor, monkeypatch):
    names = [name, "softplus" if name == "tanh" else "tanh"]
    assert check(names, "squared_error").ok
    right = activations.TABLE[name].derivative
    monkeypatch.setattr(network, "RELU", -1)  # which takes no derivative from the table
    for dispatch in DEACTIVATE:
        monkeypatch.setitem(
            dispatch.__globals__,
            f"df_{activations.CODES[name]}",
            lambda z, a: factor * right(z, a),
        )
    report = check(names, "squared_error")
    assert not report.ok
    assert {found.layer for found in report.disagreements} == {0}
    assert f"derivative of {name}, above layer 0" in str(report)
    assert max(found.error for found in report.disagreements) > abs(1 - factor) / 10


@pytest.mark.parametrize("factor", [1.001, -1.0])
@pytest.mark.parametrize("name", losses.TABLE)
def test_loss_fault_is_caught(name, factor, monkeypatch):
    assert check("tanh", name).ok
    right = losses.TABLE[name].block

    def wrong(*arguments):
        value = right(*arguments)
        batch, n_out, delta = arguments[0], arguments[1], arguments[-1]
        delta[: batch * n_out] *= factor
        return value

    monkeypatch.setitem(losses.loss_.__globals__, f"block_{losses.CODES[name]}", wrong)
    report = check("tanh", name)
    assert not report.ok
    assert {found.layer for found in report.disagreements} == {0, 1, 2}
    assert f"derivative of the loss {name}" in str(report)


def test_forward_fault_is_caught(monkeypatch):
    code = activations.CODES["tanh"]
    for dispatch in ACTIVATE:
        monkeypatch.setitem(dispatch.__globals__, f"f_{code}", lambda z: 1.1 * np.tanh(z))
    report = check("tanh", "squared_error")
    assert not report.ok
    assert report.forward_error > 1e-3
