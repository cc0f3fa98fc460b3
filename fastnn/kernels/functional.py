"""Entry points to the tables' functions by themselves, for `fastnn.functional` and `explain`.

Matrices are (n, outputs), one row of scores per sample; codes are those of the tables.
"""

from fastnn.kernels.activations import activate_, deactivate_
from fastnn.kernels.elementary import exp, log
from fastnn.kernels.jit import kernel
from fastnn.kernels.losses import link_, link_derivative, loss_, slope, surprise
from fastnn.kernels.views import constant, offset, pointer


@kernel
def activation_(code, z, a, derivative):
    """Write ``a = f(z)`` and ``da/dz`` of a vector."""
    activate_(code, z.size, 0, pointer(z), pointer(a))
    for i in range(z.size):
        derivative[i] = constant(1, z[i])
    deactivate_(code, z.size, 0, pointer(z), pointer(a), pointer(derivative))


@kernel
def predict_(code, Z, A):
    """Write the predictions ``A = link(Z)`` of a loss."""
    n, k = Z.shape
    link_(code, n, k, pointer(Z), pointer(A))


@kernel
def log_softmax_(Z, A):
    """Write the logarithm of each row's softmax: ``z_k - log sum_j exp(z_j)``."""
    for r in range(Z.shape[0]):
        largest = Z[r, 0]
        for k in range(1, Z.shape[1]):
            largest = max(largest, Z[r, k])
        total = constant(0, largest)
        for k in range(Z.shape[1]):
            total += exp(Z[r, k] - largest)
        normaliser = log(total)
        for k in range(Z.shape[1]):
            A[r, k] = -surprise(Z[r, k], largest, normaliser)


@kernel
def losses_(code, Z, Y, parameter, values, delta):
    """Write each row's loss to ``values`` (n,) and ``dJ/dz`` to ``delta`` (n, outputs)."""
    n, k = Z.shape
    t = Y.shape[1]
    for r in range(n):
        z, d = offset(pointer(Z), r * k), offset(pointer(delta), r * k)
        y = offset(pointer(Y), r * t)
        values[r] = loss_(code, 1, k, t, z, y, constant(parameter, Z[0, 0]), d)


@kernel
def factors_(code, Z, A, Y, parameter, slopes, jacobians):
    """Write the factors of ``dJ/dz``: ``dJ/da`` (n, K) and ``da_k/dz_j`` (n, K, K).

    ``A`` are the predictions of ``Z``; ``Y`` (n, K) has one column per output.
    """
    for r in range(Z.shape[0]):
        for k in range(Z.shape[1]):
            z, a = Z[r, k], A[r, k]
            slopes[r, k] = slope(code, z, a, Y[r, k], constant(parameter, z))
            for j in range(Z.shape[1]):
                jacobians[r, k, j] = link_derivative(code, z, a, A[r, j], constant(k == j, z))
