"""Constraints on weights."""

from keras_deeptricks.constraints.max_norm import MaxNorm

__all__ = ["MaxNorm"]
