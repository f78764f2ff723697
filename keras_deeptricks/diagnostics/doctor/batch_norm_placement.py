"""Detects batch normalization that stands where it harms or is not needed."""

import keras

from keras_deeptricks.diagnostics.doctor import layer_kinds as kinds
from keras_deeptricks.diagnostics.doctor import paths, roles
from keras_deeptricks.diagnostics.doctor.finding import Finding
from keras_deeptricks.diagnostics.doctor.output_tail import tails


def batch_norm_of_output(case):
    """Batch normalization between the last layer with weights and the output, or behind it."""
    for tail in tails(case):
        norms = [s for s in tail.stages if isinstance(s.layer, keras.layers.BatchNormalization)]
        if not norms:
            continue
        norm = norms[0]
        loss = tail.output.loss
        is_open = loss is None or loss.name == "custom"
        yield Finding(
            "batch_norm_misuse",
            "note" if is_open else "warning",
            norm.name,
            f"'{norm.name}' normalizes what '{tail.kernel.name}', the last layer with weights, "
            "yields.",
            "It gives each output the same mean and variance over every batch, whatever rows are "
            "in it: predictions depend on the other rows, rare classes are raised and the network "
            "cannot become sure.",
            f"Take '{norm.name}' out, or put it before the activation of a hidden layer.",
        )


def bias_before_batch_norm(case):
    """Biases that batch normalization takes away again."""
    found = []
    for norm in case.structure.of(keras.layers.BatchNormalization):
        source = paths.source_of(norm)
        if source is None or not kinds.has_kernel(source.layer) or not norm.layer.trainable:
            continue
        has_bias = getattr(kinds.inner_layer(source.layer), "use_bias", False)
        if has_bias and roles.activation_of(source.layer) == "linear" and norm.layer.center:
            found.append(source.layer)
    if found:
        yield Finding(
            "batch_norm_misuse",
            "note",
            found[0].name,
            f"{case.layer_names(found)} {'has a bias' if len(found) == 1 else 'have biases'} just "
            "before batch normalization.",
            "The normalization subtracts the mean, and the bias with it; it has its own shift.",
            "Pass use_bias=False.",
        )


def batch_norm_between_recurrent(case):
    """Batch normalization in a stack of recurrent layers."""
    for norm in case.structure.of(keras.layers.BatchNormalization):
        source = paths.source_of(norm)
        while source is not None and roles.passes_values(source.layer):
            source = paths.source_of(source)
        ends, _ = paths.ends_forward(norm, lambda user: roles.passes_values(user.layer))
        if source is None or not kinds.is_recurrent(source.layer):
            continue
        if any(kinds.is_recurrent(end.layer) for end in ends):
            yield Finding(
                "batch_norm_misuse",
                "note",
                norm.name,
                f"'{norm.name}' stands between the recurrent layers '{source.name}' and "
                f"'{ends[0].name}'.",
                "Its statistics mix all time steps and, of padded sequences, the padding.",
                "Use keras.layers.LayerNormalization.",
            )
