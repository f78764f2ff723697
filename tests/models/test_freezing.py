"""Freezing in every kind of model and at every time; what Keras alone does there."""

import warnings

import keras
import numpy as np
import pytest
from keras import layers
from small_models import (
    BACKEND,
    assert_identical,
    class_data,
    dense_model,
    regression_data,
    values,
    whole_state,
)

import keras_deeptricks as kdt
from keras_deeptricks.utils.layer_walk import walk_layers
from keras_deeptricks.utils.training_state import preserved

freeze, unfreeze = kdt.models.freeze, kdt.models.unfreeze
X, Y = regression_data(32)


def compiled(model=None, optimizer=None, **options):
    model = dense_model() if model is None else model
    model.compile(optimizer or keras.optimizers.SGD(0.01, momentum=0.9), "mse", **options)
    return model


def train(model, epochs=1, **options):
    options = {"batch_size": 8, "shuffle": False, "verbose": 0, **options}
    return model.fit(X, Y, epochs=epochs, **options)


def moving(model, step):
    """The names of the layers whose weights or statistics `step` changes."""
    leaves = [layer for layer in walk_layers(model) if not _children(layer) and layer.weights]
    before = [values(layer.weights) for layer in leaves]
    step()
    return {
        layer.name
        for layer, old in zip(leaves, before, strict=True)
        if any(not np.array_equal(a, b) for a, b in zip(old, values(layer.weights), strict=True))
    }


def _children(layer):
    return [inner for inner in walk_layers(layer) if inner is not layer]


@pytest.mark.parametrize("built_frozen", [False, True])
def test_setting_the_flag_alone_is_a_trap_in_keras(built_frozen):
    model = compiled()
    hidden = model.get_layer("hidden")
    if not built_frozen:
        train(model)
    hidden.trainable = False
    if built_frozen or BACKEND == "torch":
        train(model)
    else:
        # Neither takes note: TensorFlow trains on, JAX misses the frozen weights.
        if BACKEND == "jax":
            with pytest.raises(ValueError, match="trainable_variables"):
                train(model)
        else:
            assert "hidden" in moving(model, lambda: train(model))
        return
    hidden.trainable = True
    if BACKEND == "tensorflow":
        assert moving(model, lambda: train(model)) == {"norm", "out"}
    elif BACKEND == "jax":
        with pytest.raises(ValueError, match="trainable_variables"):
            train(model)
    elif built_frozen:
        with pytest.raises(ValueError, match="Unknown variable"):
            train(model)
    else:
        assert "hidden" in moving(model, lambda: train(model))  # torch has no trace


@pytest.mark.parametrize("built_frozen, how", [(False, "fit"), (True, "train_on_batch")])
def test_the_very_next_step_trains_what_is_unfrozen_and_nothing_else(built_frozen, how):
    model = compiled()
    if built_frozen:
        model.get_layer("hidden").trainable = False
        train(model)
    else:
        train(model)
        freeze(model, "hidden")
    optimizer = model.optimizer

    def step():
        if how == "fit":
            train(model)
        else:
            model.train_on_batch(X[:8], Y[:8])

    assert moving(model, step) == {"norm", "out"}
    assert unfreeze(model, "hidden") == ["hidden"]
    assert moving(model, step) == {"hidden", "norm", "out"}
    freeze(model, ["norm", "out"])
    assert moving(model, step) == {"hidden"}
    assert model.optimizer is optimizer


@pytest.mark.parametrize(
    "kind, when",
    [
        ("sequential", "before compile"),
        ("functional", "before fit"),
        ("subclassed", "before fit"),
        ("subclassed", "at an epoch's end"),
    ],
)
def test_kinds_of_models_and_times(kind, when):
    model = dense_model(kind=kind)
    model(X[:2])
    if when == "before compile":
        freeze(model, ["hidden", "norm"])
    compiled(model)
    if when == "before fit":
        freeze(model, ["hidden", "norm"])

    class AtEnd(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 0 and when == "at an epoch's end":
                freeze(self.model, ["hidden", "norm"])
                self.frozen = values(self.model.weights)

    at_end = AtEnd()
    start = values(model.weights)
    train(model, 3, callbacks=[at_end])
    kept = getattr(at_end, "frozen", start)
    ours = [v.path.split("/")[-2] in ("hidden", "norm") for v in model.weights]
    assert sum(ours) == 6
    for old, new, frozen in zip(kept, values(model.weights), ours, strict=True):
        assert np.array_equal(old, new) == frozen
    unfreeze(model, ["hidden", "norm"])
    assert moving(model, lambda: train(model)) == {"hidden", "norm", "out"}


def outer_model():
    """body(inner, tail) with a wrapped layer and one that is used twice."""
    inner = keras.Sequential(
        [keras.Input((4,)), layers.Dense(4, name="first"), layers.BatchNormalization(name="bn")],
        name="inner",
    )
    given = keras.Input((4,))
    shared = layers.Dense(4, name="shared")
    body = keras.Model(given, shared(layers.Dense(4, name="tail")(shared(inner(given)))), name="b")
    inputs = keras.Input((4,))
    tensor = layers.Reshape((2, 2))(body(inputs))
    wrapped = layers.TimeDistributed(layers.Dense(3, name="wrapped"), name="wrapper")(tensor)
    return keras.Model(inputs, layers.Dense(1, name="head")(layers.Flatten()(wrapped)))


def test_layers_inside_layers():
    model = compiled(outer_model())
    everything = {"first", "bn", "shared", "tail", "wrapped", "head"}

    def step():
        model.train_on_batch(X, Y)

    assert moving(model, step) == everything
    body = model.get_layer("b")
    assert freeze(model, body)[0] == "b"
    assert moving(model, step) == {"wrapped", "head"}
    assert unfreeze(model, "first") == ["first"]  # alone, inside two that are frozen
    assert moving(model, step) == {"first", "wrapped", "head"}
    freeze(model, ["wrapper", "first"])
    unfreeze(model, "shared")
    assert moving(model, step) == {"shared", "head"}
    unfreeze(model, model)
    assert moving(model, step) == everything
    model.trainable = False
    unfreeze(model, "bn")
    assert moving(model, step) == {"bn"}
    freeze(model, "bn")
    unfreeze(model, model.layers)
    assert moving(model, step) == everything


def test_all_frozen_but_one_and_all_frozen():
    model = compiled()
    freeze(model, model)
    unfreeze(model, "out")
    assert moving(model, lambda: train(model)) == {"out"}
    freeze(model, "out")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras says that there is nothing to train
        assert moving(model, lambda: train(model)) == set()


def test_evaluation_and_prediction_after_another_layer_is_frozen():
    # On JAX Keras would go on with a trace in which the two layers have changed places.
    def make():
        keras.utils.set_random_seed(0)
        dense = [layers.Dense(4, "tanh", name=name) for name in "abc"]
        inner = keras.Sequential([keras.Input((4,)), *dense])
        return keras.Sequential([inner, layers.Dense(1, name="head")])

    model, whole = compiled(make()), compiled(make())
    freeze(model, "a")
    train(model)
    whole.set_weights(model.get_weights())
    expected = [whole.evaluate(X, Y, verbose=0), *whole.predict(X, verbose=0)]

    def results():
        return [model.evaluate(X, Y, verbose=0), *model.predict(X, verbose=0)]

    inner_expected = model.layers[0].predict(X, verbose=0)
    # Another order of the same arithmetic at most.
    np.testing.assert_allclose(np.hstack(results()), np.hstack(expected), rtol=1e-5)
    unfreeze(model, "a")
    freeze(model, "b")
    np.testing.assert_allclose(np.hstack(results()), np.hstack(expected), rtol=1e-5)
    np.testing.assert_allclose(model.layers[0].predict(X, verbose=0), inner_expected, rtol=1e-5)
    # The gradients, too, are those of the right layers.
    model.compile(keras.optimizers.SGD(0.01), "mse")
    whole.compile(keras.optimizers.SGD(0.01), "mse")
    unfreeze(model, "b")
    for frozen in "cab":
        freeze(model, frozen)
        kept = values(whole.layers[0].get_layer(frozen).weights)
        for each in (model, whole):
            each.train_on_batch(X, Y)
        for weight, value in zip(whole.layers[0].get_layer(frozen).weights, kept, strict=True):
            weight.assign(value)
        unfreeze(model, frozen)
        for a, b in zip(model.get_weights(), whole.get_weights(), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_a_weight_that_is_frozen_alone_stays_frozen():
    model = compiled()
    train(model)
    model.get_layer("out").bias.trainable = False
    bias = values([model.get_layer("out").bias])
    freeze(model, "hidden")
    train(model)
    unfreeze(model, "hidden")
    assert moving(model, lambda: train(model)) == {"hidden", "norm", "out"}
    assert_identical(bias, values([model.get_layer("out").bias]))


def test_batch_norm_with_nothing_but_statistics():
    norm = layers.BatchNormalization(center=False, scale=False, name="norm")
    model = compiled(keras.Sequential([keras.Input((4,)), norm, layers.Dense(1, name="out")]))
    freeze(model, "norm")  # which changes something: no warning
    assert moving(model, lambda: train(model)) == {"out"}
    unfreeze(model, "norm")
    assert moving(model, lambda: train(model)) == {"norm", "out"}


# The rates found are of no interest here.
@pytest.mark.filterwarnings("ignore:The loss hardly fell")
def test_detours_leave_a_frozen_model_as_it_was():
    x, y = class_data(32)
    model = dense_model(outputs=3)
    model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy")
    model.fit(x, y, verbose=0)
    freeze(model, ["hidden", "norm"])
    model.fit(x, y, verbose=0)
    before, was = whole_state(model), [v.trainable for v in model.variables]
    kdt.diagnostics.find_learning_rate(model, x, y, batch_size=8, steps=12)
    assert_identical(before, whole_state(model))
    with preserved(model):
        unfreeze(model, "hidden")
        model.fit(x, y, verbose=0)
        assert [v.trainable for v in model.variables] != was
    assert_identical(before, whole_state(model))
    assert [v.trainable for v in model.variables] == was
