"""Class labels as a network's targets, and back from what it predicts."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import (
    check_classification_targets,
    type_of_target,
    unique_labels,
)

from fastnn.errors import number

MULTIOUTPUT = "multiclass-multioutput"
#: Labels that are looked at together; different ones that are too many to be collected so.
_BLOCK, _MANY = 1 << 16, 1 << 10


class Labels:
    """The classes of a target: one of two, one of many, a set of labels, or one per column.

    Parameters
    ----------
    y : array (n,) or (n, k), or sparse matrix
        Labels, or an indicator matrix.
    classes : array, or list of array, optional
        All classes that there will be, of each column where ``y`` has many; those of ``y`` if None.

    Attributes
    ----------
    kind : {"binary", "multiclass", "multilabel", "multioutput"}
    classes : array, or list of array
        What ``classes_`` shows.
    sizes : list of int
        Outputs of the network that belong together: one group, or one per column of "multioutput".
    """

    def __init__(self, y: Any, classes: Any = None) -> None:
        y = _distinct(y)
        found = type_of_target(y, input_name="y")
        if found.startswith(("continuous", "unknown")):
            check_classification_targets(y)  # raises
        if found == MULTIOUTPUT:
            self.kind = "multioutput"
            self.classes: Any = [np.unique(column) for column in _columns(y)]
            if classes is not None:
                self.classes = [np.unique(given) for given in classes]
            if len(self.classes) != y.shape[1]:
                raise ValueError(
                    f"classes must have one list per column of y ({y.shape[1]}), got "
                    f"{len(self.classes)}"
                )
            self.sizes = [column.size for column in self.classes]
        else:
            multilabel = found.startswith("multilabel")
            given = y if multilabel or classes is None else classes
            self._binarizer = LabelBinarizer().fit(given)
            self.kind = "multilabel" if multilabel else self._binarizer.y_type_
            self.classes = self._binarizer.classes_
            self.sizes = [1 if self.kind == "binary" else self.classes.size]
        self._numbers: list[dict] | None = None

    @property
    def n_outputs(self) -> int:
        """How many outputs the network has."""
        return sum(self.sizes)

    @property
    def exclusive(self) -> bool:
        """Whether a group of outputs has exactly one that is right."""
        return self.kind in ("multiclass", "multioutput")

    def check(self, y: Any, *, same: bool = False, name: str = "y") -> None:
        """Raise ValueError if ``y`` holds other classes, or if ``same`` not all of them."""
        if self.kind == "multioutput":
            if np.ndim(y) != 2 or y.shape[1] != len(self.classes):
                raise ValueError(f"{name} must have {len(self.classes)} columns, as it had before")
            pairs = [
                (np.unique(column), classes)
                for column, classes in zip(_columns(y), self.classes, strict=True)
            ]
        else:
            pairs = [(unique_labels(_distinct(y)), self.classes)]
        for found, classes in pairs:
            if same and set(found) != set(classes):
                raise ValueError(
                    f"warm_start can only be used where `{name}` has the same classes as in the "
                    f"previous call to fit. Previously got {classes}, `{name}` has {found}"
                )
            if np.setdiff1d(found, classes, assume_unique=True).size:
                raise ValueError(
                    f"`{name}` has classes not in `self.classes_`. "
                    f"`self.classes_` has {classes}. '{name}' has {found}."
                )

    def encode(self, y: Any, dtype: np.dtype, *, one_hot: bool, grouped: bool) -> np.ndarray:
        """Return the targets as the kernels take them.

        Parameters
        ----------
        y : array
            Labels that `check` let pass.
        dtype : numpy.dtype
        one_hot : bool
            Whether one class of many becomes a column per class, not its number.
        grouped : bool
            Whether the sizes of the groups follow the columns, as cross-entropy asks of many.
        """
        if self.kind == "multilabel":
            return (y != 0).astype(dtype)
        columns = y.reshape(y.shape[0], -1).T
        if self.kind == "binary" or (self.kind == "multiclass" and not one_hot):
            return _numbers(self.classes, columns[0], dtype)
        numbers = [
            np.searchsorted(classes, column)
            for classes, column in zip(self._class_columns(), columns, strict=True)
        ]
        sizes = self.sizes if grouped and self.kind == "multioutput" else []
        encoded = np.zeros((y.shape[0], self.n_outputs + len(sizes)), dtype)
        first = np.cumsum([0, *self.sizes[:-1]])
        for start, found in zip(first, numbers, strict=True):
            encoded[np.arange(y.shape[0]), start + found] = 1
        encoded[:, self.n_outputs :] = sizes
        return encoded

    def numbers(self, y: np.ndarray) -> np.ndarray | None:
        """Return the class number of each row in a byte, or None where that does not say all."""
        if self.kind not in ("binary", "multiclass") or self.classes.size > 256:
            return None
        return _numbers(self.classes, y, np.dtype(np.uint8))[:, 0]

    def soften_(self, encoded: np.ndarray, order: np.ndarray, amount: float) -> None:
        """Spread ``amount`` of the mass of one-hot targets, rows ``order``, over all classes."""
        first = 0
        for size in self.sizes:
            columns = encoded[:, first : first + size]
            share = amount / (size if self.exclusive else 2)
            columns[order] = (1 - amount) * columns[order] + share
            first += size

    def split(self, outputs: np.ndarray) -> list[np.ndarray]:
        """Return the outputs of each group."""
        return np.split(outputs, np.cumsum(self.sizes)[:-1], axis=-1)

    def decode(self, outputs: np.ndarray) -> Any:
        """Return the labels of predictions (n, n_outputs), after the link."""
        if self.kind != "multioutput":
            return self._binarizer.inverse_transform(
                outputs.reshape(-1) if self.n_outputs == 1 else outputs
            )
        columns = [
            classes[np.argmax(part, axis=1)]
            for classes, part in zip(self.classes, self.split(outputs), strict=True)
        ]
        same = len({column.dtype.kind for column in columns}) == 1
        return np.column_stack(columns if same else [column.astype(object) for column in columns])

    def encode_one(self, y: Any, row: np.ndarray) -> None:
        """Write the target of one row, with classes by number or one-hot as in `encode`."""
        if self.kind == "multilabel":
            row[:] = y
            return
        if self._numbers is None:
            self._numbers = [
                {label: number for number, label in enumerate(classes.tolist())}
                for classes in self._class_columns()
            ]
        try:
            if self.kind != "multioutput":
                number = self._numbers[0][y]
                if row.size == 1:
                    row[0] = number
                else:
                    row[:] = 0
                    row[number] = 1
                return
            row[: self.n_outputs] = 0
            first = 0
            for label, numbers, size in zip(y, self._numbers, self.sizes, strict=True):
                row[first + numbers[label]] = 1
                first += size
        except KeyError as error:
            raise ValueError(f"y has a class not in classes_: {error.args[0]!r}") from None

    def decoder(self, middle: float) -> Callable[[np.ndarray], Any]:
        """Return what finds the label of one row's outputs.

        Outputs may be scores before the link, which does not change their order; ``middle`` is
        where a single output is undecided.
        """
        classes, split = self.classes, self.split
        if self.kind == "binary":
            return lambda outputs: classes[-1 if outputs[0] > middle else 0]
        if self.kind == "multiclass":
            return lambda outputs: classes[outputs.argmax()]
        if self.kind == "multilabel":
            return lambda outputs: (outputs > middle).astype(int)
        return lambda outputs: [
            part_classes[part.argmax()]
            for part_classes, part in zip(classes, split(outputs), strict=True)
        ]

    def class_weights(self, class_weight: Any, y: Any, weight: np.ndarray | None) -> list[dict]:
        """Return the weight of each class, a dict per column of ``y``.

        Parameters
        ----------
        class_weight : dict, list of dict or "balanced"
            As in scikit-learn; where ``y`` has many columns, a list with one per column.
        y : array
            Labels.
        weight : array (n,) or None
            Weights of the rows, which count in "balanced".
        """
        columns = _columns(y)
        many = y.ndim == 2
        if (
            many
            and not isinstance(class_weight, str)
            and (isinstance(class_weight, dict) or len(class_weight) != len(columns))
        ):
            raise ValueError(
                f"class_weight must be 'balanced' or a list with one dict per column of y "
                f"({len(columns)}), got {class_weight!r}"
            )
        given = class_weight if many and not isinstance(class_weight, str) else [class_weight]
        given = list(given) * (len(columns) if len(given) == 1 else 1)
        for one in given:
            if not isinstance(one, str):
                for label, factor in one.items():
                    number(f"class_weight of {label!r}", factor, low=0, closed="left")
        if weight is not None:
            columns = [column[weight > 0] for column in columns]
            weight = weight[weight > 0]
        found = []
        for column, classes, one in zip(columns, self._weighed_columns(), given, strict=True):
            if isinstance(one, str):
                classes = np.unique(column)
            balance = weight if isinstance(one, str) else None
            factors = compute_class_weight(one, classes=classes, y=column, sample_weight=balance)
            found.append(dict(zip(classes.tolist(), factors.tolist(), strict=True)))
        return found

    def _class_columns(self) -> list[np.ndarray]:
        return self.classes if self.kind == "multioutput" else [self.classes]

    def _weighed_columns(self) -> list[np.ndarray]:
        if self.kind == "multilabel":
            return [np.array([0, 1])] * self.sizes[0]
        return self._class_columns()


def weigh_rows(y: np.ndarray, class_weights: Iterable[dict]) -> np.ndarray:
    """Return the weight of each row, the product of its classes' weights."""
    product = np.ones(y.shape[0])
    for column, weights in zip(_columns(y), class_weights, strict=True):
        classes, numbers = np.unique(column, return_inverse=True)
        factors = np.array([weights.get(label, 1.0) for label in classes.tolist()])
        product *= factors[numbers]
    return product


def _columns(y: Any) -> list[np.ndarray]:
    """Return the columns of labels."""
    if sparse.issparse(y):
        y = y.toarray()
    return list(y.reshape(y.shape[0], -1).T)


def _distinct(y: Any) -> Any:
    """Return the different labels of one column, found in blocks, if they are few; else ``y``.

    scikit-learn's checks, which depend on nothing else, would copy all of them.
    """
    if not isinstance(y, np.ndarray) or y.ndim != 1 or y.dtype.kind not in "biufU":
        return y
    found = y[:0]
    for start in range(0, y.size, _BLOCK):
        found = np.union1d(found, y[start : start + _BLOCK])
        if found.size > _MANY:
            return y
    return found


def _numbers(classes: np.ndarray, y: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Return the number of each label among its sorted ``classes``, as a column."""
    out = np.empty((y.size, 1), dtype)
    for start in range(0, y.size, _BLOCK):  # the numbers of all would be int64
        out[start : start + _BLOCK, 0] = np.searchsorted(classes, y[start : start + _BLOCK])
    return out
