"""Activation functions."""

from keras_deeptricks.activations.centered_softplus import centered_softplus

__all__ = ["centered_softplus"]
