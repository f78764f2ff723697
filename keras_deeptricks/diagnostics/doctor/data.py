"""The detectors of faults in the data."""

from keras_deeptricks.diagnostics.doctor.data_shift import find_data_shift
from keras_deeptricks.diagnostics.doctor.duplicates import find_contradictions, find_leakage
from keras_deeptricks.diagnostics.doctor.input_scale import find_input_scale
from keras_deeptricks.diagnostics.doctor.input_values import find_constant_features, find_nan
from keras_deeptricks.diagnostics.doctor.labels import find_class_imbalance, find_few_rows
from keras_deeptricks.diagnostics.doctor.row_order import find_unshuffled
from keras_deeptricks.diagnostics.doctor.target_in_inputs import find_target_in_inputs
from keras_deeptricks.diagnostics.doctor.target_scale import find_target_scale

DETECTORS = (
    find_nan,
    find_constant_features,
    find_input_scale,
    find_target_scale,
    find_class_imbalance,
    find_few_rows,
    find_unshuffled,
    find_leakage,
    find_contradictions,
    find_target_in_inputs,
    find_data_shift,
)
"""Each takes a `Case` and yields every `Finding`."""
