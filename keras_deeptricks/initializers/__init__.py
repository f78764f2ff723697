"""Initializers, and the one that suits an activation."""

from keras_deeptricks.initializers.for_activation import for_activation
from keras_deeptricks.initializers.he_leaky import HeLeaky

__all__ = ["HeLeaky", "for_activation"]
