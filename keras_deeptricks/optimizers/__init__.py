"""Keras' optimizers with a momentum that may follow a schedule, and transforms of gradients."""

from keras_deeptricks import schedules
from keras_deeptricks.optimizers.adam import Adam
from keras_deeptricks.optimizers.adamw import AdamW
from keras_deeptricks.optimizers.adaptive_gradient_clipping import AdaptiveGradientClipping
from keras_deeptricks.optimizers.gradient_noise import GradientNoise
from keras_deeptricks.optimizers.layerwise_learning_rates import LayerwiseLearningRates
from keras_deeptricks.optimizers.nadam import Nadam
from keras_deeptricks.optimizers.partial_training import PartialTraining
from keras_deeptricks.optimizers.rmsprop import RMSprop
from keras_deeptricks.optimizers.sgd import SGD

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "AdaptiveGradientClipping",
    "GradientNoise",
    "LayerwiseLearningRates",
    "Nadam",
    "PartialTraining",
    "RMSprop",
    "schedules",
]
