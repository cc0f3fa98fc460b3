"""Small neural networks, trained faster than anything else on a CPU.

The public names load at their first use, so ``import fastnn`` imports neither scikit-learn
nor matplotlib, and compiles nothing.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "Network": "fastnn.network",
    "History": "fastnn.training",
    "DivergenceWarning": "fastnn.errors",
    "LogisticRegression": "fastnn.estimators.logistic",
    "MLPClassifier": "fastnn.estimators.mlp_classifier",
    "MLPRegressor": "fastnn.estimators.mlp_regressor",
    "SGDClassifier": "fastnn.estimators.sgd_classifier",
    "SGDRegressor": "fastnn.estimators.sgd_regressor",
    "Model": "fastnn.export",
    "load": "fastnn.export",
    "save": "fastnn.export",
    "fit_many": "fastnn.many",
    "explain": "fastnn.inspect.trace",
    "check_gradients": "fastnn.inspect.gradient_check",
    "input_gradients": "fastnn.inspect.input_derivatives",
}
_MODULES = ("datasets", "functional", "plot", "schedules")

__all__ = ["__version__", *_HOMES, *_MODULES]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name in _MODULES:
        return importlib.import_module(f"fastnn.{name}")
    raise AttributeError(f"module 'fastnn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
