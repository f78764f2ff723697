"""Dead units before every kind of layer: followed through it, or left alone with the reason."""

import keras
import numpy as np
import pytest
from keras import layers
from shrinking_models import assert_shrinks, chain, disuse, kill, reasons, shrink_with_report

import keras_deeptricks as kdt

FIRST = {"data_format": "channels_first"}


def image_net(*parts, units=4, head=layers.GlobalAveragePooling2D, shape=(6, 6, 3)):
    """A convolution `filters`, of which filter 1 is dead, the parts, and a dense layer."""
    model = chain(
        shape,
        layers.Conv2D(units, 2, activation="tanh", name="filters"),
        *parts,
        head(),
        layers.Dense(2, name="out"),
    )
    kill(model, "filters", [1])
    return model


PATHS = {
    "identity": layers.Identity,
    "relu": lambda: layers.ReLU(max_value=0.3),
    "leaky": lambda: layers.LeakyReLU(0.2),
    "elu": layers.ELU,
    "rrelu": kdt.layers.RReLU,
    "gelu": lambda: layers.Activation("gelu"),
    "own activation": lambda: layers.Activation(kdt.activations.centered_softplus),
    "rescaling": lambda: layers.Rescaling(2.0, offset=1.0),
    "operation": lambda: lambda tensor: keras.ops.relu(2 * tensor + 0.1),
    "prelu": lambda: layers.PReLU(keras.initializers.Constant(0.3)),
    "shared prelu": lambda: layers.PReLU("normal", shared_axes=[1, 2]),
    "dropout": lambda: layers.SpatialDropout2D(0.5),
    "alpha dropout": lambda: layers.AlphaDropout(0.5),
    "max pooling": lambda: layers.MaxPooling2D(2, padding="same"),
    "average pooling": lambda: layers.AveragePooling2D(2, padding="same"),
    "cropping": lambda: layers.Cropping2D(1),
    "upsampling": lambda: layers.UpSampling2D(2, interpolation="bilinear"),
    "depthwise": lambda: layers.DepthwiseConv2D(2, depth_multiplier=2, activation="elu"),
    "norm": lambda: layers.BatchNormalization(scale=False),
    "permute": lambda: layers.Permute((2, 1, 3)),
    "reshape": lambda: layers.Reshape((-1, 1, 4)),
}


@pytest.mark.parametrize("case", PATHS)
def test_constants_pass(case):
    assert_shrinks(image_net(PATHS[case]()), filters=3)


HEADS = {
    "flatten": layers.Flatten,
    "maximum": layers.GlobalMaxPooling2D,
    "kept axes": lambda: (
        lambda t: layers.Flatten()(layers.GlobalAveragePooling2D(keepdims=True)(t))
    ),
    "reshape": lambda: layers.Reshape((100,)),
}


@pytest.mark.parametrize("case", HEADS)
def test_heads(case):
    assert_shrinks(image_net(head=HEADS[case]), filters=3)


LINEAR = {
    "convolution": (lambda: layers.Conv2D(3, 2, dilation_rate=2, name="next"), 3),
    "strides": (lambda: layers.Conv2D(3, 1, strides=2, padding="same", name="next"), 3),
    "padded": (lambda: layers.Conv2D(3, 2, padding="same", name="next"), 4),
    "groups": (lambda: layers.Conv2D(4, 2, groups=2, name="next"), 4),
    "transposed": (lambda: layers.Conv2DTranspose(3, 2, name="next"), 4),
    "transposed 1x1": (lambda: layers.Conv2DTranspose(3, 1, name="next"), 3),
    "separable": (lambda: layers.SeparableConv2D(3, 2, depth_multiplier=2, name="next"), 3),
    "padded separable": (lambda: layers.SeparableConv2D(3, 2, padding="same", name="next"), 4),
    "padded depthwise": (lambda: layers.DepthwiseConv2D(2, padding="same", name="next"), 4),
    "dense": (lambda: layers.Dense(3, name="next"), 3),
    "padding": (lambda: layers.ZeroPadding2D(1, name="next"), 4),
}


@pytest.mark.parametrize("case", LINEAR)
def test_constants_into_every_layer(case):
    following, left = LINEAR[case]
    model = image_net(following())
    assert_shrinks(model, filters=left)
    # A constant of 0 meets no border.
    model = image_net(following())
    model.get_layer("filters").bias.assign([0.3, 0, 0.1, 0.2])
    _, report = assert_shrinks(model, filters=4 if case == "groups" else 3)
    if case == "groups":
        assert reasons(report)["filters"] == "'next' (Conv2D) has groups"


OWN_UNITS = {
    "transposed": (lambda: layers.Conv2DTranspose(4, 3, strides=2, name="next"), -2),
    "padded": (lambda: layers.Conv2D(4, 3, padding="same", name="next"), -1),
    "dense": (lambda: layers.Dense(4, activation="selu", name="next"), -1),
}


@pytest.mark.parametrize("case", OWN_UNITS)
def test_dead_units_of_every_layer(case):
    following, axis = OWN_UNITS[case]
    model = image_net(following())
    model.get_layer("filters").bias.assign([0.3, 0, 0.1, 0.2])
    kill(model, "next", [0, 2], axis)
    assert_shrinks(model, filters=3, next=2)


def test_separable_units():
    model = image_net(layers.SeparableConv2D(4, 2, name="next"))
    depthwise, pointwise, bias = (np.array(w) for w in model.get_layer("next").get_weights())
    pointwise[..., 3] = 0
    depthwise[..., 0, :] = 0  # filter 0 is unused
    model.get_layer("next").set_weights([depthwise, pointwise, bias])
    assert_shrinks(model, filters=2, next=3)


def test_a_dead_depthwise_channel_takes_the_one_before():
    model = image_net(layers.DepthwiseConv2D(2, padding="same", name="depthwise"))
    model.get_layer("filters").bias.assign([0.3, 0, 0.1, 0.2])
    kill(model, "depthwise", [3], axis=-2)
    _, report = assert_shrinks(model, filters=2)
    assert report.removed[0]["unused"].tolist() == [3]


def test_one_dimension():
    model = chain(
        (9, 3),
        layers.Conv1D(4, 3, padding="causal", name="filters"),
        layers.DepthwiseConv1D(2),
        layers.ZeroPadding1D(1),
        layers.MaxPooling1D(2),
        layers.SeparableConv1D(4, 2, activation="relu", name="separable"),
        layers.UpSampling1D(2),
        layers.Conv1DTranspose(4, 2, name="transposed"),
        layers.SpatialDropout1D(0.2),
        layers.GlobalMaxPooling1D(),
        layers.RepeatVector(3),
        layers.Dense(4, activation="tanh", name="rows"),
        layers.Flatten(),
        layers.Dense(1),
    )
    disuse(model, "separable", [0])  # of the depthwise kernel
    kill(model, "transposed", [1], axis=-2)
    kill(model, "rows", [2])
    assert_shrinks(model, filters=3, transposed=3, rows=3)


def test_three_dimensions():
    model = chain(
        (4, 4, 4, 2),
        layers.Conv3D(4, 2, name="filters"),
        layers.MaxPooling3D(2),
        layers.Conv3DTranspose(3, 1, name="transposed"),
        layers.GlobalAveragePooling3D(),
        layers.Dense(1),
    )
    kill(model, "filters", [0])
    kill(model, "transposed", [0], axis=-2)
    assert_shrinks(model, filters=3, transposed=2)


def test_channels_first():
    model = chain(
        (4,),
        layers.Dense(6, name="hidden"),
        layers.Reshape((6, 1, 1)),
        layers.UpSampling2D(4, **FIRST),
        layers.BatchNormalization(axis=1, scale=False),
        layers.MaxPooling2D(2, **FIRST),
        layers.PReLU("normal", shared_axes=[2, 3]),
        layers.Flatten(**FIRST),
        layers.Dense(1),
    )
    kill(model, "hidden", [0, 4])
    assert_shrinks(model, hidden=4)


def test_channels_first_convolutions():
    model = image_net(
        layers.DepthwiseConv2D(2, **FIRST),
        layers.Conv2D(3, 2, name="next", **FIRST),
        head=lambda: layers.GlobalAveragePooling2D(**FIRST),
        shape=(6, 6, 3),
    )
    # The first convolution has its channels last, which the others take for the width.
    _, report = assert_shrinks(model, filters=4)
    assert reasons(report)["filters"].endswith("works along the axis of the units")
    model = chain(
        (3, 6, 6),
        layers.Conv2D(4, 2, name="filters", **FIRST),
        layers.ReLU(),
        layers.Conv2D(3, 2, name="next", **FIRST),
        layers.GlobalAveragePooling2D(**FIRST),
        layers.Dense(2),
    )
    kill(model, "filters", [1])
    kill(model, "next", [0])
    assert_shrinks(model, filters=3, next=2)


LEFT = {
    "layer normalization": (layers.LayerNormalization, "(LayerNormalization) mixes units"),
    "group normalization": (lambda: layers.GroupNormalization(2), "(GroupNormalization) mixes"),
    "softmax": (layers.Softmax, "(Softmax) mixes units"),
    "softmax activation": (lambda: layers.Activation("softmax"), "(Activation) mixes units"),
    "norm of another axis": (
        lambda: layers.BatchNormalization(axis=1),
        "does not normalize along the axis of the units",
    ),
    "reshape": (lambda: layers.Reshape((5, 10, 2)), "spreads the units over several axes"),
}


@pytest.mark.parametrize("case", LEFT)
def test_what_mixes_units_is_left_alone(case):
    part, reason = LEFT[case]
    model = image_net(part())
    kill(model, "out", [0])  # an output of the model
    other = chain((3,), layers.Dense(3, name="a"), layers.Dense(2, name="b"))
    kill(other, "a", [0])
    assert_shrinks(other, a=2)
    small, report = shrink_with_report(model)
    assert reason in reasons(report)["filters"]
    assert reasons(report)["out"] == "they are an output of the model"
    assert small.count_params() == model.count_params()
    assert reason in str(report)


def test_a_softmax_inside_a_layer():
    model = chain(
        (3,), layers.Dense(4, activation="softmax", name="hidden"), layers.Dense(2, name="out")
    )
    kill(model, "hidden", [0])
    _, report = shrink_with_report(model)
    assert "the activation of 'hidden', softmax, mixes units" in reasons(report)["hidden"]
    # What it gets may lose units.
    disuse(model, "out", [0])
    model = chain(
        (3,),
        layers.Dense(4, name="before"),
        layers.Dense(4, activation="softmax"),
        layers.Dense(2),
    )
    kill(model, "before", [0])
    assert_shrinks(model, before=3)


def test_recurrent_layers_are_named():
    model = chain(
        (5, 3),
        layers.Dense(4, name="hidden"),
        layers.SimpleRNN(4, name="recurrent"),
        layers.Dense(3, activation="relu", name="behind"),
        layers.Dense(1),
    )
    kill(model, "hidden", [0])
    kill(model, "behind", [0])
    _, report = assert_shrinks(model, behind=2)
    for name in ("hidden", "recurrent"):
        assert "'recurrent' (SimpleRNN) mixes units" in reasons(report)[name]


def test_training_mode_is_not_constant():
    inputs = keras.Input((3,))
    hidden = layers.Dense(4, name="hidden")(inputs)
    hidden = layers.Dropout(0.5)(hidden, training=True)
    model = keras.Model(inputs, layers.Dense(2, name="out")(hidden))
    model.get_layer("hidden").bias.assign(np.ones(4))
    kill(model, "hidden", [0])
    _, report = shrink_with_report(model)
    assert len(report.kept[0]["units"]) == 1
    disuse(model, "out", [0])
    assert_units(model, 3)


def assert_units(model, units):
    small, _ = shrink_with_report(model)
    assert small.get_layer("hidden").units == units
