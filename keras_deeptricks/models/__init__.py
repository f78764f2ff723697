"""What acts on whole models."""

import importlib

# Imported at once: the function hides the module of its name, and a saved ensemble is found.
from keras_deeptricks.models.average_weights import average_weights
from keras_deeptricks.models.ensemble import Ensemble
from keras_deeptricks.models.freezing import freeze, unfreeze

_LAZY = {
    "MonteCarlo": "monte_carlo",
    "MonteCarloEvaluation": "monte_carlo_evaluation",
    "MonteCarloPrediction": "monte_carlo_prediction",
}

__all__ = [
    "Ensemble",
    "MonteCarlo",
    "MonteCarloEvaluation",
    "MonteCarloPrediction",
    "average_weights",
    "freeze",
    "unfreeze",
]


def __getattr__(name):
    if name in _LAZY:
        return getattr(importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")


def __dir__():
    return sorted([*globals(), *_LAZY])
