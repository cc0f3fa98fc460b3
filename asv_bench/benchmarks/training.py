"""Epochs of training: time, and the loss reached beside it."""

import numpy as np

from fastnn import Network
from fastnn.kernels import losses, optimizers

SHAPES = {"2-16-2": 20_000, "20-32-2": 10_000, "64-64-10": 5_000, "784-128-10": 1_000}


def problem(shape):
    """Return a network's sizes with rows and labels that depend on them."""
    sizes = [int(width) for width in shape.split("-")]
    rng = np.random.default_rng(0)
    X = rng.standard_normal((SHAPES.get(shape, 5_000), sizes[0])).astype(np.float32)
    return sizes, X, np.argmax(X @ rng.standard_normal((sizes[0], sizes[-1])), axis=1)


class PerSample:
    """Exact per-sample SGD, one epoch."""

    params = [list(SHAPES)]
    param_names = ["shape"]

    def setup(self, shape):
        """Make the rows and compile the kernels."""
        self.sizes, self.X, self.y = problem(shape)
        self.fit()

    def fit(self):
        """Train a fresh network."""
        net = Network(self.sizes, activation="logistic", loss="cross_entropy", random_state=0)
        return net.fit(self.X, self.y, epochs=1)

    def time_epoch(self, shape):
        """Time one epoch."""
        self.fit()

    def track_loss(self, shape):
        """Mean loss of the epoch."""
        return self.fit().loss[-1]

    track_loss.unit = "nats"


class Batches:
    """One epoch in batches of 128, for every optimiser."""

    params = [list(optimizers.TABLE)]
    param_names = ["optimizer"]

    def setup(self, optimizer):
        """Make the rows and compile the kernels."""
        self.sizes, self.X, self.y = problem("64-64-10")
        self.fit(optimizer)

    def fit(self, optimizer):
        """Train a fresh network."""
        net = Network(self.sizes, loss="cross_entropy", random_state=0)
        return net.fit(self.X, self.y, optimizer=optimizer, batch_size=128)

    def time_epoch(self, optimizer):
        """Time one epoch."""
        self.fit(optimizer)

    def track_loss(self, optimizer):
        """Mean loss of the epoch."""
        return self.fit(optimizer).loss[-1]

    track_loss.unit = "nats"


class Losses:
    """Loss and gradient of 20 000 rows, for every loss."""

    params = [list(losses.TABLE)]
    param_names = ["loss"]

    def setup(self, loss):
        """Make the rows and compile the kernels."""
        rng = np.random.default_rng(0)
        self.X = rng.standard_normal((20_000, 16)).astype(np.float32)
        self.net = Network([16, 16, 2], loss=loss, random_state=0)
        self.y = rng.integers(0, 2, 20_000 if loss == "cross_entropy" else (20_000, 2))
        self.net.gradients(self.X, self.y)

    def time_gradients(self, loss):
        """Time the gradient of all parameters."""
        self.net.gradients(self.X, self.y)
