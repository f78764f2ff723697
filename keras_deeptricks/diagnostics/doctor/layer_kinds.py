"""Kinds of layers, and what they hold."""

import keras

from keras_deeptricks.utils.layer_walk import walk_layers

_CONVOLUTIONS = tuple(
    getattr(keras.layers, f"{kind}{n}D")
    for kind, ns in (
        ("Conv", "123"),
        ("DepthwiseConv", "12"),
        ("SeparableConv", "12"),
    )
    for n in ns
) + (
    keras.layers.Conv1DTranspose,
    keras.layers.Conv2DTranspose,
    keras.layers.Conv3DTranspose,
)
POOLING = tuple(
    getattr(keras.layers, f"{kind}Pooling{n}D")
    for kind in ("Average", "GlobalAverage", "Max", "GlobalMax")
    for n in "123"
)
DROPOUT = (
    keras.layers.Dropout,
    keras.layers.AlphaDropout,
    keras.layers.GaussianDropout,
    keras.layers.SpatialDropout1D,
    keras.layers.SpatialDropout2D,
    keras.layers.SpatialDropout3D,
)
NORMALIZATION = (
    keras.layers.BatchNormalization,
    keras.layers.LayerNormalization,
    keras.layers.GroupNormalization,
    keras.layers.UnitNormalization,
    *((keras.layers.RMSNormalization,) if hasattr(keras.layers, "RMSNormalization") else ()),
)
_TRANSPOSED = (
    keras.layers.Conv1DTranspose,
    keras.layers.Conv2DTranspose,
    keras.layers.Conv3DTranspose,
)
_GLOBAL_POOLING = tuple(
    getattr(keras.layers, f"Global{kind}Pooling{n}D") for kind in ("Average", "Max") for n in "123"
)
_LINEAR_MERGES = (
    keras.layers.Add,
    keras.layers.Subtract,
    keras.layers.Average,
    keras.layers.Concatenate,
)


def is_convolution(layer):
    """True for every kind of convolution."""
    return isinstance(layer, _CONVOLUTIONS)


def is_dense(layer):
    """True for dense layers."""
    return isinstance(layer, (keras.layers.Dense, keras.layers.EinsumDense))


def is_dropout(layer):
    """True for every kind of dropout, also this library's, that drops anything."""
    return isinstance(layer, DROPOUT) and bool(getattr(layer, "rate", 0))


def is_pooling(layer):
    """True for pooling of any kind."""
    return isinstance(layer, POOLING)


def is_normalization(layer):
    """True for layers that normalize activations."""
    return isinstance(layer, NORMALIZATION)


def has_kernel(layer):
    """True for layers that multiply by a kernel: dense, convolution; not recurrent ones."""
    layer = inner_layer(layer)
    return is_convolution(layer) or is_dense(layer)


def is_recurrent(layer):
    """True for recurrent layers, also inside `Bidirectional`."""
    return isinstance(layer, (keras.layers.RNN, keras.layers.Bidirectional))


def is_depthwise(layer):
    """True for convolutions of each channel by itself."""
    return isinstance(
        inner_layer(layer), (keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)
    )


def is_transposed(layer):
    """True for transposed convolutions, which make maps larger."""
    return isinstance(inner_layer(layer), _TRANSPOSED)


def is_global_pooling(layer):
    """True for pooling over all positions."""
    return isinstance(layer, _GLOBAL_POOLING)


def is_linear_merge(layer):
    """True for what adds, subtracts, averages or concatenates tensors."""
    if isinstance(layer, keras.Layer):
        return isinstance(layer, _LINEAR_MERGES)
    return type(layer).__name__ in ("Add", "Subtract", "Concatenate", "Stack")


def inner_layer(layer):
    """The layer inside a `TimeDistributed` or `SpectralNormalization`, else the layer."""
    while isinstance(layer, keras.layers.Wrapper) and not isinstance(
        layer, keras.layers.Bidirectional
    ):
        layer = layer.layer
    return layer


def kernels_of(layer):
    """The kernels of a layer, outputs along the last axis (but for depthwise ones)."""
    layer = inner_layer(layer)
    names = ("kernel", "_kernel", "depthwise_kernel", "pointwise_kernel")
    found = {}
    for name in names:
        value = getattr(layer, name, None)
        if value is not None and len(value.shape) >= 2:
            found[id(value)] = value
    return list(found.values())


def parts_of(layer):
    """A layer and all layers in it; nothing for a plain operation."""
    return list(walk_layers(layer)) if isinstance(layer, keras.Layer) else []
