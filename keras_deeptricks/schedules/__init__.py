"""Schedules of a learning rate or a momentum: pure functions of the step.

Keras' own schedules stand here too, so that all are found in one place.
"""

from keras.optimizers.schedules import (
    CosineDecay,
    CosineDecayRestarts,
    ExponentialDecay,
    InverseTimeDecay,
    LearningRateSchedule,
    PiecewiseConstantDecay,
    PolynomialDecay,
)

from keras_deeptricks.schedules.constant import Constant
from keras_deeptricks.schedules.log_range import LogRange
from keras_deeptricks.schedules.one_cycle import OneCycle, OneCycleMomentum
from keras_deeptricks.schedules.scaled import Scaled
from keras_deeptricks.schedules.schedule import Schedule
from keras_deeptricks.schedules.shifted import Shifted

__all__ = [
    "Constant",
    "CosineDecay",
    "CosineDecayRestarts",
    "ExponentialDecay",
    "InverseTimeDecay",
    "LearningRateSchedule",
    "LogRange",
    "OneCycle",
    "OneCycleMomentum",
    "PiecewiseConstantDecay",
    "PolynomialDecay",
    "Scaled",
    "Schedule",
    "Shifted",
]
