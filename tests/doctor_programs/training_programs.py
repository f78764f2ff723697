"""Programs that only a longer training shows to fit too little or too much."""

import keras
import numpy as np
import sklearn.datasets
from keras import layers, regularizers

from doctor_programs.data_sets import blobs, digits, smooth, standardized
from doctor_programs.program import Program, pair

PAIRS = []


def _options(x, y, train):
    return {"level": "full", "validation_data": (x[train:], y[train:])}


@pair(PAIRS, "underfitting", "labels_unrelated", "missing_nonlinearity")
def straight_line_between_circles(faulty):
    x, y = sklearn.datasets.make_circles(800, noise=0.08, factor=0.5, random_state=0)
    x, y = standardized(x), y.astype("int32")
    hidden = [] if faulty else [layers.Dense(24, "relu")]
    model = keras.Sequential([keras.Input((2,)), *hidden, layers.Dense(1, "sigmoid")])
    model.compile(keras.optimizers.Adam(1e-2), "binary_crossentropy", metrics=["accuracy"])
    return Program(model, x, y, {"level": "full"})


@pair(PAIRS, "underfitting", "architecture")
def one_hidden_unit_for_ten_digits(faulty):
    x, y = digits(flat=True)
    inputs = keras.Input((64,))
    tensor = layers.Dense(1 if faulty else 48, "tanh", name="hidden")(inputs)
    model = keras.Model(inputs, layers.Dense(10, "softmax")(tensor))
    model.compile(
        keras.optimizers.Adam(5e-3), "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    return Program(model, x, y, {"level": "full"})


@pair(PAIRS, "underfitting", "architecture")
def two_units_for_a_curved_surface(faulty):
    x, y = smooth()
    model = keras.Sequential(
        [keras.Input((6,)), layers.Dense(2 if faulty else 48, "tanh"), layers.Dense(1)]
    )
    model.compile(keras.optimizers.Adam(1e-2), "mse")
    return Program(model, x, y, {"level": "full"})


@pair(PAIRS, "overfitting", "few_rows")
def wide_net_learns_the_noise(faulty):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(900, 30)).astype("float32")
    y = (x[:, 0] + x[:, 1] + (1.5 if faulty else 0.2) * rng.normal(size=900) > 0).astype("int32")
    train = 150 if faulty else 700
    units = 256 if faulty else 16
    model = keras.Sequential(
        [
            keras.Input((30,)),
            layers.Dense(units, "relu"),
            layers.Dropout(0.0 if faulty else 0.2),
            layers.Dense(1, "sigmoid"),
        ]
    )
    model.compile(keras.optimizers.Adam(3e-3), "binary_crossentropy", metrics=["accuracy"])
    return Program(model, x[:train], y[:train], _options(x, y, train))


@pair(PAIRS, "overfitting", "few_rows")
def regression_fits_its_few_rows_by_heart(faulty):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(900, 40)).astype("float32")
    noise = 1.0 if faulty else 0.1
    y = standardized(x[:, :1] + 0.5 * x[:, 1:2] + noise * rng.normal(size=(900, 1)))
    train = 80 if faulty else 700
    inputs = keras.Input((40,))
    tensor = layers.Dense(200 if faulty else 8, "relu")(inputs)
    model = keras.Model(inputs, layers.Dense(1)(tensor))
    model.compile(keras.optimizers.Adam(5e-3), "mse")
    return Program(model, x[:train], y[:train], _options(x, y, train))


@pair(PAIRS, "over_regularization", layer=("h0", "h1", "out"))
def l2_penalty_of_one(faulty):
    x, y = digits(flat=True)
    penalty = 1.0 if faulty else 1e-4
    model = keras.Sequential([keras.Input((64,))])
    for name, units, activation in (("h0", 48, "relu"), ("h1", 32, "relu"), ("out", 10, "softmax")):
        regularizer = regularizers.L2(penalty)
        model.add(layers.Dense(units, activation, kernel_regularizer=regularizer, name=name))
    model.compile(
        keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    return Program(model, x, y)


@pair(PAIRS, "over_regularization", layer="hidden")
def l1_penalty_of_a_half(faulty):
    x, y = smooth()
    inputs = keras.Input((6,))
    regularizer = regularizers.L1(0.5 if faulty else 1e-5)
    tensor = layers.Dense(32, "relu", kernel_regularizer=regularizer, name="hidden")(inputs)
    model = keras.Model(inputs, layers.Dense(1)(tensor))
    model.compile(keras.optimizers.Adam(1e-2), "mse")
    return Program(model, x, y)


@pair(PAIRS, "over_regularization", "optimizer_setting")
def decoupled_decay_that_eats_the_weights(faulty):
    x, y = blobs()
    model = keras.Sequential(
        [keras.Input((12,)), layers.Dense(32, "elu"), layers.Dense(4, "softmax")]
    )
    decay = 50.0 if faulty else 1e-3
    optimizer = keras.optimizers.AdamW(3e-3, weight_decay=decay)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return Program(model, x, y)


@pair(PAIRS, "over_regularization", "dropout_misuse", layer=("drop_0", "drop_1"))
def dropout_keeps_one_unit_in_twenty(faulty):
    x, y = digits()
    inputs = keras.Input((8, 8, 1))
    tensor = layers.Conv2D(16, 3, activation="relu")(inputs)
    tensor = layers.SpatialDropout2D(0.5 if faulty else 0.05, name="drop_0")(tensor)
    tensor = layers.Flatten()(tensor)
    tensor = layers.Dropout(0.95 if faulty else 0.1, name="drop_1")(tensor)
    model = keras.Model(inputs, layers.Dense(10, "softmax")(tensor))
    model.compile(
        keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    return Program(model, x, y)
