"""Chains of schedules: where each part begins, what it sees, and what holds after the last."""

import json

import keras
import numpy as np
import pytest

import keras_deeptricks as kdt

# Single precision: a few roundings of 6e-8, and of the highest value where it falls to 0.
SINGLE = {"rtol": 5e-7, "atol": 1e-7}


def in_graph(schedule, steps):
    """The values of int tensors, one at a time: some of Keras' schedules take no array."""
    steps = [keras.ops.convert_to_tensor(step, dtype="int32") for step in steps]
    return np.array([float(keras.ops.convert_to_numpy(schedule(step))) for step in steps])


def linear(start, end, steps):
    return kdt.schedules.PolynomialDecay(start, steps, end_learning_rate=end)


def check(schedule, expected, rtol=1e-13):
    """Compares with a list of values from step 0 on, in double and in single precision."""
    steps = range(len(expected))
    np.testing.assert_allclose(schedule.numpy_values(steps), expected, rtol=rtol)
    np.testing.assert_allclose(in_graph(schedule, steps), expected, **SINGLE)


def test_numbers_and_own_schedules_by_hand():
    steps = kdt.schedules.StepDecay(0.8, 0.5, every_steps=2)
    triangle = kdt.schedules.Cyclical(0.125, 0.625, half_cycle_steps=4)
    schedule = kdt.schedules.Chain([(0.1, 3), (steps, 5), (triangle, 6)])
    assert schedule.total_steps == 14
    flat, falling = [0.1] * 3, [0.8, 0.8, 0.4, 0.4, 0.2]
    cycle = [0.125, 0.25, 0.375, 0.5, 0.625, 0.5]
    # The value of the triangle after six steps holds.
    check(schedule, flat + falling + cycle + [0.375] * 5)
    np.testing.assert_array_equal(schedule.numpy_values([10**7]), [0.375])


def test_warm_up_flat_stretch_and_decay_of_keras_by_hand():
    schedule = kdt.schedules.Chain([(linear(0.0, 0.1, 4), 4), (0.1, 2), (linear(0.1, 0.0, 5), 5)])
    expected = [0, 0.025, 0.05, 0.075, 0.1, 0.1, 0.1, 0.08, 0.06, 0.04, 0.02, 0, 0, 0]
    # Keras computes in single precision.
    np.testing.assert_allclose(schedule.numpy_values(range(14)), expected, **SINGLE)
    np.testing.assert_allclose(in_graph(schedule, range(14)), expected, **SINGLE)


@pytest.mark.parametrize(
    "inner",
    [
        kdt.schedules.Power(0.6, 10),
        kdt.schedules.SnapshotCosine(0.4, 20, 3),
        kdt.schedules.RisingMomentum(0.9, 4),
        kdt.schedules.CosineDecay(0.0, 12, warmup_target=0.3, warmup_steps=5),
        kdt.schedules.CosineDecayRestarts(0.3, 6),
        kdt.schedules.ExponentialDecay(0.3, 5, 0.5),
        kdt.schedules.PiecewiseConstantDecay([4, 9], [0.3, 0.2, 0.1]),
    ],
    ids=lambda schedule: schedule.name,
)
def test_chain_of_one_is_the_schedule(inner):
    chain = kdt.schedules.Chain([(inner, 20)])
    steps = [0, 1, 4, 5, 9, 10, 19, 20]
    expected = in_graph(inner, steps)
    np.testing.assert_allclose(in_graph(chain, steps), expected, **SINGLE)
    np.testing.assert_allclose(chain.numpy_values(steps), expected, **SINGLE)
    # After its steps the value holds, whatever the schedule does then.
    np.testing.assert_array_equal(in_graph(chain, [21, 10**7]), in_graph(chain, [20]).repeat(2))


def test_chain_of_constants_is_piecewise_constant_decay():
    chain = kdt.schedules.Chain([(0.5, 4), (0.25, 1), (0.125, 7)])
    # A boundary of Keras is the last step of its piece, not the first of the next.
    keras_schedule = kdt.schedules.PiecewiseConstantDecay([3, 4], [0.5, 0.25, 0.125])
    expected = [0.5] * 4 + [0.25] + [0.125] * 9  # all exact
    np.testing.assert_array_equal(in_graph(keras_schedule, range(14)), expected)
    np.testing.assert_array_equal(chain.numpy_values(range(14)), expected)
    np.testing.assert_array_equal(in_graph(chain, range(14)), expected)


def test_nested_chain_is_the_flat_one():
    parts = [
        (kdt.schedules.Power(0.6, 10), 3),
        (kdt.schedules.StepDecay(0.8, 0.5, 2), 4),
        (kdt.schedules.Cyclical(0.1, 0.2, 2), 5),
    ]
    flat = kdt.schedules.Chain(parts)
    for nested in (
        kdt.schedules.Chain([(kdt.schedules.Chain(parts[:2]), 7), parts[2]]),
        kdt.schedules.Chain([parts[0], (kdt.schedules.Chain(parts[1:]), 9)]),
    ):
        assert nested.total_steps == flat.total_steps == 12
        steps = [*range(20), 10**7]
        np.testing.assert_array_equal(nested.numpy_values(steps), flat.numpy_values(steps))
        np.testing.assert_array_equal(in_graph(nested, steps), in_graph(flat, steps))


def test_part_shorter_or_longer_than_its_schedule():
    inner = kdt.schedules.Chain([(0.5, 2), (kdt.schedules.StepDecay(0.25, 0.5, 1), 2)])
    # By itself 0.5, 0.5, 0.25, 0.125, and then 0.0625 for ever.
    check(kdt.schedules.Chain([(inner, 3), (1.0, 2)]), [0.5, 0.5, 0.25, 1, 1, 1, 1])
    check(
        kdt.schedules.Chain([(inner, 6), (1.0, 2)]),
        [0.5, 0.5, 0.25, 0.125, 0.0625, 0.0625, 1, 1, 1],
    )


def test_parts_see_nothing_outside_their_own_steps():
    seen = []

    class Spy(kdt.schedules.Schedule):
        def value(self, step, xp):
            seen.append((float(xp.min(step)), float(xp.max(step))))
            return 0.1 + 0.0 * step

        def get_config(self):
            return {}

    kdt.schedules.Chain([(0.1, 5), (Spy(), 3), (0.2, 4)]).numpy_values(range(-2, 30))
    assert seen == [(0.0, 3.0)]


def test_parts_of_one_step():
    check(kdt.schedules.Chain([(0.3, 1), (0.2, 1), (0.1, 1)]), [0.3, 0.2, 0.1, 0.1, 0.1])


def test_list_changed_later_changes_nothing():
    parts = [(0.5, 2), (0.25, 2)]
    chain = kdt.schedules.Chain(parts)
    parts.append((1.0, 9))
    assert chain.total_steps == 4
    np.testing.assert_array_equal(chain.numpy_values([3, 4, 20]), [0.25] * 3)


def test_number_tensor_and_numpy_agree():
    parts = [
        (0.05, 41),
        (kdt.schedules.Cyclical(0.01, 0.1, 1000), 5_000_000),
        (kdt.schedules.StepDecay(0.8, 0.5, 1_000_000), 5_000_000),
    ]
    chain = kdt.schedules.Chain(parts)
    by_hand = {
        0: 0.05,
        40: 0.05,
        41: 0.01,
        541: 0.055,
        1_041: 0.1,
        5_000_040: 0.01 + 0.09 / 1000,
        5_000_041: 0.8,
        6_000_040: 0.8,
        6_000_041: 0.4,
        10_000_000: 0.05,
        10_000_040: 0.05,
        10_000_041: 0.025,
        12_000_000: 0.025,
    }
    steps = [*by_hand]
    expected = chain.numpy_values(steps)
    np.testing.assert_allclose(expected, [*by_hand.values()], rtol=1e-12)
    numbers = [float(keras.ops.convert_to_numpy(chain(step))) for step in steps]
    # Computed in double precision and rounded once.
    np.testing.assert_allclose(numbers, expected, rtol=6e-8, atol=0)
    np.testing.assert_allclose(in_graph(chain, steps), expected, **SINGLE)
    together = chain(keras.ops.convert_to_tensor(np.array(steps), dtype="int32"))
    np.testing.assert_allclose(keras.ops.convert_to_numpy(together), expected, **SINGLE)


def test_config_round_trip_through_json():
    inner = kdt.schedules.Chain([(0.5, 2), (kdt.schedules.Shifted(linear(0.1, 0.0, 5), 1), 3)])
    chain = kdt.schedules.Chain([(linear(0.0, 0.1, 4), 4), (inner, 6), (0.05, 3)], name="mine")
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(chain)))
    again = keras.saving.deserialize_keras_object(config)
    assert type(again) is kdt.schedules.Chain
    assert again.get_config() == chain.get_config()
    assert again.total_steps == 13
    np.testing.assert_array_equal(again.numpy_values(range(20)), chain.numpy_values(range(20)))


@pytest.mark.parametrize(
    "parts",
    [
        None,
        0.1,
        "parts",
        [],
        [0.1],
        [(0.1,)],
        [(0.1, 5, 3)],
        ["ab"],
        [("cosine", 5)],
        [(None, 5)],
        [(True, 5)],
        [(-0.1, 5)],
        [(float("nan"), 5)],
        [(0.1, 0)],
        [(0.1, 2.5)],
        [(0.1, None)],
        [(0.1, True)],
    ],
)
def test_bad_parts(parts):
    with pytest.raises((ValueError, TypeError), match=r"`parts\b"):
        kdt.schedules.Chain(parts)


def test_error_says_which_part_is_wrong():
    with pytest.raises(ValueError, match=r"`parts\[1\]\[1\]` must be a whole number ≥ 1"):
        kdt.schedules.Chain([(0.1, 5), (0.2, 0)])
    with pytest.raises(TypeError, match=r"`parts\[2\]\[0\]` must be a .*Schedule"):
        kdt.schedules.Chain([(0.1, 5), (0.2, 3), ("cosine", 4)])
