import pytest
from keras import Input, Model, ops
from keras.layers import (
    GRU,
    Activation,
    Concatenate,
    Conv1D,
    Dense,
    Dropout,
    GlobalAveragePooling1D,
    Multiply,
    Softmax,
)
from structural_cases import Chain, case_of, found, numbers, tables

from keras_deeptricks.diagnostics.doctor.softmax_placement import double_softmax, hidden_softmax

X, SEQUENCES = numbers(24, 6), numbers(24, 4, 6)


def report(model, x=X, y=None, **options):
    return found(case_of(model, x, y, **options), hidden_softmax, double_softmax)


def hidden(layer, severity="warning"):
    return [("hidden_softmax", severity, layer)]


def double(layer, severity):
    return [("double_softmax", severity, layer)]


@pytest.mark.parametrize(
    "steps,expected",
    [
        ([Dense(8, "softmax", name="h")], hidden("h")),
        ([Dense(8, name="bare"), Softmax(name="h"), Dropout(0.2)], hidden("h")),
        ([Dense(8, "relu", name="h"), Dropout(0.2)], []),
    ],
)
def test_softmax_of_hidden_units(steps, expected):
    assert report(tables(*steps, Dense(3, "softmax"))) == expected


def test_softmax_of_channels_and_in_recurrent_layers():
    def model(activation):
        inputs = Input((4, 6))
        tensor = Conv1D(8, 1, activation=activation, name="conv")(inputs)
        tensor = GRU(8, activation=activation, return_sequences=True, name="gru")(tensor)
        tensor = GlobalAveragePooling1D()(tensor)
        return Model(inputs, Dense(3, "softmax")(tensor))

    assert report(model("softmax"), SEQUENCES) == hidden("conv") + hidden("gru")
    assert report(model("tanh"), SEQUENCES) == []


def test_gates_and_attention_are_left_alone():
    inputs = Input((6,))
    gate = Dense(8, "softmax")(inputs)
    tensor = Multiply()([gate, Dense(8, "relu")(inputs)])
    assert report(Model(inputs, Dense(3, "softmax")(tensor))) == []
    steps = Input((4, 6))
    scores = Softmax(axis=1)(Dense(1)(steps))
    tensor = ops.sum(scores * steps, axis=1)
    assert report(Model(steps, Dense(3, "softmax")(tensor)), SEQUENCES) == []


def test_an_auxiliary_output_that_feeds_on_is_noted():
    inputs = Input((6,))
    shares = Dense(3, "softmax", name="aux")(inputs)
    model = Model(inputs, [shares, Dense(3, "softmax", name="end")(shares)])
    y = [numbers(24, 3) ** 2, numbers(24, 3) ** 2]
    assert report(model, X, y, loss="mse") == hidden("aux", "note")


def test_shares_that_are_merged_with_features_are_left_alone():
    inputs = Input((6,))
    shares = Dense(3, "softmax")(inputs)
    tensor = Concatenate()([inputs, shares])
    assert report(Model(inputs, Dense(3, "softmax")(tensor))) == []


@pytest.mark.parametrize(
    "inner,outer,severity",
    [("softmax", "softmax", "error"), ("softmax", "sigmoid", "error"),
     ("sigmoid", "sigmoid", "error"), ("sigmoid", "softmax", "warning"),
     ("log_softmax", "softmax", "note")],
)  # fmt: skip
def test_activations_of_probabilities(inner, outer, severity):
    model = tables(Dense(8, "relu"), Dense(3, inner), Activation(outer, name="again"))
    assert report(model) == double("again", severity)


def test_one_softmax_is_enough():
    assert report(tables(Dense(8, "relu"), Dense(3), Dropout(0.1), Activation("softmax"))) == []


def test_operations_count_as_layers():
    inputs = Input((6,))
    shares = Dense(3, "softmax")(inputs)
    (found_one,) = report(Model(inputs, ops.softmax(shares)))
    assert found_one[:2] == ("double_softmax", "error")


def test_subclassed_models_are_measured():
    twice = Chain(Dense(8), ops.relu, Dense(3, "softmax"), ops.softmax)
    (found_one,) = report(twice)
    assert found_one[:2] == ("double_softmax", "error")
    assert report(Chain(Dense(8), ops.relu, Dense(3), ops.softmax)) == []
    assert report(Chain(Dense(8, "softmax", name="h"), Dense(3), ops.softmax)) == hidden("h")
