"""One row at a time: `learn_one` and `predict_one` of the MLPs, without checks."""

import functools
import operator
import threading
from collections.abc import Callable
from itertools import chain
from types import MethodType
from typing import Any, Self

import numpy as np
from sklearn.base import is_classifier
from sklearn.utils.validation import check_is_fitted

from fastnn.estimators.optimizer import STOCHASTIC, Optimizer
from fastnn.estimators.stochastic import NON_FINITE
from fastnn.network import Network
from fastnn.online import OneRow
from fastnn.training import BLOCK_ROWS, is_linear

#: Parameters that `partial_fit` takes over at each call; the optimiser keeps those it began with.
RESUMED = ("hidden_layer_sizes", "activation", "loss", "loss_parameter")


_MONOTONE = ("log_loss", "cross_entropy")


def is_stochastic(estimator: Any) -> bool:
    """Return whether an estimator's solver goes by steps, else raise AttributeError."""
    return estimator._check_solver()


class _Stepping:
    """A method that is there where `is_stochastic`; `available_if` takes 0.4 us to find that."""

    def __init__(self, function: Callable) -> None:
        self._function = function
        functools.update_wrapper(self, function)  # type: ignore[arg-type]

    def __get__(self, instance: Any, owner: type | None = None) -> Callable:
        if instance is None:
            return self._function
        if instance.solver not in STOCHASTIC:
            is_stochastic(instance)  # raises
        return MethodType(self._function, instance)


class OneByOne:
    """What an MLP learns and predicts single rows with, until its arrays are others.

    Parameters
    ----------
    estimator : fitted MLP
    network : Network
        Its network.
    target : array (n_targets,)
        What `_encode_one` writes over.
    settings : tuple or None
        The estimator's parameters that `partial_fit` would take over; None if that is not done.
    """

    def __init__(
        self, estimator: Any, network: Network, target: np.ndarray, settings: tuple | None
    ) -> None:
        self._shown = estimator._views
        self.settings = settings
        self.row = OneRow(network.plan, network.parameters, target.size, weighted=True)
        self.row.y[:] = target
        self.lock = threading.Lock()
        self.optimizer: Optimizer | None = None
        # The order of the scores before these links tells the class.
        scores = is_classifier(estimator) and network.loss_name in _MONOTONE
        score, self.outputs = self.row.predictor(linked=not scores)
        #: Predicts the row: writes to ``outputs``, and returns 0.
        self.score, self.decode = score.run, estimator._decoder(0.0 if scores else 0.5)

    def shows(self, coefs: list[np.ndarray], intercepts: list[np.ndarray]) -> bool:
        """Return whether an estimator's arrays are still those of the network."""
        return all(map(operator.is_, chain(coefs, intercepts), self._shown))

    def goes_on(self, settings: tuple) -> bool:
        """Return whether rows are learnt under these very settings."""
        try:
            return settings == self.settings
        except ValueError:  # arrays of several numbers, which are not the same one
            return False

    def use(self, optimizer: Optimizer) -> None:
        """Prepare to learn with an optimiser."""
        self.optimizer = optimizer
        row, drops = self.row, optimizer.drops
        # As a batch of one row: its step is in proportion to its weight.
        rule = optimizer.rule._replace(mean=False)
        exact = is_linear(rule, row.rows) and not drops
        gradient = np.zeros_like(row.parameters)
        self._step = row.trainer(
            optimizer.plan(row.plan),
            rule,
            gradient,
            optimizer.state.slots,
            block=BLOCK_ROWS if exact else None,
        )
        self._take = row.guarded(self._step)
        self._floats, self._integers = self._step.floats[0], self._step.integers[0]
        self._rate = self._step.place("rate")
        self._t = None if exact else self._step.place("t")
        self._origin = self._step.place("plan.origin") if drops else None

    def learn(self, epochs: int, seen: int) -> float:
        """Make one step, after ``seen`` rows in all; return the loss before it."""
        optimizer = self.optimizer
        assert optimizer is not None
        state = optimizer.state
        optimizer.epoch_begins(epochs)
        self._floats[self._rate] = optimizer.learning_rate
        if self._t is not None:
            self._integers[self._t] = state.t
        if self._origin is not None:
            self._integers[self._origin] = seen
        loss = self._take()
        if loss is None:
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
    _online: OneByOne
    #: Returns, of all attributes, the parameters that `partial_fit` reads at each call.
    _online_settings: Callable[[dict], tuple]

    def _encode_one(self, y: Any, row: OneRow) -> None:
        """Write the target and the weight of one row."""
        raise NotImplementedError

    def _decoder(self, middle: float) -> Callable[[np.ndarray], Any]:
        """Return what makes the prediction for a row of its outputs.

        ``middle`` is where a single output of a class is undecided.
        """
        raise NotImplementedError

    def _target_row(self) -> np.ndarray:
        """Return a target as `_encode` makes them."""
        raise NotImplementedError

    def _weigh_classes(self) -> None:
        """Take over the weights of classes, as `partial_fit` does."""

    @_Stepping
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
        one, settings = self.__dict__.get("_online"), self._online_settings(self.__dict__)
        if one is None or not one.goes_on(settings) or not one.shows(self.coefs_, self.intercepts_):
            one = self._begin_online(settings)
        with one.lock:
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
        one = self.__dict__.get("_online")
        if one is None or not one.shows(self.coefs_, self.intercepts_):
            one = self._begin_online(None)
        with one.lock:
            one.row.x[:] = x
            if one.score():
                raise MemoryError
            return one.decode(one.outputs)

    def _begin_online(self, settings: tuple | None) -> OneByOne:
        """Return what rows are learnt with, under ``settings``, or only predicted with, if None."""
        check_is_fitted(self)
        if settings is None:
            network = self._synced()  # type: ignore[attr-defined]
        else:
            network = self._resume(self._sizes())  # type: ignore[attr-defined]
            self._weigh_classes()
        self._online = OneByOne(self, network, self._target_row(), settings)
        return self._online
