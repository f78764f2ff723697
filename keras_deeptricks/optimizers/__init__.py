"""Keras' optimizers with a momentum that may follow a schedule."""

from keras_deeptricks.optimizers.adam import Adam
from keras_deeptricks.optimizers.adamw import AdamW
from keras_deeptricks.optimizers.nadam import Nadam
from keras_deeptricks.optimizers.rmsprop import RMSprop
from keras_deeptricks.optimizers.sgd import SGD

__all__ = ["SGD", "Adam", "AdamW", "Nadam", "RMSprop"]
