"""Losses."""

from keras_deeptricks.losses.standardized_mean_squared_error import StandardizedMeanSquaredError

__all__ = ["StandardizedMeanSquaredError"]
