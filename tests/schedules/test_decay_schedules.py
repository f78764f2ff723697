"""Power, InverseSquareRoot, StepDecay, SnapshotCosine and RisingMomentum, by hand."""

import json
import math

import keras
import numpy as np
import pytest

import keras_deeptricks as kdt

# Double precision: a handful of roundings of 1e-16.
DOUBLE = {"rtol": 1e-13, "atol": 0}
# Single precision rounds to 6e-8 relative; a power or a root adds a few of these.
SINGLE = {"rtol": 5e-7, "atol": 0}
# A cosine near −1 leaves an absolute rounding, here of the highest rate.
SINGLE_COSINE = {"rtol": 5e-7, "atol": 1e-7}

EVERY = {
    "power": kdt.schedules.Power(0.6, 10),
    "power, root": kdt.schedules.Power(0.6, 2.5, 0.5),
    "inverse square root": kdt.schedules.InverseSquareRoot(0.6),
    "warm-up": kdt.schedules.InverseSquareRoot(0.4, warmup_steps=16),
    "steps": kdt.schedules.StepDecay(0.8, 0.5, 41),
    "tenths": kdt.schedules.StepDecay(1.0, 0.1, 3_000_000),
    "snapshots": kdt.schedules.SnapshotCosine(0.4, 10, 4),
    "long snapshots": kdt.schedules.SnapshotCosine(0.4, 10_000_001, 61),
    "momentum": kdt.schedules.RisingMomentum(),
    "slow momentum": kdt.schedules.RisingMomentum(0.999, 55_555),
}
every_schedule = pytest.mark.parametrize("schedule", EVERY.values(), ids=EVERY)


def in_graph(schedule, steps):
    """The values at a tensor of whole numbers, which is what a training step gives."""
    steps = keras.ops.convert_to_tensor(np.fromiter(steps, "int64"), dtype="int32")
    return keras.ops.convert_to_numpy(schedule(steps))


def check(schedule, expected, tolerance=SINGLE):
    """Compares with a dictionary from steps to values, in double and in single precision."""
    values = [float(value) for value in expected.values()]
    np.testing.assert_allclose(schedule.numpy_values([*expected]), values, **DOUBLE)
    np.testing.assert_allclose(in_graph(schedule, expected), values, **tolerance)


def test_power_by_hand():
    halved = {0: 0.6, 1: 6 / 11, 9: 6 / 19, 10: 0.3, 11: 2 / 7, 20: 0.2, 50: 0.1, 590: 0.01}
    check(kdt.schedules.Power(0.6, 10), halved)
    check(kdt.schedules.Power(0.6, 10, 0.5), {0: 0.6, 30: 0.3, 80: 0.2, 350: 0.1, 35990: 0.01})
    check(kdt.schedules.Power(0.6, 10, 2), {0: 0.6, 5: 4 / 15, 10: 0.15, 20: 1 / 15, 90: 0.006})
    check(kdt.schedules.Power(0.6, 2.5), {0: 0.6, 5: 0.2, 10: 0.12, 10**7: 0.6 / 4_000_001})


def test_power_of_zero_is_constant():
    np.testing.assert_array_equal(
        kdt.schedules.Power(0.25, 10, exponent=0).numpy_values([0, 1, 10, 10**7]), [0.25] * 4
    )


@pytest.mark.parametrize("decay_steps", [1, 10, 1234.5])
def test_power_of_one_is_keras_inverse_time_decay(decay_steps):
    steps = [0, 1, 9, 10, 11, 1000, 10**6, 10**7]
    keras_schedule = kdt.schedules.InverseTimeDecay(0.3, decay_steps, decay_rate=1.0)
    expected = [float(keras.ops.convert_to_numpy(keras_schedule(step))) for step in steps]
    schedule = kdt.schedules.Power(0.3, decay_steps)
    np.testing.assert_allclose(schedule.numpy_values(steps), expected, **SINGLE)
    np.testing.assert_allclose(in_graph(schedule, steps), expected, **SINGLE)


def test_inverse_square_root_by_hand():
    check(
        kdt.schedules.InverseSquareRoot(0.6),
        {0: 0.6, 1: 0.6, 2: 0.6 / 2**0.5, 4: 0.3, 9: 0.2, 36: 0.1, 3600: 0.01, 9_000_000: 0.0002},
    )


def test_inverse_square_root_with_warm_up_by_hand():
    # The peak is 0.4/√16 = 0.1, reached by 1/160 per step.
    rising = {0: 0.0, 1: 1 / 160, 8: 0.05, 15: 15 / 160, 16: 0.1}
    falling = {17: 0.4 / 17**0.5, 25: 0.08, 64: 0.05, 6400: 0.005}
    schedule = kdt.schedules.InverseSquareRoot(0.4, warmup_steps=16)
    check(schedule, {**rising, **falling})
    assert np.argmax(schedule.numpy_values(range(100))) == 16


def test_warm_up_of_one_step_only_changes_step_zero():
    warm = kdt.schedules.InverseSquareRoot(0.6, warmup_steps=1).numpy_values(range(50))
    cold = kdt.schedules.InverseSquareRoot(0.6).numpy_values(range(50))
    assert warm[0] == 0
    np.testing.assert_array_equal(warm[1:], cold[1:])


@pytest.mark.parametrize("width, warmup_steps", [(512, 4000), (64, 7)])
def test_inverse_square_root_is_the_transformers_schedule(width, warmup_steps):
    # Vaswani et al., equation 3, which begins at step 1.
    steps = np.array([1.0, 2, 6, 7, 8, 3999, 4000, 4001, 100_000])
    paper = width**-0.5 * np.minimum(steps**-0.5, steps * warmup_steps**-1.5)
    schedule = kdt.schedules.InverseSquareRoot(width**-0.5, warmup_steps)
    np.testing.assert_allclose(schedule.numpy_values(steps), paper, **DOUBLE)


def test_step_decay_by_hand():
    first = {0: 0.8, 1: 0.8, 9: 0.8, 10: 0.4, 11: 0.4, 19: 0.4, 20: 0.2, 29: 0.2, 30: 0.1}
    check(kdt.schedules.StepDecay(0.8, 0.5, 10), {**first, 99: 0.8 / 2**9, 100: 0.8 / 2**10})
    check(kdt.schedules.StepDecay(1, 0.1, 3), {2: 1, 3: 0.1, 5: 0.1, 6: 0.01, 8: 0.01, 9: 0.001})
    check(kdt.schedules.StepDecay(0.8, 0.5, 1), {0: 0.8, 1: 0.4, 2: 0.2, 3: 0.1})


def test_step_decay_vanishes_and_is_never_negative():
    schedule = kdt.schedules.StepDecay(1.0, 0.5, 1)
    np.testing.assert_array_equal(schedule.numpy_values([5000, 10**7]), [0.0, 0.0])
    np.testing.assert_array_equal(in_graph(schedule, [5000, 10**7]), [0.0, 0.0])


def test_factor_of_one_is_constant():
    np.testing.assert_array_equal(
        kdt.schedules.StepDecay(0.3, 1, 5).numpy_values([0, 4, 5, 10**7]), [0.3] * 4
    )


@pytest.mark.parametrize("every_steps", [1, 7, 41])
def test_step_decay_is_keras_staircase(every_steps):
    keras_schedule = kdt.schedules.ExponentialDecay(0.3, every_steps, 0.9, staircase=True)
    expected = [float(keras.ops.convert_to_numpy(keras_schedule(step))) for step in range(100)]
    schedule = kdt.schedules.StepDecay(0.3, 0.9, every_steps)
    # Single precision knows 0.9 to 3e-8, and the power multiplies that by up to 99.
    tolerance = {"rtol": 5e-6, "atol": 0}
    np.testing.assert_allclose(schedule.numpy_values(range(100)), expected, **tolerance)
    np.testing.assert_allclose(in_graph(schedule, range(100)), expected, **tolerance)


def test_snapshot_cosine_by_hand():
    # Two cycles of 4 steps: the cosines of 0, π/4, π/2, 3π/4.
    high, low = 0.1 + 0.1 / 2**0.5, 0.1 - 0.1 / 2**0.5
    cycle = [0.2, high, 0.1, low]
    held = {8: low, 9: low, 10**7: low}
    schedule = kdt.schedules.SnapshotCosine(0.2, 8, 2)
    assert schedule.cycle_steps == 4
    check(schedule, {**dict(enumerate(2 * cycle)), **held}, SINGLE_COSINE)


def test_snapshot_cosine_whose_last_cycle_is_cut_short():
    # ⌈10/4⌉ = 3 steps a cycle: the cosines of 0, π/3, 2π/3. The fourth cycle has one step.
    expected = [0.4, 0.3, 0.1, 0.4, 0.3, 0.1, 0.4, 0.3, 0.1, 0.4, 0.4, 0.4]
    schedule = kdt.schedules.SnapshotCosine(0.4, 10, 4)
    assert schedule.cycle_steps == 3
    check(schedule, dict(enumerate(expected)), SINGLE_COSINE)


def test_snapshot_cosine_with_fewer_cycles_than_asked_for():
    # ⌈10/6⌉ = 2 steps a cycle fill the ten steps with five of them.
    schedule = kdt.schedules.SnapshotCosine(0.4, 10, 6)
    np.testing.assert_allclose(schedule.numpy_values(range(10)), 5 * [0.4, 0.2], **DOUBLE)


def test_snapshot_cycles_of_one_step_are_constant():
    for total_steps in (1, 7):
        schedule = kdt.schedules.SnapshotCosine(0.3, total_steps, cycles=total_steps)
        np.testing.assert_array_equal(schedule.numpy_values([0, 1, 6, 7, 100]), [0.3] * 5)


@pytest.mark.parametrize(
    "total_steps, cycles", [(1, 1), (8, 2), (10, 4), (10, 6), (100, 7), (300, 6), (41 * 61, 61)]
)
def test_snapshot_cosine_is_the_papers_formula(total_steps, cycles):
    def paper(t):
        length = math.ceil(total_steps / cycles)
        return 0.1 / 2 * (math.cos(math.pi * ((t - 1) % length) / length) + 1)

    expected = [paper(t) for t in range(1, total_steps + 1)]
    schedule = kdt.schedules.SnapshotCosine(0.1, total_steps, cycles)
    # Near the end of a cycle two numbers near 1 are subtracted: the rounding is absolute.
    np.testing.assert_allclose(
        schedule.numpy_values(range(total_steps)), expected, rtol=1e-13, atol=1e-16
    )
    np.testing.assert_allclose(in_graph(schedule, range(total_steps)), expected, **SINGLE_COSINE)


def test_one_snapshot_is_cosine_decay():
    keras_schedule = kdt.schedules.CosineDecay(0.2, decay_steps=50)
    expected = [float(keras.ops.convert_to_numpy(keras_schedule(step))) for step in range(50)]
    schedule = kdt.schedules.SnapshotCosine(0.2, 50, cycles=1)
    np.testing.assert_allclose(schedule.numpy_values(range(50)), expected, **SINGLE_COSINE)
    assert schedule.numpy_values([50]) == schedule.numpy_values([49]) > 0


def test_rising_momentum_by_hand():
    first = {0: 0.5, 1: 0.5, 249: 0.5, 250: 0.75, 251: 0.75, 499: 0.75, 500: 5 / 6, 750: 7 / 8}
    # 0.99 is 1 − 1/100, the fiftieth value.
    last = {12_249: 1 - 1 / 98, 12_250: 0.99, 12_500: 0.99, 10**7: 0.99}
    check(kdt.schedules.RisingMomentum(), {**first, **last})
    check(
        kdt.schedules.RisingMomentum(0.85, every_steps=2),
        {0: 0.5, 1: 0.5, 2: 0.75, 3: 0.75, 4: 5 / 6, 5: 5 / 6, 6: 0.85, 7: 0.85, 999: 0.85},
    )


@pytest.mark.parametrize("maximum", [0.0, 0.25, 0.5])
def test_low_maximum_is_constant(maximum):
    schedule = kdt.schedules.RisingMomentum(maximum, every_steps=1)
    np.testing.assert_array_equal(schedule.numpy_values([0, 1, 2, 10**7]), [maximum] * 4)


# Those of the paper.
@pytest.mark.parametrize("maximum", [0.0, 0.9, 0.99, 0.995, 0.999])
def test_rising_momentum_is_sutskevers_formula(maximum):
    steps = [*range(0, 3000, 50), *range(249, 3000, 250), 50_000, 124_999, 125_000, 10**7]
    expected = [min(1 - 2 ** (-1 - math.log2(t // 250 + 1)), maximum) for t in steps]
    schedule = kdt.schedules.RisingMomentum(maximum)
    np.testing.assert_allclose(schedule.numpy_values(steps), expected, **DOUBLE)
    np.testing.assert_allclose(in_graph(schedule, steps), expected, **SINGLE)


@pytest.mark.parametrize("every_steps", [1, 3, 41, 47, 55, 61, 107, 250])
def test_steps_fall_exactly_on_multiples(every_steps):
    # The quotient of a multiple must not round to just below a whole number, up to 10 million.
    counts = np.array([1, 2, 3, 7, 41, 100, 10**7 // every_steps])
    steps = (counts[:, None] * every_steps + [-1, 0]).ravel()
    drops = steps // every_steps
    momentum = kdt.schedules.RisingMomentum(0.999, every_steps)
    np.testing.assert_allclose(
        in_graph(momentum, steps), np.minimum(1 - 0.5 / (drops + 1), 0.999), **SINGLE
    )
    rate = kdt.schedules.StepDecay(1.0, 0.5, every_steps)
    # Below the smallest normal number of single precision some backends give 0.
    np.testing.assert_allclose(in_graph(rate, steps), 0.5**drops, rtol=5e-7, atol=1.2e-38)
    cosine = kdt.schedules.SnapshotCosine(1.0, 10**7, math.ceil(10**7 / every_steps))
    since = steps % cosine.cycle_steps
    expected = 0.5 * (np.cos(np.pi * since / cosine.cycle_steps) + 1)
    expected[steps >= 10**7] = cosine.float_value(10**7 - 1)
    np.testing.assert_allclose(in_graph(cosine, steps), expected, **SINGLE_COSINE)


@every_schedule
def test_number_tensor_and_numpy_agree(schedule):
    steps = [*range(130), 250, 999, 3_000_000, 5_999_999, 6_000_000, 9_999_999, 10_000_000]
    expected = schedule.numpy_values(steps)
    numbers = [float(keras.ops.convert_to_numpy(schedule(step))) for step in steps]
    # Computed in double precision and rounded once.
    np.testing.assert_allclose(numbers, expected, rtol=6e-8, atol=0)
    np.testing.assert_allclose(in_graph(schedule, steps), expected, **SINGLE_COSINE)
    one = schedule(keras.ops.convert_to_tensor(129, dtype="int32"))
    assert keras.ops.shape(one) == ()
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(one), schedule.float_value(129), **SINGLE_COSINE
    )


@every_schedule
def test_never_below_zero_or_above_its_highest(schedule):
    values = in_graph(schedule, [*range(2000), 10**5, 10**6, 10**7])
    highest = 0.999 if isinstance(schedule, kdt.schedules.RisingMomentum) else 1.0
    assert values.min() >= 0
    assert values.max() <= highest


@every_schedule
def test_config_round_trip_through_json(schedule):
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(schedule)))
    again = keras.saving.deserialize_keras_object(config)
    assert type(again) is type(schedule)
    assert again.get_config() == schedule.get_config()
    steps = [*range(200), 10**7]
    np.testing.assert_array_equal(again.numpy_values(steps), schedule.numpy_values(steps))


@pytest.mark.parametrize(
    "make, name",
    [
        (lambda: kdt.schedules.Power(0.0, 10), "initial_learning_rate"),
        (lambda: kdt.schedules.Power(0.1, 0), "decay_steps"),
        (lambda: kdt.schedules.Power(0.1, 10, -0.5), "exponent"),
        (lambda: kdt.schedules.InverseSquareRoot(-0.1), "initial_learning_rate"),
        (lambda: kdt.schedules.InverseSquareRoot(0.1, -1), "warmup_steps"),
        (lambda: kdt.schedules.InverseSquareRoot(0.1, 2.5), "warmup_steps"),
        (lambda: kdt.schedules.StepDecay(0.1, 0.0, 10), "factor"),
        (lambda: kdt.schedules.StepDecay(0.1, 1.5, 10), "factor"),
        (lambda: kdt.schedules.StepDecay(0.1, 0.5, 0), "every_steps"),
        (lambda: kdt.schedules.SnapshotCosine(0.1, 0, 1), "total_steps"),
        (lambda: kdt.schedules.SnapshotCosine(0.1, 10, 0), "cycles"),
        (lambda: kdt.schedules.SnapshotCosine(0.1, 10, 11), "cycles"),
        (lambda: kdt.schedules.RisingMomentum(1.0), "maximum"),
        (lambda: kdt.schedules.RisingMomentum(-0.1), "maximum"),
        (lambda: kdt.schedules.RisingMomentum(every_steps=0), "every_steps"),
    ],
)
def test_bad_arguments(make, name):
    with pytest.raises((ValueError, TypeError), match=f"`{name}`"):
        make()
