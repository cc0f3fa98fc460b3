"""A dense layer, forward and backward: for a batch and a CSR row, against NumPy in float64."""

import itertools
from typing import NamedTuple

import numpy as np
import pytest
import scipy.sparse

from fastnn.kernels import dense, gemm
from fastnn.kernels.jit import kernel
from fastnn.kernels.narrow import is_narrow
from fastnn.kernels.plan import NO_NUMBERS, Rows, borrow
from fastnn.kernels.views import offset, pointer
from fastnn.network import make_plan

pytestmark = pytest.mark.kernel

SHAPES = [(1, 1), (1, 5), (5, 1), (3, 4), (4, 3), (7, 16), (17, 33), (40, 150)]


@kernel
def sparse_row(plan, rows, targets, W, b, z):
    dense.sparse_row_forward_(borrow(plan, rows, targets, targets.order), 0, W, b, z)


@kernel
def sparse_row_update(plan, rows, targets, W, b, keep, step):
    job = borrow(plan, rows, targets, targets.order)
    dense.sparse_row_update_(job, 0, W, b, keep, step)


@kernel
def batch(n, n_in, n_out, x, params, z, delta, grads, below, guard, accumulate):
    b0 = guard + n_in * n_out
    dense.batch_forward_(n, n_in, n_out, x, guard, params, guard, b0, z, guard, -np.inf)
    own, given = offset(grads, guard), offset(delta, guard)
    dense.batch_gradient_(n, n_in, n_out, x, guard, n_in, given, own, True, accumulate)
    dense.batch_backward_(n, n_in, n_out, delta, guard, params, guard, below, guard, z, False)


@kernel
def descent(n, n_in, n_out, delta, W, x, below, gated, gW, guard, accumulate):
    own, down = offset(gW, guard), offset(below, guard)
    given, weights, inputs = offset(delta, 0), offset(W, 0), offset(x, 0)
    gemm.descend_(n, n_in, n_out, given, weights, inputs, down, gated, own, accumulate)


@kernel
def narrow(n, x):
    return is_narrow(n, pointer(x))


@kernel
def sparse_batch(plan, rows, targets, start, stop, W, b, z, delta, gW, gb, guard, accumulate):
    job = borrow(plan, rows, targets, targets.order)
    dense.sparse_forward_(job, start, stop, W, b, z, guard)
    dense.sparse_gradient_(job, start, stop, delta, gW, gb, accumulate)


class Ordered(NamedTuple):
    """Targets with the order of the rows beside them."""

    y: np.ndarray
    weight: np.ndarray
    numbers: np.ndarray
    order: np.ndarray


def sparse_job(csr, precision, order=()):
    """Return what `borrow` makes a job of: any plan, the CSR rows, targets and an order."""
    rows = Rows(
        np.empty((0, csr.shape[1]), precision),
        csr.data,
        csr.indices.astype(np.int32),
        csr.indptr.astype(np.int64),
    )
    none = np.empty((0, 1), precision)
    targets = Ordered(none, none[:, 0].copy(), NO_NUMBERS, np.array(order, np.int64))
    return make_plan((csr.shape[1], 1), (), "squared_error", 0.0, 1.0), rows, targets


class Layer:
    """Random arrays of a layer in a precision, and their float64 doubles."""

    def __init__(self, rng, n, n_in, n_out, precision):
        shapes = {"X": (n, n_in), "W": (n_in, n_out), "b": (n_out,), "delta": (n, n_out)}
        for name, shape in shapes.items():
            setattr(self, name, rng.normal(size=shape).astype(precision))
        self.X[rng.random(self.X.shape) < 0.6] = 0
        doubles = (getattr(self, name).astype(float) for name in shapes)
        X, W, b, delta = doubles
        self.z, self.below = X @ W + b, delta @ W.T
        self.gW, self.gb = X.T @ delta, delta.sum(axis=0)
        scale = np.abs(X).sum() + np.abs(W).sum() + np.abs(delta).sum() + 1
        self.tolerance = {"rtol": 0, "atol": float(scale * np.finfo(precision).eps)}


@pytest.mark.parametrize("keep", [1, 0.9])
@pytest.mark.parametrize("shape", SHAPES)
def test_sparse_row_update(shape, keep, precision, rng):
    """The weights decay and lose the outer product, the biases do not decay."""
    layer = Layer(rng, 1, *shape, precision)
    keep = np.dtype(precision).type(keep)
    step = (0.1 * layer.delta[0]).astype(precision)
    W = float(keep) * layer.W.astype(float) - np.outer(layer.X[0], step.astype(float))
    b = layer.b.astype(float) - step
    csr = scipy.sparse.csr_array(layer.X)
    sparse_row_update(*sparse_job(csr, precision), layer.W, layer.b, keep, step)
    np.testing.assert_allclose(layer.W, W, **layer.tolerance)
    np.testing.assert_allclose(layer.b, b, **layer.tolerance)


@pytest.mark.parametrize("shape", SHAPES)
def test_sparse_row(shape, precision, rng):
    layer = Layer(rng, 1, *shape, precision)
    csr = scipy.sparse.csr_array(layer.X)
    z = np.full(shape[1], 9, precision)
    sparse_row(*sparse_job(csr, precision), layer.W, layer.b, z)
    np.testing.assert_allclose(z, layer.z[0], **layer.tolerance)


@pytest.mark.parametrize("accumulate", [True, False])
@pytest.mark.parametrize("n", [1, 2, 9, 40])
@pytest.mark.parametrize("shape", SHAPES)
def test_batch(shape, n, accumulate, precision, rng):
    """Blocks inside flat vectors: what lies around them stays as it is."""
    layer, guard = Layer(rng, n, *shape, precision), 3

    def flat(*parts):
        around = np.full(guard, 77)
        return np.concatenate([around, *(part.ravel() for part in parts), around]).astype(precision)

    z, below = flat(np.zeros((n, shape[1]))), flat(np.zeros((n, shape[0])))
    grads = flat(np.ones_like(layer.W), np.ones_like(layer.b))  # to be added to, or not
    params = flat(layer.W, layer.b)
    batch(
        n,
        *shape,
        flat(layer.X),
        params,
        z,
        flat(layer.delta),
        grads,
        below,
        guard,
        accumulate,
    )
    for found, parts in [
        (z, [layer.z]),
        (below, [layer.below]),
        (grads, [layer.gW + accumulate, layer.gb + accumulate]),
    ]:
        expected = np.concatenate([part.ravel() for part in parts])
        np.testing.assert_allclose(found[guard:-guard], expected, **layer.tolerance)
        np.testing.assert_array_equal(found[:guard], 77)
        np.testing.assert_array_equal(found[-guard:], 77)


@pytest.mark.parametrize("gated", [True, False])
@pytest.mark.parametrize("accumulate", [True, False])
@pytest.mark.parametrize(
    ("n", "n_in"), [*itertools.product((1, 2, 9, 40), (1, 3, 7, 8, 15, 16, 17, 33, 100)), (2, 9000)]
)
@pytest.mark.parametrize("n_out", [1, 2, 3, 4])
def test_narrow_layer_backward(n_out, n, n_in, accumulate, gated, precision, rng):
    """Both products of a layer of few outputs, made in one pass over its inputs."""
    if not narrow(n_out, np.empty(0, precision)):
        pytest.skip(f"{n_out} numbers fill more than half a vector")
    layer, guard = Layer(rng, n, n_in, n_out, precision), 3
    sizes = n * n_in + 2 * guard, n_in * n_out + 2 * guard
    below, gW = (np.full(size, 77, precision) for size in sizes)
    gW[guard:-guard] = 1
    descent(
        n, n_in, n_out, layer.delta.ravel(), layer.W.ravel(), layer.X.ravel(), below, gated, gW,
        guard, accumulate,
    )  # fmt: skip
    handed = np.where(layer.X > 0, layer.below, 0) if gated else layer.below
    for found, expected in (below, handed), (gW, layer.gW + accumulate):
        np.testing.assert_allclose(found[guard:-guard], expected.ravel(), **layer.tolerance)
        np.testing.assert_array_equal(found[:guard], 77)
        np.testing.assert_array_equal(found[-guard:], 77)


@pytest.mark.parametrize("accumulate", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_sparse_batch(shape, accumulate, precision, rng):
    layer, guard = Layer(rng, 9, *shape, precision), 3
    order = rng.permutation(9)
    csr = scipy.sparse.csr_array(layer.X)
    z = np.full(5 * shape[1] + guard, 77, precision)
    gW, gb = np.ones_like(layer.W), np.ones_like(layer.b)
    delta = layer.delta[order[2:7]]
    job = sparse_job(csr, precision, order)
    sparse_batch(*job, 2, 7, layer.W, layer.b, z, delta, gW, gb, guard, accumulate)
    picked = order[2:7]
    np.testing.assert_array_equal(z[:guard], 77)
    np.testing.assert_allclose(z[guard:], layer.z[picked].ravel(), **layer.tolerance)
    expected = layer.X[picked].astype(float).T @ delta.astype(float)
    np.testing.assert_allclose(gW, expected + accumulate, **layer.tolerance)
    np.testing.assert_allclose(gb, delta.sum(axis=0) + accumulate, **layer.tolerance)
