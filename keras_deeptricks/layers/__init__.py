"""Layers."""

from keras_deeptricks.layers.mc_dropout import MCAlphaDropout, MCDropout
from keras_deeptricks.layers.standardization import Standardization

__all__ = ["MCAlphaDropout", "MCDropout", "Standardization"]
