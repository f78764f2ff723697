"""Cyclical against hand-computed vectors and PyTorch's CyclicLR."""

import json

import keras
import numpy as np
import pytest

import keras_deeptricks as kdt

POLICIES = ("triangular", "triangular2", "exp_range")
every_policy = pytest.mark.parametrize("policy", POLICIES)


def in_graph(schedule, steps):
    """The values at a tensor of whole numbers, which is what a training step gives."""
    steps = keras.ops.convert_to_tensor(np.fromiter(steps, "int64"), dtype="int32")
    return keras.ops.convert_to_numpy(schedule(steps))


# All numbers of these vectors are sums of powers of two, and so are all roundings on the way.
TRIANGLE = [0.125, 0.25, 0.375, 0.5, 0.625, 0.5, 0.375, 0.25]
HALF_AS_HIGH = [0.125, 0.1875, 0.25, 0.3125, 0.375, 0.3125, 0.25, 0.1875]
A_QUARTER_AS_HIGH = [0.125, 0.15625, 0.1875, 0.21875, 0.25, 0.21875, 0.1875, 0.15625]


def test_triangular_by_hand():
    schedule = kdt.schedules.Cyclical(0.125, 0.625, half_cycle_steps=4)
    np.testing.assert_array_equal(schedule.numpy_values(range(24)), 3 * TRIANGLE)
    np.testing.assert_allclose(in_graph(schedule, range(24)), 3 * TRIANGLE, rtol=2e-7)


def test_triangular2_by_hand():
    expected = TRIANGLE + HALF_AS_HIGH + A_QUARTER_AS_HIGH
    schedule = kdt.schedules.Cyclical(0.125, 0.625, 4, "triangular2")
    np.testing.assert_array_equal(schedule.numpy_values(range(24)), expected)
    np.testing.assert_allclose(in_graph(schedule, range(24)), expected, rtol=2e-7)


def test_exp_range_by_hand():
    # A triangle of height 1 times 2^−t.
    expected = [0, 1 / 4, 1 / 4, 1 / 16, 0, 1 / 64, 1 / 64, 1 / 256, 0]
    schedule = kdt.schedules.Cyclical(0.0, 1.0, 2, "exp_range", gamma=0.5)
    np.testing.assert_allclose(schedule.numpy_values(range(9)), expected, rtol=1e-13)
    np.testing.assert_allclose(in_graph(schedule, range(9)), expected, rtol=5e-7)


def test_shortest_cycle():
    schedule = kdt.schedules.Cyclical(0.25, 0.75, half_cycle_steps=1)
    np.testing.assert_array_equal(schedule.numpy_values(range(6)), 3 * [0.25, 0.75])
    halving = kdt.schedules.Cyclical(0.25, 0.75, 1, "triangular2")
    np.testing.assert_array_equal(
        halving.numpy_values(range(6)), [0.25, 0.75, 0.25, 0.5, 0.25, 0.375]
    )


def test_gamma_of_one_is_triangular():
    steps = [*range(50), 10**7]
    exponential = kdt.schedules.Cyclical(0.01, 0.1, 7, "exp_range", gamma=1)
    np.testing.assert_array_equal(
        exponential.numpy_values(steps), kdt.schedules.Cyclical(0.01, 0.1, 7).numpy_values(steps)
    )


@every_policy
def test_is_the_base_at_the_ends_of_cycles_and_never_leaves_its_range(policy):
    schedule = kdt.schedules.Cyclical(0.01, 0.1, 41, policy, gamma=0.999)
    # Single precision rounds to 6e-8 relative, twice.
    ends = in_graph(schedule, [0, 82, 164, 82 * 41, 82 * 121_951])
    np.testing.assert_allclose(ends, 0.01, rtol=2e-7)
    values = in_graph(schedule, [*range(1000), 10**7])
    assert values.min() >= 0.01 * (1 - 2e-7)
    assert values.max() <= 0.1 * (1 + 2e-7)


@every_policy
@pytest.mark.parametrize("half_cycle_steps", [1, 7, 41, 100])
@pytest.mark.parametrize("base", [0.0, 0.01])
def test_equals_pytorch_over_five_cycles(policy, half_cycle_steps, base):
    torch = pytest.importorskip("torch", reason="PyTorch is the reference and is not installed")
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=base)
    reference = torch.optim.lr_scheduler.CyclicLR(
        optimizer,
        base_lr=base,
        max_lr=0.4,
        step_size_up=half_cycle_steps,
        mode=policy,
        gamma=0.995,
        cycle_momentum=False,
    )
    rates = []
    for _ in range(10 * half_cycle_steps + 1):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        reference.step()
    schedule = kdt.schedules.Cyclical(base, 0.4, half_cycle_steps, policy, gamma=0.995)
    steps = range(len(rates))
    # Both in double precision; PyTorch takes the place in a cycle from a difference of numbers
    # near 6.
    np.testing.assert_allclose(schedule.numpy_values(steps), rates, rtol=1e-12, atol=1e-15)
    # Single precision in the graph: some roundings of 6e-8 of the highest rate.
    np.testing.assert_allclose(in_graph(schedule, steps), rates, rtol=0, atol=0.4e-6)


def test_exp_range_is_exact_after_many_steps():
    # The single-precision power gamma^t is wrong in the fourth digit here.
    steps = [300, 1_100, 16_700, 16_701, 50_100]
    schedule = kdt.schedules.Cyclical(0.0, 1.0, 100, "exp_range")
    # 50,000 steps make an exponent of −3, with a rounding of 2e-7.
    expected = [0.99994**t * min(t % 200, 200 - t % 200) / 100 for t in steps]
    np.testing.assert_allclose(in_graph(schedule, steps), expected, rtol=5e-7)


@every_policy
def test_number_tensor_and_numpy_agree(policy):
    schedule = kdt.schedules.Cyclical(0.01, 0.1, 41, policy, gamma=0.9999)
    steps = [*range(200), 999, 82 * 41 - 1, 82 * 41, 82 * 41 + 1, 9_999_999, 10_000_000]
    expected = schedule.numpy_values(steps)
    numbers = [float(keras.ops.convert_to_numpy(schedule(step))) for step in steps]
    # Computed in double precision and rounded once.
    np.testing.assert_allclose(numbers, expected, rtol=6e-8, atol=0)
    # Single precision: some roundings of 6e-8.
    np.testing.assert_allclose(in_graph(schedule, steps), expected, rtol=5e-7, atol=0)
    one = schedule(keras.ops.convert_to_tensor(150, dtype="int32"))
    assert keras.ops.shape(one) == ()
    assert float(keras.ops.convert_to_numpy(one)) == pytest.approx(expected[150], rel=5e-7)


def test_is_a_pure_function_of_the_step():
    schedule = kdt.schedules.Cyclical(0.01, 0.1, 7, "triangular2")
    forwards = in_graph(schedule, range(40))
    backwards = in_graph(schedule, reversed(range(40)))
    np.testing.assert_array_equal(forwards, backwards[::-1])


@every_policy
def test_config_round_trip_through_json(policy):
    schedule = kdt.schedules.Cyclical(0.01, 0.1, 7, policy, gamma=0.9, name="mine")
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(schedule)))
    again = keras.saving.deserialize_keras_object(config)
    assert type(again) is kdt.schedules.Cyclical
    assert again.get_config() == schedule.get_config()
    np.testing.assert_array_equal(again.numpy_values(range(40)), schedule.numpy_values(range(40)))


@pytest.mark.parametrize(
    "arguments, name",
    [
        ({"base_learning_rate": -0.1}, "base_learning_rate"),
        ({"base_learning_rate": None}, "base_learning_rate"),
        ({"max_learning_rate": 0.01}, "max_learning_rate"),
        ({"max_learning_rate": float("inf")}, "max_learning_rate"),
        ({"half_cycle_steps": 0}, "half_cycle_steps"),
        ({"half_cycle_steps": 1.5}, "half_cycle_steps"),
        ({"policy": "triangle"}, "policy"),
        ({"gamma": 0.0}, "gamma"),
        ({"gamma": 1.1}, "gamma"),
    ],
)
def test_bad_arguments(arguments, name):
    good = {"base_learning_rate": 0.01, "max_learning_rate": 0.1, "half_cycle_steps": 4}
    with pytest.raises((ValueError, TypeError), match=f"`{name}`"):
        kdt.schedules.Cyclical(**{**good, **arguments})
