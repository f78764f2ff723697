import numpy as np
import pytest
from keras import Input, Model, ops
from keras.layers import (
    BatchNormalization,
    Conv2D,
    Conv2DTranspose,
    Dense,
    Dropout,
    Flatten,
    GlobalAveragePooling2D,
    MaxPooling2D,
    TimeDistributed,
)
from structural_cases import Chain, case_of, found, labels, numbers, tables

from keras_deeptricks.diagnostics.doctor.affinity import deviation_from_affine
from keras_deeptricks.diagnostics.doctor.nonlinearity import missing_nonlinearity

X = numbers(24, 6)
IMAGES = numbers(24, 8, 8, 1)


def hidden(activation, *between, width=8):
    """A layer without its activation between two with one, or with it."""
    return tables(
        Dense(8, "relu"),
        Dense(width, activation, name="bare"),
        *between,
        Dense(8, "relu"),
        Dense(3, "softmax"),
    )


def report(model, x=X, y=None, **options):
    return found(case_of(model, x, y, **options), missing_nonlinearity)


def warning(layer):
    return [("missing_nonlinearity", "warning", layer)]


def test_a_hidden_layer_without_activation():
    assert report(hidden(None)) == warning("bare")
    assert report(hidden("relu")) == []


def test_batch_norm_and_dropout_are_affine_in_inference():
    assert report(hidden(None, BatchNormalization(), Dropout(0.2))) == warning("bare")
    assert report(hidden("tanh", BatchNormalization(), Dropout(0.2))) == []


def test_a_narrow_layer_is_a_bottleneck_on_purpose():
    assert report(hidden(None, width=4)) == []


def test_a_whole_model_without_nonlinearity_is_measured():
    def model(activation):
        return tables(Dense(8, activation, name="a"), Dense(8, activation), Dense(3, "softmax"))

    case = case_of(model(None), X)
    assert found(case, missing_nonlinearity) == warning("a")
    assert deviation_from_affine(case, 0) < 1e-5  # float32 rounds to 1e-7
    healthy = case_of(model("relu"), X)
    assert found(healthy, missing_nonlinearity) == []
    assert deviation_from_affine(healthy, 0) > 0.01


def test_the_measurement_against_a_parabola():
    # f(x) = x² of one feature: f((a+b)/2) − (f(a)+f(b))/2 = −(a−b)²/4.
    inputs = Input((1,))
    x = numbers(24, 1)
    case = case_of(Model(inputs, inputs * inputs), x, x)
    a, b = np.split(x.astype("float64"), 2)
    expected = np.sqrt(np.mean((a - b) ** 4) / 16 / np.mean((a**2 - b**2) ** 2))
    assert deviation_from_affine(case, 0) == pytest.approx(expected, rel=1e-4)  # float32


@pytest.mark.parametrize("activation", [None, "sigmoid", "tanh"])
def test_the_measurement_looks_through_the_activation_of_the_output(activation):
    y = numbers(24, 2)
    case = case_of(tables(Dense(8), Dense(2, activation)), X, y)
    assert deviation_from_affine(case, 0) < 1e-3  # the inverse of tanh near 1 loses digits


def test_a_linear_autoencoder_may_be_meant():
    case = case_of(tables(Dense(2, name="code"), Dense(6)), X, X)
    assert found(case, missing_nonlinearity) == [("missing_nonlinearity", "note", "code")]


def test_codes_of_words_may_be_meant():
    x = np.eye(24, dtype="float32")
    words = Dense(4, use_bias=False, name="words")
    model = tables(words, Dense(24, "softmax"), features=24)
    assert report(model, x, labels(24, 24)) == [("missing_nonlinearity", "note", "words")]


@pytest.mark.parametrize(
    "activation,expected", [(None, warning("first")), ("relu", [])], ids=["faulty", "healthy"]
)
def test_convolutions_and_flatten(activation, expected):
    inputs = Input((8, 8, 1))
    tensor = Conv2D(4, 3, activation=activation, name="first")(inputs)
    tensor = Conv2D(4, 3, activation="relu")(tensor)
    tensor = Dense(3, "softmax")(Flatten()(tensor))
    assert report(Model(inputs, tensor), IMAGES) == expected


def test_max_pooling_is_a_nonlinearity():
    inputs = Input((8, 8, 1))
    tensor = MaxPooling2D()(Conv2D(4, 3)(inputs))
    assert report(Model(inputs, Dense(3)(Flatten()(tensor))), IMAGES) == []


def test_averaging_before_the_output_layer_is_noted():
    inputs = Input((8, 8, 1))
    tensor = Conv2D(4, 3, activation="relu")(inputs)
    tensor = GlobalAveragePooling2D()(Conv2D(4, 3, name="last")(tensor))
    expected = [("missing_nonlinearity", "note", "last")]
    assert report(Model(inputs, Dense(3, "softmax")(tensor)), IMAGES) == expected


def test_learned_upsampling_at_the_end_is_noted():
    inputs = Input((8, 8, 1))
    tensor = Conv2D(4, 3, 2, "same", activation="relu")(inputs)
    tensor = Conv2DTranspose(1, 2, 2)(Conv2D(4, 1, name="scores")(tensor))
    expected = [("missing_nonlinearity", "note", "scores")]
    assert report(Model(inputs, tensor), IMAGES, IMAGES) == expected


def test_a_trunk_of_two_heads():
    def model(activation):
        inputs = Input((6,))
        tensor = Dense(8, activation, name="trunk")(Dense(8, "relu")(inputs))
        heads = [Dense(2, name="a")(tensor), Dense(2, name="b")(tensor)]
        model = Model(inputs, heads)
        model.compile("adam", ["mse", "mse"])
        return model

    y = [numbers(24, 2), numbers(24, 2)]
    assert report(model(None), X, y, loss=["mse", "mse"]) == warning("trunk")
    assert report(model("relu"), X, y, loss=["mse", "mse"]) == []


def test_a_layer_that_is_used_twice_is_left_alone():
    inputs = Input((6,))
    stem = Dense(8)(inputs)
    tensor = stem + Dense(8)(ops.relu(Dense(8)(stem)))
    assert report(Model(inputs, Dense(3, "softmax")(tensor))) == []


def test_wrapped_layers():
    x = numbers(24, 4, 6)
    inputs = Input((4, 6))
    tensor = TimeDistributed(Dense(8, "relu"))(inputs)
    tensor = TimeDistributed(Dense(8), name="wrapped")(tensor)
    tensor = Dense(3, "softmax")(Flatten()(Dense(8, "relu")(tensor)))
    assert report(Model(inputs, tensor), x) == warning("wrapped")


def test_frozen_layers_are_left_alone():
    model = hidden(None)
    for layer in model.layers[1:3]:
        layer.trainable = False
    assert report(model) == []


def test_subclassed_models():
    bare = Chain(Dense(8, name="a"), Dense(8, name="b"), Dense(3), ops.softmax)
    assert report(bare) == warning("a")
    applied = Chain(Dense(8), ops.relu, Dense(8), ops.relu, Dense(3), ops.softmax)
    assert report(applied) == []
    mixed = Chain(
        Dense(8), ops.relu, Dense(8, name="bare"), Dense(8), ops.relu, Dense(3, "softmax")
    )
    assert report(mixed) == warning("bare")
