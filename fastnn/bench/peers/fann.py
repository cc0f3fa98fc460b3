"""FANN, the Fast Artificial Neural Network Library, in C: incremental training, one row a step.

It has no softmax; it races on the squared error of a linear output, and fastnn is timed on that
too.  Rows are in the order of each epoch before the clock starts.
"""

import ctypes
import ctypes.util
import dataclasses
from typing import Any

import numpy as np

from fastnn.bench.tasks import Training

LINEAR, SIGMOID = 0, 3  # of its enumeration of activations
INCREMENTAL = 0  # of its training algorithms
PLAIN_DIFFERENCE = 0  # of its error functions; the other one bends large errors
LIBRARIES = {"float32": "floatfann", "float64": "doublefann"}


def missing() -> str | None:
    """Return why FANN cannot take part."""
    return None if ctypes.util.find_library("floatfann") else "the library libfann is not installed"


def task(task: Any) -> Any:
    """Return the task with a loss that FANN has."""
    if isinstance(task, Training):
        return dataclasses.replace(task, loss="squared_error")
    return task


def _structures(real: Any) -> tuple[Any, Any]:
    """Return the C structures of a network, as far as its weights, and of training rows."""
    head = (
        ("errno", ctypes.c_int),
        ("error_log", ctypes.c_void_p),
        ("errstr", ctypes.c_char_p),
    )

    class Network(ctypes.Structure):
        _fields_ = (
            *head,
            ("learning_rate", ctypes.c_float),
            ("learning_momentum", ctypes.c_float),
            ("connection_rate", ctypes.c_float),
            ("network_type", ctypes.c_int),
            ("first_layer", ctypes.c_void_p),
            ("last_layer", ctypes.c_void_p),
            ("total_neurons", ctypes.c_uint),
            ("num_input", ctypes.c_uint),
            ("num_output", ctypes.c_uint),
            ("weights", ctypes.POINTER(real)),
        )

    class Rows(ctypes.Structure):
        _fields_ = (
            *head,
            ("num_data", ctypes.c_uint),
            ("num_input", ctypes.c_uint),
            ("num_output", ctypes.c_uint),
            ("input", ctypes.POINTER(ctypes.POINTER(real))),
            ("output", ctypes.POINTER(ctypes.POINTER(real))),
        )

    return ctypes.POINTER(Network), ctypes.POINTER(Rows)


class Train:
    """``fann_train_epoch`` on rows that are in order already."""

    def __init__(self, task: Training) -> None:
        self._task = task
        real: Any = ctypes.c_double if task.dtype == "float64" else ctypes.c_float
        lib = self._lib = ctypes.CDLL(ctypes.util.find_library(LIBRARIES[task.dtype]))
        network, rows = _structures(real)
        lib.fann_create_standard_array.restype = network
        lib.fann_create_train.restype = rows
        lib.fann_get_total_connections.restype = ctypes.c_uint
        self._epochs: list = []
        sizes = (ctypes.c_uint * len(task.sizes))(*task.sizes)
        net = self._net = lib.fann_create_standard_array(len(sizes), sizes)
        lib.fann_set_training_algorithm(net, INCREMENTAL)
        lib.fann_set_train_error_function(net, PLAIN_DIFFERENCE)
        lib.fann_set_learning_rate(net, ctypes.c_float(task.learning_rate))
        lib.fann_set_learning_momentum(net, ctypes.c_float(0))
        # Its sigmoid is 1 / (1 + exp(-2 steepness z)), its linear function steepness z.
        lib.fann_set_activation_function_hidden(net, SIGMOID)
        lib.fann_set_activation_steepness_hidden(net, real(0.5))
        lib.fann_set_activation_function_output(net, LINEAR)
        lib.fann_set_activation_steepness_output(net, real(1))
        self._places = self._find_places()
        self._weights = np.ctypeslib.as_array(net.contents.weights, self._places.shape)

    def __del__(self) -> None:
        for rows in getattr(self, "_epochs", ()):
            self._lib.fann_destroy_train(rows)
        if hasattr(self, "_net"):
            self._lib.fann_destroy(self._net)

    def _find_places(self) -> np.ndarray:
        """Return where each of its weights is in the flat vector of a `fastnn.Network`.

        Neurons are numbered layer by layer, each layer's bias after its neurons.
        """
        count = self._lib.fann_get_total_connections(self._net)
        fields = [("source", np.uintc), ("target", np.uintc), ("weight", self._task.dtype)]
        connections = np.empty(count, np.dtype(fields, align=True))
        self._lib.fann_get_connection_array(self._net, ctypes.c_void_p(connections.ctypes.data))
        source, target = (connections[name].astype(np.int64) for name in ("source", "target"))
        widths = np.array(self._task.sizes)
        first = np.concatenate([[0], np.cumsum(widths + 1)[:-1]])
        start = np.concatenate([[0], np.cumsum((widths[:-1] + 1) * widths[1:])])
        l = np.searchsorted(first, source, side="right") - 1
        return start[l] + (source - first[l]) * widths[l + 1] + target - first[l + 1]

    def _rows(self, order: np.ndarray) -> Any:
        """Return the rows of an epoch."""
        task = self._task
        rows = self._lib.fann_create_train(task.n, task.sizes[0], task.sizes[-1])
        for held, values in ((rows.contents.input, task.X), (rows.contents.output, task.onehot)):
            np.ctypeslib.as_array(held[0], values.shape)[:] = values[order]
        return rows

    def run(self, times: int) -> None:
        """Train for so many epochs."""
        for order in self._task.orders(times)[len(self._epochs) :]:
            self._epochs.append(self._rows(order))
        self._weights[:] = self._task.initial[self._places]
        for rows in self._epochs[:times]:
            self._lib.fann_train_epoch(self._net, rows)

    def result(self) -> np.ndarray:
        """Return the parameters."""
        parameters = np.empty_like(self._weights)
        parameters[self._places] = self._weights
        return parameters


def contender(task: Any) -> Any:
    """Return FANN's way of doing a task, or None."""
    if not isinstance(task, Training) or task.batch_size > 1 or task.activation != "sigmoid":
        return None
    return Train(task) if task.optimizer == "sgd" else None
