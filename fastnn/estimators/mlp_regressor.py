"""`MLPRegressor`: scikit-learn's network over fastnn's kernels."""

import operator
from collections.abc import Callable
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import RegressorMixin, _fit_context
from sklearn.metrics import r2_score
from sklearn.utils import column_or_1d
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import validate_data

from fastnn.estimators.multilayer import FLOATS, BaseMultilayerPerceptron
from fastnn.estimators.online import RESUMED, is_stochastic
from fastnn.estimators.parameters import store_parameters
from fastnn.estimators.validation import check_given
from fastnn.inputs import check_targets
from fastnn.kernels import losses
from fastnn.online import OneRow


class MLPRegressor(RegressorMixin, BaseMultilayerPerceptron):
    """Regressor: a network of dense layers.

    With scikit-learn's parameters it is scikit-learn's model: the same initial weights, orders and
    steps, hence the same numbers, to rounding.

    Parameters
    ----------
    loss : str, default="squared_error"
        "squared_error", "absolute_error", "huber", "quantile"; "poisson" for counts, which
        predicts ``exp(z)``; "log_loss" and "cross_entropy" for probabilities.
    hidden_layer_sizes : int or sequence of int, default=(100,)
        Units of each hidden layer; () for none.
    activation : str or sequence of str, default="relu"
        Of the hidden layers, one name for all or one per layer: "identity", "logistic", "tanh",
        "relu", "leaky_relu", "elu", "softplus", "silu", "gelu" or "square".
    solver : str, default="adam"
        "lbfgs"; "sgd" (with ``momentum``), "adam"; "momentum", "nesterov", "adamw", "rmsprop" or
        "adagrad".
    alpha : float, default=0.0001
        L2 penalty ``alpha/2 |W|^2``, divided by the (weighted) rows of a batch.
    batch_size : int or "auto", default="auto"
        Rows a step; "auto" is ``min(200, n_samples)``.
    learning_rate : {"constant", "invscaling", "adaptive"}, default="constant"
        How the rate goes on, except with "lbfgs" and "adam": ``learning_rate_init / t^power_t``
        with ``t`` in rows, or divided by 5 each time training stands still.
    learning_rate_init : float, default=0.001
        Initial rate.
    power_t : float, default=0.5
        Exponent of "invscaling".
    max_iter : int, default=200
        The most epochs, or iterations of "lbfgs".
    shuffle : bool, default=True
        Whether each epoch draws a new order.
    random_state : int, RandomState instance or None, default=None
        Draws the initial weights, the validation split and the orders.
    tol : float, default=1e-4
        Least improvement that counts; the gradient tolerance of "lbfgs".
    verbose : bool or int, default=False
        True shows a progress bar, 2 prints a line per epoch.
    warm_start : bool, default=False
        Whether `fit` goes on from the weights of the last one.
    momentum : float, default=0.9
        Of "sgd", "momentum" and "nesterov".
    nesterovs_momentum : bool, default=True
        Whether the momentum of "sgd" is Nesterov's.
    early_stopping : bool, default=False
        Whether rows are held out, training ends when their score no longer rises, and the best
        weights are restored.
    validation_fraction : float, default=0.1
        Part of the rows that is held out.
    beta_1, beta_2 : float, default=0.9, 0.999
        Decay of the moments of "adam" and "adamw".
    epsilon : float, default=1e-8
        Against division by zero, in "adam", "adamw", "rmsprop" and "adagrad".
    n_iter_no_change : int, default=10
        Epochs without improvement that are borne.
    max_fun : int, default=15000
        The most evaluations of the loss by "lbfgs".
    rho : float, default=0.99
        Decay of the squares of "rmsprop".
    weight_decay : float or None, default=None
        Decoupled decay: each step first takes ``rate * weight_decay * W`` from the weights,
        whatever the batch size.  None is 0.01 for "adamw", else 0.
    clip_norm : float or None, default=None
        Largest norm of the gradient of a batch.
    schedule : str, schedule or None, default=None
        "constant", "invscaling", "step", "cosine", "adaptive" or an instance from
        `fastnn.schedules`, by epochs, for any stochastic solver; takes the place of
        ``learning_rate``.
    warmup_epochs : int, default=0
        Epochs in which the rate first rises linearly.
    loss_parameter : float or None, default=None
        The "delta" of "huber" (1 if None) or the "quantile" of "quantile" (0.5 if None).
    dropout : float or sequence of float, default=0.0
        Rate at which outputs of the hidden layers are set to 0 in training, the others being
        divided by ``1 - dropout``; one for all hidden layers or one for each.
    input_dropout : float, default=0.0
        The same for the features.
    scoring : str, callable or None, default=None
        What early stopping watches: a scorer of scikit-learn, "loss" for the validation loss,
        None for R^2.
    coefs_init, intercepts_init : list of array or None, default=None
        Initial weights and biases of each layer in place of the drawn ones.
    callbacks : sequence of callable, default=()
        Each is called with a `fastnn.training.Progress` after every epoch, or iteration of
        "lbfgs"; returning True ends training.
    n_jobs : int or None, default=None
        Threads that share each batch of 64 rows or more, the evaluations of "lbfgs" and the rows of
        predictions; -1 is all cores.  Every number gives the same model to the bit; None, one
        thread, may differ from it in rounding.
    replicas : int, default=1
        With more than 1, parallel per-sample SGD, for ``batch_size=1`` and a solver "sgd",
        "momentum" or "nesterov": so many copies of the weights are trained on rows of their own,
        by ``n_jobs`` threads, and averaged some times in an epoch.  The model depends on their
        number, not on that of threads.  Up to as many times the rate makes up for the averaging.

    Attributes
    ----------
    coefs_ : list of array (n_in, n_out)
        Weights of each layer, views of one flat vector.
    intercepts_ : list of array (n_out,)
        Biases of each layer, likewise.
    loss_ : float
        Objective of the last epoch, penalty included.
    best_loss_ : float or None
        Least ``loss_``; None with early stopping.
    loss_curve_ : list of float
        ``loss_`` of each epoch.
    validation_scores_ : list of float or None
        R^2, or the ``scoring``, of the rows held out or given, after each epoch; None without
        early stopping.
    best_validation_score_ : float or None
        Largest of them.
    validation_loss_curve_ : list of float
        Loss of these rows after each epoch; empty without.
    n_iter_ : int
        Epochs, or iterations, of the last fit.
    t_ : int
        Rows trained on.
    n_layers_, n_outputs_ : int
        Layers, input and output included; outputs.
    out_activation_ : str
        Link of the output.
    n_features_in_ : int
        Features seen in `fit`.
    feature_names_in_ : array (n_features_in_,)
        Their names, if ``X`` has string column names.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn import MLPRegressor
    >>> X = np.linspace(-1, 1, 50).reshape(-1, 1)
    >>> y = X[:, 0] ** 2
    >>> model = MLPRegressor(hidden_layer_sizes=8, solver="lbfgs", random_state=0).fit(X, y)
    >>> model.score(X, y) > 0.99
    True
    """

    _online_settings = operator.itemgetter(*RESUMED)
    _parameter_constraints: ClassVar[dict] = {
        **BaseMultilayerPerceptron._parameter_constraints,
        "loss": [StrOptions(set(losses.TABLE))],
    }

    def __init__(
        self,
        loss: str = "squared_error",
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: Any = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: Any = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: Any = 10,
        max_fun: int = 15000,
        rho: float = 0.99,
        weight_decay: float | None = None,
        clip_norm: float | None = None,
        schedule: Any = None,
        warmup_epochs: int = 0,
        loss_parameter: float | None = None,
        dropout: Any = 0.0,
        input_dropout: float = 0.0,
        scoring: Any = None,
        coefs_init: Any = None,
        intercepts_init: Any = None,
        callbacks: Any = (),
        n_jobs: int | None = None,
        replicas: int = 1,
    ) -> None:
        store_parameters(self, locals())

    @available_if(is_stochastic)
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train one epoch more on the given rows.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Their targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each row.

        Returns
        -------
        self : object
        """
        return self._fit(X, y, sample_weight, incremental=True)

    def predict(self, X: Any) -> np.ndarray:
        """Return the expected targets of rows.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        array of shape (n_samples,) or (n_samples, n_outputs)
        """
        outputs = self._outputs(X)
        return outputs.reshape(-1) if outputs.shape[1] == 1 else outputs

    def _validate_input(
        self, X: Any, y: Any, incremental: bool, reset: bool
    ) -> tuple[Any, np.ndarray]:
        X, y = validate_data(
            self, X, y,
            accept_sparse=["csr", "csc"], multi_output=True, y_numeric=True,
            dtype=FLOATS, reset=reset,
        )  # fmt: skip
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        return X, y

    def _check_given(self, X: Any, y: Any) -> tuple[Any, np.ndarray]:
        X, y = check_given(self, X, y, dtype=FLOATS, y_numeric=True)
        return X, column_or_1d(y) if y.ndim == 2 and y.shape[1] == 1 else y

    def _kernel_loss(self) -> str:
        return self.loss

    def _count_outputs(self, y: np.ndarray) -> int:
        return y.shape[1] if y.ndim == 2 else 1

    def _encode(self, y: np.ndarray, dtype: np.dtype) -> np.ndarray:
        checked = check_targets(
            y, None,
            loss=self.loss, kind=losses.TABLE[self.loss].targets, n=y.shape[0],
            n_outputs=self.n_outputs_, dtype=dtype,
        )  # fmt: skip
        return checked.y

    def _target_row(self) -> np.ndarray:
        return np.zeros(self.n_outputs_)

    def _encode_one(self, y: Any, row: OneRow) -> None:
        row.y[:] = y

    def _decoder(self, middle: float) -> Callable[[np.ndarray], Any]:
        return operator.methodcaller("item" if self.n_outputs_ == 1 else "copy")

    def _held_score(self, outputs: np.ndarray, y: np.ndarray, weight: Any) -> float:
        return r2_score(y, outputs.reshape(y.shape), sample_weight=weight)
