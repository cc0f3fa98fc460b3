"""What `SGDClassifier` and `SGDRegressor` share: parameters, input, state, one-row training."""

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model._base import SparseCoefMixin
from sklearn.metrics import get_scorer_names
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from fastnn import schedules
from fastnn.estimators.callbacks import CallbackMixin, Hooks
from fastnn.estimators.linear_network import linear_network
from fastnn.estimators.parameters import is_set
from fastnn.estimators.sgd_batches import (
    BatchKernel,
    check_batches,
    fits,
    fresh_memory,
    has_batches,
    steps_of_epoch,
    warn_of_unread,
)
from fastnn.estimators.sgd_online import OnlineSGD
from fastnn.estimators.sgd_training import (
    Course,
    Pace,
    Parameters,
    Stopping,
    current_average,
    schedule_of,
)
from fastnn.estimators.sgd_validation import Held
from fastnn.kernels import linear, optimizers
from fastnn.kernels.linear_losses import LinearLoss
from fastnn.kernels.linear_rule import SCHEDULES, LinearRule
from fastnn.kernels.plan import Rows
from fastnn.network import Network

#: What early stopping alone reads, and what passive-aggressive rates do not.
_OF_EARLY_STOPPING = ("scoring", "restore_best")
_OF_RATES = ("warmup_epochs",)
#: What gives each step a rate, where ``schedule`` gives each epoch one.
_OF_STEPS = ("learning_rate", "power_t")
MAX_SEED = np.iinfo(np.int32).max
EVERY_ROW_ONCE = {dtype: np.empty(0, dtype) for dtype in (np.dtype("f4"), np.dtype("f8"))}


@dataclass(slots=True)
class Job:
    """What the problems of one call share."""

    X: Any
    rows: Rows
    weight: np.ndarray
    max_iter: int
    warmup_steps: int
    hooks: Hooks
    own: Held | None


def _writable(array: np.ndarray) -> np.ndarray:
    """Return the array itself, or a copy where a kernel could not write to it."""
    return np.require(array, requirements=["C", "A", "W"])


class BaseSGD(CallbackMixin, SparseCoefMixin, BaseEstimator):
    """Base of the two; the parameters are described there."""

    loss_functions: ClassVar[Mapping[str, LinearLoss]]
    _passive_aggressive_loss: ClassVar[str]
    _parameter_constraints: ClassVar[dict] = {
        "penalty": [StrOptions({"l2", "l1", "elasticnet"}), None],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "l1_ratio": [Interval(Real, 0, 1, closed="both"), None],
        "fit_intercept": ["boolean"],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left"), None],
        "shuffle": ["boolean"],
        "verbose": ["verbose"],
        "epsilon": [Interval(Real, 0, None, closed="left")],
        "random_state": ["random_state"],
        "learning_rate": [StrOptions(set(SCHEDULES))],
        "eta0": [Interval(Real, 0, None, closed="neither")],
        "power_t": [Interval(Real, None, None, closed="neither")],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "warm_start": ["boolean"],
        "average": [Interval(Integral, 0, None, closed="neither"), "boolean"],
        "optimizer": [StrOptions(set(optimizers.TABLE))],
        "batch_size": [Interval(Integral, 1, None, closed="left"), None],
        "momentum": [Interval(Real, 0, 1, closed="left")],
        "beta_1": [Interval(Real, 0, 1, closed="left")],
        "beta_2": [Interval(Real, 0, 1, closed="left")],
        "rho": [Interval(Real, 0, 1, closed="left")],
        "optimizer_epsilon": [Interval(Real, 0, None, closed="neither"), None],
        "weight_decay": [Interval(Real, 0, None, closed="left"), None],
        "clip_norm": [Interval(Real, 0, None, closed="right"), None],
        "schedule": [StrOptions(set(schedules.TABLE)), HasMethods("rate"), None],
        "warmup_epochs": [Interval(Integral, 0, None, closed="left")],
        "scoring": [StrOptions({"loss", *get_scorer_names()}), callable, None],
        "restore_best": ["boolean", None],
        "callbacks": "no_validation",  # `check_callbacks` does
    }

    def _check_settings(self, partial: bool = False) -> None:
        """Raise ValueError where parameters do not go together."""
        if self.early_stopping and partial:
            raise ValueError("early_stopping should be False with partial_fit")
        if schedule_of(self) == "optimal" and self.alpha == 0:
            raise ValueError(
                "alpha must be > 0 since learning_rate is 'optimal'. alpha is used to compute the "
                "optimal learning rate."
            )
        if self.learning_rate in ("pa1", "pa2") and self.loss != self._passive_aggressive_loss:
            raise ValueError(
                f"Learning rate '{self.learning_rate}' only works with loss "
                f"'{self._passive_aggressive_loss}'."
            )
        if self.penalty == "elasticnet" and self.l1_ratio is None:
            raise ValueError("l1_ratio must be set when penalty is 'elasticnet'")
        if partial and self.schedule is not None:
            raise ValueError(
                "schedule counts the epochs of fit; partial_fit and learn_one have none, set "
                f"learning_rate instead. Got schedule={self.schedule!r}"
            )
        check_batches(self)
        self._warn_of_ignored(partial)

    def _warn_of_ignored(self, partial: bool) -> None:
        """Warn of each parameter beyond scikit-learn's that was set and is not read."""
        warn_of_unread(self)
        ignored = []
        if self.schedule is not None and self.learning_rate != "constant":
            ignored += [(name, "schedule") for name in _OF_STEPS]
        if not self.early_stopping:
            ignored += [(name, "early_stopping=False") for name in _OF_EARLY_STOPPING]
        if self.learning_rate in ("pa1", "pa2"):
            ignored += [(name, f"learning_rate={self.learning_rate!r}") for name in _OF_RATES]
        elif partial:
            ignored += [(name, "partial_fit") for name in _OF_RATES]
        if self.loss != "log_loss":
            ignored.append(("label_smoothing", f"loss={self.loss!r}"))
        if self.loss != "quantile":
            ignored.append(("loss_parameter", f"loss={self.loss!r}"))
        for name, reason in ignored:
            if is_set(self, name):
                warnings.warn(
                    f"{name}={getattr(self, name)!r} has no effect with {reason}", stacklevel=4
                )

    def _check_data(self, X: Any, y: Any, reset: bool) -> tuple[Any, np.ndarray]:
        """Return valid rows, in the precision of a model that has begun, and targets."""
        coef = getattr(self, "coef_", None)
        dtype = [np.float64, np.float32] if reset or coef is None else [coef.dtype]
        X, y = validate_data(
            self,
            X,
            y,
            accept_sparse="csr",
            dtype=dtype,
            order="C",
            accept_large_sparse=False,
            reset=reset,
        )
        if sparse.issparse(X):  # an index out of range would write to other memory
            X.check_format(full_check=True)
        return X, y

    def _check_weight(self, sample_weight: Any, X: Any) -> np.ndarray:
        """Return the weights of the rows, empty where each counts once."""
        if sample_weight is None:
            return EVERY_ROW_ONCE[X.dtype]
        weight = _check_sample_weight(sample_weight, X, dtype=X.dtype)
        if not weight.any():
            raise ValueError("Sample weights must contain at least one non-zero number.")
        return np.ascontiguousarray(weight)

    def _present(
        self, X: Any, y: np.ndarray, weight: np.ndarray
    ) -> tuple[Any, np.ndarray, np.ndarray]:
        """Leave out rows of weight 0, which would take a place in a batch."""
        if not has_batches(self) or weight.size == 0 or weight.all():
            return X, y, weight
        present = np.flatnonzero(weight)
        return X[present], y[present], weight[present]

    def _steps(self, n: int) -> int:
        """Return how many steps an epoch over ``n`` rows makes."""
        return steps_of_epoch(self, n) if has_batches(self) else n

    def _prepare_batches(self, outputs: list[slice], W: np.ndarray) -> None:
        """Get the optimiser ready to train parts of the weights apart, or to go on with them."""
        check_batches(self)
        if not has_batches(self):
            self.__dict__.pop("_memory", None)
            return
        sizes = [W[output].size + W[output].shape[0] for output in outputs]
        fresh = fresh_memory(self.optimizer, sizes, W.dtype)
        kept = self.__dict__.get("_memory")
        if kept is None or kept[0] != self.optimizer or not fits(kept[1], fresh):
            self._memory = self.optimizer, fresh

    def _pace(self) -> Pace | None:
        """Return the rates of the epochs of `fit`, where ``schedule`` gives them."""
        if self.schedule is None:
            return None
        schedule = schedules.as_schedule(self.schedule)
        return Pace(schedule, float(self.eta0), self.max_iter, self.warmup_epochs)

    def _steppers(
        self,
        exact: Callable,
        rule: LinearRule,
        y: np.ndarray,
        weight: np.ndarray,
        held_out: np.ndarray | None,
        problem: int = 0,
        *,
        joint: bool = False,
    ) -> dict[str, Any]:
        """Return the ``kernel``, its ``mass`` and the ``pace`` with which `train` is called."""
        if not has_batches(self):
            return {"kernel": exact, "pace": self._pace()}
        memory = self._memory[1][problem]
        kernel = BatchKernel(self, rule, memory, y, weight, held_out, joint)
        return {"kernel": kernel, "mass": kernel.mass, "pace": self._pace()}

    def _initial(
        self, shape: tuple[int, int], dtype: np.dtype, coef_init: Any, intercept_init: Any
    ) -> Parameters:
        """Return the parameters with which `fit` starts: zeros, or copies of the given ones."""
        n_outputs, n_features = shape
        W = np.zeros(shape, dtype)
        b = np.zeros(n_outputs)
        if coef_init is not None:
            given = coef_init.toarray() if sparse.issparse(coef_init) else np.asarray(coef_init)
            if n_outputs > 1 and given.shape != shape:
                raise ValueError("Provided ``coef_`` does not match dataset. ")
            if n_outputs == 1 and given.size != n_features:
                raise ValueError("Provided coef_init does not match dataset.")
            W[:] = given.reshape(shape)
        if intercept_init is not None:
            given = np.asarray(intercept_init)
            if given.shape != (n_outputs,) and (n_outputs > 1 or given.shape != ()):
                raise ValueError("Provided intercept_init does not match dataset.")
            b[:] = given
        return Parameters.begun(W, b, average=bool(self.average), truncate=self._truncates)

    def _current(self, shape: tuple[int, int]) -> Parameters:
        """Return the parameters with which `partial_fit` goes on; ``coef_`` is written to."""
        if sparse.issparse(self.coef_):
            raise ValueError("coef_ is sparse; call densify() before training goes on")
        W = _writable(self.coef_.reshape(shape))
        b = self.__dict__.get("_exact_intercept")
        if b is None or not np.array_equal(b.astype(W.dtype), self.intercept_):
            b = np.array(self.intercept_, float)
        new = Parameters.begun(W, b, average=bool(self.average), truncate=self._truncates)
        kept = self.__dict__.get("_kept")
        if kept is None:
            return new
        averages, charges = new.A.shape == kept.A.shape, new.q.shape == kept.q.shape
        charges = charges and not has_batches(self)
        if averages and new.A.size:
            A = kept.A if charges else kept.average(self._outputs(shape[0])[0])
            new.W, new.b, new.A, new.a = _writable(kept.W), kept.b, _writable(A), kept.a
        if averages and charges:
            new.q, new.state = _writable(kept.q), _writable(kept.state)
        return new

    @property
    def _truncates(self) -> bool:
        """Whether there is an L1 penalty."""
        return self.penalty in ("l1", "elasticnet")

    def _publish(self, parameters: Parameters) -> None:
        """Set ``coef_`` and ``intercept_``, to the average once there is one."""
        W, b = parameters.W, parameters.b
        self._kept = parameters if self.average or self._truncates else None
        if self.average and self.average <= self.t_ - 1:
            W, b = parameters.average(self._outputs(b.size)[0]), parameters.a
        self.coef_ = self._shaped(W)
        self.intercept_ = b.astype(W.dtype)
        # Where training goes on, unless there is another intercept by then.
        self._exact_intercept = None if self.average or W.dtype == b.dtype else b

    def _start_anew(self) -> None:
        """Forget the steps made: their number, and what the optimiser remembers of them."""
        self.t_ = 1.0
        self.__dict__.pop("_memory", None)

    def _shaped(self, W: np.ndarray) -> np.ndarray:
        """Return ``coef_`` of the weights (k, d)."""
        return W

    def _linear_network(self, loss: str, loss_parameter: float | None = None) -> Network:
        """Return the one-layer `Network` of a loss with this model's weights."""
        check_is_fitted(self)
        return linear_network(self.coef_, self.intercept_, loss, loss_parameter)

    def _snapshot(self) -> dict[str, Any]:
        """Return the fitted attributes as they stand in training."""
        if "_in_training" not in self.__dict__:  # the end of the fit
            return {"coef_": self.coef_.copy(), "intercept_": self.intercept_.copy()}
        W, b = [], []
        for part in self._in_training:
            averaged = self.average and self.average <= part.state[linear.T] - 1
            W.append(current_average(part) if averaged else part.W)
            b.append(part.a if averaged else part.b)
        weights = np.concatenate(W)
        return {
            "coef_": self._shaped(weights), "intercept_": np.concatenate(b).astype(weights.dtype)
        }  # fmt: skip

    def _stopping(self, max_iter: int, held_out: Any = None, judge: Any = None) -> Stopping:
        restore = self.restore_best
        if restore is None:
            restore = self.scoring is not None or (self.early_stopping and held_out is None)
        return Stopping(
            max_iter,
            -math.inf if self.tol is None else float(self.tol),
            int(self.n_iter_no_change),
            held_out,
            judge,
            early=bool(self.early_stopping),
            restore=bool(restore),
            lines=self.verbose >= 2,
        )

    def _report(self, courses: list[Course]) -> None:
        """Set the curves of a call; of several problems, one list per problem."""

        def curves(found: list[list[float]]) -> Any:
            return found[0] if len(found) == 1 else found

        self.loss_curve_ = curves([course.history.loss for course in courses])
        self.validation_loss_curve_ = curves([c.history.validation_loss for c in courses])
        self.validation_scores_ = self.best_validation_score_ = None
        if self.early_stopping:
            self.validation_scores_ = curves([course.scores for course in courses])
            best = [max(course.scores, default=-math.inf) for course in courses]
            self.best_validation_score_ = best[0] if len(best) == 1 else best

    def _held_out(self, splitter: type, y: np.ndarray, weight: np.ndarray) -> np.ndarray | None:
        """Return which rows are kept for early stopping."""
        if not self.early_stopping:
            return None
        split = splitter(test_size=self.validation_fraction, random_state=self.random_state)
        train, held = next(split.split(np.zeros((y.shape[0], 1)), y))
        if weight.size and not (weight[held] > 0).any():
            raise ValueError(
                "The sample weights for validation set are all zero, consider using a different "
                "random state."
            )
        if not (train.size and held.size):
            raise ValueError(
                f"Splitting {y.shape[0]} samples into a train set and a validation set with "
                f"validation_fraction={self.validation_fraction!r} led to an empty set "
                f"({train.size} and {held.size} samples). Please either change "
                "validation_fraction, increase number of samples, or disable early_stopping."
            )
        mask = np.zeros(y.shape[0], bool)
        mask[held] = True
        return mask

    def _held(
        self, X: Any, y: np.ndarray, weight: np.ndarray, held_out: np.ndarray | None
    ) -> Held | None:
        """Return the rows that are held out."""
        if held_out is None:
            return None
        return Held(X[held_out], y[held_out], weight[held_out] if weight.size else None)

    def _warn_after_fit(self) -> None:
        if self.tol is not None and self.tol > -math.inf and self.n_iter_ == self.max_iter:
            warnings.warn(
                "Maximum number of iteration reached before convergence. Consider increasing "
                "max_iter to improve the fit.",
                ConvergenceWarning,
                stacklevel=3,
            )
        if self.power_t < 0:
            warnings.warn(
                "Negative values for `power_t` are deprecated in version 1.8 and will raise an "
                "error in 1.10. Use values in the range [0.0, inf) instead.",
                FutureWarning,
                stacklevel=3,
            )

    def _seed(self, state: np.random.RandomState) -> int | None:
        """Draw the seed of the order of the rows; it is drawn even if nothing is shuffled.

        A batch of all rows has no order.
        """
        seed = int(state.randint(MAX_SEED))
        return seed if self.shuffle and self.batch_size is not None else None

    def _online(self) -> OnlineSGD:
        """Return what `learn_one` works with, made anew if the model is no longer the same."""
        online = self.__dict__.get("_online_state")
        if online is None or not online.serves(self):
            online = self._online_state = self._begin_online()
        return online

    def _begin_online(self) -> OnlineSGD:
        """Prepare for `learn_one`, after the checks of `partial_fit`."""
        if getattr(self, "coef_", None) is None:
            raise NotFittedError(
                f"This {type(self).__name__} has not seen data; call partial_fit or fit first"
            )
        self._validate_params()
        self._check_settings(partial=True)
        n_outputs = self.intercept_.shape[0]
        parameters = self._current((n_outputs, self.n_features_in_))
        outputs, kernel = self._outputs(n_outputs)
        weights = self._binary_weights(n_outputs)
        return OnlineSGD(self, parameters, outputs, kernel, weights)

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        passing = ("_online_state", "_in_training")
        return {name: value for name, value in state.items() if name not in passing}

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags
