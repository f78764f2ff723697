"""What a layer or operation does to its input, as far as detectors ask."""

import keras

from keras_deeptricks.diagnostics.doctor import layer_kinds as kinds
from keras_deeptricks.utils.activation_kinds import ACTIVATION_LAYERS, RESHAPING_LAYERS

_MAX_POOLING = tuple(
    getattr(keras.layers, f"{kind}Pooling{n}D") for kind in ("Max", "GlobalMax") for n in "123"
)
# Interpolating between pixels stays in their range.
_RESHAPING = (*RESHAPING_LAYERS, keras.layers.UpSampling2D)
_RESHAPING_OPERATIONS = {"Reshape", "Transpose", "ExpandDims", "Squeeze", "Ravel", "Cast", "Copy"}
_SCALING_OPERATIONS = {
    *_RESHAPING_OPERATIONS,
    "Add",
    "Subtract",
    "Multiply",
    "Divide",
    "TrueDivide",
    "Negative",
    "GetItem",
    "Mean",
    "Sum",
}
_ACTIVATION_OPERATIONS = {
    "Relu": "relu",
    "Relu6": "relu6",
    "Softmax": "softmax",
    "LogSoftmax": "log_softmax",
    "Sigmoid": "sigmoid",
    "Tanh": "tanh",
    "Elu": "elu",
    "Selu": "selu",
    "Gelu": "gelu",
    "Silu": "silu",
    "LeakyRelu": "leaky_relu",
    "Softplus": "softplus",
    "Exp": "exponential",
    "HardSigmoid": "hard_sigmoid",
}
# What an output activation can yield: lowest and highest value.
RANGES = {
    "sigmoid": (0.0, 1.0),
    "hard_sigmoid": (0.0, 1.0),
    "softmax": (0.0, 1.0),
    "sparsemax": (0.0, 1.0),
    "tanh": (-1.0, 1.0),
    "hard_tanh": (-1.0, 1.0),
    "softsign": (-1.0, 1.0),
    "relu": (0.0, float("inf")),
    "relu6": (0.0, 6.0),
    "softplus": (0.0, float("inf")),
    "exponential": (0.0, float("inf")),
    "elu": (-1.0, float("inf")),
    "selu": (-1.7581, float("inf")),
    "log_softmax": (float("-inf"), 0.0),
    "log_sigmoid": (float("-inf"), 0.0),
}


def is_one_input_operation(layer):
    """True for plain operations that are affine where they take one tensor, such as `x / 255`."""
    return not isinstance(layer, keras.Layer) and type(layer).__name__ in _SCALING_OPERATIONS


def computes_as_keras(layer):
    """True if a layer computes as Keras wrote it: nothing overrides its `call`."""
    layer = kinds.inner_layer(layer)
    return getattr(type(layer).call, "__module__", "").startswith("keras.")


def activation_of(layer):
    """The canonical name of the activation that a layer ends with.

    Returns:
        A name such as `"relu"`, `"linear"` for none, `"custom"` for a function of one's own,
        None for layers and operations that are no activation and have none.
    """
    layer = kinds.inner_layer(layer)
    kind = type(layer).__name__
    if isinstance(layer, keras.Layer):
        for acting, activation in ACTIVATION_LAYERS.items():
            if isinstance(layer, acting):
                return activation
        if isinstance(layer, keras.layers.RNN) or not hasattr(layer, "activation"):
            return None
        return activation_name(layer.activation)
    return _ACTIVATION_OPERATIONS.get(kind)


def activation_name(activation):
    """The canonical name of an activation function, layer or None."""
    if activation is None:
        return "linear"
    if isinstance(activation, keras.Layer):
        return activation_of(activation) or "custom"
    for name in vars(keras.activations):
        if getattr(keras.activations, name) is activation and name not in ("get", "serialize"):
            return {"swish": "silu"}.get(name, name)
    return getattr(activation, "__name__", "custom")


def is_pure_activation(layer):
    """True for layers and operations that apply an activation and nothing else."""
    if not isinstance(layer, keras.Layer):
        return type(layer).__name__ in _ACTIVATION_OPERATIONS
    return isinstance(layer, (keras.layers.Activation, *ACTIVATION_LAYERS))


def passes_values(layer):
    """True for what only rearranges, drops or copies values, so that their range stays."""
    if not isinstance(layer, keras.Layer):
        return type(layer).__name__ in _RESHAPING_OPERATIONS
    if isinstance(layer, keras.layers.Activation):
        return activation_of(layer) == "linear"
    return isinstance(
        layer, (*_RESHAPING, *kinds.POOLING, *kinds.DROPOUT, keras.layers.GaussianNoise)
    )


def is_affine(layer):
    """True for what computes an affine function of its one input at inference."""
    if isinstance(layer, _MAX_POOLING):
        return False
    if isinstance(layer, (keras.layers.BatchNormalization, keras.layers.Rescaling)):
        return True
    if isinstance(layer, keras.layers.Normalization) or passes_values(layer):
        return True
    return kinds.has_kernel(layer) and activation_of(layer) == "linear"
