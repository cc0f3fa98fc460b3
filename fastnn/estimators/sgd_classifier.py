"""Linear classifier trained by stochastic gradient descent, with scikit-learn's interface."""

from collections.abc import Mapping
from numbers import Integral
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import _fit_context
from sklearn.linear_model._base import LinearClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.model_selection import StratifiedShuffleSplit
from sklearn.utils import check_random_state, compute_class_weight
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.extmath import softmax
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import _check_partial_fit_first_call
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import check_is_fitted

from fastnn.estimators.sgd_base import MAX_SEED, BaseSGD
from fastnn.estimators.sgd_training import Parameters, make_rule, train
from fastnn.inputs import as_rows
from fastnn.kernels.linear import train_rows_
from fastnn.kernels.linear_losses import TABLE, LinearLoss
from fastnn.kernels.linear_softmax import train_softmax_rows_
from fastnn.network import Network


class SGDClassifier(LinearClassifierMixin, BaseSGD):
    """Linear classifier trained by stochastic gradient descent: support vectors, logistic, ...

    Parameters, attributes, numbers and messages are those of scikit-learn 1.9's class of this
    name; `multi_class`, `learn_one` and `predict_one` come on top.

    Parameters
    ----------
    loss : str, default="hinge"
        "hinge" (a linear support vector machine), "log_loss" (logistic regression),
        "modified_huber", "squared_hinge", "perceptron", and the regression losses
        "squared_error", "huber", "epsilon_insensitive", "squared_epsilon_insensitive" of targets
        -1 and 1.
    penalty : {"l2", "l1", "elasticnet", None}, default="l2"
        What is added to the loss; "l1" and "elasticnet" make coefficients exactly 0.
    alpha : float, default=0.0001
        Factor of the penalty; the rate of ``learning_rate="optimal"`` depends on it too.
    l1_ratio : float or None, default=0.15
        Share of L1 in "elasticnet", from 0 to 1.
    fit_intercept : bool, default=True
        Whether there is an intercept.
    max_iter : int, default=1000
        The most epochs of `fit`.
    tol : float or None, default=1e-3
        Training ends when the objective has not fallen, or the validation score not risen, by
        ``tol`` for ``n_iter_no_change`` epochs; None trains for ``max_iter`` epochs.
    shuffle : bool, default=True
        Whether each epoch has another order of the rows; the orders are scikit-learn's.
    verbose : int, default=0
        Whether each epoch is printed.
    epsilon : float, default=0.1
        Parameter of "huber" and of the epsilon-insensitive losses.
    n_jobs : int or None, default=None
        Threads that train the one-versus-rest problems of several classes.
    random_state : int, RandomState instance or None, default=None
        Decides the orders of the rows and the validation split.
    learning_rate : str, default="optimal"
        The rate of step t: "constant" ``eta0``; "optimal" ``1 / (alpha (t + t0))``; "invscaling"
        ``eta0 / t^power_t``; "adaptive" ``eta0``, divided by 5 whenever training would end; "pa1"
        and "pa2", passive-aggressive steps of the hinge loss, limited by ``eta0``.
    eta0 : float, default=0.01
        See ``learning_rate``.
    power_t : float, default=0.5
        See ``learning_rate``.
    early_stopping : bool, default=False
        Whether a stratified part of the rows is held out, whose accuracy ends training.
    validation_fraction : float, default=0.1
        That part.
    n_iter_no_change : int, default=5
        See ``tol``.
    class_weight : dict, "balanced" or None, default=None
        Weight of each class.
    warm_start : bool, default=False
        Whether `fit` starts from the model so far.
    average : bool or int, default=False
        Whether the coefficients are the average over all steps, or over those from a number on.
    multi_class : {"ovr", "multinomial"}, default="ovr"
        How several classes are told apart: each against the rest, or all together by the softmax
        of their scores, with ``loss="log_loss"``.

    Attributes
    ----------
    coef_ : array (1, n_features) for two classes, else (n_classes, n_features)
        Weights, in the precision of ``X``.
    intercept_ : array (1,) or (n_classes,)
        Intercepts.
    classes_ : array (n_classes,)
        Labels.
    n_iter_ : int
        Epochs made; the most of any class.
    t_ : float
        One more than ``n_iter_ * n_samples``.
    n_features_in_ : int
        Features seen by `fit`.
    feature_names_in_ : array (n_features_in_,)
        Their names, where they are all strings.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn import SGDClassifier
    >>> X = np.array([[-1.0, -1.0], [-2.0, -1.0], [1.0, 1.0], [2.0, 1.0]])
    >>> model = SGDClassifier(random_state=0).fit(X, ["low", "low", "high", "high"])
    >>> print(model.predict([[-0.8, -1.0]]))
    ['low']
    """

    loss_functions: ClassVar[Mapping[str, LinearLoss]] = TABLE
    _passive_aggressive_loss = "hinge"
    _parameter_constraints: ClassVar[dict] = {
        **BaseSGD._parameter_constraints,
        "loss": [StrOptions(set(loss_functions))],
        "n_jobs": [Integral, None],
        "class_weight": [StrOptions({"balanced"}), dict, None],
        "multi_class": [StrOptions({"ovr", "multinomial"})],
    }

    def __init__(
        self,
        loss: str = "hinge",
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
        n_jobs: int | None = None,
        random_state: Any = None,
        learning_rate: str = "optimal",
        eta0: float = 0.01,
        power_t: float = 0.5,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 5,
        class_weight: Any = None,
        warm_start: bool = False,
        average: bool | int = False,
        multi_class: str = "ovr",
    ) -> None:
        self.loss = loss
        self.penalty = penalty
        self.alpha = alpha
        self.l1_ratio = l1_ratio
        self.fit_intercept = fit_intercept
        self.max_iter = max_iter
        self.tol = tol
        self.shuffle = shuffle
        self.verbose = verbose
        self.epsilon = epsilon
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.learning_rate = learning_rate
        self.eta0 = eta0
        self.power_t = power_t
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.class_weight = class_weight
        self.warm_start = warm_start
        self.average = average
        self.multi_class = multi_class

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: Any,
        y: Any,
        coef_init: Any = None,
        intercept_init: Any = None,
        sample_weight: Any = None,
    ) -> Self:
        """Fit the model.

        Parameters
        ----------
        X : array-like or sparse matrix, shape (n_samples, n_features)
            Rows; float32 is trained in float32, all else in float64.
        y : array-like, shape (n_samples,)
            Labels.
        coef_init : array-like of the shape of ``coef_``, or None
            Weights to start from.
        intercept_init : array-like of the shape of ``intercept_``, or None
            Intercepts to start from.
        sample_weight : array-like, shape (n_samples,), or None
            Weights of the rows, times those of their classes.

        Returns
        -------
        self
        """
        self._check_settings()
        X, y = self._check_data(X, y, reset=True)
        if self.warm_start and getattr(self, "coef_", None) is not None:
            coef_init = self.coef_ if coef_init is None else coef_init
            intercept_init = self.intercept_ if intercept_init is None else intercept_init
        self.__dict__.pop("classes_", None)
        _check_partial_fit_first_call(self, np.unique(y))
        shape = self._n_outputs(), X.shape[1]
        parameters = self._initial(shape, X.dtype, coef_init, intercept_init)
        self.t_ = 1.0
        self._train(X, y, sample_weight, parameters, self.max_iter)
        self._warn_after_fit()
        return self

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> Self:
        """Train one epoch on the given rows, going on from the model so far.

        Parameters
        ----------
        X : array-like or sparse matrix, shape (n_samples, n_features)
            Rows.
        y : array-like, shape (n_samples,)
            Labels.
        classes : array-like, shape (n_classes,), or None
            All labels that will ever come; needed in the first call.
        sample_weight : array-like, shape (n_samples,), or None
            Weights of the rows, times those of their classes.

        Returns
        -------
        self
        """
        first = not hasattr(self, "classes_")
        if first:
            self._check_settings(partial=True)
            if self.class_weight == "balanced":
                raise ValueError(
                    "class_weight 'balanced' is not supported for partial_fit. In order to use "
                    "'balanced' weights, use compute_class_weight('balanced', classes=classes, "
                    "y=y). In place of y you can use a large enough sample of the full training "
                    "set target to properly estimate the class frequency distributions. Pass the "
                    "resulting weights as the class_weight parameter."
                )
        X, y = self._check_data(X, y, reset=first)
        _check_partial_fit_first_call(self, classes)
        shape = self._n_outputs(), X.shape[1]
        if getattr(self, "coef_", None) is None:
            parameters = self._initial(shape, X.dtype, None, None)
        else:
            parameters = self._current(shape)
        if not hasattr(self, "t_"):
            self.t_ = 1.0
        return self._train(X, y, sample_weight, parameters, 1)

    def _n_outputs(self) -> int:
        """Return how many rows ``coef_`` has; two classes share one."""
        n_classes = self.classes_.shape[0]
        if n_classes < 2:
            raise ValueError(
                f"The number of classes has to be greater than one; got {n_classes} class"
            )
        if self.multi_class == "multinomial" and self.loss != "log_loss":
            raise ValueError(
                f"multi_class='multinomial' takes loss='log_loss', got loss={self.loss!r}"
            )
        return 1 if n_classes == 2 else n_classes

    def _train(
        self, X: Any, y: np.ndarray, sample_weight: Any, parameters: Parameters, max_iter: int
    ) -> Self:
        weight = self._check_weight(sample_weight, X)
        self._class_weights = compute_class_weight(self.class_weight, classes=self.classes_, y=y)
        rows = as_rows(X, X.dtype)
        if parameters.W.shape[0] == 1:
            n_iter = self._train_class(1, X, rows, y, weight, parameters, max_iter)
        elif self.multi_class == "multinomial":
            n_iter = self._train_together(X, rows, y, weight, parameters, max_iter)
        else:
            held_out = self._held_out(StratifiedShuffleSplit, y, weight)
            state = check_random_state(self.random_state)
            seeds = state.randint(MAX_SEED, size=len(self.classes_))
            n_iter = max(
                Parallel(n_jobs=self.n_jobs, verbose=self.verbose, require="sharedmem")(
                    delayed(self._train_class)(
                        c, X, rows, y, weight, parameters, max_iter, held_out, seed
                    )
                    for c, seed in enumerate(seeds)
                )
            )
        self.t_ += n_iter * X.shape[0]
        self.n_iter_ = n_iter
        self._publish(parameters)
        return self

    def _train_class(
        self,
        c: int,
        X: Any,
        rows: Any,
        y: np.ndarray,
        weight: np.ndarray,
        parameters: Parameters,
        max_iter: int,
        held_out: np.ndarray | None = None,
        seed: int | None = None,
    ) -> int:
        """Train class ``c`` against the rest, or against the other one; return the epochs made."""
        output = slice(0, 1) if parameters.W.shape[0] == 1 else slice(c, c + 1)
        negative, positive = TABLE[self.loss].labels
        targets = np.where(y == self.classes_[c], positive, negative).astype(X.dtype)
        state = check_random_state(self.random_state if seed is None else seed)
        state.randint(1, MAX_SEED)  # scikit-learn draws one more, for its data set
        if parameters.W.shape[0] == 1:
            held_out = self._held_out(StratifiedShuffleSplit, targets, weight)
        score = self._scorer(X, targets > 0, weight, held_out, _binary_accuracy)
        stopping = self._stopping(max_iter, held_out, score)
        positive_weight, negative_weight = self._binary_weights(parameters.W.shape[0])[output.start]
        rule = make_rule(
            self,
            sparse=rows.indptr.size > 0,
            stopping=stopping,
            positive=positive_weight,
            negative=negative_weight,
        )
        return train(
            train_rows_,
            rule,
            parameters.model(output, rule.truncate),
            rows,
            targets,
            weight,
            t=self.t_,
            seed=self._seed(state),
            stopping=stopping,
        )

    def _train_together(
        self,
        X: Any,
        rows: Any,
        y: np.ndarray,
        weight: np.ndarray,
        parameters: Parameters,
        max_iter: int,
    ) -> int:
        """Train the softmax of all scores; return the epochs made."""
        known = np.isin(y, self.classes_)
        if not known.all():
            raise ValueError(f"y holds {y[~known][0]!r}, which is not among the classes")
        numbers = np.searchsorted(self.classes_, y)
        held_out = self._held_out(StratifiedShuffleSplit, y, weight)
        score = self._scorer(X, numbers, weight, held_out, _multiclass_accuracy)
        stopping = self._stopping(max_iter, held_out, score)
        rule = make_rule(self, sparse=rows.indptr.size > 0, stopping=stopping)
        if self.class_weight is not None:
            of_class = self._class_weights.astype(X.dtype)[numbers]
            weight = of_class * weight if weight.size else of_class
        return train(
            train_softmax_rows_,
            rule,
            parameters.model(slice(None), rule.truncate),
            rows,
            numbers.astype(X.dtype),
            weight,
            t=self.t_,
            seed=self._seed(check_random_state(self.random_state)),
            stopping=stopping,
        )

    def _binary_weights(self, n_outputs: int) -> list[tuple[float, float]]:
        """Return the weights of the positive and negative rows of each binary problem."""
        if n_outputs == 1:
            return [(self._class_weights[1], self._class_weights[0])]
        if self.multi_class == "multinomial":
            return [(1.0, 1.0)]
        return [(weight, 1.0) for weight in self._class_weights]

    def _outputs(self, n_outputs: int) -> tuple[list[slice], Any]:
        """Return the parts of the model that are trained apart, and their kernel."""
        if n_outputs > 1 and self.multi_class == "multinomial":
            return [slice(None)], train_softmax_rows_
        return [slice(k, k + 1) for k in range(n_outputs)], train_rows_

    def learn_one(self, x: Any, y: Any) -> Self:
        """Train on one row without checking it; as ``partial_fit([x], [y])``, but quickly.

        Parameters
        ----------
        x : array-like, shape (n_features,)
            Finite numbers.
        y : label
            One of ``classes_``.

        Returns
        -------
        self

        Raises
        ------
        NotFittedError
            Before the first `fit` or `partial_fit`.
        """
        check_is_fitted(self)
        c = int(self.classes_.searchsorted(y))
        n_outputs = self.intercept_.shape[0]
        if n_outputs > 1 and self.multi_class == "multinomial":
            weight = None
            if self.class_weight is not None:
                weight = self._class_weights[c : c + 1].astype(self.coef_.dtype)
            return self._learn(x, [c], weight)
        negative, positive = TABLE[self.loss].labels
        positives = [c == 1] if n_outputs == 1 else [c == k for k in range(n_outputs)]
        return self._learn(x, [positive if mine else negative for mine in positives])

    def predict_one(self, x: Any) -> Any:
        """Return the label of one row, without checking it.

        Parameters
        ----------
        x : array-like, shape (n_features,)
            Finite numbers.
        """
        scores = self.coef_ @ np.asarray(x) + self.intercept_
        return self.classes_[int(scores[0] > 0) if scores.size == 1 else scores.argmax()]

    def _check_proba(self) -> bool:
        if self.loss not in ("log_loss", "modified_huber"):
            raise AttributeError(f"probability estimates are not available for loss={self.loss!r}")
        return True

    @available_if(_check_proba)
    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probability of each class.

        With ``multi_class="multinomial"`` it is the softmax of the scores.  Otherwise each class
        has a probability against the rest, divided by their sum (B. Zadrozny and C. Elkan,
        Transforming classifier scores into accurate multiclass probability estimates, KDD 2002):
        the sigmoid of the score under the log loss, ``(clip(score, -1, 1) + 1) / 2`` under the
        modified Huber loss.

        Parameters
        ----------
        X : array-like or sparse matrix, shape (n_samples, n_features)
            Rows.

        Returns
        -------
        array (n_samples, n_classes)
        """
        check_is_fitted(self)
        if self.loss == "log_loss":
            if self.multi_class == "multinomial" and len(self.classes_) > 2:
                return softmax(self.decision_function(X))
            return self._predict_proba_lr(X)
        positive = (np.clip(self.decision_function(X), -1, 1) + 1) / 2
        if positive.ndim == 1:
            return np.column_stack([1 - positive, positive])
        positive[positive.sum(axis=1) == 0] = 1  # no class is at all likely: all alike
        return positive / positive.sum(axis=1, keepdims=True)

    @property
    def network_(self) -> Network:
        """The model as a `Network`, for `fastnn.explain` and its like; "log_loss" only."""
        if self.loss != "log_loss":
            raise ValueError(f"a Network has no loss {self.loss!r}; its classes need 'log_loss'")
        check_is_fitted(self)
        joint = self.multi_class == "multinomial" and len(self.classes_) > 2
        return self._linear_network("cross_entropy" if joint else "log_loss")

    @available_if(_check_proba)
    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Return the logarithm of `predict_proba`; -inf where that is 0.

        Parameters
        ----------
        X : array-like or sparse matrix, shape (n_samples, n_features)
            Rows.

        Returns
        -------
        array (n_samples, n_classes)
        """
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))


def _binary_accuracy(y: np.ndarray, scores: np.ndarray, weight: np.ndarray | None) -> float:
    return float(accuracy_score(y, scores[:, 0] > 0, sample_weight=weight))


def _multiclass_accuracy(y: np.ndarray, scores: np.ndarray, weight: np.ndarray | None) -> float:
    return float(accuracy_score(y, scores.argmax(axis=1), sample_weight=weight))
