"""Write tables to files chunk by chunk, so that they may be larger than memory."""

import csv
import io
import os
import uuid
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from fastnn.datasets.checks import float_type
from fastnn.datasets.columns import numbered
from fastnn.errors import integer


class TableWriter:
    """Write a table of known size to a ``.csv``, ``.tsv``, ``.npy`` or ``.npz`` file, in chunks.

    Use it in a ``with`` block.  The file gets its name when the block ends well and all rows are
    written; otherwise nothing is left, and an older file of that name stays as it was.

    Parameters
    ----------
    path : str or Path
    n_rows, n_features : int
    feature_names : sequence of str, optional
        ``x0, x1, ...`` by default.  Not kept by ``.npy``.
    target_name : str or None, default="target"
        Name of the last column (of array ``y`` in an ``.npz``); None for a table without target.
    dtype : float32 or float64, default=float32
        Of the numbers; text keeps enough digits to read back the same numbers.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from fastnn.datasets import Moons, TableWriter, read_table
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "moons.csv")
    ...     with TableWriter(path, 1000, 2) as writer:
    ...         for X, y in Moons().chunks(1000, 300):
    ...             writer.write(X, y)
    ...     read_table(path, "target").X.shape
    (1000, 2)
    """

    def __init__(
        self,
        path: str | Path,
        n_rows: int,
        n_features: int,
        *,
        feature_names: Sequence[str] | None = None,
        target_name: str | None = "target",
        dtype: Any = np.float32,
    ) -> None:
        self.path = Path(path)
        self.n_rows = integer("n_rows", n_rows)
        self.n_features = integer("n_features", n_features)
        self.dtype = float_type(dtype)
        self.feature_names = numbered(n_features) if feature_names is None else [*feature_names]
        if len(self.feature_names) != self.n_features:
            raise ValueError(
                f"feature_names has {len(self.feature_names)} names for {n_features} features"
            )
        self.target_name = target_name
        self._kind = self.path.suffix.lower()
        if self._kind not in (".csv", ".tsv", ".npy", ".npz"):
            raise ValueError(
                f"path must end in .csv, .tsv, .npy or .npz to be written, not {self.path.name!r}"
            )
        self._separator = "\t" if self._kind == ".tsv" else ","
        stem = f".{self.path.name}.{uuid.uuid4().hex}"
        self._temporary = self.path.with_name(f"{stem}.part")
        self._packed = self.path.with_name(f"{stem}.zip")
        self._written = 0
        self._labels: list[np.ndarray] = []

    def __enter__(self) -> "TableWriter":
        if self._kind in (".csv", ".tsv"):
            self._file: TextIO = self._temporary.open("w", encoding="utf-8", newline="")
            target = [] if self.target_name is None else [self.target_name]
            self._file.write(f"{self._line([*self.feature_names, *target])}\n")
        else:
            width = self.n_features + (self._kind == ".npy" and self.target_name is not None)
            try:
                self._array: Any = np.lib.format.open_memmap(
                    self._temporary, "w+", self.dtype, (self.n_rows, width)
                )
            except BaseException:  # larger than any file can be
                self._temporary.unlink(missing_ok=True)
                raise
        return self

    def write(self, X: Any, y: Any = None) -> None:
        """Append rows.

        Parameters
        ----------
        X : array-like of shape (m, n_features)
        y : array-like of shape (m,), where the table has a target
            Numbers; for text files and ``.npz`` also text.
        """
        X = np.asarray(X)
        if X.ndim != 2 or X.shape[1] != self.n_features:
            raise ValueError(f"X has shape {X.shape}, not (rows, {self.n_features})")
        if (y is None) != (self.target_name is None):
            raise ValueError(
                f"y is {'missing' if y is None else 'given'}, but the table's target "
                f"is {self.target_name!r}"
            )
        y = None if y is None else np.asarray(y)
        if y is not None and y.shape != (len(X),):
            raise ValueError(f"y has shape {y.shape}, but X has {len(X)} rows")
        if y is not None and self._kind == ".npy" and y.dtype.kind not in "biuf":
            raise ValueError("y holds text, which .npy cannot: write .csv or .npz")
        stop = self._written + len(X)
        if stop > self.n_rows:
            raise ValueError(f"X brings the rows to {stop}, but n_rows is {self.n_rows}")
        if self._kind in (".csv", ".tsv"):
            self._write_text(X, y)
        else:
            self._array[self._written : stop, : self.n_features] = X
            if y is not None and self._kind == ".npy":
                self._array[self._written : stop, -1] = y
            elif y is not None:
                self._labels.append(y.copy())
        self._written = stop

    def _write_text(self, X: np.ndarray, y: np.ndarray | None) -> None:
        # One format of a whole row takes less than half the time of csv.writer on single numbers.
        digits = "%.9g" if self.dtype == np.float32 else "%.17g"
        template = self._separator.join([digits] * self.n_features)
        rows = X.astype(self.dtype, copy=False).tolist()
        if y is None:
            lines = [template % tuple(row) for row in rows]
        else:
            template += self._separator + (digits if y.dtype.kind == "f" else "%s")
            labels = y.tolist()
            if y.dtype.kind not in "biuf":
                quoted = {label: self._line([label]) for label in set(labels)}
                labels = [quoted[label] for label in labels]
            lines = [template % (*row, label) for row, label in zip(rows, labels, strict=True)]
        self._file.write("".join(f"{line}\n" for line in lines))

    def _line(self, fields: Sequence[Any]) -> str:
        """Return the fields as a line without its end, quoted where they need it."""
        line = io.StringIO()
        csv.writer(line, delimiter=self._separator, lineterminator="").writerow(fields)
        return line.getvalue()

    def __exit__(self, kind: Any, *_: object) -> None:
        try:
            self._close()
            if kind is None:
                if self._written < self.n_rows:
                    raise ValueError(
                        f"{self._written} rows were written, but n_rows is {self.n_rows}"
                    )
                finished = self._pack() if self._kind == ".npz" else self._temporary
                os.replace(finished, self.path)
        finally:
            self._temporary.unlink(missing_ok=True)
            self._packed.unlink(missing_ok=True)

    def _close(self) -> None:
        if self._kind in (".csv", ".tsv"):
            self._file.close()
        else:
            self._array.flush()
            del self._array  # unmaps the file, which some systems need before it is renamed

    def _pack(self) -> Path:
        """Put the features and the labels into an uncompressed .npz."""
        parts: dict[str, Any] = {"feature_names": np.array(self.feature_names)}
        if self.target_name is not None:
            parts |= {"y": np.concatenate(self._labels), "target_name": np.array(self.target_name)}
        with zipfile.ZipFile(self._packed, "w", allowZip64=True) as archive:
            archive.write(self._temporary, "X.npy")
            for name, part in parts.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, part, allow_pickle=False)
        return self._packed


def write_table(
    path: str | Path,
    X: Any,
    y: Any = None,
    *,
    feature_names: Sequence[str] | None = None,
    target_name: str = "target",
) -> None:
    """Write arrays to a file in one go; see `TableWriter`.

    Parameters
    ----------
    path : str or Path
    X : array-like of shape (n, d)
        float64 stays float64; every other type is written as float32.
    y : array-like of shape (n,), optional
    feature_names : sequence of str, optional
    target_name : str, default="target"
    """
    X = np.asarray(X)
    if X.ndim != 2 or X.dtype.kind not in "biuf":
        raise ValueError(f"X must be numbers of shape (rows, columns), not {X.dtype} {X.shape}")
    with TableWriter(
        path,
        len(X),
        X.shape[1],
        feature_names=feature_names,
        target_name=None if y is None else target_name,
        dtype=np.float64 if X.dtype == np.float64 else np.float32,
    ) as writer:
        writer.write(X, y)
