"""Programs whose loss or metric is at fault, or that give NaN."""

import keras
import numpy as np
from keras import layers, ops

from doctor_programs.data_sets import (
    blobs,
    diabetes,
    digits,
    moons,
    one_hot,
    sentences,
    smooth,
    table,
)
from doctor_programs.program import Program, pair

PAIRS = []


def _functional(features, units, activation, loss, metrics=(), rate=3e-3):
    inputs = keras.Input((features,), name="features")
    tensor = layers.Dense(40, activation="relu", name="hidden")(inputs)
    outputs = layers.Dense(units, activation=activation, name="out")(tensor)
    model = keras.Model(inputs, outputs)
    model.compile(optimizer=keras.optimizers.Adam(rate), loss=loss, metrics=list(metrics))
    return model


@pair(PAIRS, "loss_mismatch")
def binary_crossentropy_of_ten_exclusive_classes(faulty):
    x, y = digits(flat=True)
    loss = "binary_crossentropy" if faulty else "categorical_crossentropy"
    return Program(_functional(64, 10, "softmax", loss, ["accuracy"]), x, one_hot(y))


@pair(PAIRS, "loss_mismatch", severity="note")
def squared_error_of_softmax(faulty):
    x, y = blobs()
    loss = "mse" if faulty else "categorical_crossentropy"
    return Program(_functional(12, 4, "softmax", loss, ["accuracy"]), x, one_hot(y))


@pair(PAIRS, "loss_mismatch", "output_units")
def absolute_error_of_class_numbers(faulty):
    x, y = table("wine")
    if faulty:
        model = _functional(13, 1, None, "mae")
    else:
        model = _functional(13, 3, "softmax", "sparse_categorical_crossentropy")
    return Program(model, x, y, {"batch_size": 16})


@pair(PAIRS, "loss_mismatch", "label_range", "output_activation_mismatch")
def binary_crossentropy_of_a_continuous_target(faulty):
    x, y = diabetes()
    loss, activation = ("binary_crossentropy", "sigmoid") if faulty else ("mse", None)
    return Program(_functional(10, 1, activation, loss), x, y)


@pair(PAIRS, "loss_mismatch", "output_units")
def categorical_crossentropy_with_one_unit(faulty):
    x, y = table("breast_cancer")
    loss = "categorical_crossentropy" if faulty else "binary_crossentropy"
    return Program(_functional(30, 1, "sigmoid", loss, ["accuracy"]), x, y[:, None])


@pair(PAIRS, "from_logits_mismatch", "double_softmax", layer="out")
def logits_expected_from_a_softmax(faulty):
    x, y = digits(flat=True)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=faulty)
    return Program(_functional(64, 10, "softmax", loss, ["accuracy"]), x, y)


@pair(PAIRS, "from_logits_mismatch", layer="out")
def probabilities_expected_from_linear_units(faulty):
    x, y = blobs()
    loss = keras.losses.CategoricalCrossentropy(from_logits=not faulty)
    return Program(_functional(12, 4, None, loss, ["accuracy"]), x, one_hot(y))


@pair(PAIRS, "from_logits_mismatch", layer="out")
def logits_expected_from_a_sigmoid(faulty):
    x, y = sentences()
    inputs = keras.Input((16,), dtype="int32")
    tensor = layers.Embedding(60, 8)(inputs)
    tensor = layers.GlobalAveragePooling1D()(tensor)
    model = keras.Model(inputs, layers.Dense(1, "sigmoid", name="out")(tensor))
    loss = keras.losses.BinaryCrossentropy(from_logits=faulty)
    model.compile(keras.optimizers.Adam(1e-2), loss, metrics=["accuracy"])
    return Program(model, x, y)


@pair(PAIRS, "from_logits_mismatch", "output_activation_mismatch", layer="out")
def sigmoid_forgotten(faulty):
    x, y = moons()
    activation = None if faulty else "sigmoid"
    model = _functional(2, 1, activation, "binary_crossentropy", ["accuracy"], 1e-2)
    return Program(model, x, y)


@pair(PAIRS, "from_logits_mismatch", layer="label")
def one_head_of_two_without_softmax(faulty):
    x, y = digits()
    inputs = keras.Input((8, 8, 1))
    tensor = layers.Conv2D(16, 3, strides=2, activation="relu")(inputs)
    tensor = layers.Flatten()(tensor)
    outputs = [
        layers.Dense(10, None if faulty else "softmax", name="label")(tensor),
        layers.Dense(1, "sigmoid", name="even")(tensor),
    ]
    model = keras.Model(inputs, outputs)
    losses = ["sparse_categorical_crossentropy", "binary_crossentropy"]
    model.compile(keras.optimizers.Adam(5e-3), losses)
    return Program(model, x, [y, (y % 2 == 0).astype("float32")])


@pair(PAIRS, "metric_mismatch")
def accuracy_of_a_regression(faulty):
    x, y = smooth()
    metric = "accuracy" if faulty else keras.metrics.RootMeanSquaredError()
    return Program(_functional(6, 1, None, "mse", [metric]), x, y)


@pair(PAIRS, "metric_mismatch")
def equality_of_labels_and_probabilities(faulty):
    x, y = table("breast_cancer")
    metric = keras.metrics.Accuracy() if faulty else keras.metrics.BinaryAccuracy()
    return Program(_functional(30, 1, "sigmoid", "binary_crossentropy", [metric]), x, y[:, None])


@pair(PAIRS, "metric_mismatch", severity="note")
def accuracy_that_cuts_logits_at_a_half(faulty):
    x, y = moons()
    metric = keras.metrics.BinaryAccuracy(threshold=0.5 if faulty else 0.0)
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    return Program(_functional(2, 1, None, loss, [metric], 1e-2), x, y)


@pair(PAIRS, "metric_mismatch")
def binary_accuracy_of_ten_classes(faulty):
    x, y = digits(flat=True)
    metric = "binary_accuracy" if faulty else "categorical_accuracy"
    model = _functional(64, 10, "softmax", "categorical_crossentropy", [metric])
    return Program(model, x, one_hot(y))


def log_error(y_true, y_pred):
    """The squared error of logarithms: NaN where a prediction is negative."""
    return ops.mean(ops.square(ops.log(y_true) - ops.log(y_pred)), axis=-1)


@pair(PAIRS, "nan")
def logarithm_of_negative_predictions(faulty):
    x, y = smooth()
    activation = None if faulty else "softplus"
    return Program(_functional(6, 1, activation, log_error, rate=5e-3), x, np.exp(0.5 * y))


class Distance(layers.Layer):
    """The Euclidean distance of two tensors, whose gradient at 0 is infinite without `epsilon`."""

    def __init__(self, epsilon, **kwargs):
        super().__init__(**kwargs)
        self.epsilon = epsilon

    def call(self, inputs):
        first, second = inputs
        squares = ops.sum(ops.square(first - second), axis=-1, keepdims=True)
        return ops.sqrt(squares + self.epsilon)


def contrastive(y_true, y_pred):
    """Draws pairs of one class (0) together and pushes others (1) a distance of 1 apart."""
    apart = ops.cast(y_true, y_pred.dtype)
    margin = ops.square(ops.maximum(1.0 - y_pred, 0.0))
    return ops.mean((1.0 - apart) * ops.square(y_pred) + apart * margin, axis=-1)


@pair(PAIRS, "nan")
def root_of_zero_between_twins(faulty):
    x, y = digits(flat=True)
    rng = np.random.default_rng(0)
    rows = rng.integers(0, len(x), (1000, 2))
    for row in range(0, 1000, 2):
        rows[row, 1] = rng.choice(np.flatnonzero(y == y[rows[row, 0]]))
    rows[::20, 1] = rows[::20, 0]  # the same image twice
    encoder = keras.Sequential([keras.Input((64,)), layers.Dense(32, "relu"), layers.Dense(8)])
    inputs = [keras.Input((64,)), keras.Input((64,))]
    distance = Distance(0.0 if faulty else 1e-6, name="distance")
    model = keras.Model(inputs, distance([encoder(tensor) for tensor in inputs]))
    model.compile(keras.optimizers.Adam(3e-3), contrastive)
    other = (y[rows[:, 0]] != y[rows[:, 1]]).astype("float32")[:, None]
    return Program(model, [x[rows[:, 0]], x[rows[:, 1]]], other)


class Share(layers.Layer):
    """Each feature's share of the row's total."""

    def __init__(self, epsilon, **kwargs):
        super().__init__(**kwargs)
        self.epsilon = epsilon

    def call(self, inputs):
        return inputs / (ops.sum(inputs, axis=-1, keepdims=True) + self.epsilon)


@pair(PAIRS, "nan")
def division_by_the_total_of_an_empty_row(faulty):
    rng = np.random.default_rng(0)
    x = rng.poisson(4.0, (1000, 6)).astype("float32")
    x[::40] = 0
    y = (x[:, 0] + x[:, 1] > x[:, 2] + x[:, 3]).astype("float32")
    model = keras.Sequential(
        [
            keras.Input((6,)),
            Share(0.0 if faulty else 1e-3, name="share"),
            layers.Rescaling(6.0, offset=-1.0),
            layers.Dense(24, "relu"),
            layers.Dense(1, "sigmoid"),
        ]
    )
    model.compile(keras.optimizers.Adam(1e-2), "binary_crossentropy", metrics=["accuracy"])
    return Program(model, x, y)
