"""OneCycle against hand-computed vectors and PyTorch's OneCycleLR."""

import keras
import numpy as np
import pytest

import keras_deeptricks as kdt

SHAPES = [
    {"annealing": "cosine", "three_phase": False},
    {"annealing": "cosine", "three_phase": True},
    {"annealing": "linear", "three_phase": False},
    {"annealing": "linear", "three_phase": True},
]


def in_graph(schedule, steps):
    """The values as a compiled step computes them, from whole numbers, all at once."""
    steps = keras.ops.convert_to_tensor(np.fromiter(steps, "int64"), dtype="int32")
    return keras.ops.convert_to_numpy(schedule(steps))


def test_linear_cycle_by_hand():
    # 10 steps, peak at 0.5·10 − 1 = 4, end at 9. Initial 1/10, final 0.1/100 = 0.001.
    cycle = kdt.schedules.OneCycle(
        1.0,
        10,
        initial_divisor=10,
        final_divisor=100,
        warmup_fraction=0.5,
        annealing="linear",
    )
    rising = [0.1, 0.325, 0.55, 0.775, 1.0]
    falling = [1 - 0.999 * k / 5 for k in (1, 2, 3, 4, 5)]
    np.testing.assert_allclose(cycle.numpy_values(range(10)), rising + falling, rtol=1e-12)


def test_cosine_cycle_by_hand():
    # Half-way up a cosine is the mean of its ends, a quarter is (2 ± √2)/4 of the way.
    cycle = kdt.schedules.OneCycle(
        1.0, 10, initial_divisor=10, final_divisor=100, warmup_fraction=0.5
    )
    quarter = (2 - np.sqrt(2)) / 4
    expected = [0.1, 0.1 + 0.9 * quarter, 0.55, 1 - 0.9 * quarter, 1.0]
    np.testing.assert_allclose(cycle.numpy_values(range(5)), expected, rtol=1e-12)


def test_three_phases_by_hand():
    # 10 steps, 0.4: peak at 3, back at 6, end at 9; initial 0.1, final 0.001.
    cycle = kdt.schedules.OneCycle(
        1.0,
        10,
        initial_divisor=10,
        final_divisor=100,
        warmup_fraction=0.4,
        annealing="linear",
        three_phase=True,
    )
    expected = [0.1, 0.4, 0.7, 1.0, 0.7, 0.4, 0.1, 0.067, 0.034, 0.001]
    np.testing.assert_allclose(cycle.numpy_values(range(10)), expected, rtol=1e-12)
    momentum = cycle.momentum(0.9, 0.6).numpy_values(range(10))
    np.testing.assert_allclose(momentum, [0.9, 0.8, 0.7, 0.6, 0.7, 0.8, 0.9, 0.9, 0.9, 0.9])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "total_steps, warmup_fraction", [(2, 0.3), (7, 0.25), (100, 0.3), (1000, 0.45)]
)
def test_equals_pytorch_at_every_step(shape, total_steps, warmup_fraction):
    torch = pytest.importorskip("torch", reason="PyTorch is the reference and is not installed")
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0, momentum=0.9)
    reference = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=0.4,
        total_steps=total_steps,
        pct_start=warmup_fraction,
        anneal_strategy="cos" if shape["annealing"] == "cosine" else "linear",
        base_momentum=0.85,
        max_momentum=0.95,
        div_factor=25.0,
        final_div_factor=1e4,
        three_phase=shape["three_phase"],
    )
    rates, momenta = [], []
    for _ in range(total_steps):
        rates.append(optimizer.param_groups[0]["lr"])
        momenta.append(optimizer.param_groups[0]["momentum"])
        if len(rates) < total_steps:
            optimizer.step()
            reference.step()
    cycle = kdt.schedules.OneCycle(0.4, total_steps, warmup_fraction=warmup_fraction, **shape)
    momentum = cycle.momentum(0.95, 0.85)
    steps = range(total_steps)
    # Both in double precision.
    np.testing.assert_allclose(cycle.numpy_values(steps), rates, rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(momentum.numpy_values(steps), momenta, rtol=1e-12)
    # Single precision in the graph: 1e-6 of the peak.
    np.testing.assert_allclose(in_graph(cycle, steps), rates, rtol=0, atol=0.4e-6)
    np.testing.assert_allclose(in_graph(momentum, steps), momenta, rtol=0, atol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_holds_after_the_end_and_never_leaves_its_range(shape):
    cycle = kdt.schedules.OneCycle(0.3, 50, **shape)
    final = 0.3 / 25 / 1e4
    values = in_graph(cycle, [*range(50), 50, 51, 1000, 10**6])
    # The end is exact to single precision, although the peak is 250,000 times as high.
    np.testing.assert_allclose(values[49:], final, rtol=1e-6)
    assert values.min() >= final * (1 - 1e-6)
    assert values.max() <= 0.3 * (1 + 1e-6)
    assert in_graph(cycle.momentum(), [49, 50, 10**6]) == pytest.approx(0.95, abs=1e-6)


def test_one_step_is_the_end():
    assert float(kdt.schedules.OneCycle(1.0, 1)(0)) == pytest.approx(1 / 25e4, rel=1e-6)


def test_is_a_pure_function_of_the_step():
    cycle = kdt.schedules.OneCycle(0.1, 40)
    forwards = in_graph(cycle, range(40))
    backwards = in_graph(cycle, reversed(range(40)))
    np.testing.assert_array_equal(forwards, backwards[::-1])


def test_config_round_trip():
    cycle = kdt.schedules.OneCycle(0.2, 30, 10.0, 50.0, 0.4, "linear", True, name="mine")
    for schedule in (cycle, cycle.momentum(0.9, 0.5)):
        again = type(schedule).from_config(schedule.get_config())
        assert again.get_config() == schedule.get_config()
        np.testing.assert_array_equal(
            again.numpy_values(range(35)), schedule.numpy_values(range(35))
        )


@pytest.mark.parametrize(
    "arguments, name",
    [
        ({"max_learning_rate": 0.0}, "max_learning_rate"),
        ({"max_learning_rate": -1.0}, "max_learning_rate"),
        ({"max_learning_rate": float("nan")}, "max_learning_rate"),
        ({"max_learning_rate": "0.1"}, "max_learning_rate"),
        ({"total_steps": 0}, "total_steps"),
        ({"total_steps": 1.5}, "total_steps"),
        ({"total_steps": None}, "total_steps"),
        ({"initial_divisor": 0.5}, "initial_divisor"),
        ({"final_divisor": 0.0}, "final_divisor"),
        ({"warmup_fraction": 0.0}, "warmup_fraction"),
        ({"warmup_fraction": 1.0}, "warmup_fraction"),
        ({"warmup_fraction": 0.6, "three_phase": True}, "warmup_fraction"),
        ({"annealing": "cos"}, "annealing"),
        ({"three_phase": 1}, "three_phase"),
    ],
)
def test_bad_arguments(arguments, name):
    with pytest.raises((ValueError, TypeError), match=f"`{name}`"):
        kdt.schedules.OneCycle(**{"max_learning_rate": 0.1, "total_steps": 10, **arguments})


@pytest.mark.parametrize("high, low, name", [(1.1, 0.5, "high"), (0.9, 0.95, "low")])
def test_bad_momenta(high, low, name):
    with pytest.raises(ValueError, match=f"`{name}`"):
        kdt.schedules.OneCycle(0.1, 10).momentum(high, low)
