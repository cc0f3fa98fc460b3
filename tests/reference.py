"""The same mathematics written out in plain NumPy and in mpmath: slow, obvious, float64.

Nothing here comes from the kernels; the tests compare the two.  Layers are lists of ``W``
(n_in, n_out) and ``b`` (n_out,), rows are (n, d), and a flat vector holds layer after layer, the
weights row by row, then the biases.
"""

import itertools

import mpmath
import numpy as np
from scipy.special import expit, log_softmax, ndtr, xlogy
from scipy.special import softmax as softmax_of

# ------------------------------------------------------------------------------ activations

#: name -> (a(z), da/dz(z)) of arrays of ordinary size.
ACTIVATIONS = {
    "identity": (lambda z: z, lambda z: np.ones_like(z)),
    "logistic": (expit, lambda z: expit(z) * expit(-z)),
    "tanh": (np.tanh, lambda z: 1 / np.cosh(z) ** 2),
    "relu": (lambda z: np.where(z > 0, z, 0), lambda z: np.where(z > 0, 1.0, 0.0)),
    "leaky_relu": (lambda z: np.where(z > 0, z, 0.01 * z), lambda z: np.where(z > 0, 1.0, 0.01)),
    "elu": (lambda z: np.where(z > 0, z, np.expm1(z)), lambda z: np.where(z > 0, 1.0, np.exp(z))),
    "softplus": (lambda z: np.logaddexp(0, z), expit),
    "silu": (lambda z: z * expit(z), lambda z: expit(z) + z * expit(z) * expit(-z)),
    "gelu": (
        lambda z: z * ndtr(z),
        lambda z: ndtr(z) + z * np.exp(-z * z / 2) / np.sqrt(2 * np.pi),
    ),
    "square": (lambda z: z**2, lambda z: 2 * z),
}
ACTIVATIONS["sigmoid"] = ACTIVATIONS["logistic"]

#: name -> the values of a and da/dz at -inf and at +inf.
LIMITS = {
    "identity": ((-np.inf, 1), (np.inf, 1)),
    "logistic": ((0, 0), (1, 0)),
    "tanh": ((-1, 0), (1, 0)),
    "relu": ((0, 0), (np.inf, 1)),
    "leaky_relu": ((-np.inf, 0.01), (np.inf, 1)),
    "elu": ((-1, 0), (np.inf, 1)),
    "softplus": ((0, 0), (np.inf, 1)),
    "silu": ((0, 0), (np.inf, 1)),
    "gelu": ((0, 0), (np.inf, 1)),
    "square": ((np.inf, -np.inf), (np.inf, np.inf)),
}

#: Activations whose slope, or its slope, jumps at 0.
KINKED_ACTIVATIONS = {"relu", "leaky_relu", "elu"}

_mp = mpmath.mp.clone()
_mp.dps = 40


def _mp_sigmoid(z):
    return 1 / (1 + _mp.exp(-z))


def _mp_leak(z):
    return z if z > 0 else z * _mp.mpf("0.01")


def _mp_gauss(z):
    return _mp.exp(-z * z / 2) / _mp.sqrt(2 * _mp.pi)


def _mp_cdf(z):
    return _mp.erfc(-z / _mp.sqrt(2)) / 2


#: The same to 40 digits, for one number of any size.
EXACT_ACTIVATIONS = {
    "identity": (lambda z: z, lambda z: 1),
    "logistic": (_mp_sigmoid, lambda z: _mp_sigmoid(z) * _mp_sigmoid(-z)),
    "tanh": (_mp.tanh, lambda z: _mp.sech(z) ** 2),
    "relu": (lambda z: max(z, 0), lambda z: int(z > 0)),
    "leaky_relu": (_mp_leak, lambda z: 1 if z > 0 else _mp.mpf("0.01")),
    "elu": (lambda z: z if z > 0 else _mp.expm1(z), lambda z: 1 if z > 0 else _mp.exp(z)),
    "softplus": (lambda z: max(z, 0) + _mp.log1p(_mp.exp(-abs(z))), _mp_sigmoid),
    "silu": (
        lambda z: z * _mp_sigmoid(z),
        lambda z: _mp_sigmoid(z) * (1 + z * _mp_sigmoid(-z)),
    ),
    "gelu": (lambda z: z * _mp_cdf(z), lambda z: _mp_cdf(z) + z * _mp_gauss(z)),
    "square": (lambda z: z * z, lambda z: 2 * z),
}


def exact(function, z):
    """Return ``function`` of a float, found to 40 digits, as the nearest float64."""
    return float(function(_mp.mpf(float(z))))


# ----------------------------------------------------------------------------------- losses


def _log_loss(Z, Y, p):
    return (np.logaddexp(0, Z) - Y * Z).sum(axis=1)


def _huber(Z, Y, p):
    r = np.abs(Z - Y)
    return np.where(r <= p, r * r / 2, p * r - p * p / 2).sum(axis=1)


def _quantile(Z, Y, p):
    return np.maximum(p * (Y - Z), (p - 1) * (Y - Z)).sum(axis=1)


#: name -> (J (n,), dJ/dz (n, k), prediction (n, k)) of scores Z, targets Y (n, k) and parameter.
LOSSES = {
    "log_loss": (_log_loss, lambda Z, Y, p: expit(Z) - Y, expit),
    "cross_entropy": (
        lambda Z, Y, p: -(Y * log_softmax(Z, axis=1)).sum(axis=1),
        lambda Z, Y, p: softmax_of(Z, axis=1) * Y.sum(axis=1, keepdims=True) - Y,
        lambda Z: softmax_of(Z, axis=1),
    ),
    "squared_error": (
        lambda Z, Y, p: ((Z - Y) ** 2).sum(axis=1) / 2,
        lambda Z, Y, p: Z - Y,
        lambda Z: Z,
    ),
    "absolute_error": (
        lambda Z, Y, p: np.abs(Z - Y).sum(axis=1),
        lambda Z, Y, p: np.sign(Z - Y),
        lambda Z: Z,
    ),
    "huber": (_huber, lambda Z, Y, p: np.clip(Z - Y, -p, p), lambda Z: Z),
    "poisson": (
        lambda Z, Y, p: (np.exp(Z) - Y * Z + xlogy(Y, Y) - Y).sum(axis=1),
        lambda Z, Y, p: np.exp(Z) - Y,
        np.exp,
    ),
    "quantile": (
        _quantile,
        lambda Z, Y, p: np.where(Y > Z, -p, np.where(Y < Z, 1 - p, 0)),
        lambda Z: Z,
    ),
}

#: Losses whose slope, or its slope, jumps: where ``|z - y|`` equals one of these.
KINKS = {"absolute_error": lambda p: [0], "huber": lambda p: [p], "quantile": lambda p: [0]}

PARAMETERS = {"huber": 0.7, "quantile": 0.3}


def _mp_log_loss(z, y, p):
    return _mp.log1p(_mp.exp(-abs(z))) + max(z, 0) - y * z


def _mp_poisson(z, y, p):
    return _mp.exp(z) - y * z + (y * _mp.log(y) - y if y > 0 else 0)


def _mp_huber(z, y, p):
    r = abs(z - y)
    return r * r / 2 if r <= p else p * r - p * p / 2


#: name -> (J, dJ/dz) of one score, target and parameter, to 40 digits.
EXACT_LOSSES = {
    "log_loss": (_mp_log_loss, lambda z, y, p: _mp_sigmoid(z) - y),
    "squared_error": (lambda z, y, p: (z - y) ** 2 / 2, lambda z, y, p: z - y),
    "absolute_error": (lambda z, y, p: abs(z - y), lambda z, y, p: _mp.sign(z - y)),
    "huber": (_mp_huber, lambda z, y, p: max(-p, min(z - y, p))),
    "poisson": (_mp_poisson, lambda z, y, p: _mp.exp(z) - y),
    "quantile": (
        lambda z, y, p: max(p * (y - z), (p - 1) * (y - z)),
        lambda z, y, p: -p if y > z else (1 - p if y < z else 0),
    ),
}


def exact_loss(name, z, y, parameter):
    """Return J and dJ/dz of floats, found to 40 digits."""
    z, y, parameter = (_mp.mpf(float(number)) for number in (z, y, parameter))
    return tuple(float(function(z, y, parameter)) for function in EXACT_LOSSES[name])


def exact_cross_entropy(scores, label):
    """Return J and dJ/dz of a row of scores and its class, found to 40 digits."""
    scores = [_mp.mpf(float(z)) for z in scores]
    total = _mp.log(_mp.fsum(_mp.exp(z) for z in scores))
    delta = [_mp.exp(z - total) - (k == label) for k, z in enumerate(scores)]
    return float(total - scores[label]), [float(d) for d in delta]


def one_hot(labels, n_classes):
    """Return a row of 0 and one 1 per label."""
    return np.eye(n_classes)[np.asarray(labels, int).ravel()]


# ------------------------------------------------------------------------------- optimisers
# Each changes the vector w, given the gradient g of step t = 1, 2, ..., and its memory s.


def _sgd(w, g, s, t, rate):
    w -= rate * g


def _momentum(w, g, s, t, rate, momentum=0.9):
    s["v"] = momentum * s.get("v", 0) - rate * g
    w += s["v"]


def _nesterov(w, g, s, t, rate, momentum=0.9):
    s["v"] = momentum * s.get("v", 0) - rate * g
    w += momentum * s["v"] - rate * g


def _adam(w, g, s, t, rate, beta_1=0.9, beta_2=0.999, epsilon=1e-8, epsilon_hat=0.0):
    s["m"] = beta_1 * s.get("m", 0) + (1 - beta_1) * g
    s["v"] = beta_2 * s.get("v", 0) + (1 - beta_2) * g**2
    m = s["m"] / (1 - beta_1**t)
    v = s["v"] / (1 - beta_2**t)
    if epsilon_hat:  # added to the square root of the moment that is not corrected yet
        epsilon = epsilon / np.sqrt(1 - beta_2**t)
    w -= rate * m / (np.sqrt(v) + epsilon)


def _rmsprop(w, g, s, t, rate, rho=0.99, epsilon=1e-8):
    s["s"] = rho * s.get("s", 0) + (1 - rho) * g**2
    w -= rate * g / (np.sqrt(s["s"]) + epsilon)


def _adagrad(w, g, s, t, rate, epsilon=1e-10):
    s["s"] = s.get("s", 0) + g**2
    w -= rate * g / (np.sqrt(s["s"]) + epsilon)


OPTIMIZERS = {
    "sgd": _sgd,
    "momentum": _momentum,
    "nesterov": _nesterov,
    "adam": _adam,
    "adamw": _adam,
    "rmsprop": _rmsprop,
    "adagrad": _adagrad,
}


# --------------------------------------------------------------------------------- networks


class Net:
    """A dense network in float64: layers as lists, gradients by the chain rule, one row of code
    per line of algebra.
    """

    def __init__(self, sizes, activation="relu", loss="squared_error", parameter=0.0, scale=1.0):
        n_hidden = len(sizes) - 2
        self.sizes = list(sizes)
        self.activations = [activation] * n_hidden if isinstance(activation, str) else activation
        self.loss_name, self.parameter, self.scale = loss, parameter, scale
        self.weights = [np.zeros(shape) for shape in itertools.pairwise(sizes)]
        self.biases = [np.zeros(size) for size in sizes[1:]]

    @classmethod
    def of(cls, network):
        """Return the double of a `fastnn.Network`, with the same parameters."""
        net = cls(
            network.layer_sizes,
            network.activation,
            network.loss_name,
            network.loss_parameter,
            network.loss_scale,
        )
        net.set(network.parameters)
        return net

    def flat(self):
        """Return all parameters as one vector."""
        pairs = zip(self.weights, self.biases, strict=True)
        return np.concatenate([part.ravel() for pair in pairs for part in pair])

    def set(self, flat):
        """Take all parameters from one vector."""
        rest = np.array(flat, np.float64)
        for W, b in zip(self.weights, self.biases, strict=True):
            W[:], b[:], rest = (
                rest[: W.size].reshape(W.shape),
                rest[W.size : W.size + b.size],
                rest[W.size + b.size :],
            )
        assert rest.size == 0

    def is_weight(self):
        """Return True for each weight and False for each bias of the flat vector."""
        pairs = zip(self.weights, self.biases, strict=True)
        return np.concatenate([np.r_[np.ones(W.size), np.zeros(b.size)] for W, b in pairs]) > 0

    def layers(self, X):
        """Return the z of every layer and its inputs a."""
        zs, inputs = [], [np.asarray(X, np.float64)]
        for l, (W, b) in enumerate(zip(self.weights, self.biases, strict=True)):
            zs.append(inputs[-1] @ W + b)
            if l < len(self.activations):
                inputs.append(ACTIVATIONS[self.activations[l]][0](zs[-1]))
        return zs, inputs

    def scores(self, X):
        return self.layers(X)[0][-1]

    def forward(self, X):
        return LOSSES[self.loss_name][2](self.scores(X))

    def targets(self, y):
        """Return one column of targets per output."""
        y = np.asarray(y, np.float64).reshape(len(y), -1)
        if self.loss_name == "cross_entropy" and y.shape[1] == 1:
            return one_hot(y, self.sizes[-1])
        return y

    def losses(self, X, y):
        """Return the loss of each row."""
        value = LOSSES[self.loss_name][0](self.scores(X), self.targets(y), self.parameter)
        return self.scale * value

    def loss(self, X, y, weight=None):
        return float(np.average(self.losses(X, y), weights=weight))

    def gradient(self, X, y, weight=None):
        """Return the gradient of ``sum_i w_i J_i``, flat."""
        weight = np.ones(len(X)) if weight is None else np.asarray(weight, np.float64)
        zs, inputs = self.layers(X)
        delta = LOSSES[self.loss_name][1](zs[-1], self.targets(y), self.parameter)
        delta = self.scale * weight[:, None] * delta
        parts = []
        for l in reversed(range(len(self.weights))):
            parts = [(inputs[l].T @ delta).ravel(), delta.sum(axis=0), *parts]
            if l > 0:
                slope = ACTIVATIONS[self.activations[l - 1]][1](zs[l - 1])
                delta = (delta @ self.weights[l].T) * slope
        return np.concatenate(parts)

    def sides(self, X, y):
        """Return on which side of each kink of activations and loss every row lies."""
        zs, _ = self.layers(X)
        hidden = zip(self.activations, zs, strict=False)
        sides = [(z > 0).ravel() for name, z in hidden if name in KINKED_ACTIVATIONS]
        if self.loss_name in KINKS:
            r = zs[-1] - self.targets(y)
            for kink in KINKS[self.loss_name](self.parameter):
                sides += [(r > kink).ravel(), (r > -kink).ravel()]
        return np.concatenate(sides) if sides else np.zeros(0, bool)

    def train(
        self, X, y, order, *, batch_size, rate, optimizer="sgd", reduction="mean", weight=None,
        l1=0.0, l2=0.0, alpha=0.0, weight_decay=0.0, clip_norm=np.inf, memory=None, **options,
    ):  # fmt: skip
        """Train on the rows of ``order``, batch by batch; return the mean objective.

        The objective of a batch is ``(sum w_i J_i + alpha/2 |W|^2) / N + l1 |W|_1 + l2/2 |W|^2``,
        ``N`` the sum of the w_i, or 1 where the reduction is the sum or the batch one row.
        ``memory`` carries the optimiser's state from call to call.
        """
        memory = {} if memory is None else memory
        weight = np.ones(len(X)) if weight is None else np.asarray(weight, np.float64)
        X, y, is_weight = np.asarray(X, np.float64), np.asarray(y), self.is_weight()
        total = 0.0
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            normaliser = weight[rows].sum() if reduction == "mean" and batch_size > 1 else 1.0
            w = self.flat()
            W = np.where(is_weight, w, 0)
            total += (
                (weight[rows] * self.losses(X[rows], y[rows])).sum()
                + alpha / 2 * (W**2).sum()
                + normaliser * (l1 * np.abs(W).sum() + l2 / 2 * (W**2).sum())
            )
            g = self.gradient(X[rows], y[rows], weight[rows]) + alpha * W
            g = g / normaliser + l1 * np.sign(W) + l2 * W
            g *= min(1, clip_norm / max(np.linalg.norm(g), 1e-300))
            w -= rate * weight_decay * W
            memory["t"] = memory.get("t", 0) + 1
            OPTIMIZERS[optimizer](w, g, memory, memory["t"], rate, **options)
            self.set(w)
        return total / weight[order].sum()


def differences(function, w, step):
    """Return the gradient of ``function`` at ``w`` by 4th-order central differences."""
    gradient = np.empty(w.size)
    for i in range(w.size):
        values = []
        for shift in (-2, -1, 1, 2):
            moved = w.copy()
            moved[i] += shift * step
            values.append(function(moved))
        gradient[i] = (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (12 * step)
    return gradient
