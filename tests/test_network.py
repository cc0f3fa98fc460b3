"""`Network`: its layout, its initial weights, its precision, copies of it."""

import copy
import math
import pickle
import re

import numpy as np
import pytest
import reference

from fastnn import DivergenceWarning, Network, initializers


def test_parameters_are_one_vector_and_the_rest_are_views():
    net = Network([3, 4, 2], random_state=0)
    assert net.parameters.shape == (3 * 4 + 4 + 4 * 2 + 2,)
    assert [W.shape for W in net.weights] == [(3, 4), (4, 2)]
    assert [b.shape for b in net.biases] == [(4,), (2,)]
    flat = [part.ravel() for pair in zip(net.weights, net.biases, strict=True) for part in pair]
    np.testing.assert_array_equal(np.concatenate(flat), net.parameters)
    net.weights[1][:] = 5
    net.biases[0][2] = -7
    assert (net.parameters[16:24] == 5).all()
    assert net.parameters[14] == -7
    net.parameters[0] = 9
    assert net.weights[0][0, 0] == 9


def test_assigning_parameters_copies():
    net = Network([3, 4, 2], random_state=0)
    held, given = net.parameters, np.arange(26.0)
    net.parameters = given
    assert net.parameters is held
    np.testing.assert_array_equal(held, given)
    given[0] = 77
    assert held[0] == 0
    with pytest.raises(ValueError, match=r"must have shape \(26,\), got \(3,\)"):
        net.parameters = [1, 2, 3]
    with pytest.raises(TypeError, match="parameters must hold numbers, got <U1"):
        net.parameters = ["a"] * 26


@pytest.mark.parametrize(
    "sizes", [[1, 1], [3, 1], [3, 2], [2, 1, 1, 1, 2], [4, 5, 3], [2, *[4] * 12, 2]], ids=str
)
def test_any_depth_and_width(sizes, precision, rng):
    X = rng.normal(size=(7, sizes[0])).astype(precision)
    net = Network(sizes, activation="tanh", dtype=precision, random_state=1)
    double = reference.Net.of(net)
    tolerance = {"rtol": 0, "atol": 100 * np.finfo(precision).eps}
    np.testing.assert_allclose(net.forward(X), double.forward(X), **tolerance)
    assert net.forward(X).dtype == precision
    y = rng.normal(size=(7, sizes[-1]))
    before = net.loss(X, y)
    net.fit(X, y, epochs=20, learning_rate=0.02, batch_size=3)
    assert net.loss(X, y) < before


def test_one_activation_per_layer(rng):
    X = rng.normal(size=(5, 3))
    names = ("tanh", "relu", "gelu")
    net = Network([3, 4, 5, 6, 2], activation=names, dtype="float64", random_state=0)
    assert net.activation == names
    double = reference.Net.of(net)
    np.testing.assert_allclose(net.scores(X), double.scores(X), atol=1e-13)
    same = Network([3, 4, 5, 6, 2], activation="tanh", dtype="float64", random_state=0)
    assert np.abs(net.scores(X) - same.scores(X)).max() > 1e-3


def test_sigmoid_is_logistic(rng):
    X = rng.normal(size=(5, 3))
    nets = [Network([3, 4, 1], activation=n, random_state=0) for n in ("sigmoid", "logistic")]
    np.testing.assert_array_equal(*(net.forward(X) for net in nets))


@pytest.mark.parametrize(
    ("init", "variance", "bounded"),
    [
        ("glorot_uniform", 2 / 500, True),
        ("glorot_normal", 2 / 500, False),
        ("he_uniform", 2 / 200, True),
        ("he_normal", 2 / 200, False),
        ("lecun_uniform", 1 / 200, True),
        ("lecun_normal", 1 / 200, False),
        ("zeros", 0, True),
    ],
)
def test_initial_weights(init, variance, bounded):
    """Glorot & Bengio (2010), He et al. (2015), LeCun et al. (1998); biases are 0."""
    net = Network([200, 300, 5], init=init, random_state=0, dtype="float64")
    W = net.weights[0]
    assert not any(b.any() for b in net.biases)
    if init == "zeros":
        assert not W.any()
        return
    assert abs(W.mean()) < 5 * np.sqrt(variance / W.size)
    np.testing.assert_allclose(W.var(), variance, rtol=0.02)
    limit = np.sqrt(3 * variance)
    assert (np.abs(W).max() <= limit) == bounded
    assert np.abs(W).max() > 0.99 * limit
    other = Network([200, 300, 5], init=init, random_state=1, dtype="float64")
    assert np.abs(other.weights[0] - W).max() > 0
    assert init in initializers.TABLE


def test_random_state_decides():
    first, second = (Network([3, 4, 2], random_state=5).parameters for _ in range(2))
    np.testing.assert_array_equal(first, second)
    rng = np.random.default_rng(5)
    np.testing.assert_array_equal(first, Network([3, 4, 2], random_state=rng).parameters)
    assert np.abs(first - Network([3, 4, 2], random_state=rng).parameters).max() > 0


def test_labels_and_one_hot_are_one(rng):
    X, labels = rng.normal(size=(9, 3)), rng.integers(0, 4, 9)
    net = Network([3, 5, 4], loss="cross_entropy", dtype="float64", random_state=0)
    one_hot = np.eye(4)[labels]
    assert net.loss(X, labels) == pytest.approx(net.loss(X, one_hot), rel=1e-14)
    np.testing.assert_allclose(net.gradients(X, labels), net.gradients(X, one_hot), atol=1e-15)
    other = copy.deepcopy(net)
    net.fit(X, labels, shuffle=False, epochs=3)
    other.fit(X, one_hot, shuffle=False, epochs=3)
    np.testing.assert_allclose(net.parameters, other.parameters, rtol=0, atol=1e-14)


def test_step_is_online_training(rng):
    """A step for each row is an epoch of per-sample SGD."""
    X, y = rng.normal(size=(9, 3)), rng.integers(0, 2, 9)
    net = Network([3, 5, 2], loss="cross_entropy", dtype="float64", random_state=0)
    other = copy.deepcopy(net)
    losses = [net.step(x, label, learning_rate=0.1) for x, label in zip(X, y, strict=True)]
    history = other.fit(X, y, learning_rate=0.1, shuffle=False)
    np.testing.assert_allclose(net.parameters, other.parameters, rtol=0, atol=1e-14)
    assert np.mean(losses) == pytest.approx(history.loss[0])


@pytest.mark.parametrize(
    ("x", "rate", "loss"),
    [([1e200, 1, 1], 0.1, math.inf), ([1e160, 1, 1], 1e200, None)],
    ids=["loss", "parameter"],
)
def test_a_step_that_diverges_is_undone(x, rate, loss):
    net = Network([3, 1], dtype="float64", random_state=0)
    before = net.parameters.copy()
    net.weights[0][0] = before[0] = 1e150 if loss else 1e-10
    with pytest.warns(DivergenceWarning, match=re.escape(f"rate {rate:g} diverged")) as caught:
        found = net.step(x, 1, learning_rate=rate)
    assert caught[0].filename == __file__
    assert found == loss or (loss is None and math.isfinite(found))
    np.testing.assert_array_equal(net.parameters, before)


@pytest.mark.parametrize("through", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_copies_are_equal_and_independent(through, rng):
    X, y = rng.normal(size=(30, 3)), rng.integers(0, 2, 30)
    net = Network([3, 5, 2], loss="cross_entropy", random_state=0)
    net.fit(X, y, optimizer="adam")
    twin = through(net)
    np.testing.assert_array_equal(twin.forward(X), net.forward(X))
    for each in (net, twin):  # the random state and the moments have been copied too
        each.fit(X, y, optimizer="adam", warm_start=True)
    np.testing.assert_array_equal(twin.parameters, net.parameters)
    twin.parameters[:] = 0
    assert net.parameters.any()


def test_names_not_codes_are_pickled():
    assert b"plan" not in pickle.dumps(Network([3, 5, 2], loss="cross_entropy"))


def test_repr():
    net = Network([3, 4, 2], activation="tanh", loss="huber", dtype="float64")
    expected = "Network([3, 4, 2], activation=('tanh',), loss='huber', dtype='float64')"
    assert repr(net) == expected
    assert eval(repr(net), {"Network": Network}).layer_sizes == (3, 4, 2)
    assert repr(Network([2, 1])) == "Network([2, 1], loss='squared_error', dtype='float32')"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"layer_sizes": [3]}, ValueError, "needs an input and an output size"),
        ({"layer_sizes": 3}, TypeError, "layer_sizes must be a sequence, got 3"),
        ({"layer_sizes": [3, 0, 2]}, ValueError, "each of layer_sizes must be at least 1, got 0"),
        ({"layer_sizes": [3, 2.5]}, TypeError, "each of layer_sizes must be an integer"),
        ({"layer_sizes": [3, 10**30]}, ValueError, r"layer_sizes must make at most \d+ parameters"),
        ({"activation": "rleu"}, ValueError, "activation must be one of identity, .*'rleu'"),
        ({"activation": ["relu", "tanh"]}, ValueError, r"one per hidden layer \(1\), got 2"),
        ({"activation": 3}, TypeError, "activation must be one name or one per hidden layer"),
        ({"loss": "mse"}, ValueError, "loss must be one of log_loss, .*'mse'"),
        ({"dtype": "float16"}, ValueError, "dtype must be one of float32, float64; got 'float16'"),
        ({"dtype": None}, ValueError, "dtype must be one of"),
        ({"init": "xavier"}, ValueError, "init must be one of glorot_uniform"),
        ({"random_state": -1}, ValueError, "random_state must be None, an integer from 0"),
        ({"random_state": "x"}, ValueError, "random_state must be"),
        ({"loss_parameter": 1.0}, ValueError, "'squared_error' has no parameter"),
        ({"loss": "huber", "loss_parameter": 0}, ValueError, r"\(delta\) must lie in \(0, inf\)"),
        ({"loss": "quantile", "loss_parameter": 1}, ValueError, r"\(quantile\) must lie in \(0, 1"),
        ({"loss_scale": 0}, ValueError, "loss_scale must lie in"),
        ({"loss": "cross_entropy", "layer_sizes": [3, 4, 1]}, ValueError, 'use loss="log_loss"'),
    ],
)
def test_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        Network(**{"layer_sizes": [3, 4, 2], **arguments})
