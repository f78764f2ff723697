import pytest
from keras import Input, Model
from keras.layers import (
    LSTM,
    BatchNormalization,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAveragePooling2D,
    Softmax,
    SpatialDropout2D,
)
from structural_cases import Chain, case_of, found, numbers, tables

from keras_deeptricks.diagnostics.doctor import dropout_placement

X = numbers(24, 6)
DETECTORS = [
    dropout_placement.dropout_rate,
    dropout_placement.dropout_chain,
    dropout_placement.dropout_of_output,
    dropout_placement.dropout_of_inputs,
    dropout_placement.dropout_before_batch_norm,
]


def report(*layers, x=X, y=None, **options):
    model = layers[0] if isinstance(layers[0], Model) else tables(*layers)
    return found(case_of(model, x, y, **options), *DETECTORS)


def misuse(severity, layer="drop"):
    return [("dropout_misuse", severity, layer)]


@pytest.mark.parametrize(
    "rate,expected",
    [(0.9, misuse("warning")), (0.8, misuse("warning")), (0.7, misuse("note")), (0.5, [])],
)
def test_the_rate(rate, expected):
    assert report(Dense(8, "relu"), Dropout(rate, name="drop"), Dense(3, "softmax")) == expected


def test_the_rates_of_recurrent_layers_and_of_maps():
    inputs = Input((4, 6))
    strong = Model(inputs, Dense(3)(LSTM(4, recurrent_dropout=0.9, name="lstm")(inputs)))
    assert report(strong, x=numbers(24, 4, 6)) == misuse("warning", "lstm")
    fine = Model(inputs, Dense(3)(LSTM(4, dropout=0.2)(inputs)))
    assert report(fine, x=numbers(24, 4, 6)) == []
    inputs = Input((8, 8, 1))
    tensor = SpatialDropout2D(0.85, name="maps")(Conv2D(4, 3, activation="relu")(inputs))
    model = Model(inputs, Dense(3)(Flatten()(tensor)))
    assert report(model, x=numbers(24, 8, 8, 1)) == misuse("warning", "maps")


def test_dropout_upon_dropout():
    twice = [Dropout(0.6), Dropout(0.5, name="drop")]
    assert report(Dense(8, "relu"), *twice, Dense(3, "softmax")) == misuse("warning")
    little = [Dropout(0.2), Dropout(0.2)]
    assert report(Dense(8, "relu"), *little, Dense(3, "softmax")) == []


@pytest.mark.parametrize(
    "end",
    [
        lambda: [Dense(3, "softmax"), Dropout(0.3, name="drop")],
        lambda: [Dense(3), Dropout(0.3, name="drop"), Softmax()],
    ],
)
def test_dropout_of_the_output(end):
    assert report(Dense(8, "relu"), *end()) == misuse("warning")


def test_dropout_right_before_the_output_layer_is_usual():
    assert report(Dense(8, "relu"), Dropout(0.5), Dense(3, "softmax")) == []


def test_dropout_of_class_maps_before_pooling_is_noted():
    inputs = Input((8, 8, 1))
    tensor = Dropout(0.3, name="drop")(Conv2D(3, 3)(inputs))
    model = Model(inputs, Softmax()(GlobalAveragePooling2D()(tensor)))
    assert report(model, x=numbers(24, 8, 8, 1)) == misuse("note")


def test_dropout_of_inputs():
    end = [Dense(8, "relu"), Dense(3, "softmax")]
    assert report(Dropout(0.5, name="drop"), *end) == misuse("note")
    assert report(Dropout(0.2), *end) == []


def test_dropout_before_batch_norm():
    steps = [Dropout(0.3, name="drop"), BatchNormalization()]
    assert report(Dense(8, "relu"), *steps, Dense(3, "softmax")) == misuse("note")
    assert report(Dense(8, "relu"), *steps[::-1], Dense(3, "softmax")) == []


def test_subclassed_models():
    faulty = Chain(Dense(8, "relu"), Dense(3, "softmax"), Dropout(0.3, name="drop"))
    assert report(faulty) == misuse("warning")
    assert report(Chain(Dense(8, "relu"), Dropout(0.3), Dense(3, "softmax"))) == []
