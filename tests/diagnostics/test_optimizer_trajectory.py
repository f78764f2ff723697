"""Optimizers on surfaces: against closed forms and NumPy loops, and without a trace left behind."""

import random

import keras
import numpy as np
import pytest
from keras import ops
from small_models import BACKEND, assert_identical, regression_data, whole_state

import keras_deeptricks as kdt
from keras_deeptricks.diagnostics import SURFACES, OptimizerTrajectory, Surface, trace_optimizer

# The gradients by hand, in float64.
GRADIENTS = {
    "beale": lambda x, y: sum(
        np.array(
            [2 * (c - x + x * y**k) * (y**k - 1), 2 * (c - x + x * y**k) * k * x * y ** (k - 1)]
        )
        for k, c in ((1, 1.5), (2, 2.25), (3, 2.625))
    ),
    "rosenbrock": lambda x, y: np.array([-2 * (1 - x) - 400 * x * (y - x**2), 200 * (y - x**2)]),
    "saddle": lambda x, y: np.array([2 * x, -2 * y]),
    "quadratic": lambda x, y: np.array([x, 100 * y]),
}
VALUES = [
    ("beale", 3.0, 0.5, 0.0),
    ("beale", 0.0, 7.0, 14.203125),  # 1.5² + 2.25² + 2.625²
    ("beale", 1.0, 2.0, 126.453125),  # 2.5² + 5.25² + 9.625²
    ("rosenbrock", 1.0, 1.0, 0.0),
    ("rosenbrock", 2.0, 3.0, 101.0),  # (1 − 2)² + 100 (3 − 4)²
    ("saddle", 2.0, 1.0, 3.0),
    ("quadratic", 3.0, 0.5, 17.0),  # (9 + 100 / 4) / 2
]
every_surface = pytest.mark.parametrize("name", SURFACES)


# --- the surfaces ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name, x, y, value", VALUES)
def test_values(name, x, y, value):
    surface = SURFACES[name]
    assert surface(x, y) == value
    np.testing.assert_array_equal(surface(np.full((2, 3), x), np.full((2, 3), y)), value)
    tensor = surface(ops.convert_to_tensor([x], "float32"), ops.convert_to_tensor([y], "float32"))
    # Powers of small integers and halves, which float32 holds, but for TF's pow on some CPUs.
    np.testing.assert_allclose(ops.convert_to_numpy(tensor), value, rtol=1e-6, atol=1e-6)


def test_the_four():
    assert list(SURFACES) == ["beale", "rosenbrock", "saddle", "quadratic"]
    assert [surface.name for surface in SURFACES.values()] == list(SURFACES)
    assert {name: surface.minimum for name, surface in SURFACES.items()} == {
        "beale": (3.0, 0.5),
        "rosenbrock": (1.0, 1.0),
        "saddle": None,
        "quadratic": (0.0, 0.0),
    }


@every_surface
def test_minimum_start_and_bounds(name):
    surface = SURFACES[name]
    (x_low, x_high), (y_low, y_high) = surface.bounds
    assert x_low < surface.start[0] < x_high
    assert y_low < surface.start[1] < y_high
    if surface.minimum is None:
        return
    assert x_low < surface.minimum[0] < x_high
    assert y_low < surface.minimum[1] < y_high
    assert surface(*surface.minimum) == 0
    np.testing.assert_array_equal(GRADIENTS[name](*surface.minimum), 0)
    grid = np.meshgrid(np.linspace(x_low, x_high, 200), np.linspace(y_low, y_high, 200))
    assert surface(*grid).min() >= 0


@pytest.mark.parametrize("name, condition_number", [("quadratic", 100), ("rosenbrock", 2508.01)])
def test_condition_number(name, condition_number):
    x, y = SURFACES[name].minimum
    h, gradient = 1e-5, GRADIENTS[name]
    columns = [gradient(x + h, y) - gradient(x - h, y), gradient(x, y + h) - gradient(x, y - h)]
    found = np.linalg.cond(np.array(columns) / (2 * h))
    assert found == pytest.approx(condition_number, rel=1e-4)  # central differences


GOOD = {
    "name": "bowl",
    "function": lambda x, y: x**2 + y**2,
    "bounds": ((-1, 1), (-2, 2)),
    "start": (1, 1),
}


@pytest.mark.parametrize(
    "name, value",
    [
        ("name", 3),
        ("function", 0.5),
        ("bounds", None),
        ("bounds", (1, 2)),
        ("bounds", ((-1, 1), (2, -2))),
        ("bounds", ((-1, 1), (0, float("inf")))),
        ("start", 1.0),
        ("start", "ab"),
        ("start", (1, 2, 3)),
        ("start", (1, "2")),
        ("minimum", (0, float("nan"))),
    ],
)
def test_bad_surfaces_are_refused_by_name(name, value):
    Surface(**GOOD)
    with pytest.raises((TypeError, ValueError), match=rf"`{name}` must .*Received"):
        Surface(**{**GOOD, name: value})


# --- the steps ------------------------------------------------------------------------------------


@every_surface
def test_the_step_of_rate_one_is_the_gradient(name):
    start = np.array([0.75, -0.5])
    found = trace_optimizer(keras.optimizers.SGD(1.0), name, start=start, steps=1)
    # Single precision, of values up to 500.
    expected = [start, start - GRADIENTS[name](*start)]
    np.testing.assert_allclose(found.positions, expected, rtol=1e-5)


@pytest.mark.parametrize("rate", [0.005, 0.015])  # y decays, and oscillates
def test_gradient_descent_on_the_quadratic_has_a_closed_form(rate):
    found = trace_optimizer(keras.optimizers.SGD(rate), "quadratic", start=(8, 1.5), steps=40)
    t = np.arange(41)
    expected = np.stack([8 * (1 - rate) ** t, 1.5 * (1 - 100 * rate) ** t], axis=1)
    # 40 roundings of 6e-8; the factor 1 − 100 η itself is off by 1e-7.
    np.testing.assert_allclose(found.positions, expected, rtol=1e-4)
    assert found.stopping_reason == "completed"


def descent(name, rates, momenta, nesterov=False):
    """Gradient descent with momentum from the default start, written out in float64."""
    point, velocity = np.array(SURFACES[name].start), np.zeros(2)
    points = [point]
    for rate, momentum in zip(rates, momenta, strict=True):
        gradient = GRADIENTS[name](*point)
        velocity = momentum * velocity - rate * gradient
        point = point + (momentum * velocity - rate * gradient if nesterov else velocity)
        points.append(point)
    return np.array(points)


@every_surface
@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum(name, nesterov):
    rate = 0.0005
    optimizer = keras.optimizers.SGD(rate, momentum=0.9, nesterov=nesterov)
    found = trace_optimizer(optimizer, name, steps=50)
    expected = descent(name, [rate] * 50, [0.9] * 50, nesterov)
    # Fifty steps in single precision, through the bends of Rosenbrock's valley.
    np.testing.assert_allclose(found.positions, expected, rtol=1e-3, atol=1e-4)


def test_scheduled_rate_and_momentum():
    cycle = kdt.schedules.OneCycle(0.004, total_steps=50)
    optimizer = kdt.optimizers.SGD(cycle, momentum=cycle.momentum())
    found = trace_optimizer(optimizer, "beale", steps=50)
    steps = np.arange(50)
    expected = descent("beale", cycle.numpy_values(steps), cycle.momentum().numpy_values(steps))
    np.testing.assert_allclose(found.positions, expected, rtol=1e-3)  # as above
    assert found.values[-1] < 0.1 * found.values[0]


@every_surface
def test_the_first_step_of_adam_has_the_size_of_the_rate(name):
    found = trace_optimizer(keras.optimizers.Adam(0.1), name, start=(0.5, -0.5), steps=1)
    step = found.positions[1] - found.positions[0]
    signs = -np.sign(GRADIENTS[name](0.5, -0.5))
    # ε, and 1 − β₂ in single precision.
    np.testing.assert_allclose(step, 0.1 * signs, rtol=1e-4)


def test_adam_reaches_the_minimum():
    found = trace_optimizer(keras.optimizers.Adam(0.1), "beale", steps=300)
    np.testing.assert_allclose(found.positions[-1], found.minimum, atol=0.2)
    assert found.values[-1] < 0.01 < found.values[0]


MAKERS = {
    "SGD": lambda: keras.optimizers.SGD(0.05),
    "momentum": lambda: kdt.optimizers.SGD(0.05, momentum=0.9),
    "Adam": lambda: keras.optimizers.Adam(0.05),
}


@pytest.mark.parametrize("name", MAKERS)
def test_on_the_ridge_of_the_saddle_nothing_leaves_it(name):
    # Along the ridge ∂/∂y is exactly zero, and nothing but noise would change that.
    found = trace_optimizer(MAKERS[name](), "saddle", start=(1.5, 0.0), steps=60)
    assert (found.positions[:, 1] == 0).all()
    assert abs(found.positions[-1, 0]) < 0.2
    assert found.values.min() >= 0


def test_noise_leaves_the_ridge():
    noisy = kdt.optimizers.GradientNoise(keras.optimizers.SGD(0.05), variance=0.01, seed=1)
    first, again = (trace_optimizer(noisy, "saddle", start=(1.5, 0.0), steps=60) for _ in range(2))
    assert first.positions[1, 1] != 0
    assert first.values[-1] < -0.1
    assert first.optimizer == "GradientNoise"
    assert_identical([first.positions], [again.positions])  # the seed fixes the noise


def test_beside_the_ridge_momentum_leaves_it_sooner():
    plain, heavy = (
        trace_optimizer(MAKERS[name](), "saddle", start=(1.5, 1e-4), steps=60)
        for name in ("SGD", "momentum")
    )
    # y grows by 1 + 2 η in each plain step.
    np.testing.assert_allclose(plain.positions[:, 1], 1e-4 * 1.1 ** np.arange(61), rtol=1e-4)
    assert plain.values[-1] > -0.01
    assert heavy.values[-1] < -100


def test_a_surface_of_ones_own():
    bowl = Surface(**GOOD, minimum=(0, 0))
    found = trace_optimizer(keras.optimizers.SGD(0.25), bowl, steps=3)
    np.testing.assert_array_equal(found.positions, [[2.0**-t] * 2 for t in range(4)])
    np.testing.assert_array_equal(found.values, [2.0 * 4.0**-t for t in range(4)])
    assert found.surface == "bowl"
    np.testing.assert_array_equal(found.minimum, [0, 0])
    assert (found.grid_x[0], found.grid_x[-1]) == (-1, 1)
    assert (found.grid_y[0], found.grid_y[-1]) == (-2, 2)
    np.testing.assert_allclose(  # single precision
        found.grid_values, found.grid_x**2 + found.grid_y[:, None] ** 2, rtol=1e-6, atol=1e-7
    )
    assert trace_optimizer(keras.optimizers.SGD(0.25), bowl, start=(0, 1), steps=1).positions[
        1
    ].tolist() == [0, 0.5]


def ripples(x, y):
    return ops.sin(3 * x) + x**2 + y**2


def test_a_callable_is_sampled_around_the_path():
    found = trace_optimizer(keras.optimizers.SGD(0.1), ripples, start=[1.5, 1.0], steps=30)
    assert found.surface == "ripples"
    assert found.minimum is None
    low, high = found.positions.min(axis=0), found.positions.max(axis=0)
    assert (found.grid_x[0], found.grid_y[0]) < tuple(low)
    assert found.grid_x[-1] > high[0]
    assert found.grid_y[-1] > high[1]
    assert np.ptp(found.grid_x) < 3
    assert found.values[-1] < found.values[0]


def test_a_path_along_one_axis_or_of_one_point_has_a_region_too():
    bowl = GOOD["function"]
    found = trace_optimizer(keras.optimizers.SGD(0.1), bowl, start=(0, 2), steps=50)
    assert found.surface == "surface"  # a lambda has no name
    assert found.grid_x[-1] == -found.grid_x[0] == pytest.approx(0.5, abs=0.01)  # a quarter
    resting = trace_optimizer(keras.optimizers.SGD(0.1), bowl, start=(0, 0), steps=2)
    assert (resting.grid_x[0], resting.grid_x[-1]) == (-1, 1)
    exploding = trace_optimizer(keras.optimizers.SGD(2.0), bowl, start=(0, 2), steps=5)
    assert (exploding.grid_y[0], exploding.grid_y[-1]) == (0, 4)


# --- how it ends ----------------------------------------------------------------------------------


def test_divergence_ends_within_reach():
    found = trace_optimizer(keras.optimizers.SGD(0.05), "quadratic", steps=100)
    assert found.stopping_reason == "diverged"
    # y is multiplied by −4: 1.5 · 4¹⁰ < 2·10⁶ < 1.5 · 4¹¹, a million half widths.
    assert found.positions.shape == (11, 2)
    assert found.values.shape == (11,)
    assert np.isfinite(found.values).all()


def test_a_value_that_is_not_finite():
    # ln x has no value left of zero, where the steps of rate 1 from 0.5 end: 0.5 − 2.
    found = trace_optimizer(
        keras.optimizers.SGD(1.0), lambda x, y: ops.log(x) + y, start=(0.5, 3.0), steps=10
    )
    assert found.stopping_reason == "not_finite"
    np.testing.assert_array_equal(found.positions, [[0.5, 3.0]])
    np.testing.assert_allclose(found.values, [np.log(0.5) + 3], rtol=1e-6)  # float32


def test_a_value_that_overflows():
    # From 2 the first step goes to about 2 − 220, whose 40th power single precision has not.
    found = trace_optimizer(
        keras.optimizers.SGD(1e-11), lambda x, y: x**40 + y, start=(2.0, 1.0), steps=10
    )
    assert found.stopping_reason == "not_finite"
    np.testing.assert_array_equal(found.positions, [[2.0, 1.0]])


# --- what it leaves behind ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make", [lambda: keras.optimizers.Adam(0.1), lambda: kdt.optimizers.SGD(0.001, momentum=0.9)]
)
def test_the_optimizer_stays_untouched(make):
    fresh, used = make(), make()
    config = fresh.get_config()
    first = trace_optimizer(fresh, "beale", steps=5)
    assert not fresh.built
    assert fresh.get_config() == config
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile(used, "mse")
    model.train_on_batch(*regression_data())
    before = whole_state(model)
    # Neither its slots nor its counter go along.
    assert_identical([first.positions], [trace_optimizer(used, "beale", steps=5).positions])
    assert_identical(before, whole_state(model))
    model.train_on_batch(*regression_data())


def global_state():
    state = {
        "numpy": np.random.get_state()[1].tolist(),  # noqa: NPY002 - the global state is meant
        "position": np.random.get_state()[2],  # noqa: NPY002
        "python": random.getstate(),
    }
    if BACKEND == "torch":
        import torch

        state["torch"] = torch.get_rng_state().tolist()
    return state


def test_global_state_is_not_consumed():
    def next_things():
        return [
            np.asarray(ops.convert_to_numpy(keras.random.normal((3,)))).tolist(),
            keras.layers.Dense(1).name,
            keras.optimizers.SGD().name,
            keras.Sequential().name,
            keras.metrics.Mean().name,
        ]

    optimizer = keras.optimizers.SGD(0.001, name="given")
    results = []
    for traces in (False, True):
        keras.utils.set_random_seed(3)
        keras.backend.clear_session(free_memory=False)
        before = global_state()
        if traces:
            trace_optimizer(optimizer, "beale", steps=3)
            assert global_state() == before
        results.append(next_things())
    assert results[0] == results[1]


@pytest.mark.parametrize("policy", ["mixed_float16", "bfloat16", "float64"])
def test_the_global_policy_does_not_matter(policy):
    single = trace_optimizer(keras.optimizers.Adam(0.1), "beale", steps=5)
    keras.config.set_dtype_policy(policy)
    assert_identical(
        [single.positions, single.values, single.grid_values],
        [
            getattr(trace_optimizer(keras.optimizers.Adam(0.1), "beale", steps=5), field)
            for field in ("positions", "values", "grid_values")
        ],
    )


@pytest.mark.parametrize(
    "make",
    [
        lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.001)),
        lambda: keras.optimizers.SGD(0.001, global_clipnorm=1e3),
        lambda: keras.optimizers.SGD(0.001, use_ema=True),
    ],
)
def test_wrapped_and_decorated_optimizers(make):
    plain = trace_optimizer(keras.optimizers.SGD(0.001), "quadratic", steps=5)
    found = trace_optimizer(make(), "quadratic", steps=5)
    assert found.optimizer == "SGD"
    # Scaling by powers of two is exact, but for the order of the products.
    np.testing.assert_allclose(found.positions, plain.positions, rtol=1e-6)


def test_names():
    def name(optimizer):
        return trace_optimizer(optimizer, "saddle", steps=1).optimizer

    assert [name(keras.optimizers.RMSprop()) for _ in range(2)] == ["RMSprop", "RMSprop"]
    assert name(kdt.optimizers.AdamW()) == "AdamW"
    assert name(keras.optimizers.SGD(name="heavy_ball")) == "heavy_ball"


# --- the result -----------------------------------------------------------------------------------


def test_result_is_consistent():
    found = trace_optimizer(keras.optimizers.Adam(0.1), "beale", steps=7)
    assert found.positions.shape == (8, 2)
    assert found.values.shape == (8,)
    assert found.grid_values.shape == (len(found.grid_y), len(found.grid_x))
    np.testing.assert_allclose(  # the surface in single precision
        found.values, SURFACES["beale"](*found.positions.T), rtol=1e-5
    )
    assert (found.optimizer, found.surface) == ("Adam", "beale")
    assert str(found).startswith("Adam on beale: 41.2 to ")
    assert str(found).endswith("in 7 steps, completed")
    with pytest.raises(ValueError, match="read-only"):
        found.positions[0] = 0


@pytest.mark.parametrize("suffix", ["json", "npz"])
@pytest.mark.parametrize("name", ["beale", "saddle"])  # with and without a minimum
def test_save_and_load(tmp_path, suffix, name):
    found = trace_optimizer(keras.optimizers.Adam(0.1), name, steps=4)
    found.save(tmp_path / f"trajectory.{suffix}")
    loaded = OptimizerTrajectory.load(tmp_path / f"trajectory.{suffix}")
    for field in ("positions", "values", "grid_x", "grid_y", "grid_values"):
        assert_identical([getattr(found, field)], [getattr(loaded, field)])
    assert str(found) == str(loaded)
    if name == "saddle":
        assert loaded.minimum is None
    else:
        assert_identical([found.minimum], [loaded.minimum])


# --- bad arguments --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, arguments",
    [
        ("optimizer", {"optimizer": "adam"}),
        ("optimizer", {"optimizer": keras.optimizers.Adam}),
        ("surface", {"surface": "banana"}),
        ("surface", {"surface": 3}),
        ("surface", {"surface": None}),
        ("start", {"surface": ripples}),
        ("start", {"start": 1.0}),
        ("start", {"start": (1.0,)}),
        ("start", {"start": (1.0, float("nan"))}),
        ("start", {"start": (1e30, 1e30)}),
        ("start", {"surface": lambda x, y: ops.log(x), "start": (-1.0, 0.0)}),
        ("steps", {"steps": 0}),
        ("steps", {"steps": 2.5}),
        ("steps", {"steps": True}),
    ],
)
def test_bad_arguments_are_refused_by_name(name, arguments):
    optimizer = keras.optimizers.SGD()
    with pytest.raises((TypeError, ValueError), match=rf"`{name}` must .*Received: .*{name}"):
        trace_optimizer(**{"optimizer": optimizer, "surface": "beale", **arguments})
    assert not optimizer.built


@pytest.mark.parametrize(
    "function",
    [lambda x, y: ops.sum(x + y), lambda x, y: ops.stack([x, y]), lambda x, y: 1.0],
    ids=["sum", "stack", "number"],
)
def test_functions_that_are_not_elementwise_are_refused(function):
    with pytest.raises(TypeError, match="`surface` must be elementwise"):
        trace_optimizer(keras.optimizers.SGD(), function, start=(1, 1))
