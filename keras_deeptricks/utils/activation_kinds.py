"""Which activation a layer applies, where that is flat, and which axis its units are on."""

import keras

from keras_deeptricks.utils.layer_kinds import IDENTITY_LAYERS, NOISE_LAYERS, PADDING_LAYERS

# Values outside these bounds are saturated: there the slope is a few per cent of the steepest.
_BOUNDS = {
    "tanh": (-0.99, 0.99),
    "hard_tanh": (-0.99, 0.99),
    "softsign": (-0.99, 0.99),
    "sigmoid": (0.01, 0.99),
    "hard_sigmoid": (0.01, 0.99),
    # Only the side of negative inputs is flat. −1.758 is SELU's −λα.
    "elu": (-0.99, None),
    "selu": (-0.99 * 1.7580993408473766, None),
    # The lower side, 0, is that of dead units.
    "relu6": (None, 6.0 - 1e-6),
}
# Layers that apply an activation and nothing else, by the activation's name.
ACTIVATION_LAYERS = {
    keras.layers.ReLU: "relu",
    keras.layers.LeakyReLU: "leaky_relu",
    keras.layers.PReLU: "prelu",
    keras.layers.ELU: "elu",
    keras.layers.Softmax: "softmax",
}
# Their outputs are their inputs, moved, repeated or cut.
RESHAPING_LAYERS = (
    keras.layers.Flatten,
    keras.layers.Reshape,
    keras.layers.Permute,
    keras.layers.RepeatVector,
    keras.layers.Masking,
    *IDENTITY_LAYERS,
    *PADDING_LAYERS,
    keras.layers.Cropping1D,
    keras.layers.Cropping2D,
    keras.layers.Cropping3D,
    keras.layers.UpSampling1D,
    keras.layers.UpSampling3D,
)


def only_rearranges(layer):
    """True for a layer whose outputs are its inputs, moved, repeated, or with noise."""
    return isinstance(layer, (*RESHAPING_LAYERS, *NOISE_LAYERS))


def activation_name(layer):
    """The name of the activation that `layer` applies to its outputs; `"linear"` for none.

    A recurrent layer has that of its cell, a `TimeDistributed` that of the layer in it.
    """
    layer = _inner(layer)
    for kind, name in ACTIVATION_LAYERS.items():
        if isinstance(layer, kind):
            return name
    function = getattr(layer, "activation", None)
    if function is None:
        return "linear"
    if isinstance(function, keras.Layer):
        return activation_name(function)
    return getattr(function, "__name__", None) or type(function).__name__.lower()


def saturation_bounds(layer):
    """(lowest, highest) output that is not saturated, None on a side that does not saturate.

    - tanh, hard tanh, softsign: −0.99 and 0.99;
    - sigmoid, hard sigmoid: 0.01 and 0.99;
    - ELU and SELU: 99 % of their lower limit; no bound above;
    - ReLU6, and ReLU with a maximum: the maximum.

    Returns:
        The two bounds, or None for an activation that does not saturate, or that is unknown.
    """
    layer = _inner(layer)
    limit = getattr(layer, "max_value", None)
    if isinstance(layer, keras.layers.ReLU) and limit is not None:
        return None, limit * (1 - 1e-6)
    if isinstance(layer, keras.layers.ELU):
        return -0.99 * float(layer.alpha), None
    return _BOUNDS.get(activation_name(layer))


def unit_axis(layer, rank):
    """The axis of the outputs, of `rank` axes, that counts units: channels, or the last one."""
    # What has no format of its own, such as an activation, gets images as Keras has them.
    images = keras.config.image_data_format() if rank > 3 else None
    first = getattr(_inner(layer), "data_format", images) == "channels_first"
    return 1 if first and rank > 2 else rank - 1


def _inner(layer):
    while isinstance(layer, (keras.layers.TimeDistributed, keras.layers.SpectralNormalization)):
        layer = layer.layer
    return layer
