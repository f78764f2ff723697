from keras import Input, Model, ops
from keras.layers import BatchNormalization, Dense
from structural_cases import Chain, case_of, found, numbers, tables

from keras_deeptricks.diagnostics.doctor import trainability

X = numbers(24, 6)


def report(model, y=None):
    return found(
        case_of(model, X, y),
        trainability.nothing_trainable,
        trainability.no_way_for_gradients,
        trainability.frozen_output_layer,
    )


def net(*frozen, kind=tables):
    layers = [Dense(8, name="a"), BatchNormalization(name="b"), Dense(3, "softmax", name="c")]
    for layer in layers:
        layer.trainable = layer.name not in frozen
    return kind(*layers)


def test_everything_frozen():
    for kind in (tables, Chain):
        model = net("a", "b", "c", kind=kind)
        assert report(model) == [("nothing_trainable", "error", None)]


def test_scales_and_biases_alone():
    assert report(net("a", "c")) == [("nothing_trainable", "warning", None)]


def test_a_frozen_output_layer_is_noted():
    assert report(net("c")) == [("nothing_trainable", "note", "c")]


def test_a_new_output_layer_on_a_frozen_base():
    assert report(net("a", "b")) == []
    assert report(net()) == []


def test_operations_without_a_derivative():
    def model(operation):
        inputs = Input((6,))
        tensor = Dense(1, "sigmoid")(Dense(8, "relu")(inputs))
        return Model(inputs, operation(tensor))

    y = (numbers(24, 1) > 0).astype("float32")
    (finding,) = report(model(ops.round), y)
    assert finding[:2] == ("nothing_trainable", "error")
    assert report(model(lambda tensor: tensor * 2), y) == []
