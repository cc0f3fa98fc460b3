"""`input_gradients`: how the loss or the prediction moves with the input."""

from typing import Any

import numpy as np

from fastnn.inputs import check_rows
from fastnn.inspect.models import as_subject, dense, one_hot
from fastnn.kernels import losses
from fastnn.kernels.functional import activation_, factors_, losses_, predict_


def input_gradients(model: Any, X: Any, y: Any = None) -> np.ndarray:
    """Return the derivatives with respect to the input, row by row: saliency, sensitivity.

    Parameters
    ----------
    model : Network, Model or fitted estimator
        The derivatives are in the units of its data; ``J`` is the network's.
    X : array-like or sparse matrix, shape (n, n_features)
    y : array-like, shape (n,) or (n, n_outputs), optional
        Targets, or labels of a classifier.

    Returns
    -------
    array (n, n_features) or (n, n_outputs, n_features)
        With ``y``, dJ/dx of each row's own loss ``J``; without, d output / dx of each output
        after the link.

    Raises
    ------
    ValueError, TypeError
        Bad input, as in `Network.loss`.

    Examples
    --------
    >>> from fastnn import Network, input_gradients
    >>> neuron = Network([2, 1], dtype="float64")
    >>> neuron.parameters[:] = [2.0, -1.0, 0.5]
    >>> input_gradients(neuron, [[0.0, 0.0]])
    array([[[ 2., -1.]]])
    """
    subject = as_subject(model)
    network = subject.network
    rows = check_rows(subject.rows(dense(X)), network.layer_sizes[0], network.dtype).dense
    code = losses.CODES[network.loss_name]
    weights, biases = network.weights, network.biases
    a, slopes = rows, []
    for l, activation in enumerate(network.plan.activations[:-1]):
        z = a @ weights[l] + biases[l]
        a, slope = np.empty_like(z), np.empty_like(z)
        activation_(activation, z.reshape(-1), a.reshape(-1), slope.reshape(-1))
        slopes.append(slope)
    Z = np.ascontiguousarray(a @ weights[-1] + biases[-1])
    if y is None:
        A, unused = np.empty_like(Z), np.empty_like(Z)
        delta = np.empty((*Z.shape, Z.shape[1]), Z.dtype)
        predict_(code, Z, A)
        factors_(code, Z, A, A, network.loss_parameter, unused, delta)
    else:
        _, targets, _ = network._check(rows, subject.targets(y), None)
        delta = np.empty_like(Z)
        Y = one_hot(targets.y, network)
        losses_(code, Z, Y, network.loss_parameter, np.empty(Z.shape[0], Z.dtype), delta)
        delta *= Z.dtype.type(network.loss_scale)
    for W, slope in zip(reversed(weights[1:]), reversed(slopes), strict=True):
        delta = (delta @ W.T) * (slope if y is not None else slope[:, None, :])
    gradient = delta @ weights[0].T
    if y is None:
        gradient *= gradient.dtype.type(subject.target_scale)
    gradient /= subject.feature_scale
    return gradient
