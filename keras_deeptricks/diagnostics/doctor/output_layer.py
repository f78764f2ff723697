"""Detectors of outputs that do not suit the loss, the targets or the metrics."""

from keras_deeptricks.diagnostics.doctor.binary_outputs import binary_outputs
from keras_deeptricks.diagnostics.doctor.categorical_outputs import categorical_outputs
from keras_deeptricks.diagnostics.doctor.custom_loss_pairing import custom_loss_pairing
from keras_deeptricks.diagnostics.doctor.cut_before_output import cut_before_output
from keras_deeptricks.diagnostics.doctor.output_metrics import output_metrics
from keras_deeptricks.diagnostics.doctor.regression_outputs import regression_outputs
from keras_deeptricks.diagnostics.doctor.single_unit_softmax import single_unit_softmax

DETECTORS = (
    single_unit_softmax,
    categorical_outputs,
    binary_outputs,
    regression_outputs,
    custom_loss_pairing,
    cut_before_output,
    output_metrics,
)
