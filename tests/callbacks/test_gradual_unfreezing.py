"""Layers are unfrozen in the epochs named, also where training goes on or was interrupted."""

import keras
import numpy as np
import pytest
from small_models import assert_identical, dense_model, regression_data, values, whole_state

import keras_deeptricks as kdt
from keras_deeptricks.callbacks import GradualUnfreezing

X, Y = regression_data(32)
NAMES = ("hidden", "norm", "out")


def compiled(optimizer=None, kind="sequential", **options):
    model = dense_model(kind=kind)
    if not model.built:
        model(X[:2])
    model.compile(optimizer or keras.optimizers.Adam(0.01), "mse", **options)
    return model


class Moves(keras.callbacks.Callback):
    """Notes which layers each epoch has changed."""

    def __init__(self):
        super().__init__()
        self.moved = []

    def on_epoch_begin(self, epoch, logs=None):
        self.before = self.now()

    def on_epoch_end(self, epoch, logs=None):
        now = self.now()
        self.moved.append(
            "".join(name[0] for name in NAMES if (self.before[name] != now[name]).any())
        )

    def now(self):
        return {
            name: np.concatenate(
                [value.ravel() for value in values(layer_of(self.model, name).weights)]
            )
            for name in NAMES
        }


def layer_of(model, name):
    return next(layer for layer in model._flatten_layers() if layer.name == name)


def moved(model, callback, epochs, **options):
    moves = Moves()
    options = {"batch_size": 8, "shuffle": False, "verbose": 0, **options}
    model.fit(X, Y, epochs=epochs, callbacks=[callback, moves], **options)
    return moves.moved


@pytest.mark.parametrize("kind, trained", [("sequential", False), ("subclassed", True)])
def test_layers_move_in_their_epochs(kind, trained):
    model = compiled(kind=kind)
    optimizer = model.optimizer
    if trained:
        model.fit(X, Y, verbose=0)
    callback = GradualUnfreezing({0: "out", 1: "norm", 3: ["hidden", "out"]})
    assert moved(model, callback, 4, validation_data=(X, Y)) == ["o", "no", "no", "hno"]
    assert model.optimizer is optimizer
    # A second run starts again, one that goes on goes on.
    assert moved(model, callback, 2) == ["o", "no"]
    assert moved(model, callback, 4, initial_epoch=2) == ["no", "hno"]
    assert moved(model, callback, 6, initial_epoch=5) == ["hno"]


def test_layers_not_named_are_left_alone():
    model = compiled()
    model.get_layer("norm").trainable = False
    assert moved(model, GradualUnfreezing({1: "hidden"}), 2) == ["o", "ho"]
    assert not model.get_layer("norm").trainable
    assert model.get_layer("out").trainable


def test_a_body_frozen_before_is_unfrozen_in_its_epoch():
    model = dense_model()
    for name in ("hidden", "norm"):
        model.get_layer(name).trainable = False
    model.compile(kdt.optimizers.SGD(0.01, momentum=0.9), "mse")
    callback = GradualUnfreezing({1: "norm", 2: model.get_layer("hidden")})
    assert moved(model, callback, 3) == ["o", "no", "hno"]


@pytest.mark.parametrize("options", [{"gradient_accumulation_steps": 3}, {"amsgrad": True}])
def test_it_is_freezing_by_hand(options):
    by_hand, model = (compiled(keras.optimizers.Adam(0.01, **options)) for _ in range(2))
    moved(model, GradualUnfreezing({1: ["hidden", "norm"]}), 2)
    kdt.models.freeze(by_hand, ["hidden", "norm"])
    by_hand.fit(X, Y, batch_size=8, shuffle=False, verbose=0)
    kdt.models.unfreeze(by_hand, ["hidden", "norm"])
    by_hand.fit(X, Y, batch_size=8, shuffle=False, verbose=0)
    metrics = len(model.metrics_variables)
    assert metrics
    assert_identical(whole_state(model), whole_state(by_hand))


class Interrupted(Exception):
    """Stands for a machine that goes down."""


class Interrupt(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 3:
            raise Interrupted


@pytest.mark.parametrize("frozen_before", [False, True])
def test_an_interrupted_run_goes_on_from_its_backup(frozen_before, tmp_path):
    def run(folder, *more):
        model = dense_model()
        # Keras' backup leaves out the seeds of dropout.
        model.get_layer("drop").rate = 0.0
        if frozen_before:
            model.get_layer("hidden").trainable = False
        model.compile(keras.optimizers.Adam(0.01), "mse")
        callbacks = [
            GradualUnfreezing({1: "hidden", 4: "norm"}),
            keras.callbacks.BackupAndRestore(tmp_path / folder, delete_checkpoint=False),
            *more,
        ]
        model.fit(X, Y, epochs=5, batch_size=8, shuffle=False, verbose=0, callbacks=callbacks)
        return model

    whole = run("whole")
    with pytest.raises(Interrupted):
        run("cut", Interrupt())
    resumed = run("cut")
    assert_identical(whole.get_weights(), resumed.get_weights())
    assert_identical(values(whole.optimizer.variables), values(resumed.optimizer.variables))


def test_an_unknown_layer_is_an_error_at_the_start():
    model = compiled()
    before = values(model.variables)
    with pytest.raises(ValueError, match="'hiden' is no layer"):
        moved(model, GradualUnfreezing({0: "out", 5: "hiden"}), 2)
    assert_identical(before, values(model.variables))
    assert all(layer.trainable for layer in model.layers)
    with pytest.raises(TypeError, match="`layers`"):
        moved(model, GradualUnfreezing({2: 7}), 1)


@pytest.mark.parametrize(
    "schedule, error",
    [
        (None, TypeError),
        (["out"], TypeError),
        ({}, ValueError),
        ({-1: "out"}, ValueError),
        ({0.5: "out"}, (TypeError, ValueError)),
        ({True: "out"}, (TypeError, ValueError)),
        ({"first": "out"}, TypeError),
    ],
)
def test_bad_arguments(schedule, error):
    with pytest.raises(error, match="`schedule`"):
        GradualUnfreezing(schedule)
