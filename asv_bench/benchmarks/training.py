"""Epochs of `Network.fit`: their time, and the loss and the error they lead to."""

from benchmarks import measure, reference
from benchmarks.problems import available, classes, error_rate, multiply_adds, widths

PEAK = "x FMA peak time"


class _Epoch:
    """One epoch of a fresh network, on rows that take a fraction of a millisecond."""

    param_names = ["shape"]
    options = {}
    rate = 0.05

    def setup(self, shape):
        self.network = available("fastnn:Network")
        self.sizes, self.n = widths(shape), self.rows_of[shape]
        X, y = classes(self.sizes[0], self.sizes[-1], self.n)
        self.X, self.y = measure.Movable(X), measure.Movable(y)
        self.job = self.prepare()

    def make(self):
        return self.network(
            self.sizes, activation=self.activation, loss="cross_entropy", random_state=0
        )

    def prepare(self):
        net, X, y = self.make(), self.X(), self.y()
        return lambda: net.fit(X, y, learning_rate=self.rate, **self.options)

    def time_epoch(self, shape):
        self.job()

    def track_epoch_over_peak(self, shape):
        work = reference.multiply_adds(self.n * multiply_adds(self.sizes, backward=True))
        return measure.ratio(self.prepare, work)

    track_epoch_over_peak.unit = PEAK

    def learned(self):
        """Return the loss of the last of five epochs, and the error on rows not seen."""
        X, y = classes(self.sizes[0], self.sizes[-1], 6_000)
        net = self.make()
        history = net.fit(X[:4_000], y[:4_000], learning_rate=self.rate, epochs=5, **self.options)
        predicted = net.forward(X[4_000:]).argmax(axis=1)
        return history.loss[-1], error_rate(predicted, y[4_000:])

    def track_final_loss(self, shape):
        return self.learned()[0]

    track_final_loss.unit = "nats"

    def track_final_error(self, shape):
        return self.learned()[1]

    track_final_error.unit = "share of wrong classes"


class PerSample(_Epoch):
    """Exact per-sample SGD, logistic units."""

    rows_of = {"2-16-2": 3_000, "20-32-2": 2_000, "64-64-10": 1_000, "784-128-10": 96}
    params = [list(rows_of)]
    activation = "logistic"


class Replicas(PerSample):
    """Two replicas, by two threads, at twice the rate: to be as good as exact per-sample SGD."""

    rate = 2 * PerSample.rate
    options = {"replicas": 2, "n_jobs": 2}
    rows_of = {shape: 8 * n for shape, n in PerSample.rows_of.items()}


class MiniBatch(_Epoch):
    """Adam on batches of 128, rectified units."""

    rows_of = {"20-100-2": 1_280, "64-128-64-10": 384, "256-128-64-10": 256}
    params = [list(rows_of)]
    activation = "relu"
    rate = 1e-3
    options = {"optimizer": "adam", "batch_size": 128}
