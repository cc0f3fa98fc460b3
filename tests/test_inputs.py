"""The gate between data and kernels: what passes, what is copied, what is refused."""

import tracemalloc

import numpy as np
import pandas as pd
import pytest
import scipy.sparse

from fastnn import Network, training
from fastnn.inputs import check_rows, check_targets
from fastnn.kernels.jit import JIT, compiled_signatures

RNG = np.random.default_rng(0)
X = RNG.integers(-3, 4, (12, 3)).astype(float)
Y = (X[:, 0] > 0).astype(int)


def network(precision="float64", **arguments):
    return Network([3, 4, 1], loss="log_loss", dtype=precision, random_state=0, **arguments)


def memmap(tmp_path, array):
    np.save(tmp_path / "X.npy", array)
    return np.load(tmp_path / "X.npy", mmap_mode="r")


def unaligned(array):
    buffer = bytearray(array.nbytes + 1)
    view = np.frombuffer(buffer, array.dtype, array.size, offset=1).reshape(array.shape)
    view[:] = array
    return view


LAYOUTS = {
    "lists": lambda tmp_path: X.tolist(),
    "tuples of ints": lambda tmp_path: tuple(tuple(int(v) for v in row) for row in X),
    "int64": lambda tmp_path: X.astype(int),
    "int8": lambda tmp_path: X.astype(np.int8),
    "float16": lambda tmp_path: X.astype(np.float16),
    "float32": lambda tmp_path: X.astype(np.float32),
    "float64": lambda tmp_path: X.copy(),
    "big-endian": lambda tmp_path: X.astype(">f8"),
    "F-order": lambda tmp_path: np.asfortranarray(X),
    "strided": lambda tmp_path: np.repeat(np.repeat(X, 2, axis=0), 3, axis=1)[::2, ::3],
    "reversed": lambda tmp_path: X[::-1].copy()[::-1],
    "unaligned": lambda tmp_path: unaligned(X),
    "read-only memmap": lambda tmp_path: memmap(tmp_path, X),
    "objects": lambda tmp_path: X.astype(object),
    "DataFrame": lambda tmp_path: pd.DataFrame(X, columns=list("abc")),
    "mixed DataFrame": lambda tmp_path: pd.DataFrame(X).astype({0: int, 1: "float32"}),
    "CSR": lambda tmp_path: scipy.sparse.csr_matrix(X),
    "CSR array": lambda tmp_path: scipy.sparse.csr_array(X),
    "CSC": lambda tmp_path: scipy.sparse.csc_matrix(X),
    "COO": lambda tmp_path: scipy.sparse.coo_array(X),
    "LIL": lambda tmp_path: scipy.sparse.lil_array(X),
    "BSR": lambda tmp_path: scipy.sparse.bsr_array(X, blocksize=(2, 3)),
    "CSR of ints": lambda tmp_path: scipy.sparse.csr_array(X.astype(int)),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same(layout, precision, tmp_path):
    """Also the same compiled code: no layout is a signature of its own."""
    plain = X.astype(precision)
    expected = network(precision)
    expected.fit(plain, Y, epochs=3, batch_size=1)
    expected.fit(plain, Y, epochs=3, batch_size=5, optimizer="adam")
    predicted = expected.forward(plain)
    compiled = compiled_signatures()
    rows, net = LAYOUTS[layout](tmp_path), network(precision)
    net.fit(rows, Y, epochs=3, batch_size=1)
    net.fit(rows, Y, epochs=3, batch_size=5, optimizer="adam")
    tolerance = 1e-12 if precision == "float64" else 1e-5
    np.testing.assert_allclose(net.parameters, expected.parameters, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(net.forward(rows), predicted, rtol=tolerance)
    np.testing.assert_allclose(net.loss(rows, Y), expected.loss(plain, Y), rtol=tolerance)
    assert compiled_signatures() == compiled


TARGETS = {
    "list": Y.tolist(),
    "column": Y[:, None],
    "bool": Y.astype(bool),
    "Series": pd.Series(Y),
    "strided": np.repeat(Y, 2)[::2],
    "float32": Y.astype("float32"),
}


@pytest.mark.parametrize("kind", TARGETS)
def test_every_kind_of_target_gives_the_same(kind):
    nets = network(), network()
    nets[0].fit(X, Y, batch_size=4, sample_weight=np.arange(12) + 1.0)
    nets[1].fit(X, TARGETS[kind], batch_size=4, sample_weight=list(range(1, 13)))
    np.testing.assert_array_equal(nets[0].parameters, nets[1].parameters)


@pytest.mark.parametrize("readonly", [False, True])
def test_a_fitting_array_is_not_copied(precision, readonly, tmp_path):
    array = X.astype(precision)
    if readonly:
        array = memmap(tmp_path, array)
    rows = check_rows(array, 3, np.dtype(precision))
    assert np.shares_memory(rows.dense, array)
    assert rows.dense.flags.c_contiguous
    assert rows.dense.flags.writeable  # as the kernels' one signature has it
    csr = scipy.sparse.csr_array(X.astype(precision))
    csr.data.flags.writeable = not readonly
    sparse = check_rows(csr, 3, np.dtype(precision))
    assert np.shares_memory(sparse.data, csr.data)
    assert np.shares_memory(sparse.indices, csr.indices)


def test_checking_takes_no_memory_of_the_datas_size():
    array = np.ones((500_000, 10))
    check_rows(array, 10, array.dtype)
    tracemalloc.start()
    check_rows(array, 10, array.dtype)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < array.nbytes / 8


def test_a_read_only_view_keeps_its_memory_alive():
    array = np.arange(60_000.0).reshape(-1, 3)
    array.flags.writeable = False
    rows = check_rows(array, 3, array.dtype)
    total = array.sum()
    del array
    filler = [np.zeros((20_000, 3)) for _ in range(5)]
    assert rows.dense.sum() == total
    assert len(filler) == 5


def test_the_input_is_not_written():
    rows, targets, weight = X.copy(), Y.astype(float), np.ones(12)
    csr = scipy.sparse.csr_array(X)
    network().fit(rows, targets, sample_weight=weight, batch_size=3)
    network().fit(csr, targets, batch_size=1)
    np.testing.assert_array_equal(rows, X)
    np.testing.assert_array_equal(csr.toarray(), X)
    np.testing.assert_array_equal(targets, Y)
    np.testing.assert_array_equal(weight, 1)


def invalid_csr(indices, indptr):
    csr = scipy.sparse.csr_array((np.ones(2), [0, 1], [0, 2]), shape=(1, 3))
    csr.indices[:], csr.indptr[:] = indices, indptr
    return csr


def spoiled(value, at=(2, 1)):
    array = X.copy()
    array[at] = value
    return array


BAD_ROWS = [
    (X[0], ValueError, r"X must be 2-D \(rows, features\), got 1-D; for one row use X.reshape"),
    (X[None], ValueError, "X must be 2-D .*, got 3-D"),
    (3.0, ValueError, "X must be 2-D .*, got 0-D"),
    (X[:0], ValueError, "X has no rows; at least one is needed"),
    ([], ValueError, "X must be 2-D"),
    (X[:, :2], ValueError, "X has 2 features, but the network takes 3"),
    (X[:, :0], ValueError, "X has 0 features, but the network takes 3"),
    (spoiled(np.nan), ValueError, r"X must be finite, found nan at \[2, 1\]; impute"),
    (spoiled(-np.inf), ValueError, r"X must be finite, found -inf at \[2, 1\]"),
    (spoiled(np.nan, (11, 2)), ValueError, r"found nan at \[11, 2\]"),
    (pd.DataFrame(spoiled(np.nan)), ValueError, r"X must be finite, found nan at \[2, 1\]"),
    ([[1, 2, 3], [4, 5]], ValueError, "X is not a rectangular array"),
    ([["a", "b", "c"]], TypeError, "X must hold numbers, got <U1; encode it first"),
    (pd.DataFrame({"a": ["x"], "b": [1], "c": [2]}), TypeError, "X must hold numbers.*'x'"),
    (None, ValueError, "X must be 2-D .*, got 0-D"),
    ({"a": 1}, TypeError, "X must hold numbers"),
    ([[None, 1, 2]], ValueError, r"X must be finite, found nan at \[0, 0\]"),
    (np.ma.masked_array(X, np.eye(12, 3)), ValueError, "X has masked values; fill them in"),
    (X.astype(complex), TypeError, "X must hold numbers, got complex128"),
    (X.astype("M8[s]"), TypeError, "X must hold numbers, got datetime64"),
    (scipy.sparse.csr_array(spoiled(np.nan)), ValueError, "X.data must be finite, found nan"),
    (scipy.sparse.csr_array(X[:, :2]), ValueError, "X has 2 features, but the network takes 3"),
    (scipy.sparse.csr_array(X[:0]), ValueError, "X has no rows"),
    (scipy.sparse.csr_array(X.astype(complex)), TypeError, "X must hold numbers, .* complex128"),
    (invalid_csr([0, 7], [0, 2]), ValueError, "X is not a valid sparse matrix: .*indices"),
    (invalid_csr([0, -1], [0, 2]), ValueError, "X is not a valid sparse matrix: .*indices"),
]


@pytest.mark.parametrize(("rows", "error", "message"), BAD_ROWS)
@pytest.mark.parametrize("method", ["forward", "scores", "loss", "gradients", "fit"])
def test_bad_rows(rows, error, message, method):
    net = network()
    before = net.parameters.copy()
    arguments = (rows,) if method in ("forward", "scores") else (rows, Y)
    with pytest.raises(error, match=message):
        getattr(net, method)(*arguments)
    np.testing.assert_array_equal(net.parameters, before)


def test_float32_overflow_is_refused():
    with pytest.raises(ValueError, match=r"X must be finite, found inf at \[2, 1\]"):
        network("float32").forward(spoiled(1e39))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("n_jobs", [None, 2])
def test_prediction_finds_any_number_that_is_not_finite(value, n_jobs, precision, monkeypatch):
    """Wherever it stands: in the first or last column, block of rows or piece of work."""
    monkeypatch.setattr(training, "_PIECE", 300)
    rows = np.zeros((700, 3), precision)
    net = network(precision)
    assert net.forward(rows, n_jobs=n_jobs).shape == (700, 1)
    for place in [(0, 0), (0, 2), (255, 1), (256, 0), (299, 2), (300, 0), (699, 2)]:
        rows[place] = value
        for predict in net.forward, net.scores:
            with pytest.raises(
                ValueError, match=rf"X must be finite, .* at \[{place[0]}, {place[1]}"
            ):
                predict(rows, n_jobs=n_jobs)
        rows[place] = 0
    spoilt = rows.copy()
    spoilt[100:] = value
    with pytest.raises(ValueError, match=r"found .* at \[100, 0\]"):
        net.forward(spoilt, n_jobs=n_jobs)


PROBABILITIES = np.full((12, 3), 1 / 3)
BAD_TARGETS = [
    ("log_loss", 1, Y[:5], ValueError, "X has 12 rows, but y has 5"),
    ("log_loss", 1, Y * 2, ValueError, r"log_loss takes y in \[0, 1\], found 0 to 2"),
    ("log_loss", 1, -Y, ValueError, r"log_loss takes y in \[0, 1\], found -1 to 0"),
    ("log_loss", 1, ["a"] * 12, TypeError, "y must hold numbers, got <U1"),
    ("log_loss", 1, 1, ValueError, r"y must have shape \(n,\) or \(n, 1\), .*; got \(\)"),
    ("log_loss", 1, X, ValueError, r"y must have shape \(n,\) or \(n, 1\), .*; got \(12, 3\)"),
    ("log_loss", 2, Y, ValueError, "y has one column, but the network has 2 outputs"),
    ("squared_error", 2, X, ValueError, r"y must have shape \(n,\) or \(n, 2\).*got \(12, 3\)"),
    ("squared_error", 1, X[:, 0] * np.nan, ValueError, r"y must be finite, found nan at \[0, 0\]"),
    ("squared_error", 1, scipy.sparse.csr_array(X), TypeError, "y must be dense, got a sparse"),
    ("squared_error", 1, np.full(12, np.inf), ValueError, "y must be finite, found inf"),
    ("poisson", 1, Y - 1, ValueError, "poisson takes y >= 0, found -1"),
    ("cross_entropy", 3, Y + 2, ValueError, "y must hold class numbers 0 to 2, found 2 to 3"),
    ("cross_entropy", 3, Y - 1, ValueError, "y must hold class numbers 0 to 2, found -1 to 0"),
    ("cross_entropy", 3, Y + 0.5, ValueError, "y must hold class numbers, found"),
    ("cross_entropy", 3, Y * np.nan, ValueError, "y must be finite, found nan"),
    ("cross_entropy", 3, X[:, :2], ValueError, r"y must have shape \(n,\) or \(n, 3\)"),
    ("cross_entropy", 3, PROBABILITIES * 2, ValueError, "rows of y that add up to 1, found 2"),
    ("cross_entropy", 3, PROBABILITIES - 0.5, ValueError, r"takes y in \[0, 1\], found -0.16"),
    ("cross_entropy", 3, [None] * 12, ValueError, "y must be finite, found nan"),
]


@pytest.mark.parametrize(("loss", "n_outputs", "y", "error", "message"), BAD_TARGETS)
def test_bad_targets(loss, n_outputs, y, error, message):
    net = Network([3, n_outputs], loss=loss, random_state=0)
    before = net.parameters.copy()
    for method in (net.loss, net.gradients, net.fit):
        with pytest.raises(error, match=message):
            method(X, y)
    good = np.zeros((12, n_outputs)) if loss != "cross_entropy" else PROBABILITIES
    with pytest.raises(error, match=r"\bvalidation [Xy]\b"):
        net.fit(X, good, validation_data=(X, y))
    np.testing.assert_array_equal(net.parameters, before)


@pytest.mark.parametrize(
    ("weight", "error", "message"),
    [
        (np.ones(5), ValueError, r"sample_weight must have shape \(12,\), got \(5,\)"),
        (np.ones((12, 1)), ValueError, r"sample_weight must have shape \(12,\), got \(12, 1\)"),
        (np.full(12, np.nan), ValueError, r"sample_weight must be finite, found nan at \[0\]"),
        (-np.ones(12), ValueError, "sample_weight must not be negative, found -1"),
        (np.zeros(12), ValueError, "sample_weight is zero for every row"),
        ("balanced", TypeError, "sample_weight must hold numbers"),
    ],
)
def test_bad_weights(weight, error, message):
    net = network()
    for method in (net.loss, net.gradients):
        with pytest.raises(error, match=message):
            method(X, Y, weight)
    with pytest.raises(error, match=message):
        net.fit(X, Y, sample_weight=weight)
    with pytest.raises(error, match=f"validation {message}"):
        net.fit(X, Y, validation_data=(X, Y, weight))


@pytest.mark.parametrize(
    ("x", "y", "error", "message"),
    [
        ([1, 2], 1, ValueError, "x has 2 features, but the network takes 3"),
        ([1, np.nan, 2], 1, ValueError, r"x must be finite, found nan at \[0, 1\]"),
        ([1, 2, 3], 2, ValueError, r"log_loss takes y in \[0, 1\]"),
        ([1, 2, 3], "yes", TypeError, "y must hold numbers"),
        (["a", "b", "c"], 1, TypeError, "x must hold numbers"),
        ([1, [2, 3], 4], 1, ValueError, "x is not a rectangular array"),
        (scipy.sparse.csr_array(X[:2]), 1, ValueError, "X has 2 rows, but y has 1"),
    ],
)
def test_bad_sample(x, y, error, message):
    with pytest.raises(error, match=message):
        network().step(x, y)


def test_labels_are_checked_before_they_are_rounded_to_float32():
    net = Network([3, 2], loss="cross_entropy", random_state=0)
    with pytest.raises(ValueError, match=r"found 2\.14748e"):
        net.loss(X, np.full(12, 2**31))


@pytest.mark.skipif(not JIT, reason="nothing is compiled")
def test_refusal_needs_no_kernel():
    """Bad input is refused before anything is compiled or loaded."""
    before = compiled_signatures()
    for rows, error, _ in BAD_ROWS:
        with pytest.raises(error):
            check_rows(rows, 3, np.dtype("float64"))
    with pytest.raises(ValueError, match="shape"):
        check_targets(
            X, None, loss="log_loss", kind="probability", n=12, n_outputs=1, dtype=X.dtype
        )
    assert compiled_signatures() == before
