"""Every optimiser, twenty steps against NumPy's and PyTorch's."""

import numpy as np
import pytest
import reference

from fastnn import Network
from fastnn.kernels import optimizers
from fastnn.kernels.jit import kernel
from fastnn.training import make_rule

pytestmark = pytest.mark.kernel

NAMES = list(optimizers.TABLE)
#: Settings other than the defaults, so that each is seen to matter.
SETTINGS = {
    "momentum": {"momentum": 0.7},
    "nesterov": {"momentum": 0.7},
    "adam": {"beta_1": 0.8, "beta_2": 0.95, "epsilon": 1e-3},
    "adamw": {"beta_1": 0.8, "beta_2": 0.95, "epsilon": 1e-3},
    "rmsprop": {"rho": 0.9, "epsilon": 1e-3},
    "adagrad": {"epsilon": 1e-3},
}
CASES = [(name, {}) for name in NAMES] + list(SETTINGS.items())
CASES += [(name, {"epsilon": 1e-2, "epsilon_hat": 1.0}) for name in ("adam", "adamw")]


@kernel
def step(code, params, grads, slots, rate, options, t):
    optimizers.step_(code, params, grads, slots, params.size, rate, options, t)


@pytest.mark.parametrize(("name", "options"), CASES)
def test_agrees_with_numpy(name, options, precision, eps, rng):
    size, rate = 37, 0.05
    rule = make_rule(name, **options)
    params = rng.normal(size=size).astype(precision)
    slots = np.zeros((optimizers.TABLE[name].n_slots, size), precision)
    expected, memory = params.astype(float), {}
    start = params.copy()
    for t in range(1, 21):
        grads = (rng.normal(size=size) * 10.0 ** rng.uniform(-3, 1, size)).astype(precision)
        kept = grads.copy()
        step(rule.optimizer, params, grads, slots, rate, rule.options, t)
        reference.OPTIMIZERS[name](expected, grads.astype(float), memory, t, rate, **options)
        np.testing.assert_array_equal(grads, kept)
    assert np.abs(expected - start).min() > 1e-4  # every parameter has moved
    np.testing.assert_allclose(params, expected, rtol=100 * eps, atol=100 * eps)
    assert params.dtype == precision


def test_first_adam_step_is_the_rate(precision):
    """Bias correction makes the first step ``rate * sign(g)``, whatever the size of g."""
    params, grads = np.zeros(3, precision), np.array([1e-3, -1, 100], precision)
    rule = make_rule("adam", epsilon=0)
    step(rule.optimizer, params, grads, np.zeros((2, 3), precision), 0.1, rule.options, 1)
    np.testing.assert_allclose(params, [-0.1, 0.1, -0.1], rtol=1e-5)


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")
def test_adam_divides_by_the_root_to_the_last_digits(precision, eps):
    """One step from zero moments and parameters: ``-rate (1 - b1) g / (sqrt((1 - b2) g^2) + e)``.

    Without bias correction's help: the gradients span what squares to a number, 0 and inf.
    """
    info = np.finfo(precision)
    low, high = np.log10(info.tiny) / 2 + 1, np.log10(info.max) / 2 - 1
    grads = np.append(10 ** np.linspace(low, high, 1000), [0, -1, 10 ** (high + 3)])
    grads = grads.astype(precision)
    params, slots = np.zeros_like(grads), np.zeros((2, grads.size), precision)
    rule = make_rule("adam", beta_1=0.0, beta_2=0.5, epsilon=1e-3, epsilon_hat=1.0)
    step(rule.optimizer, params, grads, slots, 1.0, rule.options, 1)
    v = (grads.dtype.type(0.5) * grads * grads).astype("f8")
    assert v[-1] == np.inf
    epsilon = float(grads.dtype.type(1e-3))
    rate = float(grads.dtype.type(0.5**0.5))
    expected = -rate * grads.astype("f8") / (np.sqrt(v) + epsilon)
    np.testing.assert_allclose(params, expected, rtol=2.5 * eps, atol=0)
    np.testing.assert_array_equal(slots, [grads, v])


def torch_optimizer(torch, name, groups, rate, options):
    """Return PyTorch's optimiser of the same name and settings."""
    names = {"momentum": "momentum", "rho": "alpha", "epsilon": "eps"}
    settings = {names[key]: value for key, value in options.items() if key in names}
    if name in ("adam", "adamw"):
        settings["betas"] = options.get("beta_1", 0.9), options.get("beta_2", 0.999)
    if name in ("momentum", "nesterov"):
        settings = {"momentum": 0.9, "nesterov": name == "nesterov", **settings}
    classes = {
        "adam": torch.optim.Adam,
        "adamw": torch.optim.AdamW,
        "rmsprop": torch.optim.RMSprop,
        "adagrad": torch.optim.Adagrad,
    }
    return classes.get(name, torch.optim.SGD)(groups, lr=rate, **settings)


@pytest.mark.parametrize(
    ("name", "options"), [case for case in CASES if "epsilon_hat" not in case[1]]
)
def test_trains_as_pytorch_does(name, options, precision, rng):
    """Twenty full-batch steps of one network in both; decay takes weights, not biases."""
    torch = pytest.importorskip("torch")
    X = rng.normal(size=(30, 5)).astype(precision)
    y = rng.integers(0, 3, 30)
    net = Network(
        [5, 7, 3], activation="tanh", loss="cross_entropy", dtype=precision, random_state=1
    )
    dtype = getattr(torch, precision)
    weights = [torch.tensor(W, dtype=dtype, requires_grad=True) for W in net.weights]
    biases = [torch.tensor(b, dtype=dtype, requires_grad=True) for b in net.biases]
    decay = optimizers.TABLE[name].weight_decay
    groups = [{"params": weights, "weight_decay": decay}, {"params": biases, "weight_decay": 0}]
    optimizer = torch_optimizer(torch, name, groups, 0.02, options)
    losses = []
    for _ in range(20):
        hidden = torch.tanh(torch.tensor(X) @ weights[0] + biases[0])
        loss = torch.nn.functional.cross_entropy(hidden @ weights[1] + biases[1], torch.tensor(y))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    start = net.parameters.copy()
    history = net.fit(
        X,
        y,
        optimizer=name,
        learning_rate=0.02,
        batch_size=None,
        epochs=20,
        shuffle=False,
        **options,
    )
    tolerance = {"float32": 2e-5, "float64": 1e-11}[precision]
    np.testing.assert_allclose(history.loss, losses, rtol=tolerance)
    pairs = zip(weights, biases, strict=True)
    expected = np.concatenate([p.detach().numpy().ravel() for pair in pairs for p in pair])
    np.testing.assert_allclose(net.parameters, expected, rtol=tolerance, atol=10 * tolerance)
    assert np.abs(expected - start).max() > 0.01


@pytest.mark.parametrize("code", [-1, len(NAMES)])
def test_unknown_code_raises(code):
    zeros = np.zeros(2)
    with pytest.raises(ValueError, match="not in the table"):
        step(code, zeros, zeros, np.zeros((2, 2)), 0.1, np.zeros(4), 1)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"optimizer": "adan"}, ValueError, "optimizer must be one of sgd, momentum.*'adan'"),
        ({"momentum": 0.9}, TypeError, "'sgd' does not take momentum; it takes no parameters"),
        ({"optimizer": "adam", "beta1": 0.9}, TypeError, "does not take beta1; it takes beta_1"),
        ({"optimizer": "momentum", "momentum": 1.0}, ValueError, r"momentum must lie in \[0, 1\)"),
        ({"optimizer": "momentum", "momentum": "a"}, TypeError, "momentum must be a number"),
        ({"optimizer": "adam", "epsilon": None}, TypeError, "epsilon must be a number"),
        ({"optimizer": "adam", "epsilon": np.inf}, ValueError, "epsilon"),
        ({"reduction": "max"}, ValueError, "reduction must be one of mean, sum; got 'max'"),
        ({"l1": -1}, ValueError, "l1 must lie"),
        ({"l2": np.nan}, ValueError, "l2 must lie"),
        ({"l2": np.inf}, ValueError, "l2 must lie"),
        ({"weight_decay": "x"}, TypeError, "weight_decay must be a number"),
        ({"clip_norm": 0}, ValueError, "clip_norm must lie"),
    ],
)
def test_bad_rule(arguments, error, message):
    with pytest.raises(error, match=message):
        make_rule(**arguments)


def test_every_row_has_a_reference():
    assert set(reference.OPTIMIZERS) == set(NAMES)
