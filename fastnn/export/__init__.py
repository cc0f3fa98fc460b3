"""Files and other forms of trained networks."""

from fastnn.export.files import load, save
from fastnn.export.model import Model

__all__ = ["Model", "load", "save"]
