"""What activations make of constants, and which of them look at each unit alone."""

import keras
import numpy as np
from keras import ops

from keras_deeptricks.activations.centered_softplus import centered_softplus
from keras_deeptricks.layers.rrelu import RReLU

_NAMES = (
    *("celu", "elu", "exponential", "gelu", "hard_shrink", "hard_sigmoid", "hard_silu"),
    *("hard_tanh", "leaky_relu", "linear", "log_sigmoid", "mish", "relu", "relu6", "selu"),
    *("sigmoid", "silu", "soft_shrink", "softplus", "softsign", "sparse_plus"),
    *("sparse_sigmoid", "squareplus", "tanh", "tanh_shrink"),
)
_FUNCTIONS = {
    *(getattr(keras.activations, name) for name in _NAMES if hasattr(keras.activations, name)),
    centered_softplus,
}
# Layers without weights that apply one function to every entry.
_LAYERS = (keras.layers.ReLU, keras.layers.LeakyReLU, keras.layers.ELU, RReLU)
# What `keras.ops` adds to a graph, by the name of its class.
_OPERATIONS = (
    *(
        "Relu",
        "ReLU",
        "Relu6",
        "LeakyRelu",
        "Elu",
        "Selu",
        "Celu",
        "Gelu",
        "Silu",
        "Sigmoid",
        "Tanh",
    ),
    *("LogSigmoid", "Softplus", "Softsign", "HardSigmoid", "HardSilu", "HardTanh"),
    *("Absolute", "Negative", "Square"),
)


def is_elementwise(function):
    """Whether an activation, a layer or an operation maps every entry of a tensor by itself.

    False for what is not known, such as an activation of one's own.
    """
    if function is None:
        return True
    kind = type(function)
    if kind in _LAYERS:
        return True
    if kind is keras.layers.Activation:
        return is_elementwise(function.activation)
    if kind is keras.layers.Rescaling:
        return np.ndim(function.scale) == 0 and np.ndim(function.offset) == 0
    if isinstance(function, keras.Layer):
        return False
    if is_operation(function):
        return kind.__name__ in _OPERATIONS
    return any(function is known for known in _FUNCTIONS)


def is_operation(function):
    """Whether it is a plain operation of Keras, such as the sum of two tensors."""
    return isinstance(function, keras.Operation) and type(function).__module__.startswith("keras.")


def constants_through(function, constants, dtype):
    """What an elementwise function makes of constants; NaN stays NaN.

    It is computed in `dtype`, as in the model.
    """
    if function is None or function is keras.activations.linear:
        return constants
    known = ~np.isnan(constants)
    if not known.any():
        return constants
    values = ops.convert_to_tensor(np.where(known, constants, 0.0)[None], dtype)
    wide = "float64" if dtype == "float64" else "float32"
    results = ops.convert_to_numpy(ops.cast(function(values), wide))[0].astype("float64")
    return np.where(known & np.isfinite(results), results, np.nan)
