"""Notes on recurrent layers, and on saturating activations in depth."""

import keras

from keras_deeptricks.diagnostics.doctor import layer_kinds as kinds
from keras_deeptricks.diagnostics.doctor import paths, roles
from keras_deeptricks.diagnostics.doctor.finding import Finding

# A plain recurrent layer forgets exponentially (Bengio et al., 1994).
_LONG = 1000
# The derivative of sigmoid is at most 1/4, that of tanh 1 at a single point: through so many
# layers gradients shrink a thousandfold and more.
_SATURATING = {"sigmoid": 6, "hard_sigmoid": 6, "tanh": 10, "hard_tanh": 10, "softsign": 10}


def recurrent_activation(case):
    """LSTM and GRU with an activation without bounds."""
    for stage in _recurrent(case):
        layer = _cell_layer(stage.layer)
        if not isinstance(layer, (keras.layers.LSTM, keras.layers.GRU)):
            continue
        name = roles.activation_name(layer.activation)
        if name in ("relu", "elu", "selu", "linear", "leaky_relu"):
            yield Finding(
                "architecture",
                "note",
                stage.name,
                f"'{stage.name}' is an {type(layer).__name__} with activation='{name}'.",
                "The state has no bound any more and can explode over many steps; cuDNN's fast "
                "kernels need tanh.",
                "Keep activation='tanh'.",
            )


def long_sequences(case):
    """Plain recurrent layers over very many steps."""
    for stage in _recurrent(case):
        shape = stage.input_shapes[0] if stage.input_shapes else ()
        steps = shape[1] if len(shape) > 1 else None
        is_plain = isinstance(_cell_layer(stage.layer), keras.layers.SimpleRNN)
        if is_plain and steps and steps > _LONG:
            yield Finding(
                "architecture",
                "note",
                stage.name,
                f"'{stage.name}' is a SimpleRNN over {steps} steps.",
                "What it learns of early steps is lost after some tens of steps.",
                "Use an LSTM or GRU, convolutions with strides before it, or attention.",
            )


def saturating_depth(case):
    """Many saturating layers upon each other, with neither normalization nor skips."""
    for activation, most in _SATURATING.items():
        depth, last = 0, None
        depths = {}
        for stage in case.structure.stages:
            source = paths.source_of(stage)
            before = depths.get(id(source), 0)
            name = roles.activation_of(stage.layer)
            if kinds.is_normalization(stage.layer) or len(stage.sources) != 1:
                before = 0
            elif name == activation and not stage.is_output:
                before += 1
            elif name not in (None, "linear"):
                before = 0
            depths[id(stage)] = before
            if before > depth:
                depth, last = before, stage
        if depth >= most:
            yield Finding(
                "architecture",
                "note",
                last.name,
                f"{depth} layers with {activation} follow on each other up to '{last.name}', "
                "without normalization or skip connections.",
                "Where these units saturate, gradients shrink in every layer.",
                "Use ReLU with He initialization, or add batch normalization.",
            )


def _recurrent(case):
    return [stage for stage in case.structure.stages if kinds.is_recurrent(stage.layer)]


def _cell_layer(layer):
    return layer.forward_layer if isinstance(layer, keras.layers.Bidirectional) else layer
