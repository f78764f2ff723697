"""LogRange, Constant, Shifted, Scaled, and Keras' own schedules beside them."""

import keras
import numpy as np
import pytest

import keras_deeptricks as kdt

# One rounding of single precision.
SINGLE = 1e-6


def value(schedule, step):
    return float(keras.ops.convert_to_numpy(schedule(keras.ops.convert_to_tensor(step))))


def test_log_range_by_hand():
    schedule = kdt.schedules.LogRange(1e-8, 1.0, total_steps=9)
    expected = [1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 1.0, 1.0]
    np.testing.assert_allclose(schedule.numpy_values([*range(9), 9, 100]), expected, rtol=1e-12)
    # exp loses a digit where its argument is −18.
    in_graph = [value(schedule, step) for step in (*range(9), 9, 100)]
    np.testing.assert_allclose(in_graph, expected, rtol=5e-6)


def test_constant_equals_a_float_in_training():
    def trained(learning_rate):
        keras.utils.set_random_seed(1)
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
        model.compile(kdt.optimizers.SGD(learning_rate, momentum=0.9), "mse")
        x = np.random.default_rng(0).normal(size=(32, 3))
        model.fit(x, x[:, :2], epochs=3, verbose=0, shuffle=False)
        return model.get_weights()

    for a, b in zip(trained(0.05), trained(kdt.schedules.Constant(0.05)), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    "inner",
    [
        kdt.schedules.LogRange(1e-3, 1.0, 10),
        kdt.schedules.ExponentialDecay(1.0, 10, 0.5),
        kdt.schedules.CosineDecay(1.0, 10),
    ],
    ids=["ours", "keras", "keras-cosine"],
)
def test_shifted_counts_from_its_first_step(inner):
    shifted = kdt.schedules.Shifted(inner, 7)
    assert value(shifted, 7) == value(inner, 0)
    assert value(shifted, 12) == pytest.approx(value(inner, 5), rel=SINGLE)
    assert value(shifted, 0) == value(inner, 0)
    entered = kdt.schedules.Shifted(inner, -4)
    assert value(entered, 0) == pytest.approx(value(inner, 4), rel=SINGLE)
    np.testing.assert_allclose(
        shifted.numpy_values(range(15)), [value(shifted, s) for s in range(15)], rtol=5e-6
    )


def test_shifted_is_exact_after_many_steps():
    # 2²⁵ + 1 is no single-precision number: the difference has to be taken in whole numbers.
    first = 2**25
    shifted = kdt.schedules.Shifted(kdt.schedules.LogRange(1.0, 2.0, 11), first)
    assert value(shifted, first + 1) == pytest.approx(2**0.1, rel=SINGLE)


def test_scaled_by_hand():
    linear = kdt.schedules.PolynomialDecay(1.0, 10, end_learning_rate=0.0)
    scaled = kdt.schedules.Scaled(linear, 0.5, minimum=0.2)
    # Halved, not below 0.2 by the halving; where the schedule itself is lower, it is left so.
    expected = [0.5, 0.45, 0.4, 0.35, 0.3, 0.25, 0.2, 0.2, 0.2, 0.1, 0.0]
    np.testing.assert_allclose([value(scaled, step) for step in range(11)], expected, atol=SINGLE)


def test_keras_schedules_are_the_same_objects():
    for name in (
        "CosineDecay",
        "CosineDecayRestarts",
        "ExponentialDecay",
        "InverseTimeDecay",
        "LearningRateSchedule",
        "PiecewiseConstantDecay",
        "PolynomialDecay",
    ):
        assert getattr(kdt.schedules, name) is getattr(keras.optimizers.schedules, name)


@pytest.mark.parametrize(
    "schedule",
    [
        kdt.schedules.LogRange(1e-3, 1.0, 10),
        kdt.schedules.Constant(0.25),
        kdt.schedules.Shifted(kdt.schedules.OneCycle(0.1, 20), 3),
        kdt.schedules.Scaled(kdt.schedules.Shifted(kdt.schedules.CosineDecay(1.0, 9), 2), 0.5, 0.1),
    ],
    ids=lambda schedule: type(schedule).__name__,
)
def test_config_round_trip_through_json(schedule):
    import json

    config = json.loads(json.dumps(keras.saving.serialize_keras_object(schedule)))
    again = keras.saving.deserialize_keras_object(config)
    assert type(again) is type(schedule)
    assert again.get_config() == schedule.get_config()
    np.testing.assert_array_equal(again.numpy_values(range(25)), schedule.numpy_values(range(25)))


@pytest.mark.parametrize("floatx", ["float16", "bfloat16"])
def test_half_precision_does_not_reach_the_step(floatx):
    # In float16 the steps 2,048 and 2,049 are one; in bfloat16 256 and 257.
    before = keras.config.floatx()
    keras.config.set_floatx(floatx)
    try:
        schedule = kdt.schedules.LogRange(1.0, 2.0, 5001)
        assert value(schedule, 2049) == pytest.approx(2 ** (2049 / 5000), rel=SINGLE)
    finally:
        keras.config.set_floatx(before)


@pytest.mark.parametrize(
    "make, name",
    [
        (lambda: kdt.schedules.LogRange(0.0, 1.0, 10), "low"),
        (lambda: kdt.schedules.LogRange(1.0, 0.5, 10), "high"),
        (lambda: kdt.schedules.LogRange(0.1, 0.5, 1), "total_steps"),
        (lambda: kdt.schedules.Constant(-0.1), "constant"),
        (lambda: kdt.schedules.Constant(None), "constant"),
        (lambda: kdt.schedules.Shifted(0.1, 3), "schedule"),
        (lambda: kdt.schedules.Shifted(kdt.schedules.Constant(0.1), 0.5), "first_step"),
        (lambda: kdt.schedules.Scaled(0.1, 0.5), "schedule"),
        (lambda: kdt.schedules.Scaled(kdt.schedules.Constant(0.1), 0.0), "factor"),
        (lambda: kdt.schedules.Scaled(kdt.schedules.Constant(0.1), 0.5, -1.0), "minimum"),
    ],
)
def test_bad_arguments(make, name):
    with pytest.raises((ValueError, TypeError), match=f"`{name}`"):
        make()
