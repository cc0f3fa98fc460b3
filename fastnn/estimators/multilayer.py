"""What `MLPClassifier` and `MLPRegressor` share: parameters, fitting, prediction, state."""

import copy
import math
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
import scipy.sparse
from sklearn.base import BaseEstimator, _fit_context
from sklearn.metrics import get_scorer_names
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import HasMethods, Interval, Options, StrOptions
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from fastnn import schedules
from fastnn.estimators.callbacks import CallbackMixin
from fastnn.estimators.initial import draw_initial_, take_initial_
from fastnn.estimators.online import OnlineMixin
from fastnn.estimators.optimizer import STOCHASTIC, Optimizer, warn_of_ignored
from fastnn.estimators.quasi_newton import Minimization
from fastnn.estimators.stochastic import Descent, Task
from fastnn.estimators.validation import hold_out, take_validation
from fastnn.inputs import as_rows, n_rows
from fastnn.kernels import activations
from fastnn.kernels.plan import NO_NUMBERS, Targets
from fastnn.network import Network
from fastnn.orders import numbers_of
from fastnn.parallel import count_threads, team_of
from fastnn.replicas import OPTIMIZERS
from fastnn.training import score

FLOATS = (np.float64, np.float32)


class BaseMultilayerPerceptron(OnlineMixin, CallbackMixin, BaseEstimator):
    """Base of the two; the parameters are described there.

    ``coefs_`` and ``intercepts_`` are views of the flat parameter vector of a `Network`.  Arrays
    that a user puts in their place are taken over at the next call.
    """

    hidden_layer_sizes: Any
    activation: str | Sequence[str]
    solver: str
    alpha: float
    batch_size: int | str
    learning_rate: str
    learning_rate_init: float
    max_iter: int
    random_state: Any
    tol: float
    verbose: bool | int
    warm_start: bool
    early_stopping: bool
    loss: str
    loss_parameter: float | None
    coefs_init: Any
    intercepts_init: Any
    n_jobs: int | None
    replicas: int

    _parameter_constraints: ClassVar[dict] = {
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions(set(activations.CODES)), "array-like"],
        "solver": [StrOptions({"lbfgs", *STOCHASTIC})],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "learning_rate": [StrOptions({"constant", "invscaling", "adaptive"})],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "power_t": [Interval(Real, 0, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "shuffle": ["boolean"],
        "random_state": ["random_state"],
        "tol": [Interval(Real, 0, None, closed="left")],
        "verbose": ["verbose"],
        "warm_start": ["boolean"],
        "momentum": [Interval(Real, 0, 1, closed="both")],
        "nesterovs_momentum": ["boolean"],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="left")],
        "beta_1": [Interval(Real, 0, 1, closed="left")],
        "beta_2": [Interval(Real, 0, 1, closed="left")],
        "epsilon": [Interval(Real, 0, None, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left"), Options(Real, {np.inf})],
        "max_fun": [Interval(Integral, 1, None, closed="left")],
        "rho": [Interval(Real, 0, 1, closed="left")],
        "weight_decay": [Interval(Real, 0, None, closed="left"), None],
        "clip_norm": [Interval(Real, 0, None, closed="right"), None],
        "schedule": [StrOptions(set(schedules.TABLE)), HasMethods("rate"), None],
        "warmup_epochs": [Interval(Integral, 0, None, closed="left")],
        "loss_parameter": [Interval(Real, None, None, closed="neither"), None],
        "dropout": [Interval(Real, 0, 1, closed="left"), "array-like"],
        "input_dropout": [Interval(Real, 0, 1, closed="left")],
        "scoring": [StrOptions({"loss", *get_scorer_names()}), callable, None],
        "coefs_init": [list, tuple, None],
        "intercepts_init": [list, tuple, None],
        "n_jobs": [Integral, None],
        "replicas": [Interval(Integral, 1, None, closed="left")],
        "callbacks": "no_validation",  # `check_callbacks` does
    }

    # What the two do differently ------------------------------------------------------------

    def _validate_input(
        self, X: Any, y: Any, incremental: bool, reset: bool
    ) -> tuple[Any, np.ndarray]:
        """Return ``X`` and ``y`` checked by scikit-learn's rules."""
        raise NotImplementedError

    def _check_given(self, X: Any, y: Any) -> tuple[Any, np.ndarray]:
        """Return further rows and targets, checked to be of the kind of those before."""
        raise NotImplementedError

    def _kernel_loss(self) -> str:
        """Return the name of the loss in the kernels' table."""
        raise NotImplementedError

    def _encode(self, y: np.ndarray, dtype: np.dtype) -> np.ndarray:
        """Return the targets as the kernels take them, 2-D."""
        raise NotImplementedError

    def _count_outputs(self, y: np.ndarray) -> int:
        """Return how many outputs the network needs."""
        raise NotImplementedError

    def _held_score(self, outputs: np.ndarray, y: np.ndarray, weight: Any) -> float:
        """Return the default validation score of predictions after the link."""
        raise NotImplementedError

    def _weigh(
        self, y: np.ndarray, weight: np.ndarray | None, *, training: bool = False
    ) -> np.ndarray | None:
        """Return the weights of rows, those of their classes in the ``training`` rows included."""
        return weight

    def _numbers(self, y: np.ndarray) -> np.ndarray | None:
        """Return the targets as bytes, where they are numbers that fit."""
        return None

    def _soften_(self, targets: np.ndarray, order: np.ndarray) -> None:
        """Smooth the targets of the rows that are trained on."""

    # Fitting --------------------------------------------------------------------------------

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> Self:
        """Fit the model to rows ``X`` and targets ``y``.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows; float32 stays float32.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Class labels, an indicator matrix of labels, or numbers.
        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each row.  A row of weight 0 counts as absent.
        X_val, y_val : like X and y, default=None
            Rows to validate on: their loss is recorded in ``validation_loss_curve_``, and early
            stopping scores them instead of holding out rows.
        sample_weight_val : array-like, default=None
            Their weights.

        Returns
        -------
        self : object
        """
        held = None if X_val is None and y_val is None else (X_val, y_val, sample_weight_val)
        return self._fit(X, y, sample_weight, incremental=False, held=held)

    def _fit(
        self, X: Any, y: Any, sample_weight: Any, *, incremental: bool, held: tuple | None = None
    ) -> Self:
        """Check everything, then train with the solver."""
        self._hidden_sizes()
        given = X, y
        threads = count_threads(self.n_jobs)
        if self.solver == "lbfgs" and self.replicas > 1:
            raise ValueError(
                f"replicas={self.replicas} needs exact per-sample SGD: batch_size=1 and solver "
                f"{', '.join(OPTIMIZERS)}; got solver='lbfgs'"
            )
        first = not hasattr(self, "coefs_") or (not self.warm_start and not incremental)
        if self.early_stopping and incremental:
            raise ValueError("partial_fit does not support early_stopping=True")
        if first:
            warn_of_ignored(self)
        X, y = self._validate_input(X, y, incremental, first)
        weight = None
        if sample_weight is not None:
            weight = np.asarray(_check_sample_weight(sample_weight, X))
            if not weight.any():
                raise ValueError("sample_weight is zero for every row; nothing is left to train on")
        weight = self._weigh(y, weight, training=True)
        self.n_outputs_ = self._count_outputs(y)
        self._random_state = check_random_state(self.random_state)
        sizes = self._sizes()
        dtype = np.dtype(X.dtype) if first else self.coefs_[0].dtype
        numbers = self._numbers(y)
        encoded = np.empty((0, 1), dtype)
        if numbers is None:
            encoded = np.ascontiguousarray(self._encode(y, dtype))
        network = self._begin(sizes, dtype) if first else self._resume(sizes)
        rows = as_rows(X, dtype)
        targets = Targets(
            encoded,
            np.empty(0, dtype) if weight is None else np.ascontiguousarray(weight, dtype),
            NO_NUMBERS if numbers is None else numbers,
        )
        present = numbers_of(n_rows(rows)) if weight is None else np.flatnonzero(weight)
        task = Task(rows, targets, present)
        if self._kernel_loss() == "squared_error":
            task.loss_outputs = self.n_outputs_
        if held is not None:
            task.validation = take_validation(self, network, *held)
        elif self.early_stopping and self.solver in STOCHASTIC:
            hold_out(self, task, network, X, y, weight)
        self._soften_(encoded, task.order)
        with (
            team_of(threads) as task.team,
            self._hooks(
                self.max_iter, *given, sample_weight, self._snapshot, tasks=not incremental
            ) as hooks,
        ):
            if self.solver == "lbfgs":
                Minimization(self, network, task, hooks).run()
            else:
                if not incremental or not hasattr(self, "_optimizer"):
                    self._optimizer = Optimizer(self, network.parameters)
                Descent(self, network, task, self._optimizer, hooks).run(incremental)
        return self

    def _hidden_sizes(self) -> list[int]:
        sizes = self.hidden_layer_sizes
        sizes = list(sizes) if hasattr(sizes, "__iter__") else [sizes]
        if np.any(np.array(sizes) <= 0):
            raise ValueError(f"hidden_layer_sizes must be > 0, got {sizes}.")
        return sizes

    def _sizes(self) -> list[int]:
        """Return the widths of all layers that the parameters and the data ask for."""
        return [self.n_features_in_, *self._hidden_sizes(), self.n_outputs_]

    def _make_network(self, sizes: Sequence[int], dtype: np.dtype) -> Network:
        activation = self.activation
        return Network(
            sizes,
            activation=activation if isinstance(activation, str) else list(activation),
            loss=self._kernel_loss(),
            loss_parameter=self.loss_parameter,
            dtype=dtype,
            init="zeros",
        )

    def _begin(self, sizes: Sequence[int], dtype: np.dtype) -> Network:
        """Set up a fresh network with scikit-learn's initial weights, or the user's."""
        network = self._make_network(sizes, dtype)
        draw_initial_(network, self.activation, self._random_state)
        if self.coefs_init is not None:
            take_initial_("coefs_init", self.coefs_init, network.weights)
        if self.intercepts_init is not None:
            take_initial_("intercepts_init", self.intercepts_init, network.biases)
        self._expose(network)
        self.n_iter_ = 0
        self.t_ = 0
        self.n_layers_ = len(sizes)
        links = {"log_loss": "logistic", "cross_entropy": "softmax", "poisson": "exp"}
        self.out_activation_ = links.get(self._kernel_loss(), "identity")
        self.validation_loss_curve_: list[float] = []
        if self.solver in STOCHASTIC:
            self.loss_curve_: list[float] = []
            self._no_improvement_count = 0
            early = self.early_stopping
            self.validation_scores_: list[float] | None = [] if early else None
            self.best_validation_score_ = -math.inf if early else None
            self.best_loss_ = None if early else math.inf
        return network

    def _resume(self, sizes: Sequence[int]) -> Network:
        """Return the fitted network, under the parameters as they are set now."""
        fitted = self._synced()
        if tuple(sizes) != fitted.layer_sizes:
            raise ValueError(
                f"the fitted network has layers of {list(fitted.layer_sizes)} units, the "
                f"parameters and data ask for {list(sizes)}; fit anew with warm_start=False"
            )
        network = self._make_network(sizes, fitted.dtype)
        network.parameters[:] = fitted.parameters
        self._expose(network)
        return network

    # Prediction -----------------------------------------------------------------------------

    def _outputs(self, X: Any, *, linked: bool = True) -> np.ndarray:
        """Return the network's predictions, or its raw scores, (n, n_outputs)."""
        check_is_fitted(self)
        # Dense rows are searched for NaN and inf as they are scored, in the cache.
        options: dict[str, Any] = {"accept_sparse": ["csr", "csc"], "reset": False}
        sparse = scipy.sparse.issparse(X)
        found = validate_data(self, X, ensure_all_finite=sparse, **options)
        network = self._synced()
        rows = as_rows(found, network.dtype)
        with team_of(count_threads(self.n_jobs)) as team:
            try:
                return score(
                    network.plan, network.parameters, rows, n_rows(rows), linked=linked, team=team
                )[0]
            except ValueError:
                validate_data(self, X, **options)  # says so in scikit-learn's words
                raise  # infinite in the network's precision only

    # State ----------------------------------------------------------------------------------

    @property
    def network_(self) -> Network:
        """The trained `Network` itself, for `fastnn.explain` and its like."""
        check_is_fitted(self)
        return self._synced()

    def _snapshot(self) -> dict[str, Any]:
        """Return the fitted attributes as they stand, apart from those still in training."""
        network = _copied(self._network)
        W, b = network.weights, network.biases
        return {"_network": network, "coefs_": W, "intercepts_": b, "_views": (*W, *b)}

    def _expose(self, network: Network) -> None:
        """Show a network's parameters as ``coefs_`` and ``intercepts_``."""
        self._network = network
        self.coefs_ = network.weights
        self.intercepts_ = network.biases
        self._views = (*self.coefs_, *self.intercepts_)

    def _synced(self) -> Network:
        """Return the network, with the arrays that a user put into ``coefs_`` taken over."""
        shown = (*self.coefs_, *self.intercepts_)
        if len(shown) == len(self._views) and all(map(_same, shown, self._views)):
            return self._network
        network = _copied(self._network)  # another estimator may share it
        take_initial_("coefs_", self.coefs_, network.weights)
        take_initial_("intercepts_", self.intercepts_, network.biases)
        self._expose(network)
        return network

    def __getstate__(self) -> dict[str, Any]:
        """Leave the views out: copies of them would no longer be views."""
        if "_network" in self.__dict__:
            self._synced()
        hidden = ("coefs_", "intercepts_", "_views", "_online")
        return {name: value for name, value in super().__getstate__().items() if name not in hidden}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "_network" in self.__dict__:
            self._expose(self._network)

    def _check_solver(self) -> bool:
        if self.solver not in STOCHASTIC:
            raise AttributeError(
                "partial_fit is only available for stochastic optimizers. "
                f"{self.solver} is not stochastic."
            )
        return True

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def _copied(network: Network) -> Network:
    """Return a network with parameters of its own."""
    network = copy.copy(network)
    network._parameters = network.parameters.copy()
    return network


def _same(a: object, b: object) -> bool:
    return a is b
