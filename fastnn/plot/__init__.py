"""Pictures of networks and of their training; they need matplotlib.

Every function draws on the axes it is given as ``ax``, or on a new figure, and returns the axes.
The colours are told apart by the colour-blind and suit the background of the axes, so they can
be read in a light and in a dark style.

========================  ====================================================================
`loss_curve`              training and validation loss by epoch; `LossCurve` draws it live
`decision_boundary`       what a model says of every point of a plane
`network`                 layers, units and weights
`activations`             activation functions and their derivatives
`gradient_flow`           gradient norms per layer by epoch; `GradientFlow` records them
`explain`                 the computation graph of one training step with its numbers
========================  ====================================================================
"""

import importlib
from typing import Any

_HOMES = {
    "loss_curve": "fastnn.plot.curves",
    "LossCurve": "fastnn.plot.curves",
    "decision_boundary": "fastnn.plot.boundary",
    "network": "fastnn.plot.diagram",
    "activations": "fastnn.plot.functions",
    "gradient_flow": "fastnn.plot.flow",
    "GradientFlow": "fastnn.plot.flow",
    "explain": "fastnn.plot.graph",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'fastnn.plot' has no attribute {name!r}")
    try:
        importlib.import_module("matplotlib")
    except ImportError as error:
        raise ImportError(
            "fastnn.plot needs matplotlib: pip install '.[plot]' in the source tree of fastnn"
        ) from error
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
