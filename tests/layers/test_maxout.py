"""Maxout and its convolution: by hand, as what they contain, and their gradients."""

import keras
import numpy as np
import pytest
from gradients import assert_gradients
from keras import ops
from small_models import BACKEND

from keras_deeptricks.constraints import MaxNorm
from keras_deeptricks.initializers import HeMaxout
from keras_deeptricks.layers import Maxout, MaxoutConv2D

# Sums of a few products in float32.
ROUNDING = {"rtol": 1e-5, "atol": 1e-6}
X = np.random.default_rng(0).normal(size=(6, 3)).astype("float32")
IMAGES = np.random.default_rng(0).normal(size=(2, 5, 6, 3)).astype("float32")


def called(layer, x):
    return ops.convert_to_numpy(layer(ops.convert_to_tensor(np.asarray(x, "float32"))))


def with_weights(layer, shape, *weights):
    layer.build(shape)
    layer.set_weights([np.asarray(w, "float32") for w in weights])
    return layer


def test_by_hand():
    # Columns: piece 0 of units 0 and 1, then piece 1 of them.
    kernel = [[1.0, 2.0, -1.0, 0.0], [0.0, 1.0, 1.0, 3.0]]
    layer = with_weights(Maxout(2), (None, 2), kernel, [0.0, 1.0, 0.5, -1.0])
    # Row (1, 2): pieces (1, 5) and (1.5, 5); row (−1, 0): pieces (−1, −1) and (1.5, −1).
    np.testing.assert_allclose(
        called(layer, [[1, 2], [-1, 0], [2, -1]]), [[1.5, 5], [1.5, -1], [2, 4]], **ROUNDING
    )


def test_against_the_formula_in_numpy():
    layer = Maxout(4, pieces=3, bias_initializer="random_normal")
    out = called(layer, X)
    kernel, bias = (ops.convert_to_numpy(w) for w in (layer.kernel, layer.bias))
    maps = (X @ kernel + bias).reshape(6, 3, 4)
    np.testing.assert_allclose(out, maps.max(axis=1), **ROUNDING)
    assert layer.compute_output_shape((None, 7, 3)) == (None, 7, 4)


def test_one_piece_is_a_dense_layer():
    initializer = keras.initializers.GlorotUniform(seed=1)
    layer = Maxout(4, pieces=1, kernel_initializer=initializer)
    dense = keras.layers.Dense(4, kernel_initializer=initializer)
    np.testing.assert_array_equal(called(layer, X), called(dense, X))


@pytest.mark.parametrize(
    "second, activation",
    [
        (0.0, keras.layers.ReLU()),
        (0.1, keras.layers.LeakyReLU(negative_slope=0.1)),
        (-1.0, keras.layers.Activation(ops.abs)),
    ],
    ids=["relu", "leaky", "absolute"],
)
def test_right_weights_are_other_activations(second, activation):
    identity = np.eye(3)
    layer = with_weights(
        Maxout(3), (None, 3), np.concatenate([identity, second * identity], axis=1), np.zeros(6)
    )
    np.testing.assert_allclose(called(layer, X), called(activation, X), **ROUNDING)


def test_more_axes():
    layer = Maxout(4, pieces=2)
    x = np.random.default_rng(1).normal(size=(2, 5, 3))
    out = called(layer, x)
    np.testing.assert_allclose(out[1], called(layer, x[1]), **ROUNDING)
    tensor = layer(keras.Input((None, 3)))
    assert tensor.shape == (None, None, 4)


def test_gradients():
    layer = Maxout(2, pieces=3, kernel_initializer=keras.initializers.RandomNormal(seed=4))
    # The pieces of a unit lie apart by their biases: no step crosses a kink.
    layer.build((None, 3))
    kernel = np.random.default_rng(2).normal(size=(3, 6))
    bias = np.random.default_rng(3).normal(size=6)
    pieces = np.sort((X @ kernel + bias).reshape(6, 3, 2), axis=1)
    assert (pieces[:, 2] - pieces[:, 1]).min() > 0.05
    layer.affine.kernel.assign(kernel)
    layer.affine.bias.assign(bias)
    # A step of 0.005 moves a piece by no more than 0.015.
    assert_gradients(layer, X, step=5e-3)


def test_convolution_by_hand():
    # A window of one pixel: a dense layer on every pixel.
    kernel = np.array([[1.0, -1.0], [0.5, 2.0], [0.0, 1.0]])
    conv = with_weights(
        MaxoutConv2D(1, 1), (None, 5, 6, 3), kernel[None, None], np.array([0.0, 0.5])
    )
    expected = (IMAGES @ kernel + [0.0, 0.5]).max(axis=-1, keepdims=True)
    np.testing.assert_allclose(called(conv, IMAGES), expected, **ROUNDING)


@pytest.mark.parametrize(
    "options",
    [
        {"strides": 2, "padding": "same"},
        {"dilation_rate": 2, "use_bias": False},
        {"kernel_size": (2, 3)},
    ],
    ids=str,
)
def test_a_convolution_is_the_maximum_of_convolutions(options):
    options = {"kernel_size": 3, **options}
    conv = MaxoutConv2D(4, pieces=3, bias_initializer="random_normal", **options)
    out = called(conv, IMAGES)
    maps = []
    for piece in range(3):
        plain = keras.layers.Conv2D(4, **options)
        plain.build(IMAGES.shape)
        part = slice(4 * piece, 4 * piece + 4)
        plain.set_weights([weight[..., part] for weight in conv.get_weights()])
        maps.append(called(plain, IMAGES))
    np.testing.assert_allclose(out, np.max(maps, axis=0), **ROUNDING)
    assert conv.compute_output_shape((None, 5, 6, 3)) == (None, *out.shape[1:])


def test_one_piece_is_a_convolution():
    initializer = keras.initializers.GlorotUniform(seed=1)
    conv = MaxoutConv2D(4, 3, pieces=1, kernel_initializer=initializer)
    plain = keras.layers.Conv2D(4, 3, kernel_initializer=initializer)
    np.testing.assert_array_equal(called(conv, IMAGES), called(plain, IMAGES))


@pytest.mark.skipif(BACKEND == "tensorflow", reason="TensorFlow has no such convolution on a CPU")
def test_channels_first():
    last = MaxoutConv2D(4, 3)
    first = MaxoutConv2D(4, 3, data_format="channels_first")
    expected = called(last, IMAGES)
    moved = np.moveaxis(IMAGES, -1, 1)
    first.build(moved.shape)
    first.set_weights(last.get_weights())
    np.testing.assert_allclose(np.moveaxis(called(first, moved), 1, -1), expected, **ROUNDING)


def test_the_shape_of_channels_first():
    conv = MaxoutConv2D(4, 3, pieces=3, strides=2, data_format="channels_first")
    assert conv.compute_output_shape((None, 3, 9, 11)) == (None, 4, 4, 5)
    assert conv(keras.Input((3, None, 11))).shape == (None, 4, None, 5)


def test_gradients_of_the_convolution():
    rng = np.random.default_rng(6)
    x = rng.normal(size=(1, 3, 3, 2))
    conv = MaxoutConv2D(2, 2)
    conv.build((None, 3, 3, 2))
    kernel, bias = rng.normal(size=(2, 2, 2, 4)), rng.normal(size=4)
    conv.set_weights([kernel, bias])
    maps = called(conv.affine, x).reshape(-1, 2, 2)
    # A step of 0.002 moves a map by no more than 0.006.
    assert np.abs(maps[:, 0] - maps[:, 1]).min() > 0.02
    assert_gradients(conv, x, step=2e-3)


def test_max_norm_limits_every_piece_by_itself():
    kernel = np.array([[3.0, 0.3, 0.0, 6.0], [4.0, 0.4, 1.0, 8.0]], "float32")
    limited = ops.convert_to_numpy(MaxNorm(1.0)(kernel))
    np.testing.assert_allclose(limited, [[0.6, 0.3, 0, 0.6], [0.8, 0.4, 1, 0.8]], **ROUNDING)
    layer = Maxout(2, kernel_constraint=MaxNorm(1.0))
    layer.build((None, 2))
    assert isinstance(layer.kernel.constraint, MaxNorm)


@pytest.mark.parametrize("pieces", [1, 2, 5])
def test_the_default_keeps_the_mean_square_of_the_signal(pieces):
    # Mean squares over 256 units spread by some 10 % a layer, by 30 % over ten; without the
    # correction five pieces would make 1.8¹⁰ = 357 of 1.
    x = np.random.default_rng(0).normal(size=(64, 256)).astype("float32")
    for seed in range(10):
        initializer = HeMaxout(pieces, seed=seed)
        x = called(Maxout(256, pieces=pieces, kernel_initializer=initializer), x)
    assert np.square(x).mean() == pytest.approx(1, rel=0.75)
    default = Maxout(4, pieces=pieces).affine.kernel_initializer
    assert isinstance(default, HeMaxout)
    assert default.pieces == pieces


def test_penalties_reach_the_weights():
    layer = Maxout(2, kernel_regularizer=keras.regularizers.L2(0.5), activity_regularizer="l2")
    layer.build((None, 2))
    layer.set_weights([np.full((2, 4), 2.0), np.zeros(4)])
    layer(np.zeros((1, 2), "float32"))
    # 0.5 · 8 · 2²; the activity is zero.
    penalty = sum(ops.convert_to_numpy(loss) for loss in layer.losses)
    assert penalty == pytest.approx(16.0)


@pytest.mark.parametrize("cls", [Maxout, MaxoutConv2D])
def test_the_configuration_comes_back(cls):
    kwargs = {"kernel_size": (2, 3), "strides": 2} if cls is MaxoutConv2D else {}
    layer = cls(4, pieces=3, kernel_regularizer="l2", use_bias=False, name="units", **kwargs)
    again = cls.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    assert again.pieces == 3
    assert again.affine.kernel_initializer.pieces == 3


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="`pieces`"):
        Maxout(3, pieces=0)
    with pytest.raises(ValueError, match="`units`"):
        Maxout(0)
    with pytest.raises(ValueError, match="`filters`"):
        MaxoutConv2D(0, 3)
