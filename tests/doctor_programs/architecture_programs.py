"""Programs whose layers do not go together."""

import keras
from keras import layers

from doctor_programs.data_sets import blobs, digits, moons, one_hot, smooth, table, windows
from doctor_programs.program import Program, pair

PAIRS = []


def _compiled(model, loss="sparse_categorical_crossentropy", rate=3e-3, metrics=("accuracy",)):
    model.compile(keras.optimizers.Adam(rate), loss, metrics=list(metrics))
    return model


def _sequential(x, *steps, **compiled):
    return _compiled(keras.Sequential([keras.Input(x.shape[1:]), *steps]), **compiled)


@pair(PAIRS, "missing_nonlinearity", layer=("a", "b", "c"))
def three_linear_layers(faulty):
    x, y = moons()
    activation = None if faulty else "relu"
    hidden = [layers.Dense(24, activation, name=name) for name in "abc"]
    model = _sequential(
        x, *hidden, layers.Dense(1, "sigmoid"), loss="binary_crossentropy", rate=1e-2
    )
    return Program(model, x, y)


@pair(PAIRS, "missing_nonlinearity", layer=("conv_1", "conv_2"))
def convolutions_without_activation(faulty):
    x, y = digits()
    activation = None if faulty else "relu"
    inputs = keras.Input((8, 8, 1))
    tensor = layers.Conv2D(12, 3, activation=activation, name="conv_1")(inputs)
    tensor = layers.Conv2D(24, 3, activation=activation, name="conv_2")(tensor)
    tensor = layers.Flatten()(tensor)
    model = keras.Model(inputs, layers.Dense(10, "softmax", name="out")(tensor))
    return Program(_compiled(model), x, y)


@pair(PAIRS, "missing_nonlinearity", layer=("wide", "narrow"))
def only_dropout_and_norm_between_linear_layers(faulty):
    x, y = smooth()
    inputs = keras.Input((6,))
    tensor = layers.Dense(48, name="wide")(inputs)
    tensor = layers.BatchNormalization()(tensor)
    tensor = tensor if faulty else layers.Activation("relu")(tensor)
    tensor = layers.Dropout(0.05)(tensor)
    tensor = layers.Dense(24, None if faulty else "relu", name="narrow")(tensor)
    model = keras.Model(inputs, layers.Dense(1)(tensor))
    return Program(_compiled(model, "mse", 1e-2, ["mae"]), x, y)


@pair(PAIRS, "hidden_softmax", layer="hidden")
def softmax_in_a_hidden_layer(faulty):
    x, y = digits(flat=True)
    hidden = layers.Dense(64, "softmax" if faulty else "relu", name="hidden")
    return Program(_sequential(x, hidden, layers.Dense(10, "softmax", name="out")), x, y)


@pair(PAIRS, "hidden_softmax", layer="embedding")
def softmax_inside_a_convnet(faulty):
    x, y = digits()
    inputs = keras.Input((8, 8, 1))
    tensor = layers.Conv2D(16, 3, activation="relu")(inputs)
    tensor = layers.MaxPooling2D()(tensor)
    tensor = layers.Flatten()(tensor)
    tensor = layers.Dense(32, "softmax" if faulty else "relu", name="embedding")(tensor)
    model = keras.Model(inputs, layers.Dense(10, "softmax", name="out")(tensor))
    return Program(_compiled(model, "categorical_crossentropy"), x, one_hot(y))


@pair(PAIRS, "dropout_misuse", "over_regularization", layer=("drop_1", "drop_2"))
def nine_tenths_dropped(faulty):
    x, y = blobs()
    rate = 0.9 if faulty else 0.1
    model = _sequential(
        x,
        layers.Dense(48, "relu"),
        layers.Dropout(rate, name="drop_1"),
        layers.Dense(48, "relu"),
        layers.Dropout(rate, name="drop_2"),
        layers.Dense(4, "softmax"),
    )
    return Program(model, x, y)


@pair(PAIRS, "dropout_misuse", layer="last_drop")
def dropout_of_the_probabilities(faulty):
    x, y = digits(flat=True)
    steps = [layers.Dense(64, "relu"), layers.Dense(10, "softmax")]
    drop = layers.Dropout(0.3, name="last_drop")
    steps.insert(2 if faulty else 1, drop)
    return Program(_sequential(x, *steps), x, y)


@pair(PAIRS, "dropout_misuse", layer="last_drop")
def dropout_of_a_regression_output(faulty):
    x, y = smooth()
    inputs = keras.Input((6,))
    tensor = layers.Dense(48, "relu")(inputs)
    tensor = layers.Dense(1, name="value")(tensor)
    outputs = layers.Dropout(0.4, name="last_drop")(tensor) if faulty else tensor
    return Program(_compiled(keras.Model(inputs, outputs), "mse", 5e-3, []), x, y)


@pair(PAIRS, "self_normalization_broken", "dropout_misuse", layer=("drop_0", "drop_1", "drop_2"))
def selu_with_plain_dropout(faulty):
    x, y = blobs()
    steps = []
    for index in range(3):
        steps.append(layers.Dense(48, "selu", kernel_initializer="lecun_normal"))
        drop = layers.Dropout if faulty else layers.AlphaDropout
        steps.append(drop(0.2 if faulty else 0.05, name=f"drop_{index}"))
    return Program(_sequential(x, *steps, layers.Dense(4, "softmax"), rate=1e-3), x, y)


@pair(PAIRS, "self_normalization_broken", "initialization_scale", layer=("s0", "s1", "s2", "s3"))
def selu_from_he(faulty):
    x, y = blobs()
    kernel = "he_normal" if faulty else "lecun_normal"
    steps = [
        layers.Dense(48, "selu", kernel_initializer=kernel, name=f"s{index}") for index in range(4)
    ]
    return Program(_sequential(x, *steps, layers.Dense(4, "softmax"), rate=1e-3), x, y)


@pair(PAIRS, "self_normalization_broken", layer=("norm_0", "norm_1", "norm_2"))
def selu_with_batch_norm(faulty):
    x, y = smooth()
    steps = []
    for index in range(3):
        steps.append(layers.Dense(32, "selu", kernel_initializer="lecun_normal"))
        steps += [layers.BatchNormalization(name=f"norm_{index}")] if faulty else []
    return Program(_sequential(x, *steps, layers.Dense(1), loss="mse", metrics=[]), x, y)


@pair(PAIRS, "batch_norm_misuse", "output_activation_mismatch", layer="norm")
def batch_norm_after_softmax(faulty):
    x, y = digits(flat=True)
    steps = [layers.Dense(48), layers.ReLU(), layers.Dense(10, "softmax")]
    steps.insert(3 if faulty else 1, layers.BatchNormalization(name="norm"))
    return Program(_sequential(x, *steps), x, y)


@pair(PAIRS, "batch_norm_misuse", layer="norm")
def batch_norm_just_before_softmax(faulty):
    x, y = digits()
    inputs = keras.Input((8, 8, 1))
    tensor = layers.Conv2D(16, 3, activation="relu")(inputs)
    tensor = layers.Flatten()(tensor)
    tensor = layers.Dense(10)(tensor)
    tensor = layers.BatchNormalization(name="norm")(tensor) if faulty else tensor
    return Program(_compiled(keras.Model(inputs, layers.Softmax()(tensor))), x, y)


@pair(PAIRS, "batch_norm_misuse", "batch_size")
def batch_norm_with_batches_of_two(faulty):
    x, y = blobs(600)
    model = _sequential(
        x,
        layers.Dense(32, use_bias=False),
        layers.BatchNormalization(name="norm"),
        layers.Activation("relu"),
        layers.Dense(4, "softmax"),
    )
    return Program(model, x, y, {"batch_size": 2 if faulty else 32})


@pair(PAIRS, "architecture")
def images_shrunk_to_one_pixel_early(faulty):
    x, y = digits()
    steps = []
    for filters in (8, 16, 16, 24, 24):
        steps.append(layers.Conv2D(filters, 3, padding="same", activation="relu"))
        # Three poolings leave 1×1 of 8×8, where the last 3×3 convolutions see only padding.
        if len(steps) < (6 if faulty else 2):
            steps.append(layers.MaxPooling2D())
    return Program(_sequential(x, *steps, layers.Flatten(), layers.Dense(10, "softmax")), x, y)


@pair(PAIRS, "architecture", "underfitting", layer="neck")
def all_features_through_one_unit(faulty):
    x, y = digits(flat=True)
    model = _sequential(
        x,
        layers.Dense(64, "relu"),
        layers.Dense(1 if faulty else 32, "relu", name="neck"),
        layers.Dense(64, "relu"),
        layers.Dense(10, "softmax"),
    )
    return Program(model, x, y)


@pair(PAIRS, "architecture", "few_rows")
def twenty_thousand_units_for_four_features(faulty):
    x, y = table("iris")
    units = 20_000 if faulty else 16
    model = _sequential(x, layers.Dense(units, "relu"), layers.Dense(3, "softmax"), rate=1e-2)
    return Program(model, x, y, {"batch_size": 16})


@pair(PAIRS, "output_activation_mismatch", "output_range", "architecture")
def relu_before_a_sigmoid_unit(faulty):
    x, y = table("breast_cancer")
    inputs = keras.Input((30,))
    tensor = layers.Dense(16, "relu")(inputs)
    tensor = layers.Dense(1, name="score")(tensor)
    if faulty:  # all that is below 0 gives 1/2 and no gradient
        tensor = layers.ReLU(name="cut")(tensor)
    outputs = layers.Activation("sigmoid", name="probability")(tensor)
    return Program(_compiled(keras.Model(inputs, outputs), "binary_crossentropy"), x, y)


@pair(PAIRS, "architecture", "label_shape")
def forecast_flattened_over_rows(faulty):
    x, y = windows()
    inputs = keras.Input((20, 1))
    tensor = layers.Conv1D(16, 3, activation="relu")(inputs)
    # Dense on (steps, channels) leaves one value per step.
    tensor = tensor if faulty else layers.Flatten()(tensor)
    model = keras.Model(inputs, layers.Dense(1, name="out")(tensor))
    return Program(_compiled(model, "mse", 5e-3, []), x, y)
