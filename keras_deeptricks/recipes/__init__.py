"""Ready-made recipes: networks, and training in one call."""

from keras_deeptricks.assembly.dense_networks import default_network, self_normalizing_network
from keras_deeptricks.assembly.densenet import densenet
from keras_deeptricks.assembly.residual_networks import plain_net, resnet, wide_resnet
from keras_deeptricks.assembly.training_run import TrainingRun
from keras_deeptricks.recipes.ablation import DefaultConfiguration, default_toggles
from keras_deeptricks.recipes.training import (
    train_default,
    train_residual,
    train_self_normalizing,
)

__all__ = [
    "DefaultConfiguration",
    "TrainingRun",
    "default_network",
    "default_toggles",
    "densenet",
    "plain_net",
    "resnet",
    "self_normalizing_network",
    "train_default",
    "train_residual",
    "train_self_normalizing",
    "wide_resnet",
]
