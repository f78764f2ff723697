"""Rewriting graphs: shared weights, exchanged layers, the given model left alone."""

import keras
import numpy as np
import pytest
from keras import layers, ops
from small_models import assert_identical, dense_model, regression_data, values, whole_state

from keras_deeptricks.utils.rewriting import check_has_graph, has_graph, rewrite


def keep(layer):
    return layer


def without_dropout(layer):
    return None if isinstance(layer, layers.Dropout) else layer


def double(layer):
    """Puts a layer that doubles in the place of each dropout."""
    return layers.Rescaling(2.0) if isinstance(layer, layers.Dropout) else layer


def outputs(model, x):
    called = model(keras.tree.map_structure(ops.convert_to_tensor, x), training=False)
    return keras.tree.map_structure(
        lambda tensor: ops.convert_to_numpy(ops.stop_gradient(tensor)), called
    )


def kinds(model):
    return [
        type(layer).__name__ for layer in model.layers if not isinstance(layer, layers.InputLayer)
    ]


X = np.random.default_rng(0).normal(size=(5, 4)).astype("float32")


@pytest.mark.parametrize("kind", ["sequential", "functional"])
def test_kept_layers_are_the_same_objects(kind):
    model = dense_model(kind=kind)
    same = rewrite(model, keep)
    assert same is not model
    assert all(any(layer is other for other in model.layers) for layer in same.layers[1:])
    assert [id(v) for v in same.trainable_variables] == [id(v) for v in model.trainable_variables]
    np.testing.assert_array_equal(outputs(same, X), outputs(model, X))


@pytest.mark.parametrize("kind", ["sequential", "functional"])
def test_a_layer_is_taken_out(kind):
    model = dense_model(kind=kind)
    before = kinds(model)
    plain = rewrite(model, without_dropout)
    assert kinds(plain) == ["Dense", "BatchNormalization", "Dense"]
    assert kinds(model) == before == ["Dense", "BatchNormalization", "Dropout", "Dense"]
    np.testing.assert_array_equal(outputs(plain, X), outputs(model, X))


@pytest.mark.parametrize("kind", ["sequential", "functional"])
def test_a_layer_is_replaced(kind):
    model = dense_model(kind=kind)
    out = model.get_layer("out")
    out.bias.assign([0.0])
    # Doubling what the last, linear layer without bias sees doubles the output exactly.
    np.testing.assert_array_equal(outputs(rewrite(model, double), X), 2 * outputs(model, X))


@pytest.mark.skipif(
    keras.__version__.startswith("3.12."),
    reason="Keras 3.12 makes no model whose output is its input",
)
def test_the_only_layer_is_taken_out():
    model = keras.Sequential([keras.Input((4,)), layers.Dropout(0.5)])
    np.testing.assert_array_equal(outputs(rewrite(model, without_dropout), X), X)


def test_training_either_trains_both():
    x, y = regression_data(16)
    model = dense_model()
    model.compile("sgd", "mse")
    plain = rewrite(model, without_dropout)
    plain.compile("sgd", "mse")
    before = values(model.variables)
    for trained in (plain, model):
        trained.fit(x, y, verbose=0)
        now = values(model.get_layer("out").weights)
        assert not np.array_equal(before[-2], now[0])
        np.testing.assert_array_equal(outputs(model, x), outputs(plain, x))
        before = values(model.variables)


def test_a_compiled_model_is_neither_altered_nor_compiled_anew():
    x, y = regression_data(16)
    model = dense_model()
    model.compile(keras.optimizers.Adam(), "mse", metrics=["mae"])
    model.fit(x, y, verbose=0)
    attributes = [model.optimizer, model.train_function, model.layers, model.name]
    state = whole_state(model)
    changed = rewrite(model, without_dropout)
    assert not changed.compiled
    assert getattr(changed, "optimizer", None) is None
    now = [model.optimizer, model.train_function, model.layers, model.name]
    assert all(a is b or a == b for a, b in zip(attributes, now, strict=True))
    assert_identical(state, whole_state(model))


def test_the_given_model_can_still_be_saved(tmp_path):
    model = dense_model(kind="functional")
    rewrite(model, without_dropout)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert kinds(loaded) == ["Dense", "BatchNormalization", "Dropout", "Dense"]
    np.testing.assert_array_equal(outputs(loaded, X), outputs(model, X))


def test_a_rewritten_model_can_be_saved(tmp_path):
    changed = rewrite(dense_model(), without_dropout)
    changed.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(outputs(loaded, X), outputs(changed, X))


def tower(kind, features=4, dropout=True):
    parts = [layers.Dense(3, name="a"), layers.Dropout(0.5), layers.Dense(features, name="b")]
    if not dropout:
        del parts[1]
    if kind == "sequential":
        return keras.Sequential([keras.Input((features,)), *parts])
    if kind == "deferred":
        return keras.Sequential(parts)
    inputs = tensor = keras.Input((features,))
    for layer in parts:
        tensor = layer(tensor)
    return keras.Model(inputs, tensor)


@pytest.mark.parametrize("kind", ["sequential", "deferred", "functional"])
@pytest.mark.parametrize("outer", ["sequential", "functional"])
def test_nested_models_are_rewritten_inside(kind, outer):
    inner = tower(kind)
    parts = [layers.Dense(4), inner, layers.Dropout(0.1)]
    if outer == "sequential":
        model = keras.Sequential([keras.Input((4,)), *parts])
    else:
        inputs = keras.Input((4,))
        model = keras.Model(inputs, parts[2](inner(parts[0](inputs))))
    plain = rewrite(model, without_dropout)
    new_inner = plain.layers[-1]
    assert new_inner is not inner
    assert kinds(new_inner) == ["Dense", "Dense"]
    assert kinds(inner) == ["Dense", "Dropout", "Dense"]
    assert new_inner.get_layer("a") is inner.get_layer("a")
    np.testing.assert_array_equal(outputs(plain, X), outputs(model, X))


@pytest.mark.parametrize("kind", ["sequential", "functional"])
def test_a_nested_model_without_a_change_is_kept_itself(kind):
    inner = tower(kind, dropout=False)
    model = keras.Sequential([keras.Input((4,)), inner, layers.Dropout(0.1)])
    assert rewrite(model, without_dropout).layers[-1] is inner


@pytest.mark.parametrize("kind", ["sequential", "functional"])
def test_a_nested_model_used_twice_is_rewritten_once(kind):
    inner = tower(kind)
    left, right = keras.Input((4,)), keras.Input((4,))
    model = keras.Model([left, right], layers.Subtract()([inner(inner(left)), inner(right)]))
    seen = []
    plain = rewrite(model, lambda layer: seen.append(layer.name) or without_dropout(layer))
    assert len(seen) == len(set(seen))
    assert sum(isinstance(layer, keras.Model) for layer in plain.layers) == 1
    np.testing.assert_array_equal(outputs(plain, [X, -X]), outputs(model, [X, -X]))


def test_a_shared_layer_is_replaced_once():
    shared = layers.Dense(4, use_bias=False)
    inputs = keras.Input((4,))
    model = keras.Model(inputs, shared(shared(inputs)))
    made = []

    def replace(layer):
        made.append(layers.Dense(4, use_bias=False, name=f"new_{len(made)}"))
        return made[-1]

    changed = rewrite(model, replace)
    assert len(made) == 1
    assert len(changed.weights) == 1
    kernel = values(made[0].weights)[0]
    # Float32 matrix products of four terms.
    np.testing.assert_allclose(outputs(changed, X), X @ kernel @ kernel, rtol=1e-4, atol=1e-5)


def test_several_inputs_and_outputs_keep_their_structure():
    dense = layers.Dense(2)
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    total = layers.Dropout(0.5)(layers.Add()([dense(a), dense(b)]))
    model = keras.Model({"a": a, "b": b}, {"sum": total, "first": [layers.Dropout(0.5)(dense(a))]})
    x = {"a": X, "b": 2 * X}
    before, after = outputs(model, x), outputs(rewrite(model, without_dropout), x)
    assert set(after) == {"sum", "first"}
    np.testing.assert_array_equal(after["sum"], before["sum"])
    np.testing.assert_array_equal(after["first"][0], before["first"][0])


def test_plain_operations_in_the_graph_are_kept():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, ops.sum(layers.Dropout(0.1)(inputs) * 2 + inputs, axis=-1))
    seen = []
    plain = rewrite(model, lambda layer: seen.append(layer) or without_dropout(layer))
    # `replace` is promised layers, which a product of tensors is not.
    assert [type(layer).__name__ for layer in seen] == ["Dropout"]
    np.testing.assert_array_equal(outputs(plain, X), outputs(model, X))


def test_masks_still_reach_their_layers():
    inputs = keras.Input((3,), dtype="int32")
    embedded = layers.Dropout(0.2)(layers.Embedding(5, 4, mask_zero=True)(inputs))
    model = keras.Model(inputs, layers.GlobalAveragePooling1D()(embedded))
    x = np.array([[1, 2, 0], [3, 0, 0]])
    words = values(model.weights)[0]
    for masked in (model, rewrite(model, without_dropout)):
        averages = outputs(masked, x)
        # The padding is left out of the average. A few roundings of float32.
        np.testing.assert_allclose(averages[0], (words[1] + words[2]) / 2, rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(averages[1], words[3], rtol=1e-5, atol=1e-7)


def test_keyword_inputs_are_followed():
    inputs = keras.Input((3, 4))
    attention = layers.MultiHeadAttention(1, 2)
    tensor = attention(query=layers.Dropout(0.1)(inputs=inputs), value=inputs)
    model = keras.Model(inputs, tensor)
    x = np.random.default_rng(0).normal(size=(2, 3, 4)).astype("float32")
    plain = rewrite(model, without_dropout)
    assert not any(isinstance(layer, layers.Dropout) for layer in plain.layers)
    np.testing.assert_array_equal(outputs(plain, x), outputs(model, x))


def test_a_layer_of_two_inputs_cannot_be_taken_out():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, layers.Add(name="total")([inputs, layers.Dense(4)(inputs)]))
    with pytest.raises(ValueError, match="'total' cannot be taken out: it has 2 inputs"):
        rewrite(model, lambda layer: None if isinstance(layer, layers.Add) else layer)


@pytest.mark.parametrize("wrong", ["elu", 0, layers.Dense, [layers.Dense(1)]])
def test_replace_must_return_a_layer(wrong):
    with pytest.raises(TypeError, match=r"`replace` must return a layer.*'hidden'"):
        rewrite(dense_model(), lambda layer: wrong if layer.name == "hidden" else layer)


def test_a_subclassed_model_is_refused():
    model = dense_model(kind="subclassed")
    model(X)
    assert not has_graph(model)
    with pytest.raises(ValueError, match=r"`model` must be a Functional or Sequential.*subclassed"):
        rewrite(model, keep)


def test_models_whose_call_is_not_their_graph_are_refused():
    class Doubling(keras.Sequential):
        def call(self, inputs, training=None, mask=None):
            return 2 * super().call(inputs)

    class Negative(keras.Model):
        def call(self, inputs, training=None, mask=None):
            return -inputs

    inputs = keras.Input((4,))
    for model in (
        Doubling([keras.Input((4,)), layers.Dense(1)]),
        Negative(inputs, layers.Dense(4)(inputs)),
    ):
        assert not has_graph(model)
        with pytest.raises(ValueError, match=r"is a subclassed (Doubling|Negative)"):
            rewrite(model, keep)


def test_a_model_that_only_trains_differently_has_a_graph():
    class Trainer(keras.Model):
        def train_step(self, *args):
            return super().train_step(*args)

    inputs = keras.Input((4,))
    model = Trainer(inputs, layers.Dense(2)(layers.Dropout(0.5)(inputs)))
    assert kinds(rewrite(model, without_dropout)) == ["Dense"]


def test_an_unbuilt_model_is_refused_with_the_remedy():
    with pytest.raises(ValueError, match=r"`model` must be built.*keras.Input"):
        rewrite(keras.Sequential([layers.Dense(1)]), keep)


@pytest.mark.parametrize("wrong", [None, "model", layers.Dense(1)])
def test_what_is_no_model_is_refused(wrong):
    assert not has_graph(wrong)
    with pytest.raises(TypeError, match=r"`model` must be a keras.Model"):
        check_has_graph(wrong)
