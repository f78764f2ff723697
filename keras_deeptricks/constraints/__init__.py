"""Constraints on weights."""

from keras_deeptricks.constraints.fixed_mask import FixedMask
from keras_deeptricks.constraints.max_norm import MaxNorm

__all__ = ["FixedMask", "MaxNorm"]
