"""Ready-made recipes: networks, and training in one call."""

from keras_deeptricks.recipes.networks import default_network, self_normalizing_network
from keras_deeptricks.recipes.training import train_default, train_self_normalizing
from keras_deeptricks.recipes.training_run import TrainingRun

__all__ = [
    "TrainingRun",
    "default_network",
    "self_normalizing_network",
    "train_default",
    "train_self_normalizing",
]
