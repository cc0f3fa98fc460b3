"""What there is to learn: rows to train, validate and test on, and what can be expected."""

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fastnn.datasets import make_source, read_table
from fastnn.export import Model
from fastnn.network import Network

#: Rows of a synthetic source that a network is tested on, and at most validated on each epoch.
TEST_ROWS = 100_000


class Part(NamedTuple):
    """Rows and their targets: class numbers, or standardised numbers for regression."""

    X: np.ndarray
    y: np.ndarray


@dataclass
class Problem:
    """A data set cut in three, with all that is known of it.

    Attributes
    ----------
    name : str
        Of the synthetic source, or the file.
    train, validation, test : Part
        Not standardised by feature.
    feature_names : tuple of str
    target_name : str
    classes : ndarray or None
        Labels by class number; None for regression.
    best_accuracy, best_loss : float or None
        What no model can beat, where that is known.
    feature_mean, feature_scale : ndarray (n_features,)
        Of the training rows; 0 and 1 where nothing is to be standardised.
    target_mean, target_scale : float
        Of the training rows' targets in a regression, else 0 and 1.
    """

    name: str
    train: Part
    validation: Part
    test: Part
    feature_names: tuple[str, ...]
    target_name: str
    classes: np.ndarray | None
    feature_mean: np.ndarray
    feature_scale: np.ndarray
    target_mean: float = 0.0
    target_scale: float = 1.0
    best_accuracy: float | None = None
    best_loss: float | None = None

    @property
    def metric(self) -> str:
        """What `score` returns: "accuracy" or "R2"."""
        return "R2" if self.classes is None else "accuracy"

    def network(self, hidden: tuple[int, ...], activation: str, dtype: str, seed: int) -> Network:
        """Return an untrained network for this problem."""
        n_classes = 0 if self.classes is None else len(self.classes)
        loss, n_outputs = "cross_entropy", n_classes
        if n_classes <= 2:
            loss, n_outputs = ("log_loss" if n_classes else "squared_error"), 1
        sizes = (len(self.feature_names), *hidden, n_outputs)
        return Network(sizes, activation=activation, loss=loss, dtype=dtype, random_state=seed)

    def model(self, network: Network) -> Model:
        """Return the network with the scaling and the names of this problem."""
        return Model(
            network,
            self.feature_names,
            self.feature_mean,
            self.feature_scale,
            self.target_name,
            self.classes,
            self.target_mean,
            self.target_scale,
        )

    def score(self, outputs: np.ndarray, y: np.ndarray) -> float:
        """Return the accuracy, or the coefficient of determination, of a network's outputs.

        Parameters
        ----------
        outputs : ndarray of shape (n, n_outputs)
            After the loss's link.
        y : ndarray of shape (n,)
            Targets as in a `Part`.
        """
        if self.classes is None:
            spread = float(np.square(y - y.mean(dtype=np.float64)).sum())
            error = float(np.square(y - outputs[:, 0].astype(np.float64)).sum())
            return 1 - error / spread if spread > 0 else float("nan")
        chosen = outputs[:, 0] > 0.5 if outputs.shape[1] == 1 else outputs.argmax(axis=1)
        return float((chosen == y).mean())

    def baseline(self) -> float:
        """Return the test score of the best constant: the training rows' majority or mean."""
        if self.classes is None:
            return self.score(np.zeros((len(self.test.y), 1)), self.test.y)
        counts = np.bincount(self.train.y, minlength=len(self.classes))
        return float((self.test.y == counts.argmax()).mean())


def synthetic(name: str, rows: int, dtype: str, seed: int) -> Problem:
    """Return ``rows`` rows of a source to train on, and further ones to validate and test."""
    source = make_source(name, seed=seed)
    ends = np.cumsum([0, rows, min(max(rows // 10, 100), TEST_ROWS), TEST_ROWS]).tolist()
    parts = (Part(*source.rows(*pair, dtype)) for pair in itertools.pairwise(ends))
    train, validation, test = parts
    return Problem(
        name=name,
        train=train,
        validation=validation,
        test=test,
        feature_names=source.feature_names,
        target_name="target",
        classes=np.arange(source.n_classes),
        feature_mean=np.zeros(source.n_features),
        feature_scale=np.ones(source.n_features),
        best_accuracy=source.best_accuracy,
        best_loss=source.best_loss,
    )


def from_file(
    path: Path,
    target: str | None,
    *,
    task: str | None,
    header: bool,
    dtype: str,
    seed: int,
    test_fraction: float,
    validation_fraction: float,
) -> Problem:
    """Read a table and cut it in three, classes in equal proportions.

    Raises
    ------
    ValueError
        No target, a single class, too few rows, or what `read_table` refuses.
    """
    if target is None and path.suffix.lower() != ".npz":
        try:  # no column is called "": the error lists those there are
            read_table(path, "", header=header)
        except ValueError as error:
            columns = str(error).partition("; ")[2] or str(error)
            raise ValueError(f"--target COLUMN is missing; {columns}") from None
    table = read_table(path, target, task=task, header=header, dtype=dtype)
    if table.y is None:
        names = ", ".join(table.feature_names[:20])
        raise ValueError(f"{path.name}: which column is the target? Give --target, one of {names}")
    y, classes = table.y, table.classes
    if classes is not None and len(classes) < 2:
        raise ValueError(f"{path.name}: the target has one class only, {classes[0].item()!r}")
    train, validation, test = split(
        None if classes is None else y, len(y), test_fraction, validation_fraction, seed
    )
    if classes is None and np.ptp(y[train]) == 0:
        raise ValueError(f"{path.name}: the target is the same number in every training row")
    mean, scale = scaling(table.X[train])
    target_mean, target_scale = 0.0, 1.0
    if classes is None:
        target_mean, target_scale = (float(value[0]) for value in scaling(y[train][:, None]))
        y = (y.astype(np.float64) - target_mean) / target_scale
    return Problem(
        name=path.name,
        train=Part(table.X[train], y[train]),
        validation=Part(table.X[validation], y[validation]),
        test=Part(table.X[test], y[test]),
        feature_names=table.feature_names,
        target_name=table.target_name or "target",
        classes=classes,
        feature_mean=mean,
        feature_scale=scale,
        target_mean=target_mean,
        target_scale=target_scale,
    )


def split(
    labels: np.ndarray | None,
    n: int,
    test_fraction: float,
    validation_fraction: float,
    seed: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the numbers of the rows to train, validate and test on, each at least one.

    Parameters
    ----------
    labels : int64 ndarray of shape (n,) or None
        Class numbers, each of which is cut in the same proportions (within one row).
    n : int
    test_fraction, validation_fraction : float
        Of all rows.
    seed : int

    Raises
    ------
    ValueError
        There are too few rows for three parts.
    """
    n_test, n_validation = (max(1, round(n * f)) for f in (test_fraction, validation_fraction))
    if n_test + n_validation >= n:
        raise ValueError(
            f"{n} rows are too few to test on {n_test}, validate on {n_validation} and train"
        )
    rng = np.random.default_rng([seed, 1])
    order = rng.permutation(n)
    if labels is not None:
        order = order[np.argsort(labels[order], kind="stable")]
    # Among rows grouped by class, every (n / n_test)-th belongs to the test.
    picked = np.arange(n) * n_test // n
    is_test = np.diff(picked, append=n_test) > 0
    rest = order[~is_test]
    picked = np.arange(len(rest)) * n_validation // len(rest)
    is_validation = np.diff(picked, append=n_validation) > 0
    return rest[~is_validation], rest[is_validation], order[is_test]


def scaling(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of each column, float64; 1 for a constant column."""
    mean = X.mean(axis=0, dtype=np.float64)
    scale = X.std(axis=0, dtype=np.float64)
    constant = scale <= np.maximum(1e-12 * np.abs(mean), np.finfo(np.float32).tiny)
    return mean, np.where(constant, 1.0, scale)
