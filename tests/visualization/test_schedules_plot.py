"""What the picture of schedules shows."""

import keras
import matplotlib.pyplot as plt
import numpy as np
import pytest

import keras_deeptricks as kdt

plot = kdt.visualization.plot_schedules


def labels(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def drawn_steps(*arguments, **options):
    """How many steps a picture covers."""
    return plot(*arguments, **options).lines[0].get_xdata()[-1] + 1


@pytest.mark.parametrize(
    "schedule",
    [
        kdt.schedules.Power(0.1, 10),
        kdt.schedules.InverseSquareRoot(0.1, 5),
        kdt.schedules.StepDecay(0.8, 0.5, 7),
        kdt.schedules.Cyclical(0.01, 0.1, 5, "triangular2"),
        kdt.schedules.SnapshotCosine(0.1, 30, 3),
        kdt.schedules.RisingMomentum(0.9, 5),
        kdt.schedules.Chain([(0.1, 10), (kdt.schedules.Power(0.1, 10), 30)]),
        kdt.schedules.CosineDecay(0.1, 30),
    ],
    ids=lambda schedule: schedule.name,
)
def test_line_is_the_schedule(schedule):
    ax = plot(schedule, steps=40)
    (line,) = ax.lines
    np.testing.assert_array_equal(line.get_xdata(), np.arange(40))
    expected = (
        schedule.numpy_values(range(40))
        if isinstance(schedule, kdt.schedules.Schedule)
        else [float(keras.ops.convert_to_numpy(schedule(step))) for step in range(40)]
    )
    np.testing.assert_array_equal(line.get_ydata(), expected)
    assert ax.get_ylabel() == line.get_label() == schedule.name
    assert ax.get_xlabel() == "step"
    assert ax.get_ylim()[0] == 0
    assert ax.get_legend() is None
    assert len(ax.figure.axes) == 1


def test_momentum_has_an_axis_of_its_own():
    cycle = kdt.schedules.OneCycle(0.1, 50)
    momentum = cycle.momentum(0.95, 0.85)
    ax = plot(cycle, momentum=momentum)
    first, other = ax.figure.axes
    assert first is ax
    (rate,), (line,) = ax.lines, other.lines
    np.testing.assert_array_equal(rate.get_ydata(), cycle.numpy_values(range(51)))
    np.testing.assert_array_equal(line.get_ydata(), momentum.numpy_values(range(51)))
    assert (ax.get_ylabel(), other.get_ylabel()) == ("learning rate", "momentum")
    assert labels(ax) == ["OneCycle", "momentum"]
    assert rate.get_color() != line.get_color()


def test_constant_momentum_and_its_color_beside_what_was_drawn_before():
    ax = plot([0.1, 0.2], steps=5)
    plot(0.3, steps=5, momentum=0.9, ax=ax)
    line = ax.figure.axes[1].lines[0]
    np.testing.assert_array_equal(line.get_ydata(), [0.9] * 5)
    assert line.get_color() not in {other.get_color() for other in ax.lines}


def test_dictionary_gives_the_labels():
    power = kdt.schedules.Power(0.1, 10)
    ax = plot({"falling": power, "fixed": 0.05}, steps=20)
    assert labels(ax) == ["falling", "fixed"]
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), power.numpy_values(range(20)))
    np.testing.assert_array_equal(ax.lines[1].get_ydata(), [0.05] * 20)
    assert ax.get_ylabel() == "learning rate"
    assert plot({"alone": power}).get_ylabel() == "alone"


def test_list_takes_names_and_tells_equal_ones_apart():
    schedules = [
        kdt.schedules.Power(0.1, 10),
        kdt.schedules.Power(0.1, 10, 0.5),
        kdt.schedules.Power(0.1, 10, 2, name="square"),
        0.05,
        np.float32(0.25),
        1,
    ]
    ax = plot(schedules, steps=20)
    assert labels(ax) == ["Power", "Power′", "square", "0.05", "0.25", "1"]
    for line, exponent in zip(ax.lines, (1, 0.5, 2), strict=False):
        np.testing.assert_allclose(
            line.get_ydata(), 0.1 / (1 + np.arange(20) / 10) ** exponent, rtol=1e-12
        )
    assert [line.get_ydata()[-1] for line in ax.lines[3:]] == [0.05, 0.25, 1.0]


def test_one_number_is_a_learning_rate():
    ax = plot(0.05, steps=10)
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), [0.05] * 10)
    assert ax.get_ylabel() == "learning rate"


@pytest.mark.parametrize(
    "schedule, length",
    [
        # As long as they are, and the step after the end.
        (kdt.schedules.OneCycle(0.1, 60), 61),
        (kdt.schedules.SnapshotCosine(0.1, 60, 3), 61),
        (kdt.schedules.Chain([(0.1, 20), (0.2, 40)]), 61),
        (kdt.schedules.CosineDecay(0.1, np.int64(60)), 61),
        (kdt.schedules.CosineDecay(0.0, 60, warmup_target=0.1, warmup_steps=15), 76),
        (kdt.schedules.PolynomialDecay(0.1, 60), 61),
        (kdt.schedules.PiecewiseConstantDecay([20, 60], [0.3, 0.2, 0.1]), 76),
        # Several times what repeats or never ends.
        (kdt.schedules.Cyclical(0.01, 0.1, 10), 61),
        (kdt.schedules.CosineDecayRestarts(0.1, 10), 71),
        (kdt.schedules.Power(0.1, 10), 51),
        (kdt.schedules.Power(0.1, 2.5), 14),
        (kdt.schedules.InverseTimeDecay(0.1, 10, 1.0), 51),
        (kdt.schedules.ExponentialDecay(0.1, 10, 0.5), 51),
        # Whole plateaus, without the first step of a sixth.
        (kdt.schedules.StepDecay(0.1, 0.5, 10), 50),
        (kdt.schedules.RisingMomentum(0.9, 10), 50),
        (kdt.schedules.ExponentialDecay(0.1, 10, 0.5, staircase=True), 50),
        # Those of what is inside.
        (kdt.schedules.Scaled(kdt.schedules.OneCycle(0.1, 60), 0.5), 61),
        (kdt.schedules.Shifted(kdt.schedules.OneCycle(0.1, 60), 15), 76),
        (kdt.schedules.Shifted(kdt.schedules.OneCycle(0.1, 60), -15), 61),
    ],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_default_length(schedule, length):
    assert drawn_steps(schedule) == length


def test_default_length_is_the_longest():
    short, long = kdt.schedules.OneCycle(0.1, 20), kdt.schedules.OneCycle(0.1, 60)
    assert drawn_steps([short, long, 0.1]) == 61
    assert drawn_steps(short, momentum=long.momentum()) == 61
    assert drawn_steps([short, long], steps=30) == 30


def test_many_steps_are_drawn_by_a_thousand_of_them():
    schedule = kdt.schedules.Cyclical(0.01, 0.1, 12_345)
    (line,) = plot(schedule, steps=100_001).lines
    at = line.get_xdata()
    assert (len(at), at[0], at[-1]) == (1000, 0, 100_000)
    assert at.dtype.kind == "i"
    np.testing.assert_array_equal(line.get_ydata(), schedule.numpy_values(at))


def test_draws_on_given_axes():
    _, (left, right) = plt.subplots(1, 2)
    assert plot(0.1, steps=3, ax=right) is right
    assert (len(left.lines), len(right.lines)) == (0, 1)


def test_front_in_schedules_draws_the_same():
    cycle = kdt.schedules.OneCycle(0.1, 50)
    ax = kdt.schedules.plot({"cycle": cycle}, 20, momentum=cycle.momentum())
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), cycle.numpy_values(range(20)))
    assert labels(ax) == ["cycle", "momentum"]
    _, given = plt.subplots()
    assert kdt.schedules.plot(0.1, steps=3, ax=given) is given


@pytest.mark.parametrize("schedules", [None, "cosine", True, [0.1, None], {"a": "b"}, [[0.1]]])
def test_what_is_no_schedule(schedules):
    with pytest.raises(TypeError, match="must be schedules or numbers"):
        plot(schedules, steps=5)


@pytest.mark.parametrize("momentum", ["0.9", True, [0.9]])
def test_what_is_no_momentum(momentum):
    with pytest.raises(TypeError, match="`momentum` must be schedules or numbers"):
        plot(0.1, steps=5, momentum=momentum)


@pytest.mark.parametrize("schedules", [[], {}, ()])
def test_nothing_to_draw(schedules):
    with pytest.raises(ValueError, match="`schedules` must hold at least one"):
        plot(schedules, steps=5)


@pytest.mark.parametrize(
    "schedule",
    [
        0.1,
        kdt.schedules.Constant(0.1),
        kdt.schedules.InverseSquareRoot(0.1),
        kdt.schedules.Shifted(kdt.schedules.Constant(0.1), 5),
    ],
)
def test_length_that_nobody_tells(schedule):
    with pytest.raises(ValueError, match="`steps` must be given"):
        plot(schedule)


@pytest.mark.parametrize("steps", [0, -1, 2.5, "ten"])
def test_bad_steps(steps):
    with pytest.raises((TypeError, ValueError), match="`steps`"):
        plot(0.1, steps=steps)
