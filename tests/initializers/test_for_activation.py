"""The table of activations and their initializers, for names, functions and layers."""

import inspect

import keras
import numpy as np
import pytest
from keras import initializers, layers, ops

import keras_deeptricks as kdt
from keras_deeptricks.initializers import HeLeaky, for_activation

FAN_IN, FAN_OUT = 200, 100
# Variance by formula, with fan_avg = 150.
VARIANCE = {"glorot": 1 / 150, "he": 2 / 200, "lecun": 1 / 200}
CLASSES = {
    ("glorot", "normal"): initializers.GlorotNormal,
    ("glorot", "uniform"): initializers.GlorotUniform,
    ("he", "normal"): initializers.HeNormal,
    ("he", "uniform"): initializers.HeUniform,
    ("lecun", "normal"): initializers.LecunNormal,
    ("lecun", "uniform"): initializers.LecunUniform,
}
TABLE = {
    "glorot": [
        None,
        "none",
        "linear",
        "identity",
        "tanh",
        "sigmoid",
        "logistic",
        "hard_sigmoid",
        "log_sigmoid",
        "softmax",
        "log_softmax",
        "softsign",
        "hard_tanh",
        "tanh_shrink",
        "hard_shrink",
        "soft_shrink",
        "sparsemax",
        "sparse_sigmoid",
    ],
    "he": [
        "relu",
        "ReLU",
        "relu6",
        "elu",
        "celu",
        "gelu",
        "silu",
        "swish",
        "mish",
        "softplus",
        "hard_silu",
        "hard_swish",
        "squareplus",
        "sparse_plus",
        "exponential",
        "threshold",
        "glu",
        "prelu",
        "PReLU",
        "centered_softplus",
        "AdaptivePiecewiseLinear",
        "adaptive_piecewise_linear",
    ],
    "lecun": ["selu", "SELU"],
}
ROWS = [(scheme, name) for scheme, names in TABLE.items() for name in names]


def leaky(initializer, slope):
    """True for a `HeLeaky` of that slope."""
    return isinstance(initializer, HeLeaky) and initializer.negative_slope == pytest.approx(slope)


@pytest.mark.parametrize("scheme, name", ROWS)
@pytest.mark.parametrize("distribution", ["normal", "uniform"])
def test_the_table(scheme, name, distribution):
    initializer = for_activation(name, distribution=distribution)
    assert type(initializer) is CLASSES[scheme, distribution]


@pytest.mark.parametrize(
    "activation, scheme", [("tanh", "glorot"), ("elu", "he"), ("selu", "lecun")]
)
@pytest.mark.parametrize("distribution", ["normal", "uniform"])
def test_the_variance_is_that_of_the_formula(activation, scheme, distribution):
    initializer = for_activation(activation, distribution=distribution, seed=1)
    drawn = ops.convert_to_numpy(initializer((FAN_IN, FAN_OUT)))
    # The variance of 20,000 draws is off by √(2/20,000) = 1 % (less without heavy tails); four
    # such deviations. The schemes differ by a third or more.
    assert drawn.var() == pytest.approx(VARIANCE[scheme], rel=0.04)
    assert abs(drawn.mean()) < 4 * np.sqrt(VARIANCE[scheme] / drawn.size)


def public_activations():
    skipped = ("get", "serialize", "deserialize")
    return [
        (name, function)
        for name, function in vars(keras.activations).items()
        if inspect.isfunction(function) and name not in skipped and not name.startswith("_")
    ]


def test_every_activation_of_keras_is_known_by_name_and_as_a_function():
    names = [name for name, _ in public_activations()]
    assert {"relu", "selu", "tanh", "leaky_relu"} <= set(names)
    for name, function in public_activations():
        assert for_activation(name).get_config() == for_activation(function).get_config()
        assert type(for_activation(name)) is type(for_activation(function))


@pytest.mark.parametrize(
    "layer, expected",
    [
        (layers.ReLU(), initializers.HeNormal),
        (layers.ELU(), initializers.HeNormal),
        (layers.PReLU(), initializers.HeNormal),
        (layers.Softmax(), initializers.GlorotNormal),
        (layers.Activation("selu"), initializers.LecunNormal),
        (layers.Activation(layers.Activation("tanh")), initializers.GlorotNormal),
        (layers.Activation(None), initializers.GlorotNormal),
    ],
    ids=lambda value: type(value).__name__,
)
def test_activation_layers(layer, expected):
    assert type(for_activation(layer)) is expected


def test_the_slope_of_a_leaky_rectifier_is_taken_into_account():
    assert leaky(for_activation(layers.LeakyReLU(negative_slope=0.1)), 0.1)
    assert leaky(for_activation(layers.ReLU(negative_slope=0.25)), 0.25)
    assert leaky(for_activation(layers.Activation(layers.LeakyReLU(negative_slope=0.1))), 0.1)
    # A capped or shifted rectifier without a slope is no leaky one.
    assert type(for_activation(layers.ReLU(max_value=6))) is initializers.HeNormal


def test_the_default_slopes_are_those_of_keras():
    function = inspect.signature(keras.activations.leaky_relu).parameters["negative_slope"].default
    assert leaky(for_activation("leaky_relu"), function)
    assert leaky(for_activation(keras.activations.leaky_relu), function)
    layer = inspect.signature(layers.LeakyReLU).parameters["negative_slope"].default
    assert leaky(for_activation(layers.LeakyReLU()), layer)


def test_a_random_leaky_rectifier_counts_with_its_mean_slope():
    assert leaky(for_activation(kdt.layers.RReLU(0.1, 0.3)), 0.2)
    assert leaky(for_activation(layers.Activation(kdt.layers.RReLU(0.1, 0.3))), 0.2)
    for default in (kdt.layers.RReLU(), "RReLU", "rrelu"):
        assert leaky(for_activation(default), 11 / 48)


def activation_layers():
    """The activation layers of Keras and of this package, which are found by their call."""
    known = ("Activation", "ELU", "LeakyReLU", "PReLU", "ReLU", "Softmax")
    return [
        *(getattr(layers, name) for name in known),
        kdt.layers.RReLU,
        kdt.layers.AdaptivePiecewiseLinear,
    ]


def test_every_activation_layer_is_known():
    # Keras keeps its own in one folder of the source.
    folder = layers.ReLU.__module__.rpartition(".")[0]
    public = {
        cls
        for cls in vars(layers).values()
        if inspect.isclass(cls) and cls.__module__.startswith(folder + ".")
    }
    assert public <= set(activation_layers())
    for cls in activation_layers():
        layer = cls("tanh") if cls is layers.Activation else cls()
        assert isinstance(for_activation(layer), initializers.Initializer)


def test_our_own_functions_are_known():
    for name in kdt.activations.__all__:
        function = getattr(kdt.activations, name)
        assert type(for_activation(function)) is type(for_activation(name))
    assert type(for_activation(kdt.activations.centered_softplus)) is initializers.HeNormal
    dense = layers.Dense(2, activation=kdt.activations.centered_softplus)
    assert type(for_activation(dense.activation)) is initializers.HeNormal


def test_a_seed_is_passed_on():
    draws = [
        ops.convert_to_numpy(for_activation(name, seed=seed)((3, 3)))
        for name, seed in (("elu", 1), ("elu", 1), ("elu", 2))
    ]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert not np.array_equal(draws[0], draws[2])
    assert for_activation("leaky_relu", seed=3).seed == 3


def test_an_unknown_activation_is_refused_with_the_known_ones():
    def wobble(x):
        return x

    for unknown in ("wobble", wobble, layers.Dense(1)):
        with pytest.raises(ValueError, match=r"No initializer is known.*(wobble|Dense)") as caught:
            for_activation(unknown)
        for known in ("elu", "selu", "tanh", "leaky_relu"):
            assert f" {known}," in str(caught.value)


@pytest.mark.parametrize("wrong", [1, 0.5, ["elu"], layers.LeakyReLU])
def test_what_is_no_activation_is_refused(wrong):
    # A layer's class does not say which slope is meant.
    with pytest.raises(TypeError, match="`activation` must be"):
        for_activation(wrong)


@pytest.mark.parametrize("wrong", ["gaussian", None, "truncated_normal"])
def test_an_unknown_distribution_is_refused(wrong):
    with pytest.raises(ValueError, match="`distribution` must be one of 'normal', 'uniform'"):
        for_activation("elu", distribution=wrong)
