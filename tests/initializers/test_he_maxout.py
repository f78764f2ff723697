"""He's initialization for maxout: the mean square of a maximum, and the variance from it."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_deeptricks.initializers import HeMaxout
from keras_deeptricks.initializers.he_maxout import mean_square_of_maximum


@pytest.mark.parametrize(
    "count, expected",
    [
        (1, 1.0),
        (2, 1.0),  # the maximum of two has the square of the minimum, by symmetry
        (3, 1 + np.sqrt(3) / (2 * np.pi)),  # David & Nagaraja, Order statistics, 2003
        (4, 1 + np.sqrt(3) / np.pi),
        (5, 1 / 0.55555),  # Tseran & Montúfar, 2021: 1/m = 0.55555
    ],
)
def test_mean_squares_by_theory(count, expected):
    assert mean_square_of_maximum(count) == pytest.approx(expected, rel=2e-5)


def test_a_mean_square_by_simulation():
    z = np.random.default_rng(0).normal(size=(100_000, 8)).max(axis=1)
    # The squares of maxima, near 2.4, have a deviation of some 2: 0.7 % of 100,000, times four.
    assert mean_square_of_maximum(8) == pytest.approx(np.square(z).mean(), rel=0.012)


@pytest.mark.parametrize("distribution", ["normal", "uniform"])
@pytest.mark.parametrize("pieces", [1, 3])
def test_the_variance_is_that_of_the_formula(pieces, distribution):
    initializer = HeMaxout(pieces, distribution=distribution, seed=1)
    kernel = ops.convert_to_numpy(initializer((250, 100)))
    # The variance of 25,000 draws is off by 0.9 %; over four such deviations.
    expected = 1 / (mean_square_of_maximum(pieces) * 250)
    assert kernel.var() == pytest.approx(expected, rel=0.04)


def test_two_pieces_are_lecun():
    np.testing.assert_allclose(
        HeMaxout(2, seed=3)((7, 5)), keras.initializers.LecunNormal(seed=3)((7, 5)), rtol=1e-5
    )


def test_the_configuration_comes_back():
    initializer = HeMaxout(4, distribution="uniform", seed=5)
    assert initializer.get_config() == {"pieces": 4, "distribution": "uniform", "seed": 5}
    again = keras.initializers.deserialize(keras.initializers.serialize(initializer))
    np.testing.assert_array_equal(again((4, 3)), initializer((4, 3)))
