"""Detectors of what one pass forward and one back shows before training."""

from keras_deeptricks.diagnostics.doctor.first_gradients import first_gradients
from keras_deeptricks.diagnostics.doctor.first_loss import first_loss
from keras_deeptricks.diagnostics.doctor.first_nan import first_nan
from keras_deeptricks.diagnostics.doctor.first_signals import first_signals
from keras_deeptricks.diagnostics.doctor.idle_units import dead_units, saturated_units

DETECTORS = (first_signals, first_nan, saturated_units, dead_units, first_gradients, first_loss)
