"""Saliencies by hand, of every kind of kernel; and what the kernels and units of a model are."""

import keras
import numpy as np
import pytest
from keras import layers
from small_models import Subclassed

from keras_deeptricks.models.pruning import (
    active_share,
    incoming_weight_norm,
    mean_activation,
    weight_magnitude,
)

UNIT_FUNCTIONS = [mean_activation, active_share]


def model_of(*parts, shape=(4,)):
    return keras.Sequential([keras.Input(shape), *parts])


def only(found):
    (value,) = found.values()
    return value


def test_magnitudes_by_hand():
    model = model_of(layers.Dense(2), shape=(2,))
    model.set_weights([np.array([[1.0, -2.0], [0.0, 3.0]]), np.array([9.0, 9.0])])
    np.testing.assert_array_equal(only(weight_magnitude(model)), [[1, 2], [0, 3]])


def test_norms_by_hand():
    model = model_of(layers.Dense(2), shape=(2,))
    model.set_weights([np.array([[3.0, 0.0], [-4.0, 2.0]]), np.array([9.0, 9.0])])
    np.testing.assert_allclose(only(incoming_weight_norm(model)), [5, 2])
    np.testing.assert_allclose(only(incoming_weight_norm(model, order=1)), [7, 2])
    np.testing.assert_allclose(only(incoming_weight_norm(model, order=1, mean=True)), [3.5, 1])
    np.testing.assert_allclose(only(incoming_weight_norm(model, mean=True)) ** 2, [12.5, 2])


# A layer, its input, the attribute of its kernel, and the axes of its units there.
KINDS = {
    "dense": (lambda: layers.Dense(3), (4,), "kernel", (1,)),
    "conv1d": (lambda: layers.Conv1D(3, 2), (5, 4), "kernel", (2,)),
    "conv2d": (lambda: layers.Conv2D(4, 2, groups=2), (5, 5, 2), "kernel", (3,)),
    "conv3d": (lambda: layers.Conv3D(3, 2), (3, 3, 3, 2), "kernel", (4,)),
    "transposed": (lambda: layers.Conv2DTranspose(3, 2), (4, 4, 2), "kernel", (2,)),
    "depthwise": (
        lambda: layers.DepthwiseConv2D(2, depth_multiplier=3),
        (4, 4, 2),
        "kernel",
        (2, 3),
    ),
    "separable": (lambda: layers.SeparableConv2D(3, 2), (4, 4, 2), "pointwise_kernel", (3,)),
    "einsum": (lambda: layers.EinsumDense("abc,cd->abd", (None, 3)), (2, 4), "kernel", (1,)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_unit_is_what_makes_one_output_channel(kind):
    make, shape, attribute, axes = KINDS[kind]
    layer = make()
    model = model_of(layer, shape=shape)
    weights = weight_magnitude(model)
    found = incoming_weight_norm(model)
    path = f"{layer.name}/{attribute}"
    assert list(found) == [path]
    kernel = getattr(layer, attribute).numpy()
    np.testing.assert_array_equal(weights[path], np.abs(kernel))
    others = tuple(axis for axis in range(kernel.ndim) if axis not in axes)
    expected = np.sqrt((kernel.astype("float64") ** 2).sum(axis=others)).ravel()
    np.testing.assert_allclose(found[path], expected, rtol=1e-6)
    # Without the weights of its second unit the second channel is constant 0: there is no bias yet.
    flat = np.moveaxis(kernel, axes, range(-len(axes), 0)).copy()
    flat.reshape(-1, len(expected))[:, 1] = 0
    getattr(layer, attribute).assign(np.moveaxis(flat, range(-len(axes), 0), axes))
    x = np.random.default_rng(0).normal(size=(2, *shape)).astype("float32")
    out = model.predict(x, verbose=0)
    zero = (out.reshape(-1, out.shape[-1]) == 0).all(axis=0)
    assert zero.tolist() == [n == 1 for n in range(len(expected))]
    assert only(mean_activation(model, x)).shape == expected.shape
    assert (only(mean_activation(model, x)) == 0).tolist() == zero.tolist()


def test_kernels_are_found_wherever_they_are():
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(3, name="d")], name="inner")
    inputs = keras.Input((6, 4))
    tensor = layers.TimeDistributed(layers.Dense(4, name="each"))(inputs)
    tensor = layers.LSTM(4, name="lstm")(tensor)
    tensor = layers.BatchNormalization()(inner(tensor))
    model = keras.Model(inputs, layers.Dense(1, name="d_out")(tensor))
    names = ["each/kernel", "lstm/kernel", "lstm/recurrent_kernel", "d/kernel", "d_out/kernel"]
    assert list(weight_magnitude(model)) == names
    # Under the same names in a copy, whose cell has another one.
    assert list(weight_magnitude(keras.models.clone_model(model))) == names
    # LSTMs have no units whose weights are a part of the kernel.
    assert len(incoming_weight_norm(model)) == 3


def test_embeddings_are_kernels_and_attention_keeps_its_own():
    inputs = keras.Input((5,), dtype="int32")
    tensor = layers.Embedding(7, 4, name="words")(inputs)
    tensor = layers.MultiHeadAttention(2, 3, name="attention")(tensor, tensor)
    tensor = layers.Bidirectional(layers.GRU(2))(tensor)
    model = keras.Model(inputs, layers.Dense(1, name="out")(tensor))
    assert list(weight_magnitude(model)) == ["words/embeddings", "out/kernel"]


def test_two_weights_of_one_path_are_told_apart():
    parts = []
    for _ in range(2):
        inner = keras.Sequential([keras.Input((4,)), layers.Dense(4, name="d")], name="same")
        parts.append(keras.Model(inner.inputs, inner.outputs))
    inputs = keras.Input((4,))
    model = keras.Model(inputs, parts[1](parts[0](inputs)))
    assert list(weight_magnitude(model)) == ["d/kernel", "d/kernel#2"]


def test_activations_by_hand():
    model = model_of(layers.Dense(2, activation="tanh"), shape=(1,))
    model.set_weights([np.array([[1.0, -2.0]]), np.zeros(2)])
    x = np.array([[1.0], [-1.0], [0.5]])
    expected = np.abs(np.tanh(x @ [[1.0, -2.0]])).mean(axis=0)
    np.testing.assert_allclose(only(mean_activation(model, x)), expected, rtol=1e-6)
    np.testing.assert_allclose(only(active_share(model, x)), [2 / 3, 1 / 3])
    np.testing.assert_allclose(only(active_share(model, x, above=0.5)), [1 / 3, 1 / 3])


@pytest.mark.parametrize("order", ["channels_last", "channels_first"])
def test_a_filter_counts_at_each_position(order):
    options = {"data_format": order, "use_bias": False}
    conv = layers.Conv2D(2, 1, activation="relu", **options)
    model = model_of(conv, shape=(2, 2, 1) if order == "channels_last" else (1, 2, 2))
    model.set_weights([np.array([1.0, -1.0]).reshape(1, 1, 1, 2)])
    x = np.array([1.0, 2.0, 3.0, -4.0]).reshape(model.input_shape[1:])[None]
    if order == "channels_first" and not _computes_channels_first():
        pytest.skip("no convolution of channels_first on this device")
    np.testing.assert_allclose(only(mean_activation(model, x)), [1.5, 1.0])
    np.testing.assert_allclose(only(active_share(model, x)), [0.75, 0.25])


def _computes_channels_first():
    return keras.config.backend() != "tensorflow"


def test_an_activation_that_is_a_layer_of_its_own_is_passed():
    dense = layers.Dense(2, use_bias=False)
    x = np.array([[1.0], [-2.0]])
    for between in ([], [layers.BatchNormalization(epsilon=0)], [layers.Dropout(0.5)]):
        for act in (layers.ReLU(), layers.Activation("relu")):
            model = model_of(
                layers.Dense.from_config(dense.get_config()), *between, act, shape=(1,)
            )
            model.layers[0].set_weights([np.array([[1.0, -1.0]])])
            np.testing.assert_allclose(only(mean_activation(model, x)), [0.5, 1.0], rtol=1e-6)
    # Not behind what mixes units, or where two take the output.
    model = model_of(layers.Dense.from_config(dense.get_config()), layers.LayerNormalization())
    inputs = keras.Input((1,))
    both = layers.Dense.from_config(dense.get_config())(inputs)
    split = keras.Model(inputs, layers.Add()([both, layers.ReLU()(both)]))
    split.set_weights([np.array([[1.0, -1.0]])])
    np.testing.assert_allclose(only(mean_activation(split, x)), [1.5, 1.5])


def test_a_linear_layer_is_not_measured_behind_the_next_one():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(16, 4)).astype("float32")
    for behind in (
        layers.Dense(6, activation="relu"),
        layers.Dense(3, activation="tanh"),
        layers.Dense(4, activation="relu"),
    ):
        model = model_of(layers.Dense(6, name="lin", use_bias=False), behind)
        kernel = rng.normal(size=(4, 6)).astype("float32")
        model.layers[0].set_weights([kernel])
        found = mean_activation(model, x)["lin/kernel"]
        np.testing.assert_allclose(found, np.abs(x @ kernel).mean(axis=0), rtol=1e-5)
    steps = rng.normal(size=(2, 5, 4)).astype("float32")
    model = model_of(layers.Dense(6, name="lin", use_bias=False), layers.GRU(3), shape=(5, 4))
    model.layers[0].set_weights([kernel])
    found = mean_activation(model, steps)["lin/kernel"]
    np.testing.assert_allclose(found, np.abs(steps @ kernel).mean(axis=(0, 1)), rtol=1e-5)


@pytest.mark.parametrize("between", [[], [layers.BatchNormalization], [layers.Identity]])
def test_an_activation_that_is_a_function_of_tensors_is_passed(between):
    inputs = keras.Input((1,))
    tensor = layers.Dense(2, name="one")(inputs)
    for kind in between:
        tensor = kind()(tensor)
    model = keras.Model(inputs, layers.Dense(1)(keras.activations.relu(tensor)))
    model.get_layer("one").set_weights([np.zeros((1, 2)), np.array([-5.0, 1.0])])
    found = mean_activation(model, np.ones((4, 1)))["one/kernel"]
    # Batch norm divides by the root of 1.001.
    np.testing.assert_allclose(found, [0.0, 1.0], rtol=1e-3)


@pytest.mark.parametrize("function", UNIT_FUNCTIONS)
def test_batches_do_not_matter_and_inference_is_meant(function):
    keras.utils.set_random_seed(3)
    parts = [layers.Dropout(0.5), layers.Dense(5, activation="elu"), layers.Dense(2)]
    model = Subclassed(parts)
    x = np.random.default_rng(0).normal(size=(10, 4)).astype("float32")
    model(x)
    whole = function(model, x)
    assert [v.shape for v in whole.values()] == [(5,), (2,)]
    generator = ((part, np.zeros(len(part))) for part in (x[:7], x[7:]))
    for found in (function(model, x, batch_size=3), function(model, generator)):
        for path, value in found.items():
            np.testing.assert_allclose(value, whole[path], rtol=1e-6)
    some = function(model, x, batch_size=3, steps=2)
    for path, value in function(model, x[:6]).items():
        np.testing.assert_allclose(some[path], value, rtol=1e-6)


def test_a_shared_layer_counts_with_all_its_calls():
    dense = layers.Dense(2, use_bias=False)
    first, second = keras.Input((1,)), keras.Input((1,))
    model = keras.Model([first, second], layers.Add()([dense(first), dense(second)]))
    model.set_weights([np.array([[1.0, 2.0]])])
    found = mean_activation(model, [np.array([[1.0]]), np.array([[3.0]])])
    np.testing.assert_allclose(only(found), [2.0, 4.0])


@pytest.mark.parametrize("function", [weight_magnitude, incoming_weight_norm])
def test_what_is_no_built_model_is_refused(function):
    with pytest.raises(TypeError, match="`model`"):
        function(3)
    with pytest.raises(ValueError, match="built"):
        function(keras.Sequential([layers.Dense(2)]))


def test_bad_arguments_are_refused():
    model = model_of(layers.Dense(2))
    for order in (0, 3, "two", 2.0):
        with pytest.raises(ValueError, match="`order`"):
            incoming_weight_norm(model, order=order)
    with pytest.raises(TypeError, match="`mean`"):
        incoming_weight_norm(model, mean=1)
    with pytest.raises(TypeError, match="`above`"):
        active_share(model, np.ones((2, 4)), above="0")
    for function in UNIT_FUNCTIONS:
        with pytest.raises(ValueError, match="empty"):
            function(model, np.ones((0, 4)))
        with pytest.raises(ValueError, match="`batch_size`"):
            function(model, np.ones((2, 4)), batch_size=0)
        with pytest.raises(ValueError, match="no layer with units"):
            function(model_of(layers.BatchNormalization()), np.ones((2, 4)))
