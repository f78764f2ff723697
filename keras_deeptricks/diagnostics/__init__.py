"""Measurements: they return data and never draw or print."""

from keras_deeptricks.diagnostics.learning_rate_search import (
    LearningRateSearch,
    find_learning_rate,
)
from keras_deeptricks.diagnostics.lesion_study import LesionStudy, lesion_study
from keras_deeptricks.diagnostics.optimizer_trajectory import OptimizerTrajectory, trace_optimizer
from keras_deeptricks.diagnostics.self_normalization import (
    check_self_normalization,
    self_normalization_problems,
)
from keras_deeptricks.diagnostics.surfaces import SURFACES, Surface

__all__ = [
    "SURFACES",
    "LearningRateSearch",
    "LesionStudy",
    "OptimizerTrajectory",
    "Surface",
    "check_self_normalization",
    "find_learning_rate",
    "lesion_study",
    "self_normalization_problems",
    "trace_optimizer",
]
