"""Prediction, for every activation."""

import numpy as np

from fastnn import Network
from fastnn.kernels import activations


class Forward:
    """20 000 rows through 20-64-2."""

    params = [list(activations.TABLE)]
    param_names = ["activation"]

    def setup(self, activation):
        """Make the rows and compile the kernels."""
        self.X = np.random.default_rng(0).standard_normal((20_000, 20)).astype(np.float32)
        self.net = Network([20, 64, 2], activation=activation, loss="cross_entropy")
        self.net.forward(self.X)

    def time_forward(self, activation):
        """Time the forward pass."""
        self.net.forward(self.X)
