"""Stochastic gradient descent for the softmax of several linear scores."""

import math

import numpy as np

from fastnn.kernels.elementary import exp
from fastnn.kernels.jit import helper, kernel
from fastnn.kernels.linear import (
    AVERAGE_A,
    AVERAGE_B,
    ETA,
    LOSS_SUM,
    RATE,
    T,
    U,
    finish_,
    fold_,
    smallest_scale,
)
from fastnn.kernels.linear_row import (
    borrow_data,
    prefetch_ahead_,
    row_add_,
    row_dot,
    row_number,
    row_squares,
    row_truncate_,
)
from fastnn.kernels.linear_rule import largest_slope, scheduled_rate
from fastnn.kernels.subnormals import flushing_
from fastnn.kernels.views import constant, keep_alive, offset, pointer


@helper
def softmax_slopes_(n_out, label, smoothing, z):
    """Return the cross-entropy of a row's scores; write probabilities less targets in their place.

    The slope of the loss by each score; the target has ``smoothing`` of its mass spread evenly.
    """
    largest = z[0]
    for k in range(1, n_out):
        largest = max(largest, z[k])
    surprise = float(largest - z[label])
    z_true, mean = float(z[label]), 0.0
    total = constant(0, largest)
    for k in range(n_out):
        mean += float(z[k]) / n_out
        z[k] = exp(z[k] - largest)
        total += z[k]
    even = constant(smoothing / n_out, largest)
    for k in range(n_out):
        z[k] = z[k] / total - even
    z[label] -= constant(1 - smoothing, largest)
    return surprise + math.log(float(total)) + smoothing * (z_true - mean)


@helper
def train_each_softmax_row_(rule, model, rows, y, weight, order, start, stop):
    """Do what `train_softmax_rows_` does, subnormal numbers being zero."""
    b, state = model.b, model.state
    like = model.W[0, 0]
    n_out, d = model.W.shape
    X = borrow_data(rows, y, weight, order, model.W.itemsize)
    V, A, q = pointer(model.W), pointer(model.A), pointer(model.q)
    averaging = model.A.size > 0
    smallest = smallest_scale(model.W.itemsize, averaging)
    steps = np.empty(n_out, model.W.dtype)
    scale, average_a, average_b = 1.0, state[AVERAGE_A], state[AVERAGE_B]
    for n in range(start, stop):
        i = row_number(X, n)
        prefetch_ahead_(X, n, stop)
        t = state[T]
        eta = scheduled_rate(rule, state[ETA], t)
        for k in range(n_out):
            z = constant(scale, like) * row_dot(X, i, offset(V, k * d)) + constant(b[k], like)
            steps[k] = z
        surprise = softmax_slopes_(n_out, int(X.y[i]), rule.smoothing, pointer(steps))
        if rule.watch_loss:
            state[LOSS_SUM] += surprise
        size = 0.0
        rate = -eta * (X.weight[i] if X.weighted else 1.0)
        if rule.clip < math.inf:
            for k in range(n_out):
                size += float(steps[k]) * float(steps[k])
            most = largest_slope(rule, float(row_squares(X, i, like)))
            rate *= min(1.0, most / math.sqrt(size)) if size > 0 else 1.0
        for k in range(n_out):
            steps[k] *= constant(rate, like)

        if rule.decay:
            scale *= max(0.0, 1 - (1 - rule.l1_ratio) * eta * rule.alpha)
            if scale < smallest:
                fold_(n_out * d, scale, average_a, average_b, V, A, averaging)
                average_a, average_b, scale = 0.0, 1.0, 1.0
        counted = 0 < rule.average <= t
        number = t - rule.average + 1
        state[U] += rule.l1_ratio * eta * rule.alpha
        for k in range(n_out):
            step = constant(float(steps[k]) / scale, like)
            row_add_(X, i, step, offset(V, k * d))
            if rule.fit_intercept:
                b[k] += float(steps[k]) * rule.intercept_rate
            if counted:
                row_add_(X, i, constant(-average_a, like) * step, offset(A, k * d))
                model.a[k] += (b[k] - model.a[k]) / number
            if rule.truncate:
                u, f = constant(state[U], like), constant(scale, like)
                row_truncate_(X, i, u, f, offset(V, k * d), offset(q, k * d))
        if counted:
            if number > 1:
                average_b /= 1 - 1 / number
            average_a += average_b * scale / number
        state[T], state[RATE] = t + 1, eta
    finish_(rule, state, n_out * d, scale, average_a, average_b, V, A, averaging)
    keep_alive((steps,))


@kernel
def train_softmax_rows_(rule, model, rows, y, weight, order, start, stop):
    """Make one step for each of rows ``order[start:stop]`` in turn, for the softmax of k scores.

    The arguments are those of `train_rows_`; ``y`` (n,) holds the numbers of the classes, and the
    loss is the cross-entropy.
    """
    arguments = (rule, model, rows, y, weight, order, start, stop)
    flushing_(train_each_softmax_row_, arguments)
