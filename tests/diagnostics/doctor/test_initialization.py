import keras
import numpy as np
import pytest
from doctor_cases import case_of, labels, normal
from keras import layers

from keras_deeptricks.diagnostics.doctor.initialization_constant import (
    identical_units,
    initialization_constant,
)
from keras_deeptricks.diagnostics.doctor.initialization_scale import (
    initialization_scale,
    kernel_gain,
)

X = normal(200, 30)


def network(initializer, activation="relu", depth=2, width=40, between=(), last="glorot_uniform"):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((30,))])
    for number in range(depth):
        model.add(
            layers.Dense(width, activation, kernel_initializer=initializer, name=f"h{number}")
        )
        for layer in between:
            model.add(layer())
    model.add(layers.Dense(3, "softmax", kernel_initializer=last, name="out"))
    model.compile("sgd", "sparse_categorical_crossentropy")
    return case_of(model, X, labels(200))


def scale(stddev):
    return keras.initializers.RandomNormal(stddev=stddev, seed=0)


def test_identical_units():
    assert identical_units(np.full((3, 2), 0.7))
    assert identical_units(np.array([[1.0, 1.0], [2.0, 2.0]]))  # rows may differ
    assert not identical_units(np.array([[1.0, 1.0], [2.0, 2.1]]))
    assert not identical_units(np.ones((4, 1)))  # a single unit


@pytest.mark.parametrize("initializer", ["zeros", "ones", keras.initializers.Constant(0.1)])
def test_constant_weights_are_told(initializer):
    (finding,) = initialization_constant(network(initializer))
    assert (finding.code, finding.severity) == ("initialization_constant", "error")
    assert finding.layer == "h0"
    assert "'h1'" in finding.evidence


@pytest.mark.parametrize("initializer", ["glorot_uniform", "he_normal", "orthogonal"])
def test_random_weights_are_silent(initializer):
    assert list(initialization_constant(network(initializer))) == []


def test_a_last_layer_of_zeros_is_silent():
    case = network("he_normal", last="zeros")
    assert list(initialization_constant(case)) == []
    assert case.zero_layers == []


def test_one_hidden_layer_of_zeros_is_left_to_the_trials():
    """Such as the last convolution of a residual branch."""
    inputs = keras.Input((30,))
    branch = layers.Dense(30, "relu")(inputs)
    branch = layers.Dense(30, kernel_initializer="zeros", name="zero")(branch)
    hidden = layers.Add()([inputs, branch])
    model = keras.Model(inputs, layers.Dense(3, "softmax")(layers.Dense(9, "relu")(hidden)))
    model.compile("sgd", "sparse_categorical_crossentropy")
    case = case_of(model, X, labels(200))
    assert list(initialization_constant(case)) == []
    assert [layer.name for layer in case.zero_layers] == ["zero"]


def test_gain_by_hand():
    # Root mean square 2, fan-in 9.
    assert kernel_gain(np.full((9, 5), -2.0)) == 6.0
    assert kernel_gain(np.full((3, 3, 1, 5), 2.0)) == 6.0


@pytest.mark.parametrize(
    "case, layer",
    [
        (lambda: network(scale(0.001)), "h0"),
        (lambda: network(scale(0.01), "tanh", depth=6), "h"),
        (lambda: network(scale(1.0), "tanh"), "h"),
        (lambda: network(scale(3.0), "relu"), "h"),
    ],
)
def test_weights_out_of_proportion_are_told(case, layer):
    (finding,) = initialization_scale(case())
    assert (finding.code, finding.severity) == ("initialization_scale", "warning")
    assert finding.layer.startswith(layer)


@pytest.mark.parametrize(
    "case",
    [
        lambda: network("glorot_uniform", "relu", depth=8),
        lambda: network("he_normal", "relu", depth=8),
        lambda: network("lecun_normal", "selu", depth=8),
        lambda: network(scale(0.05), "relu"),  # Keras' "random_normal"
        lambda: network("random_uniform", "relu", depth=1),
        lambda: network(scale(0.01), "tanh", depth=6, between=[layers.LayerNormalization]),
        lambda: network(scale(3.0), "linear", between=[layers.BatchNormalization, layers.ReLU]),
    ],
)
def test_usual_weights_are_silent(case):
    assert list(initialization_scale(case())) == []
