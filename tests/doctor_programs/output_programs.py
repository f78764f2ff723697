"""Programs whose output layer does not suit the loss or the targets."""

import keras
from keras import layers, ops

from doctor_programs.data_sets import blobs, digits, moons, one_hot, signals, smooth, table
from doctor_programs.program import Program, pair

PAIRS = []


def _head(features, units, activation, loss, metrics=(), rate=3e-3, hidden="relu"):
    """One hidden layer and the output "out"."""
    model = keras.Sequential(
        [
            keras.Input((features,)),
            layers.Dense(48, hidden, name="hidden"),
            layers.Dense(units, activation, name="out"),
        ]
    )
    model.compile(keras.optimizers.Adam(rate), loss, metrics=list(metrics))
    return model


@pair(PAIRS, "output_activation_mismatch", layer="out")
def sigmoid_units_with_sparse_labels(faulty):
    x, y = digits(flat=True)
    activation = "sigmoid" if faulty else "softmax"
    return Program(_head(64, 10, activation, "sparse_categorical_crossentropy", ["accuracy"]), x, y)


@pair(PAIRS, "output_activation_mismatch", "output_range", layer="out")
def sigmoid_on_a_standardized_target(faulty):
    x, y = smooth()
    return Program(_head(6, 1, "sigmoid" if faulty else "linear", "mse"), x, y)


@pair(PAIRS, "output_activation_mismatch", "output_range", layer="out")
def relu_on_negative_targets(faulty):
    x, y = smooth()
    return Program(_head(6, 1, "relu" if faulty else None, "mae", hidden="gelu"), x, y)


@pair(PAIRS, "output_activation_mismatch", "output_range", layer="forecast")
def tanh_layer_after_a_recurrent_net(faulty):
    x, _ = signals()
    model = keras.Sequential([keras.Input((23, 1)), layers.GRU(24), layers.Dense(1, name="linear")])
    if faulty:
        model.add(layers.Activation("tanh", name="forecast"))
    model.compile(keras.optimizers.Adam(5e-3), "mse")
    return Program(model, x[:, :-1], x[:, -1])  # the waves reach ±2


@pair(PAIRS, "output_activation_mismatch", "output_range", layer="decoded")
def sigmoid_decoder_of_images_from_minus_one_to_one(faulty):
    x, _ = digits(flat=True)
    x = 2 * x - 1
    inputs = keras.Input((64,))
    code = layers.Dense(16, "relu")(inputs)
    decoded = layers.Dense(64, "sigmoid" if faulty else "tanh", name="decoded")(code)
    model = keras.Model(inputs, decoded)
    model.compile(keras.optimizers.Adam(3e-3), "mse")
    return Program(model, x, x)


@pair(PAIRS, "output_activation_mismatch", "from_logits_mismatch", layer="out")
def relu_before_a_crossentropy_of_probabilities(faulty):
    x, y = digits(flat=True)
    activation = "relu" if faulty else "softmax"
    return Program(
        _head(64, 10, activation, "categorical_crossentropy", ["accuracy"]), x, one_hot(y)
    )


@pair(PAIRS, "output_activation_mismatch", "output_range", layer="out")
def tanh_before_binary_crossentropy(faulty):
    x, y = moons()
    model = _head(2, 1, "tanh" if faulty else "sigmoid", "binary_crossentropy", ["accuracy"], 1e-2)
    return Program(model, x, y)


@pair(PAIRS, "output_activation_mismatch", "loss_mismatch", layer="tags")
def softmax_over_several_tags(faulty):
    x, _ = blobs()
    tags = (x[:, :5] + x[:, 1:6] > 0).astype("float32")
    inputs = keras.Input((12,))
    tensor = layers.Dense(32, "relu")(inputs)
    outputs = layers.Dense(5, "softmax" if faulty else "sigmoid", name="tags")(tensor)
    model = keras.Model(inputs, outputs)
    model.compile(keras.optimizers.Adam(5e-3), "binary_crossentropy", metrics=["binary_accuracy"])
    return Program(model, x, tags)


@pair(PAIRS, "output_activation_mismatch", "output_range", "nan", layer="out")
def linear_rate_of_a_poisson_loss(faulty):
    x, _ = smooth()
    rate = ops.convert_to_numpy(ops.exp(0.8 * x[:, :1] - 0.5 * x[:, 1:2]))
    counts = keras.random.binomial(x[:, :1].shape, 50, rate / (rate + 50), seed=0)
    counts = ops.convert_to_numpy(counts).astype("float32")
    return Program(_head(6, 1, None if faulty else "exponential", "poisson"), x, counts)


@pair(PAIRS, "output_range", "output_activation_mismatch", layer="percent")
def percentages_from_a_sigmoid(faulty):
    x, y = smooth()
    share = ops.convert_to_numpy(ops.sigmoid(2 * y))
    inputs = keras.Input((6,))
    hidden = layers.Dense(32, "relu")(inputs)
    model = keras.Model(inputs, layers.Dense(1, "sigmoid", name="percent")(hidden))
    model.compile(keras.optimizers.Adam(5e-3), "mse")
    return Program(model, x, 100 * share if faulty else share)


@pair(PAIRS, "output_units", "loss_mismatch", "label_range", layer="out")
def one_sigmoid_for_three_classes(faulty):
    x, y = table("iris")
    if faulty:
        model = _head(4, 1, "sigmoid", "binary_crossentropy", ["accuracy"])
    else:
        model = _head(4, 3, "softmax", "sparse_categorical_crossentropy", ["accuracy"])
    return Program(model, x, y, {"batch_size": 16})


@pair(PAIRS, "output_units", "loss_mismatch", layer="out")
def ten_classes_as_one_number(faulty):
    x, y = digits(flat=True)
    if faulty:
        model = _head(64, 1, None, "mse", ["accuracy"])
    else:
        model = _head(64, 10, "softmax", "sparse_categorical_crossentropy", ["accuracy"])
    return Program(model, x, y)


@pair(PAIRS, "output_units", "label_range", layer="out")
def two_units_for_ten_classes(faulty):
    x, y = digits()
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(16, 3, activation="relu"),
            layers.Flatten(),
            layers.Dense(2 if faulty else 10, "softmax", name="out"),
        ]
    )
    model.compile(keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy")
    return Program(model, x, y)


@pair(PAIRS, "output_activation_mismatch", "constant_output", layer="out")
def softmax_with_one_unit(faulty):
    x, y = table("breast_cancer")
    activation = "softmax" if faulty else "sigmoid"
    return Program(_head(30, 1, activation, "binary_crossentropy", ["accuracy"]), x, y)


class Subclassed(keras.Model):
    """Two dense layers, and what becomes of the second's output."""

    def __init__(self, classes, activation, twice):
        super().__init__()
        self.hidden = layers.Dense(32, "relu", name="hidden")
        self.out = layers.Dense(classes, activation, name="out")
        self.twice = twice

    def call(self, inputs):
        outputs = self.out(self.hidden(inputs))
        return ops.softmax(outputs) if self.twice else outputs


@pair(PAIRS, "output_activation_mismatch", "constant_output", layer="out")
def subclassed_softmax_with_one_unit(faulty):
    x, y = moons()
    model = Subclassed(1, "softmax" if faulty else "sigmoid", twice=False)
    model.compile(keras.optimizers.Adam(1e-2), "binary_crossentropy", metrics=["accuracy"])
    return Program(model, x, y)


@pair(PAIRS, "double_softmax")
def softmax_again_in_call(faulty):
    x, y = blobs()
    model = Subclassed(4, "softmax", twice=faulty)
    model.compile(
        keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    return Program(model, x, y)


@pair(PAIRS, "double_softmax", "hidden_softmax", layer=("out", "again"))
def softmax_layer_after_softmax(faulty):
    x, y = digits(flat=True)
    model = keras.Sequential(
        [
            keras.Input((64,)),
            layers.Dense(48, "relu"),
            layers.Dense(10, "softmax" if faulty else None, name="out"),
            layers.Softmax(name="again"),
        ]
    )
    model.compile(keras.optimizers.Adam(3e-3), "categorical_crossentropy", metrics=["accuracy"])
    return Program(model, x, one_hot(y))
