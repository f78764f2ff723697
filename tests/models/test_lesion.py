"""Residual blocks without their branch: what is left, what is gone, and what cannot be cut."""

import keras
import numpy as np
import pytest
from keras import layers, ops
from small_models import assert_identical, dense_model, values

import keras_deeptricks as kdt
from keras_deeptricks.models import lesion, residual_blocks
from keras_deeptricks.models.residual_graph import find_blocks

X = np.random.default_rng(0).normal(size=(5, 6)).astype("float32")
# The same operations in the same order on the same weights; XLA may fuse them otherwise.
ROUNDING = {"rtol": 1e-5, "atol": 1e-6}


def outputs(model, x=X):
    return ops.convert_to_numpy(ops.stop_gradient(model(ops.convert_to_tensor(x), training=False)))


def names(model):
    return [block.name for block in residual_blocks(model)]


def layer_names(model):
    return [layer.name for layer in model.layers if not isinstance(layer, layers.InputLayer)]


def residual_net():
    """ReLU(x + xA), an added projection of it with stochastic depth, and a head."""
    return keras.Sequential(
        [
            keras.Input((6,)),
            kdt.layers.Residual(layers.Dense(6, name="a"), activation="relu", name="first"),
            kdt.layers.Residual(
                [layers.Dense(4, name="b"), layers.Dense(4, name="c")],
                shortcut=layers.Dense(4, name="projection"),
                survival_probability=0.5,
                name="second",
            ),
            kdt.layers.Residual(layers.Dense(4, name="d"), name="third"),
            layers.Dense(2, name="head"),
        ]
    )


def by_hand(model, without=()):
    """The network above in NumPy, without the branches of some blocks."""

    def dense(block, x, layer):
        layer = block.get_layer(layer) if isinstance(block, keras.Model) else layer
        kernel, bias = values(layer.weights)
        return x @ kernel + bias

    first, second, third, head = (
        model.get_layer(name) for name in ("first", "second", "third", "head")
    )
    x = X if "first" in without else X + dense(None, X, first.branch)
    x = np.maximum(x, 0)
    branch = dense(second.branch, dense(second.branch, x, "b"), "c")
    x = dense(None, x, second.shortcut) + (0 if "second" in without else 0.5 * branch)
    x = x if "third" in without else x + dense(None, x, third.branch)
    return dense(None, x, head)


def randomize(model, seed=1):
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        if "seed" not in weight.path:
            low, high = (0.5, 1.5) if "variance" in weight.path else (-0.7, 0.7)
            weight.assign(rng.uniform(low, high, size=weight.shape))
    return model


@pytest.mark.parametrize(
    "without",
    [("first",), ("second",), ("third",), ("first", "third"), ("first", "second", "third")],
)
def test_residual_blocks_by_hand(without):
    model = randomize(residual_net())
    np.testing.assert_allclose(outputs(model), by_hand(model), rtol=1e-4, atol=1e-5)
    found = outputs(lesion(model, list(without)))
    np.testing.assert_allclose(found, by_hand(model, without), rtol=1e-4, atol=1e-5)


def test_what_is_left_is_shared_and_the_model_as_before():
    model = randomize(residual_net())
    model.compile("adam", "mse")
    before, config = outputs(model), model.to_json()
    cut = lesion(model, "second")
    assert type(cut) is not keras.Sequential
    assert not cut.compiled
    assert layer_names(cut) == ["first", "second", "third", "head"]
    assert cut.get_layer("head") is model.get_layer("head")
    assert cut.get_layer("first") is model.get_layer("first")
    assert cut.get_layer("second").layers == [model.get_layer("second").shortcut]
    assert len(cut.weights) == len(model.weights) - 4  # kernels and biases
    assert_identical([before], [outputs(model)])
    assert model.to_json() == config
    assert model.compiled


def test_report():
    model = residual_net()
    cut, report = lesion(model, ["second", "first"], report=True)
    assert isinstance(cut, keras.Model)
    assert report.blocks == ["first", "second"]  # in the order of computation
    assert {"a", "b", "c"} <= set(report.layers)
    assert "projection" not in report.layers
    numbers = 6 * 6 + 6 + 6 * 4 + 4 + 4 * 4 + 4  # the kernels and biases of a, b and c
    assert report.weights == numbers
    assert "2 branches of" in str(report)
    for name in report.layers:
        assert name not in [layer.name for layer in cut.layers]


@pytest.mark.parametrize(
    "kind, pre_activation, shortcut",
    [
        ("basic", False, "projection"),
        ("basic", True, "padding"),
        ("bottleneck", False, "padding"),
        ("bottleneck", True, "projection"),
    ],
)
def test_blocks_of_convolutions(kind, pre_activation, shortcut):
    options = {"kind": kind, "pre_activation": pre_activation, "shortcut": shortcut}
    options["data_format"] = "channels_last"
    filters = 8 if kind == "basic" else 2
    model = keras.Sequential(
        [
            keras.Input((4, 4, 8)),
            kdt.layers.ResidualBlock(filters, name="same", **options),
            kdt.layers.ResidualBlock(2 * filters, strides=2, name="down", **options),
        ]
    )
    randomize(model)
    x = np.random.default_rng(0).normal(size=(3, 4, 4, 8)).astype("float32")
    assert [(found.name, found.is_projected) for found in find_blocks(model)] == [
        ("same", False),
        ("down", True),
    ]
    for name in ("same", "down"):
        tensor = ops.convert_to_tensor(x)
        for block in model.layers:
            for layer in block.without_branch() if block.name == name else [block]:
                tensor = layer(tensor, training=False)
        expected = ops.convert_to_numpy(ops.stop_gradient(tensor))
        cut = lesion(model, name)
        np.testing.assert_allclose(outputs(cut, x), expected, **ROUNDING)
        assert cut.output_shape == model.output_shape


def summed(order=(0, 1), merge=layers.Add):
    """tanh of an identity block, a projected block, and an output."""
    inputs = keras.Input((6,))
    branch = layers.Dense(6, name="branch_2")(layers.Dense(6, name="branch_1")(inputs))
    pair = [inputs, branch]
    x = merge(name="identity")([pair[place] for place in order])
    x = layers.Activation("tanh", name="tanh")(x)
    long = layers.Dense(3, name="long_2")(layers.Dense(5, name="long_1")(x))
    pair = [layers.Dense(3, name="short")(x), long]
    x = merge(name="projected")([pair[place] for place in order])
    return randomize(keras.Model(inputs, layers.Dense(2, name="head")(x)))


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_sums_by_hand(order):
    model = summed(order)
    assert names(model) == ["identity", "projected"]
    assert [found.is_projected for found in find_blocks(model)] == [False, True]

    def dense(name, x):
        kernel, bias = values(model.get_layer(name).weights)
        return x @ kernel + bias

    def network(identity, projected):
        x = X + identity * dense("branch_2", dense("branch_1", X))
        x = np.tanh(x)
        x = dense("short", x) + projected * dense("long_2", dense("long_1", x))
        return dense("head", x)

    tolerance = {"rtol": 1e-4, "atol": 1e-5}  # float32 in another order
    np.testing.assert_allclose(outputs(model), network(1, 1), **tolerance)
    cut = lesion(model, "identity")
    np.testing.assert_allclose(outputs(cut), network(0, 1), **tolerance)
    assert set(layer_names(cut)) == set(layer_names(model)) - {"branch_1", "branch_2"}
    cut = lesion(model, model.get_layer("projected"))
    np.testing.assert_allclose(outputs(cut), network(1, 0), **tolerance)
    assert {"tanh", "short", "projected", "head"} <= set(layer_names(cut))
    assert not {"long_1", "long_2"} & set(layer_names(cut))
    both = lesion(lesion(model, "identity"), "projected")
    np.testing.assert_allclose(outputs(both), network(0, 0), **tolerance)


def test_stochastic_depth_leaves_the_first_input_without_a_factor():
    model = summed(merge=lambda name: kdt.layers.StochasticDepth(0.3, name=name))
    assert names(model) == ["identity", "projected"]
    kernel, bias = values(model.get_layer("short").weights)
    x = np.tanh(X) @ kernel + bias
    kernel, bias = values(model.get_layer("head").weights)
    found = outputs(lesion(model, ["identity", "projected"]))
    np.testing.assert_allclose(found, x @ kernel + bias, rtol=1e-4, atol=1e-5)
    swapped = summed((1, 0), lambda name: kdt.layers.StochasticDepth(0.3, name=name))
    assert "short" not in layer_names(lesion(swapped, "projected"))


def test_patterns_lists_and_layers():
    model = residual_net()
    for block in ("first|second", ["first", model.get_layer("second")], {"first", "second"}):
        assert lesion(model, block, report=True)[1].blocks == ["first", "second"]
    # Layers that are no blocks are passed over by a pattern.
    assert lesion(model, ".*", report=True)[1].blocks == ["first", "second", "third"]


def test_inside_nested_models():
    inner = keras.Sequential(
        [keras.Input((6,)), kdt.layers.Residual(layers.Dense(6), name="deep"), layers.Dense(6)],
        name="inner",
    )
    x = keras.Input((6,))
    h = layers.Add(name="sum")([x, inner(x)])
    h = layers.Dense(2)(inner(h))  # used twice
    model = randomize(keras.Model(x, h))
    assert names(model) == ["deep", "sum"]
    cut = lesion(model, "deep")
    tensor = X + outputs(inner.layers[-1], X)
    expected = outputs(model.layers[-1], outputs(inner.layers[-1], tensor))
    np.testing.assert_allclose(outputs(cut), expected, **ROUNDING)
    assert cut.get_layer("inner") is not inner
    # The branch of the sum is the nested model, which the rest still uses.
    assert lesion(model, "sum").get_layer("inner") is inner


def test_saving_and_loading(tmp_path):
    for model in (residual_net(), summed()):
        cut = lesion(model, names(model)[1])
        cut.save(tmp_path / "cut.keras")
        again = keras.saving.load_model(tmp_path / "cut.keras")
        np.testing.assert_allclose(outputs(again), outputs(cut), **ROUNDING)


def test_a_block_at_the_end_and_beside_other_outputs():
    x = keras.Input((6,))
    h = kdt.layers.Residual(layers.Dense(6), name="only")(x)
    cut = lesion(keras.Model(x, h), "only")
    np.testing.assert_array_equal(outputs(cut), X)
    model = keras.Model(x, {"sum": h, "branch": layers.Dense(2)(h)})
    found = lesion(model, "only")(X)
    np.testing.assert_array_equal(ops.convert_to_numpy(found["sum"]), X)


def test_a_block_used_twice_is_cut_everywhere():
    block, add = kdt.layers.Residual(layers.Dense(6), name="block"), layers.Add(name="add")
    x = keras.Input((6,))
    h = add([x, layers.Dense(6)(x)])
    h = add([h, layers.Dense(6)(h)])
    model = keras.Model(x, block(block(h)))
    assert names(model) == ["add", "block"]
    np.testing.assert_array_equal(outputs(lesion(model, ["add", "block"])), X)


def test_mixed_precision_keeps_the_precision():
    keras.config.set_dtype_policy("mixed_float16")
    x = keras.Input((6,))
    h = kdt.layers.Residual(layers.Dense(6), name="block")(x)
    model = keras.Model(x, layers.Add(name="add")([layers.Dense(6)(h), h]))
    keras.config.set_dtype_policy("float32")
    cut = lesion(model, ["block", "add"])
    assert cut.outputs[0].dtype == model.outputs[0].dtype == "float16"
    np.testing.assert_array_equal(outputs(cut), X.astype("float16"))


def test_the_global_precision_of_the_day_does_not_matter():
    model = randomize(residual_net())
    expected = outputs(lesion(model, ["first", "second"]))
    keras.config.set_dtype_policy("mixed_float16")
    cut = lesion(model, ["first", "second"])
    keras.config.set_dtype_policy("float32")
    np.testing.assert_array_equal(outputs(cut), expected)


@pytest.fixture
def no_drawing(monkeypatch):
    """Large models with kernels of zeros, for drawing them takes most of the time."""
    monkeypatch.setattr(
        keras.initializers.GlorotUniform,
        "__call__",
        lambda self, shape, dtype=None: ops.convert_to_tensor(np.zeros(shape, "float32")),
    )


def test_keras_resnet(no_drawing):
    model = keras.applications.ResNet50(weights=None, input_shape=(32, 32, 3), classes=3)
    assert names(model)[:2] == ["conv2_block1_add", "conv2_block2_add"]
    assert len(names(model)) == 16
    projected = [found.name for found in find_blocks(model) if found.is_projected]
    assert projected == [f"conv{stage}_block1_add" for stage in (2, 3, 4, 5)]
    cut = lesion(model, "conv3_block1_add")
    gone = set(layer_names(model)) - set(layer_names(cut))
    inner = ("1_conv", "1_bn", "1_relu", "2_conv", "2_bn", "2_relu", "3_conv", "3_bn")
    assert gone == {f"conv3_block1_{name}" for name in inner}
    assert cut.get_layer("conv3_block1_0_conv") is model.get_layer("conv3_block1_0_conv")
    assert cut.output_shape == (None, 3)


def test_keras_pre_activated_resnet(no_drawing):
    model = keras.applications.ResNet50V2(weights=None, input_shape=(32, 32, 3), classes=3)
    projected = [found.name for found in find_blocks(model) if found.is_projected]
    # A convolution begins a stage, a pooling of strides 2 ends it.
    pooled = [f"conv{stage}_block{last}_out" for stage, last in ((2, 3), (3, 4), (4, 6))]
    first = [f"conv{stage}_block1_out" for stage in (2, 3, 4, 5)]
    assert projected == sorted(first + pooled)
    gone = set(layer_names(model)) - set(layer_names(lesion(model, "conv2_block3_out")))
    assert not any("pool" in name for name in gone)
    assert "conv2_block3_2_conv" in gone


def three(x):
    return layers.Add(name="sum")([x, layers.Dense(6)(x), layers.Dense(6)(x)])


def equal(x):
    return layers.Add(name="sum")([layers.Dense(6)(x), layers.Dense(6)(x)])


def twice(x):
    return layers.Add(name="sum")([x, x])


def broadcast(x):
    small = layers.Dense(1)(x)
    return layers.Add(name="sum")([small, layers.Dense(6)(small)])


def both_ways(x):
    add = layers.Add(name="sum")
    x = add([x, layers.Dense(6)(x)])
    return add([layers.Dense(6)(x), x])


@pytest.mark.parametrize(
    "make, reason",
    [
        (three, "it adds 3 tensors"),
        (equal, "made by 1 layers"),
        (twice, "to itself"),
        (broadcast, r"has the shape \(None, 1\)"),
        (both_ways, "several times"),
    ],
)
def test_sums_without_a_known_shortcut(make, reason):
    x = keras.Input((6,))
    h = kdt.layers.Residual(layers.Dense(6), name="good")(x)
    model = keras.Model(x, make(h))
    assert names(model) == ["good"]
    with pytest.raises(ValueError, match=rf"(?s)'sum' cannot be cut: .*{reason}.*: good"):
        lesion(model, "sum")


def test_two_inputs_without_a_common_origin():
    a, b = keras.Input((6,)), keras.Input((6,))
    model = keras.Model([a, b], layers.Add(name="sum")([a, layers.Dense(6)(b)]))
    with pytest.raises(ValueError, match="do not come from one tensor"):
        lesion(model, "sum")


def test_errors():
    model = residual_net()
    with pytest.raises(ValueError, match=r"'head' is no residual block .* first, second, third"):
        lesion(model, "head")
    with pytest.raises(ValueError, match="'head' is no residual block"):
        lesion(model, ["first", model.get_layer("head")])
    with pytest.raises(ValueError, match="It has: none"):
        lesion(dense_model(), "hidden")
    with pytest.raises(ValueError, match="at least one block"):
        lesion(model, [])
    with pytest.raises(TypeError, match="`block` must be a residual block"):
        lesion(model, 3)
    with pytest.raises(TypeError, match="`report`"):
        lesion(model, "first", report="yes")
    for function in (lambda m: lesion(m, "first"), residual_blocks):
        with pytest.raises(TypeError, match=r"keras\.Model"):
            function("net")
        subclassed = dense_model(kind="subclassed")
        subclassed(np.ones((1, 4), "float32"))
        with pytest.raises(ValueError, match="subclassed"):
            function(subclassed)
