"""SAGA for linear models: SGD whose noise dies out, with an L2 and an L1 penalty.

A step takes ``w`` against ``c x_i + mean_j d_j x_j``: ``d_j`` is the derivative ``dJ_j/dz`` of row
``j`` when it was last drawn, and ``c`` how much that of the drawn row ``i`` has changed since.
The step has the full gradient as its expected value and ever less variance, so the rate can stay
constant.  The L2 penalty shrinks the weights and the L1 penalty moves them towards 0, not past it
(A. Defazio, F. Bach and S. Lacoste-Julien, SAGA: a fast incremental gradient method with support
for non-strongly convex composite objectives, NIPS 2014).

As in `linear`, the weights are ``scale * W``, so that the shrinking costs one multiplication.  A
sparse row costs its non-zeros: between two rows that have a feature its weight only drifts with
the mean gradient, by sums that are kept for all steps of an epoch (M. Schmidt, N. Le Roux and
F. Bach, Minimizing finite sums with the stochastic average gradient, 2013, section 4.3).

The rows drawn, the steps and their order are scikit-learn's, so that both follow one path to
rounding.  Scalars are float64 in both precisions.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from fastnn.kernels.elementary import exp, sigmoid
from fastnn.kernels.jit import helper, kernel
from fastnn.kernels.packed import padded
from fastnn.kernels.row import copy_, dots_, lanes_of
from fastnn.kernels.saga_step import saga_step_
from fastnn.kernels.simd import prefetch_
from fastnn.kernels.subnormals import flushing_
from fastnn.kernels.views import constant, keep_alive, offset, pointer

#: The scale is folded into the weights below this.
LEAST_SCALE = 1e-9
#: Rows ahead of the present one whose memory is asked for.
AHEAD = 8


class SagaRule(NamedTuple):
    """How rows change the weights.

    Attributes
    ----------
    rate : float
        Of every step.
    l2, l1 : float
        Penalties per row, ``l2 |w|^2 / 2 + l1 |w|_1``.
    fit_intercept : bool
        Whether the intercept is trained.
    """

    rate: float
    l2: float
    l1: float
    fit_intercept: bool


#: Places in the state, a float64 array of `N_STATE`.
N_STATE = 3
SCALE, N_SEEN, WORD = range(N_STATE)


class SagaModel(NamedTuple):
    """What is trained and what a run remembers; all arrays are written.

    Attributes
    ----------
    W, G : arrays (d, k)
        Weights over the scale; sums over the rows of the remembered ``d_j x_j``.
    b, g : float64 arrays (k,)
        Intercepts; sums of the remembered ``d_j``.
    D : array (n, k)
        The remembered ``dJ_j/dz``.
    seen : uint8 array (n,)
        Whether a row has been drawn.
    order : int32 array (n,)
        Rows drawn in this epoch.
    drift, shrink : float64 arrays (n + 1,) or (0,)
        Of CSR rows: what the steps so far in the epoch multiply the gradient's sum by and move
        towards 0, added up; ``shrink`` only with an L1 penalty.
    last : int32 array (d,) or (0,)
        Of CSR rows: the step up to which a feature's weights have drifted.
    state : float64 array (N_STATE,)
        The scale, the number of rows seen, the word of the random numbers.
    """

    W: np.ndarray
    G: np.ndarray
    b: np.ndarray
    g: np.ndarray
    D: np.ndarray
    seen: np.ndarray
    order: np.ndarray
    drift: np.ndarray
    shrink: np.ndarray
    last: np.ndarray
    state: np.ndarray


class Saga(NamedTuple):
    """The arguments of a kernel as `pointer`s and numbers, by the names of `SagaModel`, `Rows`."""

    n: int
    d: int
    k: int
    W: Any
    G: Any
    b: Any
    g: Any
    D: Any
    seen: Any
    order: Any
    drift: Any
    shrink: Any
    last: Any
    state: Any
    dense: Any
    data: Any
    indices: Any
    indptr: Any
    y: Any
    weighted: bool
    weight: Any


@helper
def borrow(model, rows, y, weight):
    """Return the `Saga` of a kernel's arguments."""
    return Saga(
        model.order.size,
        model.W.shape[0],
        model.W.shape[1],
        pointer(model.W),
        pointer(model.G),
        pointer(model.b),
        pointer(model.g),
        pointer(model.D),
        pointer(model.seen),
        pointer(model.order),
        pointer(model.drift),
        pointer(model.shrink),
        pointer(model.last),
        pointer(model.state),
        pointer(rows.dense),
        pointer(rows.data),
        pointer(rows.indices),
        pointer(rows.indptr),
        pointer(y),
        weight.size > 0,
        pointer(weight),
    )


@helper
def draw_(saga, start, stop):
    """Write the numbers of rows ``start:stop`` of the order, drawn with replacement.

    The 32-bit xorshift generator of G. Marsaglia, Xorshift RNGs, Journal of Statistical Software
    8, 2003.
    """
    word = int(saga.state[WORD])
    for t in range(start, stop):
        word ^= (word << 13) & 0xFFFFFFFF
        word ^= word >> 17
        word ^= (word << 5) & 0xFFFFFFFF
        saga.order[t] = (word & 0x7FFFFFFF) % saga.n
    saga.state[WORD] = word


@helper
def see_(saga, i):
    """Return how many rows have been drawn, ``i`` included."""
    if saga.seen[i] == 0:
        saga.seen[i] = 1
        saga.state[N_SEEN] += 1
    return saga.state[N_SEEN]


@helper
def change_(saga, i, scale, z):
    """Turn ``x_i . W`` into the change of the row's ``dJ/dz``, and remember that."""
    k, like = saga.k, z[0]
    for c in range(k):
        z[c] = constant(scale, like) * z[c] + constant(saga.b[c], like)
    if k == 1:
        z[0] = sigmoid(z[0]) - saga.y[i]
    else:
        largest = constant(-math.inf, like)
        for c in range(k):
            largest = max(largest, z[c])
        total = constant(0, like)
        for c in range(k):
            z[c] = exp(z[c] - largest)
            total += z[c]
        for c in range(k):
            z[c] /= total
        z[int(saga.y[i])] -= constant(1, like)
    for c in range(k):
        if saga.weighted:
            z[c] *= saga.weight[i]
        before = saga.D[i * k + c]
        saga.D[i * k + c] = z[c]
        z[c] -= before


@helper
def step_intercepts_(rule, saga, change, n_seen):
    """Make the step of the intercepts."""
    if rule.fit_intercept:
        mean = rule.rate / n_seen
        own = rule.rate * (1 - 1 / n_seen)
        for c in range(saga.k):
            saga.g[c] += change[c]
            saga.b[c] -= mean * saga.g[c] + own * change[c]


@helper
def towards_zero(w, amount):
    """Return ``w`` moved by ``amount`` towards 0, not past it."""
    return w - min(max(w, -amount), amount)


@helper
def turn_in_(saga, width, flat, out):
    """Write ``flat`` (d, k) to the rows of ``out`` (k, width)."""
    for j in range(saga.d):
        for c in range(saga.k):
            out[c * width + j] = flat[j * saga.k + c]


@helper
def turn_out_(saga, width, flat, out):
    """Write what `turn_in_` wrote back to ``flat``."""
    for j in range(saga.d):
        for c in range(saga.k):
            flat[j * saga.k + c] = out[c * width + j]


@helper
def dense_steps_(rule, model, rows, y, weight, start, stop):
    """Do what `saga_dense_` does, subnormal numbers being zero."""
    saga = borrow(model, rows, y, weight)
    d, k, state = saga.d, saga.k, saga.state
    lanes = lanes_of(saga.W)
    width, height = padded(d, lanes), padded(k, lanes)
    memory = np.zeros((2 * k + 1) * width + height, model.W.dtype)
    W = pointer(memory)  # by rows, in whole vectors
    G, x, z = offset(W, k * width), offset(W, 2 * k * width), offset(W, (2 * k + 1) * width)
    turn_in_(saga, width, saga.W, W)
    turn_in_(saga, width, saga.G, G)
    draw_(saga, start, stop)
    for t in range(start, stop):
        i = saga.order[t]
        if t + AHEAD < stop:
            ahead = saga.order[t + AHEAD]
            prefetch_(saga.D, ahead * k)
            for j in range(0, d, lanes):
                prefetch_(saga.dense, ahead * d + j)
        n_seen, scale = see_(saga, i), state[SCALE]
        copy_(d, offset(saga.dense, i * d), x)
        dots_(k, width, x, W, None, z)
        change_(saga, i, scale, z)
        scale *= 1 - rule.rate * rule.l2
        own = constant(rule.rate * (1 - 1 / n_seen) / scale, z[0])
        mean = constant(rule.rate / (scale * n_seen), z[0])
        amount = constant(rule.rate * rule.l1 / scale, z[0])
        for c in range(k):
            place = c * width
            saga_step_(width, z[c], own * z[c], mean, amount, x, offset(G, place), offset(W, place))
        step_intercepts_(rule, saga, z, n_seen)
        if scale < LEAST_SCALE or t == saga.n - 1:
            scale_(k * width, scale, W)
            scale = 1.0
        state[SCALE] = scale
    turn_out_(saga, width, saga.W, W)
    turn_out_(saga, width, saga.G, G)
    keep_alive((memory,))


@kernel
def saga_dense_(rule, model, rows, y, weight, start, stop):
    """Make steps ``start:stop`` of an epoch on dense rows.

    Parameters
    ----------
    rule : SagaRule
    model : SagaModel
        Written.  The scale is folded into the weights after an epoch's last step.
    rows : Rows
    y : array (n,)
        0 or 1 for one score; class numbers for several.
    weight : array (n,) or (0,)
        Weights of the rows.
    start, stop : int
    """
    arguments = (rule, model, rows, y, weight, start, stop)
    flushing_(dense_steps_, arguments)


@helper
def scale_(n, scale, W):
    """Multiply the scale into the weights."""
    factor = constant(scale, W[0])
    for i in range(n):
        W[i] *= factor


@helper
def drifted(w, total, saga, start, stop, l1):
    """Return a weight after the drift of steps ``start:stop`` with the gradient's sum ``total``.

    Each step is ``w <- towards_zero(w - total * drift, shrink)``.  They are made from the last to
    the first, as scikit-learn makes them, but many at a time: where the shrinking is stronger they
    add up, and where the drift is, they do on either side of 0.  Before every row has been drawn
    now the one and now the other may be; then the stronger in sum decides, as in scikit-learn.
    """
    drift, shrink = saga.drift, saga.shrink
    by = total * (drift[stop] - drift[start])
    if l1 == 0:
        return w - by
    amount = shrink[stop] - shrink[start]
    if abs(by) < amount:
        return towards_zero(w - by, amount)
    if abs(total) < l1 * saga.state[N_SEEN]:  # stronger in some steps only
        for t in range(stop - 1, start - 1, -1):
            w = towards_zero(w - total * (drift[t + 1] - drift[t]), shrink[t + 1] - shrink[t])
        return w
    side = 1.0 if total > 0 else -1.0
    w, pull = side * w, side * total
    if w <= 0:
        return side * (w - pull * (drift[stop] - drift[start]) + amount)
    if w - pull * (drift[stop] - drift[start]) - amount > 0:
        return side * (w - pull * (drift[stop] - drift[start]) - amount)
    # Step `low` is the one that reaches 0, all of `high:stop` stay above it.
    low, high = start, stop
    while high - low > 1:
        middle = (low + high) // 2
        if w - pull * (drift[stop] - drift[middle]) - (shrink[stop] - shrink[middle]) > 0:
            high = middle
        else:
            low = middle
    w -= pull * (drift[stop] - drift[low]) + (shrink[stop] - shrink[high])
    w = min(0.0, w + (shrink[high] - shrink[low]))
    return side * (w - pull * (drift[low] - drift[start]) + (shrink[low] - shrink[start]))


@helper
def let_drift_(saga, j, stop, l1):
    """Bring the weights of feature ``j`` up to step ``stop``."""
    start = saga.last[j]
    if start < stop:
        for p in range(j * saga.k, (j + 1) * saga.k):
            w = saga.W[p]
            saga.W[p] = constant(drifted(float(w), float(saga.G[p]), saga, start, stop, l1), w)
        saga.last[j] = stop


@helper
def settle_(saga, stop, scale, l1):
    """Bring all weights up to step ``stop`` and fold the scale into them."""
    for j in range(saga.d):
        let_drift_(saga, j, stop, l1)
    scale_(saga.d * saga.k, scale, saga.W)
    saga.drift[stop] = 0
    if l1 > 0:
        saga.shrink[stop] = 0


@helper
def sparse_steps_(rule, model, rows, y, weight, start, stop):
    """Do what `saga_sparse_` does, subnormal numbers being zero."""
    saga = borrow(model, rows, y, weight)
    k, state = saga.k, saga.state
    memory = np.empty(k, model.W.dtype)
    z = pointer(memory)
    draw_(saga, start, stop)
    for t in range(start, stop):
        i = saga.order[t]
        if t + AHEAD < stop:
            ahead = saga.order[t + AHEAD]
            prefetch_(saga.D, ahead * k)
            prefetch_(saga.indices, saga.indptr[ahead])
            prefetch_(saga.data, saga.indptr[ahead])
        n_seen, scale = see_(saga, i), state[SCALE]
        for c in range(k):
            z[c] = constant(0, z[0])
        first, last = saga.indptr[i], saga.indptr[i + 1]
        for s in range(first, last):
            j, x = saga.indices[s], saga.data[s]
            let_drift_(saga, j, t, rule.l1)
            for c in range(k):
                z[c] += x * saga.W[j * k + c]
        change_(saga, i, scale, z)
        scale *= 1 - rule.rate * rule.l2
        own = constant(rule.rate * (1 - 1 / n_seen) / scale, z[0])
        for s in range(first, last):
            j, x = saga.indices[s], saga.data[s]
            for c in range(k):
                moved = x * z[c]
                saga.W[j * k + c] -= own * moved
                saga.G[j * k + c] += moved
        step_intercepts_(rule, saga, z, n_seen)
        saga.drift[t + 1] = saga.drift[t] + rule.rate / (scale * n_seen)
        if rule.l1 > 0:
            saga.shrink[t + 1] = saga.shrink[t] + rule.rate * rule.l1 / scale
        if scale < LEAST_SCALE or t == saga.n - 1:
            settle_(saga, t + 1, scale, rule.l1)
            scale = 1.0
        state[SCALE] = scale
    if stop == saga.n:
        for j in range(saga.d):
            saga.last[j] = 0
    keep_alive((memory,))


@kernel
def saga_sparse_(rule, model, rows, y, weight, start, stop):
    """Make steps ``start:stop`` of an epoch on CSR rows; the arguments are `saga_dense_`'s."""
    arguments = (rule, model, rows, y, weight, start, stop)
    flushing_(sparse_steps_, arguments)
