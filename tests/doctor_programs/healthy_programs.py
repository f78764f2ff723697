"""Healthy programs: Keras' documented examples, rebuilt small."""

import keras
import numpy as np
from keras import layers, ops

from doctor_programs.data_sets import digits, sentences, signals, smooth, windows
from doctor_programs.program import Program, healthy

HEALTHY = []


@healthy(HEALTHY)
def convnet_of_the_mnist_example():
    x, y = digits(1500)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(16, 3, activation="relu", padding="same"),
            layers.MaxPooling2D(2),
            layers.Conv2D(32, 3, activation="relu"),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
    labels = keras.utils.to_categorical(y, 10)
    options = {"validation_data": (x[1200:], labels[1200:])}
    return Program(model, x[:1200], labels[:1200], options)


@healthy(HEALTHY)
def bidirectional_lstm_on_reviews():
    x, y = sentences()
    inputs = keras.Input((None,), dtype="int32")
    tensor = layers.Embedding(60, 16)(inputs)
    tensor = layers.Bidirectional(layers.LSTM(12, return_sequences=True))(tensor)
    tensor = layers.Bidirectional(layers.LSTM(12))(tensor)
    model = keras.Model(inputs, layers.Dense(1, activation="sigmoid")(tensor))
    model.compile(keras.optimizers.Adam(5e-3), "binary_crossentropy", metrics=["accuracy"])
    return Program(model, x, y)


@healthy(HEALTHY)
def masked_embedding_and_gru():
    x, y = sentences()
    model = keras.Sequential(
        [
            keras.Input((16,), dtype="int32"),
            layers.Embedding(60, 16, mask_zero=True),
            layers.GRU(16, dropout=0.1),
            layers.Dense(1),
        ]
    )
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    metric = keras.metrics.BinaryAccuracy(threshold=0.0)
    model.compile(keras.optimizers.Adam(5e-3), loss, metrics=[metric])
    return Program(model, x, y)


@healthy(HEALTHY)
def convolutions_over_words():
    x, y = sentences()
    inputs = keras.Input((16,), dtype="int64")
    tensor = layers.Embedding(60, 16)(inputs)
    tensor = layers.Dropout(0.3)(tensor)
    tensor = layers.Conv1D(32, 3, padding="valid", activation="relu")(tensor)
    tensor = layers.GlobalMaxPooling1D()(tensor)
    tensor = layers.Dense(16, activation="relu")(tensor)
    model = keras.Model(inputs, layers.Dense(1, activation="sigmoid")(tensor))
    model.compile(keras.optimizers.Adam(3e-3), "binary_crossentropy", metrics=["accuracy"])
    return Program(model, x.astype("int64"), y)


class Positions(layers.Layer):
    """Embeds tokens and their positions."""

    def __init__(self, length, words, width, **kwargs):
        super().__init__(**kwargs)
        self.length = length
        self.words = layers.Embedding(words, width)
        self.places = layers.Embedding(length, width)

    def build(self, input_shape):
        self.words.build(input_shape)
        self.places.build((self.length,))

    def call(self, tokens):
        return self.words(tokens) + self.places(ops.arange(self.length))


@healthy(HEALTHY)
def transformer_block_on_reviews():
    x, y = sentences()
    inputs = keras.Input((16,), dtype="int32")
    tensor = Positions(16, 60, 16)(inputs)
    attended = layers.MultiHeadAttention(2, 8)(tensor, tensor)
    tensor = layers.LayerNormalization(epsilon=1e-6)(tensor + layers.Dropout(0.1)(attended))
    wide = layers.Dense(32, activation="relu")(tensor)
    tensor = layers.LayerNormalization(epsilon=1e-6)(tensor + layers.Dense(16)(wide))
    tensor = layers.GlobalAveragePooling1D()(tensor)
    tensor = layers.Dropout(0.1)(tensor)
    model = keras.Model(inputs, layers.Dense(2, activation="softmax")(tensor))
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return Program(model, x, y)


@healthy(HEALTHY)
def dense_autoencoder():
    x, _ = digits(flat=True)
    inputs = keras.Input((64,))
    code = layers.Dense(16, activation="relu", name="code")(inputs)
    decoded = layers.Dense(64, activation="sigmoid")(code)
    model = keras.Model(inputs, decoded)
    model.compile(keras.optimizers.Adam(5e-3), "binary_crossentropy")
    return Program(model, x, x)


@healthy(HEALTHY)
def convolutional_denoising_autoencoder():
    x, _ = digits(800)
    noise = np.random.default_rng(0).normal(0, 0.2, x.shape)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(16, 3, activation="relu", padding="same"),
            layers.MaxPooling2D(2, padding="same"),
            layers.Conv2DTranspose(16, 3, strides=2, activation="relu", padding="same"),
            layers.Conv2D(1, 3, activation="sigmoid", padding="same"),
        ]
    )
    model.compile(keras.optimizers.Adam(3e-3), "mse")
    return Program(model, (x + noise).clip(0, 1).astype("float32"), x)


class Sampling(layers.Layer):
    """Draws a code, and adds the divergence from the standard normal distribution to the loss."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.seed_generator = keras.random.SeedGenerator(0)

    def call(self, inputs):
        mean, log_variance = inputs
        divergence = ops.square(mean) + ops.exp(log_variance) - 1 - log_variance
        self.add_loss(0.5e-2 * ops.mean(ops.sum(divergence, axis=-1)))
        noise = keras.random.normal(ops.shape(mean), seed=self.seed_generator)
        return mean + ops.exp(0.5 * log_variance) * noise


@healthy(HEALTHY)
def variational_autoencoder():
    x, _ = digits(flat=True)
    inputs = keras.Input((64,))
    tensor = layers.Dense(48, activation="relu")(inputs)
    code = Sampling()(
        [layers.Dense(4, name="mean")(tensor), layers.Dense(4, name="spread")(tensor)]
    )
    tensor = layers.Dense(48, activation="relu")(code)
    model = keras.Model(inputs, layers.Dense(64, activation="sigmoid")(tensor))
    model.compile(keras.optimizers.Adam(3e-3), "binary_crossentropy")
    return Program(model, x, x)


@healthy(HEALTHY)
def forecast_by_an_lstm():
    x, y = windows()
    inputs = keras.Input((20, 1))
    tensor = layers.LSTM(32)(inputs)
    model = keras.Model(inputs, layers.Dense(1)(tensor))
    model.compile(keras.optimizers.Adam(3e-3), "mse")
    options = {"validation_data": (x[650:], y[650:]), "batch_size": 64}
    return Program(model, x[:650], y[:650], options)


@healthy(HEALTHY)
def every_next_value_of_a_wave():
    x, y = windows()
    targets = np.concatenate([x[:, 1:], y[:, None]], axis=1)
    model = keras.Sequential(
        [
            keras.Input((20, 1)),
            layers.GRU(20, return_sequences=True),
            layers.TimeDistributed(layers.Dense(1)),
        ]
    )
    model.compile(keras.optimizers.Adam(5e-3), "mse")
    return Program(model, x, targets)


@healthy(HEALTHY)
def dilated_causal_convolutions():
    x, y = signals()
    inputs = tensor = keras.Input((24, 1))
    for dilation in (1, 2, 4):
        tensor = layers.Conv1D(12, 3, padding="causal", dilation_rate=dilation, activation="relu")(
            tensor
        )
    tensor = layers.GlobalAveragePooling1D()(tensor)
    model = keras.Model(inputs, layers.Dense(3, activation="softmax")(tensor))
    model.compile(keras.optimizers.Adam(5e-3), "sparse_categorical_crossentropy")
    return Program(model, x, y)


@healthy(HEALTHY)
def segmentation_by_a_small_u_net():
    x, _ = digits(600)
    rows = np.random.default_rng(0).normal(0, 0.05, x.shape)
    classes = np.digitize(x[..., 0], (0.25, 0.7)).astype("int32")
    inputs = keras.Input((8, 8, 1))
    fine = layers.Conv2D(12, 3, padding="same", activation="relu")(inputs)
    coarse = layers.MaxPooling2D()(fine)
    coarse = layers.Conv2D(24, 3, padding="same", activation="relu")(coarse)
    tensor = layers.UpSampling2D()(coarse)
    tensor = layers.Concatenate()([fine, tensor])
    tensor = layers.Conv2D(12, 3, padding="same", activation="relu")(tensor)
    model = keras.Model(inputs, layers.Conv2D(3, 1, activation="softmax")(tensor))
    model.compile(
        keras.optimizers.Adam(5e-3), "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    return Program(model, (x + rows).astype("float32"), classes)


@healthy(HEALTHY)
def siamese_net_of_pairs():
    x, y = digits(flat=True)
    rng = np.random.default_rng(0)
    left = rng.integers(0, len(x), 1200)
    right = rng.integers(0, len(x), 1200)
    for row in range(0, 1200, 2):  # every second pair is of one class
        right[row] = rng.choice(np.flatnonzero(y == y[left[row]]))
    encoder = keras.Sequential([keras.Input((64,)), layers.Dense(48, "relu"), layers.Dense(16)])
    first, second = keras.Input((64,)), keras.Input((64,))
    apart = ops.abs(encoder(first) - encoder(second))
    model = keras.Model([first, second], layers.Dense(1, activation="sigmoid")(apart))
    model.compile(keras.optimizers.Adam(3e-3), "binary_crossentropy", metrics=["accuracy"])
    same = (y[left] == y[right]).astype("float32")
    return Program(model, [x[left], x[right]], same)


@healthy(HEALTHY)
def wide_and_deep():
    x, y = smooth()
    inputs = {"wide": keras.Input((6,), name="wide"), "deep": keras.Input((6,), name="deep")}
    deep = layers.Dense(48, activation="relu")(inputs["deep"])
    deep = layers.Dense(24, activation="relu")(deep)
    outputs = layers.Dense(1)(layers.concatenate([inputs["wide"], deep]))
    model = keras.Model(inputs, outputs)
    model.compile(keras.optimizers.Adam(3e-3), "mse")
    return Program(model, {"wide": x, "deep": x}, y)
