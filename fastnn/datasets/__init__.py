"""Data: large synthetic sets that know the best reachable accuracy, and tables in files."""

from fastnn.datasets.shapes import Moons, Rings, Spirals, Xor
from fastnn.datasets.source import Source
from fastnn.datasets.synthetic import (
    SYNTHETIC,
    GaussianMixture,
    LogisticModel,
    Teacher,
    make,
    source,
)

__all__ = [
    "SYNTHETIC",
    "GaussianMixture",
    "LogisticModel",
    "Moons",
    "Rings",
    "Source",
    "Spirals",
    "Teacher",
    "Xor",
    "make",
    "source",
]
