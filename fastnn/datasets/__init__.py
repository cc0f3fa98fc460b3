"""Data: large synthetic sets that know the best reachable accuracy, and tables in files."""

from fastnn.datasets.files import Table, read_table
from fastnn.datasets.shapes import Moons, Rings, Spirals, Xor
from fastnn.datasets.source import Source
from fastnn.datasets.synthetic import (
    SYNTHETIC,
    GaussianMixture,
    LogisticModel,
    Teacher,
    make,
    make_source,
)
from fastnn.datasets.writing import TableWriter, write_table

__all__ = [
    "SYNTHETIC",
    "GaussianMixture",
    "LogisticModel",
    "Moons",
    "Rings",
    "Source",
    "Spirals",
    "Table",
    "TableWriter",
    "Teacher",
    "Xor",
    "make",
    "make_source",
    "read_table",
    "write_table",
]
