import keras
import numpy as np
import pytest

from keras_deeptricks.diagnostics.doctor.objective import loss_info, losses_of, metrics_of


def mine(y_true, y_pred):
    return keras.ops.mean(y_true - y_pred, axis=-1)


@pytest.mark.parametrize(
    "loss, name, from_logits",
    [
        ("mse", "mean_squared_error", False),
        ("MSE", "mean_squared_error", False),
        ("kld", "kl_divergence", False),
        (keras.losses.KLDivergence(), "kl_divergence", False),
        (keras.losses.LogCosh(), "log_cosh", False),
        (keras.losses.mean_absolute_error, "mean_absolute_error", False),
        (keras.losses.BinaryCrossentropy(from_logits=True), "binary_crossentropy", True),
        (keras.losses.SparseCategoricalCrossentropy(), "sparse_categorical_crossentropy", False),
        (keras.losses.CategoricalFocalCrossentropy(), "categorical_focal_crossentropy", False),
        (mine, "custom", False),
    ],
)
def test_loss(loss, name, from_logits):
    info = loss_info(loss)
    assert (info.name, info.from_logits) == (name, from_logits)


def test_no_loss():
    assert loss_info(None) is None


def two_heads():
    inputs = keras.Input((3,))
    outputs = [keras.layers.Dense(1, name=name)(inputs) for name in ("a", "b")]
    return keras.Model(inputs, outputs)


def test_losses_of_each_output():
    model = two_heads()
    model.compile("sgd", {"a": "mse", "b": "mae"})
    assert [info.label for info in losses_of(model, ["a", "b"])] == ["mse", "mae"]
    model.compile("sgd", ["mse", None])
    assert [info and info.label for info in losses_of(model, ["a", "b"])] == ["mse", None]


def test_metrics_of_each_output():
    model = two_heads()
    model.compile("sgd", "mse", metrics={"a": ["acc"], "b": [keras.metrics.MeanAbsoluteError()]})
    assert metrics_of(model, ["a", "b"]) == [["accuracy"], ["MeanAbsoluteError"]]


def test_a_metric_without_a_name_is_custom():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", metrics=[lambda y, p: keras.ops.mean(p)])
    assert all("accuracy" not in name for name in metrics_of(model, ["dense"])[0])
    assert np.shape(metrics_of(model, ["dense"])) in ((1, 0), (1, 1))
