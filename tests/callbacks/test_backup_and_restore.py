"""A run that is interrupted and started again ends as if nothing had happened."""

import warnings

import keras
import numpy as np
import pytest
from small_models import assert_identical, class_data, values

import keras_deeptricks as kdt

ROWS, BATCH = 64, 16


class Ordered(keras.utils.PyDataset):
    """Batches whose order depends on the epoch alone."""

    def __init__(self):
        super().__init__()
        self.x, self.y = class_data(rows=ROWS)
        self.epoch = 0

    def __len__(self):
        return ROWS // BATCH

    def __getitem__(self, index):
        rows = np.random.default_rng(self.epoch).permutation(ROWS)
        rows = rows[index * BATCH : (index + 1) * BATCH]
        return self.x[rows], self.y[rows]


class SetEpoch(keras.callbacks.Callback):
    """Tells the data the epoch, and interrupts at the given point."""

    def __init__(self, data, interrupt_at=None, batch=None):
        super().__init__()
        self.data, self.interrupt_at, self.batch = data, interrupt_at, batch

    def on_epoch_begin(self, epoch, logs=None):
        self.data.epoch = epoch
        self.epoch = epoch
        if epoch == self.interrupt_at and self.batch is None:
            raise KeyboardInterrupt

    def on_train_batch_end(self, batch, logs=None):
        if self.epoch == self.interrupt_at and batch == self.batch:
            raise KeyboardInterrupt


class Scripted(keras.callbacks.Callback):
    """Writes a monitored value that is known beforehand."""

    def __init__(self, course):
        super().__init__()
        self.course = course

    def on_epoch_end(self, epoch, logs=None):
        logs["score"] = self.course[epoch]


def new_model(optimizer):
    keras.utils.set_random_seed(7)
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(8, activation="relu"),
            keras.layers.Dropout(0.5, seed=1),
            keras.layers.Dense(3),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss)
    return model


def float_rate():
    return kdt.optimizers.SGD(0.05, momentum=0.9)


def scheduled_rate():
    return kdt.optimizers.Adam(kdt.schedules.Power(0.05, 10))


def inside_a_wrapper():
    return kdt.optimizers.GradientNoise(
        kdt.optimizers.SGD(kdt.schedules.Power(0.05, 10), momentum=0.9), variance=0.01, seed=3
    )


def run(folder, make, course, cycle=False, backup=True, **interruption):
    """One start of the training script; returns the model and the callbacks."""
    model = new_model(make())
    data = Ordered()
    stopping = kdt.callbacks.EarlyStopping("score", mode="max", patience=4)
    slower = kdt.callbacks.PerformanceScheduling("score", mode="max", patience=2, cooldown=1)
    callbacks = [SetEpoch(data, **interruption), Scripted(course), stopping, slower]
    if cycle:
        callbacks.insert(0, kdt.callbacks.OneCycle(0.1))
    if backup:
        kept = [stopping, slower]
        callbacks.append(kdt.callbacks.BackupAndRestore(folder, callbacks=kept))
    try:
        model.fit(data, epochs=len(course), shuffle=False, verbose=0, callbacks=callbacks)
    except KeyboardInterrupt:
        assert interruption
    return model, stopping, slower


# Best at epoch 1, then at 5 (0-based): stalls of two epochs end at 3, 7 and, after one of
# cooldown, 9; the patience of four ends at 9.
COURSE = [0.1, 0.5, 0.4, 0.4, 0.45, 0.6, 0.3, 0.3, 0.3, 0.3, 0.9, 0.9]


@pytest.mark.parametrize("make", [float_rate, scheduled_rate, inside_a_wrapper])
@pytest.mark.parametrize("interruption", [{"interrupt_at": 8}, {"interrupt_at": 4, "batch": 1}])
def test_resumed_run_is_bit_identical(make, interruption, tmp_path):
    model, stopping, slower = run(tmp_path / "whole", make, COURSE)
    assert stopping.stopping_reason == "patience"
    assert (stopping.stopped_epoch, stopping.best_epoch) == (9, 5)
    assert slower.reductions == [3, 7, 9]
    assert not (tmp_path / "whole").exists()  # Keras deletes it when training has ended

    run(tmp_path / "cut", make, COURSE, **interruption)
    again, stopping_again, slower_again = run(tmp_path / "cut", make, COURSE)
    assert stopping_again.get_state()["stopped_epoch"] == 9
    assert stopping_again.stopping_reason == "patience"
    assert stopping_again.best_epoch == 5
    assert slower_again.reductions == [3, 7, 9]
    assert slower_again.factor_applied == 0.125
    assert_identical(values(model.variables), values(again.variables))
    assert_identical(values(model.optimizer.variables), values(again.optimizer.variables))


def test_keras_alone_loses_the_state(tmp_path):
    # The trap: with Keras' callbacks the resumed run stops at another epoch.
    def keras_run(**interruption):
        model, data = new_model(float_rate()), Ordered()
        stopping = keras.callbacks.EarlyStopping("score", mode="max", patience=4)
        callbacks = [SetEpoch(data, **interruption), Scripted(COURSE), stopping]
        callbacks.append(keras.callbacks.BackupAndRestore(str(tmp_path)))
        try:
            model.fit(data, epochs=12, shuffle=False, verbose=0, callbacks=callbacks)
        except KeyboardInterrupt:
            assert interruption
        return stopping.stopped_epoch

    keras_run(interrupt_at=8)
    assert keras_run() != 9


def test_under_one_cycle_and_interrupted_twice(tmp_path):
    model, _, slower = run(tmp_path / "whole", float_rate, COURSE, cycle=True)
    for at in (3, 7):
        run(tmp_path / "cut", float_rate, COURSE, cycle=True, interrupt_at=at)
    again, _, slower_again = run(tmp_path / "cut", float_rate, COURSE, cycle=True)
    assert slower.reductions == slower_again.reductions == [3, 7, 9]
    assert_identical(values(model.variables), values(again.variables))


def test_best_weights_survive(tmp_path):
    course = [0.9, 0.1, 0.1, 0.1, 0.1, 0.1]
    model, stopping, _ = run(tmp_path / "whole", float_rate, course)
    run(tmp_path / "cut", float_rate, course, interrupt_at=3)
    again, stopping_again, _ = run(tmp_path / "cut", float_rate, course)
    assert stopping.best_epoch == stopping_again.best_epoch == 0
    assert_identical(model.get_weights(), again.get_weights())


def test_a_lost_state_is_told(tmp_path):
    run(tmp_path, float_rate, COURSE, interrupt_at=5)
    for path in tmp_path.glob("states_*.npz"):
        path.write_bytes(b"")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run(tmp_path, float_rate, COURSE)
    assert any("finds no state of epoch 5" in str(warning.message) for warning in caught)


def test_must_stand_behind(tmp_path):
    model, data = new_model(float_rate()), Ordered()
    stopping = kdt.callbacks.EarlyStopping("loss")
    backup = kdt.callbacks.BackupAndRestore(tmp_path, callbacks=stopping)
    with pytest.raises(ValueError, match="must stand behind"):
        model.fit(data, shuffle=False, verbose=0, callbacks=[backup, stopping])


def test_wrong_arguments(tmp_path):
    with pytest.raises(TypeError, match="callbacks"):
        kdt.callbacks.BackupAndRestore(tmp_path, callbacks=[keras.callbacks.History()])
    with pytest.raises(ValueError, match="backup_dir"):
        kdt.callbacks.BackupAndRestore("")
