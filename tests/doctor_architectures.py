"""Small versions of architectures in use, all healthy: the doctor has to be quiet about them."""

import keras
import numpy as np
from keras import layers, ops
from structural_cases import labels, numbers

import keras_deeptricks as kdt

ARCHITECTURES = {}
ROWS = 24


def architecture(build):
    """Registers a function that returns a model, its inputs and its targets (or None)."""
    ARCHITECTURES[build.__name__] = build
    return build


def _images(*shape):
    return numbers(ROWS, *(shape or (8, 8, 3)))


def _convolution(tensor, filters, size=3, activation="relu", **options):
    tensor = layers.Conv2D(filters, size, padding="same", use_bias=False, **options)(tensor)
    tensor = layers.BatchNormalization()(tensor)
    return layers.Activation(activation)(tensor) if activation else tensor


def _classifier(inputs, tensor):
    tensor = layers.GlobalAveragePooling2D()(tensor)
    return keras.Model(inputs, layers.Dense(3, "softmax")(tensor))


@architecture
def mobilenet_v2():
    inputs = keras.Input((8, 8, 3))
    tensor = _convolution(inputs, 8, activation="relu6")
    for filters, expansion, strides in ((4, 1, 1), (6, 6, 2), (6, 6, 1)):
        before = tensor
        channels = tensor.shape[-1]
        if expansion > 1:
            tensor = _convolution(tensor, expansion * channels, 1, "relu6")
        tensor = layers.DepthwiseConv2D(3, strides, padding="same", use_bias=False)(tensor)
        tensor = layers.BatchNormalization()(tensor)
        tensor = layers.ReLU(6.0)(tensor)
        tensor = _convolution(tensor, filters, 1, None)
        if strides == 1 and channels == filters:
            tensor = layers.Add()([before, tensor])
    return _classifier(inputs, _convolution(tensor, 24, 1, "relu6")), _images(), None


def _residual(tensor, filters, strides, zero):
    shortcut = tensor
    if strides > 1 or tensor.shape[-1] != filters:
        shortcut = _convolution(tensor, filters, 1, None, strides=strides)
    tensor = _convolution(tensor, filters, strides=strides)
    tensor = layers.Conv2D(filters, 3, padding="same", use_bias=False)(tensor)
    gamma = "zeros" if zero else "ones"
    tensor = layers.BatchNormalization(gamma_initializer=gamma)(tensor)
    return layers.ReLU()(layers.Add()([shortcut, tensor]))


@architecture
def resnet_v1_zero_init():
    inputs = keras.Input((8, 8, 3))
    tensor = _convolution(inputs, 6)
    for filters, strides in ((6, 1), (8, 2)):
        tensor = _residual(tensor, filters, strides, zero=True)
    return _classifier(inputs, tensor), _images(), None


@architecture
def resnet_v2():
    inputs = keras.Input((8, 8, 3))
    tensor = layers.Conv2D(6, 3, padding="same")(inputs)
    for _ in range(2):
        branch = tensor
        for _ in range(2):
            branch = layers.ReLU()(layers.BatchNormalization()(branch))
            branch = layers.Conv2D(6, 3, padding="same", use_bias=False)(branch)
        tensor = tensor + branch
    tensor = layers.ReLU()(layers.BatchNormalization()(tensor))
    return _classifier(inputs, tensor), _images(), None


@architecture
def densenet_by_hand():
    inputs = keras.Input((8, 8, 3))
    tensor = layers.Conv2D(6, 3, padding="same")(inputs)
    for _ in range(2):
        for _ in range(2):
            new = layers.ReLU()(layers.BatchNormalization()(tensor))
            new = layers.Conv2D(4, 3, padding="same")(new)
            tensor = layers.Concatenate()([tensor, new])
        tensor = layers.ReLU()(layers.BatchNormalization()(tensor))
        tensor = layers.AveragePooling2D(2)(layers.Conv2D(6, 1)(tensor))
    tensor = layers.ReLU()(layers.BatchNormalization()(tensor))
    return _classifier(inputs, tensor), _images(), None


@architecture
def inception_with_squeeze_and_excitation():
    inputs = keras.Input((8, 8, 3))
    branches = [_convolution(inputs, 4, 1), _convolution(_convolution(inputs, 4, 1), 4, 3)]
    branches.append(_convolution(layers.MaxPooling2D(3, 1, "same")(inputs), 4, 1))
    tensor = layers.Concatenate()(branches)
    scale = layers.GlobalAveragePooling2D()(tensor)
    scale = layers.Dense(1, "relu")(scale)
    scale = layers.Dense(12, "sigmoid")(scale)
    tensor = layers.Multiply()([tensor, layers.Reshape((1, 1, 12))(scale)])
    return _classifier(inputs, tensor), _images(), None


@architecture
def u_net():
    inputs = keras.Input((8, 8, 3))
    skips, tensor = [], inputs
    for filters in (4, 6):
        tensor = _convolution(tensor, filters)
        skips.append(tensor)
        tensor = layers.MaxPooling2D()(tensor)
    tensor = _convolution(tensor, 8)
    for filters, skip in ((6, skips[1]), (4, skips[0])):
        tensor = layers.Conv2DTranspose(filters, 2, strides=2)(tensor)
        tensor = _convolution(layers.Concatenate()([tensor, skip]), filters)
    model = keras.Model(inputs, layers.Conv2D(1, 1, activation="sigmoid")(tensor))
    return model, _images(), (_images(8, 8, 1) > 0).astype("float32")


def _encoder_block(tensor, activation="gelu"):
    width = tensor.shape[-1]
    attended = layers.MultiHeadAttention(2, width // 2, dropout=0.1)(tensor, tensor)
    tensor = layers.LayerNormalization()(layers.Add()([tensor, attended]))
    new = layers.Dense(2 * width, activation)(tensor)
    new = layers.Dropout(0.1)(layers.Dense(width)(new))
    return layers.LayerNormalization()(layers.Add()([tensor, new]))


@architecture
def transformer_of_tokens():
    inputs = keras.Input((8,), dtype="int32")
    tensor = layers.Embedding(30, 8)(inputs)
    tensor = _encoder_block(tensor, "relu")
    tensor = layers.Dropout(0.1)(layers.GlobalAveragePooling1D()(tensor))
    model = keras.Model(inputs, layers.Dense(3, "softmax")(layers.Dense(8, "relu")(tensor)))
    return model, np.random.default_rng(0).integers(1, 30, (ROWS, 8)), None


@architecture
def vision_transformer():
    inputs = keras.Input((8, 8, 3))
    tensor = layers.Conv2D(8, 4, strides=4)(inputs)
    tensor = layers.Reshape((4, 8))(tensor)
    tensor = tensor + layers.Embedding(4, 8)(np.arange(4)[None])
    tensor = _encoder_block(tensor)
    tensor = layers.Flatten()(tensor)
    model = keras.Model(inputs, layers.Dense(3)(layers.Dropout(0.5)(tensor)))
    return model, _images(), None


@architecture
def mlp_mixer():
    inputs = keras.Input((8, 8, 3))
    tensor = layers.Reshape((4, 8))(layers.Conv2D(8, 4, strides=4)(inputs))
    mixed = layers.Permute((2, 1))(layers.LayerNormalization()(tensor))
    mixed = layers.Dense(4)(layers.Dense(8, "gelu")(mixed))
    tensor = tensor + layers.Permute((2, 1))(mixed)
    mixed = layers.Dense(16, "gelu")(layers.LayerNormalization()(tensor))
    tensor = layers.Add()([tensor, layers.Dense(8)(mixed)])
    tensor = layers.GlobalAveragePooling1D()(layers.LayerNormalization()(tensor))
    return keras.Model(inputs, layers.Dense(3, "softmax")(tensor)), _images(), None


@architecture
def hand_written_attention():
    inputs = keras.Input((8, 5))
    tensor = layers.Dense(8)(inputs)
    query, key, value = (layers.Dense(8)(tensor) for _ in range(3))
    scores = layers.Softmax()(ops.matmul(query, ops.transpose(key, (0, 2, 1))) / 8**0.5)
    tensor = ops.matmul(layers.Dropout(0.1)(scores), value)
    tensor = layers.LayerNormalization()(tensor)
    pooling = layers.Dense(1)(layers.Dense(8, "tanh")(tensor))
    pooling = layers.Softmax(axis=1)(pooling)
    tensor = ops.sum(pooling * tensor, axis=1)
    return keras.Model(inputs, layers.Dense(3, "softmax")(tensor)), numbers(ROWS, 8, 5), None


@architecture
def autoencoder():
    x = numbers(ROWS, 6)
    steps = [layers.Dense(12, "relu"), layers.Dense(1), layers.Dense(12, "relu"), layers.Dense(6)]
    return keras.Sequential([keras.Input((6,)), *steps]), x, x


@architecture
def convolutional_autoencoder():
    x = _images()
    steps = [
        layers.Conv2D(4, 3, 2, "same", activation="relu"),
        layers.Conv2D(8, 3, 2, "same"),
        layers.Conv2DTranspose(8, 3, 2, "same", activation="relu"),
        layers.Conv2DTranspose(4, 3, 2, "same", activation="relu"),
        layers.Conv2D(3, 3, padding="same"),
    ]
    return keras.Sequential([keras.Input((8, 8, 3)), *steps]), x, x


class _Sampling(keras.Layer):
    def __init__(self):
        super().__init__()
        self.seed_generator = keras.random.SeedGenerator(0)

    def call(self, inputs):
        mean, log_variance = inputs
        noise = keras.random.normal(ops.shape(mean), seed=self.seed_generator)
        return mean + ops.exp(0.5 * log_variance) * noise


@architecture
def variational_autoencoder():
    inputs = keras.Input((6,))
    tensor = layers.Dense(12, "relu")(inputs)
    code = _Sampling()([layers.Dense(2)(tensor), layers.Dense(2)(tensor)])
    x = numbers(ROWS, 6)
    return keras.Model(inputs, layers.Dense(6)(layers.Dense(12, "relu")(code))), x, x


@architecture
def siamese():
    tower = keras.Sequential([keras.Input((6,)), layers.Dense(8, "relu"), layers.Dense(4)])
    inputs = [keras.Input((6,)), keras.Input((6,))]
    difference = layers.Subtract()([tower(inputs[0]), tower(inputs[1])])
    distance = layers.BatchNormalization()(ops.sum(difference**2, axis=1, keepdims=True))
    x = [numbers(ROWS, 6), numbers(ROWS, 6, seed=1)]
    y = labels(ROWS, 2).astype("float32")[:, None]
    return keras.Model(inputs, layers.Dense(1, "sigmoid")(distance)), x, y


@architecture
def wide_and_deep():
    inputs = keras.Input((6,))
    deep = layers.Dense(8, "relu")(layers.BatchNormalization()(inputs))
    deep = layers.Dense(1)(layers.Dense(8, "relu")(deep))
    outputs = layers.Dense(1)(layers.Concatenate()([inputs, deep]))
    return keras.Model(inputs, outputs), numbers(ROWS, 6), numbers(ROWS, 1)


@architecture
def mixture_of_experts():
    inputs = keras.Input((6,))
    gate = layers.Reshape((4, 1))(layers.Dense(4, "softmax")(inputs))
    experts = [layers.Reshape((1, 8))(layers.Dense(8, "relu")(inputs)) for _ in range(4)]
    experts = layers.Concatenate(axis=1)(experts)
    tensor = ops.sum(layers.Multiply()([gate, experts]), axis=1)
    return keras.Model(inputs, layers.Dense(3, "softmax")(tensor)), numbers(ROWS, 6), None


@architecture
def recurrent_stack():
    inputs = keras.Input((8, 5))
    tensor = layers.Dense(6)(inputs)
    tensor = layers.Bidirectional(layers.LSTM(4, return_sequences=True, dropout=0.2))(tensor)
    tensor = layers.GRU(4)(layers.Dropout(0.2)(tensor))
    return keras.Model(inputs, layers.Dense(3, "softmax")(tensor)), numbers(ROWS, 8, 5), None


@architecture
def wavenet():
    inputs = keras.Input((8, 5))
    tensor = layers.Conv1D(4, 1)(inputs)
    skips = []
    for dilation in (1, 2):
        options = {"padding": "causal", "dilation_rate": dilation}
        value = layers.Conv1D(4, 2, activation="tanh", **options)(tensor)
        gate = layers.Conv1D(4, 2, activation="sigmoid", **options)(tensor)
        new = layers.Conv1D(4, 1)(layers.Multiply()([value, gate]))
        skips.append(new)
        tensor = layers.Add()([tensor, new])
    tensor = layers.ReLU()(layers.Add()(skips))
    tensor = layers.Conv1D(1, 1)(layers.Conv1D(4, 1, activation="relu")(tensor))
    return keras.Model(inputs, tensor), numbers(ROWS, 8, 5), numbers(ROWS, 8, 1)


@architecture
def bag_of_embeddings():
    inputs = keras.Input((8,), dtype="int32")
    tensor = layers.GlobalAveragePooling1D()(layers.Embedding(30, 8)(inputs))
    model = keras.Model(inputs, layers.Dense(3, "softmax")(tensor))
    return model, np.random.default_rng(0).integers(0, 30, (ROWS, 8)), None


@architecture
def transfer_with_a_frozen_base():
    inputs = keras.Input((8, 8, 3))
    base = keras.Model(inputs, _convolution(_convolution(inputs, 4), 8), name="base")
    base.trainable = False
    again = keras.Input((8, 8, 3))
    tensor = layers.GlobalAveragePooling2D()(base(again, training=False))
    tensor = layers.Dropout(0.2)(tensor)
    return keras.Model(again, layers.Dense(3, "softmax")(tensor)), _images(), None


@architecture
def textbook_convnet():
    steps = [
        layers.Conv2D(4, 3, activation="relu"),
        layers.MaxPooling2D(),
        layers.Conv2D(8, 3, activation="relu"),
        layers.Flatten(),
        layers.Dropout(0.5),
        layers.Dense(3, "softmax"),
    ]
    return keras.Sequential([keras.Input((8, 8, 3)), *steps]), _images(), None


@architecture
def separable_by_hand():
    inputs = keras.Input((8, 8, 3))
    tensor = inputs
    for filters in (6, 8):
        tensor = layers.DepthwiseConv2D(3, padding="same")(tensor)
        tensor = layers.Conv2D(filters, 1)(tensor)
        tensor = layers.ReLU()(layers.BatchNormalization()(tensor))
    return _classifier(inputs, tensor), _images(), None


@architecture
def generator():
    steps = [
        layers.Dense(4 * 4 * 8),
        layers.Reshape((4, 4, 8)),
        layers.Conv2DTranspose(8, 4, 2, "same"),
        layers.LeakyReLU(),
        layers.Conv2D(3, 5, padding="same", activation="tanh"),
    ]
    return keras.Sequential([keras.Input((6,)), *steps]), numbers(ROWS, 6), _images()


@architecture
def separate_heads():
    inputs = keras.Input((6,))
    tensor = layers.Dense(8, "relu")(inputs)
    outputs = [layers.Dense(1, name="a")(tensor), layers.Dense(1, name="b")(tensor)]
    model = keras.Model(inputs, layers.Concatenate()(outputs))
    return model, numbers(ROWS, 6), numbers(ROWS, 2)


class _Block(keras.Model):
    """A subclassed residual network that uses operations between its layers."""

    def __init__(self):
        super().__init__()
        self.stem, self.first, self.second = layers.Dense(8), layers.Dense(16), layers.Dense(8)
        self.norm, self.head = layers.LayerNormalization(), layers.Dense(3)

    def call(self, inputs):
        tensor = ops.relu(self.stem(inputs))
        tensor = tensor + self.second(ops.gelu(self.first(tensor)))
        return ops.softmax(self.head(self.norm(tensor)))


@architecture
def subclassed_residual_network():
    return _Block(), numbers(ROWS, 6), None


def _default(outputs=3, **options):
    return kdt.recipes.default_network((6,), outputs, hidden_units=(8, 8, 8), **options)


@architecture
def default_network_with_dropout_and_decay():
    return _default(batch_norm_position="after", dropout=0.4, l2=1e-3), numbers(ROWS, 6), None


@architecture
def default_network_for_a_regression():
    x, y = numbers(ROWS, 6), 50 + 9 * numbers(ROWS, 1)
    options = {"adapt_to": x, "adapt_targets_to": y, "normalization": None}
    model = _default(1, task="regression", activation="selu", **options)
    return model, x, y


@architecture
def self_normalizing_network():
    model = kdt.recipes.self_normalizing_network((6,), 3, hidden_units=(16,) * 3)
    return model, numbers(ROWS, 6), None


@architecture
def recipe_of_a_resnet():
    model = kdt.recipes.resnet((8, 8, 3), 3, depth=8, filters=4, zero_init_residual=True)
    return model, _images(), None


@architecture
def recipe_of_a_wide_resnet():
    return kdt.recipes.wide_resnet((8, 8, 3), 3, depth=10, widen=1, dropout=0.3), _images(), None


@architecture
def recipe_of_a_densenet():
    return kdt.recipes.densenet((8, 8, 3), 3, depth=10, growth=4), _images(), None
