"""Read text files of separated columns (CSV, TSV) with errors that name line and column."""

import csv
import itertools
from array import array
from collections.abc import Callable, Iterable, Iterator
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import numpy as np

from fastnn.datasets.columns import INFINITE, MISSING, choose_columns, listed, numbered

#: Values that are parsed before they are packed into an array.
_BATCH = 1 << 17


class Columns(NamedTuple):
    """Columns as read: the features, and the target's texts if there is one."""

    X: np.ndarray
    feature_names: tuple[str, ...]
    target_name: str | None
    target: list[str] | None


def read_delimited(
    path: Path,
    target: Any,
    features: Iterable[Any] | None,
    dtype: np.dtype,
    header: bool,
    delimiter: str | None,
) -> Columns:
    """Read a CSV or TSV file; see `read_table`."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return _read(file, path, target, features, dtype, header, delimiter)
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path.name}: not UTF-8 text: byte {error.object[error.start]:#04x} ({error.reason})"
        ) from None


def _read(
    file: TextIO,
    path: Path,
    target: Any,
    features: Iterable[Any] | None,
    dtype: np.dtype,
    header: bool,
    delimiter: str | None,
) -> Columns:
    first_line = file.readline()
    file.seek(0)
    records = _records(file, path, delimiter or _delimiter(path, first_line))
    first = next(records, None)
    if first is None:
        raise ValueError(f"{path.name}: the file is empty")
    line, fields = first
    names = [field.strip() for field in fields] if header else numbered(len(fields))
    if header:
        _check_header(path, line, names)
    else:
        records = itertools.chain([first], records)
    try:
        t, chosen = choose_columns(target, features, names)
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from None
    X, labels = _values(path, records, names, t, chosen, dtype)
    if not len(X):
        raise ValueError(f"{path.name}: no rows after the header")
    return Columns(
        X,
        tuple(names[j] for j in chosen),
        None if t is None else names[t],
        None if t is None else labels,
    )


def _delimiter(path: Path, first_line: str) -> str:
    """Return tab for .tsv; for .csv a comma, unless the first line has none but another one."""
    if path.suffix.lower() == ".tsv":
        return "\t"
    return next((mark for mark in ",;\t" if mark in first_line), ",")


def _records(file: TextIO, path: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield (number of its first line, fields) of each record, blank lines left out."""
    reader = csv.reader(file, delimiter=delimiter, strict=True)
    line = 1
    try:
        for fields in reader:
            if fields:
                yield line, fields
            line = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(f"{path.name}, line {line}: {error}") from None


def _check_header(path: Path, line: int, names: list[str]) -> None:
    where = f"{path.name}, line {line}"
    for j, name in enumerate(names, 1):
        if not name:
            raise ValueError(f"{where}: column {j} has no name (an index that was written along?)")
        if not name.lstrip("+-").isdecimal() and _is_number(name):
            raise ValueError(
                f"{where}: the header holds the number {name!r}: "
                "for a file without a header pass header=False (--no-header)"
            )


def _values(
    path: Path,
    records: Iterator[tuple[int, list[str]]],
    names: list[str],
    t: int | None,
    chosen: list[int],
    dtype: np.dtype,
) -> tuple[np.ndarray, list[str]]:
    """Return the features (n, d) and the texts of the target column ``t``."""
    width = len(names)
    pick: Callable[[list[str]], Iterable[str]]
    if chosen == list(range(width)):
        pick = list
    elif len(chosen) == 1:
        pick = itemgetter(slice(chosen[0], chosen[0] + 1))
    else:
        pick = itemgetter(*chosen)
    values, lines = array("d"), array("q")
    blocks: list[np.ndarray] = []
    labels: list[str] = []
    known: dict[str, str] = {}  # equal labels share one string

    def pack() -> None:
        block = np.frombuffer(values, np.float64).reshape(len(lines), len(chosen))
        with np.errstate(over="ignore"):
            packed = block.astype(dtype)
        bad = np.argwhere(~np.isfinite(packed))
        if bad.size:
            i, j = bad[0]
            where = f"{path.name}, line {lines[i]}, column {names[chosen[j]]!r}"
            raise ValueError(f"{where}: {_complaint(str(block[i, j]), dtype)}")
        blocks.append(packed)

    for line, fields in records:
        if len(fields) != width:
            raise ValueError(
                f"{path.name}, line {line}: {len(fields)} fields instead of {width} "
                f"({listed(names)})"
            )
        try:
            values.extend(map(float, pick(fields)))
        except ValueError:
            j = next(j for j in chosen if not _is_number(fields[j]))
            where = f"{path.name}, line {line}, column {names[j]!r}"
            raise ValueError(f"{where}: {_complaint(fields[j], dtype)}") from None
        lines.append(line)
        if t is not None:
            label = fields[t].strip()
            if label.lower() in MISSING or label.lower() in INFINITE:
                where = f"{path.name}, line {line}, column {names[t]!r}"
                raise ValueError(f"{where}: {_complaint(label, dtype)}")
            labels.append(known.setdefault(label, label))
        if len(values) >= _BATCH:
            pack()
            values, lines = array("d"), array("q")
    pack()
    return np.concatenate(blocks), labels


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _complaint(text: str, dtype: np.dtype) -> str:
    """Say what is wrong with a field that is no finite number of ``dtype``."""
    plain = text.strip().lower()
    if plain in MISSING:
        return f"missing value ({text!r}); fill it in or drop the row first"
    if plain in INFINITE:
        return f"{text.strip()} is not a finite number"
    if _is_number(plain):
        return f"{text} does not fit {dtype}"
    return f"{text!r} is not a number (encode text columns first, for example one-hot)"
