import pytest
from keras import Input, Model
from keras.layers import (
    GRU,
    Activation,
    BatchNormalization,
    Conv2D,
    Dense,
    GlobalAveragePooling2D,
    LayerNormalization,
    ReLU,
    Softmax,
)
from structural_cases import Chain, case_of, found, numbers, tables

from keras_deeptricks.diagnostics.doctor import batch_norm_placement

X = numbers(24, 6)


def report(detector, model, x=X, y=None):
    return found(case_of(model, x, y), getattr(batch_norm_placement, detector))


def norm():
    return BatchNormalization(name="norm")


def misuse(severity, layer="norm"):
    return [("batch_norm_misuse", severity, layer)]


@pytest.mark.parametrize(
    "end",
    [
        lambda: [Dense(3), norm(), Softmax()],
        lambda: [Dense(3, "softmax"), norm()],
        lambda: [Dense(3), norm()],
    ],
)
def test_batch_norm_of_the_output(end):
    model = tables(Dense(8, "relu"), *end())
    assert report("batch_norm_of_output", model) == misuse("warning")


def test_batch_norm_of_hidden_layers():
    model = tables(Dense(8), norm(), ReLU(), Dense(3), Softmax())
    assert report("batch_norm_of_output", model) == []


def test_batch_norm_before_a_hidden_activation_and_pooling():
    inputs = Input((8, 8, 1))
    tensor = Activation("relu")(norm()(Conv2D(3, 3)(inputs)))
    model = Model(inputs, Softmax()(GlobalAveragePooling2D()(tensor)))
    assert report("batch_norm_of_output", model, numbers(24, 8, 8, 1)) == []


def test_subclassed_models():
    faulty = Chain(Dense(8, "relu"), Dense(3), norm(), Softmax())
    assert report("batch_norm_of_output", faulty) == misuse("warning")
    assert report("batch_norm_of_output", Chain(Dense(8), norm(), ReLU(), Dense(3))) == []


def test_biases_before_batch_norm():
    def model(use_bias):
        return tables(Dense(8, use_bias=use_bias, name="biased"), norm(), ReLU(), Dense(3))

    assert report("bias_before_batch_norm", model(True)) == misuse("note", "biased")
    assert report("bias_before_batch_norm", model(False)) == []


def test_batch_norm_between_recurrent_layers():
    def model(normalization):
        inputs = Input((4, 6))
        tensor = normalization(GRU(4, return_sequences=True)(inputs))
        return Model(inputs, Dense(3)(GRU(4)(tensor)))

    sequences = numbers(24, 4, 6)
    detector = "batch_norm_between_recurrent"
    assert report(detector, model(norm()), sequences) == misuse("note")
    assert report(detector, model(LayerNormalization()), sequences) == []
