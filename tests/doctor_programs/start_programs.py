"""Programs that start badly: initialization, the first loss, constant output, dead units."""

import keras
from keras import initializers, layers, ops

from doctor_programs.data_sets import blobs, digits, moons, sentences, smooth, table
from doctor_programs.program import Program, pair

PAIRS = []


def _stack(
    features, classes, depth, units, activation, kernel=None, optimizer="adam", bias="zeros"
):
    """Dense layers "h0", "h1" and so on, and the output "out"."""
    model = keras.Sequential([keras.Input((features,))])
    kernel = kernel or "glorot_uniform"
    for index in range(depth):
        model.add(
            layers.Dense(
                units,
                activation,
                # A copy each, since an initializer object draws the same numbers every time.
                kernel_initializer=initializers.get(kernel).clone()
                if isinstance(kernel, initializers.Initializer)
                else kernel,
                bias_initializer=bias,
                name=f"h{index}",
            )
        )
    model.add(layers.Dense(classes, "softmax", name="out"))
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def _adam(rate=2e-3):
    return keras.optimizers.Adam(rate)


@pair(PAIRS, "initialization_constant", "constant_output")
def all_weights_zero(faulty):
    x, y = digits(flat=True)
    kernel = "zeros" if faulty else "he_normal"
    inputs = keras.Input((64,))
    tensor = layers.Dense(48, "relu", kernel_initializer=kernel, name="first")(inputs)
    tensor = layers.Dense(24, "relu", kernel_initializer=kernel, name="second")(tensor)
    model = keras.Model(inputs, layers.Dense(10, "softmax", kernel_initializer=kernel)(tensor))
    model.compile(_adam(), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return Program(model, x, y)


@pair(PAIRS, "initialization_constant", layer="hidden")
def hidden_weights_all_a_tenth(faulty):
    x, y = smooth()
    kernel = initializers.Constant(0.1) if faulty else "glorot_normal"
    model = keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(32, "tanh", kernel_initializer=kernel, name="hidden"),
            layers.Dense(1),
        ]
    )
    model.compile(keras.optimizers.Adam(1e-2), "mse")
    return Program(model, x, y)


@pair(PAIRS, "initialization_constant", layer="conv")
def filters_of_ones(faulty):
    x, y = digits()
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(
                16,
                3,
                activation="relu",
                kernel_initializer="ones" if faulty else "he_uniform",
                name="conv",
            ),
            layers.Flatten(),
            layers.Dense(10, "softmax"),
        ]
    )
    model.compile(_adam(), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return Program(model, x, y)


@pair(PAIRS, "initialization_scale", "vanishing_gradient")
def deep_tanh_net_of_tiny_weights(faulty):
    x, y = blobs()
    kernel = initializers.RandomNormal(stddev=0.01) if faulty else None
    return Program(_stack(12, 4, 8, 64, "tanh", kernel, _adam(5e-4)), x, y)


@pair(PAIRS, "saturated_units", "initialization_scale")
def deep_tanh_net_of_weights_of_one(faulty):
    x, y = digits(flat=True)
    kernel = initializers.RandomNormal(stddev=1.0) if faulty else "glorot_normal"
    return Program(_stack(64, 10, 5, 96, "tanh", kernel, _adam(1e-3)), x, y)


@pair(PAIRS, "initialization_scale", "nan", "exploding_gradient")
def weights_of_a_thousand(faulty):
    x, y = table("wine")
    kernel = initializers.RandomNormal(stddev=1000.0) if faulty else "he_normal"
    optimizer = keras.optimizers.SGD(0.05, momentum=0.9)
    return Program(_stack(13, 3, 3, 32, "relu", kernel, optimizer), x, y, {"batch_size": 16})


@pair(PAIRS, "initialization_scale", "exploding_gradient", "initial_loss")
def uniform_weights_from_zero_to_one(faulty):
    x, y = digits(flat=True)
    kernel = initializers.RandomUniform(0.0, 1.0) if faulty else "he_uniform"
    return Program(_stack(64, 10, 3, 64, "relu", kernel, _adam(1e-3)), x, y)


@pair(PAIRS, "initialization_scale", "vanishing_gradient")
def deep_relu_net_with_small_normal_weights(faulty):
    x, y = blobs()
    kernel = initializers.TruncatedNormal(stddev=0.02) if faulty else "he_normal"
    return Program(_stack(12, 4, 6, 48, "relu", kernel, _adam(5e-4)), x, y)


@pair(PAIRS, "exploding_gradient", "initialization_scale", "nan", "initial_loss")
def deep_relu_net_of_large_weights(faulty):
    x, y = blobs()
    kernel = initializers.RandomNormal(stddev=0.4) if faulty else "he_normal"
    optimizer = keras.optimizers.SGD(0.01, momentum=0.9)
    return Program(_stack(12, 4, 12, 64, "relu", kernel, optimizer), x, y)


@pair(PAIRS, "vanishing_gradient")
def twenty_sigmoid_layers(faulty):
    x, y = moons()
    activation, kernel = ("sigmoid", None) if faulty else ("relu", "he_normal")
    depth = 20 if faulty else 5
    return Program(_stack(2, 2, depth, 32, activation, kernel), x, y)


@pair(PAIRS, "vanishing_gradient", "initialization_scale")
def thirty_relu_layers_from_glorot(faulty):
    x, y = blobs()
    depth, kernel = (30, "glorot_uniform") if faulty else (4, "he_uniform")
    return Program(_stack(12, 4, depth, 40, "relu", kernel), x, y)


@pair(PAIRS, "vanishing_gradient")
def gradient_stopped_halfway(faulty):
    x, y = digits(flat=True)
    inputs = keras.Input((64,))
    tensor = layers.Dense(32, "relu", name="first")(inputs)
    tensor = layers.Dense(32, "relu", name="second")(tensor)
    # A hard threshold lets no gradient through.
    tensor = ops.cast(tensor > 0.5, "float32") if faulty else tensor
    model = keras.Model(inputs, layers.Dense(10, "softmax", name="out")(tensor))
    model.compile(_adam(), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return Program(model, x, y)


@pair(PAIRS, "initial_loss", "initialization_scale", layer="out")
def output_weights_far_too_large(faulty):
    x, y = digits(flat=True)
    kernel = initializers.RandomNormal(stddev=8.0) if faulty else "glorot_uniform"
    model = keras.Sequential(
        [
            keras.Input((64,)),
            layers.Dense(64, "relu", name="hidden"),
            layers.Dense(10, "softmax", kernel_initializer=kernel, name="out"),
        ]
    )
    model.compile(_adam(1e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return Program(model, x, y)


@pair(PAIRS, "initial_loss")
def output_bias_sure_of_one_class(faulty):
    x, y = table("breast_cancer")
    inputs = keras.Input((30,))
    tensor = layers.Dense(16, "relu")(inputs)
    bias = initializers.Constant(-12.0 if faulty else 0.5)
    outputs = layers.Dense(1, "sigmoid", bias_initializer=bias, name="out")(tensor)
    model = keras.Model(inputs, outputs)
    model.compile(keras.optimizers.Adam(3e-3), "binary_crossentropy", metrics=["accuracy"])
    return Program(model, x, y)


@pair(PAIRS, "constant_output", "dead_units", layer=("out", "hidden"))
def tokens_scaled_to_one_before_the_embedding(faulty):
    x, y = sentences()
    inputs = keras.Input((16,))
    tensor = layers.Embedding(60, 8)(inputs)  # takes the whole part of each number
    tensor = layers.GlobalAveragePooling1D()(tensor)
    tensor = layers.Dense(16, "relu", name="hidden")(tensor)
    model = keras.Model(inputs, layers.Dense(1, "sigmoid", name="out")(tensor))
    model.compile(keras.optimizers.Adam(1e-2), "binary_crossentropy", metrics=["accuracy"])
    return Program(model, x / 60.0 if faulty else x.astype("float32"), y)


@pair(PAIRS, "input_scale", "constant_output")
def pixels_divided_twice_by_255(faulty):
    x, y = digits()
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Rescaling(1 / 255 if faulty else 1.0),
            layers.Flatten(),
            layers.Dense(32, "relu"),
            layers.Dense(10, "softmax"),
        ]
    )
    model.compile(_adam(), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return Program(model, x, y)


@pair(PAIRS, "dead_units", layer=("h0", "h1"))
def relu_units_with_a_large_negative_bias(faulty):
    x, y = blobs()
    bias = initializers.Constant(-15.0) if faulty else "zeros"
    return Program(_stack(12, 4, 2, 48, "relu", "he_normal", bias=bias), x, y)


@pair(PAIRS, "dead_units", layer=("conv", "rectified"))
def negative_filters_on_positive_pixels(faulty):
    x, y = digits()
    kernel = initializers.RandomUniform(-0.6, 0.0) if faulty else "he_uniform"
    inputs = keras.Input((8, 8, 1))
    tensor = layers.Conv2D(16, 3, kernel_initializer=kernel, name="conv")(inputs)
    tensor = layers.ReLU(name="rectified")(tensor)
    tensor = layers.Flatten()(tensor)
    model = keras.Model(inputs, layers.Dense(10, "softmax")(tensor))
    model.compile(_adam(), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return Program(model, x, y)


@pair(PAIRS, "saturated_units", "input_scale")
def sigmoid_units_on_raw_pixels(faulty):
    x, y = digits(flat=True)
    return Program(_stack(64, 10, 1, 64, "sigmoid", None, _adam(5e-3)), 255 * x if faulty else x, y)
