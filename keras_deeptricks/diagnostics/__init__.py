"""Measurements: they return data and never draw or print."""

from keras_deeptricks.diagnostics.learning_rate_search import (
    LearningRateSearch,
    find_learning_rate,
)
from keras_deeptricks.diagnostics.optimizer_trajectory import OptimizerTrajectory, trace_optimizer
from keras_deeptricks.diagnostics.surfaces import SURFACES, Surface

__all__ = [
    "SURFACES",
    "LearningRateSearch",
    "OptimizerTrajectory",
    "Surface",
    "find_learning_rate",
    "trace_optimizer",
]
