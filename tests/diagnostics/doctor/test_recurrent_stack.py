from keras import Input, Model
from keras.layers import GRU, LSTM, Bidirectional, Dense, LayerNormalization, SimpleRNN
from structural_cases import case_of, found, numbers, tables

from keras_deeptricks.diagnostics.doctor import recurrent_stack

NOTE = ("architecture", "note")


def report(detector, model, x):
    return found(case_of(model, x), getattr(recurrent_stack, detector))


def recurrent(layer, steps=4):
    inputs = Input((steps, 6))
    return Model(inputs, Dense(3)(layer(inputs)))


def test_activations_without_bounds():
    x = numbers(24, 4, 6)
    faulty = recurrent(GRU(4, activation="relu", name="gru"))
    assert report("recurrent_activation", faulty, x) == [(*NOTE, "gru")]
    faulty = recurrent(Bidirectional(LSTM(4, activation="relu"), name="both"))
    assert report("recurrent_activation", faulty, x) == [(*NOTE, "both")]
    assert report("recurrent_activation", recurrent(LSTM(4)), x) == []


def test_long_sequences():
    x = numbers(2, 1001, 6)
    faulty = recurrent(SimpleRNN(2, name="rnn"), 1001)
    assert report("long_sequences", faulty, x) == [(*NOTE, "rnn")]
    assert report("long_sequences", recurrent(SimpleRNN(2)), numbers(24, 4, 6)) == []


def test_saturating_layers_in_depth():
    x = numbers(24, 6)
    for activation, depth, is_told in (
        ("sigmoid", 6, True),
        ("sigmoid", 5, False),
        ("tanh", 10, True),
        ("tanh", 6, False),
    ):
        stack = [Dense(6, activation, name=f"{activation}{i}") for i in range(1, depth + 1)]
        expected = [(*NOTE, f"{activation}{depth}")] if is_told else []
        assert report("saturating_depth", tables(*stack, Dense(3)), x) == expected
    stack = [layer for _ in range(6) for layer in (Dense(6, "sigmoid"), LayerNormalization())]
    assert report("saturating_depth", tables(*stack, Dense(3)), x) == []
