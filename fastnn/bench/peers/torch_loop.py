"""PyTorch: modules, autograd and an optimiser in the usual loop, on one thread."""

import importlib.util
from typing import Any

import numpy as np

from fastnn.bench.tasks import Dense, Prediction, Training, unpack


def missing() -> str | None:
    """Return why PyTorch cannot take part."""
    return None if importlib.util.find_spec("torch") else "torch is not installed"


def module(task: Dense) -> Any:
    """Return a task's network with its initial weights."""
    import torch

    torch.set_num_threads(1)
    layers: list[Any] = []
    for W, b in unpack(task.initial, task.sizes):
        n_in, n_out = W.shape
        linear = torch.nn.Linear(n_in, n_out, dtype=getattr(torch, task.dtype))
        with torch.no_grad():
            linear.weight.copy_(torch.tensor(W.T))
            linear.bias.copy_(torch.tensor(b))
        layers += [linear, torch.nn.ReLU() if task.activation == "relu" else torch.nn.Sigmoid()]
    return torch.nn.Sequential(*layers[:-1])


class Train:
    """One step a batch; a row alone is a batch without an axis for the rows."""

    def __init__(self, task: Training) -> None:
        import torch

        self._task = task
        self._X = torch.tensor(task.X)
        self._y = torch.tensor(task.labels)
        self._orders: list = []

    def run(self, times: int) -> None:
        """Train for so many epochs."""
        import torch
        from torch.nn.functional import cross_entropy

        task, X, y = self._task, self._X, self._y
        for order in task.orders(times)[len(self._orders) :]:
            batches = torch.tensor(order)
            self._orders.append(
                order.tolist() if task.batch_size == 1 else batches.split(task.batch_size)
            )
        net = self._net = module(task)
        if task.optimizer == "adam":
            optimizer: Any = torch.optim.Adam(net.parameters(), lr=task.learning_rate, fused=True)
        else:
            optimizer = torch.optim.SGD(net.parameters(), lr=task.learning_rate)
        for order in self._orders[:times]:
            for i in order:
                optimizer.zero_grad()
                cross_entropy(net(X[i]), y[i]).backward()
                optimizer.step()

    def result(self) -> np.ndarray:
        """Return the parameters."""
        parts = [p.detach().numpy().T for p in self._net.parameters()]
        return np.concatenate([part.ravel() for part in parts])


class Predict:
    """A forward pass over all rows, without gradients."""

    def __init__(self, task: Prediction) -> None:
        import torch

        self._X = torch.tensor(task.X)
        self._net = module(task)

    def run(self, times: int) -> None:
        """Predict so many times."""
        import torch

        with torch.inference_mode():
            for _ in range(times):
                self._outputs = torch.softmax(self._net(self._X), 1)

    def result(self) -> np.ndarray:
        """Return the probabilities."""
        return self._outputs.numpy()


def contender(task: Any) -> Any:
    """Return PyTorch's way of doing a task, or None."""
    if isinstance(task, Training):
        return Train(task) if task.loss == "cross_entropy" else None
    return Predict(task) if isinstance(task, Prediction) else None
