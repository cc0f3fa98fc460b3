"""Columns of a table: which are meant, what a target column is, and how to speak of them."""

import operator
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

#: Texts that stand for a missing value, in lower case.
MISSING = frozenset({"", "na", "n/a", "nan", "-nan", "null", "?"})
INFINITE = frozenset({"inf", "+inf", "-inf", "infinity", "+infinity", "-infinity"})

#: Whole numbers with at most so many distinct values are taken for class labels.
MOST_CLASSES = 20

TASKS = ("classification", "regression")


def listed(names: Sequence[str]) -> str:
    """Return the names for an error message, the first 20 of many."""
    text = ", ".join(map(repr, names[:20]))
    return text if len(names) <= 20 else f"{text}, ... ({len(names)} columns)"


def numbered(n: int) -> list[str]:
    """Return the names of ``n`` columns that have none."""
    return [f"x{j}" for j in range(n)]


def find_column(argument: str, wanted: Any, names: Sequence[str]) -> int:
    """Return the number of the column called ``wanted``, or with that number.

    Raises
    ------
    ValueError
        No such column; the message lists those there are.
    """
    if isinstance(wanted, str):
        if wanted in names:
            return names.index(wanted)
        digits = wanted.strip()
        wanted = int(digits) if digits.lstrip("-").isdecimal() else wanted
    if not isinstance(wanted, str):
        try:
            number = operator.index(wanted)
        except TypeError:
            raise TypeError(
                f"{argument} must be a column's name or number, not {wanted!r}"
            ) from None
        if -len(names) <= number < len(names):
            return number % len(names)
    raise ValueError(f"{argument} {wanted!r} is not a column; the columns are {listed(names)}")


def choose_columns(
    target: Any, features: Iterable[Any] | None, names: Sequence[str]
) -> tuple[int | None, list[int]]:
    """Return the number of the target column, if any, and those of the features."""
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise ValueError(f"two columns have the same name: {listed(repeated)}")
    t = None if target is None else find_column("target", target, names)
    if features is None:
        chosen = [j for j in range(len(names)) if j != t]
    else:
        if isinstance(features, str):
            raise TypeError(f"features must be a list of columns, not the text {features!r}")
        chosen = [find_column("features", feature, names) for feature in features]
        if t in chosen:
            raise ValueError(f"features must not contain the target {names[t]!r}")
        if len(set(chosen)) < len(chosen):
            raise ValueError("features names a column twice")
    if not chosen:
        raise ValueError(f"no feature columns are left; the columns are {listed(names)}")
    return t, chosen


def read_target(
    name: str, values: list[str] | np.ndarray, task: str | None, dtype: np.dtype
) -> tuple[np.ndarray, np.ndarray | None, str]:
    """Interpret a target column.

    Parameters
    ----------
    name : str
        Of the column, for messages.
    values : list of str, or ndarray of shape (n,)
        Without missing values.
    task : {"classification", "regression"} or None
        None: text, booleans, and whole numbers with at most `MOST_CLASSES` distinct values are
        classes; other numbers are a regression target.
    dtype : float32 or float64
        Of a regression target.

    Returns
    -------
    y : ndarray of shape (n,)
        Class numbers (int64), or ``dtype``.
    classes : ndarray or None
        Sorted labels, of which ``y`` holds the numbers.
    task : str
    """
    numbers = _numbers(values)
    if numbers is None:
        if task == "regression":
            raise ValueError(f"target {name!r} holds text, {_example(values)!r}: no regression")
        labels = [str(value) for value in values]
        distinct = sorted(set(labels))
        code = {label: k for k, label in enumerate(distinct)}
        return (
            np.fromiter((code[label] for label in labels), np.int64, len(labels)),
            np.array(distinct),
            "classification",
        )
    if not np.isfinite(numbers).all():
        raise ValueError(f"target {name!r} holds {numbers[~np.isfinite(numbers)][0]}")
    if task != "regression":
        classes, codes = np.unique(numbers, return_inverse=True)
        whole = bool((classes == np.floor(classes)).all())
        if task == "classification" or (whole and classes.size <= MOST_CLASSES):
            if whole and classes.dtype.kind == "f":
                classes = classes.astype(np.int64)
            return codes.reshape(-1).astype(np.int64), classes, "classification"
    return numbers.astype(dtype), None, "regression"


def _numbers(values: list[str] | np.ndarray) -> np.ndarray | None:
    """Return the values as an array of numbers, None if one of them is none."""
    if isinstance(values, np.ndarray) and values.dtype.kind in "biuf":
        return values
    try:
        return np.fromiter(map(float, values), np.float64, len(values))
    except ValueError:
        return None


def _example(values: Iterable[Any]) -> str:
    """Return the first value that is not a number."""
    for value in values:
        try:
            float(value)
        except ValueError:
            return str(value)
    raise AssertionError("every value is a number")
