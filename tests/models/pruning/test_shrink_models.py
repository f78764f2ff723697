"""Shrinking whole graphs: sums, concatenations, shared layers, blocks, nested models."""

import keras
import numpy as np
import pytest
from folding_models import assert_same_predictions, randomize
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
from small_models import BACKEND, values

import keras_deeptricks as kdt
from keras_deeptricks.models.pruning import incoming_weight_norm, prune, shrink


def model_of(inputs, outputs):
    return randomize(keras.Model(inputs, outputs, name="model"))


def residual_net():
    """stem + branch(stem), both of four units."""
    inputs = keras.Input((3,))
    stem = layers.Dense(4, activation="tanh", name="stem")(inputs)
    branch = layers.Dense(4, activation="tanh", name="inner")(stem)
    branch = layers.Dense(4, name="branch")(branch)
    return model_of(inputs, layers.Dense(2, name="out")(layers.Add(name="sum")([stem, branch])))


def test_a_sum_loses_a_unit_that_is_dead_in_all_summands():
    model = residual_net()
    kill(model, "stem", [0, 1])
    kill(model, "branch", [1, 2])
    small, report = assert_shrinks(model, stem=3, branch=3, inner=4)
    assert [entry["constant"].tolist() for entry in report.removed] == [[1], [1]]
    told = "'out' gets other values than its constant, from a sum or at another call"
    assert [(e["layer"], e["units"].tolist(), e["reason"]) for e in report.kept[:2]] == [
        ("stem", [0], told),
        ("branch", [2], told),
    ]
    assert small.get_layer("sum").output.shape == (None, 3)


def test_a_sum_loses_a_unit_that_is_unused_behind():
    model = residual_net()
    disuse(model, "out", [3])
    # The branch uses unit 3 of the stem.
    assert_shrinks_nothing(model)
    disuse(model, "inner", [3])
    assert_shrinks(model, stem=3, branch=3)


def assert_shrinks_nothing(model):
    small, report = shrink_with_report(model)
    assert report.removed == []
    assert_same_predictions(model, small)
    return report


def test_a_dead_branch():
    model = residual_net()
    model.get_layer("branch").kernel.assign(np.zeros((4, 4)))
    _, report = assert_shrinks(model, stem=4, branch=4, inner=1)
    assert report.removed[0]["unused"].tolist() == [1, 2, 3]


JOINS = {
    "subtract": (layers.Subtract, 3),
    "multiply": (layers.Multiply, 3),
    "average": (layers.Average, 3),
    "maximum": (layers.Maximum, 3),
    "minimum": (layers.Minimum, 3),
    "depth": (lambda: kdt.layers.StochasticDepth(0.5), 3),
    "plain sum": (lambda: lambda pair: 2.0 * (pair[0] + pair[1]) - 1, 3),
    "plain product": (lambda: lambda pair: keras.ops.maximum(pair[0] * pair[1], 0.1), 3),
    "matrix": (lambda: layers.Dot(axes=1), 4),
}


@pytest.mark.parametrize("case", JOINS)
def test_joins(case):
    join, left = JOINS[case]
    inputs = keras.Input((3,))
    pair = [layers.Dense(4, name=name)(inputs) for name in ("a", "b")]
    model = model_of(inputs, layers.Dense(2)(join()(pair)))
    kill(model, "a", [1])
    kill(model, "b", [1])
    small, report = shrink_with_report(model)
    assert [units_of(small, name) for name in "ab"] == [left, left]
    assert_same_predictions(model, small)
    if left == 4:
        assert "gets or returns several tensors" in reasons(report)["a"]


def test_a_product_with_zero_is_constant():
    inputs = keras.Input((3,))
    gate = layers.Dense(4, activation="relu", name="gate")(inputs)
    value = layers.Dense(4, name="value")(inputs)
    model = model_of(inputs, layers.Dense(2)(gate * value))
    kill(model, "gate", [0, 2])
    model.get_layer("gate").bias.assign([-1, 1, 1, 1])
    assert_shrinks(model, gate=3, value=3)


def test_a_gate_for_channels():
    inputs = keras.Input((5, 5, 2))
    image = layers.Conv2D(4, 2, name="image")(inputs)
    squeezed = layers.Dense(3, activation="relu", name="squeeze")(
        layers.GlobalAveragePooling2D()(image)
    )
    gate = layers.Reshape((1, 1, 4))(layers.Dense(4, activation="sigmoid", name="gate")(squeezed))
    place = layers.Conv2D(1, 1, name="place")(image)
    output = layers.GlobalMaxPooling2D()(layers.Multiply()([image, gate, place]))
    model = model_of(inputs, layers.Dense(2)(output))
    kill(model, "image", [1])
    kill(model, "gate", [1])
    kill(model, "squeeze", [0])
    model.get_layer("image").bias.assign([1, 0, 1, 1])
    assert_shrinks(model, image=3, gate=3, squeeze=2, place=1)


def test_concatenations():
    inputs = keras.Input((3,))
    a = layers.Dense(3, activation="tanh", name="a")(inputs)
    b = layers.Dense(4, activation="tanh", name="b")(inputs)
    joined = layers.Concatenate()([a, inputs, b])
    norm = layers.BatchNormalization(scale=False)
    model = model_of(inputs, layers.Dense(2, name="out")(norm(joined)))
    kill(model, "a", [1])
    disuse(model, "out", [6, 3])  # the first unit of b, and an input of the model
    small, _ = assert_shrinks(model, a=2, b=3)
    assert small.get_layer("out").kernel.shape == (2 + 3 + 3, 2)
    rows = [layers.Reshape((1, 3))(layers.Dense(3, name=n)(inputs)) for n in "cd"]
    model = model_of(inputs, layers.Dense(2)(layers.Concatenate(axis=1)(rows)))
    for name in "cd":
        kill(model, name, [0])
        model.get_layer(name).bias.assign([0.5, 0, 0])
    assert_shrinks(model, c=2, d=2)
    model.get_layer("d").bias.assign([0.6, 0, 0])
    _, report = shrink_with_report(model)
    assert report.removed == []


def siamese(shared):
    ends = [keras.Input((3,), name=name) for name in ("left", "right")]
    hidden = [shared(end) for end in ends]
    return model_of(ends, layers.Dense(2, name="out")(layers.Concatenate()(hidden)))


def test_a_shared_layer():
    model = siamese(layers.Dense(4, activation="tanh", name="shared"))
    kill(model, "shared", [1])
    assert_shrinks(model, shared=3)
    model = siamese(layers.Dense(4, name="shared"))
    disuse(model, "out", [1])
    # Behind the right input it is used.
    assert_shrinks_nothing(model)
    disuse(model, "out", [5])
    assert_shrinks(model, shared=3)


def test_a_shared_layer_that_sees_other_constants():
    inputs = keras.Input((3,))
    shared = layers.Dense(3, activation="tanh", name="shared")
    ends = [shared(layers.Dense(4, name=name)(inputs)) for name in ("a", "b")]
    model = model_of(inputs, layers.Dense(2)(layers.Add()(ends)))
    for name, bias in (("a", [0.5, 0.1, 0, 1]), ("b", [0.5, 0.2, 0, 1])):
        kill(model, name, [0, 1])
        model.get_layer(name).bias.assign(bias)
    # Unit 0 is the same constant at both calls, unit 1 is not.
    _, report = assert_shrinks(model, a=3, b=3)
    assert "'shared' gets other values than its constant" in reasons(report)["a"]
    # Where all units are constant, so are those of the shared layer, with other values.
    kill(model, "a", [0, 1, 2, 3])
    kill(model, "b", [0, 1, 2, 3])
    assert_shrinks(model, a=1, b=1)


def test_a_nested_model_called_twice():
    inner = chain(
        (3,), layers.Dense(4, activation="relu", name="inner"), layers.Dense(3, name="code")
    )
    model = siamese(inner)
    kill(inner, "inner", [2])
    kill(inner, "code", [0])
    assert_shrinks(model, inner=3, code=2)


def test_several_outputs():
    inputs = keras.Input((3,), name="x")
    hidden = layers.Dense(4, activation="relu", name="hidden")(inputs)
    model = model_of({"x": inputs}, {"code": hidden, "out": layers.Dense(2, name="out")(hidden)})
    kill(model, "hidden", [0])
    report = assert_shrinks_nothing(model)
    assert reasons(report)["hidden"] == "they are an output of the model"


@pytest.mark.parametrize("filters", [4, 6])
def test_residual_blocks(filters):
    model = chain(
        (6, 6, 3),
        layers.Conv2D(4, 3, name="stem"),
        kdt.layers.ResidualBlock(filters, shortcut="padding"),
        layers.GlobalAveragePooling2D(),
        layers.Dense(2, name="out"),
    )
    # With six filters the shortcut adds two, of which one goes; what the stem makes is used.
    disuse(model, "out", [1, filters - 1])
    small, report = shrink_with_report(model)
    assert_same_predictions(model, small)
    assert report.removed_units > 0
    assert small.layers[-2].output.shape[-1] == {4: 4, 6: 5}[filters]
    shortcuts = [layer for layer in small.layers if type(layer) is kdt.layers.PaddedShortcut]
    assert len(shortcuts) == (filters == 6)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "mixed_float16", "float64"])
def test_other_types(dtype):
    if dtype == "float64" and BACKEND == "jax":
        pytest.skip("JAX has no float64 unless it is told so when it starts")
    keras.config.set_dtype_policy(dtype)
    inputs = keras.Input((3,), dtype="float32")
    hidden = layers.Dense(4, activation="tanh", name="hidden")(inputs)
    norm = layers.BatchNormalization(scale=False)
    model = model_of(inputs, layers.Dense(2, name="out")(norm(hidden)))
    kill(model, "hidden", [1])
    small = shrink(model)
    assert units_of(small, "hidden") == 3
    assert small.get_layer("out").kernel.dtype == model.get_layer("out").kernel.dtype
    # The bias is rounded to the type: 2^-8 of it in bfloat16.
    tolerance = {"float16": 4e-3, "mixed_float16": 4e-3, "bfloat16": 3e-2}.get(dtype, 1e-5)
    assert_same_predictions(model, small, tolerance=tolerance)


def test_a_bias_that_would_overflow_is_left_alone():
    keras.config.set_dtype_policy("float16")
    model = chain((2,), layers.Dense(3, name="hidden"), layers.Dense(1, name="out"))
    model.get_layer("hidden").set_weights([np.eye(2, 3, 1), np.array([6e4, 0, 0])])
    model.get_layer("out").set_weights([np.array([[2.0], [-1], [1]]), np.zeros(1)])
    _, report = shrink_with_report(model)
    assert "cannot take up its constant 6e+04" in reasons(report)["hidden"]


def test_a_constraint_of_the_bias():
    model = chain(
        (2,),
        layers.Dense(4, activation="elu", name="hidden"),
        layers.Dense(2, bias_constraint="non_neg", name="out"),
    )
    kill(model, "hidden", [0, 1])
    model.get_layer("hidden").bias.assign([0.5, 0, 1, 1])
    _, report = assert_shrinks(model, hidden=3)
    assert "the bias of 'out' cannot take up" in reasons(report)["hidden"]


def test_fixed_masks_go_on(tmp_path):
    mask = np.ones((3, 4))
    mask[:, 0], mask[1, 2] = 0, 0
    model = chain(
        (3,),
        layers.Dense(
            4,
            activation="sigmoid",
            kernel_constraint=kdt.constraints.FixedMask(mask),
            bias_constraint=kdt.constraints.FixedMask([0, 1, 1, 1], constraint="max_norm"),
            name="hidden",
        ),
        layers.Dense(3, bias_constraint=kdt.constraints.FixedMask([0, 1, 0]), name="out"),
    )
    kernel = np.array(model.get_layer("out").get_weights()[0])
    kernel[0, 2] = 0
    model.get_layer("out").kernel.assign(kernel)
    for name, weight in (("hidden", "kernel"), ("hidden", "bias"), ("out", "bias")):
        variable = getattr(model.get_layer(name), weight)
        variable.assign(variable.constraint(variable))
    small, _ = assert_shrinks(model, hidden=3)
    hidden, out = small.get_layer("hidden"), small.get_layer("out")
    np.testing.assert_array_equal(hidden.kernel.constraint.mask, mask[:, 1:])
    # Nothing is masked any more.
    assert type(hidden.bias.constraint) is keras.constraints.MaxNorm
    # The first bias takes up sigmoid(0), the last one nothing.
    np.testing.assert_array_equal(out.bias.constraint.mask, [1, 1, 0])
    small.compile("adam", "mse")
    small.fit(np.ones((8, 3)), np.ones((8, 3)), verbose=0)
    small.save(tmp_path / "small.keras")
    loaded = keras.saving.load_model(tmp_path / "small.keras")
    assert loaded.get_layer("hidden").get_weights()[0][1, 1] == 0
    assert_same_predictions(small, loaded)


def test_a_trained_model_goes_on_training():
    model = chain(
        (3,),
        layers.Dense(6, activation="relu", name="hidden"),
        layers.Dropout(0.1),
        layers.BatchNormalization(scale=False),
        layers.Dense(1),
    )
    kill(model, "hidden", [0, 3])
    small = shrink(model)
    before = values(small.trainable_variables)
    small.compile("adam", "mse")
    history = small.fit(np.ones((8, 3)), np.ones((8, 1)), epochs=2, verbose=0)
    assert np.all(np.isfinite(history.history["loss"]))
    assert np.any(before[-1] != values(small.trainable_variables)[-1])


def test_report(tmp_path):
    model = chain(
        (None, None, 3),
        layers.Conv2D(4, 3, name="filters"),
        layers.Conv2D(2, 1, padding="same", name="next"),
        layers.GlobalAveragePooling2D(),
        layers.Dense(2, name="out"),
    )
    kill(model, "filters", [1, 2])
    small, report = shrink(model, report=True)
    assert units_of(small, "filters") == 2
    assert report.layers[0] == {
        "layer": "filters",
        "units": [4, 2],
        "parameters": [9 * 3 * 4 + 4, 9 * 3 * 2 + 2],
        "flops": [None, None],  # the size of the image is not known
    }
    assert report.layers[-1]["flops"] == [2 * 2 * 2, 2 * 2 * 2]
    assert report.flops == [None, None]
    text = str(report)
    assert text.startswith("2 units of 'model' removed")
    assert "filters  4 → 2    112 → 56" in text
    for name in ("report.json", "report.npz"):
        report.save(tmp_path / name)
        assert str(type(report).load(tmp_path / name)) == text


def test_after_pruning():
    model = chain(
        (6, 6, 3),
        layers.Conv2D(8, 3, activation="relu", name="filters"),
        layers.Conv2D(8, 3, name="more"),
        layers.BatchNormalization(scale=False),
        layers.GlobalAveragePooling2D(),
        layers.Dense(8, activation="selu", name="hidden"),
        layers.AlphaDropout(0.1),
        layers.Dense(2, name="out"),
    )
    pruned = prune(model, incoming_weight_norm, fraction=0.5, scope="layer")
    small, _ = assert_shrinks(pruned, filters=4, more=4, hidden=4, out=2)
    assert small.get_layer("more").kernel.constraint is None
