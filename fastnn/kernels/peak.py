"""The machine's two limits, measured: multiply-adds per second, and bytes per second.

A kernel cannot be faster than its multiply-adds at the first rate, nor than its memory traffic at
the second; timings are best read as a share of these.
"""

from fastnn.kernels.jit import kernel
from fastnn.kernels.simd import fused_multiply_adds


@kernel
def multiply_adds(rounds, like):
    """Do ``rounds`` multiply-adds on each lane of the registers, and nothing else.

    Parameters
    ----------
    rounds : int
        Steps of each chain of dependent sums.
    like : ndarray
        Its precision is used, nothing else.

    Returns
    -------
    tuple of (int, float)
        Floating-point operations done, two per multiply-add and lane; and a sum of all lanes,
        without which the compiler would drop the work.
    """
    return fused_multiply_adds(rounds, like)


@kernel
def read(x, passes):
    """Read a vector ``passes`` times, as a sum; ``x.nbytes * passes`` bytes in all."""
    total = x.dtype.type(0)
    for _ in range(passes):
        for value in x:
            total += value
    return total
