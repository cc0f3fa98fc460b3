"""The machine's two limits, measured: multiply-adds per second, and bytes per second.

A kernel cannot be faster than its multiply-adds at the first rate, nor than its memory traffic at
the second; timings are best read as a share of these.
"""

from fastnn.kernels.jit import JIT, kernel
from fastnn.kernels.simd import CHAINS, fused_multiply_adds

if not JIT:

    def fused_multiply_adds(rounds, like):
        """Return (operations, sum) of the same steps on single numbers."""
        chains = [like.dtype.type(i) for i in range(CHAINS)]
        half = like.dtype.type(0.5)
        for _ in range(rounds):
            chains = [x * half + half for x in chains]
        return 2 * CHAINS * rounds, sum(chains)


@kernel
def multiply_adds(rounds, like):
    """Do ``rounds`` multiply-adds in each of `CHAINS` registers, and nothing else.

    Parameters
    ----------
    rounds : int
        Steps of each chain of dependent sums.
    like : ndarray
        Its precision is used, nothing else.

    Returns
    -------
    tuple of (int, float)
        Floating-point operations done, two per multiply-add and lane; and the registers' sum
        in one lane, without which the compiler would drop the work.
    """
    return fused_multiply_adds(rounds, like)


@kernel
def read(x, passes):
    """Read a vector ``passes`` times, as a sum; ``x.nbytes * passes`` bytes in all."""
    total = x.dtype.type(0)
    for _ in range(passes):
        for i in range(x.size):  # an iterator over the vector would not become vector code
            total += x[i]
    return total
