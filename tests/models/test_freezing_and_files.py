"""Files of models with frozen layers: afterwards training goes on bit for bit."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from small_models import (
    BACKEND,
    assert_identical,
    dense_model,
    regression_data,
    values,
    whole_state,
)

import keras_deeptricks as kdt
from keras_deeptricks.utils.compiled_step import unwrap_optimizer

OURS, K = kdt.optimizers, keras.optimizers
freeze, unfreeze = kdt.models.freeze, kdt.models.unfreeze
X, Y = regression_data(32)
BODY = ["hidden", "norm"]
OPTIMIZERS = {
    "momentum": lambda: K.SGD(0.01, momentum=0.9),
    "adafactor": lambda: K.Adafactor(0.01),
    "clipped_noise": lambda: OURS.AdaptiveGradientClipping(
        OURS.GradientNoise(OURS.Nadam(0.01), seed=1), 0.1, exclude=["hidden"]
    ),
    "layerwise": lambda: OURS.LayerwiseLearningRates(
        OURS.AdamW(kdt.schedules.OneCycle(0.02, 40), weight_decay=0.1), decay=0.5
    ),
    "given": lambda: OURS.PartialTraining(K.RMSprop(0.01, gradient_accumulation_steps=3)),
    "scaled": lambda: K.LossScaleOptimizer(K.Adam(0.01, amsgrad=True), initial_scale=8.0),
}


def compiled(optimizer, kind="sequential"):
    model = dense_model(kind=kind)
    # A file has no seeds, so there is no dropout here.
    next(layer for layer in model._flatten_layers() if layer.name == "drop").rate = 0.0
    if not model.built:
        model(X[:2])
    model.compile(optimizer, "mse")
    return model


def train(model, epochs=1):
    model.fit(X, Y, batch_size=8, epochs=epochs, shuffle=False, verbose=0)


def state(model):
    return [*model.get_weights(), *values(model.optimizer.variables)]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_goes_on_as_if_never_saved(name, tmp_path):
    kind = "subclassed" if name == "momentum" else "sequential"
    model = compiled(OPTIMIZERS[name](), kind)
    train(model)
    freeze(model, BODY)
    train(model)
    model.save(tmp_path / "first.keras")
    loaded = keras.saving.load_model(tmp_path / "first.keras", safe_mode=True)
    assert_identical(state(model), state(loaded))
    assert len(loaded.trainable_variables) == 2
    for each in (model, loaded):
        train(each)
    assert_identical(state(model), state(loaded))
    loaded.save(tmp_path / "second.keras")
    again = keras.saving.load_model(tmp_path / "second.keras")
    assert_identical(state(model), state(again))
    for each in (model, again):
        unfreeze(each, BODY)
    assert_identical(state(model), state(again))
    before = model.get_weights()
    for each in (model, again):
        train(each)
    assert_identical(state(model), state(again))
    assert all((a != b).any() for a, b in zip(before, model.get_weights(), strict=True))
    # What is whole again is saved as a whole.
    again.save(tmp_path / "third.keras")
    assert_identical(state(again), state(keras.saving.load_model(tmp_path / "third.keras")))


def test_another_layer_is_frozen_after_loading(tmp_path):
    model = compiled(K.Adam(0.01))
    train(model)
    freeze(model, "hidden")
    train(model)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    optimizer = loaded.optimizer
    for each in (model, loaded):
        freeze(each, "out")
        train(each)
        unfreeze(each, "hidden")
        freeze(each, "norm")
        train(each)
    assert_identical(state(model), state(loaded))
    assert loaded.optimizer is optimizer
    optimizer.learning_rate = model.optimizer.learning_rate = 0.001
    for each in (model, loaded):
        train(each)
    assert_identical(state(model), state(loaded))


FRESH = """
import sys
import keras
import numpy as np
import keras_deeptricks as kdt

folder = sys.argv[1]
model = keras.saving.load_model(f"{folder}/model.keras")
data = np.load(f"{folder}/data.npz")
kdt.models.unfreeze(model, ["hidden", "norm"])
model.fit(data["x"], data["y"], batch_size=8, shuffle=False, verbose=0)
model.save_weights(f"{folder}/after.weights.h5")
"""


def test_a_fresh_process(tmp_path):
    model = compiled(OPTIMIZERS["layerwise"]())
    train(model)
    freeze(model, BODY)
    train(model)
    model.save(tmp_path / "model.keras")
    np.savez(tmp_path / "data.npz", x=X, y=Y)
    (tmp_path / "fresh.py").write_text(FRESH)
    paths = [entry for entry in sys.path if entry]
    environment = {**os.environ, "KERAS_BACKEND": BACKEND, "PYTHONPATH": os.pathsep.join(paths)}
    subprocess.run(
        [sys.executable, str(tmp_path / "fresh.py"), str(tmp_path)],
        check=True,
        cwd=tmp_path,
        env=environment,
        timeout=300,
    )
    unfreeze(model, BODY)
    train(model)
    here = state(model)
    model.load_weights(tmp_path / "after.weights.h5")
    assert_identical(here, state(model))


@pytest.mark.parametrize("loaded_first", [False, True])
def test_files_of_weights(loaded_first, tmp_path):
    model = compiled(K.Adam(0.01))
    train(model)
    freeze(model, BODY)
    train(model)
    model.save_weights(tmp_path / "middle.weights.h5")
    if loaded_first:
        # Its optimizer has the slots in the file's order, not in that of their making.
        model.save(tmp_path / "model.keras")
        other = keras.saving.load_model(tmp_path / "model.keras")
        train(other)
    else:
        other = compiled(K.Adam(0.01))
        freeze(other, BODY)
    other.load_weights(tmp_path / "middle.weights.h5")
    for each in (model, other):
        train(each)
        unfreeze(each, BODY)
        train(each)
    assert_identical(state(model), state(other))


def test_backup_and_restore(tmp_path):
    class Interrupt(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    def run(folder, *more):
        model = compiled(K.Adam(0.01))
        freeze(model, BODY)
        backup = keras.callbacks.BackupAndRestore(tmp_path / folder, delete_checkpoint=False)
        options = {"epochs": 4, "batch_size": 8, "shuffle": False, "verbose": 0}
        model.fit(X, Y, callbacks=[backup, *more], **options)
        unfreeze(model, BODY)
        model.train_on_batch(X, Y)  # a `fit` would go on from the epoch that was restored
        return model

    whole = run("whole")
    with pytest.raises(KeyboardInterrupt):
        run("cut", Interrupt())
    assert_identical(whole_state(whole), whole_state(run("cut")))


# The rates found are of no interest here.
@pytest.mark.filterwarnings("ignore:The loss hardly fell")
def test_detours_of_a_loaded_model(tmp_path):
    model = compiled(OPTIMIZERS["given"]())
    train(model)
    freeze(model, BODY)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    train(loaded)
    before = whole_state(loaded)
    kdt.diagnostics.find_learning_rate(loaded, X, Y, batch_size=8, steps=12)
    assert_identical(before, whole_state(loaded))
    assert len(unwrap_optimizer(loaded.optimizer)._trainable_variables) == 2
