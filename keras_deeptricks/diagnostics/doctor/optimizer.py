"""The detectors of faults in the optimizer's settings, in penalties and in what is trainable."""

from keras_deeptricks.diagnostics.doctor import (
    batch_sizes,
    optimizer_settings,
    trainability,
    weight_penalties,
)

DETECTORS = (
    trainability.nothing_trainable,
    trainability.no_way_for_gradients,
    trainability.frozen_output_layer,
    optimizer_settings.learning_rate_sign,
    optimizer_settings.momentum,
    optimizer_settings.second_moment,
    optimizer_settings.epsilon,
    optimizer_settings.clipping,
    weight_penalties.weight_decay,
    weight_penalties.decay_of_biases,
    weight_penalties.penalties,
    weight_penalties.norm_limits,
    batch_sizes.batch_size,
)
"""Functions of a `Case` that yield findings."""
