"""He's initialization for a leaky rectifier: its variance, and what it is for."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_deeptricks.initializers import HeLeaky


def drawn(initializer, shape):
    return ops.convert_to_numpy(initializer(shape))


@pytest.mark.parametrize("distribution", ["normal", "uniform"])
@pytest.mark.parametrize("slope", [0.0, 0.3, 1.0, -0.5])
def test_the_variance_is_that_of_the_formula(slope, distribution):
    weights = drawn(HeLeaky(slope, distribution=distribution, seed=1), (250, 100))
    # The variance of 25,000 draws is off by √(2/25,000) = 0.9 %; over four such deviations.
    assert weights.var() == pytest.approx(2 / ((1 + slope**2) * 250), rel=0.04)


def test_the_fan_of_a_convolution_counts_its_window():
    weights = drawn(HeLeaky(0.5, seed=1), (3, 3, 16, 160))
    # 23,040 draws, as above.
    assert weights.var() == pytest.approx(2 / (1.25 * 3 * 3 * 16), rel=0.04)


@pytest.mark.parametrize(
    "distribution, parent",
    [("normal", keras.initializers.HeNormal), ("uniform", keras.initializers.HeUniform)],
)
def test_without_a_slope_it_is_he(distribution, parent):
    ours = drawn(HeLeaky(0.0, distribution=distribution, seed=3), (7, 5))
    np.testing.assert_array_equal(ours, drawn(parent(seed=3), (7, 5)))


def test_a_slope_of_one_is_lecun_and_a_sign_does_not_matter():
    np.testing.assert_array_equal(
        drawn(HeLeaky(1.0, seed=3), (7, 5)), drawn(keras.initializers.LecunNormal(seed=3), (7, 5))
    )
    np.testing.assert_array_equal(
        drawn(HeLeaky(-0.5, seed=3), (7, 5)), drawn(HeLeaky(0.5, seed=3), (7, 5))
    )


def test_it_keeps_the_signal_through_a_deep_leaky_net():
    slope, width, depth = 0.5, 256, 20
    signal = np.random.default_rng(0).normal(size=(200, width))

    def size_behind(initializer):
        out = signal
        for _ in range(depth):
            out = out @ drawn(initializer, (width, width))
            out = np.where(out > 0, out, slope * out)
        return np.square(out).mean()

    # E[f(z)²] = Var z·(1 + a²)/2, which starts the layers off with variance 1. Each layer adds a
    # spread of about √(2/256)/√… ≈ 10 %: 45 % over twenty.
    seed = keras.random.SeedGenerator(1)
    expected = (1 + slope**2) / 2 * 2 / (1 + slope**2)
    assert size_behind(HeLeaky(slope, seed=seed)) == pytest.approx(expected, rel=0.5)
    # He's for the plain rectifier blows up by (1 + a²) a layer: 86 times over twenty.
    assert size_behind(keras.initializers.HeNormal(seed=seed)) > 30


@pytest.mark.parametrize("distribution", ["normal", "uniform"])
def test_the_configuration_comes_back(distribution):
    initializer = HeLeaky(0.2, distribution=distribution, seed=5)
    config = initializer.get_config()
    assert config == {"negative_slope": 0.2, "distribution": distribution, "seed": 5}
    again = keras.initializers.deserialize(keras.initializers.serialize(initializer))
    assert type(again) is HeLeaky
    np.testing.assert_array_equal(drawn(again, (4, 3)), drawn(initializer, (4, 3)))


@pytest.mark.parametrize(
    "options, error, name",
    [
        ({"negative_slope": "0.1"}, TypeError, "negative_slope"),
        ({"negative_slope": None}, TypeError, "negative_slope"),
        ({"negative_slope": float("nan")}, ValueError, "negative_slope"),
        ({"distribution": "gaussian"}, ValueError, "distribution"),
    ],
)
def test_bad_arguments_are_refused(options, error, name):
    with pytest.raises(error, match=f"`{name}`"):
        HeLeaky(**options)
