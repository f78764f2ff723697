"""Early stopping: Keras' decisions on finite values, and the reasons it adds."""

import keras
import numpy as np
import pytest
from small_models import assert_identical

import keras_deeptricks as kdt

NAN, INF = float("nan"), float("inf")


def small_model():
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    model.compile(keras.optimizers.SGD(0.0), "mse", metrics=["accuracy"])
    model.fit(np.zeros((1, 1)), np.zeros((1, 1)), verbose=0)  # Keras looks at built metrics
    return model


@pytest.fixture(scope="module")
def model():
    return small_model()


def run(model, callback, logs):
    """Plays logs to a callback as `fit` would; epoch t has the weight t + 1.

    Returns the number of epochs that were run and the weight at the end.
    """
    callback.set_model(model)
    model.stop_training = False
    callback.on_train_begin()
    for epoch, log in enumerate(logs):
        model.set_weights([np.full((1, 1), epoch + 1.0)])
        callback.on_epoch_begin(epoch)
        callback.on_epoch_end(epoch, dict(log))
        if model.stop_training:
            break
    callback.on_train_end()
    return epoch + 1, float(model.get_weights()[0][0, 0])


def scripted(values, name="val_loss"):
    return [{name: value} for value in values]


FALL_AND_RISE = [5.0, 4.0, 3.0, 3.5, 2.9, 3.0, 3.1, 3.2, 3.3, 2.0, 4.0, 4.0, 4.0]
SCRIPTS = {
    "fall and rise": FALL_AND_RISE,
    "constant": [1.0] * 12,
    "falling": list(np.linspace(3, 1, 12)),
    "rising": list(np.linspace(1, 3, 12)),
    "random": list(np.random.default_rng(0).normal(size=12)),
    "tiny steps": list(1 - 1e-3 * np.arange(12)),
}
OPTIONS = [
    {},
    {"patience": 1},
    {"patience": 3},
    {"patience": 3, "min_delta": 0.1},
    {"patience": 3, "min_delta": -0.1},
    {"patience": 2, "start_from_epoch": 4},
    {"patience": 2, "baseline": 2.95},
    {"patience": 4, "baseline": 0.0},
    {"patience": 2, "mode": "max"},
    {"patience": 2, "mode": "min"},
    {"patience": 3, "mode": "max", "baseline": 3.0, "min_delta": 0.05},
    {"patience": 20},
]


@pytest.mark.parametrize("restore", [False, True])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_decides_as_keras_does(model, options, restore):
    for values in SCRIPTS.values():
        ours = kdt.callbacks.EarlyStopping(restore_best_weights=restore, **options)
        keras_ = keras.callbacks.EarlyStopping(restore_best_weights=restore, **options)
        ran = run(model, ours, scripted(values))
        assert ran == run(model, keras_, scripted(values))
        assert ours.stopped_epoch == keras_.stopped_epoch
        assert ours.best_epoch == keras_.best_epoch
        assert ours.wait == keras_.wait
        stopped = ran[0] < len(values) or keras_.stopped_epoch > 0
        assert ours.stopping_reason == ("patience" if stopped else None)


def test_larger_is_better_for_accuracy(model):
    values = scripted([0.1, 0.5, 0.9, 0.8, 0.7, 0.6], "val_accuracy")
    stopping = kdt.callbacks.EarlyStopping("val_accuracy", patience=2)
    assert run(model, stopping, values) == (5, 3.0)


def test_by_hand(model):
    # Best at epoch 2 (weight 3); two epochs without improvement follow: stop after epoch 4.
    stopping = kdt.callbacks.EarlyStopping(patience=2)
    assert run(model, stopping, scripted([3.0, 2.0, 1.0, 1.0, 1.5, 0.0])) == (5, 3.0)
    assert (stopping.stopping_reason, stopping.stopped_epoch) == ("patience", 4)
    assert stopping.best_epoch == 2


def test_restores_the_best_weights_also_when_nothing_stops_it(model):
    stopping = kdt.callbacks.EarlyStopping(patience=10)
    assert run(model, stopping, scripted([3.0, 1.0, 2.0])) == (3, 2.0)
    assert stopping.stopping_reason is None
    assert stopping.stopped_epoch == 0


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
@pytest.mark.parametrize("name", ["loss", "val_loss"])
def test_stops_at_once_where_a_value_is_not_finite(model, name, bad):
    logs = [{"loss": 1.0, "val_loss": 2.0 - epoch / 10} for epoch in range(6)]
    logs[3][name] = bad
    stopping = kdt.callbacks.EarlyStopping(patience=5)
    # The weights of the last good epoch, the third.
    assert run(model, stopping, logs) == (4, 3.0)
    assert (stopping.stopping_reason, stopping.stopped_epoch) == ("not_finite", 3)
    assert stopping.best_epoch == 2


def test_stops_at_once_in_the_first_epoch(model):
    stopping = kdt.callbacks.EarlyStopping(patience=5)
    assert run(model, stopping, scripted([NAN, 1.0])) == (1, 1.0)
    assert (stopping.stopping_reason, stopping.stopped_epoch) == ("not_finite", 0)


def test_a_bad_metric_that_nobody_monitors_is_no_reason(model):
    logs = [{"loss": 1.0 - t / 10, "val_loss": 1.0 - t / 10, "other": NAN} for t in range(4)]
    stopping = kdt.callbacks.EarlyStopping(patience=2)
    assert run(model, stopping, logs) == (4, 4.0)
    assert stopping.stopping_reason is None


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_best_weights_are_never_those_of_a_bad_epoch(model, bad):
    # -inf would be the best loss of all, and after a NaN nothing compares as better.
    values = [3.0, bad, 2.0, bad, 2.5]
    stopping = kdt.callbacks.EarlyStopping(patience=10, check_finite=False)
    assert run(model, stopping, scripted(values)) == (5, 3.0)
    assert stopping.best_epoch == 2
    first = kdt.callbacks.EarlyStopping(patience=10, check_finite=False)
    assert run(model, first, scripted([bad, 2.0, 3.0])) == (3, 2.0)


def test_without_check_finite_a_bad_epoch_is_one_without_improvement(model):
    stopping = kdt.callbacks.EarlyStopping(patience=3, check_finite=False)
    assert run(model, stopping, scripted([1.0, NAN, 2.0, NAN, 0.5])) == (4, 1.0)
    assert stopping.stopping_reason == "patience"


def test_without_check_finite_a_bad_training_loss_counts_too(model):
    logs = [{"loss": NAN if t else 1.0, "val_loss": 1.0 - t / 10} for t in range(6)]
    stopping = kdt.callbacks.EarlyStopping(patience=2, check_finite=False)
    assert run(model, stopping, logs) == (3, 1.0)
    assert stopping.stopping_reason == "patience"


def test_bad_epochs_before_start_from_epoch_are_not_counted(model):
    values = [NAN, NAN, NAN, 2.0, 1.0, 3.0, 3.0, 3.0]
    stopping = kdt.callbacks.EarlyStopping(patience=2, check_finite=False, start_from_epoch=3)
    assert run(model, stopping, scripted(values)) == (7, 5.0)


def test_epochs_without_validation_are_not_counted(model):
    logs = [{"loss": NAN, "val_loss": 1.0 + t} if t % 2 else {"loss": NAN} for t in range(8)]
    stopping = kdt.callbacks.EarlyStopping(patience=3, check_finite=False)
    assert run(model, stopping, logs)[0] == 6


@pytest.mark.parametrize(
    "mode, threshold, values, epochs",
    [
        ("min", 10.0, [3.0, 2.0, 11.0, 1.0], 3),
        ("min", 10.0, [3.0, 10.0, 9.0, 1.0], 4),  # the threshold itself is allowed
        ("max", 0.2, [0.5, 0.6, 0.1, 0.7], 3),
        ("max", 0.2, [0.5, 0.2, 0.3, 0.7], 4),
        ("max", -1.0, [-0.5, -2.0, 0.0], 2),
        ("min", 10.0, [20.0, 1.0], 1),
    ],
)
def test_stops_beyond_the_divergence_threshold(model, mode, threshold, values, epochs):
    stopping = kdt.callbacks.EarlyStopping(
        "value", mode=mode, patience=50, divergence_threshold=threshold
    )
    ran, weight = run(model, stopping, scripted(values, "value"))
    assert ran == epochs
    if epochs < len(values):
        assert (stopping.stopping_reason, stopping.stopped_epoch) == ("diverged", epochs - 1)
        seen = values[: max(epochs - 1, 1)]
    else:
        assert stopping.stopping_reason is None
        seen = values
    best = np.argmax(seen) if mode == "max" else np.argmin(seen)
    assert weight == best + 1


def test_divergence_counts_before_minimum_epochs(model):
    stopping = kdt.callbacks.EarlyStopping(divergence_threshold=5.0, minimum_epochs=10)
    assert run(model, stopping, scripted([1.0, 6.0, 1.0]))[0] == 2
    assert stopping.stopping_reason == "diverged"


@pytest.mark.parametrize("patience", [0, 1, 3])
def test_minimum_epochs_keeps_a_run_going(model, patience):
    # Best at the first epoch: it would stop after epoch max(patience, 1) otherwise.
    stopping = kdt.callbacks.EarlyStopping(patience=patience, minimum_epochs=6)
    assert run(model, stopping, scripted(np.arange(1.0, 11.0))) == (6, 1.0)
    assert (stopping.stopping_reason, stopping.stopped_epoch) == ("patience", 5)


def test_an_improvement_before_minimum_epochs_renews_the_patience(model):
    values = [1.0, 2.0, 2.0, 2.0, 0.5, 2.0, 2.0, 2.0]
    stopping = kdt.callbacks.EarlyStopping(patience=2, minimum_epochs=5)
    assert run(model, stopping, scripted(values)) == (7, 5.0)


def test_minimum_epochs_does_not_undo_another_callbacks_stop(model):
    stopping = kdt.callbacks.EarlyStopping(patience=1, minimum_epochs=10)
    stopping.set_model(model)
    model.stop_training = False
    stopping.on_train_begin()
    stopping.on_epoch_end(0, {"val_loss": 1.0})
    model.stop_training = True
    stopping.on_epoch_end(1, {"val_loss": 2.0})
    assert model.stop_training
    assert stopping.stopping_reason is None


def test_can_be_used_again(model):
    stopping = kdt.callbacks.EarlyStopping(patience=1)
    run(model, stopping, scripted([1.0, NAN]))
    assert stopping.stopping_reason == "not_finite"
    # Larger than the first run's best, which is forgotten.
    assert run(model, stopping, scripted([5.0, 4.0, 3.0])) == (3, 3.0)
    assert (stopping.stopping_reason, stopping.stopped_epoch) == (None, 0)
    assert run(model, stopping, scripted([5.0, 6.0, 3.0])) == (2, 1.0)
    assert stopping.stopping_reason == "patience"


def test_missing_value_warns_as_keras_does(model):
    stopping = kdt.callbacks.EarlyStopping("val_loss")
    with pytest.raises(UserWarning, match="val_loss"):  # warnings are errors here
        run(model, stopping, scripted([1.0], "loss"))


def test_in_fit_a_nan_loss_stops_and_the_weights_stay_finite():
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, kernel_initializer="ones")])
    model.compile(keras.optimizers.SGD(0.1), "mse")
    x = np.ones((4, 1), "float32")
    model.fit(x, 0 * x, verbose=0)

    class Poison(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                self.kept = self.model.get_weights()
                self.model.set_weights([np.full((1, 1), NAN), np.zeros(1)])

    poison = Poison()
    stopping = kdt.callbacks.EarlyStopping("loss", patience=5)
    history = model.fit(x, 0 * x, epochs=6, callbacks=[poison, stopping], verbose=0).history
    assert len(history["loss"]) == 3
    assert stopping.stopping_reason == "not_finite"
    assert_identical(model.get_weights(), poison.kept)


def test_bad_arguments():
    for arguments, error, name in [
        ({"patience": -1}, ValueError, "patience"),
        ({"patience": 1.5}, TypeError, "patience"),
        ({"min_delta": NAN}, ValueError, "min_delta"),
        ({"min_delta": "small"}, TypeError, "min_delta"),
        ({"start_from_epoch": -1}, ValueError, "start_from_epoch"),
        ({"restore_best_weights": 1}, TypeError, "restore_best_weights"),
        ({"check_finite": "yes"}, TypeError, "check_finite"),
        ({"divergence_threshold": "high"}, TypeError, "divergence_threshold"),
        ({"divergence_threshold": INF}, ValueError, "divergence_threshold"),
        ({"minimum_epochs": -1}, ValueError, "minimum_epochs"),
        ({"minimum_epochs": 0.5}, TypeError, "minimum_epochs"),
        ({"baseline": "good"}, TypeError, "baseline"),
        ({"baseline": NAN}, ValueError, "baseline"),
        ({"mode": "upwards"}, ValueError, "mode"),
    ]:
        with pytest.raises(error, match=f"`{name}`"):
            kdt.callbacks.EarlyStopping(**arguments)
