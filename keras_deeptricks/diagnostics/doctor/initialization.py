"""Detectors of weights that start alike, far too small, or far too large."""

from keras_deeptricks.diagnostics.doctor.initialization_constant import initialization_constant
from keras_deeptricks.diagnostics.doctor.initialization_scale import initialization_scale

DETECTORS = (initialization_constant, initialization_scale)
