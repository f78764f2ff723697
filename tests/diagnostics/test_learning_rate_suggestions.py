"""The rules that read a rate off a curve, on curves whose answers are known by hand."""

import numpy as np
import pytest

from keras_deeptricks.diagnostics import learning_rate_suggestions as rules

# One point at every tenth of a decade from 1e-6 to 1e-0.
LOGS = np.round(np.arange(-6, 0.01, 0.1), 1)
RATES = 10.0**LOGS


def test_smoothing_by_hand():
    # β = ½: 1; (½·1 + 2)/(3/2); (¼·1 + ½·2 + 4)/(7/4).
    smoothed = rules.smooth([1.0, 2.0, 4.0], 0.5)
    np.testing.assert_allclose(smoothed, [1.0, 5 / 3, 3.0], rtol=1e-15)  # float64 rounding


def test_smoothing_limits():
    losses = [3.0, 1.0, 2.0, 5.0]
    np.testing.assert_array_equal(rules.smooth(losses, 0.0), losses)
    # With β towards 1 all weights are equal: the running mean.
    means = np.cumsum(losses) / np.arange(1, 5)
    np.testing.assert_allclose(rules.smooth(losses, 1 - 1e-9), means, rtol=1e-6)  # 1 − β·t
    np.testing.assert_allclose(rules.smooth([7.0] * 50, 0.95), 7.0, rtol=1e-14)  # float64


def test_steepest_is_where_a_sigmoid_turns():
    losses = -np.tanh(3 * (LOGS + 3.0))
    assert rules.steepest(RATES, losses) == pytest.approx(1e-3, rel=1e-9)  # a grid point


def test_steepest_is_over_the_logarithm_of_the_rate():
    # Over the rate itself the slope is largest at the very first point.
    losses = 2 - np.tanh(3 * (LOGS + 2.0))
    assert rules.steepest(RATES, losses) == pytest.approx(1e-2, rel=1e-9)


def test_minimum_over_ten_of_a_parabola():
    assert rules.minimum_over_ten(RATES, (LOGS + 2.0) ** 2) == pytest.approx(1e-3, rel=1e-9)


def test_midpoint_lies_between_the_steepest_point_and_the_minimum():
    # Steepest at 1e-4; from 1e-2 on it rises.
    losses = -np.tanh(2 * (LOGS + 4.0)) + np.where(LOGS > -2.0, LOGS + 2.0, 0.0)
    assert rules.midpoint(RATES, losses) == pytest.approx(1e-3, rel=1e-9)


def test_valley_is_half_way_down_the_longest_descent():
    # Up at 0…9, down at 10…21, up at 22…: the descent goes from 9 to 21, 13 points; a third of
    # it is 4.33, so the rule takes 21 − 13 + 4 + 2.
    up, down, after = 1 + 0.1 * np.arange(10), 1.8 - 0.1 * np.arange(12), np.arange(1.0, 9.0)
    losses = np.concatenate([up, down, after])
    assert rules.valley(RATES[: len(losses)], losses) == RATES[14]


def test_valley_skips_bumps_within_the_descent():
    losses = 10.0 - np.arange(30.0)
    bumped = losses.copy()
    bumped[[7, 15]] += 5  # these two drop out of the longest falling subsequence
    start, end = 29 - 28, 29
    third = (end - start) / 3
    assert rules.valley(RATES[:30], bumped) == RATES[start + int(third) + int(third / 2)]


def test_valley_of_a_curve_that_never_falls_is_in_its_range():
    assert rules.valley(RATES, LOGS) in RATES


def test_sliding_slope_is_the_left_end_of_a_settled_stretch():
    # A straight descent up to point 40, then an explosion. The right point settles at 39, whose
    # symmetric difference is the last without the explosion; the left one is 15 steps before.
    steps = np.arange(61)
    losses = 100.0 - steps + np.where(steps > 40, 50.0 * (steps - 40) ** 2, 0.0)
    assert rules.sliding_slope(RATES, losses) == RATES[24]


def test_sliding_slope_that_never_settles_ends_at_the_lowest_rate():
    steps = np.arange(61.0)
    assert rules.sliding_slope(RATES, 1 + steps**3) == RATES[0]


def test_sliding_slope_of_a_straight_line_settles_at_once():
    assert rules.sliding_slope(RATES, 10.0 - 0.1 * np.arange(61)) == RATES[60 - 15]
