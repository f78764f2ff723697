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

from keras_deeptricks.schedules.chain import Chain
from keras_deeptricks.schedules.constant import Constant
from keras_deeptricks.schedules.cyclical import Cyclical
from keras_deeptricks.schedules.inverse_square_root import InverseSquareRoot
from keras_deeptricks.schedules.log_range import LogRange
from keras_deeptricks.schedules.one_cycle import OneCycle, OneCycleMomentum
from keras_deeptricks.schedules.plot import plot
from keras_deeptricks.schedules.power import Power
from keras_deeptricks.schedules.rising_momentum import RisingMomentum
from keras_deeptricks.schedules.scaled import Scaled
from keras_deeptricks.schedules.schedule import Schedule
from keras_deeptricks.schedules.shifted import Shifted
from keras_deeptricks.schedules.snapshot_cosine import SnapshotCosine
from keras_deeptricks.schedules.step_decay import StepDecay

__all__ = [
    "Chain",
    "Constant",
    "CosineDecay",
    "CosineDecayRestarts",
    "Cyclical",
    "ExponentialDecay",
    "InverseSquareRoot",
    "InverseTimeDecay",
    "LearningRateSchedule",
    "LogRange",
    "OneCycle",
    "OneCycleMomentum",
    "PiecewiseConstantDecay",
    "PolynomialDecay",
    "Power",
    "RisingMomentum",
    "Scaled",
    "Schedule",
    "Shifted",
    "SnapshotCosine",
    "StepDecay",
    "plot",
]
