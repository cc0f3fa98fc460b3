"""`LogisticRegression`: the single neuron, or one per class, with scikit-learn's interface."""

import warnings
from numbers import Integral, Real
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import sklearn
from scipy import sparse
from scipy.special import expit, log_expit, log_softmax, softmax
from sklearn.base import BaseEstimator, _fit_context
from sklearn.exceptions import NotFittedError
from sklearn.linear_model._base import LinearClassifierMixin, SparseCoefMixin
from sklearn.utils import check_random_state, compute_class_weight
from sklearn.utils._param_validation import Hidden, Interval, StrOptions
from sklearn.utils.fixes import parse_version
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from fastnn.estimators.callbacks import CallbackMixin, Hooks, Relay
from fastnn.estimators.linear_network import linear_network
from fastnn.estimators.logistic_solvers import Problem, fit_gd, fit_lbfgs, fit_saga, sgd_rate
from fastnn.estimators.multilayer import FLOATS
from fastnn.estimators.parameters import store_parameters
from fastnn.estimators.sgd_base import MAX_SEED
from fastnn.estimators.sgd_classifier import SGDClassifier
from fastnn.kernels.plan import Targets
from fastnn.network import Network

#: Whether the installed scikit-learn tells its users to leave ``penalty`` alone.
DEPRECATED = parse_version(sklearn.__version__) >= parse_version("1.8")
#: scikit-learn's other solvers, and which of ours to take.
ELSEWHERE = {
    "liblinear": "'lbfgs', or 'saga' for an L1 penalty",
    "newton-cg": "'lbfgs'",
    "newton-cholesky": "'lbfgs'",
    "sag": "'saga'",
}
SOLVERS = ("lbfgs", "saga", "sgd", "gd")
#: Parameters that some solvers ignore: what leaves them alone, and the solvers that take them.
PARTIAL = {
    "intercept_scaling": (1, ()),
    "learning_rate_init": ("auto", ("sgd", "gd")),
    "learning_rate": ("adaptive", ("sgd",)),
    "n_iter_no_change": (5, ("sgd",)),
}


class Penalty(NamedTuple):
    """What is added to ``sum_i w_i J_i``: ``l2/2 |W|^2 + l1 |W|_1``."""

    l2: float
    l1: float


class Weights(NamedTuple):
    """Weights of the rows as given, empty where each is 1; of the classes, None likewise."""

    rows: np.ndarray
    classes: np.ndarray | None

    def of_rows(self, numbers: np.ndarray) -> np.ndarray:
        """Return the weight of each row, that of its class included."""
        if self.classes is None:
            return self.rows
        weight = self.classes[numbers].astype(self.rows.dtype)
        return weight * self.rows if self.rows.size else weight


def _learns_online(estimator: "LogisticRegression") -> bool:
    if estimator.solver != "sgd":
        raise AttributeError(f"learn_one needs solver='sgd', got solver={estimator.solver!r}")
    return True


class LogisticRegression(CallbackMixin, LinearClassifierMixin, SparseCoefMixin, BaseEstimator):
    """Logistic regression: a sigmoid neuron for two classes, a softmax layer for more.

    Minimises ``C sum_i w_i J_i + (1 - l1_ratio)/2 |coef|^2 + l1_ratio |coef|_1`` with ``J`` the log
    loss or the cross-entropy of row ``i``.  Parameters, attributes, numbers and messages are those
    of scikit-learn 1.9's class of this name; the solvers "sgd" and "gd", the parameters
    ``learning_rate``, ``learning_rate_init``, ``n_iter_no_change`` and ``callbacks``, and
    `learn_one` and `predict_one` come on top.

    Parameters
    ----------
    penalty : {"l2", "l1", "elasticnet", None}, default="deprecated"
        What is added to the loss.  From scikit-learn 1.8 on it is ``l1_ratio`` and ``C`` that say
        so; giving it warns as scikit-learn's does.
    C : float, default=1.0
        Inverse of the penalty's strength; inf for no penalty.
    l1_ratio : float, default=0.0
        Share of L1 in the penalty, from 0 to 1.  L1 makes coefficients exactly 0, and needs the
        solver "saga" or "sgd".
    dual : bool, default=False
        True is refused: it is for liblinear.
    tol : float, default=1e-4
        "lbfgs" and "gd" end when no derivative of the mean objective exceeds it; "saga" when in an
        epoch no coefficient changes by more, relative to the largest; "sgd" when the objective
        has not fallen by more for ``n_iter_no_change`` epochs.
    fit_intercept : bool, default=True
        Whether there is an intercept, which is not penalised.
    intercept_scaling : float, default=1
        Ignored, with a warning: it is for liblinear.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes, times those of the rows; "balanced" is ``n / (n_classes * count)``.
    random_state : int, RandomState instance or None, default=None
        Draws the rows of "saga" and "sgd".
    solver : {"lbfgs", "saga", "sgd", "gd"}, default="lbfgs"
        "lbfgs"; "saga", for L1 too; "sgd", a step after each row, with a decreasing rate; "gd", a
        step after all rows.  The last two are the textbook's, and slower than the first two.
    max_iter : int, default=100
        The most iterations, or epochs.
    multi_class : {"ovr", "multinomial", "auto"}, default="deprecated"
        "ovr" fits each class against the rest, the others and the default one softmax; two
        classes always have one sigmoid.  scikit-learn has dropped it in 1.8.
    verbose : bool or int, default=0
        True shows a progress bar, 2 prints a line per iteration.
    warm_start : bool, default=False
        Whether `fit` begins with the coefficients of the last one.
    n_jobs : int or None, default=None
        Ignored, with a warning.
    learning_rate : {"adaptive", "constant", "invscaling"}, default="adaptive"
        How the rate of "sgd" goes on: divided by 5 each time training stands still, until it is
        below 1e-6; the same; or ``learning_rate_init / sqrt(t)`` for row ``t``.
    learning_rate_init : float or "auto", default="auto"
        Rate of "gd" and first rate of "sgd", of ``w <- w - rate * gradient``.  "auto" is the
        reciprocal of the curvature: the objective's largest for "gd", the rows' mean for "sgd".
    n_iter_no_change : int, default=5
        Epochs without improvement after which "sgd" ends or lowers its rate.
    callbacks : sequence of callable, default=()
        Called with a `fastnn.training.Progress` after each iteration; a true answer ends the fit.

    Attributes
    ----------
    classes_ : array (n_classes,)
        The labels.
    coef_ : array (1, n_features) or (n_classes, n_features)
        Weights; one row for two classes.
    intercept_ : array (1,) or (n_classes,)
        Intercepts.
    n_iter_ : int32 array (1,)
        Iterations, or epochs; one for each class with ``multi_class="ovr"``.
    n_features_in_ : int
        Features seen in `fit`.
    feature_names_in_ : array (n_features_in_,)
        Their names, if ``X`` has string column names.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from fastnn import LogisticRegression
    >>> X, y = load_iris(return_X_y=True)
    >>> model = LogisticRegression(max_iter=200).fit(X, y)
    >>> model.predict(X[:2])
    array([0, 0])
    >>> model.predict_proba(X[:1]).round(3)
    array([[0.982, 0.018, 0.   ]])
    """

    _parameter_constraints: ClassVar[dict] = {
        "penalty": [
            StrOptions({"l1", "l2", "elasticnet"}),
            None,
            Hidden(StrOptions({"deprecated"})),
        ],
        "C": [Interval(Real, 0, None, closed="right")],
        "l1_ratio": [Interval(Real, 0, 1, closed="both"), None],
        "dual": ["boolean"],
        "tol": [Interval(Real, 0, None, closed="left")],
        "fit_intercept": ["boolean"],
        "intercept_scaling": [Interval(Real, 0, None, closed="neither")],
        "class_weight": [dict, StrOptions({"balanced"}), None],
        "random_state": ["random_state"],
        "solver": [StrOptions({*SOLVERS, *ELSEWHERE})],
        "max_iter": [Interval(Integral, 0, None, closed="left")],
        "multi_class": [
            StrOptions({"auto", "ovr", "multinomial"}),
            Hidden(StrOptions({"deprecated"})),
        ],
        "verbose": ["verbose"],
        "warm_start": ["boolean"],
        "n_jobs": [None, Integral],
        "learning_rate": [StrOptions({"adaptive", "constant", "invscaling"})],
        "learning_rate_init": [StrOptions({"auto"}), Interval(Real, 0, None, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "callbacks": "no_validation",  # `check_callbacks` does
    }

    def __init__(
        self,
        penalty: str | None = "deprecated",
        *,
        C: float = 1.0,
        l1_ratio: float | None = 0.0,
        dual: bool = False,
        tol: float = 1e-4,
        fit_intercept: bool = True,
        intercept_scaling: float = 1,
        class_weight: Any = None,
        random_state: Any = None,
        solver: str = "lbfgs",
        max_iter: int = 100,
        multi_class: str = "deprecated",
        verbose: int = 0,
        warm_start: bool = False,
        n_jobs: int | None = None,
        learning_rate: str = "adaptive",
        learning_rate_init: float | str = "auto",
        n_iter_no_change: int = 5,
        callbacks: Any = (),
    ) -> None:
        store_parameters(self, locals())

    # Fitting --------------------------------------------------------------------------------

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit the model.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows; float32 is fitted in float32, all else in float64.
        y : array-like of shape (n_samples,)
            Labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows, times those of their classes.

        Returns
        -------
        self : object
        """
        given = X, y, sample_weight
        penalty = self._check_penalty()
        self._warn_of_ignored()
        X, y = validate_data(self, X, y, accept_sparse="csr", dtype=FLOATS, order="C")
        X = _with_narrow_indices(X)
        check_classification_targets(y)
        self.classes_ = np.unique(y)
        n_classes = len(self.classes_)
        if n_classes < 2:
            raise ValueError(
                "This solver needs samples of at least 2 classes in the data, but the data "
                f"contains only one class: {self.classes_[:1].tolist()[0]!r}"
            )
        weights = self._weights(X, y, sample_weight)
        shape = (1 if n_classes == 2 else n_classes, X.shape[1])
        start = self._initial(shape, X.dtype)
        apart = shape[0] if self.multi_class == "ovr" else 1
        fit = self._fit_sgd if self.solver == "sgd" else self._fit
        try:
            with self._hooks(max(apart * self.max_iter, 1), *given, self._snapshot) as hooks:
                fit(X, y, weights, penalty, *start, hooks)
        finally:
            self.__dict__.pop("_fitting", None)
        return self

    def _fit(
        self,
        X: Any,
        y: np.ndarray,
        weights: Weights,
        penalty: Penalty,
        coef: np.ndarray,
        intercept: np.ndarray,
        hooks: Hooks,
    ) -> None:
        """Fit ``coef`` and ``intercept``, all together or each class against the rest."""
        parts, n_iter = [slice(None)], []
        if self._loss() == "log_loss" and len(coef) > 1:
            parts = [slice(c, c + 1) for c in range(len(coef))]
        numbers = self._encode(y)
        weight = weights.of_rows(numbers)

        def snapshot() -> dict[str, Any]:
            coef[part], intercept[part] = network.weights[0].T, network.biases[0]
            return {"coef_": coef.copy(), "intercept_": intercept.copy()}

        for part in parts:
            network = linear_network(coef[part], intercept[part], self._loss())
            self._fitting = snapshot
            encoded = (numbers if part.start is None else numbers == part.start).reshape(-1, 1)
            problem = Problem(
                network, X, Targets(encoded.astype(X.dtype), weight), *penalty,
                self.fit_intercept, self.max_iter, float(self.tol), self.verbose, hooks,
            )  # fmt: skip
            n_iter.append(self._solve(problem))
            snapshot()
        self.coef_, self.intercept_ = coef, intercept
        self.n_iter_ = np.array(n_iter, np.int32)

    def _snapshot(self) -> dict[str, Any]:
        """Return the coefficients as they stand, apart from those still being fitted."""
        return self._fitting()

    def _solve(self, problem: Problem) -> int:
        """Run the solver; return its iterations."""
        if self.solver == "lbfgs":
            return fit_lbfgs(problem)
        if self.solver == "gd":
            rate = self.learning_rate_init
            return fit_gd(problem, None if rate == "auto" else float(rate))
        return fit_saga(problem, int(check_random_state(self.random_state).randint(1, MAX_SEED)))

    def _fit_sgd(
        self,
        X: Any,
        y: np.ndarray,
        weights: Weights,
        penalty: Penalty,
        coef: np.ndarray,
        intercept: np.ndarray,
        hooks: Hooks,
    ) -> None:
        """Train by `SGDClassifier`, which shares the penalty among the rows."""
        strength = penalty.l2 + penalty.l1
        rate = self.learning_rate_init
        if rate == "auto":
            rate = sgd_rate(
                X,
                weights.of_rows(self._encode(y)),
                len(self.classes_),
                penalty.l2,
                self.fit_intercept,
            )
        of_class = None
        if weights.classes is not None:
            of_class = dict(zip(self.classes_.tolist(), weights.classes, strict=True))
        self._sgd = SGDClassifier(
            "log_loss",
            penalty="elasticnet" if strength else None,
            alpha=strength / X.shape[0],
            l1_ratio=penalty.l1 / strength if strength else 0.0,
            fit_intercept=self.fit_intercept,
            max_iter=max(self.max_iter, 1),
            tol=self.tol,
            verbose=2 if self.verbose >= 2 else 0,
            random_state=self.random_state,
            learning_rate=self.learning_rate,
            eta0=float(rate),
            n_iter_no_change=self.n_iter_no_change,
            class_weight=of_class,
            multi_class="ovr" if self.multi_class == "ovr" else "multinomial",
            callbacks=[Relay(hooks)] if hooks.watches_epochs or hooks.watches_slices else (),
        )
        self._fitting = self._sgd._snapshot
        hooks.epoch_begins()
        self._sgd.fit(X, y, coef, intercept, weights.rows if weights.rows.size else None)
        self._sgd.callbacks = ()
        self.coef_, self.intercept_ = self._sgd.coef_, self._sgd.intercept_
        self.n_iter_ = np.array([self._sgd.n_iter_], np.int32)

    def _check_penalty(self) -> Penalty:
        """Return the penalty's factors; raise or warn where its parameters do not go together."""
        if self.solver in ELSEWHERE:
            raise ValueError(
                f"fastnn has no solver {self.solver!r}; take solver={ELSEWHERE[self.solver]}"
            )
        if self.dual:
            raise ValueError(f"Solver {self.solver} supports only dual=False, got dual={self.dual}")
        penalty, ratio, C = self.penalty, self.l1_ratio, float(self.C)
        if penalty == "deprecated":
            if ratio is None and DEPRECATED:
                warnings.warn(
                    "'l1_ratio=None' was deprecated in version 1.8 and will trigger an error in "
                    "1.10. Use 0<=l1_ratio<=1 instead.",
                    FutureWarning,
                    stacklevel=4,
                )
            ratio = ratio or 0.0
        else:
            self._warn_of_penalty()
            if penalty is None:
                C = np.inf
            if penalty == "elasticnet" and ratio is None:
                raise ValueError("l1_ratio must be specified when penalty is elasticnet.")
            ratio = {"l1": 1.0, "elasticnet": ratio}.get(penalty, 0.0)
        if ratio and not np.isinf(C) and self.solver not in ("saga", "sgd"):
            name = "l1" if ratio == 1 else "elasticnet"
            raise ValueError(
                f"Solver {self.solver} supports only 'l2' or None penalties, got {name} penalty; "
                "take solver='saga'."
            )
        return Penalty((1 - ratio) / C, ratio / C)

    def _warn_of_penalty(self) -> None:
        """Warn as scikit-learn does where ``penalty`` is given."""
        penalty, ratio = self.penalty, self.l1_ratio
        if DEPRECATED:
            warnings.warn(
                "'penalty' was deprecated in version 1.8 and will be removed in 1.10. To avoid "
                "this warning, leave 'penalty' set to its default value and use 'l1_ratio' or 'C' "
                "instead. Use l1_ratio=0 instead of penalty='l2', l1_ratio=1 instead of "
                "penalty='l1', l1_ratio set to a float between 0 and 1 instead of "
                "penalty='elasticnet', and C=np.inf instead of penalty=None.",
                FutureWarning,
                stacklevel=5,
            )
        if penalty != "elasticnet" and ratio is not None and 0 < ratio < 1:
            warnings.warn(
                "l1_ratio parameter is only used when penalty is 'elasticnet'. Got "
                f"(penalty={penalty})",
                stacklevel=5,
            )
        if DEPRECATED and ((penalty == "l2" and ratio != 0) or (penalty == "l1" and ratio != 1)):
            warnings.warn(
                f"Inconsistent values: penalty={penalty} with l1_ratio={ratio}. penalty is "
                "deprecated. Please use l1_ratio only.",
                stacklevel=5,
            )
        if penalty is None and self.C != 1.0:
            warnings.warn(
                "Setting penalty=None will ignore the C and l1_ratio parameters", stacklevel=5
            )

    def _warn_of_ignored(self) -> None:
        """Warn of parameters that have no effect."""
        if self.n_jobs is not None:
            warnings.warn(
                "'n_jobs' has no effect since 1.8 and will be removed in 1.10. You provided "
                f"'n_jobs={self.n_jobs}', please leave it unspecified.",
                FutureWarning,
                stacklevel=4,
            )
        if self.multi_class != "deprecated":
            instead = "it will always use 'multinomial'"
            if self.multi_class == "ovr":
                instead = "use OneVsRestClassifier(LogisticRegression(..)) instead"
            warnings.warn(
                "'multi_class' was deprecated in version 1.5 and has been removed in 1.8 of "
                f"scikit-learn; from then on {instead}. Leave it to its default value to avoid "
                "this warning.",
                FutureWarning,
                stacklevel=4,
            )
        for name, (default, solvers) in PARTIAL.items():
            if getattr(self, name) != default and self.solver not in solvers:
                warnings.warn(f"solver={self.solver!r} ignores {name}", stacklevel=4)

    def _weights(self, X: Any, y: np.ndarray, sample_weight: Any) -> Weights:
        """Return the weights that the parameters and the user give."""
        rows, classes = np.empty(0, X.dtype), None
        if sample_weight is not None:
            rows = np.ascontiguousarray(_check_sample_weight(sample_weight, X, dtype=X.dtype))
        if self.class_weight is not None:
            classes = compute_class_weight(
                self.class_weight,
                classes=self.classes_,
                y=y,
                sample_weight=rows if rows.size else None,
            )
        weights = Weights(rows, classes)
        if rows.size and not weights.of_rows(self._encode(y)).any():
            raise ValueError("Sample weights must contain at least one non-zero number.")
        return weights

    def _encode(self, y: np.ndarray) -> np.ndarray:
        """Return the numbers of the labels."""
        if len(self.classes_) == 2:
            return (y == self.classes_[1]).astype(np.intp)
        return np.searchsorted(self.classes_, y)

    def _initial(self, shape: tuple[int, int], dtype: np.dtype) -> tuple[np.ndarray, np.ndarray]:
        """Return where to begin: zeros, or a copy of the last fit's coefficients."""
        coef, intercept = np.zeros(shape, dtype), np.zeros(shape[0], dtype)
        if self.warm_start and hasattr(self, "coef_"):
            given: Any = self.coef_
            given = given.toarray() if sparse.issparse(given) else np.asarray(given)
            if given.shape != shape:
                raise ValueError(
                    f"Initialization coef is of shape {given.shape}, expected shape {shape}; fit "
                    "anew with warm_start=False"
                )
            coef[:] = given
            if self.fit_intercept:
                intercept[:] = self.intercept_
        return coef, intercept

    def _loss(self) -> str:
        """Return the name of the network's loss."""
        joint = len(self.classes_) > 2 and self.multi_class != "ovr"
        return "cross_entropy" if joint else "log_loss"

    # Prediction -----------------------------------------------------------------------------

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probability of each class.

        With ``multi_class="ovr"`` each class has a probability against the rest, divided by their
        sum.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        array of shape (n_samples, n_classes)
        """
        scores = self.decision_function(X)
        if scores.ndim == 1:  # 1 - p would be 0 where p is only nearly 1
            return expit(np.column_stack([-scores, scores]))
        if self._loss() == "cross_entropy":
            return softmax(scores, axis=1)
        return self._predict_proba_lr(X)

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Return the logarithm of each class's probability, finite where that underflows.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        array of shape (n_samples, n_classes)
        """
        scores = self.decision_function(X)
        if scores.ndim == 1:
            return log_expit(np.column_stack([-scores, scores]))
        if self._loss() == "cross_entropy":
            return log_softmax(scores, axis=1)
        return np.log(self.predict_proba(X))

    @property
    def network_(self) -> Network:
        """The model as a `Network`, for `fastnn.explain` and its like."""
        check_is_fitted(self)
        return linear_network(self.coef_, self.intercept_, self._loss())

    # One row at a time ----------------------------------------------------------------------

    @available_if(_learns_online)
    def learn_one(self, x: Any, y: Any) -> Self:
        """Make one more step of "sgd", on one row, without checking it.

        Parameters
        ----------
        x : array-like of shape (n_features,)
            Finite numbers.
        y : label
            One of ``classes_``.

        Returns
        -------
        self : object
        """
        sgd = self._online().learn_one(x, y)
        self.coef_, self.intercept_ = sgd.coef_, sgd.intercept_
        return self

    @available_if(_learns_online)
    def predict_one(self, x: Any) -> Any:
        """Return the label of one row, without checking it.

        Parameters
        ----------
        x : array-like of shape (n_features,)
            Finite numbers.
        """
        return self._online().predict_one(x)

    def _online(self) -> SGDClassifier:
        """Return the model that is trained row by row, with the coefficients as they are."""
        sgd = self.__dict__.get("_sgd")
        if sgd is None:
            raise NotFittedError("learn_one and predict_one go on from a fit with solver='sgd'")
        if sgd.coef_ is not self.coef_ or sgd.intercept_ is not self.intercept_:
            sgd.coef_, sgd.intercept_ = self.coef_, self.intercept_
        return sgd

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def _with_narrow_indices(X: Any) -> Any:
    """Return sparse rows with int32 indices, as the kernels take them; others as they are."""
    if not sparse.issparse(X) or X.indices.dtype == X.indptr.dtype == np.int32:
        return X
    if max(X.shape[1], X.nnz) > np.iinfo(np.int32).max:
        raise ValueError(f"X has too many features or non-zeros for int32 indices: {X.shape}")
    narrow = X.indices.astype(np.int32), X.indptr.astype(np.int32)
    return type(X)((X.data, *narrow), shape=X.shape)
