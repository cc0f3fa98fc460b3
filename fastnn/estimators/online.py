"""One row at a time: `learn_one` and `predict_one` of the MLPs, without checks."""

import operator
from typing import Any, Self

import numpy as np
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from fastnn.estimators.optimizer import Optimizer
from fastnn.estimators.stochastic import NON_FINITE
from fastnn.network import Network
from fastnn.online import OneRow


def is_stochastic(estimator: Any) -> bool:
    """Return whether an estimator's solver goes by steps, else raise AttributeError."""
    return estimator._check_solver()


class OneByOne:
    """What an MLP learns and predicts single rows with, until its weights are others.

    Parameters
    ----------
    estimator : fitted MLP
    network : Network
        Its network.
    n_targets : int
        Columns of a target.
    """

    def __init__(self, estimator: Any, network: Network, n_targets: int) -> None:
        self.views = estimator._views
        self.row = OneRow(network.plan, network.parameters, n_targets, weighted=True)
        self.optimizer: Optimizer | None = None

    def shows(self, coefs: list[np.ndarray], intercepts: list[np.ndarray]) -> bool:
        """Return whether an estimator's arrays are still those of the network."""
        return all(map(operator.is_, (*coefs, *intercepts), self.views))

    def use(self, optimizer: Optimizer) -> None:
        """Prepare to learn with an optimiser."""
        self.optimizer = optimizer
        # As a batch of one row: its step is in proportion to its weight.
        self._rule = optimizer.rule._replace(mean=False)
        self._plan = optimizer.plan(self.row.plan)
        self._gradient = np.zeros_like(self.row.parameters)

    def learn(self, epochs: int, seen: int) -> float:
        """Make one step, after ``seen`` rows in all; return the loss before it."""
        optimizer, row = self.optimizer, self.row
        assert optimizer is not None
        optimizer.epoch_begins(epochs)
        state = optimizer.state
        plan = self._plan._replace(origin=seen) if optimizer.drops else self._plan
        loss = row.train(
            plan, self._rule, optimizer.learning_rate, self._gradient, state.slots, state.t
        )
        if row.undone:
            state.slots[:] = 0
            raise ValueError(
                f"{NON_FINITE} (row {seen + 1}, learning rate {optimizer.learning_rate:g}; the "
                "weights before the row are kept)"
            )
        state.t += 1
        optimizer.epoch_ends(seen + 1)
        return loss


class OnlineMixin:
    """Gives an MLP `learn_one` and `predict_one`."""

    coefs_: list[np.ndarray]
    intercepts_: list[np.ndarray]
    max_iter: int
    t_: int
    _optimizer: Optimizer

    def _encode_one(self, y: Any, row: OneRow) -> None:
        """Write the target and the weight of one row."""
        raise NotImplementedError

    def _decode_one(self, row: OneRow) -> Any:
        """Return the prediction for the row."""
        raise NotImplementedError

    def _target_row(self) -> np.ndarray:
        """Return a target as `_encode` makes them."""
        raise NotImplementedError

    @available_if(is_stochastic)
    def learn_one(self, x: Any, y: Any) -> Self:
        """Make one step on one row, as `partial_fit` does on it, but without any checks.

        It goes on from any fit, also one that was stopped early; an "adaptive" rate stays.

        Parameters
        ----------
        x : array-like of shape (n_features,)
            The row.
        y : label or number, or one per column
            Its target; a class that the model has seen or was told of.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            An unknown class, or the step would have made a weight NaN or inf; it is not made.
        """
        one = self._one_by_one()
        if one.optimizer is None or one.optimizer is not self._optimizer:
            if not hasattr(self, "_optimizer"):  # after a fit by "lbfgs"
                self._optimizer = Optimizer(self, one.row.parameters)
            one.use(self._optimizer)
        one.row.x[:] = x
        self._encode_one(y, one.row)
        self.loss_ = one.learn(self.max_iter, self.t_)
        self.t_ += 1
        return self

    def predict_one(self, x: Any) -> Any:
        """Return the prediction for one row, as `predict` does, but without any checks.

        Parameters
        ----------
        x : array-like of shape (n_features,)
            The row.

        Returns
        -------
        label or float, or array of them where the target has many columns
        """
        row = self._one_by_one().row
        row.x[:] = x
        return self._decode_one(row)

    def _one_by_one(self) -> OneByOne:
        one = self.__dict__.get("_online")
        if one is None or not one.shows(self.coefs_, self.intercepts_):
            check_is_fitted(self)
            network = self._synced()  # type: ignore[attr-defined]
            one = self._online = OneByOne(self, network, self._target_row().size)
            one.row.y[:] = self._target_row()
        return one
