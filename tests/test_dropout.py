"""Dropout in training, against masks and a chain rule written in plain Python and NumPy."""

import numpy as np
import pytest
import reference
from scipy import sparse

from fastnn import Network
from fastnn.inputs import check_rows
from fastnn.kernels.network import MOST
from fastnn.kernels.plan import Targets
from fastnn.training import loss_and_gradients, score

pytestmark = pytest.mark.kernel

SEED, ORIGIN = 2**62 + 12345, 7
RATES = np.array([0.25, 0.5, 0.125])


def split_mix(key, counter):
    """Return the 64 bits of SplitMix64's output function in exact integers."""
    mask = 2**64 - 1
    z = (key + counter * 0x9E3779B97F4A7C15) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return z ^ (z >> 31)


def masks(sizes, rates, n, origin=ORIGIN):
    """Return the factor of each input of each layer, 0 or ``1 / (1 - rate)``."""
    units = sum(sizes[:-1])
    found = []
    for l, rate in enumerate(rates):
        below = sum(sizes[:l])
        kept = [
            [
                split_mix(SEED, (origin + i) * units + below + j) / 2**64 >= rate
                for j in range(sizes[l])
            ]
            for i in range(n)
        ]
        found.append(np.array(kept) / (1 - rate))
    return found


def problem(n=6, precision="float64", activation=("tanh", "silu"), sizes=(4, 5, 3, 2)):
    rng = np.random.default_rng(1)
    net = Network(sizes, activation=activation, dtype=precision, random_state=rng)
    for b in net.biases:
        b[:] = rng.normal(0, 0.3, b.size)
    plan = net.plan._replace(dropout=RATES[: len(sizes) - 1], seed=SEED, origin=ORIGIN)
    X, Y = rng.normal(size=(n, sizes[0])), rng.normal(size=(n, sizes[-1]))
    return net, plan, X, Targets(Y.astype(precision), np.empty(0, precision))


def forward(net, X, factors):
    a = X
    for l, (W, b, factor) in enumerate(zip(net.weights, net.biases, factors, strict=True)):
        z = (a * factor) @ W + b
        if l + 1 < len(factors):
            a = reference.ACTIVATIONS[net.activation[l]][0](z)
    return z


def test_scores_have_the_mask_of_the_counters(precision, eps):
    net, plan, X, _ = problem(precision=precision)
    factors = masks(net.layer_sizes, RATES, len(X))
    assert all(0 < np.count_nonzero(f) < f.size for f in factors)
    expected = forward(net, X.astype(precision).astype(float), factors)
    for form in (np.asarray, sparse.csr_array):
        rows = check_rows(form(X), 4, net.dtype)
        found, _ = score(plan, net.parameters, rows, len(X))
        np.testing.assert_allclose(found, expected, rtol=50 * eps, atol=50 * eps)


@pytest.mark.parametrize(
    "activation", [("tanh", "silu"), ("logistic", "elu"), ("square", "gelu")], ids=str
)
def test_gradient_against_differences_under_a_fixed_mask(activation):
    net, plan, X, targets = problem(activation=activation)
    parameters = net.parameters
    for form in (np.asarray, sparse.csr_array):
        rows = check_rows(form(X), 4, net.dtype)

        def objective(w, rows=rows):
            return loss_and_gradients(plan, w, rows, targets, len(X), 1.0)[0]

        _, gradient = loss_and_gradients(plan, parameters, rows, targets, len(X), 1.0)
        expected = reference.differences(objective, parameters.copy(), 1e-3)
        np.testing.assert_allclose(gradient, expected, rtol=1e-7, atol=1e-9)
    without = loss_and_gradients(net.plan, parameters, rows, targets, len(X), 1.0)[1]
    assert np.abs(gradient - without).max() > 0.1


def test_mask_belongs_to_the_row_not_to_its_batch():
    n = MOST + 3
    net, plan, X, targets = problem(n)
    rows = check_rows(X, 4, net.dtype)
    whole = loss_and_gradients(plan, net.parameters, rows, targets, n, 1.0)[1]
    total = np.zeros_like(whole)
    for part in (slice(0, 5), slice(5, MOST), slice(MOST, n)):
        shifted = plan._replace(origin=ORIGIN + part.start)
        some = Targets(targets.y[part], targets.weight)
        m = len(X[part])
        total += loss_and_gradients(
            shifted, net.parameters, check_rows(X[part], 4, net.dtype), some, m, 1.0
        )[1]
    np.testing.assert_allclose(whole, total, rtol=1e-9, atol=1e-9)


def test_expectation_is_preserved():
    n = 4000
    net, plan, X, _ = problem(sizes=(4, 2), activation=())
    rows = check_rows(np.repeat(X[:1], n, axis=0), 4, net.dtype)
    found, _ = score(plan, net.parameters, rows, n)
    expected = net.scores(X[:1])[0]
    error = found.std(axis=0) / np.sqrt(n)
    assert (found.std(axis=0) > 0.05).all()
    assert (np.abs(found.mean(axis=0) - expected) < 4 * error).all()


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_fit_drops_out_reproducibly(optimizer, batch_size):
    _, _, X, targets = problem(12)

    def fitted(**options):
        net = Network([4, 5, 3, 2], activation="tanh", random_state=3)
        net.fit(X, targets.y, optimizer=optimizer, batch_size=batch_size, epochs=2, **options)
        return net

    plain, off = fitted(), fitted(dropout=0.0, input_dropout=0.0)
    np.testing.assert_array_equal(plain.parameters, off.parameters)
    on, again = (fitted(dropout=[0.5, 0.25], input_dropout=0.1) for _ in range(2))
    np.testing.assert_array_equal(on.parameters, again.parameters)
    assert np.abs(on.parameters - plain.parameters).max() > 1e-4
    assert not on.plan.dropout.any()  # prediction is without
    np.testing.assert_array_equal(on.scores(X), on.scores(X))


def test_one_step_of_fit_takes_the_gradient_under_the_mask():
    net, plan, X, targets = problem(12)
    other = Network([4, 5, 3, 2], activation=["tanh", "silu"], dtype="float64", random_state=4)
    seed = int(np.random.default_rng(9).integers(2**63))
    other.parameters = net.parameters
    other._rng = np.random.default_rng(9)
    other.fit(
        X, targets.y, learning_rate=0.5, batch_size=None, shuffle=False,
        dropout=RATES[1:], input_dropout=RATES[0],
    )  # fmt: skip
    drawn = plan._replace(seed=seed, origin=0)
    rows = check_rows(X, 4, net.dtype)
    gradient = loss_and_gradients(drawn, net.parameters, rows, targets, 12, 12.0)[1]
    np.testing.assert_allclose(other.parameters, net.parameters - 0.5 * gradient, rtol=1e-12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dropout": 1.0}, r"dropout must lie in \[0, 1\), got 1.0"),
        ({"dropout": [0.1]}, r"one per hidden layer \(2\), got 1"),
        ({"input_dropout": -0.1}, r"input_dropout must lie in \[0, 1\)"),
        ({"dropout": float("nan")}, r"dropout must lie in"),
    ],
)
def test_bad_rates(options, message):
    net, _, X, targets = problem()
    with pytest.raises(ValueError, match=message):
        net.fit(X, targets.y, **options)
