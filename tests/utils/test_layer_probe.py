"""Every layer of models of every kind is observed; gradients are those of training."""

import keras
import numpy as np
import pytest
from keras import layers, ops
from small_models import class_data, dense_model, regression_data, values, whole_state

from keras_deeptricks.utils.layer_probe import observed_gradients, observed_layers


def _names(calls):
    return [call.name for call in calls]


def test_values_are_those_of_the_formula():
    model = keras.Sequential([keras.Input((2,)), layers.Dense(2, name="a"), layers.ReLU(name="b")])
    kernel, bias = np.array([[1.0, -2.0], [3.0, 4.0]]), np.array([0.5, -20.0])
    model.set_weights([kernel, bias])
    x = np.array([[1.0, 2.0], [-1.0, 0.0]])
    dense, relu = observed_layers(model, x)
    assert _names([dense, relu]) == ["a", "b"]
    assert dense.layer is model.layers[0]
    np.testing.assert_array_equal(dense.inputs, x)
    np.testing.assert_array_equal(dense.outputs, x @ kernel + bias)
    np.testing.assert_array_equal(relu.outputs, [[7.5, 0.0], [0.0, 0.0]])
    assert relu.outputs.dtype == "float32"


@pytest.mark.parametrize("kind", ["sequential", "functional", "subclassed"])
def test_models_of_every_kind(kind):
    model = dense_model(kind=kind)
    x = np.ones((3, 4))
    calls = observed_layers(model, x)
    assert _names(calls) == ["hidden", "norm", "drop", "out"]
    assert all("call" not in vars(layer) for layer in model._flatten_layers())
    # The same operations, one by one and together.
    np.testing.assert_allclose(calls[-1].outputs, model.predict(x, verbose=0), atol=1e-6)


def test_nested_and_shared_layers_have_names_of_their_own():
    shared = layers.Dense(4, name="dense")

    def encoder(name):
        return keras.Sequential([keras.Input((4,)), layers.Dense(4, name="inner")], name=name)

    inputs = keras.Input((4,))
    x = shared(encoder("left")(inputs))
    x = shared(encoder("right")(x))
    model = keras.Model(inputs, x)
    calls = observed_layers(model, np.ones((2, 4)))
    assert _names(calls) == ["left/inner", "dense", "right/inner", "dense:2"]
    assert calls[1].layer is calls[3].layer is shared


def test_layers_of_one_name_inside_one_layer_are_numbered():
    class Twins(keras.Model):
        def __init__(self):
            super().__init__()
            self.parts = {"a": layers.Dense(2, name="dense"), "b": layers.Dense(2, name="dense")}

        def call(self, x):
            return self.parts["b"](self.parts["a"](x))

    assert _names(observed_layers(Twins(), np.ones((2, 3)))) == ["dense", "dense#2"]


def test_what_runs_in_loops_counts_as_one():
    model = keras.Sequential(
        [
            keras.Input((5, 3)),
            layers.Bidirectional(layers.LSTM(2, return_sequences=True, name="lstm"), name="both"),
            layers.TimeDistributed(layers.Dense(4), name="each"),
            layers.GRU(2, name="gru"),
        ]
    )
    calls = observed_layers(model, np.ones((2, 5, 3)))
    assert [type(call.layer).__name__ for call in calls] == [
        "LSTM",
        "LSTM",
        "TimeDistributed",
        "GRU",
    ]
    assert calls[2].outputs.shape == (2, 5, 4)


def test_what_a_conditional_calls_is_left_to_the_layer_around_it():
    class Sometimes(keras.Layer):
        def __init__(self):
            super().__init__(name="sometimes")
            self.dense = layers.Dense(3)

        def build(self, shape):
            self.dense.build(shape)

        def call(self, x):
            def mapped(row):
                return self.dense(row[None])[0]

            return ops.vectorized_map(mapped, x)

    model = keras.Sequential([keras.Input((3,)), Sometimes()])
    assert _names(observed_layers(model, np.ones((2, 3)))) == ["sometimes"]


def test_several_inputs_keywords_and_a_layer_of_ones_own():
    class Own(keras.Layer):
        def call(self, a, *, scale=1.0, offset=None):
            return {"sum": a * scale + offset, "number": ops.cast(a, "int32")}

    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.own, self.add = Own(name="own"), layers.Add(name="add")

        def call(self, x):
            found = self.own(x["a"], scale=2.0, offset=x["b"])
            return self.add([found["sum"], x["b"]])

    own, add = observed_layers(Net(), {"a": np.ones((1, 2)), "b": np.full((1, 2), 3.0)})
    np.testing.assert_array_equal(own.inputs, [[1, 1]])
    assert own.kwargs["scale"] == 2.0
    np.testing.assert_array_equal(own.kwargs["offset"], [[3, 3]])
    number, total = own.outputs
    assert number.dtype == "int32"
    assert total.tolist() == [[5, 5]]
    assert [leaf.tolist() for leaf in add.inputs] == [[[5, 5]], [[3, 3]]]


def test_a_model_that_holds_no_layers():
    class Plain(keras.Model):
        def build(self, shape):
            self.w = self.add_weight(shape=(2, 1), initializer="ones")

        def call(self, x):
            return x @ self.w

    (call,) = observed_layers(Plain(name="plain"), np.ones((2, 2)))
    assert call.name == "plain"
    assert call.outputs.tolist() == [[2.0], [2.0]]


def test_half_precision_comes_as_float32():
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = keras.Sequential([keras.Input((2,)), layers.Dense(2, name="a")])
    (call,) = observed_layers(model, np.ones((2, 2)))
    assert call.inputs.dtype == call.outputs.dtype == "float32"


def test_training_mode_changes_nothing():
    model = dense_model()
    model.compile("adam", "mse")
    x, y = regression_data()
    model.fit(x, y, verbose=0)
    before = whole_state(model)
    calls = observed_layers(model, x, training=True)
    dropped = (calls[2].outputs == 0).mean()
    # 512 units at rate 0.2: four standard errors.
    assert abs(dropped - 0.2) < 4 * np.sqrt(0.2 * 0.8 / 512)
    observed_gradients(model, x, y, training=True)
    for a, b in zip(before, whole_state(model), strict=True):
        np.testing.assert_array_equal(a, b)


def test_gradients_of_a_linear_model():
    model = keras.Sequential(
        [keras.Input((2,)), layers.Dense(1, kernel_regularizer=keras.regularizers.L2(0.5))]
    )
    model.compile("sgd", "mse")
    kernel = np.array([[1.0], [2.0]])
    model.set_weights([kernel, np.array([0.5])])
    x, y, weights = np.array([[1.0, 1.0], [2.0, 0.0]]), np.array([[0.5], [0.5]]), np.array([1, 3.0])
    error = x @ kernel + 0.5 - y  # 3 and 2
    loss, gradients = observed_gradients(model, x, y, weights)
    weighted = weights[:, None] * error
    # (1·9 + 3·4) / 2 + 0.5·(1 + 4)
    assert loss == pytest.approx(13.0, rel=1e-6)
    assert [variable.name for variable, _ in gradients] == ["kernel", "bias"]
    np.testing.assert_allclose(gradients[0][1], x.T @ weighted + kernel, rtol=1e-6)
    np.testing.assert_allclose(gradients[1][1], weighted.sum(0), rtol=1e-6)


@pytest.mark.parametrize("kind", ["sequential", "functional", "subclassed"])
def test_a_step_of_plain_descent_follows_the_gradient(kind):
    model = dense_model(kind=kind)
    model.compile(keras.optimizers.SGD(1.0), "mse")
    x, y = regression_data(rows=16)
    loss, gradients = observed_gradients(model, x, y, training=True)
    before = values(model.trainable_variables)
    trained = model.train_on_batch(x, y)
    assert loss == pytest.approx(float(np.ravel(trained)[0]), rel=1e-5)
    after = values(model.trainable_variables)
    for a, b, (_, gradient) in zip(before, after, gradients, strict=True):
        # Differences of weights lose digits.
        np.testing.assert_allclose(a - b, gradient, atol=2e-5, rtol=1e-4)


def test_frozen_several_outputs_activity_penalty_and_unused():
    inputs = keras.Input((4,))
    hidden = layers.Dense(3, activity_regularizer=keras.regularizers.L1(0.1), name="h")(inputs)
    frozen = layers.Dense(3, name="frozen", trainable=False)(hidden)
    unused = layers.Dense(2, name="unused")(hidden)
    model = keras.Model(inputs, {"a": layers.Dense(1, name="a")(frozen), "b": unused})
    model.compile("sgd", {"a": "mse"})
    x, y = regression_data(rows=8)
    loss, gradients = observed_gradients(model, x, {"a": y[:, None]})
    assert loss == pytest.approx(model.evaluate(x, {"a": y[:, None]}, verbose=0), rel=1e-5)
    by_path = {variable.path: gradient for variable, gradient in gradients}
    assert not any(path.startswith("frozen") for path in by_path)
    assert not by_path["unused/kernel"].any()
    assert by_path["h/kernel"].any()


def test_embeddings_recurrence_and_half_precision():
    keras.config.set_dtype_policy("mixed_float16")
    model = keras.Sequential(
        [
            keras.Input((5,), dtype="int32"),
            layers.Embedding(7, 4),
            layers.LSTM(3),
            layers.Dense(3, dtype="float32"),
        ]
    )
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    x = np.arange(10).reshape(2, 5) % 4
    loss, gradients = observed_gradients(model, x, np.array([0, 2]))
    # Not scaled for the half precision: near ln 3.
    assert 0.5 < loss < 2.0
    embedding = gradients[0][1]
    assert embedding.shape == (7, 4)
    assert embedding[:4].any(axis=1).all()
    assert not embedding[4:].any()
    assert embedding.dtype == "float32"


def test_errors():
    x, y = class_data()
    with pytest.raises(ValueError, match="compiled"):
        observed_gradients(dense_model(outputs=3), x, y)
    with pytest.raises(TypeError, match="must be a keras"):
        observed_gradients(layers.Dense(2), x, y)
