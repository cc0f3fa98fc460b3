"""Initial weights: name -> (numerator, fans, distribution), variance = numerator / fans.

Glorot & Bengio (2010), He et al. (2015), LeCun et al. (1998).  Biases start at 0.
"""

import math

import numpy as np

from fastnn.errors import choose

#: Variance ``numerator / fan`` where fan is ``n_in + n_out`` for "avg", ``n_in`` for "in".
TABLE: dict[str, tuple[float, str, str]] = {
    "glorot_uniform": (2.0, "avg", "uniform"),
    "glorot_normal": (2.0, "avg", "normal"),
    "he_uniform": (2.0, "in", "uniform"),
    "he_normal": (2.0, "in", "normal"),
    "lecun_uniform": (1.0, "in", "uniform"),
    "lecun_normal": (1.0, "in", "normal"),
    "zeros": (0.0, "in", "uniform"),
}


def draw(init: str, rng: np.random.Generator, n_in: int, n_out: int) -> np.ndarray:
    """Return a float64 weight matrix (n_in, n_out) drawn by the named rule."""
    numerator, fan, distribution = TABLE[choose("init", init, TABLE)]
    deviation = math.sqrt(numerator / (n_in + n_out if fan == "avg" else n_in))
    if distribution == "normal":
        return rng.normal(0.0, deviation, (n_in, n_out))
    bound = deviation * math.sqrt(3.0)
    return rng.uniform(-bound, bound, (n_in, n_out))
