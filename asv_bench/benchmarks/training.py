"""Epochs of `Network.fit`: their time, and the loss and the error they lead to."""

import inspect

from benchmarks import measure, reference
from benchmarks.problems import available, classes, multiply_adds, trained, widths

PEAK = "x FMA peak time"


class _Epoch:
    """One epoch of a fresh network, on rows that take a fraction of a millisecond."""

    param_names = ["shape"]
    options = {}
    alone = {}  # instead of some of the options, for the ratio
    rate = 0.05

    def setup(self, shape):
        self.network = available("fastnn:Network")
        self.sizes, self.n = widths(shape.split()[0]), self.rows_of[shape]
        X, y = classes(self.sizes[0], self.sizes[-1], self.n)
        self.X, self.y = measure.Movable(X), measure.Movable(y)
        self.job = self.prepare()

    def make(self):
        return self.network(
            self.sizes, activation=self.activation, loss="cross_entropy", random_state=0
        )

    def prepare(self, **changed):
        net, X, y = self.make(), self.X(), self.y()
        options = {"learning_rate": self.rate, **self.options, **changed}
        return lambda: net.fit(X, y, **options)

    def time_epoch(self, shape):
        self.job()

    def track_epoch_over_peak(self, shape):
        work = reference.multiply_adds(self.n * multiply_adds(self.sizes, backward=True))
        return measure.ratio(lambda: self.prepare(**self.alone), work)

    track_epoch_over_peak.unit = PEAK

    def learned(self):
        fitting = {"learning_rate": self.rate, **self.options}
        return trained(self.sizes, fitting, activation=self.activation)

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
    """Two replicas, by two threads, at twice the rate: to be as good as exact per-sample SGD.

    The ratio is that of one thread that does the work of both.
    """

    rate = 2 * PerSample.rate
    options = {"replicas": 2, "n_jobs": 2}
    alone = {"n_jobs": 1}
    # With two copies of 784-128-10 and their rows, the core's own cache would not hold it all.
    rows_of = {"2-16-2": 24_000, "20-32-2": 8_000, "64-64-10": 1_500, "196-64-10": 192}
    params = [list(rows_of)]


class MiniBatch(_Epoch):
    """Adam on batches, rectified units."""

    rows_of = {
        "20-100-2 by 32": 1_280,
        "20-100-2 by 128": 1_280,
        "20-100-2 by 200": 1_200,
        "64-128-64-10 by 128": 384,
        "256-128-64-10 by 128": 256,
        "784-256-128-10 by 128": 128,
    }
    params = [list(rows_of)]
    activation = "relu"
    rate = 1e-3

    def setup(self, shape):
        batch_size = int(shape.split(" by ")[1])
        self.options = {"optimizer": "adam", "batch_size": batch_size}
        super().setup(shape)


class Threads:
    """An epoch of Adam on batches of 512, 64-256-256-10, by the number of threads: wall-clock."""

    params = [[1, 2]]
    param_names = ["n_jobs"]

    def setup(self, n_jobs):
        self.network = available("fastnn:Network")
        if "n_jobs" not in inspect.signature(self.network.fit).parameters:
            raise NotImplementedError("no n_jobs")
        self.X, self.y = classes(64, 10, 4_096)

    def time_epoch(self, n_jobs):
        net = self.network([64, 256, 256, 10], loss="cross_entropy", random_state=0)
        net.fit(self.X, self.y, optimizer="adam", batch_size=512, n_jobs=n_jobs)


class Many:
    """Eight networks 20-32-2 that learn side by side from 2000 rows, a row at a time."""

    sizes, n, models = [20, 32, 2], 2_000, 8

    def setup(self):
        self.fit_many, self.network = available("fastnn:fit_many"), available("fastnn:Network")
        X, y = classes(20, 2, self.n)
        self.X, self.y = measure.Movable(X), measure.Movable(y)

    def prepare(self, models=models, n_jobs=None):
        X, y = self.X(), self.y()
        nets = [
            self.network(self.sizes, loss="cross_entropy", random_state=seed)
            for seed in range(models)
        ]
        return lambda: self.fit_many(nets, X, y, n_jobs=n_jobs)

    def time_fit_one_thread(self):
        self.prepare()()

    def time_fit_two_threads(self):
        self.prepare(n_jobs=2)()

    def peakmem_fit_two_threads(self):
        self.prepare(n_jobs=2)()

    def track_fit_over_peak(self):
        work = 2 * self.n * multiply_adds(self.sizes, backward=True)
        return measure.ratio(lambda: self.prepare(models=2), reference.multiply_adds(work))

    track_fit_over_peak.unit = PEAK + ", for two of the networks in one thread"
