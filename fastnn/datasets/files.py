"""Tables in files: CSV, TSV, NumPy's .npy and .npz, Parquet."""

import dataclasses
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from fastnn.datasets.checks import float_type
from fastnn.datasets.columns import (
    TASKS,
    choose_columns,
    numbered,
    read_target,
)
from fastnn.datasets.delimited import read_delimited
from fastnn.errors import choose

#: Rows that are converted at a time.
_BLOCK_ROWS = 1 << 14


@dataclasses.dataclass(frozen=True)
class Table:
    """A table read from a file.

    Attributes
    ----------
    X : float32 or float64 ndarray of shape (n, d), C-contiguous
        Finite.
    y : ndarray of shape (n,) or None
        Class numbers (int64, into ``classes``), or the regression target (the dtype of ``X``).
    feature_names : tuple of str
    target_name : str or None
    classes : ndarray of shape (n_classes,) or None
        Sorted labels: strings or numbers.
    task : {"classification", "regression"} or None
        None without a target.
    """

    X: np.ndarray = dataclasses.field(repr=False)
    y: np.ndarray | None = dataclasses.field(repr=False)
    feature_names: tuple[str, ...]
    target_name: str | None
    classes: np.ndarray | None
    task: str | None

    @property
    def labels(self) -> np.ndarray | None:
        """The target as it stands in the file: labels, or numbers for regression."""
        return self.y if self.classes is None else self.classes[self.y]


def read_table(
    path: str | Path,
    target: str | int | None = None,
    *,
    features: Iterable[str | int] | None = None,
    task: str | None = None,
    dtype: Any = np.float32,
    header: bool = True,
    delimiter: str | None = None,
) -> Table:
    r"""Read a table of numbers, with one column apart as the target.

    Parameters
    ----------
    path : str or Path
        ``.csv`` or ``.tsv``: UTF-8 text whose first line names the columns.  ``.npy``: an array
        of shape (n, columns).  ``.npz``: arrays ``X`` and ``y`` (and ``feature_names``), or one
        array like ``.npy``.  ``.parquet``: needs pyarrow.
    target : str or int, optional
        The target column, by name or number (from 0; -1 is the last).  Without it every column
        is a feature, except in an ``.npz`` with ``y``.
    features : list of str or int, optional
        Read these columns only, in this order; by default all but the target.
    task : {"classification", "regression"}, optional
        By default text, booleans and whole numbers with at most 20 distinct values are classes.
    dtype : float32 or float64, default=float32
    header : bool, default=True
        False: the first line of a text file is data, and the columns are ``x0, x1, ...``.
    delimiter : str, optional
        Of a text file.  By default tab for ``.tsv`` and comma for ``.csv``; a ``.csv`` whose first
        line has no comma is split at semicolons or tabs.

    Returns
    -------
    Table

    Raises
    ------
    ValueError, TypeError
        In one line: the file, the line (of a text file, from 1) or row (of an array, from 0), the
        column, and what was found there.  Missing values and text features are refused.
    ImportError
        A ``.parquet`` file without pyarrow.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from fastnn.datasets import read_table
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "flowers.csv")
    ...     _ = path.write_text("width,length,kind\n1.5,2,rose\n0.5,1,aster\n")
    ...     table = read_table(path, "kind")
    >>> table.classes[table.y].tolist(), table.feature_names
    (['rose', 'aster'], ('width', 'length'))
    """
    path = Path(path)
    dtype = float_type(dtype)
    if task is not None:
        choose("task", task, TASKS)
    kind = path.suffix.lower()
    values: list[str] | np.ndarray | None
    if kind in (".csv", ".tsv"):
        X, names, name, values = read_delimited(path, target, features, dtype, header, delimiter)
    elif kind in (".npy", ".npz"):
        X, names, name, values = _read_arrays(path, target, features, dtype)
    elif kind == ".parquet":
        X, names, name, values = _read_parquet(path, target, features, dtype)
    else:
        raise ValueError(
            f"{path.name}: a table is .csv, .tsv, .npy, .npz or .parquet, not {kind or 'nameless'}"
        )
    if name is None or values is None:
        return Table(X, None, names, None, None, None)
    try:
        y, classes, task = read_target(name, values, task, dtype)
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from None
    return Table(X, y, names, name, classes, task)


_Columns = tuple[np.ndarray, tuple[str, ...], str | None, np.ndarray | None]


def _read_arrays(path: Path, target: Any, features: Any, dtype: np.dtype) -> _Columns:
    """Read .npy or .npz."""
    try:
        if path.suffix.lower() == ".npy":
            arrays: dict[str, np.ndarray] = {"": np.lib.format.open_memmap(path, mode="r")}
        else:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as loaded:
                arrays = dict(loaded)
    except (ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path.name}: not a NumPy file of numbers ({error})") from None
    if not all(isinstance(array, np.ndarray) for array in arrays.values()):
        raise ValueError(f"{path.name}: a zip file of other things than NumPy arrays")
    names = [str(name) for name in arrays.pop("feature_names", ())] or None
    target_name = str(arrays.pop("target_name", "y"))
    if len(arrays) == 1:
        return _split(path, next(iter(arrays.values())), names, target, features, dtype)
    if set(arrays) != {"X", "y"}:
        found = ", ".join(arrays) or "none"
        raise ValueError(f"{path.name}: needs arrays X and y, or a single one; found {found}")
    if target not in (None, "y", target_name):
        raise ValueError(f"{path.name}: target {target!r} given, but the target is array 'y'")
    X, chosen, _, _ = _split(path, arrays["X"], names, None, features, dtype)
    y = arrays["y"]
    if y.shape not in ((len(X),), (len(X), 1)):
        raise ValueError(f"{path.name}: y has shape {y.shape}, but X has {len(X)} rows")
    if y.dtype.kind not in "biufU":
        raise ValueError(f"{path.name}: y must hold numbers or text, not {y.dtype}")
    return X, chosen, target_name, y.reshape(-1)


def _split(
    path: Path,
    array: np.ndarray,
    names: list[str] | None,
    target: Any,
    features: Any,
    dtype: np.dtype,
) -> _Columns:
    """Take features and target from the columns of an array."""
    if array.ndim != 2 or array.shape[0] == 0 or array.dtype.kind not in "biuf":
        raise ValueError(
            f"{path.name}: needs a non-empty array of numbers of shape (rows, columns), "
            f"not {array.dtype} of shape {array.shape}"
        )
    n, width = array.shape
    names = numbered(width) if names is None else names
    if len(names) != width:
        raise ValueError(f"{path.name}: {len(names)} feature_names for {width} columns")
    try:
        t, chosen = choose_columns(target, features, names)
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from None
    X = np.empty((n, len(chosen)), dtype)
    for first in range(0, n, _BLOCK_ROWS):
        block = X[first : first + _BLOCK_ROWS]
        with np.errstate(over="ignore"):
            block[:] = array[first : first + _BLOCK_ROWS, chosen]
        bad = np.argwhere(~np.isfinite(block))
        if bad.size:
            i, j = bad[0]
            raise ValueError(
                _not_finite(path, first + i, names[chosen[j]], array, chosen[j], dtype)
            )
    if t is None:
        return X, tuple(names[j] for j in chosen), None, None
    y = np.array(array[:, t])
    finite = np.isfinite(y)
    if not finite.all():
        raise ValueError(_not_finite(path, int(finite.argmin()), names[t], array, t, dtype))
    return X, tuple(names[j] for j in chosen), names[t], y


def _not_finite(
    path: Path, row: int, name: str, array: np.ndarray, column: int, dtype: np.dtype
) -> str:
    """Say which entry is missing, infinite or too large."""
    value = array[row, column]
    if np.isnan(value):
        problem = "missing value (nan); fill it in or drop the row first"
    elif np.isinf(value):
        problem = f"{value} is not a finite number"
    else:
        problem = f"{value} does not fit {dtype}"
    return f"{path.name}, row {row} (from 0), column {name!r}: {problem}"


def _read_parquet(path: Path, target: Any, features: Any, dtype: np.dtype) -> _Columns:
    """Read Parquet through pyarrow, column by column."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise ImportError(
            f"{path.name}: reading Parquet needs pyarrow: "
            "pip install '.[tables]' in fastnn's source tree"
        ) from None
    try:
        file = pq.ParquetFile(path)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path.name}: not a Parquet file ({error})") from None
    names = file.schema_arrow.names
    try:
        t, chosen = choose_columns(target, features, names)
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from None
    n = file.metadata.num_rows
    if n == 0:
        raise ValueError(f"{path.name}: the table has no rows")
    X = np.empty((n, len(chosen)), dtype)
    y = None
    for j in [*chosen, t]:
        if j is None:
            continue
        column = file.read(columns=[names[j]]).column(0)
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if column.null_count:
            row = column.is_null().index(True).as_py()
            raise ValueError(
                f"{path.name}, row {row} (from 0), column {names[j]!r}: missing value; "
                "fill it in or drop the row first"
            )
        values = np.asarray(column)
        if j == t and values.dtype.kind in "OU":
            y = values.astype(str)
            continue
        if values.dtype.kind not in "biuf":
            raise ValueError(
                f"{path.name}, column {names[j]!r}: {column.type} is not a number "
                "(encode text columns first, for example one-hot)"
            )
        single, _, _, _ = _split(path, values[:, None], [names[j]], None, None, dtype)
        if j == t:
            y = values
        else:
            X[:, chosen.index(j)] = single[:, 0]
    return X, tuple(names[j] for j in chosen), None if t is None else names[t], y
