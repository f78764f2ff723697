"""What one batch shows of sound and of sick programs."""

import math

import keras
import numpy as np
import pytest
from keras import layers, ops
from small_models import (
    Subclassed,
    assert_identical,
    class_data,
    regression_data,
    whole_state,
)

import keras_deeptricks as kdt
from keras_deeptricks.diagnostics.batch_overfit_goal import equal_rows

overfit = kdt.diagnostics.overfit_batch
SPARSE = "sparse_categorical_crossentropy"


def network(*parts, features=4, loss=SPARSE, optimizer=None, **options):
    model = keras.Sequential([keras.Input((features,)), *parts])
    model.compile(optimizer or keras.optimizers.Adam(0.01), loss, **options)
    return model


def hidden(**options):
    return layers.Dense(32, activation="relu", name="hidden", **options)


def classifier(activation="softmax", **options):
    return network(hidden(), layers.Dense(3, activation=activation, name="out"), **options)


def test_a_sound_classifier_is_left_as_it_was():
    x, y = class_data()
    model = classifier(metrics=["accuracy"])
    model.fit(x, y, verbose=0)
    before = whole_state(model)
    result = overfit(model, x, y)
    assert result.reached
    assert result.accuracy == 1.0
    assert result.findings == []
    assert result.rows == 32
    assert result.losses[0] > result.losses[-1]
    assert_identical(before, whole_state(model))
    assert "learned, loss" in str(result)


def test_a_regression_from_a_data_set_with_weights():
    x, y = regression_data(16)

    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return 2

        def __getitem__(self, index):
            rows = slice(8 * index, 8 * index + 8)
            return x[rows], y[rows], np.linspace(0.5, 1, 8)

    model = network(hidden(), layers.Dense(1), loss="mse")
    result = overfit(model, Batches())
    assert result.reached
    assert result.rows == 8
    assert result.score_name == "R²"
    assert math.isnan(result.accuracy)
    assert result.lowest_loss == 0
    # Guessing the weighted mean.
    mean = np.average(y[:8], weights=np.linspace(0.5, 1, 8))
    expected = np.mean(np.linspace(0.5, 1, 8) * (y[:8] - mean) ** 2)
    assert result.guessing_loss == pytest.approx(expected, rel=1e-4)


def test_several_outputs_and_dropout():
    x, y = class_data()
    inputs = keras.Input((4,))
    body = layers.BatchNormalization()(layers.Dropout(0.2)(hidden()(inputs)))
    outputs = {
        "a": layers.Dense(3, activation="softmax", name="a")(body),
        "b": layers.Dense(1, name="b")(body),
    }
    model = keras.Model(inputs, outputs)
    model.compile(
        keras.optimizers.Adam(0.02), {"a": SPARSE, "b": "mse"}, loss_weights={"a": 1.0, "b": 0.5}
    )
    # The losses of single outputs are metrics, which the first step makes.
    model.fit(x, {"a": y, "b": x[:, :1]}, verbose=0)
    before = whole_state(model)
    result = overfit(model, x, {"a": y, "b": x[:, :1]})
    assert result.reached
    assert result.findings == []
    assert_identical(before, whole_state(model))


def test_a_subclassed_model():
    x, y = class_data()
    model = Subclassed([hidden(), layers.Dense(3, activation="softmax")])
    model.compile(keras.optimizers.Adam(0.02), SPARSE)
    assert overfit(model, x, y).reached


def test_smoothed_labels_have_a_lowest_loss():
    x, y = class_data()
    loss = keras.losses.CategoricalCrossentropy(label_smoothing=0.3)
    result = overfit(classifier(loss=loss), x, np.eye(3)[y])
    # The entropy of (.8, .1, .1).
    assert result.lowest_loss == pytest.approx(-0.8 * np.log(0.8) - 0.2 * np.log(0.1), rel=1e-5)
    assert result.reached


def test_contradictions():
    x, y = class_data(20)
    x, y = np.concatenate([x, x[:4]]), np.concatenate([y, (y[:4] + 1) % 3])
    result = overfit(classifier(), x, y)
    # Four pairs at even odds: 8 rows of 24 with the loss ln 2.
    assert result.lowest_loss == pytest.approx(8 / 24 * np.log(2), rel=1e-4)
    assert result.reached
    assert [(f.code, f.severity) for f in result.findings] == [("labels_unrelated", "note")]
    assert result.accuracy == pytest.approx(20 / 24)
    np.testing.assert_array_equal(equal_rows(np.array([[1], [2], [1]])), [0, 1, 0])


def sick(kind):
    x, y = class_data()
    if kind == "over_regularization":
        strong = keras.regularizers.L2(3.0)
        parts = hidden(kernel_regularizer=strong), layers.Dense(3, activation="softmax")
        return network(*parts), x, y, "hidden"
    if kind == "dropout_misuse":
        parts = hidden(), layers.Dropout(0.98, name="drop"), layers.Dense(3, activation="softmax")
        return network(*parts), x, y, "drop"
    if kind == "learning_rate_too_low":
        return classifier(optimizer=keras.optimizers.SGD(1e-5)), x, y, "learning_rate"
    if kind == "learning_rate_too_high":
        model = network(hidden(), layers.Dense(1), loss="mse", optimizer=keras.optimizers.SGD(1.0))
        return model, *regression_data(), "learning_rate"
    if kind == "input_scale":
        return classifier(optimizer=keras.optimizers.SGD(0.1)), 1000 * x, y, "x"
    if kind == "target_scale":
        model = network(hidden(), layers.Dense(1), loss="mse", optimizer=keras.optimizers.SGD(0.02))
        x, y = regression_data()
        return model, x, 1e4 * y, "y"
    if kind == "output_range":
        model = network(hidden(), layers.Dense(1, activation="relu", name="out"), loss="mse")
        return model, *regression_data(), "out"
    if kind == "from_logits_mismatch":
        return classifier(activation=None), x, y, "out"
    if kind == "label_shape":
        return classifier(), x, np.eye(3)[y], "out"
    if kind == "label_range":
        return classifier(), x, y + 1, "out"
    if kind == "input_nan":
        return classifier(), np.where(x > 1, np.nan, x), y, "x"
    if kind == "nothing_trainable":
        model = classifier()
        model.trainable = False
        return model, x, y, None
    if kind == "dead_units":
        bias = keras.initializers.Constant(-100)
        parts = hidden(bias_initializer=bias), layers.Dense(3, activation="softmax")
        return network(*parts), x, y, "hidden"
    assert kind == "initialization_constant"
    zero = {"kernel_initializer": "zeros"}
    parts = hidden(**zero), layers.Dense(3, activation="softmax", **zero)
    return network(*parts), x, y, "hidden"


KINDS = (
    "over_regularization",
    "dropout_misuse",
    "learning_rate_too_low",
    "learning_rate_too_high",
    "input_scale",
    "target_scale",
    "output_range",
    "from_logits_mismatch",
    "label_shape",
    "label_range",
    "input_nan",
    "nothing_trainable",
    "dead_units",
    "initialization_constant",
)


@pytest.mark.parametrize("kind", KINDS)
def test_sick_programs(kind):
    model, x, y, place = sick(kind)
    before = whole_state(model)
    result = overfit(model, x, y, steps=150)
    assert not result.reached
    found = result.findings[0]
    assert found.code == kind
    if kind in ("dead_units", "initialization_constant"):
        assert found.layer in (place, "out", model.layers[-1].name)
    else:
        assert found.layer == place
    assert_identical(before, whole_state(model))


def test_a_loss_of_ones_own():
    def cubed(y_true, y_pred):
        return ops.mean(ops.abs(y_true - y_pred) ** 3, axis=-1)

    x, y = regression_data()
    result = overfit(network(hidden(), layers.Dense(1), loss=cubed), x, y.reshape(-1, 1))
    assert result.reached
    assert result.lowest_loss == 0


def test_errors():
    x, y = class_data()
    model = classifier()
    with pytest.raises(ValueError, match="`steps`"):
        overfit(model, x, y, steps=3)
    with pytest.raises(ValueError, match="as many rows"):
        overfit(model, x, y[:5])
    with pytest.raises(ValueError, match="compiled"):
        overfit(keras.Sequential([keras.Input((4,)), layers.Dense(1)]), x, y)
    with pytest.raises(ValueError, match="go with arrays only"):
        overfit(model, iter([(x, y)]), y)
