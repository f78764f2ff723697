"""The schedule callback: any schedule, made for the length of `fit` and used at every step."""

import keras
import numpy as np
import pytest
from small_models import STEPS_PER_EXECUTION, assert_identical
from step_probe import expected_weights, fit_probe, over_epochs, probe_model

import keras_deeptricks as kdt

# Rates near 0.1, evaluated in float32 and summed a few times.
ROUNDING = 4e-7


def falling(total_steps):
    """From 0.1 linearly to 0, by Keras' own schedule."""
    return keras.optimizers.schedules.PolynomialDecay(0.1, total_steps, end_learning_rate=0.0)


def falling_rates(total_steps):
    return 0.1 * (1 - np.arange(total_steps) / total_steps)


@pytest.mark.parametrize("steps_per_execution", STEPS_PER_EXECUTION)
def test_keras_schedule_as_long_as_fit(steps_per_execution):
    model = probe_model(6, keras.optimizers.SGD(), steps_per_execution=steps_per_execution)
    change = fit_probe(model, epochs=2, callbacks=[kdt.callbacks.Schedule(falling)])
    expected = over_epochs(falling_rates(12), 6)
    np.testing.assert_allclose(-change, expected, rtol=0, atol=ROUNDING)


def test_factory_is_asked_once_per_fit_with_all_steps():
    asked = []

    def factory(total_steps):
        asked.append(total_steps)
        return falling(total_steps)

    model = probe_model(4, keras.optimizers.SGD())
    schedule = kdt.callbacks.Schedule(factory)
    fit_probe(model, epochs=3, callbacks=[schedule])
    fit_probe(model, epochs=2, callbacks=[schedule])
    fit_probe(model, epochs=5, initial_epoch=4, callbacks=[schedule])
    assert asked == [12, 8, 20]


def test_second_fit_and_initial_epoch_of_a_keras_schedule():
    model = probe_model(4, keras.optimizers.SGD())
    schedule = kdt.callbacks.Schedule(falling)
    fit_probe(model, callbacks=[schedule])
    change = fit_probe(model, epochs=3, initial_epoch=1, callbacks=[schedule])
    expected = over_epochs(falling_rates(12)[4:], 4)
    np.testing.assert_allclose(-change, expected, rtol=0, atol=ROUNDING)


def test_pair_of_rate_and_momentum():
    def factory(total_steps):
        return falling(total_steps), kdt.schedules.OneCycleMomentum(0.9, 0.5, total_steps)

    model = probe_model(6, kdt.optimizers.SGD())
    change = fit_probe(model, callbacks=[kdt.callbacks.Schedule(factory)])
    momenta = kdt.schedules.OneCycleMomentum(0.9, 0.5, 6).numpy_values(np.arange(6))
    expected = expected_weights(falling_rates(6), momenta)
    np.testing.assert_allclose(change, expected, rtol=0, atol=ROUNDING)


def test_momentum_alone_leaves_the_rate():
    def factory(total_steps):
        return None, kdt.schedules.OneCycleMomentum(0.9, 0.5, total_steps)

    model = probe_model(6, kdt.optimizers.SGD(0.125))
    change = fit_probe(model, callbacks=[kdt.callbacks.Schedule(factory)])
    momenta = kdt.schedules.OneCycleMomentum(0.9, 0.5, 6).numpy_values(np.arange(6))
    np.testing.assert_allclose(
        change, expected_weights([0.125] * 6, momenta), rtol=0, atol=ROUNDING
    )


def test_nothing_at_all_leaves_everything():
    model = probe_model(4, kdt.optimizers.SGD(0.125))
    change = fit_probe(model, callbacks=[kdt.callbacks.Schedule(lambda total: (None, None))])
    np.testing.assert_array_equal(change, [-0.125] * 4)  # 0.125 is exact


def test_schedule_replaces_the_one_that_was_traced_before():
    model = probe_model(4, keras.optimizers.SGD(kdt.schedules.Constant(0.5)))
    np.testing.assert_array_equal(fit_probe(model), [-0.5] * 4)  # 0.5 is exact
    constant = kdt.callbacks.Schedule(lambda total: kdt.schedules.Constant(0.25))
    np.testing.assert_array_equal(fit_probe(model, callbacks=[constant]), [-0.25] * 4)


def test_compiled_anew_between_two_fits():
    model = probe_model(4, keras.optimizers.SGD())
    schedule = kdt.callbacks.Schedule(falling)
    fit_probe(model, callbacks=[schedule])
    model.compile(keras.optimizers.SGD(0.5), model.loss)
    np.testing.assert_allclose(-fit_probe(model), [0.5] * 4, rtol=0, atol=ROUNDING)
    change = fit_probe(model, callbacks=[schedule])
    np.testing.assert_allclose(-change, falling_rates(4), rtol=0, atol=ROUNDING)


def test_run_eagerly():
    model = probe_model(4, kdt.optimizers.SGD(), run_eagerly=True)
    change = fit_probe(model, callbacks=[kdt.callbacks.Schedule(falling)])
    np.testing.assert_allclose(-change, falling_rates(4), rtol=0, atol=ROUNDING)


def test_keras_schedule_is_saved_with_its_shift(tmp_path):
    model = probe_model(4, kdt.optimizers.SGD())
    schedule = kdt.callbacks.Schedule(falling)
    fit_probe(model, callbacks=[schedule])
    fit_probe(model, epochs=3, callbacks=[schedule, StopAfterOneEpoch()])
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    change = fit_probe(loaded)
    # The second of the second run's three epochs.
    np.testing.assert_allclose(-change, falling_rates(12)[4:8], rtol=0, atol=ROUNDING)
    fit_probe(model)
    assert_identical(model.get_weights(), loaded.get_weights())


class StopAfterOneEpoch(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        self.model.stop_training = True


@pytest.mark.parametrize("factory", [None, 0.1, "cosine", kdt.schedules])
def test_factory_must_be_a_function(factory):
    with pytest.raises(TypeError, match="`factory` must be a function"):
        kdt.callbacks.Schedule(factory)


@pytest.mark.parametrize(
    "made", [0.1, "cosine", (0.1, None), (kdt.schedules.Constant(0.1), 0.9), [], (None,) * 3]
)
def test_factory_must_return_schedules(made):
    model = probe_model(4, kdt.optimizers.SGD())
    before = model.get_weights()
    with pytest.raises(TypeError, match="`factory` must return a schedule"):
        fit_probe(model, callbacks=[kdt.callbacks.Schedule(lambda total_steps: made)])
    assert_identical(before, model.get_weights())


@pytest.mark.parametrize(
    "total_steps, error", [(0, ValueError), (-3, ValueError), (1.5, TypeError), ("9", TypeError)]
)
def test_bad_total_steps(total_steps, error):
    with pytest.raises(error, match="`total_steps`"):
        kdt.callbacks.Schedule(falling, total_steps=total_steps)


def test_warning_names_the_class_that_can_do_it():
    model = probe_model(4, keras.optimizers.Adam())
    cycle = kdt.schedules.OneCycle(0.1, 4)
    schedule = kdt.callbacks.Schedule(lambda total_steps: (cycle, cycle.momentum()))
    with pytest.raises(UserWarning, match=r"keras_deeptricks\.optimizers\.Adam"):
        # Warnings are errors here, so it stops before anything is trained.
        fit_probe(model, callbacks=[schedule])
