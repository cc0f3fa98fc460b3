"""`MLPClassifier`: scikit-learn's network over fastnn's kernels."""

import math
import operator
from collections.abc import Callable
from numbers import Real
from typing import Any, ClassVar, Self

import numpy as np
import scipy.special
from scipy import sparse
from sklearn.base import ClassifierMixin, _fit_context
from sklearn.utils import column_or_1d
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import _check_partial_fit_first_call
from sklearn.utils.validation import check_is_fitted, validate_data

from fastnn.estimators.labels import Labels, weigh_rows
from fastnn.estimators.multilayer import FLOATS, BaseMultilayerPerceptron
from fastnn.estimators.online import RESUMED, is_stochastic
from fastnn.estimators.parameters import store_parameters
from fastnn.estimators.validation import check_given
from fastnn.network import Network
from fastnn.online import OneRow

#: Losses whose predictions estimate the probabilities of 0/1 targets.
PROPER = ("log_loss", "squared_error", "poisson")


def _has_probabilities(estimator: "MLPClassifier") -> bool:
    if estimator.loss not in PROPER:
        raise AttributeError(
            f"probabilities come with loss {', '.join(PROPER)}, not with {estimator.loss!r}"
        )
    return True


class MLPClassifier(ClassifierMixin, BaseMultilayerPerceptron):
    """Classifier: a network of dense layers with the log loss.

    With scikit-learn's parameters it is scikit-learn's model: the same initial weights, orders and
    steps, hence the same numbers, to rounding.  ``y`` holds one of two classes, one of many, an
    indicator matrix of labels, or in each of its columns one class of many.

    Parameters
    ----------
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
    loss : str, default="log_loss"
        "log_loss"; or of one-hot targets "squared_error", "absolute_error", "huber" or "poisson".
    loss_parameter : float or None, default=None
        The "delta" of "huber", 1 if None.
    class_weight : dict, list of dict, "balanced" or None, default=None
        Weight of each class, 1 where it is not given; "balanced" makes the classes weigh alike.
        A list has one dict per column of ``y``.
    label_smoothing : float, default=0.0
        Part of each target's mass that is spread evenly over all classes, in training.
    dropout : float or sequence of float, default=0.0
        Rate at which outputs of the hidden layers are set to 0 in training, the others being
        divided by ``1 - dropout``; one for all hidden layers or one for each.
    input_dropout : float, default=0.0
        The same for the features.
    scoring : str, callable or None, default=None
        What early stopping watches: a scorer of scikit-learn, "loss" for the validation loss,
        None for accuracy.
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
    classes_ : array or list of array
        Class labels.
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
        Accuracy, or the ``scoring``, of the rows held out or given, after each epoch; None without
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
    >>> from fastnn import MLPClassifier
    >>> X = [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]
    >>> y = ["no", "yes", "yes", "no"]
    >>> model = MLPClassifier(8, activation="tanh", solver="lbfgs", random_state=1).fit(X, y)
    >>> model.predict(X)
    array(['no', 'yes', 'yes', 'no'], dtype='<U3')
    """

    _online_settings = operator.itemgetter(*RESUMED, "class_weight", "label_smoothing")
    _parameter_constraints: ClassVar[dict] = {
        **BaseMultilayerPerceptron._parameter_constraints,
        "loss": [StrOptions({*PROPER, "absolute_error", "huber"})],
        "class_weight": [dict, list, StrOptions({"balanced"}), None],
        "label_smoothing": [Interval(Real, 0, 1, closed="left")],
    }

    def __init__(
        self,
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
        loss: str = "log_loss",
        loss_parameter: float | None = None,
        class_weight: Any = None,
        label_smoothing: float = 0.0,
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
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> Self:
        """Train one epoch more on the given rows.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Their classes.
        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each row.
        classes : array of shape (n_classes,) or list of array, default=None
            All classes that any call will bring, of each column where ``y`` has many; needed at
            the first call.

        Returns
        -------
        self : object
        """
        if self.class_weight == "balanced":
            raise ValueError(
                "class_weight 'balanced' is not supported for partial_fit. In order to use "
                "'balanced' weights, use compute_class_weight('balanced', classes=classes, y=y) on "
                "a large enough part of the data and pass the resulting weights as class_weight."
            )
        if isinstance(classes, list) and classes and np.ndim(classes[0]) == 1:
            if not hasattr(self, "classes_"):
                self._labels = Labels(np.asarray(y), classes)
                self.classes_ = self._labels.classes
        elif _check_partial_fit_first_call(self, classes):
            self._labels = Labels(y, classes)
        return self._fit(X, y, sample_weight, incremental=True)

    def predict(self, X: Any) -> np.ndarray:
        """Return the classes of rows.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        array of shape (n_samples,) or (n_samples, n_labels)
        """
        outputs = self._outputs(X)
        return self._labels.decode(outputs)

    @available_if(_has_probabilities)
    def predict_proba(self, X: Any) -> Any:
        """Return the probability of each class, in the order of ``classes_``.

        Other losses than the log loss may predict what is no probability: that is clipped, and
        made to add up to 1.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        array of shape (n_samples, n_classes), or list of them
            A list where ``y`` has many columns of classes.
        """
        check_is_fitted(self)
        labels = self._labels
        if self.loss == "log_loss" and labels.kind == "binary":
            z = self._outputs(X, linked=False)  # 1 - p would be 0 where p is only nearly 1
            return scipy.special.expit(np.hstack([-z, z]))
        outputs = self._outputs(X)
        if self.loss != "log_loss":
            outputs = np.clip(outputs, 0, None if labels.exclusive else 1)
            if labels.exclusive:
                outputs = np.hstack([_shares(part) for part in labels.split(outputs)])
        if labels.kind == "binary":
            return np.hstack([1 - outputs, outputs])
        return labels.split(outputs) if labels.kind == "multioutput" else outputs

    @available_if(_has_probabilities)
    def predict_log_proba(self, X: Any) -> Any:
        """Return the logarithm of each class's probability, finite where that underflows.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        array of shape (n_samples, n_classes), or list of them
        """
        check_is_fitted(self)
        labels = self._labels
        if self.loss == "log_loss" and labels.exclusive:
            scores = labels.split(self._outputs(X, linked=False))
            logs = [scipy.special.log_softmax(part, axis=1) for part in scores]
            return logs if labels.kind == "multioutput" else logs[0]
        probabilities = self.predict_proba(X)
        with np.errstate(divide="ignore"):
            if labels.kind == "multioutput":
                return [np.log(part) for part in probabilities]
            return np.log(probabilities)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the accuracy: the part of rows all of whose classes are predicted.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Their classes.
        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each row.

        Returns
        -------
        float
        """
        check_is_fitted(self)
        if self._labels.kind != "multioutput":
            return super().score(X, y, sample_weight)
        right = (self.predict(X) == np.asarray(y)).all(axis=1)
        return float(np.average(right, weights=sample_weight))

    @property
    def network_(self) -> Network:
        """The trained `Network` itself, for `fastnn.explain` and its like.

        Raises
        ------
        AttributeError
            ``y`` has many columns of classes, and the loss is the log loss: each column then has a
            softmax of its own, and a `Network` only one.
        """
        network = super().network_
        if self._labels.kind == "multioutput" and self.loss == "log_loss":
            raise AttributeError(
                "the network ends in one softmax per column of y, which a Network has not"
            )
        return network

    def _outputs(self, X: Any, *, linked: bool = True) -> np.ndarray:
        labels = self.__dict__.get("_labels")
        if not linked or labels is None or labels.kind != "multioutput" or self.loss != "log_loss":
            return super()._outputs(X, linked=linked)
        parts = labels.split(super()._outputs(X, linked=False))
        return np.hstack([scipy.special.softmax(part, axis=1) for part in parts])

    def _validate_input(
        self, X: Any, y: Any, incremental: bool, reset: bool
    ) -> tuple[Any, np.ndarray]:
        X, y = validate_data(
            self, X, y,
            accept_sparse=["csr", "csc"], multi_output=True, dtype=FLOATS, reset=reset,
        )  # fmt: skip
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        if not hasattr(self, "classes_") or not (self.warm_start or incremental):
            self._labels = Labels(y)
            self.classes_ = self._labels.classes
        else:
            self._labels.check(y, same=self.warm_start)
        return X, y.toarray() if sparse.issparse(y) else y

    def _check_given(self, X: Any, y: Any) -> tuple[Any, np.ndarray]:
        X, y = check_given(self, X, y, dtype=FLOATS)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y)
        self._labels.check(y, name="y_val")
        return X, y.toarray() if sparse.issparse(y) else y

    def _weigh(
        self, y: np.ndarray, weight: np.ndarray | None, *, training: bool = False
    ) -> np.ndarray | None:
        if training:
            self._class_weights: list[dict] | None = None
            if self.class_weight is not None:
                self._class_weights = self._labels.class_weights(self.class_weight, y, weight)
        if self._class_weights is None:
            return weight
        factors = weigh_rows(y, self._class_weights)
        if not factors.any():
            raise ValueError("class_weight is zero for every row; nothing is left to train on")
        return factors if weight is None else weight * factors

    def _kernel_loss(self) -> str:
        softmax = self.loss == "log_loss" and self._labels.exclusive
        return "cross_entropy" if softmax else self.loss

    def _count_outputs(self, y: np.ndarray) -> int:
        return self._labels.n_outputs

    def _encode(self, y: np.ndarray, dtype: np.dtype) -> np.ndarray:
        softmax = self.loss == "log_loss"
        one_hot = not softmax or self.label_smoothing > 0
        return self._labels.encode(y, dtype, one_hot=one_hot, grouped=softmax)

    def _numbers(self, y: np.ndarray) -> np.ndarray | None:
        if self.label_smoothing > 0 or (self.loss != "log_loss" and self._labels.exclusive):
            return None
        return self._labels.numbers(y)

    def _soften_(self, targets: np.ndarray, order: np.ndarray) -> None:
        if self.label_smoothing > 0:
            self._labels.soften_(targets, order, self.label_smoothing)

    def _class_row(self) -> np.ndarray:
        """Return the classes of some row, (1,) or (1, n_columns)."""
        labels = self._labels
        if labels.kind == "multioutput":
            return np.array([[part[0] for part in labels.classes]])
        if labels.kind == "multilabel":
            return np.zeros((1, labels.n_outputs), int)
        return labels.classes[:1]

    def _target_row(self) -> np.ndarray:
        return self._encode(self._class_row(), np.dtype(float))[0]

    def _encode_one(self, y: Any, row: OneRow) -> None:
        self._labels.encode_one(y, row.y)
        if self.label_smoothing > 0:
            self._labels.soften_(row.y.reshape(1, -1), np.zeros(1, int), self.label_smoothing)
        if self._class_weights is not None:
            columns = y if self._labels.kind in ("multilabel", "multioutput") else [y]
            pairs = zip(self._class_weights, columns, strict=True)
            row.weight[0] = math.prod(weights.get(label, 1.0) for weights, label in pairs)

    def _weigh_classes(self) -> None:
        if not isinstance(self.class_weight, str):  # "balanced" stays that of the fit's rows
            self._class_weights = None
            if self.class_weight is not None:
                y = self._class_row()
                self._class_weights = self._labels.class_weights(self.class_weight, y, None)

    def _decoder(self, middle: float) -> Callable[[np.ndarray], Any]:
        return self._labels.decoder(middle)

    def _held_score(self, outputs: np.ndarray, y: np.ndarray, weight: Any) -> float:
        if self._labels.kind == "multilabel":
            right = (outputs > 0.5) == (y != 0)
        else:
            right = self._labels.decode(outputs) == y
        return np.average(right if right.ndim == 1 else right.all(axis=1), weights=weight)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


def _shares(outputs: np.ndarray) -> np.ndarray:
    """Return rows of numbers from 0 made to add up to 1; equal ones where all are 0."""
    total = outputs.sum(axis=1, keepdims=True)
    equal = np.full_like(outputs, 1 / outputs.shape[1])
    return np.divide(outputs, total, out=equal, where=total > 0)
