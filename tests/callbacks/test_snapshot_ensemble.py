"""Snapshot ensembles: rates, snapshots and files, interrupted and resumed, stopped and refused."""

import gc
import json
import warnings

import keras
import numpy as np
import pytest
from small_models import (
    BACKEND,
    STEPS_PER_EXECUTION,
    assert_identical,
    class_data,
    values,
    whole_state,
)
from step_probe import fit_probe, over_epochs, probe_model

import keras_deeptricks as kdt

SnapshotEnsemble = kdt.callbacks.SnapshotEnsemble
ROWS, BATCH = 64, 16
# Rates near 0.1, evaluated in float32 and summed a few times.
ROUNDING = 4e-7


def cosine(rate, total_steps, cycles):
    """Equation 2 of the paper, by hand."""
    length = total_steps // cycles
    t = np.arange(total_steps)
    return rate / 2 * (np.cos(np.pi * (t % length) / length) + 1)


def new_model(optimizer=None, **compile_options):
    keras.utils.set_random_seed(7)
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(8, activation="relu"),
            keras.layers.Dropout(0.5, seed=1),
            keras.layers.Dense(3, activation="softmax"),
        ]
    )
    model.compile(
        optimizer or keras.optimizers.SGD(0.2, momentum=0.9),
        "sparse_categorical_crossentropy",
        **compile_options,
    )
    return model


class Weights(keras.callbacks.Callback):
    """The weights at the end of each epoch; interrupts at the start of one, or in its middle."""

    def __init__(self, interrupt_at=None, batch=None):
        super().__init__()
        self.weights, self.interrupt_at, self.batch = {}, interrupt_at, batch

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch
        if epoch == self.interrupt_at and self.batch is None:
            raise KeyboardInterrupt

    def on_train_batch_end(self, batch, logs=None):
        if self.epoch == self.interrupt_at and batch == self.batch:
            raise KeyboardInterrupt

    def on_epoch_end(self, epoch, logs=None):
        self.weights[epoch] = self.model.get_weights()


def fit(model, *callbacks, epochs=6, **options):
    x, y = class_data(rows=ROWS)
    return model.fit(
        x,
        y,
        batch_size=BATCH,
        epochs=epochs,
        callbacks=list(callbacks),
        shuffle=False,
        verbose=0,
        **options,
    )


def names(snapshots):
    return [path.name for path in snapshots.files]


def contents(snapshots):
    """The weights of all snapshots in one list."""
    members = snapshots.ensemble().members
    return [weight for member in members for weight in member.get_weights()]


@pytest.mark.parametrize("steps_per_execution", STEPS_PER_EXECUTION)
@pytest.mark.parametrize("rate", [None, 0.1])
def test_rates_of_every_step(steps_per_execution, rate):
    optimizer = keras.optimizers.SGD(0.1 if rate is None else 0.7)
    model = probe_model(4, optimizer, steps_per_execution=steps_per_execution)
    change = fit_probe(model, epochs=6, callbacks=[SnapshotEnsemble(3, rate)])
    expected = over_epochs(cosine(0.1, 24, 3), 4)
    np.testing.assert_allclose(-change, expected, rtol=0, atol=ROUNDING)


def test_second_fit_starts_from_the_same_rate():
    model = probe_model(4, keras.optimizers.SGD(0.1))
    fit_probe(model, epochs=4, callbacks=[SnapshotEnsemble(2)])
    change = fit_probe(model, epochs=2, callbacks=[SnapshotEnsemble(1)])
    np.testing.assert_allclose(
        -change, over_epochs(cosine(0.1, 8, 1), 4), rtol=0, atol=2 * ROUNDING
    )
    # Afterwards the last rate holds.
    last = cosine(0.1, 8, 1)[-1]
    np.testing.assert_allclose(-fit_probe(model), [last] * 4, rtol=0, atol=ROUNDING)


@pytest.mark.skipif(BACKEND == "torch", reason="torch takes one step at a time")
def test_gradient_accumulation_counts_batches():
    optimizer = keras.optimizers.SGD(0.1, gradient_accumulation_steps=2)
    model = probe_model(4, optimizer)
    fit_probe(model, epochs=4, callbacks=[SnapshotEnsemble(2)])
    rate = kdt.utils.compiled_step.given_learning_rate(model.optimizer)
    np.testing.assert_allclose(
        [float(rate(t)) for t in range(16)], cosine(0.1, 16, 2), rtol=0, atol=ROUNDING
    )


@pytest.mark.parametrize("steps_per_execution", STEPS_PER_EXECUTION)
def test_snapshots_are_the_weights_at_the_ends_of_cycles(steps_per_execution, tmp_path):
    model = new_model(steps_per_execution=steps_per_execution)
    seen, snapshots = Weights(), SnapshotEnsemble(3, folder=tmp_path / "new" / "folder")
    fit(model, seen, snapshots)
    assert names(snapshots) == [f"snapshot_{k:02d}.weights.h5" for k in (1, 2, 3)]
    assert_identical(contents(snapshots), [w for e in (1, 3, 5) for w in seen.weights[e]])
    found = sorted(path.name for path in (tmp_path / "new" / "folder").iterdir())
    assert found == [*names(snapshots), "snapshots.json"]


def test_ensemble_of_the_last():
    model, seen, snapshots = new_model(), Weights(), SnapshotEnsemble(3)
    fit(model, seen, snapshots)
    before = whole_state(model)
    two = snapshots.ensemble(last=2)
    assert isinstance(two, kdt.models.Ensemble)
    x = class_data()[0]
    singles = [member.predict(x, verbose=0) for member in two.members]
    np.testing.assert_allclose(
        two.predict(x, verbose=0), np.mean(singles, axis=0), rtol=1e-6, atol=1e-7
    )
    assert_identical(two.members[0].get_weights(), seen.weights[3])
    assert_identical(snapshots.ensemble(1).members[0].get_weights(), model.get_weights())
    assert snapshots.ensemble(1, activation="relu").activation is keras.activations.relu
    assert_identical(whole_state(model), before)
    with pytest.raises(ValueError, match="`last` must be at most the number of snapshots, 3"):
        snapshots.ensemble(last=4)
    for bad in (0, -1):
        with pytest.raises(ValueError, match="`last` must"):
            snapshots.ensemble(last=bad)


def test_none_yet():
    snapshots = SnapshotEnsemble(2)
    assert snapshots.files == []
    with pytest.raises(ValueError, match="no snapshot yet"):
        snapshots.ensemble()


def test_temporary_folder_lives_as_long_as_the_callback():
    snapshots = SnapshotEnsemble(2)
    model = new_model()
    fit(model, snapshots, epochs=2)
    folder = snapshots.folder
    ensemble = snapshots.ensemble()
    assert folder.is_dir()
    # Each callback of a fit knows the model, the model its history alone.
    del snapshots
    gc.collect()
    assert not folder.exists()
    assert ensemble.predict(class_data()[0], verbose=0).shape == (64, 3)


def test_stopped_early():
    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = epoch == 4

    model, snapshots = new_model(), SnapshotEnsemble(3)
    fit(model, snapshots, Stop())
    assert len(snapshots.files) == len(snapshots.ensemble().members) == 2


def test_data_of_unknown_length():
    x, y = class_data(rows=ROWS)

    def batches():
        while True:
            for start in range(0, ROWS, BATCH):
                yield x[start : start + BATCH], y[start : start + BATCH]

    def train(model, *callbacks, **options):
        options = {"epochs": 4, "shuffle": False, "verbose": 0, **options}
        model.fit(batches(), callbacks=list(callbacks), **options)

    known = SnapshotEnsemble(2)
    train(new_model(), known, steps_per_epoch=4)
    assert len(known.files) == 2
    with pytest.raises(ValueError, match="no known length"):
        train(new_model(), SnapshotEnsemble(2))
    with pytest.raises(ValueError, match="`total_steps` must be"):
        train(new_model(), SnapshotEnsemble(2, total_steps=15), steps_per_epoch=4)
    if BACKEND == "tensorflow":
        import tensorflow as tf

        data = tf.data.Dataset.from_tensor_slices((x, y)).batch(BATCH).filter(lambda *row: True)
        model, unknown = new_model(), SnapshotEnsemble(2, total_steps=16)
        with warnings.catch_warnings():
            # Keras finds the data to end, in the first epoch.
            warnings.filterwarnings("ignore", "Your input ran out of data")
            model.fit(data, epochs=4, callbacks=[unknown], shuffle=False, verbose=0)
        # Not those of `known`: Keras counts a step too many where such data ends.
        assert names(unknown) == names(known)


@pytest.mark.parametrize("interruption", [{"interrupt_at": 3}, {"interrupt_at": 4, "batch": 1}])
def test_resumed_with_a_backup_it_is_the_same_run(interruption, tmp_path):
    def run(folder, **interrupt):
        model = new_model()
        snapshots = SnapshotEnsemble(3, folder=folder / "snapshots")
        backup = kdt.callbacks.BackupAndRestore(folder / "backup", callbacks=[snapshots])
        try:
            fit(model, Weights(**interrupt), snapshots, backup)
        except KeyboardInterrupt:
            assert interrupt
        return model, snapshots

    whole, expected = run(tmp_path / "whole")
    run(tmp_path / "cut", **interruption)
    again, found = run(tmp_path / "cut")
    assert names(found) == names(expected)
    assert len(found.files) == 3
    assert_identical(contents(found), contents(expected))
    assert_identical(values(again.variables), values(whole.variables))
    assert_identical(values(again.optimizer.variables), values(whole.optimizer.variables))
    rates = [kdt.utils.compiled_step.given_learning_rate(m.optimizer) for m in (whole, again)]
    steps = np.arange(24)
    np.testing.assert_array_equal(*(rate.numpy_values(steps) for rate in rates))


def test_resumed_with_initial_epoch(tmp_path):
    whole, expected = new_model(), SnapshotEnsemble(3, folder=tmp_path / "whole")
    fit(whole, expected)
    model = new_model()
    with pytest.raises(KeyboardInterrupt):
        fit(model, SnapshotEnsemble(3, folder=tmp_path / "cut"), Weights(interrupt_at=3))
    model.save(tmp_path / "model.keras")
    # In another process: the rate is that of the schedule in the file.
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    for variable, old in zip(loaded.variables, model.variables, strict=True):
        variable.assign(values([old])[0])  # the seeds of dropout
    found = SnapshotEnsemble(3, folder=tmp_path / "cut")
    fit(loaded, found, initial_epoch=3)
    assert names(found) == names(expected)
    assert_identical(contents(found), contents(expected))


def test_snapshots_of_another_run_are_not_mixed_in(tmp_path):
    fit(new_model(), SnapshotEnsemble(6, folder=tmp_path))
    assert len(list(tmp_path.glob("snapshot_*.h5"))) == 6
    # A new run, cut short: it has its own alone.
    second, seen = SnapshotEnsemble(3, folder=tmp_path), Weights(interrupt_at=5)
    model = new_model(keras.optimizers.SGD(0.05))
    with pytest.raises(KeyboardInterrupt):
        fit(model, second, seen)
    assert names(second) == ["snapshot_01.weights.h5", "snapshot_02.weights.h5"]
    assert_identical(contents(second), [w for e in (1, 3) for w in seen.weights[e]])
    # Resumed: those two are taken up, and not the third to sixth of the first run.
    third = SnapshotEnsemble(3, folder=tmp_path)
    fit(model, third, initial_epoch=5)
    assert_identical(
        contents(third)[: 2 * len(model.get_weights())],
        [w for e in (1, 3) for w in seen.weights[e]],
    )
    assert len(third.files) == 3
    # As another plan, it is another run.
    fourth = SnapshotEnsemble(2, folder=tmp_path)
    with pytest.raises(UserWarning, match="those of another run"):  # warnings are errors here
        fit(model, fourth, initial_epoch=4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit(model, fourth, initial_epoch=4)
    assert names(fourth) == ["snapshot_02.weights.h5"]


def test_lost_snapshots_are_told(tmp_path):
    model, snapshots = new_model(), SnapshotEnsemble(3, folder=tmp_path)
    fit(model, snapshots)
    state = snapshots.get_state()
    (tmp_path / "snapshot_02.weights.h5").unlink()
    with pytest.raises(UserWarning, match=r"finds no snapshot_02\.weights\.h5"):
        snapshots.set_state(json.loads(json.dumps(state)))
    with pytest.raises(ValueError, match="`cycles` must be that of the interrupted run, 3"):
        SnapshotEnsemble(2, folder=tmp_path).set_state(state)


def test_a_run_killed_while_it_writes_leaves_no_half_snapshot(tmp_path, monkeypatch):
    model, snapshots = new_model(), SnapshotEnsemble(3, folder=tmp_path)
    fit(model, snapshots, epochs=3)
    whole = snapshots.files[0].read_bytes()

    def killed(path, *args, **kwargs):
        with open(path, "wb") as file:
            file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(model, "save_weights", killed)
    with pytest.raises(KeyboardInterrupt):
        fit(model, snapshots, epochs=3)
    assert snapshots.files == []
    assert (tmp_path / "snapshot_01.weights.h5").read_bytes() == whole


@pytest.mark.parametrize(
    "epochs, cycles, advice",
    [(7, 3, "Train 6 or 9 epochs, or make cycles one of 1, 7"), (2, 4, "Train 4 epochs")],
)
def test_epochs_must_be_a_multiple_of_cycles(epochs, cycles, advice, tmp_path):
    model = new_model()
    before = model.get_weights()
    with pytest.raises(ValueError, match=f"multiple of `cycles`.*{advice}"):
        fit(model, SnapshotEnsemble(cycles, folder=tmp_path / "new"), epochs=epochs)
    assert_identical(model.get_weights(), before)
    assert float(model.optimizer.learning_rate) == np.float32(0.2)
    assert not (tmp_path / "new").exists()


def test_a_schedule_is_no_initial_rate():
    model = new_model(keras.optimizers.SGD(kdt.schedules.Power(0.1, 10)))
    with pytest.raises(ValueError, match="`initial_learning_rate` must be given"):
        fit(model, SnapshotEnsemble(3))
    fit(model, SnapshotEnsemble(3, initial_learning_rate=0.1))


def test_inside_a_wrapper_and_loss_scaling():
    inner = kdt.optimizers.GradientNoise(keras.optimizers.SGD(0.1), variance=0.0)
    for optimizer in (inner, keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1))):
        model, snapshots = new_model(optimizer), SnapshotEnsemble(3)
        fit(model, snapshots)
        rate = kdt.utils.compiled_step.given_learning_rate(model.optimizer)
        assert rate.schedule.initial_learning_rate == pytest.approx(0.1)
        assert len(snapshots.files) == 3


@pytest.mark.parametrize("bad", [0, -2, 1.5, None, "two"])
def test_bad_cycles(bad):
    with pytest.raises((TypeError, ValueError), match="`cycles`"):
        SnapshotEnsemble(bad)
