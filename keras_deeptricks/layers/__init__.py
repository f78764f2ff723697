"""Layers."""

from keras_deeptricks.layers.adaptive_piecewise_linear import AdaptivePiecewiseLinear
from keras_deeptricks.layers.dense_block import DenseBlock, DenseTransition
from keras_deeptricks.layers.maxout import Maxout
from keras_deeptricks.layers.maxout_conv2d import MaxoutConv2D
from keras_deeptricks.layers.mc_dropout import MCAlphaDropout, MCDropout
from keras_deeptricks.layers.padded_shortcut import PaddedShortcut
from keras_deeptricks.layers.residual import Residual
from keras_deeptricks.layers.residual_block import ResidualBlock
from keras_deeptricks.layers.rrelu import RReLU
from keras_deeptricks.layers.standardization import Standardization
from keras_deeptricks.layers.stochastic_depth import StochasticDepth, survival_probabilities
from keras_deeptricks.layers.whitening import Whitening

__all__ = [
    "AdaptivePiecewiseLinear",
    "DenseBlock",
    "DenseTransition",
    "MCAlphaDropout",
    "MCDropout",
    "Maxout",
    "MaxoutConv2D",
    "PaddedShortcut",
    "RReLU",
    "Residual",
    "ResidualBlock",
    "Standardization",
    "StochasticDepth",
    "Whitening",
    "survival_probabilities",
]
