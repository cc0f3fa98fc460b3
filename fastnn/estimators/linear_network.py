"""A linear model as a `Network` of one layer."""

from typing import Any

import numpy as np
from scipy import sparse

from fastnn.network import Network


def linear_network(
    coef: Any, intercept: Any, loss: str, loss_parameter: float | None = None
) -> Network:
    """Return the network of no hidden layer with the weights of a linear model.

    Parameters
    ----------
    coef : array or sparse matrix of shape (n_features,) or (n_outputs, n_features)
    intercept : array of shape (n_outputs,)
    loss : str
        Of the network.
    loss_parameter : float, optional
        The loss's own parameter.
    """
    W = np.atleast_2d(coef.toarray() if sparse.issparse(coef) else coef)
    network = Network(
        W.shape[::-1], loss=loss, dtype=W.dtype, init="zeros", loss_parameter=loss_parameter
    )
    network.weights[0][:] = W.T
    network.biases[0][:] = intercept
    return network
