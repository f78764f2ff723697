"""ResidualBlock and PaddedShortcut against the same graphs of Keras' own layers."""

import itertools

import keras
import numpy as np
import pytest
from keras import layers, ops
from small_models import BACKEND, assert_identical, values

import keras_deeptricks as kdt
from keras_deeptricks.layers import PaddedShortcut, ResidualBlock

IMAGES = np.random.default_rng(0).normal(size=(3, 7, 6, 2)).astype("float32")
# The same operations, which a compiler may fuse in another order.
ROUNDING = {"rtol": 1e-4, "atol": 1e-5}


def called(layer, x=IMAGES, **options):
    return ops.convert_to_numpy(layer(x, **options))


def conv(filters, size, strides=1):
    return layers.Conv2D(
        filters, size, strides, padding="same", use_bias=False, kernel_initializer="zeros"
    )


def norm():
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-5)


def chain(x, *parts):
    for part in parts:
        x = part(x)
    return x


def by_hand(kind, pre, shortcut, strides, filters=2):
    """The block as in the papers' figures, layer by layer."""
    inputs = keras.Input(IMAGES.shape[1:])
    width = filters if kind == "basic" else 4 * filters
    changes = strides > 1 or width != IMAGES.shape[-1]
    relu = layers.ReLU
    x = before = inputs
    if pre:
        first = [norm(), relu()]
        if changes and shortcut == "projection":
            x = before = chain(x, *first)
            first = []
        if kind == "basic":
            parts = [conv(width, 3, strides), norm(), relu(), conv(width, 3)]
        else:
            parts = [conv(filters, 1), norm(), relu(), conv(filters, 3, strides)]
            parts += [norm(), relu(), conv(width, 1)]
        branch = chain(x, *first, *parts)
    elif kind == "basic":
        branch = chain(x, conv(width, 3, strides), norm(), relu(), conv(width, 3), norm())
    else:
        branch = chain(x, conv(filters, 1), norm(), relu(), conv(filters, 3, strides))
        branch = chain(branch, norm(), relu(), conv(width, 1), norm())
    if not changes:
        side = before
    elif shortcut == "padding":
        side = inputs[:, ::strides, ::strides]
        side = layers.Concatenate()([side, *[0 * side] * (width // side.shape[-1] - 1)])
    else:
        side = chain(before, conv(width, 1, strides), *([] if pre else [norm()]))
    total = layers.Add()([side, branch])
    return keras.Model(inputs, total if pre else relu()(total))


def same_weights(block, model, seed=0):
    """Random weights and statistics in both, matched by their shapes along the graph."""
    rng = np.random.default_rng(seed)
    order = [w for layer in along(block) for w in layer.weights]
    other = [w for layer in along_graph(model) for w in layer.weights]
    assert sorted(tuple(w.shape) for w in order) == sorted(tuple(w.shape) for w in other)
    for a, b in zip(order, other, strict=True):
        assert a.name == b.name
        assert a.shape == b.shape
        value = rng.uniform(0.5, 1.5, a.shape) * (
            rng.choice([-1, 1], a.shape) if a.name == "kernel" else 1
        )
        for each in (a, b):
            each.assign(value.astype("float32"))


def along(block):
    """The block's layers with weights: what is common, the branch, the shortcut."""
    common = block.common.layers if block.common is not None else []
    side = getattr(block.residual.shortcut, "layers", [])
    return [x for x in [*common, *block.residual.branch.layers, *side] if x.weights]


def along_graph(model):
    """The same of the graph, whose only layers of kernel size 1 and 4·filters are told by place."""
    weighted = [x for x in model.layers if x.weights]
    add = next(x for x in model.layers if isinstance(x, layers.Add))
    side, branch = add._inbound_nodes[0].input_tensors

    def back(tensor):
        found = []
        while True:
            layer, *_ = tensor._keras_history
            if isinstance(layer, layers.InputLayer) or not layer._inbound_nodes[0].input_tensors:
                return found[::-1]
            if layer in weighted:
                found.append(layer)
            tensor = layer._inbound_nodes[0].input_tensors[0]

    long, short = back(branch), back(side)
    return long + [x for x in short if x not in long]


CASES = list(
    itertools.product(
        ["basic", "bottleneck"], [False, True], ["projection", "padding"], [(1, 2), (2, 4)]
    )
)


@pytest.mark.parametrize("kind, pre, shortcut, size", CASES, ids=str)
def test_the_same_graph_of_keras_layers(kind, pre, shortcut, size):
    strides, filters = size
    block = ResidualBlock(
        filters,
        kind=kind,
        pre_activation=pre,
        shortcut=shortcut,
        strides=strides,
        kernel_initializer="zeros",
    )
    model = by_hand(kind, pre, shortcut, strides, filters)
    block.build((None, *IMAGES.shape[1:]))
    same_weights(block, model)
    expected = called(model)
    np.testing.assert_allclose(called(block), expected, **ROUNDING)
    assert expected.shape == (3, *block.compute_output_shape((3, 7, 6, 2))[1:])
    trained = called(model, training=True)
    np.testing.assert_allclose(called(block, training=True), trained, **ROUNDING)
    for a, b in zip(along(block), along_graph(model), strict=True):
        for x, y in zip(values(a.weights), values(b.weights), strict=True):
            np.testing.assert_allclose(x, y, **ROUNDING)


@pytest.mark.parametrize("kind, pre", [("basic", False), ("bottleneck", True)])
def test_a_step_of_training_is_the_same(kind, pre):
    block = ResidualBlock(2, kind=kind, pre_activation=pre, strides=2)
    model = by_hand(kind, pre, "projection", 2)
    block.build((None, *IMAGES.shape[1:]))
    same_weights(block, model)
    wrapped = keras.Sequential([keras.Input(IMAGES.shape[1:]), block])
    y = np.zeros((3, *block.compute_output_shape(IMAGES.shape)[1:]), "float32")
    for each in (wrapped, model):
        each.compile(keras.optimizers.SGD(0.01), "mse")
        each.fit(IMAGES, y, verbose=0)
    for a, b in zip(along(block), along_graph(model), strict=True):
        for x, z in zip(values(a.weights), values(b.weights), strict=True):
            np.testing.assert_allclose(x, z, rtol=1e-3, atol=1e-4)


def kinds(block):
    return [type(x).__name__ for x in block.residual.branch.layers]


def test_the_order_is_that_of_the_papers():
    norm_relu = ["BatchNormalization", "Activation"]
    made = {}
    for kind, pre, dropout in itertools.product(("basic", "bottleneck"), (0, 1), (0.0, 0.5)):
        block = ResidualBlock(2, kind=kind, pre_activation=bool(pre), dropout=dropout)
        block.build((None, 6, 6, 2 if kind == "basic" else 8))
        made[kind, pre, dropout] = kinds(block)
    assert made["basic", 0, 0.0] == ["Conv2D", *norm_relu, "Conv2D", "BatchNormalization"]
    assert made["basic", 1, 0.0] == [*norm_relu, "Conv2D"] * 2
    assert made["bottleneck", 1, 0.0] == [*norm_relu, "Conv2D"] * 3
    assert made["bottleneck", 0, 0.0] == ["Conv2D", *norm_relu] * 2 + ["Conv2D", norm_relu[0]]
    # Wide residual networks: between the convolutions.
    assert made["basic", 1, 0.5] == [*norm_relu, "Conv2D", *norm_relu, "Dropout", "Conv2D"]
    assert made["basic", 0, 0.5] == ["Conv2D", *norm_relu, "Dropout", "Conv2D", norm_relu[0]]


@pytest.mark.parametrize("kind", ["basic", "bottleneck"])
@pytest.mark.parametrize("pre", [False, True])
@pytest.mark.parametrize("strides, channels", [(1, 4), (1, 2), (2, 4)])
def test_projections_where_needed_and_the_number_of_weights(kind, pre, strides, channels):
    filters = 4 if kind == "basic" else 1
    block = ResidualBlock(
        filters, kind=kind, pre_activation=pre, strides=strides, kernel_initializer="zeros"
    )
    block.build((None, 6, 6, channels))
    changes = strides == 2 or channels == 2
    assert (block.residual.shortcut is not None) == changes
    f, c, out = filters, channels, 4
    if kind == "basic":
        kernels, widths = 9 * c * f + 9 * f * f, [c, f] if pre else [f, f]
    else:
        kernels = c * f + 9 * f * f + f * out
        widths = [c, f, f] if pre else [f, f, out]
    if changes:
        kernels += c * out
        widths += [] if pre else [out]
    assert block.count_params() == kernels + 4 * sum(widths)


@pytest.mark.parametrize("kind", ["basic", "bottleneck"])
@pytest.mark.parametrize("pre", [False, True])
def test_a_branch_that_begins_as_zero(kind, pre):
    channels = 2 if kind == "basic" else 8
    x = np.random.default_rng(1).normal(size=(2, 5, 5, channels)).astype("float32")
    block = ResidualBlock(2, kind=kind, pre_activation=pre, zero_init_residual=True)
    for training in (False, True):
        expected = x if pre else np.maximum(x, 0)
        np.testing.assert_array_equal(called(block, x, training=training), expected)
    changing = ResidualBlock(2, kind, strides=2, pre_activation=pre, zero_init_residual=True)
    left = called(changing, x)
    inputs = x if changing.common is None else changing.common(x)
    side = called(changing.residual.shortcut, inputs)
    np.testing.assert_array_equal(left, side if pre else np.maximum(side, 0))


@pytest.mark.parametrize("size", [1, 2, 5, 6, 7])
@pytest.mark.parametrize("strides", [1, 2, 3])
def test_sizes_that_strides_do_not_divide(size, strides):
    for shortcut in ("projection", "padding"):
        block = ResidualBlock(4, strides=strides, shortcut=shortcut)
        shape = block.compute_output_shape((2, size, size + 1, 2))
        assert called(block, np.ones((2, size, size + 1, 2), "float32")).shape == shape
        assert shape[1] == -(-size // strides)


def test_a_size_that_is_not_known():
    block = ResidualBlock(4, strides=2)
    assert block(keras.Input((None, None, 2))).shape == (None, None, None, 4)
    assert called(block, np.ones((1, 5, 4, 2), "float32")).shape == (1, 3, 2, 4)


@pytest.mark.parametrize("kind", ["basic", "bottleneck"])
@pytest.mark.parametrize("pre", [False, True])
@pytest.mark.parametrize("shortcut", ["projection", "padding"])
def test_channels_first(kind, pre, shortcut):
    first, last = (
        ResidualBlock(
            2,
            kind=kind,
            pre_activation=pre,
            shortcut=shortcut,
            strides=2,
            data_format=f"channels_{where}",
        )
        for where in ("first", "last")
    )
    first.build((None, 2, 7, 6))
    last.build((None, 7, 6, 2))
    out = first.compute_output_shape((None, 2, 7, 6))
    assert (out[2], out[3], out[1]) == last.compute_output_shape((None, 7, 6, 2))[1:]
    if BACKEND == "tensorflow":
        return  # no convolutions of channels first on a CPU
    for a, b in zip(first.weights, last.weights, strict=True):
        a.assign(values([b])[0])
    found = called(first, np.moveaxis(IMAGES, -1, 1))
    np.testing.assert_allclose(np.moveaxis(found, 1, -1), called(last), **ROUNDING)


# Initial values.


def kernels(**options):
    block = ResidualBlock(4, **options)
    block.build((None, 6, 6, 4))
    return [w for w in values(block.weights) if w.ndim == 4]


INITIALIZERS = [
    None,
    "he_normal",
    keras.initializers.GlorotUniform(),
    keras.initializers.GlorotUniform(seed=3),
]


@pytest.mark.parametrize("initializer", INITIALIZERS)
def test_kernels_of_one_shape_differ(initializer):
    first, second = kernels(kernel_initializer=initializer)
    assert first.shape == second.shape
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("initializer", INITIALIZERS[:3])
def test_a_seed_repeats_the_weights(initializer):
    def made(seed):
        keras.utils.set_random_seed(next(state))  # the global state has no say
        return kernels(kernel_initializer=initializer, seed=seed)

    state = itertools.count()
    assert_identical(made(5), made(5))
    assert not any(np.array_equal(a, b) for a in made(5) for b in made(6))


def test_the_variance_suits_the_activation():
    def variance(activation):
        block = ResidualBlock(64, activation=activation, seed=1)
        block.build((None, 6, 6, 64))
        return np.var(values([block.residual.branch.layers[0].kernel])[0]) * 9 * 64

    # 36,864 values: a standard error of the variance below 1 %.
    assert variance("relu") == pytest.approx(2, rel=0.05)
    assert variance("selu") == pytest.approx(1, rel=0.05)


def test_a_function_as_initializer():
    def ones(shape, dtype=None):
        return ops.ones(shape, dtype)

    assert all((kernel == 1).all() for kernel in kernels(kernel_initializer=ones))


def test_a_penalty_counts_each_kernel():
    block = ResidualBlock(2, strides=2, kernel_regularizer=keras.regularizers.L2(0.1))
    block.build((None, 6, 6, 2))
    expected = 0.1 * sum(np.sum(w**2) for w in values(block.weights) if w.ndim == 4)
    found = sum(float(ops.convert_to_numpy(loss)) for loss in block.losses)
    assert found == pytest.approx(expected, rel=1e-5)
    assert len(block.losses) == 3


# In models.


def image_model(skip, dtype=None):
    blocks = [
        ResidualBlock(4, survival_probability=0.6, skip=skip, seed=n, dropout=0.1, strides=n)
        for n in (1, 2)
    ]
    return keras.Sequential(
        [keras.Input((6, 6, 2)), *blocks, layers.GlobalAveragePooling2D(), layers.Dense(1)]
    )


def test_skipping_changes_nothing():
    states = []
    x, y = np.random.default_rng(0).normal(size=(16, 6, 6, 2)), np.arange(16.0)
    for skip in (True, False):
        model = image_model(skip)
        model.layers[-1].kernel.assign(np.ones((4, 1)))
        model.compile(keras.optimizers.SGD(0.01), "mse")
        model.fit(x, y, batch_size=2, shuffle=False, verbose=0)
        states.append(values(model.variables))
    for a, b in zip(*states, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


def test_a_configuration_and_a_file(tmp_path):
    block = ResidualBlock(
        2,
        "bottleneck",
        strides=2,
        pre_activation=True,
        activation="elu",
        dropout=0.2,
        survival_probability=0.5,
        kernel_initializer="glorot_uniform",
        kernel_regularizer="l2",
        seed=3,
    )
    again = ResidualBlock.from_config(block.get_config())
    assert again.get_config() == block.get_config()
    model = keras.Sequential([keras.Input((6, 6, 2)), block, ResidualBlock(8, name="second")])
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    x = IMAGES[:, :6]
    np.testing.assert_array_equal(called(loaded, x), called(model, x))
    assert len(loaded.variables) == len(model.variables)


def test_what_is_left_without_the_branch():
    plain, changing = ResidualBlock(2), ResidualBlock(2, strides=2, pre_activation=True)
    for block in (plain, changing):
        block.build((None, 6, 6, 2))
    assert plain.without_branch() == [plain.residual.activation]
    assert changing.without_branch() == [changing.common, changing.residual.shortcut]


# Padding.


def test_padding_by_hand():
    x = np.arange(2 * 3 * 3 * 1, dtype="float32").reshape(2, 3, 3, 1)
    found = called(PaddedShortcut(3, strides=2), x)
    expected = np.zeros((2, 2, 2, 3))
    expected[..., 0] = x[:, ::2, ::2, 0]
    np.testing.assert_array_equal(found, expected)
    first = called(PaddedShortcut(3, 2, data_format="channels_first"), np.moveaxis(x, -1, 1))
    np.testing.assert_array_equal(np.moveaxis(first, 1, -1), expected)


def test_padding_cannot_take_channels_away():
    with pytest.raises(ValueError, match="the input has 4, `filters` is 2"):
        PaddedShortcut(2).build((None, 6, 6, 4))
    with pytest.raises(ValueError, match="projection"):
        ResidualBlock(2, shortcut="padding")(keras.Input((6, 6, 4)))


@pytest.mark.parametrize(
    "options",
    [{"kind": "wide"}, {"activation": layers.LeakyReLU()}, {"dropout": 1.0}, {"strides": 0}],
    ids=str,
)
def test_bad_arguments(options):
    with pytest.raises((TypeError, ValueError), match=f"`{next(iter(options))}`"):
        ResidualBlock(4, **options)


def frozen_layers():
    return [
        kdt.layers.ResidualBlock(4),
        kdt.layers.Residual([keras.layers.Conv2D(4, 1)]),
        kdt.layers.DenseBlock(1, 2),
        kdt.layers.DenseTransition(),
        kdt.layers.MaxoutConv2D(3, 1),
    ]


def test_what_is_frozen_stays_so_in_a_file(tmp_path):
    model = keras.Sequential([keras.Input((4, 4, 4)), *frozen_layers()])
    for layer in model.layers:
        layer.trainable = False
    model.save(tmp_path / "frozen.keras")
    for again in (
        keras.saving.load_model(tmp_path / "frozen.keras"),
        keras.models.clone_model(model),
    ):
        assert again.trainable_weights == []
        assert len(again.weights) == len(model.weights)


def test_frozen_from_the_start():
    block = ResidualBlock(4, trainable=False)
    block.build((None, 4, 4, 4))
    assert block.trainable_weights == []
    assert len(block.weights) == 10
    maxout = kdt.layers.Maxout(3, trainable=False)
    maxout.build((None, 4))
    assert maxout.trainable_weights == []
    assert len(maxout.weights) == 2


@pytest.mark.parametrize("shape", [(None, 8), (None, 8, 8, None), (None, 8, 8)])
def test_what_is_no_image_is_refused(shape):
    for layer in (ResidualBlock(4), kdt.layers.DenseBlock(1, 2), kdt.layers.DenseTransition()):
        with pytest.raises(ValueError, match=r"must be images of shape \(rows, height"):
            layer.build(shape)
