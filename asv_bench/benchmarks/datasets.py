"""Synthetic sources, whole and as streams of chunks; tables written to files and read again."""

import os
import tempfile
from pathlib import Path

import numpy as np

from benchmarks import measure
from benchmarks.problems import available, classes, row
from benchmarks.tables import SOURCES


class Sources:
    """Features and labels of each synthetic source."""

    params = [SOURCES]
    param_names = ["source"]

    def setup(self, source):
        row("fastnn.datasets:SYNTHETIC", source)
        self.source = available("fastnn.datasets:SYNTHETIC")[source]()

    def time_rows(self, source):
        self.source.rows(0, 10_000)

    def time_stream_of_chunks(self, source):
        for _ in self.source.chunks(40_000, 4_096):
            pass

    def time_partial_fit_on_chunks(self, source):
        model = available("fastnn:SGDClassifier")(random_state=0)
        labels = range(self.source.n_classes)
        for X, y in self.source.chunks(40_000, 4_096):
            model.partial_fit(X, y, classes=labels)

    def peakmem_rows(self, source):
        self.source.rows(0, 100_000)

    def peakmem_stream_of_chunks(self, source):
        for _ in self.source.chunks(100_000, 4_096):
            pass

    def peakmem_partial_fit_on_chunks(self, source):
        self.time_partial_fit_on_chunks(source)

    def track_rows_over_numpy_normals(self, source):
        return self.over_numpy_normals(lambda: self.source.rows(0, 10_000))

    def track_stream_over_numpy_normals(self, source):
        return self.over_numpy_normals(lambda: list(self.source.chunks(10_000, 1_000)))

    def over_numpy_normals(self, job):
        rng, out = np.random.default_rng(0), np.empty(50_000, np.float32)
        return measure.ratio(lambda: job, lambda: rng.standard_normal(out=out, dtype=np.float32))

    track_rows_over_numpy_normals.unit = "x drawing 50 000 normals by NumPy, for 10 000 rows"
    track_stream_over_numpy_normals.unit = track_rows_over_numpy_normals.unit

    def track_best_error(self, source):
        return 1 - self.source.best_accuracy

    track_best_error.unit = "share of wrong classes of the best classifier"


class Files:
    """A table of 2000 rows of 20 numbers and a class, by kind of file."""

    params = [[".csv", ".tsv", ".npy", ".npz"]]
    param_names = ["kind"]

    def setup(self, kind):
        self.write = available("fastnn.datasets:write_table")
        self.read = available("fastnn.datasets:read_table")
        self.X, self.y = classes(20, 2, 2_000)
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name, f"table{kind}")
        self.write(self.path, self.X, self.y)

    def teardown(self, kind):
        self.folder.cleanup()

    def read_back(self):
        self.read(self.path, -1 if self.path.suffix == ".npy" else "target")

    def time_read(self, kind):
        self.read_back()

    def peakmem_read(self, kind):
        self.read_back()

    def time_write(self, kind):
        self.write(self.path, self.X, self.y)

    def time_write_chunks(self, kind):
        writer = available("fastnn.datasets:TableWriter")
        with writer(self.path, *self.X.shape, target_name="target") as table:
            for start in range(0, len(self.X), 256):
                table.write(self.X[start : start + 256], self.y[start : start + 256])

    def track_read_over_numpy(self, kind):
        peers = {
            ".csv": lambda: np.loadtxt(self.path, np.float32, delimiter=",", skiprows=1),
            ".tsv": lambda: np.loadtxt(self.path, np.float32, delimiter="\t", skiprows=1),
            ".npy": lambda: [np.load(self.path) for _ in range(10)],
            ".npz": lambda: [dict(np.load(self.path)) for _ in range(5)],
        }
        return measure.ratio(lambda: self.read_back, peers[kind])

    track_read_over_numpy.unit = "x reading the table by NumPy (.npy 10 times, .npz 5 times)"

    def track_size(self, kind):
        return os.path.getsize(self.path)

    track_size.unit = "bytes"


class Parquet:
    """The same table in a Parquet file, which the package reads by pyarrow."""

    def setup(self):
        self.read = available("fastnn.datasets:read_table")
        table = available("pyarrow:table")
        self.by_pyarrow = available("pyarrow.parquet:read_table")
        X, y = classes(20, 2, 2_000)
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name, "table.parquet")
        columns = {f"x{j}": column for j, column in enumerate(X.T)}
        available("pyarrow.parquet:write_table")(table({**columns, "target": y}), self.path)

    def teardown(self):
        self.folder.cleanup()

    def read_back(self):
        self.read(self.path, "target")

    def time_read(self):
        self.read_back()

    def peakmem_read(self):
        self.read_back()

    def track_read_over_pyarrow(self):
        return measure.ratio(
            lambda: self.read_back, lambda: self.by_pyarrow(self.path, use_threads=False)
        )

    track_read_over_pyarrow.unit = "x reading it by pyarrow, in one thread"
