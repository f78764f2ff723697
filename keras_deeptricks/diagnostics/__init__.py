"""Measurements: they return data and never draw or print."""

from keras_deeptricks.diagnostics.learning_rate_search import (
    LearningRateSearch,
    find_learning_rate,
)

__all__ = ["LearningRateSearch", "find_learning_rate"]
