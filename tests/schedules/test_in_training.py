"""Each new schedule inside compiled training: as a rate, as a momentum, and counted by batches."""

import keras
import numpy as np
import pytest
from small_models import BACKEND, assert_identical, values
from step_probe import expected_weights, fit_probe, probe_model

import keras_deeptricks as kdt

STEPS = 16
# Single precision: a few roundings of 6e-8, and of the highest value where it falls to 0.
SINGLE = {"rtol": 5e-7, "atol": 1e-7}

SCHEDULES = {
    "power": kdt.schedules.Power(0.6, 3, 0.5),
    "inverse square root": kdt.schedules.InverseSquareRoot(0.6),
    "warm-up": kdt.schedules.InverseSquareRoot(0.6, warmup_steps=4),
    "steps": kdt.schedules.StepDecay(0.8, 0.5, 3),
    "cyclical": kdt.schedules.Cyclical(0.1, 0.5, 3),
    "cyclical, halved": kdt.schedules.Cyclical(0.1, 0.5, 2, "triangular2"),
    "cyclical, exponential": kdt.schedules.Cyclical(0.1, 0.5, 3, "exp_range", gamma=0.9),
    "snapshots": kdt.schedules.SnapshotCosine(0.4, 14, 3),
    "momentum": kdt.schedules.RisingMomentum(0.85, every_steps=3),
    "chain": kdt.schedules.Chain(
        [
            (kdt.schedules.PolynomialDecay(0.0, 4, end_learning_rate=0.5), 4),
            (0.5, 3),
            (kdt.schedules.CosineDecay(0.1, 4, warmup_target=0.5, warmup_steps=2), 6),
            (kdt.schedules.Chain([(kdt.schedules.StepDecay(0.4, 0.5, 1), 2)]), 3),
        ]
    ),
}
every_schedule = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)


@every_schedule
def test_rate_of_every_step_is_the_schedules(schedule):
    rates = schedule.numpy_values(range(STEPS))
    assert np.count_nonzero(np.diff(rates)) >= 3  # a step too early or too late would show
    one = probe_model(STEPS, kdt.optimizers.SGD(schedule))
    change = fit_probe(one)
    np.testing.assert_allclose(-change, rates, **SINGLE)
    if BACKEND == "torch":
        return  # it refuses more than one step per execution
    several = probe_model(STEPS, kdt.optimizers.SGD(schedule), steps_per_execution=8)
    fit_probe(several)
    assert_identical(one.get_weights(), several.get_weights())
    assert_identical(values(one.optimizer.variables), values(several.optimizer.variables))


@every_schedule
def test_gradient_accumulation_counts_batches(schedule):
    model = probe_model(STEPS, kdt.optimizers.SGD(schedule, gradient_accumulation_steps=4))
    change = fit_probe(model)
    # Each update takes the mean of four gradients, with the rate of the last batch.
    rates = schedule.numpy_values([3, 7, 11, 15]).repeat(4)
    np.testing.assert_allclose(-change, rates / 4, **SINGLE)


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("name", ["momentum", "cyclical", "chain"])
def test_as_momentum_of_sgd(name, nesterov):
    momentum, rate = SCHEDULES[name], SCHEDULES["power"]
    model = probe_model(STEPS, kdt.optimizers.SGD(rate, momentum=momentum, nesterov=nesterov))
    steps = range(STEPS)
    expected = expected_weights(
        rate.numpy_values(steps), momentum.numpy_values(steps), nesterov=nesterov
    )
    # Sums of up to 16 rounded terms.
    np.testing.assert_allclose(fit_probe(model), expected, rtol=2e-6)


def test_rising_momentum_under_gradient_accumulation():
    momentum = SCHEDULES["momentum"]
    model = probe_model(
        STEPS, kdt.optimizers.SGD(0.5, momentum=momentum, gradient_accumulation_steps=4)
    )
    weights, velocity = np.zeros(STEPS), np.zeros(STEPS)
    for last_batch in (3, 7, 11, 15):
        gradient = np.eye(STEPS)[last_batch - 3 : last_batch + 1].mean(axis=0)
        m = min(1 - 0.5 / (last_batch // 3 + 1), 0.85)
        velocity = m * velocity - 0.5 * gradient
        weights += velocity
    np.testing.assert_allclose(fit_probe(model), weights, rtol=2e-6)


def adam_weights(rate, betas, beta_2=0.999, epsilon=1e-3):
    """Adam on the probe's gradients in double precision, with a β₁ of its own at every step."""
    theta, first, second = np.zeros((3, len(betas)))
    product = 1.0
    for t, beta in enumerate(betas):
        gradient = np.eye(len(betas))[t]
        first = beta * first + (1 - beta) * gradient
        second = beta_2 * second + (1 - beta_2) * gradient**2
        product *= beta
        alpha = rate * np.sqrt(1 - beta_2 ** (t + 1)) / (1 - product)
        theta = theta - alpha * first / (np.sqrt(second) + epsilon)
    return theta


@pytest.mark.parametrize("name", ["momentum", "chain"])
def test_as_beta_1_of_adam(name):
    schedule = SCHEDULES[name]
    optimizer = kdt.optimizers.Adam(0.01, beta_1=schedule, epsilon=1e-3)
    expected = adam_weights(0.01, schedule.numpy_values(range(STEPS)))
    # 1 − 0.999^t loses three digits of single precision at first.
    np.testing.assert_allclose(fit_probe(probe_model(STEPS, optimizer)), expected, rtol=2e-4)


@pytest.mark.parametrize(
    "make",
    [
        lambda m: kdt.optimizers.SGD(0.1, momentum=m),
        lambda m: kdt.optimizers.SGD(0.1, momentum=m, nesterov=True),
        lambda m: kdt.optimizers.Adam(0.1, beta_1=m),
    ],
    ids=["SGD", "Nesterov", "Adam"],
)
def test_constant_schedule_equals_the_float(make):
    number = fit_probe(probe_model(STEPS, make(0.8)))
    constant = fit_probe(probe_model(STEPS, make(kdt.schedules.Constant(0.8))))
    chain = kdt.schedules.Chain([(0.8, 5), (0.8, 20)])
    # The same formula, but compiled in another order: a few roundings over 16 steps. Adam's
    # product of β₁ is a power where it is a number.
    np.testing.assert_allclose(constant, number, rtol=3e-6)
    np.testing.assert_allclose(fit_probe(probe_model(STEPS, make(chain))), number, rtol=3e-6)


def compiled_values(schedules, steps):
    """The values of several schedules as XLA computes them (torch eagerly), one row each."""
    model = keras.Sequential(
        [
            keras.Input((), dtype="int32"),
            keras.layers.Lambda(
                lambda step: keras.ops.stack([schedule(step) for schedule in schedules], axis=-1),
                output_shape=(len(schedules),),
            ),
        ]
    )
    # By default TensorFlow takes XLA on some machines only.
    model.compile("sgd", "mse", jit_compile=BACKEND != "torch")
    return model.predict(np.array(steps, "int32"), batch_size=len(steps), verbose=0).T


@pytest.mark.parametrize(
    "make",
    [
        lambda every: kdt.schedules.StepDecay(1.0, 0.9, every),
        lambda every: kdt.schedules.SnapshotCosine(1.0, 100_000 * every, 100_000),
        lambda every: kdt.schedules.RisingMomentum(0.999, every),
        lambda every: kdt.schedules.Cyclical(0.1, 1.0, every, "triangular2"),
    ],
    ids=["StepDecay", "SnapshotCosine", "RisingMomentum", "Cyclical"],
)
def test_compiled_step_jumps_exactly_on_multiples(make):
    # XLA divides by a constant by multiplying with its reciprocal: 41·(1/41) is below 1.
    everies = [1, 2, 3, 7, 10, 41, 47, 49, 55, 61, 82, 98, 100, 107, 250, 781]
    schedules = [make(every) for every in everies]
    multiples = np.outer(everies, [1, 2, 3, 4, 5, 6, 7, 41, 100]).ravel()
    steps = np.unique([*multiples - 1, *multiples, *multiples + 1, 9_999_999, 10_000_000])
    expected = [schedule.numpy_values(steps) for schedule in schedules]
    # Single precision knows 0.9 to 3e-8, which a power multiplies by its exponent.
    np.testing.assert_allclose(compiled_values(schedules, steps), expected, rtol=1e-4, atol=1e-6)


def test_training_step_of_xla_drops_on_time():
    schedule = kdt.schedules.StepDecay(0.8, 0.5, every_steps=41)
    model = probe_model(83, kdt.optimizers.SGD(schedule), jit_compile=BACKEND != "torch")
    expected = [0.8] * 41 + [0.4] * 41 + [0.2]
    np.testing.assert_allclose(-fit_probe(model), expected, **SINGLE)


def test_compiled_step_after_ten_million_steps():
    steps = [0, 1, 2, 3, 15, 16, 17, 1000, 999_999, 1_000_000, 9_999_999, 10_000_000]
    # Keras' cosine with a warm-up takes one step only.
    schedules = [schedule for name, schedule in SCHEDULES.items() if name != "chain"]
    schedules += [
        kdt.schedules.Power(0.6, 10_000),
        kdt.schedules.InverseSquareRoot(500.0, warmup_steps=1_000_000),
        kdt.schedules.StepDecay(0.8, 0.1, 1_000_000),
        kdt.schedules.Cyclical(0.1, 0.5, 999_983),
        kdt.schedules.Cyclical(0.0, 0.5, 999, "exp_range"),
        kdt.schedules.SnapshotCosine(0.4, 10_000_000, 7),
        kdt.schedules.RisingMomentum(0.999, 55_555),
        kdt.schedules.Chain([(0.3, 1_000_000), (kdt.schedules.StepDecay(0.3, 0.5, 41), 9_000_000)]),
    ]
    expected = [schedule.numpy_values(steps) for schedule in schedules]
    np.testing.assert_allclose(compiled_values(schedules, steps), expected, **SINGLE)


def test_keras_schedules_are_keras_own_objects():
    public = [
        name for name in dir(keras.optimizers.schedules) if name[0].isupper() and "_" not in name
    ]
    assert len(public) >= 7
    for name in public:
        assert getattr(kdt.schedules, name) is getattr(keras.optimizers.schedules, name)
        assert name in kdt.schedules.__all__


def test_optimizers_have_the_schedules_where_keras_has_them():
    assert kdt.optimizers.schedules is kdt.schedules
