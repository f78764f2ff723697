"""Healthy programs: losses and targets of many kinds, and what is done to inputs inside."""

import keras
import numpy as np
from keras import layers, ops

from doctor_programs.data_sets import (
    blobs,
    diabetes,
    digits,
    moons,
    one_hot,
    raw_table,
    smooth,
    standardized,
)
from doctor_programs.program import Program, healthy

HEALTHY = []


@healthy(HEALTHY)
def heads_of_different_kinds():
    x, y = digits()
    inputs = keras.Input((8, 8, 1))
    tensor = layers.Conv2D(16, 3, activation="relu")(inputs)
    tensor = layers.Flatten()(tensor)
    tensor = layers.Dense(48, activation="relu")(tensor)
    outputs = {
        "digit": layers.Dense(10, activation="softmax", name="digit")(tensor),
        "ink": layers.Dense(1, name="ink")(tensor),
    }
    model = keras.Model(inputs, outputs)
    model.compile(
        keras.optimizers.Adam(3e-3),
        {"digit": "sparse_categorical_crossentropy", "ink": "mse"},
        metrics={"digit": ["accuracy"]},
    )
    ink = standardized(x.mean((1, 2, 3)))
    return Program(model, x, {"digit": y, "ink": ink[:, None]})


@healthy(HEALTHY)
def table_with_normalization_inside():
    x, y = raw_table("breast_cancer")
    scale = layers.Normalization()
    scale.adapt(x)
    model = keras.Sequential(
        [keras.Input((30,)), scale, layers.Dense(24, "relu"), layers.Dense(1, "sigmoid")]
    )
    model.compile(keras.optimizers.Adam(3e-3), "binary_crossentropy", metrics=["accuracy", "auc"])
    return Program(model, x, y.astype("int32"))


@healthy(HEALTHY)
def raw_images_with_rescaling_and_augmentation_inside():
    x, y = digits()
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Rescaling(1 / 255),
            layers.RandomBrightness(0.1, value_range=(0, 1), seed=0),
            layers.Conv2D(24, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(48, activation="relu"),
            layers.Dense(10),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(3e-3), loss, metrics=["accuracy"])
    return Program(model, np.round(255 * x).astype("uint8"), y)


@healthy(HEALTHY)
def categories_by_embedding_beside_numbers():
    rng = np.random.default_rng(0)
    city = rng.integers(0, 12, (1200, 1)).astype("int32")
    x = rng.normal(size=(1200, 4)).astype("float32")
    y = standardized(rng.normal(size=12)[city] + x[:, :1] * x[:, 1:2] + 0.5 * x[:, 2:3])
    inputs = [keras.Input((1,), dtype="int32", name="city"), keras.Input((4,), name="numbers")]
    embedded = layers.Flatten()(layers.Embedding(12, 4)(inputs[0]))
    tensor = layers.Dense(48, activation="relu")(layers.concatenate([embedded, inputs[1]]))
    model = keras.Model(inputs, layers.Dense(1)(tensor))
    model.compile(keras.optimizers.Adam(5e-3), "mse")
    return Program(model, [city, x], y)


@keras.saving.register_keras_serializable(package="doctor_programs")
def ninetieth_percentile(y_true, y_pred):
    """The pinball loss of the 0.9 quantile."""
    error = ops.cast(y_true, y_pred.dtype) - y_pred
    return ops.mean(ops.maximum(0.9 * error, -0.1 * error), axis=-1)


@healthy(HEALTHY)
def quantile_regression():
    x, y = smooth()
    model = keras.Sequential([keras.Input((6,)), layers.Dense(48, "relu"), layers.Dense(1)])
    model.compile(keras.optimizers.Adam(5e-3), ninetieth_percentile)
    return Program(model, x, y)


@healthy(HEALTHY)
def counts_by_a_poisson_loss():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1200, 5)).astype("float32")
    y = rng.poisson(np.exp(0.7 * x[:, :1] - 0.4 * x[:, 1:2])).astype("float32")
    inputs = keras.Input((5,))
    tensor = layers.Dense(32, activation="tanh")(inputs)
    model = keras.Model(inputs, layers.Dense(1, activation="exponential")(tensor))
    model.compile(keras.optimizers.Adam(3e-3), "poisson")
    return Program(model, x, y)


@healthy(HEALTHY)
def robust_regression_on_diabetes():
    x, y = diabetes()
    model = keras.Sequential([keras.Input((10,)), layers.Dense(16, "gelu"), layers.Dense(1)])
    model.compile(keras.optimizers.Adam(3e-3), keras.losses.Huber(), metrics=["mae"])
    return Program(model, x, y)  # y of shape (rows,) beside outputs of shape (rows, 1)


@healthy(HEALTHY)
def several_tags_by_focal_loss():
    x, _ = blobs()
    tags = (x[:, :5] + x[:, 1:6] > 0.5).astype("float32")
    inputs = keras.Input((12,))
    tensor = layers.Dense(48, activation="relu")(inputs)
    model = keras.Model(inputs, layers.Dense(5, activation="sigmoid")(tensor))
    loss = keras.losses.BinaryFocalCrossentropy(gamma=2.0)
    model.compile(keras.optimizers.Adam(5e-3), loss, metrics=[keras.metrics.BinaryAccuracy()])
    return Program(model, x, tags)


@healthy(HEALTHY)
def ordered_grades_as_thresholds():
    x, y = smooth()
    grade = np.digitize(y[:, 0], (-0.8, 0.0, 0.8))
    passed = (grade[:, None] > np.arange(3)).astype("float32")  # one unit for each threshold
    model = keras.Sequential(
        [keras.Input((6,)), layers.Dense(48, "relu"), layers.Dense(3, "sigmoid")]
    )
    model.compile(keras.optimizers.Adam(5e-3), "binary_crossentropy")
    return Program(model, x, passed)


@healthy(HEALTHY)
def hinge_loss_of_signs():
    x, y = moons()
    model = keras.Sequential([keras.Input((2,)), layers.Dense(32, "relu"), layers.Dense(1)])
    model.compile(keras.optimizers.Adam(1e-2), "hinge")
    return Program(model, x, (2.0 * y - 1).astype("float32")[:, None])


@healthy(HEALTHY)
def smoothed_labels():
    x, y = digits(flat=True)
    model = keras.Sequential(
        [keras.Input((64,)), layers.Dense(64, "swish"), layers.Dense(10, "softmax")]
    )
    loss = keras.losses.CategoricalCrossentropy(label_smoothing=0.1)
    model.compile(keras.optimizers.Adam(3e-3), loss, metrics=["accuracy"])
    return Program(model, x, one_hot(y))
