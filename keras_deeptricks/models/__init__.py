"""What acts on whole models."""

import importlib

# Imported at once: a function hides the module of its name, and a saved ensemble is found.
from keras_deeptricks.models.average_weights import average_weights
from keras_deeptricks.models.ensemble import Ensemble
from keras_deeptricks.models.fold_batch_norm import fold_batch_norm
from keras_deeptricks.models.freezing import freeze, unfreeze
from keras_deeptricks.models.lesion import lesion, residual_blocks
from keras_deeptricks.models.refresh_batch_norm import refresh_batch_norm

_LAZY = {
    "BatchNormFolding": "fold_report",
    "BatchNormRefresh": "batch_norm_refresh",
    "LesionReport": "lesion_report",
    "MonteCarlo": "monte_carlo",
    "MonteCarloEvaluation": "monte_carlo_evaluation",
    "MonteCarloPrediction": "monte_carlo_prediction",
}

# Imported when it is first used.
_SUBPACKAGES = ("pruning",)

__all__ = [
    "BatchNormFolding",
    "BatchNormRefresh",
    "Ensemble",
    "LesionReport",
    "MonteCarlo",
    "MonteCarloEvaluation",
    "MonteCarloPrediction",
    "average_weights",
    "fold_batch_norm",
    "freeze",
    "lesion",
    "pruning",
    "refresh_batch_norm",
    "residual_blocks",
    "unfreeze",
]


def __getattr__(name):
    if name in _LAZY:
        return getattr(importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)
    if name in _SUBPACKAGES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")


def __dir__():
    return sorted({*globals(), *_LAZY, *_SUBPACKAGES})
