"""What `freeze` and `unfreeze` take as layers, and what they refuse."""

import keras
import pytest
from keras import layers
from small_models import Subclassed, dense_model

import keras_deeptricks as kdt
from keras_deeptricks.utils.layer_walk import walk_layers

freeze, unfreeze = kdt.models.freeze, kdt.models.unfreeze


def compiled(model=None, optimizer=None):
    model = dense_model() if model is None else model
    model.compile(optimizer or keras.optimizers.SGD(0.01, momentum=0.9), "mse")
    return model


def flags(model):
    return [layer.trainable for layer in walk_layers(model)], [v.trainable for v in model.variables]


@pytest.mark.parametrize(
    "selection, expected",
    [
        ("block_1", ["block_1"]),
        ("block_*", ["block_1", "block_10", "block_2"]),
        (r"block_\d", ["block_1", "block_2"]),
        (["block_2", "he*"], ["block_2", "head"]),
    ],
)
def test_names_and_patterns(selection, expected):
    names = ["block_1", "block_10", "block_2", "head"]
    model = keras.Sequential([keras.Input((4,)), *(layers.Dense(1, name=n) for n in names)])
    assert freeze(model, selection) == expected
    assert [layer.name for layer in model.layers if not layer.trainable] == expected
    assert unfreeze(model, tuple(model.get_layer(name) for name in expected)) == expected
    assert len(model.trainable_variables) == 8


def test_a_warning_where_nothing_changes():
    model = compiled()
    with pytest.warns(UserWarning, match="hidden have no frozen weights"):
        unfreeze(model, "hidden")
    freeze(model, "hidden")
    with pytest.warns(UserWarning, match="hidden have no trained weights"):
        freeze(model, "hidden")
    with pytest.warns(UserWarning, match="drop have no trained weights"):
        assert freeze(model, "drop") == ["drop"]
    assert [layer.trainable for layer in model.layers] == [False, True, False, True]


@pytest.mark.parametrize(
    "selection, error, message",
    [
        ("hiden", ValueError, "'hiden' is no layer .* hidden, norm, drop, out"),
        (["hidden", "nothing*"], ValueError, "nothing"),
        (layers.Dense(1, name="stray"), ValueError, "stray"),
        (None, TypeError, "`layers`"),
        (["hidden", 3], TypeError, "3"),
    ],
)
def test_what_is_no_layer_is_refused_and_nothing_changes(selection, error, message):
    model = compiled()
    before, kind = flags(model), type(model.optimizer)
    for function in (freeze, unfreeze):
        with pytest.raises(error, match=message):
            function(model, selection)
    assert flags(model) == before
    assert type(model.optimizer) is kind
    assert not model.optimizer.built


def test_what_is_no_built_model_is_refused():
    with pytest.raises(TypeError, match=r"`model` must be a keras.Model"):
        freeze(layers.Dense(1), "hidden")
    with pytest.raises(ValueError, match="`model` must be built"):
        unfreeze(Subclassed([layers.Dense(1, name="hidden")]), "hidden")


@pytest.mark.skipif(not hasattr(keras.optimizers, "MultiOptimizer"), reason="Keras has none")
def test_a_multi_optimizer_is_refused_and_nothing_changes():
    model = dense_model()
    model.get_layer("norm").trainable = False
    optimizer = keras.optimizers.MultiOptimizer(
        keras.optimizers.OptimizerMap(keras.optimizers.SGD(), {".*out/.*": keras.optimizers.Adam()})
    )
    compiled(model, optimizer)
    before = flags(model)
    for function in (freeze, unfreeze):
        with pytest.raises(ValueError, match="MultiOptimizer"):
            function(model, "hidden")
    assert flags(model) == before
