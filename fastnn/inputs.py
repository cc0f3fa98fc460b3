"""The one gate between the user's data and the kernels.

Every input (lists, data frames, integers, strided, Fortran-ordered or read-only arrays, sparse
matrices) comes out in the one layout that the kernels take, C-contiguous and writable in the
network's precision, copied only where it must be.  What is wrong is said here, before any
kernel runs; but prediction looks for NaN and inf as it goes over the rows.
"""

import ctypes
from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.sparse

from fastnn.kernels.plan import Rows, Targets

_BLOCK = 1 << 20  # entries looked at together: the check needs no memory of the data's size
_CACHED = 1 << 16  # entries that stay in the cache while they are looked at twice


def check_rows(
    X: Any, n_features: int | None, dtype: np.dtype, name: str = "X", *, finite: bool = True
) -> Rows:
    """Turn feature rows into the kernels' layout.

    Parameters
    ----------
    X : array-like or sparse matrix, shape (n, d)
        Numbers, finite.
    n_features : int or None
        The width that is expected; None for any.
    dtype : numpy.dtype
        float32 or float64.
    name : str
        What the argument is called in an error.
    finite : bool
        Whether dense rows are searched for NaN and inf; without, whoever reads them has to.

    Returns
    -------
    Rows
        A view of ``X`` where its layout allows it.

    Raises
    ------
    ValueError
        ``X`` is not 2-D, has no rows, another width, or holds NaN or inf.
    TypeError
        ``X`` does not hold numbers.
    """
    sparse = scipy.sparse.issparse(X)
    if not sparse:
        X = as_numbers(X, dtype, name)
    if X.ndim != 2:
        hint = f"; for one row use {name}.reshape(1, -1)" if X.ndim == 1 else ""
        raise ValueError(f"{name} must be 2-D (rows, features), got {X.ndim}-D{hint}")
    if X.shape[0] == 0:
        raise ValueError(f"{name} has no rows; at least one is needed")
    if n_features is not None and X.shape[1] != n_features:
        raise ValueError(f"{name} has {X.shape[1]} features, but the network takes {n_features}")
    if sparse and X.dtype.kind not in "fiub":
        raise TypeError(f"{name} must hold numbers, got a sparse matrix of {X.dtype}")
    if hasattr(X, "check_format"):  # an index out of range would read other memory
        try:
            X.check_format(full_check=True)
        except ValueError as error:
            raise ValueError(f"{name} is not a valid sparse matrix: {error}") from None
    rows = as_rows(X, dtype)
    if sparse:
        check_finite(rows.data, f"{name}.data")
    elif finite:
        check_finite(rows.dense, name)
    return rows


def as_rows(X: Any, dtype: np.dtype) -> Rows:
    """Turn rows that are known to be good, an array or a sparse matrix, into the kernels' layout.

    Nothing is copied whose layout and type already fit.
    """
    none = np.empty(0, dtype)
    if not scipy.sparse.issparse(X):
        return Rows(_kernel_array(X, dtype), none, np.empty(0, np.int32), np.empty(0, np.int64))
    csr = X.tocsr()
    return Rows(
        np.empty((0, X.shape[1]), dtype),
        _kernel_array(csr.data, dtype),
        _kernel_array(csr.indices, np.dtype(np.int32)),
        _kernel_array(csr.indptr, np.dtype(np.int64)),
    )


def n_rows(rows: Rows) -> int:
    """Return how many rows there are."""
    return rows.indptr.size - 1 if rows.indptr.size else rows.dense.shape[0]


def check_targets(
    y: Any,
    sample_weight: Any,
    *,
    loss: str,
    kind: str,
    n: int,
    n_outputs: int,
    dtype: np.dtype,
    prefix: str = "",
) -> Targets:
    """Turn targets and weights into the kernels' layout.

    Parameters
    ----------
    y : array-like, shape (n,) or (n, n_outputs)
        Class numbers 0 .. n_outputs - 1 or one row of probabilities per sample for "class"
        targets; one number per output for the others.
    sample_weight : array-like, shape (n,), or None
        Finite, not negative, not all zero.
    loss : str
        Name of the loss, for the error.
    kind : {"probability", "class", "real", "count"}
        What the loss takes.
    n, n_outputs : int
        Rows of X; outputs of the network.
    dtype : numpy.dtype
        float32 or float64.
    prefix : str
        Of the arguments' names in an error, such as "validation ".

    Raises
    ------
    ValueError
        A wrong shape, a label or target out of range, NaN or inf.
    TypeError
        Targets that are not numbers.
    """
    name = f"{prefix}y"
    y = as_numbers(y, dtype, name)
    if y.ndim not in (1, 2) or (y.ndim == 2 and y.shape[1] not in (1, n_outputs)):
        raise ValueError(
            f"{name} must have shape (n,) or (n, {n_outputs}), one column per output; got {y.shape}"
        )
    if y.shape[0] != n:
        raise ValueError(f"{prefix}X has {n} rows, but {name} has {y.shape[0]}")
    given = y.reshape(n, -1)
    labels = kind == "class" and (given.shape[1] == 1 and n_outputs > 1)
    if given.shape[1] != n_outputs and not labels:
        raise ValueError(f"{name} has one column, but the network has {n_outputs} outputs")
    columns = _kernel_array(given, dtype)
    check_finite(columns, name)
    low, high = given.min(), given.max()
    if labels and (low < 0 or high >= n_outputs):
        raise ValueError(
            f"{name} must hold class numbers 0 to {n_outputs - 1}, found {low:g} to {high:g}"
        )
    if labels and given.dtype.kind == "f":
        for part in _blocks(given):
            broken = part != np.floor(part)
            if broken.any():
                raise ValueError(f"{name} must hold class numbers, found {part[broken][0]:g}")
    if not labels and kind in ("class", "probability") and (low < 0 or high > 1):
        raise ValueError(f"{loss} takes {name} in [0, 1], found {low:g} to {high:g}")
    if not labels and kind == "class":
        for part in _blocks(columns):
            sums = part.sum(axis=1)
            worst = sums[np.argmax(np.abs(sums - 1))]
            if abs(worst - 1) > 1e-4:
                raise ValueError(f"{loss} takes rows of {name} that add up to 1, found {worst:g}")
    if kind == "count" and low < 0:
        raise ValueError(f"{loss} takes {name} >= 0, found {low:g}")
    return Targets(columns, check_weight(sample_weight, n, dtype, f"{prefix}sample_weight"))


def check_weight(
    sample_weight: Any, n: int, dtype: np.dtype, name: str = "sample_weight"
) -> np.ndarray:
    """Return the weight of each row, or an empty array where every row counts once.

    Raises
    ------
    ValueError
        A wrong shape, a negative weight, NaN or inf, or weights that are all zero.
    """
    if sample_weight is None:
        return np.empty(0, dtype)
    weight = as_numbers(sample_weight, dtype, name)
    if weight.shape != (n,):
        raise ValueError(f"{name} must have shape ({n},), got {weight.shape}")
    weight = _kernel_array(weight, dtype)
    check_finite(weight, name)
    if weight.min() < 0:
        raise ValueError(f"{name} must not be negative, found {weight.min():g}")
    if not weight.any():
        raise ValueError(f"{name} is zero for every row; nothing is left to train on")
    return weight


def _blocks(array: np.ndarray) -> Iterator[np.ndarray]:
    """Yield an array's rows, some at a time."""
    size = max(1, _BLOCK // max(1, array[:1].size))
    for start in range(0, len(array), size):
        yield array[start : start + size]


def check_finite(array: np.ndarray, name: str) -> None:
    """Raise ValueError with the place of the first NaN or inf of a C-contiguous array."""
    flat = array.reshape(-1)
    for start in range(0, flat.size, _CACHED):
        block = flat[start : start + _CACHED]
        # A NaN is the maximum and the minimum of all.  Of what NumPy can do, this is fastest.
        if not (np.isfinite(np.maximum.reduce(block)) and np.isfinite(np.minimum.reduce(block))):
            at = start + int(np.argmin(np.isfinite(block)))
            where = ", ".join(str(int(i)) for i in np.unravel_index(at, array.shape))
            raise ValueError(
                f"{name} must be finite, found {flat[at]} at [{where}]; impute or drop it first"
            )


def as_numbers(values: Any, dtype: np.dtype, name: str) -> np.ndarray:
    """Return an array of numbers, converting objects that hold them.

    Raises
    ------
    TypeError
        Text, dates, complex numbers or a sparse matrix.
    ValueError
        Ragged lists, or masked values.
    """
    if scipy.sparse.issparse(values):
        raise TypeError(f"{name} must be dense, got a sparse matrix; use {name}.toarray()")
    if np.ma.is_masked(values):
        raise ValueError(f"{name} has masked values; fill them in or drop their rows first")
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise ValueError(f"{name} is not a rectangular array: {error}") from None
    if array.dtype.kind == "O":
        try:
            array = array.astype(dtype)
        except (TypeError, ValueError) as error:
            raise TypeError(f"{name} must hold numbers: {error}") from None
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name} must hold numbers, got {array.dtype}; encode it first")
    return array


def _kernel_array(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Return ``array`` C-contiguous, aligned, writable and of ``dtype``, copied only if it must be.

    A read-only array is wrapped, not copied, because a read-only type would be a signature of
    its own; the kernels never write to their inputs.
    """
    with np.errstate(over="ignore"):  # float64 beyond float32: check_finite reports the inf
        array = np.require(array, dtype, ["C", "A"])
    if array.flags.writeable or array.size == 0:
        return array if array.flags.writeable else array.copy()
    memory: Any = (ctypes.c_char * array.nbytes).from_address(array.ctypes.data)
    memory._owner = array  # keeps it alive
    return np.frombuffer(memory, dtype).reshape(array.shape)
