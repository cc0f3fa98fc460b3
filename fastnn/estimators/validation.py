"""Rows that are scored after each epoch: held out of the training rows, or the user's own."""

import copy
import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import is_classifier
from sklearn.metrics import check_scoring
from sklearn.model_selection import train_test_split
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import _check_sample_weight, validate_data

from fastnn.inputs import as_rows, n_rows
from fastnn.kernels.plan import Rows, Targets
from fastnn.network import Network
from fastnn.training import NATURAL_ORDER, score


@dataclass
class Validation:
    """Rows that are scored after each epoch.

    Attributes
    ----------
    rows, targets, order, n
        As `fastnn.training.score` takes them.
    score : callable
        Takes their loss; returns the validation score of the network as it stands, higher is
        better.
    """

    rows: Rows
    targets: Targets
    order: np.ndarray
    n: int
    score: Callable[[float], float]


def hold_out(
    estimator: Any, task: Any, network: Network, X: Any, y: np.ndarray, weight: np.ndarray | None
) -> None:
    """Move a part of a task's rows to its validation, the same part as scikit-learn."""
    stratify = None
    if is_classifier(estimator) and estimator.n_outputs_ == 1:
        stratify = task.targets.column()[task.order] > 0.5
    task.order, held = train_test_split(
        task.order,
        random_state=estimator._random_state,
        test_size=estimator.validation_fraction,
        stratify=stratify,
    )
    held = held.astype(np.int64)
    if held.size < 2:
        raise ValueError(
            "The validation set is too small. Increase 'validation_fraction' or the size of "
            "your dataset."
        )
    weight_held = None if weight is None else weight[held]

    def outputs() -> np.ndarray:
        return score(
            network.plan, network.parameters, task.rows, held.size, order=held, linked=True,
            team=task.team,
        )[0]  # fmt: skip

    judge = _judge(estimator, outputs, lambda: _safe_indexing(X, held), y[held], weight_held)
    task.validation = Validation(task.rows, task.targets, held, held.size, judge)


def take_validation(
    estimator: Any, network: Network, X_val: Any, y_val: Any, sample_weight_val: Any
) -> Validation:
    """Return the validation on a user's own rows.

    Raises
    ------
    ValueError
        They do not fit the training rows, or hold another class.
    """
    if X_val is None or y_val is None:
        raise ValueError("X_val and y_val must be given together")
    try:
        X, y = estimator._check_given(X_val, y_val)
        encoded = np.ascontiguousarray(estimator._encode(y, network.dtype))
    except ValueError as error:
        raise ValueError(f"in X_val, y_val: {error}") from None
    weight = None
    if sample_weight_val is not None:
        weight = np.asarray(_check_sample_weight(sample_weight_val, X))
        if not weight.any():
            raise ValueError("sample_weight_val is zero for every row; nothing is left to score")
    weight = estimator._weigh(y, weight)
    dtype = network.dtype
    rows = as_rows(X, dtype)
    n = n_rows(rows)
    targets = Targets(
        encoded,
        np.empty(0, dtype) if weight is None else np.ascontiguousarray(weight, dtype),
    )

    def outputs() -> np.ndarray:
        return score(network.plan, network.parameters, rows, n, linked=True)[0]

    return Validation(
        rows, targets, NATURAL_ORDER, n, _judge(estimator, outputs, lambda: X, y, weight)
    )


def check_given(estimator: Any, X: Any, y: Any, **options: Any) -> tuple[Any, np.ndarray]:
    """Return further rows and targets of a fit that has begun, checked by scikit-learn's rules."""
    return validate_data(
        estimator, X, y, accept_sparse=["csr", "csc"], multi_output=True, reset=False, **options
    )


def _judge(
    estimator: Any,
    outputs: Callable[[], np.ndarray],
    rows: Callable[[], Any],
    y: np.ndarray,
    weight: np.ndarray | None,
) -> Callable[[float], float]:
    """Return the score of an estimator's ``scoring``, as a function of the loss."""
    if estimator.scoring == "loss":
        return lambda loss: -loss
    if estimator.scoring is None:

        def default(loss: float) -> float:
            predicted = outputs()
            if not np.isfinite(predicted).all():
                return math.nan
            return float(estimator._held_score(predicted, y, weight))

        return default

    scorer = check_scoring(estimator, estimator.scoring)
    judged = copy.copy(estimator)  # shares the network that is trained
    judged.__dict__.pop("feature_names_in_", None)  # its rows are arrays by now
    X = rows()
    options = {}
    if weight is not None and takes_weight(scorer):
        options["sample_weight"] = weight

    def scored(loss: float) -> float:
        return float(scorer(judged, X, y, **options)) if math.isfinite(loss) else math.nan

    return scored


def takes_weight(scorer: Callable) -> bool:
    """Return whether a scorer can be given ``sample_weight``."""
    return "sample_weight" in inspect.signature(scorer).parameters
