"""Folding in whole graphs: branches, shared layers, nested models, blocks, real networks."""

import keras
import numpy as np
import pytest
from folding_models import (
    assert_folds,
    assert_keeps,
    assert_same_predictions,
    inputs_of,
    norms,
    outputs_of,
    randomize,
)
from keras import layers
from small_models import values

import keras_deeptricks as kdt


def norm(name="norm", **options):
    return layers.BatchNormalization(name=name, **options)


def model_of(inputs, outputs):
    return randomize(keras.Model(inputs, outputs, name="model"))


def test_an_output_used_elsewhere_too_stays():
    inputs = keras.Input((5,))
    linear = layers.Dense(4, name="linear")(inputs)
    model = model_of(inputs, layers.Add()([linear, norm()(linear)]))
    assert_keeps(model, "the output of 'linear' is used elsewhere too")
    model = model_of(inputs, [linear, norm()(linear)])
    assert_keeps(model, "the output of 'linear' is used elsewhere too")


def test_a_sum_behind_or_before_is_left():
    inputs = keras.Input((5,))
    hidden = layers.Dense(4, name="linear")(inputs)
    model = model_of(inputs, norm()(hidden + layers.ReLU()(hidden)))
    assert_keeps(model, "joins tensors")
    both = layers.Add(name="sum")([norm()(layers.ReLU()(hidden)), hidden])
    assert_keeps(model_of(inputs, layers.Dense(2)(both)), "forward: 'sum' (Add) joins tensors")


def test_residual_connection():
    inputs = keras.Input((8, 8, 3))
    stem = layers.ReLU()(norm("norm_1")(layers.Conv2D(4, 3, padding="same", name="conv_1")(inputs)))
    branch = layers.Conv2D(4, 3, padding="same", use_bias=False, name="conv_2")(stem)
    branch = norm("norm_2")(branch)
    model = model_of(inputs, layers.ReLU()(layers.Add()([stem, branch])))
    assert_folds(model, "conv_1 < norm_1", "conv_2 < norm_2")


def test_one_batch_norm_before_several_layers():
    inputs = keras.Input((8, 8, 3))
    hidden = norm()(layers.ReLU()(inputs))
    first = layers.Conv2D(4, 3, name="first")(hidden)
    second = layers.Dense(2, name="second")(layers.Flatten()(hidden))
    model = model_of(inputs, {"first": first, "second": second})
    folded = assert_folds(model, "norm > first", "norm > second")
    assert folded.layers[0].name == model.layers[0].name


def test_one_of_several_layers_does_not_let_it():
    inputs = keras.Input((8, 8, 3))
    hidden = norm()(layers.ReLU()(inputs))
    outputs = [
        layers.Conv2D(4, 3, name="first")(hidden),
        layers.Conv2D(4, 3, padding="same", name="second")(hidden),
    ]
    assert_keeps(model_of(inputs, outputs), "'second' sees zeros at the borders")
    assert_keeps(model_of(inputs, [outputs[0], hidden]), "an output of the model depends on it")


def test_a_shared_pair_is_folded_once():
    a, b = keras.Input((5,), name="a"), keras.Input((5,), name="b")
    linear, batch_norm = layers.Dense(4, name="linear"), norm()
    model = model_of([a, b], [layers.ReLU()(batch_norm(linear(x))) for x in (a, b)])
    assert_folds(model, "linear < norm")
    before, behind = norm(), layers.Dense(4, name="behind")
    model = model_of([a, b], layers.Add()([behind(before(layers.ReLU()(x))) for x in (a, b)]))
    assert_folds(model, "norm > behind")


def test_a_shared_layer_with_only_one_batch_norm_stays():
    inputs = keras.Input((5,))
    linear = layers.Dense(5, name="linear")
    model = model_of(inputs, linear(layers.ReLU()(norm()(linear(inputs)))))
    assert_keeps(model, "'linear' is called elsewhere too")
    model = model_of(inputs, norm("second")(linear(layers.ReLU()(norm("first")(linear(inputs))))))
    assert_keeps(model, "'linear' is called elsewhere too")


def test_a_shared_batch_norm_is_folded_at_each_place_where_it_can_be():
    inputs = keras.Input((5,))
    batch_norm = norm()
    hidden = layers.ReLU()(batch_norm(layers.Dense(4, name="first")(inputs)))
    hidden = layers.ReLU()(batch_norm(layers.Dense(4, name="second")(hidden)))
    assert_folds(model_of(inputs, hidden), "first < norm", "second < norm")
    hidden = layers.ReLU()(batch_norm(layers.ReLU()(hidden)))
    model = model_of(inputs, hidden)
    folded = assert_folds(model, "first < norm", "second < norm", kept=1)
    assert norms(folded)[0].name == "norm"
    twice = model_of(inputs, layers.ReLU()(batch_norm(norm("other")(batch_norm(hidden)))))
    assert_same_predictions(twice, kdt.models.fold_batch_norm(twice))


def test_a_batch_norm_on_its_own_output():
    inputs = keras.Input((4,))
    batch_norm = norm()
    model = model_of(inputs, layers.ReLU()(batch_norm(batch_norm(inputs))))
    assert_keeps(model, "it is called on its own output")


def block(name, channels=3):
    """A nested model whose layers have the same names in each."""
    inputs = keras.Input((6, channels))
    hidden = layers.Conv1D(4, 2, name="conv")(inputs)
    return keras.Model(inputs, layers.ReLU(name="relu")(norm()(hidden)) + 1.0, name=name)


def test_nested_models_are_entered_and_names_kept_apart():
    inputs = keras.Input((6, 3))
    first, second = block("first"), keras.Sequential([norm("conv"), layers.Dense(4)], name="second")
    hidden = layers.Conv1D(4, 1, name="conv")(first(inputs))
    model = model_of(inputs, second(hidden))
    names = [layer.name for layer in first.layers]
    folded, report = kdt.models.fold_batch_norm(model, report=True)
    assert [layer.name for layer in first.layers] == names
    assert_same_predictions(model, folded)
    assert norms(folded) == []
    told = [(entry["batch_norm"], entry["into"]) for entry in report.folded]
    assert told == [("norm", "first_conv"), ("second_conv", "conv")]
    # A second fold has nothing to do, and the given model can be folded again.
    assert_folds(model, "first_conv < norm", "conv < second_conv")
    assert_keeps(folded, "")


def test_a_nested_model_called_twice_is_folded_once():
    a, b = keras.Input((6, 3), name="a"), keras.Input((6, 3), name="b")
    shared = block("shared")
    model = model_of([a, b], layers.Add()([shared(a), shared(b)]))
    assert_folds(model, "conv < norm")


def test_nested_model_in_inference_mode():
    # As in transfer learning: the base is called with training=False.
    inputs = keras.Input((6, 3))
    model = model_of(inputs, layers.Dense(2, name="head")(block("base")(inputs, training=False)))
    assert_folds(model, "conv < norm")
    trained = model_of(inputs, layers.Dense(2, name="head")(block("base")(inputs, training=True)))
    assert_keeps(trained, "called with training=True")


@pytest.mark.parametrize("pre_activation", [False, True])
@pytest.mark.parametrize("kind", ["basic", "bottleneck"])
def test_residual_blocks_are_opened(kind, pre_activation):
    inputs = keras.Input((8, 8, 4))
    options = {"kind": kind, "pre_activation": pre_activation, "survival_probability": 0.8}
    hidden = kdt.layers.ResidualBlock(4, name="first", **options)(inputs)
    hidden = kdt.layers.ResidualBlock(6, name="second", strides=2, **options)(hidden)
    model = randomize(keras.Model(inputs, hidden))
    folded, report = kdt.models.fold_batch_norm(model, report=True)
    assert_same_predictions(model, folded)
    # With pre-activation the first batch norm of a block follows a sum and precedes a ReLU.
    left = 2 if pre_activation else 0
    assert len(report.kept) == len(norms(folded)) == left
    assert len(report.folded_names) == len(norms(model)) - left


def test_structures_and_names_stay(tmp_path):
    a, b = keras.Input((5,), name="a"), keras.Input((4, 3), name="b")
    hidden = layers.Dense(4, name="linear")(a)
    first = norm("first")(hidden)
    second = layers.Dense(2, name="second")(layers.Flatten()(norm()(layers.ReLU()(b))))
    model = model_of({"a": a, "b": b}, {"z": first, "y": [second, layers.ReLU()(first)]})
    folded = assert_folds(model, "linear < first", "norm > second")
    assert folded.name == "model"
    assert folded.output_names == model.output_names
    assert set(folded.input) == {"a", "b"}
    assert [t.name for t in folded.inputs] == [t.name for t in model.inputs]
    folded.save(tmp_path / "folded.keras")
    loaded = keras.saving.load_model(tmp_path / "folded.keras", safe_mode=True)
    x = inputs_of(model)
    for one, other in zip(
        keras.tree.flatten(outputs_of(folded, x)),
        keras.tree.flatten(outputs_of(loaded, x)),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)


def test_inner_outputs_can_be_read_off():
    # `layer.output` is the tensor of the folded graph, as feature extraction needs it.
    model = keras.Sequential(
        [keras.Input((5,)), layers.Dense(4, name="linear"), norm(), layers.ReLU(name="relu")]
    )
    folded = kdt.models.fold_batch_norm(randomize(model))
    features = keras.Model(folded.inputs, folded.get_layer("relu").output)
    assert_same_predictions(model, features)


def test_embedding_with_masks():
    inputs = keras.Input((6,), dtype="int32")
    hidden = layers.Embedding(7, 4, mask_zero=True)(inputs)
    hidden = layers.ReLU()(norm()(layers.Dense(5, name="linear")(hidden)))
    model = model_of(inputs, layers.GRU(3)(hidden))
    x = np.array([[1, 2, 3, 0, 0, 0], [4, 5, 6, 1, 2, 0]], "int32")
    assert_folds(model, "linear < norm", x=x)


def test_sequential_without_input_and_unknown_lengths():
    model = keras.Sequential([layers.Dense(4, name="linear"), norm(), layers.ReLU()], name="model")
    model(np.zeros((2, 5), "float32"))
    assert_folds(randomize(model), "linear < norm", x=np.ones((3, 5), "float32"))
    inputs = keras.Input((None, None, 3))
    hidden = layers.GlobalAveragePooling2D()(norm()(layers.Conv2D(4, 3, name="linear")(inputs)))
    assert_folds(model_of(inputs, layers.Dense(2)(hidden)), "linear < norm")
    flat = layers.Reshape((-1,))(norm()(layers.ReLU()(keras.Input((None, 3)))))
    assert flat.shape == (None, None)


def test_the_given_model_is_as_before():
    inputs = keras.Input((6, 3))
    model = model_of(inputs, block("first")(inputs))
    before, names = values(model.variables), [layer.name for layer in model.layers]
    kdt.models.fold_batch_norm(model)
    for old, new in zip(before, values(model.variables), strict=True):
        np.testing.assert_array_equal(old, new)
    assert [layer.name for layer in model.layers] == names


def test_a_real_network():
    model = randomize(
        keras.applications.MobileNet((32, 32, 3), alpha=0.25, weights=None, classes=10)
    )
    folded, report = kdt.models.fold_batch_norm(model, report=True)
    assert len(report.folded_names) == len(norms(model)) == 27
    assert norms(folded) == report.kept == []
    x = np.random.default_rng(0).uniform(-1, 1, (2, 32, 32, 3)).astype("float32")
    before, after = model.predict(x, verbose=0), folded.predict(x, verbose=0)
    np.testing.assert_allclose(after, before, rtol=0, atol=1e-5 * before.max())
