"""Performance scheduling: Keras' decisions over a float, and the same over any schedule."""

import keras
import numpy as np
import pytest
from small_models import STEPS_PER_EXECUTION, assert_identical
from step_probe import fit_probe, probe_model

import keras_deeptricks as kdt

# Rates near 1, evaluated in float32.
ROUNDING = 4e-7


class Script(keras.callbacks.Callback):
    """Writes given values to the logs, one an epoch, before the callbacks that follow it."""

    def __init__(self, values, name="val_loss"):
        super().__init__()
        self.values = values
        self.name = name

    def on_epoch_end(self, epoch, logs=None):
        logs[self.name] = self.values[epoch]


class WeightsOfEpochs(keras.callbacks.Callback):
    """Keeps the weights at the start and after every epoch."""

    def on_train_begin(self, logs=None):
        self.weights = [self.model.get_weights()[0].ravel()]

    def on_epoch_end(self, epoch, logs=None):
        self.weights.append(self.model.get_weights()[0].ravel())

    def rates(self):
        """The rate of each step, one row an epoch."""
        return -np.diff(np.asarray(self.weights, "float64"), axis=0)


def play(callback, values, optimizer=None, steps=2, **options):
    """Trains a probe with a scripted value; returns its real rates and the history."""
    model = probe_model(steps, optimizer or keras.optimizers.SGD(1.0), **options)
    watch = WeightsOfEpochs()
    fit_probe(model, epochs=len(values), callbacks=[Script(values), callback, watch])
    return watch.rates(), model.history.history


STALL = [1.0] * 7


def test_by_hand_over_a_float():
    # Epochs 1 and 2 do not improve on epoch 0: halved after epoch 2, and again after 4 and 6.
    stalls = kdt.callbacks.PerformanceScheduling(factor=0.5, patience=2)
    rates, history = play(stalls, STALL)
    assert stalls.reductions == [2, 4, 6]
    assert stalls.factor_applied == 0.125
    expected = [1.0, 1.0, 1.0, 0.5, 0.5, 0.25, 0.25]
    # The history has the rate of the epoch's last step.
    assert history["learning_rate"] == expected
    np.testing.assert_allclose(rates, np.repeat([expected], 2, 0).T, rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("steps_per_execution", STEPS_PER_EXECUTION)
@pytest.mark.parametrize("kind", ["ours", "keras"])
def test_scales_a_schedule_from_then_on(kind, steps_per_execution):
    schedule, pure = {
        "ours": (
            kdt.schedules.OneCycle(1.0, 24),
            kdt.schedules.OneCycle(1.0, 24).numpy_values(np.arange(24)),
        ),
        "keras": (
            keras.optimizers.schedules.InverseTimeDecay(1.0, decay_steps=1, decay_rate=0.5),
            1 / (1 + 0.5 * np.arange(24)),
        ),
    }[kind]
    stalls = kdt.callbacks.PerformanceScheduling(factor=0.5, patience=2)
    rates, history = play(
        stalls,
        [1.0] * 6,
        kdt.optimizers.SGD(schedule),
        steps=4,
        steps_per_execution=steps_per_execution,
    )
    assert stalls.reductions == [2, 4]
    factors = np.array([1, 1, 1, 0.5, 0.5, 0.25])[:, None]
    expected = factors * pure.reshape(6, 4)
    # Differences of sums of six rates.
    np.testing.assert_allclose(rates, expected, rtol=0, atol=6 * ROUNDING)
    np.testing.assert_allclose(history["learning_rate"], expected[:, -1], rtol=0, atol=ROUNDING)


def test_second_fit_scales_further():
    schedule = keras.optimizers.schedules.InverseTimeDecay(1.0, decay_steps=1, decay_rate=0.5)
    model = probe_model(2, keras.optimizers.SGD(schedule))
    stalls = kdt.callbacks.PerformanceScheduling(factor=0.5, patience=1)
    fit_probe(model, epochs=2, callbacks=[Script(STALL), stalls])
    assert stalls.reductions == [1]
    watch = WeightsOfEpochs()
    fit_probe(model, epochs=3, callbacks=[Script(STALL), stalls, watch])
    # The best value and the list start anew, the optimizer's rate does not.
    assert stalls.reductions == [1, 2]
    assert stalls.factor_applied == 0.25
    factors = np.array([0.5, 0.5, 0.25])[:, None]
    expected = factors / (1 + 0.5 * np.arange(4, 10).reshape(3, 2))
    np.testing.assert_allclose(watch.rates(), expected, rtol=0, atol=4 * ROUNDING)


def test_together_with_one_cycle():
    cycle = kdt.callbacks.OneCycle(1.0, momentum=None)
    stalls = kdt.callbacks.PerformanceScheduling(factor=0.1, patience=1)
    model = probe_model(4, kdt.optimizers.SGD())
    watch = WeightsOfEpochs()
    fit_probe(model, epochs=3, callbacks=[cycle, Script(STALL), stalls, watch])
    pure = kdt.schedules.OneCycle(1.0, 12).numpy_values(np.arange(12)).reshape(3, 4)
    expected = np.array([1, 1, 0.1])[:, None] * pure
    np.testing.assert_allclose(watch.rates(), expected, rtol=0, atol=4 * ROUNDING)


def test_loss_scaling():
    keras.config.set_dtype_policy("mixed_float16")
    schedule = keras.optimizers.schedules.InverseTimeDecay(1.0, decay_steps=1, decay_rate=0.5)
    stalls = kdt.callbacks.PerformanceScheduling(factor=0.5, patience=1)
    rates, history = play(stalls, STALL[:3], kdt.optimizers.SGD(schedule))
    expected = np.array([1, 1, 0.5])[:, None] / (1 + 0.5 * np.arange(6).reshape(3, 2))
    np.testing.assert_allclose(rates, expected, rtol=0, atol=4 * ROUNDING)
    np.testing.assert_allclose(history["learning_rate"], expected[:, -1], rtol=0, atol=ROUNDING)


def test_saved_model_keeps_the_scaled_schedule(tmp_path):
    model = probe_model(2, kdt.optimizers.SGD(kdt.schedules.OneCycle(1.0, 20)))
    stalls = kdt.callbacks.PerformanceScheduling(factor=0.5, patience=1)
    fit_probe(model, epochs=3, callbacks=[Script(STALL), stalls])
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    change = fit_probe(loaded)
    pure = kdt.schedules.OneCycle(1.0, 20).numpy_values([6, 7])
    np.testing.assert_allclose(-change, 0.25 * pure, rtol=0, atol=4 * ROUNDING)


def reductions(callback, values, name="val_loss", learning_rate=1.0):
    """The rates after each epoch of scripted logs, without training anything."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(learning_rate), "mse", metrics=["accuracy"])
    model.optimizer.build(model.trainable_variables)
    model.optimizer.iterations.assign(1)
    callback.set_model(model)
    callback.on_train_begin()
    rates = []
    for epoch, value in enumerate(values):
        callback.on_epoch_end(epoch, {name: value})
        rates.append(float(keras.ops.convert_to_numpy(model.optimizer.learning_rate)))
    return rates


SCRIPTS = {
    "constant": [1.0] * 10,
    "fall and rise": [5.0, 4.0, 3.0, 3.5, 2.9, 3.0, 3.1, 3.2, 3.3, 2.0, 4.0, 4.0, 4.0],
    "random": list(np.random.default_rng(1).normal(size=15)),
    "tiny steps": list(1 - 1e-5 * np.arange(12)),
    "rising": list(np.linspace(1, 3, 12)),
}
OPTIONS = [
    {"patience": 1},
    {"patience": 3},
    {"patience": 2, "cooldown": 2},
    {"patience": 2, "min_delta": 0.3},
    {"patience": 2, "min_delta": 0.0},
    {"patience": 1, "mode": "max"},
    {"patience": 1, "minimum": 0.1, "factor": 0.3},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_decides_over_a_float_as_keras_does(options):
    options = {"factor": 0.5, **options}
    minimum = options.pop("minimum", 0.0)
    for values in SCRIPTS.values():
        ours = kdt.callbacks.PerformanceScheduling(minimum_learning_rate=minimum, **options)
        keras_ = keras.callbacks.ReduceLROnPlateau(min_lr=minimum, **options)
        rates = reductions(ours, values)
        # Both multiply Python floats and assign them to a float32 variable.
        assert rates == reductions(keras_, values)
        lowered = [t for t in range(len(values)) if rates[t] < ([1.0, *rates])[t]]
        assert ours.reductions == lowered


def test_decides_over_a_schedule_as_over_a_float():
    for options in OPTIONS[:-1]:
        for values in SCRIPTS.values():
            over_float = kdt.callbacks.PerformanceScheduling(factor=0.5, **options)
            over_schedule = kdt.callbacks.PerformanceScheduling(factor=0.5, **options)
            rates = reductions(over_float, values)
            scheduled = reductions(over_schedule, values, learning_rate=kdt.schedules.Constant(1.0))
            assert rates == scheduled  # powers of a half are exact
            assert over_float.reductions == over_schedule.reductions


def test_larger_is_better_for_accuracy():
    stalls = kdt.callbacks.PerformanceScheduling("val_accuracy", factor=0.5, patience=1)
    values = [0.1, 0.2, 0.15, 0.3]
    assert reductions(stalls, values, "val_accuracy") == [1.0, 1.0, 0.5, 0.5]


def test_cooldown_by_hand():
    # Reduced after epoch 1; epochs 2 and 3 cool down, of which the last counts again (as in
    # Keras), so after epoch 3 comes the second reduction.
    stalls = kdt.callbacks.PerformanceScheduling(factor=0.5, patience=1, cooldown=2)
    assert reductions(stalls, STALL) == [1.0, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125]


def test_min_delta_by_hand():
    # 0.95 is no improvement by more than 0.1 on 1.0, but 0.8 is.
    stalls = kdt.callbacks.PerformanceScheduling(factor=0.5, patience=2, min_delta=0.1)
    assert reductions(stalls, [1.0, 0.95, 0.8, 0.8, 0.8]) == [1.0, 1.0, 1.0, 1.0, 0.5]


def test_minimum_over_a_float_ends_the_reductions():
    stalls = kdt.callbacks.PerformanceScheduling(factor=0.5, patience=1, minimum_learning_rate=0.3)
    rates = reductions(stalls, STALL)
    np.testing.assert_array_equal(rates, np.float32([1.0, 0.5, 0.3, 0.3, 0.3, 0.3, 0.3]))
    assert stalls.reductions == [1, 2]


def test_minimum_over_a_schedule_bounds_the_factor_but_not_the_schedule():
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([5], [1.0, 0.1])
    stalls = kdt.callbacks.PerformanceScheduling(factor=0.5, patience=1, minimum_learning_rate=0.3)
    rates, _ = play(stalls, [1.0] * 4, kdt.optimizers.SGD(schedule))
    # Halved after epoch 1, quartered after epoch 2 but not below 0.3; from step 6 on the schedule
    # itself is lower, and is left as it is.
    expected = [[1.0, 1.0], [1.0, 1.0], [0.5, 0.5], [0.1, 0.1]]
    np.testing.assert_allclose(rates, expected, rtol=0, atol=4 * ROUNDING)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_bad_values_are_no_improvement(bad):
    stalls = kdt.callbacks.PerformanceScheduling(factor=0.5, patience=2)
    # NaN as "best" would hide every later improvement.
    assert reductions(stalls, [bad, bad, 5.0, 4.0, 4.0, bad]) == [1.0, 0.5, 0.5, 0.5, 0.5, 0.25]


def test_missing_value_warns_and_does_nothing():
    stalls = kdt.callbacks.PerformanceScheduling("val_loss")
    with pytest.raises(UserWarning, match=r"'val_loss'.*loss, learning_rate"):
        reductions(stalls, [1.0], "loss")


def test_says_so_if_asked(capsys):
    stalls = kdt.callbacks.PerformanceScheduling(factor=0.5, patience=1, verbose=1)
    reductions(stalls, [1.0, 1.0])
    assert "Epoch 2: learning rate multiplied by 0.5" in capsys.readouterr().out
    silent = kdt.callbacks.PerformanceScheduling(factor=0.5, patience=1)
    reductions(silent, [1.0, 1.0])
    assert capsys.readouterr().out == ""


def test_untouched_run_is_untouched():
    plain, watched = (probe_model(2, kdt.optimizers.SGD(0.3)) for _ in range(2))
    fit_probe(plain, epochs=3)
    stalls = kdt.callbacks.PerformanceScheduling(patience=2)
    fit_probe(watched, epochs=3, callbacks=[Script([3.0, 2.0, 1.0]), stalls])
    assert stalls.reductions == []
    assert_identical(plain.get_weights(), watched.get_weights())


def test_bad_arguments():
    for arguments, error, name in [
        ({"factor": 0.0}, ValueError, "factor"),
        ({"factor": 1.0}, ValueError, "factor"),
        ({"factor": "half"}, TypeError, "factor"),
        ({"patience": 0}, ValueError, "patience"),
        ({"patience": 1.5}, TypeError, "patience"),
        ({"mode": "up"}, ValueError, "mode"),
        ({"min_delta": -1e-4}, ValueError, "min_delta"),
        ({"cooldown": -1}, ValueError, "cooldown"),
        ({"cooldown": None}, TypeError, "cooldown"),
        ({"minimum_learning_rate": -1.0}, ValueError, "minimum_learning_rate"),
        ({"minimum_learning_rate": "0"}, TypeError, "minimum_learning_rate"),
    ]:
        with pytest.raises(error, match=f"`{name}`"):
            kdt.callbacks.PerformanceScheduling(**arguments)
    with pytest.raises(ValueError, match="mode='max'"):
        kdt.callbacks.PerformanceScheduling("temperature")
