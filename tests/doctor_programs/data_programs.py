"""Programs whose inputs, or whose split into training and validation, are at fault."""

import keras
import numpy as np
from keras import layers

from doctor_programs.data_sets import (
    Batches,
    blobs,
    diabetes,
    digits,
    raw_table,
    smooth,
    standardized,
    table,
)
from doctor_programs.program import Program, pair

PAIRS = []


def _classifier(x, classes, hidden=(32, 16), optimizer="adam", metrics=("accuracy",)):
    model = keras.Sequential([keras.Input(x.shape[1:]), layers.Flatten()])
    for index, units in enumerate(hidden):
        model.add(layers.Dense(units, "relu", kernel_initializer="he_normal", name=f"h{index}"))
    model.add(layers.Dense(classes, "softmax", name="out"))
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=list(metrics))
    return model


def _binary(features, hidden=(16,), metrics=("accuracy",)):
    inputs = tensor = keras.Input((features,))
    for units in hidden:
        tensor = layers.Dense(units, "relu")(tensor)
    model = keras.Model(inputs, layers.Dense(1, "sigmoid", name="out")(tensor))
    model.compile(keras.optimizers.Adam(3e-3), "binary_crossentropy", metrics=list(metrics))
    return model


@pair(PAIRS, "input_nan")
def nan_in_one_cell(faulty):
    x, y = table("wine")
    x[17, 4] = np.nan if faulty else 0.0  # the column's mean
    return Program(_classifier(x, 3, (16,), keras.optimizers.Adam(1e-2)), x, y)


@pair(PAIRS, "input_nan")
def ratio_of_columns_divided_by_zero(faulty):
    x, y = table("breast_cancer")
    parts = np.random.default_rng(0).integers(0 if faulty else 1, 20, len(x))
    with np.errstate(divide="ignore"):
        share = np.float32(1) / parts
    share = share if faulty else standardized(share)
    x = np.column_stack([x, share]).astype("float32")
    return Program(_binary(x.shape[1]), x, y)


@pair(PAIRS, "input_nan")
def nan_among_the_targets(faulty):
    x, y = diabetes()
    if faulty:
        y[::50] = np.nan
    model = keras.Sequential([keras.Input((10,)), layers.Dense(16, "tanh"), layers.Dense(1)])
    model.compile(keras.optimizers.Adam(3e-3), "mse")
    return Program(model, x, y)


@pair(PAIRS, "input_scale")
def raw_pixels_into_a_dense_net(faulty):
    x, y = digits(flat=True)
    model = _classifier(x, 10, (64, 32), keras.optimizers.SGD(0.05, momentum=0.9))
    return Program(model, np.round(255 * x) if faulty else x, y)


@pair(PAIRS, "input_scale")
def raw_bytes_into_a_convnet(faulty):
    x, y = digits(800)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(16, 3, activation="tanh"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(10),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9), loss, metrics=["accuracy"])
    return Program(model, np.round(255 * x).astype("uint8") if faulty else x, y)


@pair(PAIRS, "input_scale")
def table_with_columns_in_thousands(faulty):
    x, y = raw_table("breast_cancer")
    return Program(_binary(30), x if faulty else standardized(x), y.astype("int32"))


@pair(PAIRS, "input_scale")
def unix_time_as_a_feature(faulty):
    rng = np.random.default_rng(0)
    hours = rng.uniform(0, 24 * 30, 1000)
    other = rng.normal(size=(1000, 2))
    y = np.sin(hours * np.pi / 12)[:, None] + other[:, :1]
    clock = [np.sin(hours * np.pi / 12), np.cos(hours * np.pi / 12)]
    columns = [1.7e9 + 3600 * hours] if faulty else clock
    x = np.column_stack([*columns, other]).astype("float32")
    model = keras.Sequential(
        [keras.Input((x.shape[1],)), layers.Dense(32, "relu"), layers.Dense(1)]
    )
    model.compile(keras.optimizers.Adam(3e-3), "mse")
    return Program(model, x, standardized(y))


@pair(PAIRS, "constant_feature", severity="note")
def columns_that_never_change(faulty):
    x, y = blobs()
    if faulty:
        x[:, [2, 9]] = (1.0, 0.0)
    return Program(_classifier(x, 4, optimizer=keras.optimizers.Adam(3e-3)), x, y)


@pair(PAIRS, "constant_feature", severity="note")
def the_same_column_twice(faulty):
    x, y = smooth()
    x = np.concatenate([x, x[:, 2:4]], axis=1) if faulty else x
    model = keras.Sequential(
        [keras.Input((x.shape[1],)), layers.Dense(32, "gelu"), layers.Dense(1)]
    )
    model.compile(keras.optimizers.Adam(1e-2), "mse", metrics=["mae"])
    return Program(model, x, y)


@pair(PAIRS, "few_rows")
def two_dozen_rows_for_a_wide_net(faulty):
    x, y = digits(24 if faulty else 1200)
    return Program(_classifier(x, 10, (256, 128) if faulty else (64, 32)), x, y)


@pair(PAIRS, "class_imbalance")
def one_fraud_in_fifty(faulty):
    rng = np.random.default_rng(0)
    y = (np.arange(1500) % 50 == 0).astype("int32")
    x = rng.normal(size=(1500, 8)) + y[:, None] * (np.arange(8) < 4)
    order = rng.permutation(1500)
    metric = "accuracy" if faulty else keras.metrics.AUC(name="auc")
    options = {} if faulty else {"class_weight": {0: 0.51, 1: 25.0}}
    return Program(_binary(8, metrics=[metric]), standardized(x[order]), y[order], options)


@pair(PAIRS, "class_imbalance")
def one_class_nearly_absent(faulty):
    x, y = blobs(1400, classes=5)
    kept = np.flatnonzero(y != 3)
    rare = np.flatnonzero(y == 3)
    rows = np.sort(np.concatenate([kept, rare[:6] if faulty else rare]))
    model = _classifier(x, 5, optimizer=keras.optimizers.Adam(3e-3))
    return Program(model, x[rows], y[rows])


@pair(PAIRS, "unshuffled_data")
def pipeline_sorted_by_class(faulty):
    x, y = digits(900)
    order = np.argsort(y, kind="stable") if faulty else np.arange(900)
    return Program(_classifier(x, 10), Batches(x[order], y[order]))


@pair(PAIRS, "unshuffled_data")
def pipeline_sorted_by_target(faulty):
    x, y = smooth()
    order = np.argsort(y[:, 0]) if faulty else np.arange(len(y))
    model = keras.Sequential([keras.Input((6,)), layers.Dense(32, "relu"), layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.02, momentum=0.9), "mse")
    return Program(model, Batches(x[order], y[order], 25))


@pair(PAIRS, "data_leakage")
def validation_rows_taken_from_training(faulty):
    x, y = digits(1000)
    train = slice(None) if faulty else slice(800)
    options = {"validation_data": (x[800:], y[800:])}
    return Program(_classifier(x, 10), x[train], y[train], options)


@pair(PAIRS, "data_leakage")
def oversampled_before_the_split(faulty):
    x, y = table("breast_cancer")
    copies = np.flatnonzero(y == 0)[:140]
    if faulty:
        x, y = np.concatenate([x, x[copies]]), np.concatenate([y, y[copies]])
    order = np.random.default_rng(1).permutation(len(y))
    x, y = x[order], y[order]
    return Program(_binary(30), x[:450], y[:450], {"validation_data": (x[450:], y[450:])})


@pair(PAIRS, "data_shift", "input_scale")
def validation_pixels_not_divided(faulty):
    x, y = digits(1000)
    held_back = 255 * x[800:] if faulty else x[800:]
    options = {"validation_data": (held_back, y[800:])}
    return Program(_classifier(x, 10), x[:800], y[:800], options)


@pair(PAIRS, "data_shift")
def split_of_sorted_rows(faulty):
    x, y = digits(1000)
    order = np.argsort(y, kind="stable")[::-1] if faulty else np.arange(1000)
    train, held_back = order[:800], order[800:]
    train = np.random.default_rng(0).permutation(train)
    options = {"validation_data": (x[held_back], y[held_back])}
    return Program(_classifier(x, 10), x[train], y[train], options)


@pair(PAIRS, "data_shift")
def validation_from_another_sensor(faulty):
    x, y = blobs(1200)
    held_back = x[900:] + (2.5 * (np.arange(12) < 6) if faulty else 0)
    options = {"validation_data": (held_back.astype("float32"), y[900:])}
    model = _classifier(x, 4, optimizer=keras.optimizers.Adam(3e-3))
    return Program(model, x[:900], y[:900], options)
