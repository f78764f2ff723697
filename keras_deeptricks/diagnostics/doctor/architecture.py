"""The detectors of faults in the architecture."""

from keras_deeptricks.diagnostics.doctor import (
    batch_norm_batches,
    batch_norm_placement,
    dropout_placement,
    nonlinearity,
    recurrent_stack,
    self_normalizing_stack,
    shapes,
    softmax_placement,
    token_inputs,
    widths,
)

DETECTORS = (
    shapes.output_per_position,
    nonlinearity.missing_nonlinearity,
    softmax_placement.hidden_softmax,
    softmax_placement.double_softmax,
    dropout_placement.dropout_rate,
    dropout_placement.dropout_chain,
    dropout_placement.dropout_of_output,
    dropout_placement.dropout_of_inputs,
    dropout_placement.dropout_before_batch_norm,
    batch_norm_placement.batch_norm_of_output,
    batch_norm_placement.bias_before_batch_norm,
    batch_norm_placement.batch_norm_between_recurrent,
    batch_norm_batches.batch_norm_batch_size,
    batch_norm_batches.batch_norm_last_batch,
    batch_norm_batches.batch_norm_momentum,
    self_normalizing_stack.self_normalization,
    shapes.vanished_map,
    shapes.flattened_map,
    widths.narrow_layer,
    widths.wide_layer,
    widths.parameter_count,
    token_inputs.ids_as_amounts,
    recurrent_stack.recurrent_activation,
    recurrent_stack.long_sequences,
    recurrent_stack.saturating_depth,
)
"""Functions of a `Case` that yield findings."""
