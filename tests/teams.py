"""What must hold of every kernel that threads run together."""

import threading

import joblib
import numpy as np

from fastnn import parallel
from fastnn.kernels import shares
from fastnn.kernels.stages import stages_state


def share_eagerly(monkeypatch, number):
    """Let the smallest batches have so many shares of units, and as many threads as asked for."""
    monkeypatch.setattr(joblib, "cpu_count", lambda *_, **__: 8)
    monkeypatch.setattr(parallel, "_CALL_FLOP", 1)
    monkeypatch.setattr(parallel, "_SHARED_FLOP", 0)
    monkeypatch.setattr(parallel, "_SHARED_ROWS", 1)
    monkeypatch.setattr(parallel, "_SHARED_BATCHES", 1)
    monkeypatch.setattr(parallel, "_OUTNUMBERED", 0)
    monkeypatch.setattr(parallel, "_SHARES", number)
    monkeypatch.setattr(shares, "UNITS", 4)  # of three units, one of two shares has none


def hide_their_number(fitted, precision, **options):
    """Hold fits by any number of threads to one result, near that of batches in one go.

    ``fitted(n_jobs, **options)`` returns parameters and losses.
    """
    whole, whole_loss = fitted(None, **options)
    one, one_loss = fitted(1, **options)
    rtol = {"float32": 2e-3, "float64": 1e-9}[precision]
    np.testing.assert_allclose(one, whole, rtol=rtol, atol=rtol / 100)
    np.testing.assert_allclose(one_loss, whole_loss, rtol=rtol)
    for n_jobs in (2, 3):
        many, many_loss = fitted(n_jobs, **options)
        np.testing.assert_array_equal(many, one)
        assert many_loss == one_loss


def do_without_a_thread(kernel, arguments, alone):
    """Hold the first of two threads to the result of one ``alone`` if the other never comes.

    ``arguments`` are a network, what the totals are written to, and what the kernel takes before
    the thread's number.
    """
    net, totals, args = arguments
    state = stages_state(2)
    kernel(*args, 0, 2, state)
    np.testing.assert_array_equal(net.parameters, alone[0])
    np.testing.assert_array_equal(totals, alone[1])
    kernel(*args, 1, 2, state)  # too late: it sees that all is done
    np.testing.assert_array_equal(net.parameters, alone[0])


def wait_for_the_first(kernel, arguments, alone):
    """Hold two threads to the same result if the first comes last."""
    net, totals, args = arguments
    state = stages_state(2)
    other = threading.Thread(target=kernel, args=(*args, 1, 2, state))
    other.start()
    other.join(0.05)
    assert other.is_alive()
    np.testing.assert_array_equal(state[[0, 64]], [1, 1])  # it has finished its own task
    kernel(*args, 0, 2, state)
    other.join()
    np.testing.assert_array_equal(net.parameters, alone[0])
    np.testing.assert_array_equal(totals, alone[1])
