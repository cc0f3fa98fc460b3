"""Products of row-major matrices that lie in flat vectors.

A matrix is given as ``(X, x0, ldx)``: a vector, the position of entry (0, 0), and the distance
between rows, so ``X[x0 + i * ldx + j]`` is entry (i, j).  Parameters, gradients and activations
each live in one flat vector, and slicing a view out of it would cost more than a small product.
All vectors of a call are contiguous and of one precision.  Sums run over ``p`` in order, whatever
the shape, so a result does not depend on the batch it is computed in.

The three products of a dense layer: ``Z = X W + b`` is `gemm_bias_`, the weights' gradient
``X^T Delta`` is `gemm_tn_`, the delta of the layer below, ``Delta W^T``, is `gemm_nt_`.
"""

from typing import Any

from fastnn.kernels.jit import JIT, helper
from fastnn.kernels.simd import JOINED, tile_, tile_buffer, tile_shape, transpose_block_
from fastnn.kernels.views import constant


@helper
def gemm_nn_(m, n, k, A, a0, lda, B, b0, ldb, C, c0, ldc, accumulate):
    """Write ``C = A B``, or add to C, with A (m, k), B (k, n) and C (m, n)."""
    product_(m, n, k, A, a0, lda, 1, B, b0, ldb, C, c0, ldc, C, c0, ldc, accumulate)


@helper
def gemm_bias_(m, n, k, A, a0, lda, B, b0, ldb, bias, bias0, C, c0, ldc):
    """Write ``C = A B + bias``, with A (m, k), B (k, n), C (m, n) and one bias per column."""
    product_(m, n, k, A, a0, lda, 1, B, b0, ldb, C, c0, ldc, bias, bias0, 0, True)


@helper
def gemm_tn_(m, n, k, A, a0, lda, B, b0, ldb, C, c0, ldc, accumulate):
    """Write ``C = A^T B``, or add to C, with A (k, m), B (k, n) and C (m, n)."""
    product_(m, n, k, A, a0, 1, lda, B, b0, ldb, C, c0, ldc, C, c0, ldc, accumulate)


@helper
def gemm_nt_(m, n, k, A, a0, lda, B, b0, ldb, C, c0, ldc, accumulate, pack):
    """Write ``C = A B^T``, or add to C, with A (m, k), B (n, k) and C (m, n).

    ``pack`` is scratch of at least ``n * k`` entries, in which B is transposed.
    """
    if m == 1:  # a vector B a: B is read along its rows, and needs no transposing
        product_(n, 1, k, B, b0, ldb, 1, A, a0, 1, C, c0, 1, C, c0, 1, accumulate)
    else:
        transpose_(n, k, B, b0, ldb, pack, 0, n)
        product_(m, n, k, A, a0, lda, 1, pack, 0, n, C, c0, ldc, C, c0, ldc, accumulate)


@helper
def _transpose_vectors_(rows, columns, A, a0, lda, C, c0, ldc):
    """Write ``C = A^T`` with A (rows, columns)."""
    lanes = tile_shape(C)[2]
    for i in range(0, rows, lanes):
        for j in range(0, columns, lanes):
            transpose_block_(
                min(lanes, rows - i), min(lanes, columns - j),
                A, a0 + i * lda + j, lda, C, c0 + j * ldc + i, ldc,
            )  # fmt: skip


@helper
def transpose_loops_(rows, columns, A, a0, lda, C, c0, ldc):
    """Write ``C = A^T`` one number at a time."""
    for i in range(rows):
        for j in range(columns):
            C[c0 + j * ldc + i] = A[a0 + i * lda + j]


@helper
def _product_vectors_(m, n, k, A, a0, a_row, a_column, B, b0, ldb, C, c0, ldc, S, s0, lds, begin):
    """Write ``C = [S +] A B``; ``A[i, p]`` is at ``A[a0 + i * a_row + p * a_column]``."""
    _inside(m, k, A, a0, a_row, a_column)
    _inside(k, n, B, b0, ldb, 1)
    _inside(m, n, C, c0, ldc, 1)
    rows, _, lanes = tile_shape(C)
    if n <= min(JOINED, lanes // 2) and a_column == 1 and ldb == n:
        _joined_product_(
            m, n, k, A, a0, a_row, B, b0, C, c0, ldc, S, s0, lds, begin
        )  # fmt: skip
    elif n <= rows and a_row == 1 and n * (m + lanes - 1) < m * lanes:
        _swapped_product_(
            m, n, k, A, a0, a_column, B, b0, ldb, C, c0, ldc, S, s0, lds, begin
        )  # fmt: skip
    else:
        _tiled_product_(
            m, n, k, A, a0, a_row, a_column, B, b0, ldb, C, c0, ldc, S, s0, lds, begin
        )  # fmt: skip


@helper
def _inside(rows, columns, X, x0, row, column):
    """Read a matrix's last entry: fails under ``NUMBA_BOUNDSCHECK=1``, else compiles to nothing.

    The tiles themselves read and write without checks.
    """
    if rows > 0 and columns > 0:
        _ = X[x0 + (rows - 1) * row + (columns - 1) * column]


@helper
def _tiled_product_(m, n, k, A, a0, a_row, a_column, B, b0, ldb, C, c0, ldc, S, s0, lds, begin):
    """Write ``C = [S +] A B`` tile by tile."""
    rows, columns, _ = tile_shape(C)
    for j in range(0, n, columns):
        width = min(columns, n - j)
        i, height = 0, rows
        while i < m:
            while height > m - i:
                height //= 2
            tile_(
                height, width, False, k, A, a0 + i * a_row, a_row, a_column, B, b0 + j, ldb,
                C, c0 + i * ldc + j, ldc, S, s0 + i * lds + j, lds, begin,
            )  # fmt: skip
            i += height


@helper
def _joined_product_(m, n, k, A, a0, lda, B, b0, C, c0, ldc, S, s0, lds, begin):
    """Write ``C = [S +] A B`` for a B of few columns, several of whose rows make a vector."""
    rows = tile_shape(C)[0]
    i = 0
    while i < m:
        height = rows if m - i >= rows else 1
        tile_(
            height, n, True, k, A, a0 + i * lda, lda, 1, B, b0, n,
            C, c0 + i * ldc, ldc, S, s0 + i * lds, lds, begin,
        )  # fmt: skip
        i += height


@helper
def _swapped_product_(m, n, k, A, a0, lda, B, b0, ldb, C, c0, ldc, S, s0, lds, begin):
    """Write ``C = [S +] A^T B`` for a narrow B, as the transpose of ``B^T A``.

    The vectors then run along the rows of A, which are long, and not along those of B.
    """
    if n == 1 and ldc == 1 and lds == 1:  # C is its own transpose
        _tiled_product_(1, m, k, B, b0, 1, ldb, A, a0, lda, C, c0, m, S, s0, m, begin)
    else:
        columns = tile_shape(C)[1]
        turned = tile_buffer(C)
        for i in range(0, m, columns):
            width = min(columns, m - i)
            _tiled_product_(
                n, width, k, B, b0, 1, ldb, A, a0 + i, lda, turned, 0, columns, turned, 0, 0, False
            )  # fmt: skip
            for r in range(width):
                for j in range(n):
                    start = S[s0 + (i + r) * lds + j] if begin else constant(0, C[c0])
                    C[c0 + (i + r) * ldc + j] = start + turned[j * columns + r]


@helper
def product_loops_(m, n, k, A, a0, a_row, a_column, B, b0, ldb, C, c0, ldc, S, s0, lds, begin):
    """Write ``C = [S +] A B`` one number at a time: what `_product_vectors_` must agree with."""
    for i in range(m):
        for j in range(n):
            total = S[s0 + i * lds + j] if begin else constant(0, C[c0])
            for p in range(k):
                total += A[a0 + i * a_row + p * a_column] * B[b0 + p * ldb + j]
            C[c0 + i * ldc + j] = total


#: Without the JIT there are no vectors.
product_: Any = _product_vectors_ if JIT else product_loops_
transpose_: Any = _transpose_vectors_ if JIT else transpose_loops_
