"""Initial weights of an MLP, drawn as scikit-learn draws them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastnn.inputs import as_numbers
from fastnn.network import Network


def draw_initial_(
    network: Network, activation: str | Sequence[str], rng: np.random.RandomState
) -> None:
    """Write uniform weights and biases, of variance 2 / (n_in + n_out), a third of it if logistic.

    Layer by layer, weights before biases: the order in which scikit-learn asks its generator.
    """
    if isinstance(activation, str):
        names = [activation] * len(network.weights)
    else:  # the output layer's bounds follow the layer below
        names = [*activation, *(activation[-1:] or ["relu"])]
    for name, W, b in zip(names, network.weights, network.biases, strict=True):
        factor = 2.0 if name in ("logistic", "sigmoid") else 6.0
        bound = np.sqrt(factor / sum(W.shape))
        W[:] = rng.uniform(-bound, bound, W.shape)
        b[:] = rng.uniform(-bound, bound, b.shape)


def take_initial_(name: str, given: Any, views: list[np.ndarray]) -> None:
    """Write a user's own initial arrays over the drawn ones.

    Raises
    ------
    ValueError
        Another number of arrays or another shape, or a value that is not finite.
    """
    if len(given) != len(views):
        raise ValueError(f"{name} must hold {len(views)} arrays, one per layer, got {len(given)}")
    for layer, (values, view) in enumerate(zip(given, views, strict=True)):
        array = as_numbers(values, view.dtype, f"{name}[{layer}]")
        if array.shape != view.shape:
            raise ValueError(f"{name}[{layer}] must have shape {view.shape}, got {array.shape}")
        if not np.isfinite(array).all():
            raise ValueError(f"{name}[{layer}] must be finite")
        view[:] = array
