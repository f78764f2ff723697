"""Programs whose targets are at fault: their scale, range, shape, or their tie to the inputs."""

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
    sentences,
    signals,
    smooth,
    standardized,
    table,
    windows,
)
from doctor_programs.program import Program, pair

PAIRS = []


def _regressor(features, optimizer, loss="mse", units=32):
    model = keras.Sequential(
        [
            keras.Input((features,)),
            layers.Dense(units, "relu", kernel_initializer="he_uniform"),
            layers.Dense(1, name="out"),
        ]
    )
    model.compile(optimizer, loss)
    return model


def _digit_net(loss, units=10):
    model = keras.Sequential(
        [
            keras.Input((64,)),
            layers.Dense(48, "relu"),
            layers.Dense(units, "softmax", name="out"),
        ]
    )
    model.compile(keras.optimizers.Adam(3e-3), loss, metrics=["accuracy"])
    return model


@pair(PAIRS, "target_scale")
def prices_in_hundreds_of_thousands(faulty):
    x, y = smooth()
    model = _regressor(6, keras.optimizers.SGD(0.02, momentum=0.9))
    return Program(model, x, 250_000 + 80_000 * y if faulty else y)


@pair(PAIRS, "target_scale")
def disease_progression_as_it_comes(faulty):
    x, y = diabetes()
    return Program(_regressor(10, "adam", "mae"), x, raw_table("diabetes")[1] if faulty else y)


@pair(PAIRS, "target_scale", layer="price")
def one_head_of_two_in_tens_of_thousands(faulty):
    x, y = smooth()
    inputs = keras.Input((6,))
    shared = layers.Dense(32, "relu")(inputs)
    outputs = {
        "price": layers.Dense(1, name="price")(shared),
        "sold": layers.Dense(1, "sigmoid", name="sold")(shared),
    }
    model = keras.Model(inputs, outputs)
    model.compile(keras.optimizers.Adam(5e-3), {"price": "mse", "sold": "binary_crossentropy"})
    price = 40_000 + 9_000 * y if faulty else y
    return Program(model, x, {"price": price, "sold": (x[:, :1] > 0).astype("float32")})


@pair(PAIRS, "label_range")
def labels_from_one_to_ten(faulty):
    x, y = digits(flat=True)
    return Program(_digit_net("sparse_categorical_crossentropy"), x, y + 1 if faulty else y)


@pair(PAIRS, "label_range")
def minus_one_and_one_against_a_sigmoid(faulty):
    x, y = moons()
    model = keras.Sequential(
        [keras.Input((2,)), layers.Dense(24, "tanh"), layers.Dense(1, "sigmoid", name="out")]
    )
    model.compile(keras.optimizers.Adam(1e-2), "binary_crossentropy", metrics=["accuracy"])
    return Program(model, x, 2 * y - 1 if faulty else y)


@pair(PAIRS, "label_range")
def mask_of_0_and_255(faulty):
    x, _ = digits(600)
    mask = x > 0.5
    inputs = keras.Input((8, 8, 1))
    tensor = layers.Conv2D(12, 3, padding="same", activation="relu")(inputs)
    outputs = layers.Conv2D(1, 1, activation="sigmoid", name="mask")(tensor)
    model = keras.Model(inputs, outputs)
    model.compile(keras.optimizers.Adam(1e-2), "binary_crossentropy")
    return Program(model, x, (255 if faulty else 1) * mask.astype("float32"))


@pair(PAIRS, "label_range", "output_units")
def a_class_without_unit(faulty):
    x, y = blobs(classes=4)
    model = keras.Sequential(
        [keras.Input((12,)), layers.Dense(24, "elu"), layers.Dense(3 if faulty else 4, name="out")]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(3e-3), loss)
    return Program(model, x, y)


@pair(PAIRS, "label_shape", "loss_mismatch")
def integers_against_categorical_crossentropy(faulty):
    x, y = digits(flat=True)
    return Program(_digit_net("categorical_crossentropy"), x, y if faulty else one_hot(y))


@pair(PAIRS, "label_shape", "loss_mismatch")
def one_hot_against_sparse_crossentropy(faulty):
    x, y = table("iris")
    model = keras.Sequential(
        [keras.Input((4,)), layers.Dense(16, "relu"), layers.Dense(3, "softmax")]
    )
    model.compile(
        keras.optimizers.Adam(1e-2), "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    return Program(model, x, one_hot(y) if faulty else y, {"batch_size": 16})


class SquaredError(keras.losses.Loss):
    """A mean squared error that forgets to look at the shapes."""

    def call(self, y_true, y_pred):
        return ops.square(ops.cast(y_true, y_pred.dtype) - y_pred)


@pair(PAIRS, "label_shape")
def targets_broadcast_in_a_custom_loss(faulty):
    x, y = smooth()
    loss = SquaredError()
    return Program(_regressor(6, keras.optimizers.Adam(1e-2), loss), x, y[:, 0] if faulty else y)


@pair(PAIRS, "label_shape", "architecture")
def whole_sequence_against_one_value(faulty):
    x, y = windows()
    model = keras.Sequential(
        [
            keras.Input((20, 1)),
            layers.GRU(16, return_sequences=True),
            layers.GRU(16, return_sequences=faulty, name="last_gru"),
            layers.Dense(1, name="out"),
        ]
    )
    model.compile(keras.optimizers.Adam(5e-3), "mse")
    return Program(model, x, y)


@pair(PAIRS, "label_shape", "architecture")
def class_per_step_against_class_per_row(faulty):
    x, y = signals()
    model = keras.Sequential(
        [
            keras.Input((24, 1)),
            layers.LSTM(24, return_sequences=faulty),
            layers.Dense(3, "softmax", name="out"),
        ]
    )
    model.compile(
        keras.optimizers.Adam(1e-2), "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    return Program(model, x, y)


@pair(PAIRS, "label_shape", "architecture")
def embedding_without_pooling(faulty):
    x, y = sentences()
    steps = [keras.Input((16,), dtype="int32"), layers.Embedding(60, 12)]
    steps += [] if faulty else [layers.GlobalAveragePooling1D()]
    model = keras.Sequential([*steps, layers.Dense(1, "sigmoid", name="out")])
    model.compile(keras.optimizers.Adam(1e-2), "binary_crossentropy", metrics=["accuracy"])
    return Program(model, x, y)


@pair(PAIRS, "label_shape", "architecture")
def images_without_flatten(faulty):
    x, y = digits()
    flatten = [] if faulty else [layers.Flatten()]
    model = keras.Sequential(
        [keras.Input((8, 8, 1)), *flatten, layers.Dense(48, "relu"), layers.Dense(10, "softmax")]
    )
    model.compile(
        keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    return Program(model, x, y)


@pair(PAIRS, "labels_unrelated")
def labels_shuffled_against_the_images(faulty):
    x, y = digits(flat=True)
    labels = np.random.default_rng(1).permutation(y) if faulty else y
    return Program(_digit_net("sparse_categorical_crossentropy"), x, labels)


@pair(PAIRS, "labels_unrelated")
def targets_of_other_rows(faulty):
    x, y = smooth()
    targets = np.roll(y, 1, axis=0) if faulty else y
    return Program(_regressor(6, keras.optimizers.Adam(3e-3)), x, targets)


@pair(PAIRS, "labels_unrelated")
def only_the_inputs_were_shuffled(faulty):
    x, y = table("breast_cancer")
    order = np.random.default_rng(1).permutation(len(y))
    model = keras.Sequential(
        [keras.Input((30,)), layers.Dense(16, "relu"), layers.Dense(1, "sigmoid")]
    )
    model.compile(keras.optimizers.Adam(3e-3), "binary_crossentropy", metrics=["accuracy"])
    return Program(model, x[order], y if faulty else y[order])


@pair(PAIRS, "target_scale")
def growth_rates_of_a_millionth(faulty):
    x, y = smooth()
    y = standardized(y)
    return Program(_regressor(6, keras.optimizers.Adam(3e-3)), x, 1e-6 * y if faulty else y)
