"""DenseBlock and DenseTransition against the same graphs of Keras' own layers."""

import itertools

import keras
import numpy as np
import pytest
from keras import layers, ops
from small_models import BACKEND, assert_identical, values

from keras_deeptricks.layers import DenseBlock, DenseTransition

IMAGES = np.random.default_rng(0).normal(size=(3, 6, 5, 4)).astype("float32")
# The same operations, which a compiler may fuse in another order.
ROUNDING = {"rtol": 1e-4, "atol": 1e-5}


def called(layer, x=IMAGES, **options):
    return ops.convert_to_numpy(layer(x, **options))


def unit(x, filters, size, used):
    """BN – ReLU – convolution; the layers with weights go to `used`."""
    norm = layers.BatchNormalization(momentum=0.9, epsilon=1e-5)
    conv = layers.Conv2D(filters, size, padding="same", use_bias=False, kernel_initializer="zeros")
    used += [norm, conv]
    return conv(layers.ReLU()(norm(x)))


def by_hand(units, growth, bottleneck):
    """Each unit gets the outputs of all before it, in their order."""
    used, made = [], [keras.Input(IMAGES.shape[1:])]
    for _ in range(units):
        x = layers.Concatenate()(made) if len(made) > 1 else made[0]
        if bottleneck:
            x = unit(x, 4 * growth, 1, used)
        made.append(unit(x, growth, 3, used))
    return keras.Model(made[0], layers.Concatenate()(made)), used


def with_weights(block):
    parts = [x for branch in block.branches for x in branch.layers]
    return [x for x in parts if x.weights]


def copy_random(ours, theirs):
    rng = np.random.default_rng(1)
    assert [type(x) for x in ours] == [type(x) for x in theirs]
    for a, b in zip(ours, theirs, strict=True):
        for v, w in zip(a.weights, b.weights, strict=True):
            assert v.shape == w.shape
            value = rng.uniform(0.5, 1.5, v.shape)
            if v.name == "kernel":
                value *= rng.choice([-0.2, 0.2], v.shape)
            for each in (v, w):
                each.assign(value.astype("float32"))


@pytest.mark.parametrize("bottleneck", [True, False])
@pytest.mark.parametrize("units, growth", [(1, 3), (3, 2)])
def test_the_same_graph_of_keras_layers(units, growth, bottleneck):
    block = DenseBlock(units, growth, bottleneck, kernel_initializer="zeros")
    block.build((None, *IMAGES.shape[1:]))
    model, theirs = by_hand(units, growth, bottleneck)
    copy_random(with_weights(block), theirs)
    expected = called(model)
    assert expected.shape == block.compute_output_shape(IMAGES.shape)
    np.testing.assert_allclose(called(block), expected, **ROUNDING)
    # The input itself comes first.
    np.testing.assert_array_equal(called(block)[..., :4], IMAGES)
    expected = called(model, training=True)
    np.testing.assert_allclose(called(block, training=True), expected, **ROUNDING)
    for a, b in zip(with_weights(block), theirs, strict=True):
        for v, w in zip(values(a.weights), values(b.weights), strict=True):
            np.testing.assert_allclose(v, w, **ROUNDING)


def test_a_step_of_training_is_the_same():
    block = DenseBlock(2, 2)
    wrapped = keras.Sequential([keras.Input(IMAGES.shape[1:]), block])
    model, theirs = by_hand(2, 2, True)
    copy_random(with_weights(block), theirs)
    y = np.zeros((3, 6, 5, 8), "float32")
    for each in (wrapped, model):
        each.compile(keras.optimizers.SGD(0.01), "mse")
        each.fit(IMAGES, y, verbose=0)
    for a, b in zip(with_weights(block), theirs, strict=True):
        for v, w in zip(values(a.weights), values(b.weights), strict=True):
            np.testing.assert_allclose(v, w, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("units, growth, channels", [(1, 1, 1), (3, 2, 5), (4, 6, 8)])
def test_numbers_of_channels_and_weights(units, growth, channels):
    plain = bottleneck = 0
    for number in range(units):
        inputs = channels + number * growth
        plain += 4 * inputs + 9 * inputs * growth
        bottleneck += 4 * inputs + 4 * inputs * growth  # BN, 1×1
        bottleneck += 4 * 4 * growth + 9 * 4 * growth * growth
    for with_bottleneck, expected in ((True, bottleneck), (False, plain)):
        block = DenseBlock(units, growth, with_bottleneck, kernel_initializer="zeros")
        block.build((None, None, None, channels))
        assert block.count_params() == expected
        shape = block.compute_output_shape((None, None, None, channels))
        assert shape == (None, None, None, channels + units * growth)


def test_dropout_behind_each_convolution():
    block = DenseBlock(1, 2, dropout=0.2)
    kinds = [type(x).__name__ for x in block.branches[0].layers]
    assert kinds == ["BatchNormalization", "Activation", "Conv2D", "Dropout"] * 2
    transition = DenseTransition(dropout=0.2)
    transition.build((None, 6, 6, 4))
    kinds = [type(x).__name__ for x in transition.layers.layers]
    expected = ["BatchNormalization", "Activation", "Conv2D", "Dropout", "AveragePooling2D"]
    assert kinds == expected


def test_transition_against_keras_layers():
    transition = DenseTransition(0.5)
    transition.build((None, *IMAGES.shape[1:]))
    used, inputs = [], keras.Input(IMAGES.shape[1:])
    model = keras.Model(inputs, layers.AveragePooling2D(2)(unit(inputs, 2, 1, used)))
    copy_random([x for x in transition.layers.layers if x.weights], used)
    np.testing.assert_allclose(called(transition), called(model), **ROUNDING)
    expected = called(model, training=True)
    np.testing.assert_allclose(called(transition, training=True), expected, **ROUNDING)


@pytest.mark.parametrize(
    "compression, channels, expected",
    # 0.29·100 is 28.999… in floating point.
    [(0.5, 7, 3), (1, 7, 7), (0.1, 4, 1), (0.29, 100, 29), (0.7, 10, 7), (1 / 3, 9, 3)],
)
def test_compression(compression, channels, expected):
    transition = DenseTransition(compression)
    shape = (None, 7, 6, channels)
    assert transition.compute_output_shape(shape) == (None, 3, 3, expected)
    transition.build(shape)
    assert transition.layers.output_shape == (None, 3, 3, expected)


@pytest.mark.parametrize("make", [lambda **o: DenseBlock(2, 3, **o), DenseTransition])
def test_channels_first(make):
    first, last = (make(data_format=f"channels_{where}") for where in ("first", "last"))
    first.build((None, 4, 6, 5))
    last.build((None, 6, 5, 4))
    out = first.compute_output_shape((None, 4, 6, 5))
    assert (out[2], out[3], out[1]) == last.compute_output_shape((None, 6, 5, 4))[1:]
    if BACKEND == "tensorflow":
        return  # no convolutions of channels first on a CPU
    for a, b in zip(first.weights, last.weights, strict=True):
        a.assign(values([b])[0])
    found = called(first, np.moveaxis(IMAGES, -1, 1))
    np.testing.assert_allclose(np.moveaxis(found, 1, -1), called(last), **ROUNDING)


@pytest.mark.parametrize("initializer", [None, "he_normal", keras.initializers.HeNormal(seed=3)])
def test_seeds(initializer):
    def made(seed):
        keras.utils.set_random_seed(next(state))  # the global state has no say
        block = DenseBlock(2, 4, bottleneck=False, kernel_initializer=initializer, seed=seed)
        block.build((None, 6, 6, 4))
        return [w for w in values(block.weights) if w.ndim == 4]

    state = itertools.count()
    assert_identical(made(1), made(1))
    # The first input channels of both have one shape.
    one, two = made(1)
    assert not np.array_equal(one, two[:, :, :4])
    if not isinstance(initializer, keras.initializers.Initializer):
        assert not np.array_equal(made(1)[0], made(2)[0])


def test_configurations_and_a_file(tmp_path):
    block = DenseBlock(2, 3, False, "elu", 0.1, kernel_regularizer="l2", seed=1)
    transition = DenseTransition(0.6, "gelu", kernel_initializer="he_uniform")
    for layer in (block, transition):
        config = layer.get_config()
        assert type(layer).from_config(config).get_config() == config
    inputs = keras.Input(IMAGES.shape[1:])
    model = keras.Model(inputs, transition(block(inputs)))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(called(loaded), called(model))
    assert sum(len(x.losses) for x in (block, loaded.layers[1])) == 4


def test_half_precision():
    block = DenseBlock(2, 2, dtype="mixed_bfloat16")
    out = DenseTransition(dtype="mixed_bfloat16")(block(IMAGES))
    assert keras.backend.standardize_dtype(out.dtype) == "bfloat16"
    assert {w.dtype for w in block.weights} == {"float32"}


@pytest.mark.parametrize(
    "options", [{"units": 0}, {"growth": 0}, {"bottleneck": 1}, {"dropout": 1}, {"seed": "a"}]
)
def test_bad_arguments(options):
    with pytest.raises((TypeError, ValueError), match=f"`{next(iter(options))}`"):
        DenseBlock(**{"units": 1, "growth": 1, **options})


@pytest.mark.parametrize("compression", [0, -1, 1.1])
def test_bad_compression(compression):
    with pytest.raises(ValueError, match="compression"):
        DenseTransition(compression)
