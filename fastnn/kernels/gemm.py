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
from fastnn.kernels.simd import tile_, tile_shape


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
    for j in range(n):
        for p in range(k):
            pack[p * n + j] = B[b0 + j * ldb + p]
    product_(m, n, k, A, a0, lda, 1, pack, 0, n, C, c0, ldc, C, c0, ldc, accumulate)


@helper
def _product_tiles_(m, n, k, A, a0, a_row, a_column, B, b0, ldb, C, c0, ldc, S, s0, lds, begin):
    """Write ``C = [S +] A B`` tile by tile; ``A[i, p]`` is at ``a0 + i * a_row + p * a_column``."""
    rows, columns, _ = tile_shape(C)
    for j in range(0, n, columns):
        width = min(columns, n - j)
        for i in range(0, m, rows):
            tile_(
                min(rows, m - i), width, k, A, a0 + i * a_row, a_row, a_column, B, b0 + j, ldb,
                C, c0 + i * ldc + j, ldc, S, s0 + i * lds + j, lds, begin,
            )  # fmt: skip


@helper
def product_loops_(m, n, k, A, a0, a_row, a_column, B, b0, ldb, C, c0, ldc, S, s0, lds, begin):
    """Write ``C = [S +] A B`` one number at a time: what `_product_tiles_` must agree with."""
    for i in range(m):
        for j in range(n):
            total = S[s0 + i * lds + j] if begin else C.dtype.type(0)
            for p in range(k):
                total += A[a0 + i * a_row + p * a_column] * B[b0 + p * ldb + j]
            C[c0 + i * ldc + j] = total


#: Without the JIT there are no vectors.
product_: Any = _product_tiles_ if JIT else product_loops_
