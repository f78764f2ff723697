import keras
import numpy as np
from doctor_cases import normal
from keras import layers

from keras_deeptricks.diagnostics.doctor import layer_kinds as kinds
from keras_deeptricks.diagnostics.doctor import roles
from keras_deeptricks.diagnostics.doctor.structure import structure_of


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.first = layers.Dense(5, "relu", name="first")
        self.rnn = layers.Bidirectional(layers.LSTM(3), name="rnn")
        self.last = layers.Dense(1, name="last")

    def call(self, inputs):
        return self.last(keras.ops.tanh(self.rnn(self.first(inputs))))


def names(stages):
    return [None if stage is None else stage.name for stage in stages]


def test_graph_of_layers_and_operations():
    inputs = keras.Input((4,))
    hidden = keras.ops.relu(layers.Dense(3, name="a")(inputs))
    outputs = layers.Add(name="sum")([hidden, layers.Dense(3, name="b")(inputs)])
    found = structure_of(keras.Model(inputs, outputs), normal(2, 4))
    by_name = {stage.name: stage for stage in found.stages}
    assert found.is_graph
    assert names(found.outputs) == ["sum"]
    assert names(by_name["a"].sources) == [None]
    assert names(by_name["a"].users) == ["relu"]
    assert names(by_name["sum"].sources) == ["relu", "b"]
    assert roles.activation_of(by_name["relu"].layer) == "relu"
    assert by_name["sum"].is_output
    assert by_name["sum"].units == 3


def test_nested_models_are_entered():
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(3, name="dense")])
    outer = keras.Sequential([keras.Input((4,)), inner, layers.Dense(2, name="dense")])
    found = structure_of(outer, normal(2, 4))
    assert names(found.stages) == ["dense", "dense"]
    assert names(found.stages[1].sources) == ["dense"]


def test_a_subclassed_model_shows_the_layers_it_calls():
    model = Subclassed()
    found = structure_of(model, normal(2, 6, 4))
    assert not found.is_graph
    assert names(found.stages) == ["first", "rnn", "last"]
    assert names(found.stages[1].sources) == ["first"]
    # What `call` does between layers is not known, and so where its result comes from.
    assert names(found.stages[2].sources) == [None]
    assert names(found.outputs) == ["last"]


def test_looking_changes_nothing():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4,)), layers.Dropout(0.5, seed=1), layers.Dense(2)])
    x = normal(3, 4)
    before = [np.array(keras.ops.convert_to_numpy(v)) for v in model.variables]
    structure_of(model, x)
    after = [keras.ops.convert_to_numpy(v) for v in model.variables]
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))


def test_roles():
    assert roles.activation_of(layers.Dense(2)) == "linear"
    assert roles.activation_of(layers.TimeDistributed(layers.Dense(2, "tanh"))) == "tanh"
    assert roles.activation_of(layers.Activation(layers.LeakyReLU())) == "leaky_relu"
    assert roles.activation_of(layers.Flatten()) is None
    assert roles.activation_name(keras.activations.swish) == "silu"
    assert roles.is_affine(layers.BatchNormalization())
    assert roles.is_affine(layers.AveragePooling2D(2))
    assert not roles.is_affine(layers.MaxPooling2D(2))
    assert roles.passes_values(layers.Flatten())
    assert not roles.passes_values(layers.Dense(2))
    assert kinds.is_dropout(layers.SpatialDropout1D(0.2))
    assert not kinds.is_dropout(layers.Dropout(0.0))
