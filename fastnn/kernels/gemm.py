"""Products of row-major matrices that lie in flat vectors.

A matrix is given as ``(X, x0, ldx)``: a vector, the position of entry (0, 0), and the distance
between rows, so ``X[x0 + i * ldx + j]`` is entry (i, j).  Parameters, gradients and activations
each live in one flat vector, and slicing a view out of it would cost more than a small product.
All vectors of a call are contiguous and of one precision.  How a sum is ordered depends on the
shapes of B only, so a row's result does not depend on the batch it is computed in.

The three products of a dense layer: ``A = f(X W + b)`` is `gemm_bias_`, the weights' gradient
``X^T Delta`` is `gemm_tn_`, the delta of the layer below, ``Delta W^T * f'``, is `gemm_nt_`.  Of
the functions f, relu costs nothing extra: it is a *floor*, and its derivative a *gate*.

The work is done by register tiles (`tile`), over panels of B that stay in the first cache
(`panels`), or as dot products where B is narrow (`narrow`).
"""

import math
from typing import Any

from fastnn.kernels.apart import apart
from fastnn.kernels.jit import JIT, helper
from fastnn.kernels.narrow import descend_narrow_, dots_narrow_, interleave_, is_narrow, separate_
from fastnn.kernels.panels import (
    BLOCK_DEPTH,
    BLOCK_ROW,
    BLOCK_WIDTH,
    block_buffer,
    pack_,
    panel_buffer,
    transpose_rows_,
)
from fastnn.kernels.tile import tile_shape, tiles_
from fastnn.kernels.views import constant, offset, only_if, shifted

#: A matrix of more numbers is packed, if its panels meet at least so many rows of the other.
LARGE, OFTEN = 4 * 1024, 24
#: An A whose sums go over rows a multiple of so many numbers apart is copied, if B has so many
#: columns.
SCATTERED, WIDE = 1024, 128


@helper
def gemm_nn_(m, n, k, A, a0, lda, B, b0, ldb, C, c0, ldc, accumulate):
    """Write ``C = A B``, or add to C, with A (m, k), B (k, n) and C (m, n)."""
    product_(
        m, n, k, A, a0, lda, 1, B, b0, ldb, False, C, c0, ldc, C, c0, ldc, accumulate,
        C, False, -math.inf,
    )  # fmt: skip


@helper
def gemm_bias_(m, n, k, A, a0, lda, B, b0, ldb, bias, bias0, C, c0, ldc, floor):
    """Write ``C = max(floor, A B + bias)``, with A (m, k), B (k, n), C (m, n), a bias a column.

    The floor of relu is 0; -inf is none.
    """
    product_(
        m, n, k, A, a0, lda, 1, B, b0, ldb, False, C, c0, ldc, bias, bias0, 0, True, C, False,
        floor,
    )  # fmt: skip


@helper
def gemm_tn_(m, n, k, A, a0, lda, B, b0, ldb, C, c0, ldc, accumulate):
    """Write ``C = A^T B``, or add to C, with A (k, m), B (k, n) and C (m, n)."""
    product_(
        m, n, k, A, a0, 1, lda, B, b0, ldb, False, C, c0, ldc, C, c0, ldc, accumulate,
        C, False, -math.inf,
    )  # fmt: skip


@helper
def gemm_nt_(m, n, k, A, a0, lda, B, b0, ldb, C, c0, ldc, accumulate):
    """Write ``C = A B^T``, or add to C, with A (m, k), B (n, k) and C (m, n)."""
    product_nt_(m, n, k, A, a0, lda, B, b0, ldb, C, c0, ldc, accumulate, C, False)


@helper
def gemm_gated_nt_(m, n, k, A, a0, lda, B, b0, ldb, C, c0, ldc, G):
    """Write ``C = A B^T``, and 0 where not ``G > 0``; G lies in its vector as C does."""
    product_nt_(m, n, k, A, a0, lda, B, b0, ldb, C, c0, ldc, False, G, True)


@helper
def product_nt_(m, n, k, A, a0, lda, B, b0, ldb, C, c0, ldc, accumulate, G, gated):
    """Write ``C = [C +] A B^T``, and 0 where not ``G > 0`` if ``gated``."""
    if m == 1:  # a vector B a: B is read along its rows, and needs no transposing
        product_(
            n, 1, k, B, b0, ldb, 1, A, a0, k, True, C, c0, 1, C, c0, 1, accumulate,
            G, gated, -math.inf,
        )  # fmt: skip
    else:
        product_(
            m, n, k, A, a0, lda, 1, B, b0, ldb, True, C, c0, ldc, C, c0, ldc, accumulate,
            G, gated, -math.inf,
        )  # fmt: skip


@helper
def _transpose_vectors_(rows, columns, a, lda, c, ldc):
    """Write ``C = A^T`` with A (rows, columns), C's rows filled up to whole vectors."""
    lanes = tile_shape(c)[2]
    for i in range(0, rows, lanes):
        transpose_rows_(min(lanes, rows - i), columns, offset(a, i * lda), lda, offset(c, i), ldc)


def _product_vectors_(
    m, n, k, A, a0, a_row, a_column, B, b0, ldb, turned, C, c0, ldc, S, s0, lds, begin, G,
    gated, floor,
):  # fmt: skip
    """Write ``C = max(floor, [S +] A B)``, and 0 where not ``G > 0`` if ``gated``.

    ``A[i, p]`` is at ``A[a0 + i * a_row + p * a_column]``; G lies in its vector as C does.  If
    ``turned``, B is given as its transpose.
    """
    _inside(m, k, A, a0, a_row, a_column)
    _inside(k, n, B, b0, 1 if turned else ldb, ldb if turned else 1)
    _inside(m, n, C, c0, ldc, 1)
    a, b, c = offset(A, a0), offset(B, b0), offset(C, c0)
    start, gate = only_if(begin, offset(S, s0)), only_if(gated, offset(G, c0))
    least = constant(floor, c[0])
    narrow = n > 0 and is_narrow(n, c) and ldc == n and (turned or ldb == n)
    if narrow and a_column == 1 and (lds == n or lds == 0):
        _narrow_product_(m, n, k, a, a_row, b, ldb, turned, c, start, lds, gate, least)
    elif narrow and a_row == 1 and lds == n and not turned and not gated:
        _narrow_gradient_(m, n, k, a, a_column, b, c, start)
    elif (
        a_row == 1 and a_column % SCATTERED == 0 and k > 0 and m >= OFTEN and n >= WIDE
        and not gated
    ):  # fmt: skip
        _scattered_product_(m, n, k, a, a_column, b, ldb, turned, c, ldc, start, lds, least)
    else:
        _tiled_product_(
            m, n, k, a, a_row, a_column, b, ldb, turned, c, ldc, start, lds, gate, least
        )  # fmt: skip


@helper
def _inside(rows, columns, X, x0, row, column):
    """Read a matrix's last entry: fails under ``NUMBA_BOUNDSCHECK=1``, else compiles to nothing.

    The tiles themselves read and write without checks.
    """
    if rows > 0 and columns > 0:
        _ = X[x0 + (rows - 1) * row + (columns - 1) * column]


@helper
def _tiled_product_(
    m, n, k, a, a_row, a_column, b, ldb, turned, c, ldc, start, lds, gate, floor,
):  # fmt: skip
    """Write the product tile by tile, panel by panel of B; ``start`` and ``gate`` may be null."""
    rows, columns, lanes, depth = tile_shape(c)
    panel = panel_buffer(c)
    packed = turned or (k * ldb > LARGE and m >= OFTEN)
    cuts = max(1, (k + depth - 1) // depth) if packed else 1
    deep = (k + cuts - 1) // cuts
    for cut in range(cuts):
        p = cut * deep
        size, is_last = min(deep, k - p), cut == cuts - 1
        j = 0
        while j < n:
            width = panel_width(n - j, columns, lanes)
            source, distance = offset(b, p * ldb + j), ldb
            if packed:
                source, distance = panel, (width + lanes - 1) // lanes * lanes
                if turned:
                    _transpose_vectors_(width, size, offset(b, j * ldb + p), ldb, panel, distance)
                else:
                    pack_(size, width, offset(b, p * ldb + j), ldb, panel, distance)
            begin, apart = (start, lds) if cut == 0 else (c, ldc)
            i, height = 0, rows
            while i < m:
                while height > m - i:
                    height //= 2
                count = (m - i) // height
                tiles_(
                    height, count, width, size,
                    offset(a, i * a_row + p * a_column), a_row, a_column, source, distance,
                    offset(c, i * ldc + j), ldc, shifted(begin, i * apart + j), apart,
                    only_if(is_last, shifted(gate, i * ldc + j)),
                    floor if is_last else constant(-math.inf, floor),
                )  # fmt: skip
                i += count * height
            j += width


@helper
def _scattered_product_(m, n, k, a, lda, b, ldb, turned, c, ldc, start, lds, floor):
    """Write the product from copies of blocks of A, which is read by columns.

    Where it is, its rows meet in a few places of the caches.
    """
    block, none = block_buffer(c), only_if(False, c)
    for p in range(0, k, BLOCK_DEPTH):
        size, is_last = min(BLOCK_DEPTH, k - p), p + BLOCK_DEPTH >= k
        for i in range(0, m, BLOCK_WIDTH):
            width = min(BLOCK_WIDTH, m - i)
            pack_(size, width, offset(a, p * lda + i), lda, block, BLOCK_ROW)
            _tiled_product_(
                width, n, size, block, 1, BLOCK_ROW,
                offset(b, p if turned else p * ldb), ldb, turned, offset(c, i * ldc), ldc,
                shifted(start, i * lds) if p == 0 else offset(c, i * ldc), lds if p == 0 else ldc,
                none, floor if is_last else constant(-math.inf, floor),
            )  # fmt: skip


@helper
def panel_width(left, columns, lanes):
    """Return the columns of the next panel: a full tile's, or less if one vector were left over.

    A tile of a lone vector reads as much of A for each multiply-add as one of three.
    """
    if left <= columns:
        return left
    return columns - lanes if left <= columns + lanes and columns > lanes else columns


@helper
def _narrow_product_(m, n, k, a, lda, b, ldb, turned, c, start, lds, gate, floor):
    """Write the product with a B of few columns, by dot products with its transpose's rows."""
    if turned:
        dots_narrow_(n, m, k, a, lda, b, ldb, c, start, lds, gate, floor)
        return
    _, columns, _, depth = tile_shape(c)
    scratch = panel_buffer(c)
    deep = columns * depth // n
    for p in range(0, max(k, 1), deep):
        size = min(deep, k - p)
        separate_(n, size, offset(b, p * n), scratch, deep)
        is_last = p + deep >= k
        dots_narrow_(
            n, m, size, offset(a, p), lda, scratch, deep, c,
            start if p == 0 else c, lds if p == 0 else n, only_if(is_last, gate),
            floor if is_last else constant(-math.inf, floor),
        )  # fmt: skip


@helper
def _narrow_gradient_(m, n, k, a, lda, b, c, start):
    """Write ``C = [S +] A^T B`` for a B of few columns, as the transpose of ``B^T A``."""
    _, columns, _, depth = tile_shape(c)
    scratch = panel_buffer(c)
    long = columns * depth // n
    for i in range(0, m, long):
        size = min(long, m - i)
        _tiled_product_(
            n, size, k, b, 1, n, offset(a, i), lda, False, scratch, long,
            only_if(False, c), 0, only_if(False, c), constant(-math.inf, c[0]),
        )  # fmt: skip
        interleave_(n, size, scratch, long, offset(c, i * n), shifted(start, i * n))


def _descend_vectors_(rows, width, n, delta, W, x, below, gated, gW, accumulate):
    """Do both products of a layer of few outputs, `is_narrow`, in one pass over its inputs.

    Write ``x^T delta`` to gW (width, n), or add it, and ``delta W^T`` (rows, width) to ``below``,
    0 where not ``x > 0`` if ``gated``; they are `pointer`s to matrices without gaps.
    """
    _, columns, _, depth = tile_shape(x)
    scratch = panel_buffer(x)
    long = columns * depth // (2 * n)
    sums = offset(scratch, n * long)
    for j in range(0, width, long):
        size = min(long, width - j)
        separate_(n, size, offset(W, j * n), scratch, long)
        descend_narrow_(
            n, rows, size, delta, scratch, long, offset(below, j), width, offset(x, j),
            1 if gated else 0, sums,
        )  # fmt: skip
        own = offset(gW, j * n)
        interleave_(n, size, sums, long, own, only_if(accumulate, own))


@helper
def product_loops_(
    m, n, k, A, a0, a_row, a_column, B, b0, ldb, turned, C, c0, ldc, S, s0, lds, begin, G,
    gated, floor,
):  # fmt: skip
    """Write the same one number at a time: what `_product_vectors_` must agree with."""
    b_row, b_column = (1, ldb) if turned else (ldb, 1)
    for i in range(m):
        for j in range(n):
            total = S[s0 + i * lds + j] if begin else constant(0, C[c0])
            for p in range(k):
                total += A[a0 + i * a_row + p * a_column] * B[b0 + p * b_row + j * b_column]
            total = max(total, constant(floor, total))
            open = not gated or G[c0 + i * ldc + j] > 0
            C[c0 + i * ldc + j] = total if open else constant(0, total)


#: Without the JIT there are no vectors.
product_: Any = apart(_product_vectors_) if JIT else product_loops_


def _descend_loops_(rows, width, n, delta, W, x, below, gated, gW, accumulate):
    """Do the same as two products."""
    product_loops_(
        width, n, rows, x, 0, 1, width, delta, 0, n, False, gW, 0, n, gW, 0, n, accumulate,
        gW, False, -math.inf,
    )  # fmt: skip
    product_loops_(
        rows, width, n, delta, 0, n, 1, W, 0, n, True, below, 0, width, below, 0, width, False,
        x, gated, -math.inf,
    )  # fmt: skip


#: Both products backward of a layer of few outputs, in one pass.
descend_: Any = apart(_descend_vectors_) if JIT else _descend_loops_
