"""Linear classifier trained by stochastic gradient descent, with scikit-learn's interface."""

from collections.abc import Mapping
from dataclasses import replace
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import _fit_context
from sklearn.linear_model._base import LinearClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.model_selection import StratifiedShuffleSplit
from sklearn.utils import check_random_state, compute_class_weight
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.extmath import softmax
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import _check_partial_fit_first_call
from sklearn.utils.validation import check_is_fitted

from fastnn.estimators.callbacks import Hooks
from fastnn.estimators.parameters import store_parameters
from fastnn.estimators.sgd_base import MAX_SEED, BaseSGD, Job
from fastnn.estimators.sgd_batches import has_batches
from fastnn.estimators.sgd_online import OnlineSGD
from fastnn.estimators.sgd_training import Course, Parameters, in_parallel, make_rule, train
from fastnn.estimators.sgd_validation import Held, make_judge, take_held
from fastnn.inputs import as_rows
from fastnn.kernels.linear import train_rows_
from fastnn.kernels.linear_losses import TABLE, LinearLoss
from fastnn.kernels.linear_softmax import train_softmax_rows_
from fastnn.network import Network


class SGDClassifier(LinearClassifierMixin, BaseSGD):
    """Linear classifier trained by stochastic gradient descent: support vectors, logistic, ...

    Parameters, attributes, numbers and messages are those of scikit-learn 1.9's class of this
    name; what is below ``average`` in the lists, `learn_one` and `predict_one` come on top.
    Another ``optimizer`` or ``batch_size`` trains the same model by mini-batches: each step takes
    the weighted mean of its rows' gradients, and touches every weight, on sparse rows too.

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
    verbose : bool or int, default=0
        True shows a progress bar, 2 prints each epoch.
    epsilon : float, default=0.1
        Parameter of "huber" and of the epsilon-insensitive losses.
    n_jobs : int or None, default=None
        Threads that train the one-versus-rest problems of several classes.
    random_state : int, RandomState instance or None, default=None
        Decides the orders of the rows and the validation split.
    learning_rate : str, default="optimal"
        The rate of step t: "constant" ``eta0``; "optimal" ``1 / (alpha (t + t0))`` with
        ``optimizer="sgd"``, with others, whose rates are of another kind, ``eta0``; "invscaling"
        ``eta0 / t^power_t``; "adaptive" ``eta0``, divided by 5 whenever training would end; "pa1"
        and "pa2", passive-aggressive steps of the hinge loss, limited by ``eta0``.
    eta0, power_t : float, default=0.01, 0.5
        See ``learning_rate``; "adagrad", whose steps become ever smaller, takes 0.1 or more.
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
    optimizer : str, default="sgd"
        "sgd", "momentum", "nesterov", "adam", "adamw", "rmsprop" or "adagrad".
    batch_size : int or None, default=1
        Rows a step, at most; None for all of them: then a row of weight 2 is a row twice, and one
        of weight 0 absent, to rounding.  With 1 a step is in proportion to the row's weight.
    momentum, rho : float, default=0.9, 0.99
        Of "momentum" and "nesterov"; decay of the squares of "rmsprop".
    beta_1, beta_2 : float, default=0.9, 0.999
        Decay of the moments of "adam" and "adamw".
    optimizer_epsilon : float or None, default=None
        Against division by zero in "adam", "adamw", "rmsprop" (None is 1e-8), "adagrad" (1e-10).
    weight_decay : float or None, default=None
        Decoupled decay, beside ``penalty``: each step first takes ``rate * weight_decay * coef``
        from the weights.  None is 0.01 for "adamw", else 0.
    multi_class : {"ovr", "multinomial"}, default="ovr"
        How several classes are told apart: each against the rest, or all together by the softmax
        of their scores, with ``loss="log_loss"``.
    label_smoothing : float, default=0.0
        Part of each target's mass that is spread evenly over all classes, with
        ``loss="log_loss"``.
    clip_norm : float or None, default=None
        Largest norm of the gradient of a row's loss, before the row's weight, or of a batch's mean.
    schedule : str, schedule or None, default=None
        "constant", "invscaling", "step", "cosine", "adaptive" or an instance from
        `fastnn.schedules`: the rate of each epoch of `fit`, in the place of ``learning_rate``.
    warmup_epochs : int, default=0
        Epochs of `fit` in which the rate first rises linearly, step by step.
    scoring : str, callable or None, default=None
        What early stopping watches: a scorer of scikit-learn, "loss" for the validation loss, None
        for accuracy.  Each class against the rest is scored as a problem of its own.
    restore_best : bool or None, default=None
        Whether early stopping restores the weights of the best score, which scikit-learn's class
        does not; None does where ``scoring`` or ``X_val`` is given.
    callbacks : sequence of callable, default=()
        Each is called with a `fastnn.estimators.sgd_training.LinearProgress` after every epoch, one
        class after the other; returning True ends the training of the class.

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
        One more than the steps made, ``n_iter_ * n_samples`` with batches of one.
    loss_curve_ : list of float
        Mean loss of the rows in each epoch of the last call, each before its step, without the
        penalty; by mini-batches the weighted mean.  This and the other curves are a list of lists,
        one per class, where each of several classes is trained against the rest.
    validation_loss_curve_ : list of float
        Loss of the validation rows after each epoch; empty without.
    validation_scores_ : list of float or None
        Score of the validation rows after each epoch; None without early stopping.
    best_validation_score_ : float, list of float or None
        Largest of them.
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

    All rows in each step of Adam; the last one counts twice:

    >>> model = SGDClassifier("log_loss", optimizer="adam", eta0=0.1, batch_size=None)
    >>> model = model.fit(X, ["low", "low", "high", "high"], sample_weight=[1, 1, 1, 2])
    >>> print(model.predict([[-0.8, -1.0], [0.5, 0.5]]))
    ['low' 'high']
    """

    loss_functions: ClassVar[Mapping[str, LinearLoss]] = {
        name: loss for name, loss in TABLE.items() if loss.labels is not None
    }
    _passive_aggressive_loss = "hinge"
    _parameter_constraints: ClassVar[dict] = {
        **BaseSGD._parameter_constraints,
        "loss": [StrOptions(set(loss_functions))],
        "n_jobs": [Integral, None],
        "class_weight": [StrOptions({"balanced"}), dict, None],
        "multi_class": [StrOptions({"ovr", "multinomial"})],
        "label_smoothing": [Interval(Real, 0, 1, closed="left")],
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
        optimizer: str = "sgd",
        batch_size: int | None = 1,
        momentum: float = 0.9,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        rho: float = 0.99,
        optimizer_epsilon: float | None = None,
        weight_decay: float | None = None,
        multi_class: str = "ovr",
        label_smoothing: float = 0.0,
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
            Labels.
        coef_init : array-like of the shape of ``coef_``, or None
            Weights to start from.
        intercept_init : array-like of the shape of ``intercept_``, or None
            Intercepts to start from.
        sample_weight : array-like, shape (n_samples,), or None
            Weights of the rows, times those of their classes.
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
        if self.warm_start and getattr(self, "coef_", None) is not None:
            coef_init = self.coef_ if coef_init is None else coef_init
            intercept_init = self.intercept_ if intercept_init is None else intercept_init
        self.__dict__.pop("classes_", None)
        _check_partial_fit_first_call(self, np.unique(y))
        shape = self._n_outputs(), X.shape[1]
        parameters = self._initial(shape, X.dtype, coef_init, intercept_init)
        self._start_anew()
        own = None
        if X_val is not None or y_val is not None:
            own = take_held(self, X_val, y_val, sample_weight_val)
        epochs = self.max_iter * (1 if self._is_joint(shape[0]) else shape[0])
        with self._hooks(epochs, *given, sample_weight, self._snapshot) as hooks:
            self._train(X, y, sample_weight, parameters, self.max_iter, hooks, own)
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
        if first or self.schedule is not None:
            self._check_settings(partial=True)
        if first and self.class_weight == "balanced":
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
        return self._train(X, y, sample_weight, parameters, 1, Hooks())

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

    def _is_joint(self, n_outputs: int) -> bool:
        """Return whether the softmax of all scores is trained."""
        return n_outputs > 1 and self.multi_class == "multinomial"

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
        X, y, weight = self._present(X, y, self._check_weight(sample_weight, X))
        self._class_weights = compute_class_weight(self.class_weight, classes=self.classes_, y=y)
        rows = as_rows(X, X.dtype)
        n_outputs = parameters.W.shape[0]
        warmup_steps = self.warmup_epochs * self._steps(X.shape[0]) if max_iter > 1 else 0
        outputs, _ = self._outputs(n_outputs)
        self._prepare_batches(outputs, parameters.W)
        self._in_training = [parameters.model(output) for output in outputs]
        job = Job(X, rows, weight, max_iter, warmup_steps, hooks, own)
        if self._is_joint(n_outputs):
            courses = [self._train_together(job, y)]
        elif n_outputs == 1:
            courses = [self._train_class(job, y, 1, None, self.random_state)]
        else:
            held_out = None
            if own is None:
                held_out = self._held_out(StratifiedShuffleSplit, y, weight)
            seeds = check_random_state(self.random_state).randint(MAX_SEED, size=n_outputs)
            watched = hooks.watches_epochs or hooks.watches_slices
            problems = [(job, y, c, held_out, seed) for c, seed in enumerate(seeds)]
            courses = in_parallel(
                self._train_class, problems, 1 if watched else self.n_jobs, self.verbose
            )
        self.n_iter_ = max(course.n_iter for course in courses)
        self.t_ += self.n_iter_ * self._steps(X.shape[0])
        self._report(courses)
        self._publish(parameters)
        del self._in_training
        return self

    def _train_class(
        self, job: Job, y: np.ndarray, c: int, held_out: np.ndarray | None, seed: Any
    ) -> Course:
        """Train class ``c`` against the rest, or against the other one."""
        alone = len(self._in_training) == 1
        problem = 0 if alone else c
        model = self._in_training[problem]
        targets = self._targets(y == self.classes_[c], job.X.dtype)
        state = check_random_state(seed)
        state.randint(1, MAX_SEED)  # scikit-learn draws one more, for its data set
        if alone and job.own is None:
            held_out = self._held_out(StratifiedShuffleSplit, targets, job.weight)
        held = job.own or self._held(job.X, y, job.weight, held_out)
        judge = None
        if held is not None:
            positive = held.y == self.classes_[c]
            fitted = {}
            if not alone:
                held, fitted = replace(held, y=positive.astype(int)), {"classes_": np.arange(2)}

            def merit(_: Any, scores: np.ndarray, weight: Any) -> float:
                return float(accuracy_score(positive, scores[:, 0] > 0, sample_weight=weight))

            goal = self._targets(positive, np.float64, smooth=0.0)
            judge = make_judge(self, held, goal, merit, **fitted)
        stopping = self._stopping(job.max_iter, held_out, judge)
        more, less = self._binary_weights(len(self._in_training))[problem]
        rule = make_rule(
            self, sparse=job.rows.indptr.size > 0, stopping=stopping, positive=more,
            negative=less, warmup_steps=job.warmup_steps,
        )  # fmt: skip
        steppers = self._steppers(train_rows_, rule, targets, job.weight, held_out, problem)
        return train(
            **steppers, rule=rule, model=model, rows=job.rows, y=targets, weight=job.weight,
            t=self.t_, seed=self._seed(state), stopping=stopping, hooks=job.hooks,
            problem=problem, problems=len(self._in_training),
        )  # fmt: skip

    def _targets(self, positive: np.ndarray, dtype: Any, smooth: float | None = None) -> np.ndarray:
        """Return what the loss takes for one class and the others, smoothed as the labels are."""
        low, high = self._labels()
        targets = np.where(positive, high, low).astype(dtype)
        if smooth is None and self.loss == "log_loss":
            smooth = self.label_smoothing
        if smooth:
            targets = targets * (1 - smooth) + targets.dtype.type(smooth / len(self.classes_))
        return targets

    def _labels(self) -> tuple[float, float]:
        """Return what the loss takes for the negative and the positive class."""
        labels = TABLE[self.loss].labels
        assert labels is not None
        return labels

    def _train_together(self, job: Job, y: np.ndarray) -> Course:
        """Train the softmax of all scores."""
        known = np.isin(y, self.classes_)
        if not known.all():
            raise ValueError(f"y holds {y[~known][0]!r}, which is not among the classes")
        numbers = np.searchsorted(self.classes_, y)
        weight, dtype = job.weight, job.X.dtype
        held_out = None
        if job.own is None:
            held_out = self._held_out(StratifiedShuffleSplit, y, weight)
        held = job.own or self._held(job.X, y, weight, held_out)
        judge = None
        if held is not None:
            right = np.searchsorted(self.classes_, held.y)

            def merit(_: Any, scores: np.ndarray, weight: Any) -> float:
                return float(accuracy_score(right, scores.argmax(axis=1), sample_weight=weight))

            judge = make_judge(self, held, right, merit)
        stopping = self._stopping(job.max_iter, held_out, judge)
        rule = make_rule(
            self, sparse=job.rows.indptr.size > 0, stopping=stopping,
            warmup_steps=job.warmup_steps,
        )  # fmt: skip
        if self.class_weight is not None:
            of_class = self._class_weights.astype(dtype)[numbers]
            weight = of_class * weight if weight.size else of_class
        targets = numbers.astype(dtype)
        return train(
            **self._steppers(train_softmax_rows_, rule, targets, weight, held_out, joint=True),
            rule=rule, model=self._in_training[0], rows=job.rows, y=targets, weight=weight,
            t=self.t_, seed=self._seed(check_random_state(self.random_state)),
            stopping=stopping, hooks=job.hooks,
        )  # fmt: skip

    def _binary_weights(self, n_outputs: int) -> list[tuple[float, float]]:
        """Return the weights of the positive and negative rows of each binary problem."""
        if n_outputs == 1:
            return [(self._class_weights[1], self._class_weights[0])]
        if self.multi_class == "multinomial":
            return [(1.0, 1.0)]
        return [(weight, 1.0) for weight in self._class_weights]

    def _outputs(self, n_outputs: int) -> tuple[list[slice], Any]:
        """Return the parts of the model that are trained apart, and their kernel."""
        if self._is_joint(n_outputs):
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
        if has_batches(self):
            return self.partial_fit(np.reshape(x, (1, -1)), [y])
        online = self._online()
        with online.lock:
            online.x[:] = x
            online.take_class(y)
            online.learn(self)
        return self

    def _begin_online(self) -> OnlineSGD:
        check_is_fitted(self)
        classes, given = self.classes_, self.class_weight
        if not isinstance(given, str):  # "balanced" stays that of the fit's rows
            self._class_weights = compute_class_weight(given, classes=classes, y=classes)
        online = super()._begin_online()
        if self._is_joint(self.intercept_.size):
            online.set_classes(classes, np.arange(classes.size)[:, None], self._class_weights)
        else:
            targets = self._targets(np.eye(classes.size, dtype=bool), self.coef_.dtype)
            online.set_classes(classes, targets[:, -self.intercept_.size :])
        return online

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
