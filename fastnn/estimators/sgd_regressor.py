"""Linear regression trained by stochastic gradient descent, with scikit-learn's interface."""

from collections.abc import Mapping
from numbers import Real
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import RegressorMixin, _fit_context
from sklearn.metrics import r2_score
from sklearn.model_selection import ShuffleSplit
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.extmath import safe_sparse_dot
from sklearn.utils.validation import check_is_fitted, validate_data

from fastnn.estimators.callbacks import Hooks
from fastnn.estimators.parameters import store_parameters
from fastnn.estimators.sgd_base import MAX_SEED, BaseSGD
from fastnn.estimators.sgd_batches import has_batches
from fastnn.estimators.sgd_training import Parameters, loss_number, make_rule, train
from fastnn.estimators.sgd_validation import Held, make_judge, take_held
from fastnn.inputs import as_rows
from fastnn.kernels import losses
from fastnn.kernels.linear import train_rows_
from fastnn.kernels.linear_losses import TABLE, LinearLoss
from fastnn.network import Network


class SGDRegressor(RegressorMixin, BaseSGD):
    """Linear regression trained by stochastic gradient descent.

    Parameters, attributes, numbers and messages are those of scikit-learn 1.9's class of this
    name; what is below ``early_stopping``, `learn_one` and `predict_one` come on top.

    Parameters
    ----------
    loss : str, default="squared_error"
        "squared_error", "huber", "epsilon_insensitive", "squared_epsilon_insensitive",
        "absolute_error" (the median), "quantile", or "poisson" of counts, which predicts
        ``exp(x.coef + intercept)``.
    penalty, alpha, l1_ratio, fit_intercept, max_iter, tol, shuffle, verbose, epsilon
        As in `SGDClassifier`.
    random_state, eta0, validation_fraction, n_iter_no_change, warm_start, average
        As in `SGDClassifier`.
    learning_rate : str, default="invscaling"
        As in `SGDClassifier`; "pa1" and "pa2" go with the epsilon-insensitive loss.
    power_t : float, default=0.25
        As in `SGDClassifier`.
    early_stopping : bool, default=False
        Whether a part of the rows is held out, whose R² ends training.
    loss_parameter : float or None, default=None
        The quantile of "quantile", between 0 and 1; None is 0.5.
    optimizer, batch_size, momentum, beta_1, beta_2, rho, optimizer_epsilon, weight_decay
        As in `SGDClassifier`.
    clip_norm, schedule, warmup_epochs, restore_best, callbacks
        As in `SGDClassifier`.
    scoring : str, callable or None, default=None
        What early stopping watches: a scorer of scikit-learn, "loss" for the validation loss, None
        for R².

    Attributes
    ----------
    coef_ : array (n_features,)
        Weights, in the precision of ``X``.
    intercept_ : array (1,)
        The intercept.
    n_iter_ : int
        Epochs made.
    t_ : float
        One more than the steps made, ``n_iter_ * n_samples`` with batches of one.
    loss_curve_, validation_loss_curve_, validation_scores_, best_validation_score_
        As in `SGDClassifier`.
    n_features_in_ : int
        Features seen by `fit`.
    feature_names_in_ : array (n_features_in_,)
        Their names, where they are all strings.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn import SGDRegressor
    >>> X = np.linspace(-1, 1, 50).reshape(-1, 1)
    >>> model = SGDRegressor(random_state=0, tol=1e-6).fit(X, 2 * X[:, 0] + 1)
    >>> print(model.predict([[0.5]]).round(1))
    [2.]

    The 90 % quantile, by mini-batches and Adam:

    >>> y = np.random.RandomState(0).normal(X[:, 0])
    >>> model = SGDRegressor("quantile", loss_parameter=0.9, optimizer="adam", batch_size=10)
    >>> model = model.set_params(random_state=0, tol=1e-5).fit(X, y)
    >>> print((y < model.predict(X)).mean().round(1))
    0.9
    """

    loss_functions: ClassVar[Mapping[str, LinearLoss]] = {
        name: loss for name, loss in TABLE.items() if loss.regression
    }
    _passive_aggressive_loss = "epsilon_insensitive"
    _parameter_constraints: ClassVar[dict] = {
        **BaseSGD._parameter_constraints,
        "loss": [StrOptions(set(loss_functions))],
        "loss_parameter": [Real, None],
    }

    def __init__(
        self,
        loss: str = "squared_error",
        *,
        penalty: str | None = "l2",
        alpha: float = 0.0001,
        l1_ratio: float | None = 0.15,
        fit_intercept: bool = True,
        max_iter: int = 1000,
        tol: float | None = 1e-3,
        shuffle: bool = True,
        verbose: int = 0,
        epsilon: float = 0.1,
        random_state: Any = None,
        learning_rate: str = "invscaling",
        eta0: float = 0.01,
        power_t: float = 0.25,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 5,
        warm_start: bool = False,
        average: bool | int = False,
        loss_parameter: float | None = None,
        optimizer: str = "sgd",
        batch_size: int | None = 1,
        momentum: float = 0.9,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        rho: float = 0.99,
        optimizer_epsilon: float | None = None,
        weight_decay: float | None = None,
        clip_norm: float | None = None,
        schedule: Any = None,
        warmup_epochs: int = 0,
        scoring: Any = None,
        restore_best: bool | None = None,
        callbacks: Any = (),
    ) -> None:
        store_parameters(self, locals())

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: Any,
        y: Any,
        coef_init: Any = None,
        intercept_init: Any = None,
        sample_weight: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> Self:
        """Fit the model.

        Parameters
        ----------
        X : array-like or sparse matrix, shape (n_samples, n_features)
            Rows; float32 is trained in float32, all else in float64.
        y : array-like, shape (n_samples,)
            Targets.
        coef_init : array-like, shape (n_features,), or None
            Weights to start from.
        intercept_init : array-like, shape (1,), or None
            Intercept to start from.
        sample_weight : array-like, shape (n_samples,), or None
            Weights of the rows.
        X_val, y_val : like X and y, or None
            Rows to validate on: their loss is recorded, and early stopping scores them instead of
            holding out rows.
        sample_weight_val : array-like or None
            Their weights.

        Returns
        -------
        self
        """
        self._check_settings()
        given = X, y
        X, y = self._check_data(X, y, reset=True)
        own = None
        if X_val is not None or y_val is not None:
            own = take_held(self, X_val, y_val, sample_weight_val)
        if self.warm_start and getattr(self, "coef_", None) is not None:
            coef_init = self.coef_ if coef_init is None else coef_init
            intercept_init = self.intercept_ if intercept_init is None else intercept_init
        parameters = self._initial((1, X.shape[1]), X.dtype, coef_init, intercept_init)
        self._start_anew()
        with self._hooks(self.max_iter, *given, sample_weight, self._snapshot) as hooks:
            self._train(X, y, sample_weight, parameters, self.max_iter, hooks, own)
        self._warn_after_fit()
        return self

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train one epoch on the given rows, going on from the model so far.

        Parameters
        ----------
        X : array-like or sparse matrix, shape (n_samples, n_features)
            Rows.
        y : array-like, shape (n_samples,)
            Targets.
        sample_weight : array-like, shape (n_samples,), or None
            Weights of the rows.

        Returns
        -------
        self
        """
        first = getattr(self, "coef_", None) is None
        if first or self.schedule is not None:
            self._check_settings(partial=True)
        X, y = self._check_data(X, y, reset=first)
        if first:
            parameters = self._initial((1, X.shape[1]), X.dtype, None, None)
        else:
            parameters = self._current((1, X.shape[1]))
        if not hasattr(self, "t_"):
            self.t_ = 1.0
        return self._train(X, y, sample_weight, parameters, 1, Hooks())

    def _train(
        self,
        X: Any,
        y: np.ndarray,
        sample_weight: Any,
        parameters: Parameters,
        max_iter: int,
        hooks: Hooks,
        own: Held | None = None,
    ) -> Self:
        y = self._check_targets(np.ascontiguousarray(y, X.dtype))
        X, y, weight = self._present(X, y, self._check_weight(sample_weight, X))
        rows = as_rows(X, X.dtype)
        held_out = None if own is not None else self._held_out(ShuffleSplit, y, weight)
        held = own or self._held(X, y, weight, held_out)
        judge = None
        if held is not None:
            judge = make_judge(self, held, self._check_targets(held.y, "y_val"), self._r2)
        stopping = self._stopping(max_iter, held_out, judge)
        state = check_random_state(self.random_state)
        seed = self._seed(state)
        state.randint(1, MAX_SEED)  # scikit-learn draws one more, for its data set
        warmup_steps = self.warmup_epochs * self._steps(X.shape[0]) if max_iter > 1 else 0
        rule = make_rule(
            self, sparse=rows.indptr.size > 0, stopping=stopping, warmup_steps=warmup_steps
        )
        self._prepare_batches([slice(None)], parameters.W)
        model = parameters.model(slice(None))
        self._in_training = [model]
        course = train(
            **self._steppers(train_rows_, rule, y, weight, held_out), rule=rule, model=model,
            rows=rows, y=y, weight=weight, t=self.t_, seed=seed, stopping=stopping, hooks=hooks,
        )  # fmt: skip
        self.n_iter_ = course.n_iter
        self.t_ += self.n_iter_ * self._steps(X.shape[0])
        self._report([course])
        self._publish(parameters)
        del self._in_training
        return self

    def _check_settings(self, partial: bool = False) -> None:
        number = self.loss_parameter
        if self.loss == "quantile" and number is not None and not 0 < number < 1:
            raise ValueError(
                f"loss_parameter must be between 0 and 1 with loss='quantile', got {number!r}"
            )
        super()._check_settings(partial)

    def _check_targets(self, y: np.ndarray, name: str = "y") -> np.ndarray:
        """Return targets that the loss takes: counts must not be negative."""
        if self.loss == "poisson" and y.size and y.min() < 0:
            raise ValueError(f"loss='poisson' takes targets of 0 or more, {name} holds {y.min()}")
        return y

    def _link(self, scores: np.ndarray) -> np.ndarray:
        """Return the predictions of scores."""
        return np.exp(scores) if self.loss == "poisson" else scores

    def _r2(self, y: np.ndarray, scores: np.ndarray, weight: np.ndarray | None) -> float:
        return float(r2_score(y, self._link(scores[:, 0]), sample_weight=weight))

    def _shaped(self, W: np.ndarray) -> np.ndarray:
        return W.ravel()

    def _outputs(self, n_outputs: int) -> tuple[list[slice], Any]:
        return [slice(None)], train_rows_

    def _binary_weights(self, n_outputs: int) -> list[tuple[float, float]]:
        return [(1.0, 1.0)]

    def learn_one(self, x: Any, y: float) -> Self:
        """Train on one row without checking it; as ``partial_fit([x], [y])``, but quickly.

        Parameters
        ----------
        x : array-like, shape (n_features,)
            Finite numbers.
        y : float
            Target.

        Returns
        -------
        self
        """
        if not hasattr(self, "coef_") or has_batches(self):
            return self.partial_fit(np.reshape(x, (1, -1)), [y])
        online = self._online()
        with online.lock:
            online.x[:] = x
            online.y[0] = y
            online.learn(self)
        return self

    def predict_one(self, x: Any) -> float:
        """Return the prediction for one row, without checking it.

        Parameters
        ----------
        x : array-like, shape (n_features,)
            Finite numbers.
        """
        return float(self._link(self.coef_ @ np.asarray(x) + self.intercept_[0]))

    @property
    def network_(self) -> Network:
        """The model as a `Network`, for `fastnn.explain` and its like."""
        if self.loss not in losses.TABLE:
            raise ValueError(f"a Network has no loss {self.loss!r}")
        has_number = losses.TABLE[self.loss].parameter is not None
        return self._linear_network(self.loss, loss_number(self) if has_number else None)

    def predict(self, X: Any) -> np.ndarray:
        """Return the prediction for each row.

        Parameters
        ----------
        X : array-like or sparse matrix, shape (n_samples, n_features)
            Rows.

        Returns
        -------
        array (n_samples,)
        """
        check_is_fitted(self)
        X = validate_data(self, X, accept_sparse="csr", reset=False)
        scores = safe_sparse_dot(X, self.coef_.T, dense_output=True) + self.intercept_
        return self._link(scores.ravel())
