"""Whether a call leaves memory behind, time after time."""

import gc
import tracemalloc

import numpy as np


def leaked(call):
    """Return the fewest bytes that one of four thousand-fold repeats of a call left behind.

    What leaks grows in every thousand calls; what Python, its specialising interpreter and
    threads of other tests take at a moment of their own does not.
    """
    held = []
    tracemalloc.start()
    try:
        for _ in range(5):
            for _ in range(1000):
                call()
            gc.collect()
            held.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    return np.diff(held).min()
