"""Hyperparameters that are numbers or schedules, on optimizers of this package and of Keras."""

import keras
import numpy as np
import pytest
from keras import ops
from small_models import assert_identical, values

import keras_deeptricks as kdt
from keras_deeptricks.utils.hyperparameters import (
    Schedulable,
    ScheduledHyperparameters,
    batch_counter,
    is_schedule,
    value_at,
    values_at,
)

# The optimizer, its Keras parent's arguments, and the name of what may be a schedule.
KINDS = {
    "SGD": ({"momentum": 0.9, "nesterov": True}, "momentum"),
    "RMSprop": ({"momentum": 0.9}, "momentum"),
    "Adam": ({"beta_1": 0.8}, "beta_1"),
    "AdamW": ({"beta_1": 0.8, "weight_decay": 0.1}, "beta_1"),
    "Nadam": ({"beta_1": 0.8}, "beta_1"),
}


class Counting(keras.optimizers.schedules.LearningRateSchedule):
    """0.5, 0.25, 0.125 … and how often it was asked."""

    def __init__(self):
        self.asked = 0

    def __call__(self, step):
        self.asked += 1
        return ops.power(0.5, ops.cast(step, "float32") + 1)

    def get_config(self):
        return {}


def weights():
    return [
        keras.Variable(np.linspace(-1, 1, 6).reshape(2, 3).astype("float32"), name="kernel"),
        keras.Variable(np.ones(3, "float32"), name="bias"),
        keras.Variable(np.ones(3, "float32"), name="other"),
    ]


def run(optimizer, steps=3):
    """The variables after a few steps with gradients that depend on them and on the step."""
    variables = weights()
    for step in range(steps):
        gradients = [ops.convert_to_tensor(v) * (step + 1.0) for v in values(variables)]
        optimizer.apply(gradients, variables)
    return values(variables)


@pytest.mark.parametrize("kind", KINDS)
def test_a_float_gives_what_keras_gives_bit_for_bit(kind):
    options, _ = KINDS[kind]
    # Keras decays biases too.
    ours = getattr(kdt.optimizers, kind)(0.1, decay_biases=True, **options)
    theirs = getattr(keras.optimizers, kind)(0.1, **options)
    assert_identical(run(ours), run(theirs))


@pytest.mark.parametrize("kind", KINDS)
def test_a_constant_schedule_is_the_float(kind):
    options, name = KINDS[kind]
    make = getattr(kdt.optimizers, kind)
    constant = {**options, name: kdt.schedules.Constant(options[name])}
    # The same formula in another order, or unfused: some roundings of float32.
    for a, b in zip(run(make(0.1, **constant)), run(make(0.1, **options)), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_a_schedule_is_evaluated_once_per_step_whatever_the_number_of_variables(kind):
    _, name = KINDS[kind]
    rate, momentum = Counting(), Counting()
    optimizer = getattr(kdt.optimizers, kind)(rate, **{name: momentum})
    run(optimizer, steps=3)
    assert (rate.asked, momentum.asked) == (3, 3)


def test_a_schedule_is_evaluated_once_per_trace_in_fit():
    rate, momentum = Counting(), Counting()
    model = keras.Sequential([keras.Input((2,)), *(keras.layers.Dense(2) for _ in range(4))])
    model.compile(kdt.optimizers.SGD(rate, momentum=momentum), "mse")
    model.fit(np.ones((12, 2)), np.ones((12, 2)), batch_size=4, verbose=0)
    # torch runs the step as Python code, three times; TensorFlow and JAX trace it (JAX possibly
    # anew when the arguments come from the device). Four layers would make it at least 24.
    assert 1 <= momentum.asked <= 3
    assert rate.asked == momentum.asked


def test_the_schedule_of_momentum_by_hand():
    # Gradient 1, rate 0.1, momentum 0.5 and 0.25: v₀ = −0.1, v₁ = 0.25·(−0.1) − 0.1 = −0.125.
    optimizer = kdt.optimizers.SGD(0.1, momentum=Counting())
    variable = keras.Variable(np.zeros(1, "float32"))
    for expected in (-0.1, -0.225):
        optimizer.apply([ops.ones(1)], [variable])
        # A rounding of float32.
        np.testing.assert_allclose(values([variable])[0], [expected], rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_a_configuration_comes_back_with_its_schedules(kind):
    options, name = KINDS[kind]
    schedule = kdt.schedules.OneCycle(0.1, total_steps=20).momentum(0.9, 0.5)
    optimizer = getattr(kdt.optimizers, kind)(0.1, **{**options, name: schedule})
    config = optimizer.get_config()
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert type(again) is type(optimizer)
    assert is_schedule(again.given(name))
    assert again.given(name).get_config() == schedule.get_config()
    assert again.get_config() == config
    assert_identical(run(again), run(optimizer))


@pytest.mark.parametrize("kind", KINDS)
def test_a_configuration_with_a_float_is_plain(kind):
    options, name = KINDS[kind]
    config = getattr(kdt.optimizers, kind)(0.1, **options).get_config()
    assert config[name] == options[name]
    assert getattr(kdt.optimizers, kind).from_config(config).get_config() == config


def test_from_config_leaves_the_given_dictionary_alone():
    config = kdt.optimizers.SGD(0.1, momentum=kdt.schedules.Constant(0.5)).get_config()
    before = str(config)
    kdt.optimizers.SGD.from_config(config)
    assert str(config) == before


def test_a_schedule_set_on_a_built_optimizer_gets_velocities():
    optimizer = kdt.optimizers.SGD(0.1)
    variables = weights()
    optimizer.build(variables)
    without = len(optimizer.variables)
    optimizer.momentum = Counting()
    assert len(optimizer.variables) == without + len(variables)
    assert is_schedule(optimizer.given("momentum"))
    optimizer.apply([ops.ones(v.shape) for v in variables], variables)
    velocities = values(optimizer.variables[without:])
    assert all((velocity != 0).all() for velocity in velocities)


def test_outside_a_step_the_attribute_is_what_was_assigned():
    schedule = Counting()
    optimizer = kdt.optimizers.SGD(0.1, momentum=schedule)
    assert optimizer.momentum is schedule
    run(optimizer, steps=1)
    assert optimizer.momentum is schedule
    assert optimizer.step_values is None
    optimizer.momentum = np.float32(0.5)
    assert optimizer.momentum == 0.5
    assert type(optimizer.momentum) is float


def test_inside_a_step_it_is_the_value_of_that_step():
    seen = []

    class Looking(kdt.optimizers.SGD):
        def _backend_update_step(self, grads, trainable_variables, learning_rate):
            seen.append(
                [float(ops.convert_to_numpy(x)) for x in (self.momentum, self.learning_rate)]
            )
            assert is_schedule(self.given("momentum"))
            super()._backend_update_step(grads, trainable_variables, learning_rate)

    run(Looking(Counting(), momentum=Counting()), steps=2)
    assert seen == [[0.5, 0.5], [0.25, 0.25]]  # powers of two are exact


def test_a_failed_step_leaves_no_step_values_behind():
    schedule = Counting()
    optimizer = kdt.optimizers.SGD(0.1, momentum=schedule)
    variables = weights()
    optimizer.build(variables)
    with pytest.raises(Exception, match=r"."):
        optimizer.apply([ops.ones((7, 7))] * 3, variables)
    assert optimizer.step_values is None
    assert optimizer.momentum is schedule


@pytest.mark.parametrize("wrong", ["0.9", None, lambda: 0.9, True, [0.9]])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_neither_number_nor_schedule_is_refused(kind, wrong):
    _, name = KINDS[kind]
    with pytest.raises(TypeError, match=f"`{name}` must be a number"):
        getattr(kdt.optimizers, kind)(0.1, **{name: wrong})


@pytest.mark.parametrize("wrong", [-0.1, 1.1, float("nan")])
def test_numbers_outside_the_range_are_refused_and_change_nothing(wrong):
    optimizer = kdt.optimizers.SGD(0.1, momentum=0.5)
    with pytest.raises(ValueError, match=r"`momentum` must be a number ≥ 0.0 and ≤ 1.0"):
        optimizer.momentum = wrong
    assert optimizer.momentum == 0.5


def test_names_and_bounds_of_a_mixin():
    class Noisy(ScheduledHyperparameters, keras.optimizers.SGD):
        noise = Schedulable(maximum=10.0)

    assert Noisy.schedulable_names() == ("noise",)
    optimizer = Noisy(0.1)
    with pytest.raises(AttributeError, match="`noise` is not set yet"):
        _ = optimizer.noise
    optimizer.noise = 5
    assert optimizer.given("noise") == 5.0
    with pytest.raises(ValueError, match="`noise`"):
        optimizer.noise = 11
    assert isinstance(Noisy.noise, Schedulable)


def test_the_batch_counter_counts_batches_not_updates():
    optimizer = keras.optimizers.SGD(0.1, gradient_accumulation_steps=2)
    run(optimizer, steps=4)
    assert int(ops.convert_to_numpy(batch_counter(optimizer))) == 4
    assert int(ops.convert_to_numpy(optimizer.iterations)) == 2


def test_an_optimizer_without_a_counter_is_refused():
    class Bare:
        variables = []

    with pytest.raises(ValueError, match="Bare has no variable named 'iteration'"):
        batch_counter(Bare())


def test_values_of_numbers_and_schedules():
    assert value_at(0.5, 3) == 0.5
    assert float(ops.convert_to_numpy(value_at(Counting(), 1))) == 0.25
    np.testing.assert_array_equal(values_at(0.5, [[1, 2]]), [[0.5, 0.5]])
    np.testing.assert_array_equal(
        values_at(Counting(), [[0, 1], [2, 3]]), [[1 / 2, 1 / 4], [1 / 8, 1 / 16]]
    )
    np.testing.assert_array_equal(values_at(kdt.schedules.Constant(0.5), range(2)), [0.5, 0.5])
    assert values_at(Counting(), range(2)).dtype == np.float64


def test_what_counts_as_a_schedule():
    assert is_schedule(Counting())
    assert is_schedule(keras.optimizers.schedules.CosineDecay(0.1, 3))
    assert not is_schedule(Counting)
    assert not is_schedule(0.1)
