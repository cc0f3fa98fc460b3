"""Saving and loading of networks."""

import tempfile
from pathlib import Path

import numpy as np

from benchmarks import measure
from benchmarks.problems import available, widths


class SaveLoad:
    """A network written to a file and read again."""

    params = [["4-8-3", "64-128-64-10"]]
    param_names = ["shape"]

    def setup(self, shape):
        self.save, self.load = available("fastnn:save"), available("fastnn:load")
        self.net = available("fastnn:Network")(widths(shape), random_state=0)
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name, "net.safetensors")
        self.save(self.path, self.net)

    def teardown(self, shape):
        self.folder.cleanup()

    def time_save(self, shape):
        self.save(self.path, self.net)

    def time_load(self, shape):
        self.load(self.path)

    def track_load_over_numpy(self, shape):
        other = self.path.with_suffix(".npz")
        np.savez(other, *self.net.weights, *self.net.biases)
        return measure.ratio(lambda: lambda: self.load(self.path), lambda: dict(np.load(other)))

    track_load_over_numpy.unit = "x loading its arrays by NumPy from an .npz"

    def track_save_over_numpy(self, shape):
        other = self.path.with_suffix(".npz")
        return measure.ratio(
            lambda: lambda: self.save(self.path, self.net),
            lambda: np.savez(other, *self.net.weights, *self.net.biases),
        )

    track_save_over_numpy.unit = "x saving its arrays by NumPy to an .npz"

    def track_size(self, shape):
        return self.path.stat().st_size

    track_size.unit = "bytes"
