"""Programs whose optimizer, rate, batch size or set of trainable weights is at fault."""

import keras
from keras import initializers, layers, ops

from doctor_programs.data_sets import (
    Batches,
    blobs,
    digits,
    moons,
    sentences,
    signals,
    smooth,
    table,
    windows,
)
from doctor_programs.program import Program, pair

PAIRS = []


def _convnet(optimizer, classes=10):
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(16, 3, activation="relu", kernel_initializer="he_normal", name="conv"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(classes, "softmax", name="out"),
        ]
    )
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def _dense(features, classes, optimizer, activation="relu"):
    inputs = keras.Input((features,))
    tensor = layers.Dense(32, activation, name="hidden")(inputs)
    outputs = layers.Dense(classes, "softmax", name="out")(tensor)
    model = keras.Model(inputs, outputs)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


@pair(PAIRS, "learning_rate_too_high", "nan")
def gradient_descent_at_ten(faulty):
    x, y = table("iris")
    model = _dense(4, 3, keras.optimizers.SGD(10.0 if faulty else 0.1), "tanh")
    return Program(model, x, y, {"batch_size": 16})


@pair(PAIRS, "learning_rate_too_high", "nan")
def adam_at_one(faulty):
    x, y = digits()
    return Program(_convnet(keras.optimizers.Adam(1.0 if faulty else 3e-3)), x, y)


@pair(PAIRS, "learning_rate_too_high", "nan", "exploding_gradient")
def momentum_and_a_high_rate_on_a_regression(faulty):
    x, y = smooth()
    model = keras.Sequential(
        [keras.Input((6,)), layers.Dense(48, "relu"), layers.Dense(48, "relu"), layers.Dense(1)]
    )
    model.compile(keras.optimizers.SGD(0.5 if faulty else 0.01, momentum=0.9), "mse")
    return Program(model, x, y)


@pair(PAIRS, "learning_rate_too_high", "nan", "exploding_gradient")
def recurrent_relu_at_a_high_rate(faulty):
    x, y = windows()
    activation, rate = ("relu", 0.3) if faulty else ("tanh", 5e-3)
    model = keras.Sequential(
        [keras.Input((20, 1)), layers.LSTM(24, activation=activation), layers.Dense(1)]
    )
    model.compile(keras.optimizers.RMSprop(rate), "mse")
    return Program(model, x, y)


@pair(PAIRS, "learning_rate_too_high")
def lion_at_the_rate_of_adam(faulty):
    x, y = blobs()
    model = _dense(12, 4, keras.optimizers.Lion(0.1 if faulty else 1e-3))
    return Program(model, x, y)


@pair(PAIRS, "learning_rate_too_low")
def adam_at_a_ten_millionth(faulty):
    x, y = digits()
    return Program(_convnet(keras.optimizers.Adam(1e-7 if faulty else 3e-3)), x, y)


@pair(PAIRS, "learning_rate_too_low")
def gradient_descent_at_a_millionth(faulty):
    x, y = smooth()
    model = keras.Sequential([keras.Input((6,)), layers.Dense(32, "tanh"), layers.Dense(1)])
    model.compile(keras.optimizers.SGD(1e-6 if faulty else 0.05), "mse")
    return Program(model, x, y)


@pair(PAIRS, "learning_rate_too_low")
def rate_that_decays_within_a_few_steps(faulty):
    x, y = blobs()
    # The author counted epochs; schedules count steps.
    steps = 1 if faulty else 400
    rate = keras.optimizers.schedules.ExponentialDecay(5e-3, steps, 0.5)
    return Program(_dense(12, 4, keras.optimizers.Adam(rate)), x, y)


@pair(PAIRS, "learning_rate_too_low", "optimizer_setting")
def adadelta_at_a_thousandth(faulty):
    x, y = table("wine")
    model = _dense(13, 3, keras.optimizers.Adadelta(0.001 if faulty else 1.0))
    return Program(model, x, y, {"batch_size": 16})


@pair(PAIRS, "optimizer_setting", "learning_rate_too_high")
def momentum_of_four_nines(faulty):
    x, y = digits()
    return Program(_convnet(keras.optimizers.SGD(0.02, momentum=0.9999 if faulty else 0.9)), x, y)


@pair(PAIRS, "optimizer_setting", "learning_rate_too_low")
def epsilon_of_one(faulty):
    x, y = blobs()
    model = _dense(12, 4, keras.optimizers.Adam(1e-3, epsilon=1.0 if faulty else 1e-7))
    return Program(model, x, y)


@pair(PAIRS, "optimizer_setting", severity="note")
def adam_without_first_moment(faulty):
    x, y = moons()
    model = _dense(2, 2, keras.optimizers.Adam(1e-2, beta_1=0.0 if faulty else 0.9))
    return Program(model, x, y)


@pair(PAIRS, "optimizer_setting", "learning_rate_too_low")
def gradients_clipped_to_a_millionth(faulty):
    x, y = digits()
    clip = {"global_clipnorm": 1e-6 if faulty else 1.0}
    return Program(_convnet(keras.optimizers.SGD(0.05, momentum=0.9, **clip)), x, y)


@pair(PAIRS, "optimizer_setting", "over_regularization")
def weight_decay_of_one(faulty):
    x, y = digits()
    optimizer = keras.optimizers.SGD(0.1, weight_decay=1.0 if faulty else 1e-4)
    return Program(_convnet(optimizer), x, y)


@pair(PAIRS, "batch_size", severity="note")
def one_batch_of_all_rows(faulty):
    x, y = blobs()
    model = _dense(12, 4, keras.optimizers.Adam(5e-3))
    return Program(model, x, y, {"batch_size": 1000 if faulty else 32})


@pair(PAIRS, "batch_size", "learning_rate_too_high", "nan")
def single_rows_at_the_rate_of_large_batches(faulty):
    x, y = smooth(600)
    model = keras.Sequential([keras.Input((6,)), layers.Dense(32, "relu"), layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.03, momentum=0.9), "mse")
    return Program(model, x, y, {"batch_size": 1 if faulty else 64})


@pair(PAIRS, "exploding_gradient", "initialization_scale", "nan")
def recurrent_net_that_grows_at_each_step(faulty):
    x, y = windows()
    recurrent = initializers.Orthogonal(gain=2.5 if faulty else 1.0)
    inputs = keras.Input((20, 1))
    tensor = layers.SimpleRNN(
        24, "relu" if faulty else "tanh", recurrent_initializer=recurrent, name="recurrent"
    )(inputs)
    model = keras.Model(inputs, layers.Dense(1)(tensor))
    model.compile(keras.optimizers.Adam(5e-3), "mse")
    return Program(model, x, y)


@pair(PAIRS, "nothing_trainable")
def whole_model_frozen(faulty):
    x, y = digits()
    model = _convnet(keras.optimizers.Adam(3e-3))
    model.trainable = not faulty
    model.compile(
        keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    return Program(model, x, y)


@pair(PAIRS, "nothing_trainable")
def head_frozen_with_the_base(faulty):
    x, y = digits(1500)
    low, high = y < 5, y >= 5
    base_model = _convnet(keras.optimizers.Adam(5e-3), 5)
    base_model.fit(x[low], y[low], epochs=6, verbose=0)
    base = keras.Model(base_model.inputs, base_model.layers[-2].output, name="base")
    base.trainable = False
    inputs = keras.Input((8, 8, 1))
    outputs = layers.Dense(5, "softmax", name="head")(base(inputs, training=False))
    model = keras.Model(inputs, outputs)
    if faulty:
        for layer in model.layers:
            layer.trainable = False
    model.compile(
        keras.optimizers.Adam(5e-3), "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    return Program(model, x[high], y[high] - 5)


@pair(PAIRS, "nothing_trainable", "vanishing_gradient", "output_activation_mismatch")
def output_rounded_before_the_loss(faulty):
    x, y = moons()
    inputs = keras.Input((2,))
    tensor = layers.Dense(24, "relu")(inputs)
    outputs = layers.Dense(1, "sigmoid", name="out")(tensor)
    model = keras.Model(inputs, ops.round(outputs) if faulty else outputs)
    model.compile(keras.optimizers.Adam(1e-2), "binary_crossentropy", metrics=["accuracy"])
    return Program(model, x, y)


@pair(PAIRS, "learning_rate_too_high", "nan")
def text_classifier_at_a_rate_of_five(faulty):
    x, y = sentences()
    model = keras.Sequential(
        [
            keras.Input((16,), dtype="int32"),
            layers.Embedding(60, 12),
            layers.GlobalAveragePooling1D(),
            layers.Dense(16, "relu"),
            layers.Dense(1, "sigmoid"),
        ]
    )
    model.compile(keras.optimizers.Adam(5.0 if faulty else 0.01), "binary_crossentropy")
    return Program(model, x, y)


@pair(PAIRS, "learning_rate_too_low")
def pipeline_with_a_rate_of_a_billionth(faulty):
    x, y = signals()
    model = keras.Sequential(
        [
            keras.Input((24, 1)),
            layers.Conv1D(16, 5, activation="relu"),
            layers.GlobalMaxPooling1D(),
            layers.Dense(3, "softmax"),
        ]
    )
    model.compile(
        keras.optimizers.Nadam(1e-9 if faulty else 1e-2), "sparse_categorical_crossentropy"
    )
    return Program(model, Batches(x, y))


@pair(PAIRS, "nothing_trainable")
def only_a_scale_is_trainable(faulty):
    x, y = blobs()
    inputs = keras.Input((12,))
    tensor = layers.Dense(48, "relu", trainable=not faulty)(inputs)
    tensor = layers.LayerNormalization(center=False)(tensor)
    outputs = layers.Dense(4, "softmax", trainable=not faulty)(tensor)
    model = keras.Model(inputs, outputs)
    model.compile(
        keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    return Program(model, x, y)
