"""The features of a training curve against hand computation."""

import numpy as np
import pytest

from keras_deeptricks.diagnostics.history_shape import (
    curve_shape,
    finite_part,
    first_not_finite,
    jump_noise,
    running_median,
    theil_sen_slope,
)


def test_finite_part():
    np.testing.assert_array_equal(finite_part([1, 2, np.nan, 3]), [1, 2])
    assert first_not_finite([1, 2, np.inf, 3]) == 2
    assert first_not_finite([1, 2]) is None


def test_theil_sen_slope():
    # Pairs: 1, 0.5, 3 / 3 = 1, 0, 1, 2: the median is 1.
    assert theil_sen_slope([0, 1, 1, 3]) == pytest.approx(1.0)
    assert theil_sen_slope([5]) == 0
    # One wild point in seven changes nothing.
    assert theil_sen_slope([0, 1, 2, 1000, 4, 5, 6]) == 1.0


def test_slope_of_a_long_curve():
    assert theil_sen_slope(-0.25 * np.arange(5000)) == pytest.approx(-0.25)


def test_jump_noise():
    assert jump_noise(3 - 0.5 * np.arange(10)) == pytest.approx(0, abs=1e-12)
    # Zigzag by ±a: the bends are all 2a, 1.4826 · 2a / √1.5.
    assert jump_noise([1, -1, 1, -1, 1]) == pytest.approx(1.4826 * 2 / np.sqrt(1.5))
    noise = np.random.default_rng(0).normal(size=20_000)
    # The median of that many values is within 2 %.
    assert jump_noise(0.3 * noise + np.linspace(0, 5, 20_000)) == pytest.approx(0.3, rel=0.02)


def test_running_median():
    np.testing.assert_array_equal(running_median([3, 1, 2, 9]), [2, 2, 2, 5.5])


def test_shape_of_a_valley():
    values = np.array([5.0, 4, 3, 2, 1, 2, 3, 4, 4, 4])
    shape = curve_shape(values)
    assert (shape.first, shape.last, shape.epochs) == (5, 4, 10)
    # Medians of three cut the tip: the lowest is 2.
    assert shape.best == 2
    assert shape.best_epoch == 3
    assert shape.late_level == 4
    assert (shape.descent, shape.rise) == (3, 2)
    assert shape.falling_share == pytest.approx(4 / 9)


def test_flat_since():
    values = np.concatenate([np.linspace(10, 1, 10), np.ones(10)])
    assert curve_shape(values).flat_since == 9
    assert curve_shape(np.ones(5)).flat_since == 0


def test_one_value_and_none():
    shape = curve_shape([2.0])
    assert (shape.descent, shape.noise, shape.late_level) == (0, 0, 2)
    with pytest.raises(ValueError, match="begin with a finite value"):
        curve_shape([np.nan, 1])
