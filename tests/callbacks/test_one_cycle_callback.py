"""The 1cycle callback: every step of `fit` uses the pure schedule's rate and momentum."""

import keras
import numpy as np
import pytest
from small_models import (
    BACKEND,
    STEPS_PER_EXECUTION,
    assert_identical,
)
from step_probe import expected_weights, fit_probe, over_epochs, probe_data, probe_model

import keras_deeptricks as kdt

PEAK = 0.1
# The schedule is evaluated in float32: a few units in the last place of the peak.
ROUNDING = 4e-7 * PEAK
# Under momentum the weights are sums of about ten such values.
SUMS = 10 * ROUNDING


def pure_rates(total_steps, steps=None, **options):
    steps = np.arange(total_steps) if steps is None else steps
    return kdt.schedules.OneCycle(PEAK, total_steps, **options).numpy_values(steps)


def pure_momenta(total_steps, high=0.95, low=0.85, **options):
    cycle = kdt.schedules.OneCycle(PEAK, total_steps, **options)
    return cycle.momentum(high, low).numpy_values(np.arange(total_steps))


def next_rate(optimizer):
    """The rate that the next step of an optimizer will use."""
    return float(keras.ops.convert_to_numpy(optimizer.learning_rate))


@pytest.mark.parametrize("steps_per_execution", STEPS_PER_EXECUTION)
@pytest.mark.parametrize(
    "options",
    [{}, {"annealing": "linear", "warmup_fraction": 0.5}, {"three_phase": True}],
    ids=["cosine", "linear", "three-phase"],
)
def test_rate_of_every_step_is_the_schedules(options, steps_per_execution):
    model = probe_model(
        10, kdt.optimizers.SGD(momentum=0.0), steps_per_execution=steps_per_execution
    )
    cycle = kdt.callbacks.OneCycle(PEAK, momentum=None, **options)
    change = fit_probe(model, callbacks=[cycle])
    np.testing.assert_allclose(-change, pure_rates(10, **options), rtol=0, atol=ROUNDING)


def test_hand_computed_linear_cycle():
    # Ten steps, half of them rising from 0.1/25 at step 0 to 0.1 at step 4, linearly, and then
    # falling to 0.1/25/1e4 at step 9.
    first, last = 0.1 / 25, 0.1 / 25 / 1e4
    rising = [first + (0.1 - first) * t / 4 for t in range(5)]
    falling = [0.1 + (last - 0.1) * t / 5 for t in range(1, 6)]
    cycle = kdt.callbacks.OneCycle(0.1, momentum=None, annealing="linear", warmup_fraction=0.5)
    change = fit_probe(probe_model(10, kdt.optimizers.SGD()), callbacks=[cycle])
    np.testing.assert_allclose(-change, rising + falling, rtol=0, atol=ROUNDING)


class EachStep(keras.callbacks.Callback):
    """Keeps the first weight after every step."""

    def on_train_begin(self, logs=None):
        self.weights = [float(self.model.get_weights()[0][0, 0])]

    def on_train_batch_end(self, batch, logs=None):
        self.weights.append(float(self.model.get_weights()[0][0, 0]))


def test_momentum_of_every_step_is_the_schedules():
    # After an only gradient at step 0, θ changes by v, and v by the factor m of each step.
    model = probe_model(12, kdt.optimizers.SGD(momentum=0.5))
    watch = EachStep()
    fit_probe(model, callbacks=[kdt.callbacks.OneCycle(100.0, (0.9, 0.6)), watch])
    changes = np.diff(watch.weights)
    # Differences of float32 numbers of about ten times their size.
    np.testing.assert_allclose(
        changes[1:] / changes[:-1], pure_momenta(12, 0.9, 0.6)[1:], rtol=2e-4
    )


@pytest.mark.parametrize("steps_per_execution", STEPS_PER_EXECUTION)
@pytest.mark.parametrize("nesterov", [False, True])
def test_rate_and_momentum_together_over_epochs(nesterov, steps_per_execution):
    # Six steps an epoch, so that four steps per execution leave a remainder.
    model = probe_model(
        6,
        kdt.optimizers.SGD(momentum=0.95, nesterov=nesterov),
        steps_per_execution=steps_per_execution,
    )
    change = fit_probe(model, epochs=3, callbacks=[kdt.callbacks.OneCycle(PEAK)])
    expected = expected_weights(pure_rates(18), pure_momenta(18), width=6, nesterov=nesterov)
    np.testing.assert_allclose(change, expected, rtol=0, atol=SUMS)


@pytest.mark.skipif(BACKEND == "torch", reason="Keras refuses several steps per execution there")
def test_steps_per_execution_changes_nothing():
    weights = []
    for steps_per_execution in STEPS_PER_EXECUTION:
        model = probe_model(
            6,
            kdt.optimizers.Nadam(),
            steps_per_execution=steps_per_execution,
        )
        fit_probe(model, epochs=2, callbacks=[kdt.callbacks.OneCycle(PEAK)])
        weights.append(model.get_weights())
    assert_identical(*weights)


def test_gradient_accumulation_counts_batches():
    # Updates happen at batches 1, 3, 5 …, with the mean of two gradients and the rate of that
    # batch; Keras gives schedules the number of batches.
    model = probe_model(8, kdt.optimizers.SGD(gradient_accumulation_steps=2))
    change = fit_probe(model, callbacks=[kdt.callbacks.OneCycle(PEAK, momentum=None)])
    expected = -np.repeat(pure_rates(8)[1::2] / 2, 2)
    np.testing.assert_allclose(change, expected, rtol=0, atol=ROUNDING)


def test_gradient_accumulation_with_momentum():
    model = probe_model(8, kdt.optimizers.SGD(momentum=0.9, gradient_accumulation_steps=2))
    change = fit_probe(model, callbacks=[kdt.callbacks.OneCycle(PEAK)])
    # Four updates of four pairs of weights, which share half a gradient each.
    pairs = expected_weights(pure_rates(8)[1::2] / 2, pure_momenta(8)[1::2])
    np.testing.assert_allclose(change, np.repeat(pairs, 2), rtol=0, atol=SUMS)


def test_second_fit_starts_a_cycle_of_its_own():
    model = probe_model(6, kdt.optimizers.SGD())
    cycle = kdt.callbacks.OneCycle(PEAK, momentum=None)
    fit_probe(model, callbacks=[cycle])
    change = fit_probe(model, epochs=2, callbacks=[cycle])
    # Twelve steps now, although the optimizer counts from 6 on.
    np.testing.assert_allclose(-change, over_epochs(pure_rates(12), 6), rtol=0, atol=SUMS)


def test_second_fit_with_momentum_keeps_the_velocity():
    model = probe_model(6, kdt.optimizers.SGD(momentum=0.9))
    cycle = kdt.callbacks.OneCycle(PEAK)
    fit_probe(model, callbacks=[cycle])
    velocity = np.array(keras.ops.convert_to_numpy(model.optimizer.momentums[0])).ravel()
    change = fit_probe(model, callbacks=[cycle])
    expected = expected_weights(pure_rates(6), pure_momenta(6), velocity=velocity)
    np.testing.assert_allclose(change, expected, rtol=0, atol=SUMS)


def test_initial_epoch_enters_in_the_middle():
    model = probe_model(4, kdt.optimizers.SGD())
    change = fit_probe(
        model, epochs=5, initial_epoch=3, callbacks=[kdt.callbacks.OneCycle(PEAK, momentum=None)]
    )
    expected = over_epochs(pure_rates(20, np.arange(12, 20)), 4)
    np.testing.assert_allclose(-change, expected, rtol=0, atol=SUMS)


def test_resumed_in_two_parts_is_one_cycle():
    whole, parts = probe_model(4, kdt.optimizers.SGD()), probe_model(4, kdt.optimizers.SGD())
    cycle = kdt.callbacks.OneCycle(PEAK, momentum=None)
    fit_probe(whole, epochs=4, callbacks=[cycle])

    class Interrupted(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = epoch == 1

    fit_probe(parts, epochs=4, callbacks=[cycle, Interrupted()])
    fit_probe(parts, epochs=4, initial_epoch=2, callbacks=[cycle])
    assert_identical(whole.get_weights(), parts.get_weights())


def test_validation_does_not_advance_the_cycle():
    model = probe_model(6, kdt.optimizers.SGD())
    change = fit_probe(
        model,
        epochs=2,
        callbacks=[kdt.callbacks.OneCycle(PEAK, momentum=None)],
        validation_data=probe_data(6),
    )
    np.testing.assert_allclose(-change, over_epochs(pure_rates(12), 6), rtol=0, atol=SUMS)


def batches(steps):
    for row, target in zip(*probe_data(steps), strict=True):
        yield row[None], target[None]


def test_unknown_length_asks_for_total_steps():
    model = probe_model(6, kdt.optimizers.SGD())
    before = model.get_weights()
    with pytest.raises(ValueError, match="`total_steps`"):
        model.fit(batches(6), callbacks=[kdt.callbacks.OneCycle(PEAK)], shuffle=False, verbose=0)
    assert_identical(before, model.get_weights())


# Keras warns of the end of any generator whose length it does not know.
@pytest.mark.filterwarnings("ignore:.*ran out of data")
@pytest.mark.parametrize(
    "given, fit_options",
    [({"total_steps": 6}, {}), ({}, {"steps_per_epoch": 6})],
    ids=["total_steps", "steps_per_epoch"],
)
def test_unknown_length_with_its_length_given(given, fit_options):
    model = probe_model(6, kdt.optimizers.SGD())
    cycle = kdt.callbacks.OneCycle(PEAK, momentum=None, **given)
    model.fit(batches(6), callbacks=[cycle], shuffle=False, verbose=0, **fit_options)
    weights = model.get_weights()[0].ravel()
    np.testing.assert_allclose(-weights, pure_rates(6), rtol=0, atol=ROUNDING)


def test_total_steps_given_has_precedence_and_the_end_holds():
    model = probe_model(10, kdt.optimizers.SGD())
    cycle = kdt.callbacks.OneCycle(PEAK, momentum=None, total_steps=7)
    change = fit_probe(model, callbacks=[cycle])
    expected = [*pure_rates(7), *[PEAK / 25 / 1e4] * 3]
    np.testing.assert_allclose(-change, expected, rtol=0, atol=ROUNDING)


def test_model_that_was_trained_before():
    model = probe_model(6, kdt.optimizers.SGD(0.5, momentum=0.0))
    first = fit_probe(model)
    np.testing.assert_array_equal(first, -0.5 * np.ones(6))  # 0.5 is exact
    # The step is traced, and the optimizer was built without velocities.
    change = fit_probe(model, callbacks=[kdt.callbacks.OneCycle(PEAK)])
    expected = expected_weights(pure_rates(6), pure_momenta(6))
    np.testing.assert_allclose(change, expected, rtol=0, atol=SUMS)


@pytest.mark.parametrize("steps_per_execution", STEPS_PER_EXECUTION)
def test_loss_scaling_of_mixed_float16(steps_per_execution):
    keras.config.set_dtype_policy("mixed_float16")
    model = probe_model(
        6, kdt.optimizers.SGD(momentum=0.9), steps_per_execution=steps_per_execution
    )
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    change = fit_probe(model, callbacks=[kdt.callbacks.OneCycle(PEAK)])
    # The gradients, 0 and 1 times a power of two, are exact in float16.
    expected = expected_weights(pure_rates(6), pure_momenta(6))
    np.testing.assert_allclose(change, expected, rtol=0, atol=SUMS)


def test_loss_scaling_of_a_model_that_was_trained_before():
    keras.config.set_dtype_policy("mixed_float16")
    model = probe_model(6, kdt.optimizers.SGD(0.5, momentum=0.0))
    fit_probe(model)
    change = fit_probe(model, callbacks=[kdt.callbacks.OneCycle(PEAK)])
    expected = expected_weights(pure_rates(6), pure_momenta(6))
    # The weights are about 0.5 in float32 by now.
    np.testing.assert_allclose(change, expected, rtol=0, atol=SUMS + 2e-7)


# Keras' variables and NumPy 2: pytest.warns sends on what it did not look for.
@pytest.mark.filterwarnings("ignore:__array__ implementation")
def test_keras_own_optimizer_cycles_the_rate_and_says_what_to_do():
    model = probe_model(6, keras.optimizers.SGD(momentum=0.9))
    with pytest.warns(UserWarning, match=r"keras_deeptricks\.optimizers\.SGD.*momentum=None"):
        change = fit_probe(model, callbacks=[kdt.callbacks.OneCycle(PEAK)])
    expected = expected_weights(pure_rates(6), [0.9] * 6)
    np.testing.assert_allclose(change, expected, rtol=0, atol=SUMS)


def test_momentum_none_is_silent_and_leaves_the_momentum():
    for optimizer in (keras.optimizers.SGD(momentum=0.9), kdt.optimizers.SGD(momentum=0.9)):
        model = probe_model(6, optimizer)
        # A warning would be an error here.
        change = fit_probe(model, callbacks=[kdt.callbacks.OneCycle(PEAK, momentum=None)])
        expected = expected_weights(pure_rates(6), [0.9] * 6)
        np.testing.assert_allclose(change, expected, rtol=0, atol=SUMS)


def test_ends_exactly_at_the_final_rate_and_holds_it():
    final = np.float32(PEAK / 25 / 1e4)
    model = probe_model(6, kdt.optimizers.SGD())
    fit_probe(model, callbacks=[kdt.callbacks.OneCycle(PEAK, momentum=None)])
    assert next_rate(model.optimizer) == final
    model.set_weights([np.zeros((6, 1))])
    change = fit_probe(model, epochs=1)
    np.testing.assert_array_equal(change, -np.full(6, final, "float64"))


def test_tf_data():
    tf = pytest.importorskip("tensorflow")
    data = tf.data.Dataset.from_tensor_slices(probe_data(6)).batch(1)
    model = probe_model(6, kdt.optimizers.SGD())
    cycle = kdt.callbacks.OneCycle(PEAK, momentum=None)
    model.fit(data, epochs=2, callbacks=[cycle], shuffle=False, verbose=0)
    weights = model.get_weights()[0].ravel()
    np.testing.assert_allclose(-weights, over_epochs(pure_rates(12), 6), rtol=0, atol=SUMS)


class Rows(keras.utils.PyDataset):
    """The probe's data, one row a batch."""

    def __init__(self, steps):
        super().__init__()
        self.rows = list(batches(steps))

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        return self.rows[index]


def test_py_dataset():
    model = probe_model(6, kdt.optimizers.SGD())
    cycle = kdt.callbacks.OneCycle(PEAK, momentum=None)
    model.fit(Rows(6), epochs=2, callbacks=[cycle], shuffle=False, verbose=0)
    weights = model.get_weights()[0].ravel()
    np.testing.assert_allclose(-weights, over_epochs(pure_rates(12), 6), rtol=0, atol=SUMS)


def test_saved_model_goes_on_at_the_held_rate(tmp_path):
    model = probe_model(6, kdt.optimizers.SGD(momentum=0.9, nesterov=True))
    fit_probe(model, epochs=2, callbacks=[kdt.callbacks.OneCycle(PEAK)])
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert int(loaded.optimizer.iterations) == 12
    assert next_rate(loaded.optimizer) == np.float32(PEAK / 25 / 1e4)
    fit_probe(model)
    fit_probe(loaded)
    assert_identical(model.get_weights(), loaded.get_weights())


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda: kdt.optimizers.SGD(0.01, gradient_accumulation_steps=2),
        lambda: kdt.optimizers.RMSprop(0.01, centered=True),
    ],
    ids=["accumulating SGD", "centered RMSprop"],
)
def test_velocities_that_came_late_are_saved_in_their_place(optimizer, tmp_path):
    # Optimizer files know variables by number: a model that is loaded creates its velocities at
    # once, where the saved one got them after all others.
    model = probe_model(4, optimizer())
    model.train_on_batch(*probe_data(4))
    fit_probe(model, callbacks=[kdt.callbacks.OneCycle(PEAK)])
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    for each in (model, loaded):
        for _ in range(2):
            each.train_on_batch(*probe_data(4))
    assert_identical(model.get_weights(), loaded.get_weights())


def test_saved_model_gets_a_new_cycle(tmp_path):
    model = probe_model(6, kdt.optimizers.SGD())
    fit_probe(model, callbacks=[kdt.callbacks.OneCycle(PEAK, momentum=None)])
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    change = fit_probe(loaded, callbacks=[kdt.callbacks.OneCycle(PEAK, momentum=None)])
    np.testing.assert_allclose(-change, pure_rates(6), rtol=0, atol=SUMS)


def test_with_early_stopping():
    # A value that never changes: after the first epoch nothing improves, the third is the last.
    class Constant(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["stalled"] = 1.0

    model = probe_model(4, kdt.optimizers.SGD())
    stopping = kdt.callbacks.EarlyStopping(
        "stalled", mode="min", patience=2, restore_best_weights=False
    )
    change = fit_probe(
        model,
        epochs=10,
        callbacks=[kdt.callbacks.OneCycle(PEAK, momentum=None), Constant(), stopping],
    )
    assert stopping.stopped_epoch == 2
    expected = over_epochs(pure_rates(40)[:12], 4)
    np.testing.assert_allclose(-change, expected, rtol=0, atol=SUMS)
    # The next step would use the cycle's thirteenth value.
    assert next_rate(model.optimizer) == pytest.approx(pure_rates(40)[12], abs=ROUNDING)


OPTIMIZERS = {
    "SGD": (lambda **k: kdt.optimizers.SGD(nesterov=True, **k), "momentum"),
    "RMSprop": (lambda **k: kdt.optimizers.RMSprop(nesterov=True, **k), "momentum"),
    "Adam": (kdt.optimizers.Adam, "beta_1"),
    "AdamW": (kdt.optimizers.AdamW, "beta_1"),
    "Nadam": (kdt.optimizers.Nadam, "beta_1"),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_is_the_same_as_compiling_with_the_schedules(name):
    make, momentum = OPTIMIZERS[name]
    cycle = kdt.schedules.OneCycle(PEAK, 8)
    by_callback = probe_model(4, make(**{momentum: 0.9}))
    compiled = probe_model(4, make(learning_rate=cycle, **{momentum: cycle.momentum(0.95, 0.85)}))
    fit_probe(by_callback, epochs=2, callbacks=[kdt.callbacks.OneCycle(PEAK, (0.95, 0.85))])
    fit_probe(compiled, epochs=2)
    assert by_callback.get_weights()[0].any()
    assert_identical(by_callback.get_weights(), compiled.get_weights())


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_cycle_reaches_a_trained_model_of_every_optimizer(name):
    make, momentum = OPTIMIZERS[name]
    changes = []
    for options in ({}, {"momentum": None}):
        model = probe_model(4, make(**{momentum: 0.9}))
        fit_probe(model)
        changes.append(fit_probe(model, callbacks=[kdt.callbacks.OneCycle(PEAK, **options)]))
        assert next_rate(model.optimizer) == np.float32(PEAK / 25 / 1e4)
        assert changes[-1].all()
    # The momentum has an effect of its own.
    assert not np.allclose(*changes, rtol=1e-3)


@pytest.mark.parametrize(
    "arguments, error, name",
    [
        ({"max_learning_rate": 0.0}, ValueError, "max_learning_rate"),
        ({"max_learning_rate": -1.0}, ValueError, "max_learning_rate"),
        ({"max_learning_rate": float("nan")}, ValueError, "max_learning_rate"),
        ({"max_learning_rate": "0.1"}, TypeError, "max_learning_rate"),
        ({"momentum": 0.9}, TypeError, "momentum"),
        ({"momentum": (0.9,)}, TypeError, "momentum"),
        ({"momentum": (0.85, 0.95)}, ValueError, "low"),
        ({"momentum": (1.5, 0.9)}, ValueError, "high"),
        ({"momentum": ("high", 0.9)}, TypeError, "high"),
        ({"initial_divisor": 0.5}, ValueError, "initial_divisor"),
        ({"final_divisor": 0}, ValueError, "final_divisor"),
        ({"warmup_fraction": 0.0}, ValueError, "warmup_fraction"),
        ({"warmup_fraction": 1.0}, ValueError, "warmup_fraction"),
        ({"warmup_fraction": 0.6, "three_phase": True}, ValueError, "warmup_fraction"),
        ({"annealing": "cosin"}, ValueError, "annealing"),
        ({"three_phase": 1}, TypeError, "three_phase"),
        ({"total_steps": 0}, ValueError, "total_steps"),
        ({"total_steps": 2.5}, TypeError, "total_steps"),
    ],
)
def test_bad_arguments_are_refused_at_once(arguments, error, name):
    with pytest.raises(error, match=f"`{name}`"):
        kdt.callbacks.OneCycle(**{"max_learning_rate": 0.1, **arguments})
