"""The walk over all layers, nested, wrapped, kept in containers or shared."""

import keras
import pytest
from keras import layers
from small_models import dense_model

from keras_deeptricks.utils.layer_walk import walk_layers


def found(layer):
    return {id(inner) for inner in walk_layers(layer)}


@pytest.mark.parametrize("kind", ["sequential", "functional", "subclassed"])
def test_a_plain_model_is_walked_from_outside_to_inside(kind):
    model = dense_model(kind=kind)
    walked = list(walk_layers(model))
    assert walked[0] is model
    names = [layer.name for layer in walked]
    for name in ("hidden", "norm", "drop", "out"):
        assert names.count(name) == 1


def test_wrapped_and_nested_layers_are_found():
    dense = layers.Dense(2)
    cells = [layers.LSTMCell(2), layers.GRUCell(2)]
    forward = layers.LSTM(2)
    inputs = keras.Input((3, 4))
    inner = keras.Sequential([keras.Input((4,)), dense])
    model = keras.Model(
        inputs,
        [
            layers.TimeDistributed(inner)(inputs),
            layers.RNN(cells)(inputs),
            layers.Bidirectional(forward)(inputs),
        ],
    )
    walked = list(walk_layers(model))
    for layer in (inner, dense, *cells):
        assert sum(other is layer for other in walked) == 1
    # Bidirectional makes a forward and a backward copy of what it is given.
    assert sum(isinstance(layer, layers.LSTM) for layer in walked) == 2
    order = [id(layer) for layer in walked]
    assert order.index(id(inner)) < order.index(id(dense))


def test_layers_in_lists_tuples_and_dictionaries_are_found():
    held = [layers.Dense(1) for _ in range(5)]

    class Holder(keras.Layer):
        def __init__(self):
            super().__init__()
            self.nested = [[held[0]], (held[1],)]
            self.mapping = {"a": held[2], "b": [{"c": held[3]}]}
            self.plain = held[4]

    assert {id(layer) for layer in held} < found(Holder())


def test_attributes_that_only_look_like_containers_do_no_harm():
    class Odd(keras.Layer):
        def __init__(self):
            super().__init__()
            self.kind = dict
            self.function = {}.values
            self.words = ["a", "b"]

    odd = Odd()
    assert list(walk_layers(odd)) == [odd]


def test_a_shared_layer_and_a_cycle_are_walked_once():
    shared = layers.Dense(3)
    inputs = keras.Input((3,))
    model = keras.Model(inputs, shared(shared(inputs)))
    # Past Keras' tracking, which refuses new layers in a built one.
    object.__setattr__(shared, "owner", [model])
    walked = [id(layer) for layer in walk_layers(model)]
    assert len(walked) == len(set(walked))
    assert id(shared) in walked
