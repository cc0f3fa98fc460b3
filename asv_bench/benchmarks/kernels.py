"""Kernels: every activation, loss and optimiser of the tables, and dense layers by their shape."""

import numpy as np

from benchmarks import measure, reference
from benchmarks.problems import available, classes, multiply_adds, row, trained, widths
from benchmarks.tables import ACTIVATIONS, LOSSES, OPTIMIZERS

PEAK = "x FMA peak time"
WRONG = "share of wrong classes"
#: Widths and rows of a batch through one layer: narrow, square, wide in, wide out.
LAYERS = {"8-8": 5_000, "64-64": 1_000, "256-128": 200, "20-256": 200}


class Activations:
    """Forward pass of 4000 rows through 20-64-2."""

    params = [ACTIVATIONS]
    param_names = ["activation"]
    sizes = [20, 64, 2]

    def setup(self, activation):
        row("fastnn.kernels.activations:TABLE", activation)
        X, _ = classes(20, 2, 4_000)
        self.rows = measure.Movable(X)
        self.job = self.prepare(activation)

    def prepare(self, activation):
        network = available("fastnn:Network")
        net = network(self.sizes, activation=activation, loss="cross_entropy", random_state=0)
        X = self.rows()
        return lambda: net.forward(X)

    def time_forward(self, activation):
        self.job()

    def track_final_loss(self, activation):
        return trained([20, 32, 4], {"learning_rate": 0.01}, activation=activation)[0]

    track_final_loss.unit = "nats"

    def track_final_error(self, activation):
        return trained([20, 32, 4], {"learning_rate": 0.01}, activation=activation)[1]

    track_final_error.unit = WRONG

    def track_forward_over_peak(self, activation):
        work = reference.multiply_adds(4_000 * multiply_adds(self.sizes))
        return measure.ratio(lambda: self.prepare(activation), work)

    track_forward_over_peak.unit = PEAK


class Losses:
    """Gradient of the mean loss of 4000 rows of 16-16-4."""

    params = [LOSSES]
    param_names = ["loss"]
    sizes = [16, 16, 4]

    def setup(self, loss):
        row("fastnn.kernels.losses:TABLE", loss)
        X, y = classes(16, 4, 4_000)
        targets = y if loss == "cross_entropy" else np.eye(4, dtype=np.float32)[y]
        self.rows, self.targets = measure.Movable(X), measure.Movable(targets)
        self.job = self.prepare(loss)

    def prepare(self, loss):
        net = available("fastnn:Network")(self.sizes, loss=loss, random_state=0)
        X, y = self.rows(), self.targets()
        return lambda: net.gradients(X, y)

    def time_gradients(self, loss):
        self.job()

    def track_final_loss(self, loss):
        return trained(self.sizes, loss=loss)[0]

    track_final_loss.unit = "of the loss"

    def track_final_error(self, loss):
        return trained(self.sizes, loss=loss)[1]

    track_final_error.unit = WRONG

    def track_gradients_over_peak(self, loss):
        work = reference.multiply_adds(4_000 * multiply_adds(self.sizes, backward=True))
        return measure.ratio(lambda: self.prepare(loss), work)

    track_gradients_over_peak.unit = PEAK


class Optimizers:
    """20 steps on the 34 186 parameters of 256-128-10, on two rows each: little but the step."""

    params = [OPTIMIZERS]
    param_names = ["optimizer"]
    sizes = [256, 128, 10]

    def setup(self, optimizer):
        row("fastnn.kernels.optimizers:TABLE", optimizer)
        self.X, self.y = classes(256, 10, 20)
        self.job = self.prepare(optimizer)

    def prepare(self, optimizer):
        net = available("fastnn:Network")(self.sizes, loss="cross_entropy", random_state=0)
        return lambda: net.fit(
            self.X, self.y, optimizer=optimizer, batch_size=2, epochs=2, learning_rate=1e-3
        )

    def time_steps(self, optimizer):
        self.job()

    def learned(self, optimizer):
        rate = 0.1 if optimizer in ("sgd", "momentum", "nesterov", "adagrad") else 0.01
        fitting = {"optimizer": optimizer, "learning_rate": rate, "batch_size": 32}
        return trained([20, 32, 4], fitting)

    def track_final_loss(self, optimizer):
        return self.learned(optimizer)[0]

    track_final_loss.unit = "nats"

    def track_final_error(self, optimizer):
        return self.learned(optimizer)[1]

    track_final_error.unit = WRONG

    def track_steps_over_memory_pass(self, optimizer):
        parameters = np.zeros(34_186, np.float32)
        return measure.ratio(
            lambda: self.prepare(optimizer), reference.memory_pass(parameters, passes=20)
        )

    track_steps_over_memory_pass.unit = "x reading the parameters once a step"


class Dense:
    """Forward and gradient of one layer without activation, by its shape."""

    params = [list(LAYERS)]
    param_names = ["layer"]

    def setup(self, layer):
        self.sizes, self.n = widths(layer), LAYERS[layer]
        self.network = available("fastnn:Network")
        X, _ = classes(self.sizes[0], 2, self.n)
        self.rows = measure.Movable(X)
        self.targets = np.zeros((self.n, self.sizes[1]), np.float32)
        self.job, self.gradient = self.prepare(), self.prepare_gradients()

    def prepare(self):
        net, X = self.network(self.sizes, random_state=0), self.rows()
        return lambda: net.scores(X)

    def prepare_gradients(self):
        net, X = self.network(self.sizes, random_state=0), self.rows()
        return lambda: net.gradients(X, self.targets)

    def time_forward(self, layer):
        self.job()

    def time_gradients(self, layer):
        self.gradient()

    def track_forward_over_peak(self, layer):
        work = reference.multiply_adds(self.n * multiply_adds(self.sizes))
        return measure.ratio(self.prepare, work)

    track_forward_over_peak.unit = PEAK

    def track_gradients_over_peak(self, layer):
        work = reference.multiply_adds(self.n * multiply_adds(self.sizes, backward=True))
        return measure.ratio(self.prepare_gradients, work)

    track_gradients_over_peak.unit = PEAK
