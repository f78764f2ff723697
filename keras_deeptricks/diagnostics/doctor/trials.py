"""Detectors that train the program for a short while, at several rates."""

from keras_deeptricks.diagnostics.doctor.full_training import (
    longer_training,
    one_batch,
    range_test,
)
from keras_deeptricks.diagnostics.doctor.learned_nothing import learned_nothing
from keras_deeptricks.diagnostics.doctor.rate_comparison import rate_comparison, schedule_length
from keras_deeptricks.diagnostics.doctor.regularization_trial import regularization_trial
from keras_deeptricks.diagnostics.doctor.run_states import run_states

# The comparison first: the others look at its runs.
DETECTORS = (
    rate_comparison,
    schedule_length,
    run_states,
    regularization_trial,
    learned_nothing,
    range_test,
    longer_training,
    one_batch,
)
