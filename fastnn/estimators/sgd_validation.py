"""Rows on which a linear model is scored after each epoch: held out, or the user's own."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import logsumexp
from sklearn.metrics import check_scoring
from sklearn.utils.extmath import safe_sparse_dot
from sklearn.utils.validation import _check_sample_weight, validate_data

from fastnn.estimators.sgd_training import loss_number
from fastnn.estimators.validation import takes_weight
from fastnn.kernels.linear import losses_
from fastnn.kernels.linear_losses import CODES


@dataclass
class Held:
    """Rows that are not trained on.

    Attributes
    ----------
    X : array or CSR matrix (n, d)
        Rows.
    y : array (n,)
        Labels or targets, as the user gave them.
    weight : array (n,) or None
        Weights of the rows.
    """

    X: Any
    y: np.ndarray
    weight: np.ndarray | None


def take_held(estimator: Any, X: Any, y: Any, sample_weight: Any) -> Held:
    """Return a user's own validation rows.

    Raises
    ------
    ValueError
        They do not fit the training rows, or hold another class.
    """
    if X is None or y is None:
        raise ValueError("X_val and y_val must be given together")
    try:
        X, y = validate_data(
            estimator,
            X,
            y,
            accept_sparse="csr",
            dtype=[np.float64, np.float32],
            accept_large_sparse=False,
            reset=False,
        )
    except ValueError as error:
        raise ValueError(f"in X_val, y_val: {error}") from None
    classes = getattr(estimator, "classes_", None)
    if classes is not None and not np.isin(y, classes).all():
        unknown = y[~np.isin(y, classes)][0]
        raise ValueError(f"y_val holds {unknown!r}, which is not among the classes of y")
    weight = None
    if sample_weight is not None:
        if not np.any(sample_weight):
            raise ValueError("sample_weight_val is zero for every row; nothing is left to score")
        weight = np.asarray(_check_sample_weight(sample_weight, X))
    return Held(X, y, weight)


def make_judge(
    estimator: Any, held: Held, targets: np.ndarray, merit: Callable, **fitted: Any
) -> Callable[[np.ndarray, np.ndarray], tuple[float, float]]:
    """Return ``judge(W, b)``, the loss and the score of the model with these weights.

    Parameters
    ----------
    estimator : SGDClassifier or SGDRegressor
    held : Held
        Its ``y`` is what a scorer is given.
    targets : array (n,)
        Targets of the loss.
    merit : callable
        ``merit(y, scores, weight)``, the score where the estimator's ``scoring`` is None.
    **fitted
        Attributes of the estimator that the scorer is given.
    """
    scorer = None
    if estimator.early_stopping and estimator.scoring not in (None, "loss"):
        scorer = check_scoring(estimator, estimator.scoring)
        judged = copy.copy(estimator)
        judged.__dict__.pop("feature_names_in_", None)  # the rows are arrays by now
        judged.__dict__.update(fitted)
        weighted = held.weight is not None and takes_weight(scorer)
        options = {"sample_weight": held.weight} if weighted else {}

    def judge(W: np.ndarray, b: np.ndarray) -> tuple[float, float]:
        scores = safe_sparse_dot(held.X, W.T, dense_output=True) + b
        loss = _mean_loss(estimator, scores, targets, held.weight)
        if not estimator.early_stopping:
            return loss, -loss
        if scorer is not None:
            judged.coef_, judged.intercept_ = judged._shaped(W), b.astype(W.dtype)
            return loss, float(scorer(judged, held.X, held.y, **options))
        if estimator.scoring == "loss":
            return loss, -loss
        return loss, float(merit(held.y, scores, held.weight))

    return judge


def _mean_loss(
    estimator: Any, scores: np.ndarray, targets: np.ndarray, weight: np.ndarray | None
) -> float:
    """Return the weighted mean loss of scores (n, k)."""
    if scores.shape[1] > 1:
        right = np.take_along_axis(scores, targets.astype(np.intp)[:, None], axis=1)[:, 0]
        values = logsumexp(scores, axis=1) - right
    else:
        z = np.ascontiguousarray(scores[:, 0], float)
        values = np.empty_like(z)
        y = np.ascontiguousarray(targets, float)
        losses_(CODES[estimator.loss], loss_number(estimator), z, y, values)
    return float(np.average(values, weights=weight))
