"""Healthy programs: structures of networks, ways of writing a model, pipelines of data."""

import keras
import numpy as np
from keras import layers, ops

from doctor_programs.data_sets import (
    Batches,
    blobs,
    digits,
    signals,
    standardized,
    table,
)
from doctor_programs.program import Program, healthy

HEALTHY = []


@healthy(HEALTHY)
def mixed_precision():
    x, y = digits(flat=True)
    inputs = keras.Input((64,))
    tensor = layers.Dense(64, activation="relu", dtype="mixed_bfloat16")(inputs)
    tensor = layers.Dense(32, activation="relu", dtype="mixed_bfloat16")(tensor)
    model = keras.Model(inputs, layers.Dense(10, activation="softmax", dtype="float32")(tensor))
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return Program(model, x, y)


@healthy(HEALTHY)
def residual_blocks_by_hand():
    x, y = digits(800)
    inputs = keras.Input((8, 8, 1))
    tensor = layers.Conv2D(16, 3, padding="same", kernel_initializer="he_normal")(inputs)
    for _ in range(2):
        branch = layers.BatchNormalization(momentum=0.9)(tensor)
        branch = layers.ReLU()(branch)
        branch = layers.Conv2D(
            16, 3, padding="same", use_bias=False, kernel_initializer="he_normal"
        )(branch)
        tensor = layers.Add()([tensor, branch])
    tensor = layers.BatchNormalization(momentum=0.9)(tensor)
    tensor = layers.ReLU()(tensor)
    tensor = layers.GlobalAveragePooling2D()(tensor)
    model = keras.Model(inputs, layers.Dense(10, activation="softmax")(tensor))
    model.compile(keras.optimizers.Adam(5e-3), "sparse_categorical_crossentropy")
    return Program(model, x, y)


@healthy(HEALTHY)
def inverted_bottlenecks_of_a_mobile_net():
    x, y = digits(800)
    inputs = keras.Input((8, 8, 1))
    tensor = layers.Conv2D(12, 3, padding="same", use_bias=False)(inputs)
    for _ in range(2):
        branch = layers.Conv2D(36, 1, use_bias=False)(tensor)
        branch = layers.BatchNormalization(momentum=0.9)(branch)
        branch = layers.ReLU(6.0)(branch)
        branch = layers.DepthwiseConv2D(3, padding="same", use_bias=False)(branch)
        branch = layers.BatchNormalization(momentum=0.9)(branch)
        branch = layers.ReLU(6.0)(branch)
        branch = layers.Conv2D(12, 1, use_bias=False)(branch)  # linear on purpose
        branch = layers.BatchNormalization(momentum=0.9)(branch)
        tensor = layers.add([tensor, branch])
    tensor = layers.GlobalAveragePooling2D()(tensor)
    model = keras.Model(inputs, layers.Dense(10, activation="softmax")(tensor))
    model.compile(
        keras.optimizers.Adam(1e-2), "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    return Program(model, x, y)


@healthy(HEALTHY)
def separable_convolutions():
    x, y = digits(800)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(16, 3, activation="relu"),
            layers.SeparableConv2D(32, 3, activation="relu"),
            layers.Flatten(),
            layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(keras.optimizers.Nadam(3e-3), "sparse_categorical_crossentropy")
    return Program(model, x, y)


class Mixer(layers.Layer):
    """Mixes over patches, then over channels, each as a residual branch with layer norm."""

    def __init__(self, patches, width, **kwargs):
        super().__init__(**kwargs)
        self.norms = [layers.LayerNormalization(epsilon=1e-6) for _ in range(2)]
        self.patches = keras.Sequential([layers.Dense(32, "gelu"), layers.Dense(patches)])
        self.channels = keras.Sequential([layers.Dense(48, "gelu"), layers.Dense(width)])

    def call(self, inputs):
        turned = ops.transpose(self.norms[0](inputs), (0, 2, 1))
        tensor = inputs + ops.transpose(self.patches(turned), (0, 2, 1))
        return tensor + self.channels(self.norms[1](tensor))


@healthy(HEALTHY)
def patches_through_a_mixer():
    x, y = digits(800)
    inputs = keras.Input((8, 8, 1))
    tensor = layers.Conv2D(24, 2, strides=2)(inputs)  # 2×2 patches
    tensor = layers.Reshape((16, 24))(tensor)
    tensor = Mixer(16, 24)(tensor)
    tensor = layers.LayerNormalization(epsilon=1e-6)(tensor)
    tensor = layers.GlobalAveragePooling1D()(tensor)
    model = keras.Model(inputs, layers.Dense(10, activation="softmax")(tensor))
    model.compile(
        keras.optimizers.AdamW(3e-3, weight_decay=1e-4), "sparse_categorical_crossentropy"
    )
    return Program(model, x, y)


@healthy(HEALTHY)
def rare_class_with_class_weights():
    rng = np.random.default_rng(0)
    y = (np.arange(1500) % 25 == 0).astype("int32")
    x = rng.normal(size=(1500, 8)) + 1.5 * y[:, None] * (np.arange(8) < 4)
    order = rng.permutation(1500)
    inputs = keras.Input((8,))
    tensor = layers.Dense(16, activation="relu")(inputs)
    model = keras.Model(inputs, layers.Dense(1, activation="sigmoid")(tensor))
    metrics = [keras.metrics.AUC(curve="PR"), keras.metrics.Recall()]
    model.compile(keras.optimizers.Adam(3e-3), "binary_crossentropy", metrics=metrics)
    options = {"class_weight": {0: 0.52, 1: 12.5}}
    return Program(model, standardized(x[order]), y[order], options)


@healthy(HEALTHY)
def arrays_sorted_by_class():
    x, y = digits(flat=True)
    order = np.argsort(y, kind="stable")
    model = keras.Sequential(
        [keras.Input((64,)), layers.Dense(64, "relu"), layers.Dense(10, "softmax")]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return Program(model, x[order], y[order])  # fit shuffles arrays


class Classifier(keras.Model):
    """A subclassed model with batch norm and dropout."""

    def __init__(self, classes):
        super().__init__()
        self.hidden = layers.Dense(48, use_bias=False)
        self.norm = layers.BatchNormalization(momentum=0.9)
        self.drop = layers.Dropout(0.2)
        self.out = layers.Dense(classes, activation="softmax")

    def call(self, inputs, training=False):
        tensor = ops.relu(self.norm(self.hidden(inputs), training=training))
        return self.out(self.drop(tensor, training=training))


@healthy(HEALTHY)
def subclassed_classifier():
    x, y = table("wine")
    model = Classifier(3)
    model.compile(keras.optimizers.Adam(1e-2), "sparse_categorical_crossentropy")
    return Program(model, x, y, {"batch_size": 16})


@healthy(HEALTHY)
def nested_encoder_and_head():
    x, y = signals()
    encoder = keras.Sequential(
        [
            keras.Input((24, 1)),
            layers.Conv1D(16, 5, activation="relu"),
            layers.MaxPooling1D(2),
            layers.Conv1D(16, 3, activation="relu"),
            layers.GlobalAveragePooling1D(),
        ],
        name="encoder",
    )
    head = keras.Sequential([keras.Input((16,)), layers.Dense(3, "softmax")], name="head")
    model = keras.Sequential([keras.Input((24, 1)), encoder, head])
    model.compile(
        keras.optimizers.RMSprop(3e-3), "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    return Program(model, x, y)


def _small_net():
    model = keras.Sequential(
        [keras.Input((12,)), layers.Dense(32, "relu"), layers.Dense(4, "softmax")]
    )
    model.compile(keras.optimizers.Adam(5e-3), "sparse_categorical_crossentropy")
    return model


@healthy(HEALTHY)
def batches_of_a_py_dataset():
    x, y = blobs()
    held_back = Batches(x[800:], y[800:])
    return Program(_small_net(), Batches(x[:800], y[:800]), None, {"validation_data": held_back})


@healthy(HEALTHY)
def batches_of_a_generator():
    x, y = blobs()

    def batches():
        for _ in range(20):
            for start in range(0, len(x), 40):
                yield x[start : start + 40], y[start : start + 40]

    return Program(_small_net(), batches())


if keras.config.backend() == "tensorflow":

    @healthy(HEALTHY)
    def pipeline_of_tf_data():
        import tensorflow as tf

        x, y = blobs()
        data = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(1000, seed=0).batch(32)
        return Program(_small_net(), data.prefetch(1))
