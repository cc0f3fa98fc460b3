"""`Network` and `fastnn.functional` from Python: what a call costs, and predictions by shape."""

import numpy as np

from benchmarks import measure, reference
from benchmarks.problems import available, classes, multiply_adds, widths
from benchmarks.tables import LOSSES


class Predict:
    """Class probabilities of many rows."""

    rows_of = {"20-32-2": 3_000, "20-100-2": 2_000, "64-128-64-10": 500, "256-256-128-10": 200}
    params = [list(rows_of)]
    param_names = ["shape"]

    def setup(self, shape):
        self.network = available("fastnn:Network")
        self.sizes, self.n = widths(shape), self.rows_of[shape]
        self.rows = measure.Movable(classes(self.sizes[0], self.sizes[-1], self.n)[0])
        self.job = self.prepare()

    def prepare(self):
        net, X = self.network(self.sizes, loss="cross_entropy", random_state=0), self.rows()
        return lambda: net.forward(X)

    def time_forward(self, shape):
        self.job()

    def peakmem_forward(self, shape):
        self.job()

    def track_forward_over_peak(self, shape):
        work = reference.multiply_adds(self.n * multiply_adds(self.sizes))
        return measure.ratio(self.prepare, work)

    track_forward_over_peak.unit = "x FMA peak time"


class Calls:
    """A thousand calls on one row: the way from Python to a kernel."""

    def setup(self):
        self.net = available("fastnn:Network")([4, 8, 3], loss="cross_entropy", random_state=0)
        if not hasattr(self.net, "step"):
            raise NotImplementedError("no Network.step")
        self.x = np.ones((1, 4), np.float32)

    def time_forward(self):
        for _ in range(1_000):
            self.net.forward(self.x)

    def time_step(self):
        for _ in range(1_000):
            self.net.step(self.x[0], 1)


class Functional:
    """The loss of 100 000 scores, by `fastnn.functional`."""

    params = [LOSSES]
    param_names = ["loss"]

    def setup(self, loss):
        self.loss = available(f"fastnn.functional:{loss}")
        X, y = classes(4, 4, 25_000)
        self.scores = X
        self.targets = y if loss == "cross_entropy" else np.eye(4, dtype=np.float32)[y]

    def time_loss(self, loss):
        self.loss(self.scores, self.targets)
