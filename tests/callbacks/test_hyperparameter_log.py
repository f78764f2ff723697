"""The hyperparameter log: what it writes is what every step used."""

import keras
import numpy as np
import pytest
from small_models import STEPS_PER_EXECUTION, assert_identical
from step_probe import expected_weights, fit_probe, over_epochs, probe_model

import keras_deeptricks as kdt

# Rates of 0.1, evaluated in float32 in the step and in float64 in the log.
ROUNDING = 4e-7
RATES = kdt.schedules.OneCycle(0.1, 12).numpy_values(np.arange(12))
MOMENTA = kdt.schedules.OneCycle(0.1, 12).momentum().numpy_values(np.arange(12))


def history_of(model):
    return model.history.history


@pytest.mark.parametrize("steps_per_execution", STEPS_PER_EXECUTION)
def test_values_of_every_step(steps_per_execution):
    model = probe_model(6, kdt.optimizers.SGD(), steps_per_execution=steps_per_execution)
    log = kdt.callbacks.HyperparameterLog()
    change = fit_probe(model, epochs=2, callbacks=[log, kdt.callbacks.OneCycle(0.1)])
    np.testing.assert_array_equal(log.steps, np.arange(12))
    # The same formula, in double precision in both cases.
    np.testing.assert_array_equal(log.learning_rates, RATES)
    np.testing.assert_array_equal(log.momenta, MOMENTA)
    # And what the log says is what the weights went through.
    expected = expected_weights(log.learning_rates, log.momenta, width=6)
    np.testing.assert_allclose(change, expected, rtol=0, atol=10 * ROUNDING)


def test_history_has_the_epochs_last_values_and_all_of_them():
    model = probe_model(6, kdt.optimizers.SGD())
    log = kdt.callbacks.HyperparameterLog()
    fit_probe(model, epochs=2, callbacks=[kdt.callbacks.OneCycle(0.1), log])
    history = history_of(model)
    assert history["learning_rate"] == [RATES[5], RATES[11]]
    assert history["momentum"] == [MOMENTA[5], MOMENTA[11]]
    assert history["learning_rate_per_step"] == RATES.reshape(2, 6).tolist()
    assert history["momentum_per_step"] == MOMENTA.reshape(2, 6).tolist()
    assert len(history["loss"]) == 2


def test_second_fit_starts_a_log_of_its_own():
    model = probe_model(6, kdt.optimizers.SGD())
    log = kdt.callbacks.HyperparameterLog()
    cycle = kdt.callbacks.OneCycle(0.1)
    fit_probe(model, callbacks=[cycle, log])
    fit_probe(model, epochs=2, callbacks=[cycle, log])
    np.testing.assert_array_equal(log.steps, np.arange(6, 18))
    np.testing.assert_array_equal(log.learning_rates, RATES)
    assert len(history_of(model)["momentum_per_step"]) == 2


def test_initial_epoch():
    model = probe_model(4, kdt.optimizers.SGD())
    log = kdt.callbacks.HyperparameterLog()
    cycle = kdt.callbacks.OneCycle(0.1)
    fit_probe(model, epochs=3, initial_epoch=2, callbacks=[cycle, log])
    np.testing.assert_array_equal(log.steps, np.arange(4))
    np.testing.assert_array_equal(log.learning_rates, RATES[8:])


def test_keras_optimizers():
    model = probe_model(4, keras.optimizers.SGD(0.25, momentum=0.75))
    log = kdt.callbacks.HyperparameterLog()
    fit_probe(model, callbacks=[log])
    np.testing.assert_array_equal(log.learning_rates, [0.25] * 4)
    np.testing.assert_array_equal(log.momenta, [0.75] * 4)

    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([1], [0.5, 0.25])
    model = probe_model(4, keras.optimizers.Adam(schedule, beta_1=0.5))
    fit_probe(model, callbacks=[log])
    np.testing.assert_array_equal(log.learning_rates, [0.5, 0.5, 0.25, 0.25])
    np.testing.assert_array_equal(log.momenta, [0.5] * 4)


def test_optimizer_without_momentum():
    model = probe_model(4, keras.optimizers.Adagrad(0.25))
    log = kdt.callbacks.HyperparameterLog()
    fit_probe(model, callbacks=[log])
    assert log.momenta is None
    np.testing.assert_array_equal(log.learning_rates, [0.25] * 4)
    assert not any("momentum" in name for name in history_of(model))


@pytest.mark.parametrize("make", [kdt.optimizers.Adam, kdt.optimizers.AdamW, kdt.optimizers.Nadam])
def test_momentum_of_adams_family_is_beta_1(make):
    model = probe_model(4, make())
    log = kdt.callbacks.HyperparameterLog()
    fit_probe(model, epochs=3, callbacks=[kdt.callbacks.OneCycle(0.1), log])
    np.testing.assert_array_equal(log.momenta, MOMENTA)


def test_under_performance_scheduling():
    model = probe_model(4, keras.optimizers.SGD(0.5))
    log = kdt.callbacks.HyperparameterLog()
    stalls = kdt.callbacks.PerformanceScheduling("stalled", factor=0.5, patience=1, mode="min")

    class Stalled(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["stalled"] = 1.0

    change = fit_probe(model, epochs=3, callbacks=[Stalled(), stalls, log])
    # Lowered after the second epoch, whose own steps used the old rate.
    np.testing.assert_array_equal(log.learning_rates, [0.5] * 8 + [0.25] * 4)
    np.testing.assert_allclose(-change, over_epochs(log.learning_rates, 4), rtol=0, atol=ROUNDING)


def test_loss_scaling():
    keras.config.set_dtype_policy("mixed_float16")
    model = probe_model(6, kdt.optimizers.SGD())
    log = kdt.callbacks.HyperparameterLog()
    fit_probe(model, epochs=2, callbacks=[kdt.callbacks.OneCycle(0.1), log])
    np.testing.assert_array_equal(log.learning_rates, RATES)
    np.testing.assert_array_equal(log.momenta, MOMENTA)


def test_gradient_accumulation_is_logged_by_batches():
    model = probe_model(6, kdt.optimizers.SGD(gradient_accumulation_steps=2))
    log = kdt.callbacks.HyperparameterLog()
    fit_probe(model, epochs=2, callbacks=[kdt.callbacks.OneCycle(0.1), log])
    np.testing.assert_array_equal(log.steps, np.arange(12))
    np.testing.assert_array_equal(log.learning_rates, RATES)


def test_only_observes():
    plain, logged = (probe_model(4, kdt.optimizers.SGD(0.3, momentum=0.9)) for _ in range(2))
    fit_probe(plain, epochs=2)
    fit_probe(logged, epochs=2, callbacks=[kdt.callbacks.HyperparameterLog()])
    assert_identical(plain.get_weights(), logged.get_weights())


def test_nothing_was_trained_yet():
    log = kdt.callbacks.HyperparameterLog()
    assert log.steps.shape == log.learning_rates.shape == (0,)
    assert log.steps.dtype == np.int64


def test_tensorboard_reads_every_step(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    model = probe_model(6, kdt.optimizers.SGD())
    log = kdt.callbacks.HyperparameterLog(tmp_path / "events")
    fit_probe(model, epochs=2, callbacks=[kdt.callbacks.OneCycle(0.1), log])
    # 0: all of them, not a sample.
    events = EventAccumulator(str(tmp_path / "events"), size_guidance={"tensors": 0})
    events.Reload()
    for name, expected in (("learning_rate", RATES), ("momentum", MOMENTA)):
        read = {
            event.step: float(np.frombuffer(event.tensor_proto.tensor_content, "float32")[0])
            if event.tensor_proto.tensor_content
            else event.tensor_proto.float_val[0]
            for event in events.Tensors(f"hyperparameters/{name}")
        }
        assert sorted(read) == list(range(12))
        # Event files hold float32.
        np.testing.assert_allclose([read[t] for t in range(12)], expected, rtol=1e-6)


def test_without_a_folder_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fit_probe(probe_model(4, kdt.optimizers.SGD()), callbacks=[kdt.callbacks.HyperparameterLog()])
    assert list(tmp_path.iterdir()) == []
