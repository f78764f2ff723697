"""The kernel initializer that suits an activation."""

import keras

from keras_deeptricks.initializers.he_leaky import HeLeaky
from keras_deeptricks.utils.checks import check_choice

# What keeps the variance of the signal through a layer with this activation. "leaky" entries
# carry Keras' own default slope.
_SCHEMES = {
    "glorot": (
        "linear",
        "tanh",
        "sigmoid",
        "hard_sigmoid",
        "log_sigmoid",
        "softmax",
        "log_softmax",
        "softsign",
        "hard_tanh",
        "tanh_shrink",
        "sparsemax",
        "sparse_sigmoid",
    ),
    "he": (
        "relu",
        "relu6",
        "elu",
        "celu",
        "gelu",
        "silu",
        "swish",
        "mish",
        "softplus",
        "centered_softplus",
        "hard_silu",
        "hard_swish",
        "squareplus",
        "sparse_plus",
        "exponential",
        "threshold",
        "glu",
        "prelu",
        "adaptivepiecewiselinear",
    ),
    "lecun": ("selu",),
    "he_leaky": ("leaky_relu",),
}
_SCHEME_OF = {name: scheme for scheme, names in _SCHEMES.items() for name in names}
_OTHER_NAMES = {
    "leakyrelu": "leaky_relu",
    "hard_shrink": "linear",
    "soft_shrink": "linear",
    "logistic": "sigmoid",
    "none": "linear",
    "identity": "linear",
    "rrelu": "leaky_relu",
    "adaptive_piecewise_linear": "adaptivepiecewiselinear",
}
# keras.activations.leaky_relu and keras.layers.LeakyReLU have different default slopes. That of
# RReLU is the mean slope of its default bounds.
_FUNCTION_SLOPE = 0.2
_RANDOM_SLOPE = (1 / 8 + 1 / 3) / 2


def for_activation(activation, distribution="normal", seed=None):
    """The kernel initializer that keeps the signal's variance through a given activation.

    | activation | initializer | variance |
    |---|---|---|
    | none, tanh, logistic (sigmoid), softmax, softsign | Glorot | 1 / fan_avg |
    | ReLU, ELU, GELU, swish (SiLU), mish, (centered) softplus, PReLU | He | 2 / fan_in |
    | leaky ReLU of slope a, `RReLU` of mean slope a | He for the slope | 2 / ((1 + a²)·fan_in) |
    | SELU | LeCun | 1 / fan_in |

    ("Xavier" is another name of Glorot. Some courses call 1 / fan_in Xavier: that is LeCun's.)

    `AdaptivePiecewiseLinear` counts as ReLU, which it starts as.

    Args:
        activation: A name such as `"elu"`, None, a function of `keras.activations`, or an
            activation layer such as `keras.layers.LeakyReLU(negative_slope=0.1)`, whose slope is
            taken into account; `keras_deeptricks`' own too. (A maxout layer is no activation: it
            has `HeMaxout`.)
        distribution: `"normal"` (truncated) or `"uniform"`.
        seed: A whole number, a `keras.random.SeedGenerator` or None.

    Returns:
        A `keras.initializers.Initializer`.

    Raises:
        TypeError: `activation` is neither a name, a function nor a layer.
        ValueError: The activation is not known, or `distribution` is neither of the two.

    Example:

    ```python
    import keras
    import keras_deeptricks as kdt

    initializer = kdt.initializers.for_activation("selu")
    assert isinstance(initializer, keras.initializers.LecunNormal)
    layer = keras.layers.Dense(10, activation="selu", kernel_initializer=initializer)
    ```

    Reference: Glorot & Bengio, 2010, equation 16; He et al., 2015, equations 10 and 15;
    Klambauer et al., Self-normalizing neural networks, 2017, section 2.
    """
    check_choice("distribution", distribution, ("normal", "uniform"))
    name, slope = _identify(activation)
    scheme = _SCHEME_OF[name]
    if scheme == "he_leaky":
        return HeLeaky(slope, distribution=distribution, seed=seed)
    classes = {
        ("glorot", "normal"): keras.initializers.GlorotNormal,
        ("glorot", "uniform"): keras.initializers.GlorotUniform,
        ("he", "normal"): keras.initializers.HeNormal,
        ("he", "uniform"): keras.initializers.HeUniform,
        ("lecun", "normal"): keras.initializers.LecunNormal,
        ("lecun", "uniform"): keras.initializers.LecunUniform,
    }
    return classes[scheme, distribution](seed=seed)


def _identify(activation):
    """The canonical name of an activation and the slope below zero of a leaky one."""
    if activation is None:
        return "linear", None
    slope = _FUNCTION_SLOPE
    if isinstance(activation, str):
        name = activation
        if name.lower() == "rrelu":
            slope = _RANDOM_SLOPE
    elif isinstance(activation, keras.layers.Activation):
        return _identify(activation.activation)
    elif isinstance(activation, keras.Layer):
        name = type(activation).__name__
        slope = getattr(activation, "negative_slope", None)
        if slope is None:
            # A random leaky rectifier: the slope it has in inference.
            slope = (getattr(activation, "lower", 0.0) + getattr(activation, "upper", 0.0)) / 2
        slope = float(slope)
        if name == "ReLU" and slope:
            name = "leaky_relu"
    elif callable(activation) and not isinstance(activation, type):
        name = getattr(activation, "__name__", type(activation).__name__)
    else:
        raise TypeError(
            "`activation` must be a name, an activation function, an activation layer (made, not "
            "its class) or None. "
            f"Received: activation={activation!r}."
        )
    known = name.lower().removeprefix("keras_deeptricks>")
    known = _OTHER_NAMES.get(known, known)
    if known not in _SCHEME_OF:
        raise ValueError(
            f"No initializer is known for the activation {name!r}. Known are: "
            f"{', '.join(sorted(_SCHEME_OF))}. For another, name the one it resembles most."
        )
    return known, slope
