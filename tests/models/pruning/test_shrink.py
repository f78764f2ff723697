"""Shrinking by hand: which units go, and what their constants become."""

import keras
import numpy as np
import pytest
from keras import layers
from shrinking_models import (
    assert_shrinks,
    chain,
    disuse,
    kill,
    reasons,
    shrink_with_report,
    units_of,
)
from small_models import assert_identical, values

from keras_deeptricks.models.pruning.shrink import shrink


def dense_net(activation="relu", use_bias=True):
    """2 inputs, 3 units, 1 output."""
    model = keras.Sequential(
        [
            keras.Input((2,)),
            layers.Dense(3, activation=activation, name="hidden"),
            layers.Dense(1, use_bias=use_bias, name="out"),
        ]
    )
    model.get_layer("hidden").set_weights(
        [np.array([[1.0, 0, -3], [2, 0, 4]]), np.array([0.1, 2, 0.3])]
    )
    output = [np.array([[5.0], [3], [-1]]), np.array([0.5])]
    model.get_layer("out").set_weights(output[: 1 + use_bias])
    return model


def test_a_dead_neuron_goes_into_the_next_bias():
    small = shrink(dense_net())
    kernel, bias = small.get_layer("hidden").get_weights()
    np.testing.assert_array_equal(kernel, np.array([[1, -3], [2, 4]], "float32"))
    np.testing.assert_array_equal(bias, np.array([0.1, 0.3], "float32"))
    kernel, bias = small.get_layer("out").get_weights()
    np.testing.assert_array_equal(kernel, [[5], [-1]])
    # relu(2)·3 + 0.5
    np.testing.assert_array_equal(bias, [6.5])


def test_the_constant_is_behind_the_activation():
    small = shrink(dense_net("sigmoid"))
    bias = small.get_layer("out").get_weights()[1]
    # Float32 rounds the sigmoid and the bias: 2^-24 of about 3 each.
    np.testing.assert_allclose(bias, [0.5 + 3 / (1 + np.exp(-2.0))], rtol=2e-7)


def test_a_layer_without_a_bias_gets_one():
    small = shrink(dense_net(use_bias=False))
    assert small.get_layer("out").use_bias
    np.testing.assert_array_equal(small.get_layer("out").get_weights()[1], [6])


def test_nothing_is_added_for_a_constant_of_zero():
    model = dense_net(use_bias=False)
    kernel, bias = model.get_layer("hidden").get_weights()
    model.get_layer("hidden").set_weights([kernel, bias - [0, 3, 0]])
    small = shrink(model)
    assert units_of(small, "hidden") == 2
    assert not small.get_layer("out").use_bias


def test_an_unused_neuron_goes():
    model = dense_net()
    disuse(model, "out", [0])
    small, report = assert_shrinks(model, hidden=1, out=1)
    np.testing.assert_array_equal(small.get_layer("hidden").get_weights()[0], [[-3], [4]])
    (entry,) = report.removed
    assert entry["layer"] == "hidden"
    assert entry["constant"].tolist() == [1]
    assert entry["unused"].tolist() == [0]


def test_what_only_removed_units_use_goes_too():
    model = chain(
        (3,),
        layers.Dense(4, activation="tanh", name="first"),
        layers.Dense(4, activation="tanh", name="second"),
        layers.Dense(2, name="out"),
    )
    # Of `second` only unit 0 is used, and of `first` only units 1 and 2 by that.
    disuse(model, "out", [1, 2, 3])
    kernel = np.array(model.get_layer("second").get_weights()[0])
    kernel[[0, 3], 0] = 0
    model.get_layer("second").set_weights([kernel, np.zeros(4)])
    assert_shrinks(model, first=2, second=1)


def test_what_sees_only_constants_is_constant():
    model = chain(
        (3,),
        layers.Dense(4, activation="tanh", name="first"),
        layers.Dense(4, activation="tanh", name="second"),
        layers.Dense(2, name="out"),
    )
    kill(model, "first", [0, 1])
    kernel = np.array(model.get_layer("second").get_weights()[0])
    kernel[2:, 3] = 0  # the unit sees the two dead ones
    model.get_layer("second").set_weights([kernel, np.ones(4)])
    assert_shrinks(model, first=2, second=3)


def batch_norm_net(gamma):
    model = keras.Sequential(
        [
            keras.Input((2,)),
            layers.Dense(2, name="hidden"),
            layers.BatchNormalization(epsilon=0, name="norm"),
            layers.ReLU(),
            layers.Dense(1, name="out"),
        ]
    )
    model.get_layer("hidden").set_weights([np.array([[1.0, 0], [2, 0]]), np.array([0.0, 3])])
    # gamma, beta, mean, variance
    norm = ([1.0, gamma], [0.0, 0.25], [0.0, 1], [1.0, 4])
    model.get_layer("norm").set_weights([np.array(v) for v in norm])
    model.get_layer("out").set_weights([np.array([[1.0], [2]]), np.array([0.0])])
    return model


def test_a_constant_through_batch_norm():
    small, _ = assert_shrinks(batch_norm_net(0.5), hidden=1)
    # 0.5·(3 − 1)/√4 + 0.25 = 0.75, times 2
    np.testing.assert_array_equal(small.get_layer("out").get_weights()[1], [1.5])
    assert [w.shape for w in small.get_layer("norm").get_weights()] == [(1,)] * 4


def test_a_batch_norm_of_scale_zero_kills_a_living_unit():
    model = batch_norm_net(0.0)
    model.get_layer("hidden").set_weights([np.ones((2, 2)), np.array([0.0, 3])])
    small, report = assert_shrinks(model, hidden=1)
    np.testing.assert_array_equal(small.get_layer("out").get_weights()[1], [0.5])  # 2·0.25
    assert report.removed[0]["unused"].tolist() == [1]


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_flatten_keeps_the_order(data_format):
    first = data_format == "channels_first"
    # The images come from units, as on TensorFlow a CPU has no convolutions of channels first.
    model = chain(
        (4,),
        layers.Dense(3, name="hidden"),
        layers.Reshape((3, 1, 1) if first else (1, 1, 3)),
        layers.UpSampling2D(2, data_format=data_format),
        layers.Flatten(data_format=data_format),
        layers.Dense(1, name="out"),
    )
    kill(model, "hidden", [1])
    kernel = np.arange(12.0)[:, None]
    model.get_layer("out").set_weights([kernel, np.zeros(1)])
    small, _ = assert_shrinks(model, hidden=2)
    # Flattened, channel 1 of 3 is every third entry, in either format.
    np.testing.assert_array_equal(
        small.get_layer("out").get_weights()[0].ravel(), [0, 2, 3, 5, 6, 8, 9, 11]
    )


def test_a_dead_filter_before_a_convolution_without_padding():
    model = chain((6, 6, 1), layers.Conv2D(2, 1, name="first"), layers.Conv2D(1, 2, name="second"))
    kill(model, "first", [0])
    model.get_layer("first").bias.assign([0.5, 0])
    kernel = np.arange(8.0).reshape(2, 2, 2, 1)
    model.get_layer("second").set_weights([kernel, np.ones(1)])
    small, _ = assert_shrinks(model, first=1)
    kernel, bias = small.get_layer("second").get_weights()
    np.testing.assert_array_equal(kernel.ravel(), [1, 3, 5, 7])
    np.testing.assert_array_equal(bias, [1 + 0.5 * (0 + 2 + 4 + 6)])


def test_a_constant_before_padding_stays_unless_it_is_zero():
    model = chain(
        (6, 6, 1),
        layers.Conv2D(4, 1, name="first"),
        layers.Conv2D(1, 3, padding="same", name="second"),
    )
    kill(model, "first", [0, 1])
    model.get_layer("first").bias.assign([0.5, 0, 0.1, 0.2])
    _, report = assert_shrinks(model, first=3)
    assert report.removed[0]["constant"].tolist() == [1]
    (entry,) = (entry for entry in report.kept if entry["layer"] == "first")
    assert entry["units"].tolist() == [0]
    assert entry["reason"] == "'second' sees zeros at the border instead of its constant 0.5"


def test_a_layer_keeps_a_last_unit():
    model = dense_net()
    kill(model, "hidden", [0, 1, 2])
    _, report = assert_shrinks(model, hidden=1)
    assert reasons(report)["hidden"] == "a layer keeps one unit at least"


def test_the_model_is_left_as_it_is():
    model = dense_net()
    model.compile("sgd", "mse")
    before = values(model.weights)
    small = shrink(model)
    assert_identical(values(model.weights), before)
    assert not small.compiled
    small.get_layer("out").kernel.assign(np.zeros((2, 1)))
    assert_identical(values(model.weights), before)


def test_nothing_to_remove_is_told():
    model = chain((3,), layers.Dense(4, name="hidden"), layers.Dense(2))
    small, report = shrink_with_report(model)  # which asserts a warning
    assert report.removed == []
    assert report.removed_units == 0
    assert_identical(values(small.weights), values(model.weights))


def test_half_of_the_neurons_are_a_quarter_of_the_inner_parameters():
    names = [f"hidden_{n}" for n in range(4)]
    model = chain(
        (5,),
        *(layers.Dense(32, activation="elu", use_bias=False, name=name) for name in names),
        layers.Dense(3, name="out"),
    )
    for name in names:
        kill(model, name, range(0, 32, 2))
    small, report = assert_shrinks(model, **dict.fromkeys(names, 16))
    for name in names[1:]:
        assert small.get_layer(name).count_params() == model.get_layer(name).count_params() / 4
    rows = {entry["layer"]: entry for entry in report.layers}
    assert rows["hidden_1"]["parameters"] == [32 * 32, 16 * 16]
    assert rows["hidden_1"]["flops"] == [2 * 32 * 32, 2 * 16 * 16]
    assert report.removed_units == 4 * 16


def test_wrong_arguments():
    with pytest.raises(TypeError, match=r"`model` must be a keras\.Model"):
        shrink("model")
    with pytest.raises(TypeError, match="`report` must be True or False"):
        shrink(dense_net(), report="yes")
    with pytest.raises(ValueError, match="must be built"):
        shrink(keras.Sequential([layers.Dense(2)]))
