"""`check_gradients` passes right derivatives, and catches every planted fault."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse

from fastnn import Network, check_gradients, input_gradients
from fastnn.inspect import reference
from fastnn.kernels import activations, losses

pytestmark = pytest.mark.kernel

FAULTS = str(Path(__file__).with_name("planted_faults.py"))
rng = np.random.default_rng(0)
X = rng.normal(size=(6, 3))
TARGETS = {
    "probability": rng.uniform(size=(6, 2)),
    "class": rng.integers(0, 2, 6),
    "real": rng.normal(size=(6, 2)),
    "count": rng.integers(0, 4, (6, 2)),
}


def network(activation, loss, dtype="float64"):
    net = Network([3, 4, 3, 2], activation=activation, loss=loss, dtype=dtype, random_state=1)
    return net, TARGETS[losses.TABLE[loss].targets]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("loss", losses.TABLE)
@pytest.mark.parametrize("activation", activations.TABLE)
def test_right_derivatives_pass(activation, loss, dtype):
    net, y = network(activation, loss, dtype)
    report = check_gradients(net, X, y)
    assert report.ok, report
    assert not report.kinks
    assert report.n_checked == net.parameters.size
    assert max(report.layer_errors) < 1e-6
    assert report.forward_error < 1e-12
    assert (report.single_error > 0) == (dtype == "float32")


def test_every_row_of_the_tables_has_a_complex_step():
    assert list(reference.ACTIVATIONS) == list(activations.TABLE)
    assert list(reference.LOSSES) == list(losses.TABLE)


def test_planted_faults_are_caught():
    """Run planted_faults.py with the JIT off, where a fault can be planted in one derivative."""
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", FAULTS],
        env={**os.environ, "NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    n_faults = 2 * (len(activations.TABLE) + len(losses.TABLE)) + 1
    assert f"{n_faults} passed" in run.stdout


def test_kinks_are_told_from_errors():
    net = Network([3, 4, 1], activation="relu", dtype="float64", random_state=0)
    report = check_gradients(net, np.zeros((2, 3)), np.ones(2))  # every z is 0
    assert report.ok
    assert [kink.name for kink in sorted(report.kinks, key=lambda k: k.name)] == [
        f"b[{k}]" for k in range(4)
    ]
    assert "at a kink: 4" in str(report)
    net = Network([1, 1], loss="absolute_error", dtype="float64")
    net.parameters[:] = [2, 1]
    report = check_gradients(net, [[3.0]], [7.0])  # z = y
    assert report.ok
    assert len(report.kinks) == 2


def test_kink_within_a_step_is_one():
    net = Network([1, 1, 1], activation="relu", dtype="float64")
    net.parameters[:] = [1.0, 1e-6, 1.0, 0.0]  # z = 1e-6
    report = check_gradients(net, [[0.0]], [1.0])
    assert report.ok
    assert [kink.name for kink in report.kinks] == ["b[0]"]


def test_a_sample_is_checked():
    net = Network([20, 30, 5], activation="tanh", loss="cross_entropy", random_state=0)
    x = np.random.default_rng(1).normal(size=(4, 20))
    report = check_gradients(net, x, [0, 1, 2, 3], n_parameters=25)
    assert report.ok
    assert (report.n_checked, report.n_parameters) == (25, net.parameters.size)
    assert "25 of 785" in str(report)


def test_weights_and_sparse_rows():
    net, y = network("gelu", "log_loss")
    weight = np.array([0.0, 1, 2, 3, 0.5, 1])
    dense = check_gradients(net, X, y, weight)
    sparse = check_gradients(net, scipy.sparse.csr_array(X), y, weight)
    assert dense.ok
    assert sparse.ok
    assert sparse.forward_error < 1e-12


def test_bad_arguments_are_named():
    net = Network([3, 1])
    with pytest.raises(ValueError, match="X has 2 features"):
        check_gradients(net, [[1, 2]], [1])
    with pytest.raises(ValueError, match="n_parameters"):
        check_gradients(net, X, X[:, 0], n_parameters=0)
    with pytest.raises(ValueError, match="tolerance"):
        check_gradients(net, X, X[:, 0], tolerance=0)
    with pytest.raises(TypeError, match="model must be"):
        check_gradients(None, X, X[:, 0])


def differences(f, x, h=1e-3):
    """Return the fourth-order differences of ``f`` along the coordinates of ``x``."""
    steps = h * np.eye(x.size)
    return np.stack(
        [(8 * (f(x + s) - f(x - s)) - (f(x + 2 * s) - f(x - 2 * s))) / (12 * h) for s in steps],
        axis=-1,
    )


@pytest.mark.parametrize("loss", losses.TABLE)
@pytest.mark.parametrize("activation", ["tanh", "gelu", "square"])
def test_input_gradients_against_differences(activation, loss):
    net, y = network(activation, loss)
    net.loss_scale = 1.5
    net._lay_out()
    of_loss = input_gradients(net, X, y)
    of_outputs = input_gradients(net, X)
    assert of_loss.shape == (6, 3)
    assert of_outputs.shape == (6, 2, 3)
    for i, x in enumerate(X):
        expected = differences(lambda v, i=i: net.loss(v[None], y[i : i + 1]), x)
        np.testing.assert_allclose(of_loss[i], expected, rtol=1e-7, atol=1e-9)
        expected = differences(lambda v: net.forward(v[None])[0], x)
        np.testing.assert_allclose(of_outputs[i], expected, rtol=1e-7, atol=1e-9)


def test_input_gradients_keep_the_precision_and_take_sparse_rows():
    net, y = network("tanh", "cross_entropy", "float32")
    dense = input_gradients(net, X, y)
    assert dense.dtype == np.float32
    np.testing.assert_array_equal(input_gradients(net, scipy.sparse.csr_array(X), y), dense)
    with pytest.raises(ValueError, match="X has 2 features"):
        input_gradients(net, X[:, :2])
    neuron = Network([3, 1], random_state=0)
    expected = np.broadcast_to(neuron.weights[0].T, (6, 1, 3))
    np.testing.assert_array_equal(input_gradients(neuron, X), expected)
