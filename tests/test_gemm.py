"""Products of matrices in flat vectors, against ``numpy.dot`` in float64 with a rigorous bound."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from llvmlite.binding import get_host_cpu_features

from fastnn.kernels import gemm
from fastnn.kernels.jit import JIT, kernel

# Helpers are compiled into kernels only.
# fmt: off


@kernel
def nn_(m, n, k, A, a0, lda, B, b0, ldb, C, c0, ldc, accumulate):
    gemm.gemm_nn_(m, n, k, A, a0, lda, B, b0, ldb, C, c0, ldc, accumulate)


@kernel
def tn_(m, n, k, A, a0, lda, B, b0, ldb, C, c0, ldc, accumulate):
    gemm.gemm_tn_(m, n, k, A, a0, lda, B, b0, ldb, C, c0, ldc, accumulate)


@kernel
def nt_(m, n, k, A, a0, lda, B, b0, ldb, C, c0, ldc, accumulate):
    gemm.gemm_nt_(m, n, k, A, a0, lda, B, b0, ldb, C, c0, ldc, accumulate)


@kernel
def gated_(m, n, k, A, a0, lda, B, b0, ldb, C, c0, ldc, G):
    gemm.gemm_gated_nt_(m, n, k, A, a0, lda, B, b0, ldb, C, c0, ldc, G)


@kernel
def bias_(m, n, k, A, a0, lda, B, b0, ldb, bias, bias0, C, c0, ldc, floor):
    gemm.gemm_bias_(m, n, k, A, a0, lda, B, b0, ldb, bias, bias0, C, c0, ldc, floor)


@kernel
def loops_(m, n, k, A, a0, lda, B, b0, ldb, C, c0, ldc):
    gemm.product_loops_(
        m, n, k, A, a0, lda, 1, B, b0, ldb, False, C, c0, ldc, C, c0, ldc, True, C, False, -np.inf
    )


# fmt: on

pytestmark = pytest.mark.kernel

PRECISIONS = ["float32", "float64"]
GUARD = 77.0  # fills the memory around a matrix, so that a stray write is seen

rng = np.random.default_rng(7)
SHAPES = [(0, 3, 2), (3, 0, 2), (3, 2, 0), (1, 1, 1), (1, 1, 40), (1, 40, 1), (40, 1, 1)]
SHAPES += [(m, n, 5) for m in range(1, 10) for n in (1, 2, 3, 4, 5, 8, 9, 16, 17, 31, 32, 33)]
SHAPES += [(m, n, k) for m in (5, 16, 37) for n, k in ((2, 1), (1, 2), (1, 1))]
SHAPES += [tuple(shape) for shape in rng.integers(1, 41, (150, 3))]
if JIT:  # sums long enough to be cut, matrices larger than the scratch memory
    SHAPES += [(25, 50, 400), (26, 49, 800), (9, 3, 7000), (7000, 3, 9), (3, 40, 150)]
    SHAPES += [(1024, 130, 300), (1024, 130, 0)]  # an A^T that is copied
else:
    SHAPES = SHAPES[::25]


class Block:
    """A matrix of given shape somewhere inside a flat vector, among guard values."""

    def __init__(self, rng, rows, columns, precision, padding, values=None):
        self.start, self.ld = int(rng.integers(0, 9)), columns + padding
        self.rows, self.columns = rows, columns
        size = self.start + rows * self.ld + int(rng.integers(0, 9))
        self.flat = np.full(size, GUARD, precision)
        self.matrix = np.lib.stride_tricks.as_strided(
            self.flat[self.start :] if rows and columns else self.flat[:0],
            (rows, columns),
            (self.ld * self.flat.itemsize, self.flat.itemsize),
        )
        self.matrix[...] = rng.normal(size=(rows, columns)) if values is None else values

    @property
    def where(self):
        return self.flat, self.start, self.ld

    def guards(self):
        """Return the vector without the matrix."""
        outside = np.ones(self.flat.size, bool)
        for i in range(self.rows):
            outside[self.start + i * self.ld :][: self.columns] = False
        return self.flat[outside]


def check(C, before, A, B, start, floor=-np.inf):
    """Compare with float64: each product and sum may round once, plus the start value's."""
    A, B = A.astype("f8"), B.astype("f8")
    expected = np.maximum(floor, start + A @ B)
    k = A.shape[1]
    size = np.abs(start) + np.abs(A) @ np.abs(B)
    bound = (k + 1) * np.finfo(C.matrix.dtype).eps * size
    assert np.all(np.abs(C.matrix - expected) <= bound)
    assert np.array_equal(C.guards(), before)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("padding", [0, 3])
@pytest.mark.parametrize("accumulate", [False, True])
@pytest.mark.parametrize("form", ["nn", "tn", "nt"])
def test_product(form, accumulate, padding, precision):
    rng = np.random.default_rng(1)
    for m, n, k in SHAPES:
        A = Block(rng, *((k, m) if form == "tn" else (m, k)), precision, padding)
        B = Block(rng, *((n, k) if form == "nt" else (k, n)), precision, padding)
        # What is not accumulated is overwritten, NaN included.
        C = Block(rng, m, n, precision, padding, values=None if accumulate else np.nan)
        start = C.matrix.astype("f8") if accumulate else 0.0
        before = C.guards()
        arguments = [m, n, k, *A.where, *B.where, *C.where, accumulate]
        {"nn": nn_, "tn": tn_, "nt": nt_}[form](*arguments)
        left = A.matrix.T if form == "tn" else A.matrix
        check(C, before, left, B.matrix.T if form == "nt" else B.matrix, start)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("floor", [-np.inf, 0.0])
def test_bias_and_floor(floor, precision):
    rng = np.random.default_rng(2)
    for m, n, k in SHAPES:
        A, B = Block(rng, m, k, precision, 1), Block(rng, k, n, precision, 0)
        bias = Block(rng, 1, n, precision, 0)
        C = Block(rng, m, n, precision, 0, values=np.nan)
        before = C.guards()
        bias_(m, n, k, *A.where, *B.where, *bias.where[:2], *C.where, floor)
        check(C, before, A.matrix, B.matrix, bias.matrix.astype("f8"), floor)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("padding", [0, 2])
def test_gate(padding, precision):
    rng = np.random.default_rng(5)
    for m, n, k in SHAPES:
        A, B = Block(rng, m, k, precision, 1), Block(rng, n, k, precision, 1)
        C = Block(rng, m, n, precision, padding, values=np.nan)
        G = rng.choice([-1, 0, 2, np.nan], C.flat.size).astype(precision)
        before = C.guards()
        gated_(m, n, k, *A.where, *B.where, *C.where, G)
        at = C.start + np.arange(m)[:, None] * C.ld + np.arange(n)
        gate = G[at] > 0 if m and n else np.ones((m, n), bool)
        assert np.all(C.matrix[~gate] == 0)
        C.matrix[~gate] = (A.matrix.astype("f8") @ B.matrix.T.astype("f8"))[~gate]
        check(C, before, A.matrix, B.matrix.T, 0.0)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_row_does_not_depend_on_its_batch(precision):
    rng = np.random.default_rng(3)
    m, n, k = 23, 19, 37
    A = rng.normal(size=m * k).astype(precision)
    B = rng.normal(size=k * n).astype(precision)
    together, alone = np.empty(m * n, precision), np.empty(m * n, precision)
    nn_(m, n, k, A, 0, k, B, 0, n, together, 0, n, False)
    for i in range(m):
        nn_(1, n, k, A, i * k, k, B, 0, n, alone, i * n, n, False)
    assert np.array_equal(together, alone)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_not_a_number_reaches_only_its_row(precision):
    A = np.ones(20 * 3, precision)
    A[3 * 7] = np.nan
    B, C = np.ones(3 * 5, precision), np.zeros(20 * 5, precision)
    nn_(20, 5, 3, A, 0, 3, B, 0, 5, C, 0, 5, False)
    assert np.array_equal(np.flatnonzero(np.isnan(C)), np.arange(35, 40))


@pytest.mark.skipif(
    JIT and os.environ.get("NUMBA_BOUNDSCHECK") != "1", reason="needs bounds checks"
)
@pytest.mark.parametrize("short", [0, 1, 2])
def test_a_matrix_beyond_its_vector_is_noticed(short):
    A, B, C = (np.ones(size - (short == i), "f4") for i, size in enumerate((12, 16, 12)))
    with pytest.raises(IndexError):
        nn_(3, 4, 4, A, 0, 4, B, 0, 4, C, 0, 4, False)


CPUS = {"128-bit": {"NUMBA_CPU_NAME": "generic"}}
if get_host_cpu_features().get("avx2"):
    CPUS["avx2"] = {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx,+avx2,+fma"}


@pytest.mark.skipif(not JIT, reason="plain Python has no vectors")
@pytest.mark.parametrize("cpu", CPUS)
def test_vectors_of_lesser_cpus(cpu):
    code = (
        "import test_gemm as t; t.SHAPES = t.SHAPES[::5]\n"
        "for form in ['nn', 'tn', 'nt']: t.test_product(form, True, 0, 'float32')\n"
        "t.test_product('nn', False, 3, 'float64')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parent,
        env={**os.environ, **CPUS[cpu]},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("precision", PRECISIONS)
def test_plain_loops(precision):
    rng = np.random.default_rng(4)
    for m, n, k in SHAPES[:: 10 if JIT else 1]:
        A, B = Block(rng, m, k, precision, 2), Block(rng, k, n, precision, 1)
        C = Block(rng, m, n, precision, 3)
        start, before = C.matrix.astype("f8"), C.guards()
        loops_(m, n, k, *A.where, *B.where, *C.where)
        check(C, before, A.matrix, B.matrix, start)
