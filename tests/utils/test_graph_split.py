"""The two parts of a model: together the model, the first one without anything random."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_deeptricks as kdt
from keras_deeptricks.utils.composite import Composite
from keras_deeptricks.utils.graph_split import GraphSplit, flatten, unique_names

# The parts run the model's own operations in the same order; XLA may fuse them otherwise.
ROUNDING = {"rtol": 1e-5, "atol": 1e-6}


def is_dropout(layer):
    return isinstance(layer, layers.Dropout)


def data(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def names(model):
    """The layers' names, without inputs and the layers that hand tensors over."""
    return {layer.name for layer in model.layers if "_" not in layer.name}


def composed(split, x):
    return split.suffix(split.prefix(x), training=False)


def assert_equal(model, split, x):
    """suffix(prefix(x)) is the model, in structure and values."""
    expected, found = model(x, training=False), composed(split, x)
    keras.tree.assert_same_structure(expected, found)
    for a, b in zip(keras.tree.flatten(expected), keras.tree.flatten(found), strict=True):
        np.testing.assert_allclose(ops.convert_to_numpy(b), ops.convert_to_numpy(a), **ROUNDING)


def chain():
    x = keras.Input((4,))
    h = layers.Dense(6, activation="tanh", name="before")(x)
    h = layers.BatchNormalization(name="norm")(h)
    h = layers.Dropout(0.5, name="drop")(h)
    return keras.Model(x, layers.Dense(3, name="after")(h)), data(5, 4)


def dropout_at_the_input():
    return keras.Sequential([keras.Input((4,)), layers.Dropout(0.5), layers.Dense(2)]), data(5, 4)


def dropout_at_the_output():
    return keras.Sequential([keras.Input((4,)), layers.Dense(2), layers.Dropout(0.5)]), data(5, 4)


def branches():
    x = keras.Input((4,))
    left = layers.Dense(3, name="left")(x)
    right = layers.Dense(3, name="right")(x)
    joined = layers.Add(name="joined")([left, layers.Dropout(0.5)(right)])
    return keras.Model(x, layers.Concatenate()([joined, x])), data(5, 4)


def nested():
    inner = keras.Sequential(
        [keras.Input((6,)), layers.Dense(5, name="deep"), layers.Dropout(0.5), layers.Dense(4)],
        name="inner",
    )
    x = keras.Input((4,))
    middle = keras.Model(x, inner(layers.Dense(6, name="first")(x)) + x, name="middle")
    return keras.Sequential([keras.Input((4,)), middle, layers.Dense(1, name="last")]), data(5, 4)


def shared_layer():
    shared = layers.Dense(4, name="shared")
    x = keras.Input((4,))
    return keras.Model(x, shared(layers.Dropout(0.5)(shared(x)))), data(5, 4)


def shared_model():
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(4), layers.Dropout(0.5)])
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    return keras.Model([a, b], inner(a) - inner(b)), [data(5, 4), data(5, 4, seed=1)]


def several_outputs():
    a, b = keras.Input((4,), name="a"), keras.Input((3,), name="b")
    h = layers.Dropout(0.5)(layers.Dense(3)(a))
    outputs = {"random": layers.Dense(2)(h + b), "fixed": layers.Dense(1)(b), "input": a}
    return keras.Model({"a": a, "b": b}, outputs), {"a": data(5, 4), "b": data(5, 3)}


def list_of_outputs():
    x = keras.Input((4,))
    h = layers.Dropout(0.5)(x)
    # The same tensor twice, and whole numbers and truth values that are not random.
    return keras.Model(x, [h, h, ops.argmax(x, axis=-1), x > 0]), data(5, 4)


def plain_operations():
    x = keras.Input((4,))
    h = ops.tanh(x + 1) / 2
    # Keras says of every product with a number that it is sparse.
    h = layers.Dropout(0.5)(2 * h) * 3 - 2 * x
    return keras.Model(x, ops.concatenate([h, -2 * x], axis=-1)[:, ::2]), data(5, 4)


def attention():
    x = keras.Input((6, 4))
    h = layers.MultiHeadAttention(2, 3, dropout=0.5)(x, layers.Dense(4)(x))
    return keras.Model(x, layers.LayerNormalization()(h + x)), data(2, 6, 4)


def in_a_wrapper():
    x = keras.Input((6, 4))
    return keras.Model(x, layers.TimeDistributed(layers.Dropout(0.5))(layers.Dense(3)(x))), data(
        2, 6, 4
    )


MODELS = [
    chain,
    dropout_at_the_input,
    dropout_at_the_output,
    branches,
    nested,
    shared_layer,
    shared_model,
    several_outputs,
    list_of_outputs,
    plain_operations,
    in_a_wrapper,
]


@pytest.mark.parametrize("make", MODELS, ids=lambda make: make.__name__)
def test_the_two_parts_are_the_model(make):
    model, x = make()
    split = GraphSplit(model, lambda layer: is_dropout(getattr(layer, "layer", layer)))
    assert_equal(model, split, x)
    assert not any(is_dropout(getattr(layer, "layer", layer)) for layer in split.prefix.layers)
    assert any(is_dropout(getattr(layer, "layer", layer)) for layer in split.suffix.layers)


def test_attention_as_one_random_layer():
    model, x = attention()
    split = GraphSplit(model, lambda layer: isinstance(layer, layers.MultiHeadAttention))
    assert_equal(model, split, x)
    # Both arguments of the layer, given by position, cross the cut; one of them also goes past it.
    assert len(split.prefix.outputs) == 2


@pytest.mark.parametrize("make", MODELS, ids=lambda make: make.__name__)
def test_the_prefix_is_the_same_while_dropout_is_active(make):
    model, x = make()
    split = GraphSplit(model, lambda layer: is_dropout(getattr(layer, "layer", layer)))
    for norm in model.layers:
        if isinstance(norm, layers.BatchNormalization):
            norm.trainable = False  # in inference mode also with training=True
    first, second = (split.prefix(x, training=True) for _ in range(2))
    for a, b in zip(keras.tree.flatten(first), keras.tree.flatten(second), strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(a), ops.convert_to_numpy(b))


def test_what_lies_where():
    split = GraphSplit(chain()[0], is_dropout)
    assert names(split.prefix) == {"before", "norm"}
    assert names(split.suffix) == {"drop", "after"}
    split = GraphSplit(branches()[0], is_dropout)
    assert {"left", "right"} <= names(split.prefix)
    assert "joined" in names(split.suffix)
    split = GraphSplit(nested()[0], is_dropout)
    assert {"first", "deep"} <= names(split.prefix)
    assert "last" in names(split.suffix)


def test_a_layer_used_before_and_after_the_cut_lies_in_both_parts():
    split = GraphSplit(shared_layer()[0], is_dropout)
    assert "shared" in names(split.prefix)
    assert "shared" in names(split.suffix)


def test_the_layers_are_shared_and_the_model_is_as_before():
    model, x = chain()
    config, weights = model.to_json(), model.get_weights()
    split = GraphSplit(model, is_dropout)
    assert split.prefix.get_layer("before") is model.get_layer("before")
    assert split.suffix.get_layer("after") is model.get_layer("after")
    assert model.to_json() == config
    model.get_layer("after").bias.assign([1.0, 2.0, 3.0])
    assert_equal(model, split, x)
    for before, after in zip(weights[:-1], model.get_weights()[:-1], strict=True):
        np.testing.assert_array_equal(before, after)
    part = keras.Model(model.input, model.get_layer("norm").output)
    assert part(x).shape == (5, 6)


def test_one_crossing_tensor_goes_over_once():
    x = keras.Input((4,))
    h = layers.Dense(3)(x)
    model = keras.Model(x, [layers.Dropout(0.5)(h), layers.Dropout(0.2)(h) + h, h])
    split = GraphSplit(model, is_dropout)
    assert len(split.prefix.outputs) == 1
    assert_equal(model, split, data(5, 4))


def test_sizes_are_of_the_largest_tensor_of_a_row():
    x = keras.Input((4,))
    h = layers.Dense(50)(x)
    h = layers.Dropout(0.5)(layers.Dense(7)(h))
    split = GraphSplit(keras.Model(x, layers.Dense(20)(h)), is_dropout)
    assert (split.prefix_size, split.suffix_size) == (50, 20)
    sequences = keras.Input((None, 3))
    split = GraphSplit(keras.Model(sequences, layers.Dropout(0.5)(sequences)), is_dropout)
    # An unknown length counts as 128.
    assert split.suffix_size == 3 * 128


def test_a_model_built_by_a_call_is_not_bound_to_its_rows():
    model = keras.Sequential([layers.Dense(3), layers.Dropout(0.5), layers.Dense(2)])
    model(data(5, 4))
    split = GraphSplit(model, is_dropout)
    assert split.row_count is None
    assert split.rows_everywhere
    assert_equal(model, split, data(7, 4))


def test_a_model_that_needs_its_number_of_rows_keeps_it():
    x = keras.Input(batch_shape=(6, 4))
    h = ops.reshape(layers.Dense(4)(x), (6, 2, 2))
    model = keras.Model(x, layers.Dropout(0.5)(h))
    split = GraphSplit(model, is_dropout)
    assert split.row_count == 6
    assert_equal(model, split, data(6, 4))


def test_a_tensor_without_rows_is_noticed():
    x = keras.Input((4,))
    table = ops.sum(x, axis=0)
    model = keras.Model(x, layers.Dropout(0.5)(x) + table)
    assert not GraphSplit(model, is_dropout).rows_everywhere


def test_a_training_argument_of_the_graph_is_left_out():
    x = keras.Input((4,))
    always = keras.Model(x, layers.Dropout(0.5)(x, training=True))
    rows = data(5, 4)
    np.testing.assert_array_equal(ops.convert_to_numpy(flatten(always)(rows)), rows)


def test_flat_models_have_no_models_inside():
    model, x = nested()
    flat = flatten(model)
    assert not any(isinstance(layer, keras.Model) for layer in flat.layers)
    expected = ops.convert_to_numpy(model(x))
    np.testing.assert_allclose(ops.convert_to_numpy(flat(x)), expected, **ROUNDING)


def test_a_mask_crosses_with_its_tensor():
    x = keras.Input((6,), dtype="int32")
    h = layers.Dropout(0.5)(layers.Embedding(9, 4, mask_zero=True)(x))
    model = keras.Model(x, layers.LSTM(3)(h))
    split = GraphSplit(model, is_dropout)
    rows = np.array([[1, 2, 3, 0, 0, 0], [4, 5, 6, 7, 8, 1]])
    hidden = keras.tree.flatten(split.prefix(rows))
    masks = [ops.convert_to_tensor(rows != 0) if len(t.shape) == 3 else None for t in hidden]
    found = ops.convert_to_numpy(split.suffix.call(hidden, training=False, mask=masks))
    np.testing.assert_allclose(found, ops.convert_to_numpy(model(rows)), **ROUNDING)
    # It does count: without it the padding is read too.
    unmasked = ops.convert_to_numpy(model.layers[-1](model.layers[1](rows) * 1.0))
    assert abs(unmasked - ops.convert_to_numpy(model(rows)))[0].max() > 1e-3


def composite():
    """Blocks whose parts have weights, dropout and draws."""
    x = keras.Input((6, 6, 2))
    h = kdt.layers.ResidualBlock(3, survival_probability=0.5, seed=1, name="a")(x)
    h = kdt.layers.ResidualBlock(3, pre_activation=True, strides=2, name="b")(h)
    h = kdt.layers.DenseTransition(name="d")(kdt.layers.DenseBlock(2, 2, name="c")(h))
    h = layers.Dense(4, name="e")(layers.Flatten(name="flat")(h))
    branch = kdt.layers.Residual([layers.Dense(4)], survival_probability=0.3, name="inner")
    h = kdt.layers.Residual([branch, layers.Dropout(0.5)], activation="tanh", name="outer")(h)
    return keras.Model(x, h), data(2, 6, 6, 2)


def is_random(layer):
    return is_dropout(layer) or isinstance(layer, kdt.layers.StochasticDepth)


def test_composite_layers_are_entered():
    model, x = composite()
    flat = flatten(model)
    assert not any(isinstance(layer, (Composite, keras.Model)) for layer in flat.layers)
    assert sum(isinstance(layer, layers.Conv2D) for layer in flat.layers) == 3 + 3 + 4 + 1
    found, expected = (ops.convert_to_numpy(m(x)) for m in (flat, model))
    np.testing.assert_allclose(found, expected, **ROUNDING)
    assert {id(w) for w in flat.weights} == {id(w) for w in model.weights}


def test_a_composite_is_cut_where_it_is_random():
    model, x = composite()
    split = GraphSplit(model, is_random)
    assert_equal(model, split, x)
    assert not any(is_random(layer) for layer in split.prefix.layers)
    # The branch of the first block is computed before its draw.
    assert sum(isinstance(layer, layers.Conv2D) for layer in split.prefix.layers) == 3


def test_composites_in_a_sequential_model_and_one_that_was_loaded(tmp_path):
    blocks = [kdt.layers.ResidualBlock(2), kdt.layers.ResidualBlock(2)]
    model = keras.Sequential([keras.Input((6, 6, 2)), *blocks])
    model.save(tmp_path / "model.keras")
    keras.backend.clear_session()
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    x = data(2, 6, 6, 2)
    for each in (model, loaded):
        np.testing.assert_allclose(
            ops.convert_to_numpy(flatten(each)(x)), ops.convert_to_numpy(model(x)), **ROUNDING
        )


def test_a_mask_goes_into_composites():
    x = keras.Input((None,), dtype="int32")
    h = layers.Embedding(9, 4, mask_zero=True)(x)
    h = kdt.layers.Residual([layers.LSTM(4, return_sequences=True)])(h)
    model = keras.Model(x, layers.GlobalAveragePooling1D()(h))
    rows = np.array([[1, 2, 3, 0, 0, 0], [4, 5, 6, 7, 8, 1]])
    found, expected = (ops.convert_to_numpy(m(rows)) for m in (flatten(model), model))
    np.testing.assert_allclose(found, expected, **ROUNDING)
    unpadded = ops.convert_to_numpy(model(rows[:1, :3]))
    np.testing.assert_allclose(found[:1], unpadded, **ROUNDING)


def test_layers_of_nested_models_may_have_equal_names():
    def part():
        dropout = layers.Dropout(0.5, name="drop")
        return keras.Sequential([keras.Input((4,)), layers.Dense(4, name="dense"), dropout])

    inputs = keras.Input((4,))
    model = keras.Model(inputs, layers.Add()([part()(inputs), part()(inputs)]))
    before = [layer.name for layer in model.layers]
    assert_equal(model, GraphSplit(model, is_dropout), data(3, 4))
    with unique_names(model):
        found = [inner.name for outer in model.layers[1:3] for inner in outer.layers]
        assert len(set(found)) == len(found)
    assert [layer.name for layer in model.layers] == before
    assert [inner.name for inner in model.layers[2].layers] == ["dense", "drop"]


def test_a_nested_model_with_a_list_of_one_input():
    def backbone(inputs):
        inner = keras.Input((4,), name="a")
        outputs = layers.Dropout(0.5)(layers.Dense(4)(inner))
        return keras.Model(inputs(inner), outputs)

    for inputs in (lambda tensor: [tensor], lambda tensor: tensor, lambda tensor: {"a": tensor}):
        outer = keras.Input((4,))
        given = {"a": outer} if isinstance(inputs(0), dict) else outer
        model = keras.Model(outer, layers.Dense(2)(backbone(inputs)(given)))
        assert_equal(model, GraphSplit(model, is_dropout), data(3, 4))
