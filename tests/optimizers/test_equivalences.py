"""Our optimizers with plain numbers are Keras' own; constant schedules are numbers."""

import keras
import numpy as np
import pytest
from small_models import BACKEND, assert_identical, regression_data, values, whole_state

import keras_deeptricks as kdt

NAMES = ("SGD", "RMSprop", "Adam", "AdamW", "Nadam")
OPTIONS = {
    "SGD": [{}, {"momentum": 0.9}, {"momentum": 0.9, "nesterov": True, "weight_decay": 0.01}],
    "RMSprop": [{}, {"momentum": 0.9}, {"momentum": 0.5, "centered": True, "clipnorm": 0.5}],
    "Adam": [{}, {"beta_1": 0.8, "amsgrad": True}, {"global_clipnorm": 0.1, "use_ema": True}],
    "AdamW": [{}, {"weight_decay": 0.1, "beta_1": 0.5}],
    "Nadam": [{}, {"beta_1": 0.7, "gradient_accumulation_steps": 2}],
}
CASES = [(name, options) for name in NAMES for options in OPTIONS[name]]


def train(optimizer, epochs=3, **compile_options):
    keras.utils.set_random_seed(3)
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(6, activation="tanh"),
            keras.layers.BatchNormalization(),
            keras.layers.Dense(1),
        ]
    )
    model.compile(optimizer, "mse", **compile_options)
    x, y = regression_data()
    model.fit(x, y, batch_size=16, epochs=epochs, shuffle=False, verbose=0)
    return model


@pytest.mark.parametrize("name, options", CASES)
def test_numbers_give_keras_own_weights_bit_for_bit(name, options):
    # Keras decays biases and γ and β too.
    ours = train(getattr(kdt.optimizers, name)(0.01, decay_biases=True, **options))
    theirs = train(getattr(keras.optimizers, name)(0.01, **options))
    assert_identical(ours.get_weights(), theirs.get_weights())


@pytest.mark.parametrize("name", NAMES)
def test_constant_schedules_equal_numbers(name):
    momentum = "momentum" if name in ("SGD", "RMSprop") else "beta_1"
    constant = kdt.schedules.Constant
    numbers = train(getattr(kdt.optimizers, name)(0.01, **{momentum: 0.8}))
    scheduled = train(getattr(kdt.optimizers, name)(constant(0.01), **{momentum: constant(0.8)}))
    for a, b in zip(numbers.get_weights(), scheduled.get_weights(), strict=True):
        # The same formula, multiplied out in another order here and there.
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_config_round_trip(name):
    momentum = "momentum" if name in ("SGD", "RMSprop") else "beta_1"
    cycle = kdt.schedules.OneCycle(0.1, 20)
    for value in (0.8, cycle.momentum()):
        optimizer = getattr(kdt.optimizers, name)(cycle, **{momentum: value}, clipnorm=1.0)
        config = keras.saving.serialize_keras_object(optimizer)
        again = keras.saving.deserialize_keras_object(config)
        assert type(again) is type(optimizer)
        assert again.get_config() == optimizer.get_config()
        if value == 0.8:
            assert getattr(again, momentum) == 0.8
        else:
            assert getattr(again, momentum).get_config() == value.get_config()


@pytest.mark.parametrize("name", NAMES)
def test_saved_in_mid_training_it_continues_exactly(name, tmp_path):
    momentum = "momentum" if name in ("SGD", "RMSprop") else "beta_1"
    cycle = kdt.schedules.OneCycle(0.02, 40)

    def optimizer():
        return getattr(kdt.optimizers, name)(cycle, **{momentum: cycle.momentum()})

    whole = train(optimizer(), epochs=6)
    half = train(optimizer(), epochs=3)
    half.save(tmp_path / "half.keras")
    resumed = keras.saving.load_model(tmp_path / "half.keras")
    assert_identical(values(resumed.optimizer.variables), values(half.optimizer.variables))
    x, y = regression_data()
    resumed.fit(x, y, batch_size=16, epochs=3, shuffle=False, verbose=0)
    assert_identical(resumed.get_weights(), whole.get_weights())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.skipif(BACKEND == "torch", reason="Keras on torch refuses steps_per_execution > 1")
def test_steps_per_execution_changes_nothing(name):
    momentum = "momentum" if name in ("SGD", "RMSprop") else "beta_1"
    cycle = kdt.schedules.OneCycle(0.02, 12)

    def run(steps):
        made = getattr(kdt.optimizers, name)(cycle, **{momentum: cycle.momentum()})
        return whole_state(train(made, steps_per_execution=steps))

    # 4 steps an epoch: 3 leaves a ragged last execution.
    for steps in (3, 4):
        assert_identical(run(1), run(steps))


@pytest.mark.parametrize("name", NAMES)
def test_trains_under_loss_scaling(name):
    momentum = "momentum" if name in ("SGD", "RMSprop") else "beta_1"
    cycle = kdt.schedules.OneCycle(0.02, 12)

    def make():
        return getattr(kdt.optimizers, name)(cycle, **{momentum: cycle.momentum()})

    plain = train(make()).get_weights()
    scaled = train(keras.optimizers.LossScaleOptimizer(make())).get_weights()
    for a, b in zip(plain, scaled, strict=True):
        # The loss is scaled by a power of two, but for that nothing changes.
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_rising_beta_1_is_corrected_without_bias():
    # With a constant gradient g the corrected average of gradients is g whatever β₁ does, so
    # Adam without ε moves by exactly the rate at each step.
    class Rising(kdt.schedules.Schedule):
        def value(self, step, xp):
            return 0.1 + 0.08 * step

        def get_config(self):
            return {}

    variable = keras.Variable([0.0])
    optimizer = kdt.optimizers.Adam(0.5, beta_1=Rising(), epsilon=0.0)
    optimizer.build([variable])
    for step in range(1, 11):
        optimizer.apply([keras.ops.convert_to_tensor([3.0])], [variable])
        # Ten steps of single precision.
        assert float(keras.ops.convert_to_numpy(variable)[0]) == pytest.approx(
            -0.5 * step, rel=1e-5
        )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [-0.1, 1.5, float("nan"), "0.9", None, [0.9]])
def test_bad_momentum(name, value):
    argument = "momentum" if name in ("SGD", "RMSprop") else "beta_1"
    with pytest.raises((ValueError, TypeError), match=f"`{argument}`"):
        getattr(kdt.optimizers, name)(0.1, **{argument: value})


def test_nesterov_needs_a_momentum():
    with pytest.raises(ValueError, match="`nesterov=True`"):
        kdt.optimizers.RMSprop(0.1, nesterov=True)


def test_a_bad_value_leaves_the_optimizer_alone():
    optimizer = kdt.optimizers.SGD(0.1, momentum=0.9)
    with pytest.raises(ValueError, match="`momentum`"):
        optimizer.momentum = 2.0
    assert optimizer.momentum == 0.9
