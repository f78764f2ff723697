"""Paired differences, by hand and against SciPy."""

import math

import numpy as np
import pytest

from keras_deeptricks.diagnostics.paired_differences import (
    holm,
    paired_difference,
    student_t_p_value,
    student_t_quantile,
)


def test_three_pairs_by_hand():
    # Differences 1, 2, 3: mean 2, deviation 1, standard error 1/√3, so t = 2√3.
    found = paired_difference([2.0, 4.0, 6.0], [1.0, 2.0, 3.0])
    # Of two degrees of freedom: P(|T| < t) = t / √(2 + t²), solved for t at 0.95.
    quantile = 0.95 * math.sqrt(2) / math.sqrt(1 - 0.95**2)
    assert found.pairs == 3
    assert found.mean == pytest.approx(2)
    assert found.low == pytest.approx(2 - quantile / math.sqrt(3), rel=1e-12)
    assert found.high == pytest.approx(2 + quantile / math.sqrt(3), rel=1e-12)
    assert found.p_value == pytest.approx(1 - math.sqrt(12 / 14), rel=1e-12)


def test_one_degree_of_freedom_is_cauchys_distribution():
    for t in (0.1, 1.0, 7.0, 1e4):
        # The rest of the circle, without the cancellation of 1 − 2/π·atan(t).
        assert student_t_p_value(t, 1) == pytest.approx(2 / math.pi * math.atan(1 / t), rel=1e-12)
    assert student_t_quantile(0.5, 1) == pytest.approx(1, rel=1e-12)
    assert student_t_quantile(0.95, 1) == pytest.approx(math.tan(math.pi * 0.475), rel=1e-12)


def test_values_of_the_printed_tables():
    # Three digits, as printed.
    for degrees, value in ((2, 4.303), (4, 2.776), (9, 2.262), (30, 2.042)):
        assert student_t_quantile(0.95, degrees) == pytest.approx(value, abs=5e-4)


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 9, 49, 500])
def test_against_scipy(degrees):
    stats = pytest.importorskip("scipy.stats")
    for t in (0.0, 0.01, 0.3, -1.0, 2.5, 40.0):
        expected = 2 * stats.t.sf(abs(t), degrees)
        # Relative, so far out in the tails too; lgamma of 250 has lost three digits.
        assert student_t_p_value(t, degrees) == pytest.approx(expected, rel=1e-11)
    for confidence in (0.5, 0.9, 0.95, 0.999):
        expected = stats.t.ppf((1 + confidence) / 2, degrees)
        assert student_t_quantile(confidence, degrees) == pytest.approx(expected, rel=1e-10)


def test_paired_test_against_scipy():
    stats = pytest.importorskip("scipy.stats")
    first, second = np.random.default_rng(0).normal(size=(2, 8))
    expected = stats.ttest_rel(first, second)
    interval = expected.confidence_interval(0.9)
    found = paired_difference(first, second, 0.9)
    assert found.p_value == pytest.approx(expected.pvalue, rel=1e-11)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), rel=1e-11)


def test_pairs_without_a_finite_value_are_left_out():
    found = paired_difference([2.0, np.nan, 4.0, 6.0, np.inf], [1.0, 5.0, 2.0, 3.0, 0.0])
    assert found == paired_difference([2.0, 4.0, 6.0], [1.0, 2.0, 3.0])


def test_few_pairs_have_no_interval():
    none = paired_difference([np.nan], [1.0])
    assert none.pairs == 0
    assert np.isnan([none.mean, none.low, none.high, none.p_value]).all()
    one = paired_difference([3.0], [1.0])
    assert (one.pairs, one.mean) == (1, 2.0)
    assert np.isnan([one.low, one.high, one.p_value]).all()


def test_equal_differences():
    none = paired_difference([0.1, 0.7], [0.1, 0.7])
    assert (none.mean, none.low, none.high, none.p_value) == (0, 0, 0, 1)
    # 0.3 − 0.2 and 0.9 − 0.8 differ by rounding alone.
    same = paired_difference([0.3, 0.9], [0.2, 0.8])
    assert same.low == same.high == same.mean == pytest.approx(0.1)
    assert same.p_value == 0


def test_holm_by_hand():
    # Sorted 0.01, 0.02, 0.03, 0.2 times 4, 3, 2, 1, never falling: 0.04, 0.06, 0.06, 0.2.
    np.testing.assert_allclose(holm([0.02, 0.2, 0.01, 0.03]), [0.06, 0.2, 0.04, 0.06])
    np.testing.assert_allclose(holm([0.4, 0.9, 0.5]), [1, 1, 1])
    # No test counts for nothing.
    np.testing.assert_allclose(holm([np.nan, 0.02, 0.03]), [np.nan, 0.04, 0.04])
    assert holm([]).shape == (0,)


def test_errors():
    with pytest.raises(ValueError, match=r"`first` and `second` .* \(2,\) and \(3,\)"):
        paired_difference([1, 2], [1, 2, 3])
    with pytest.raises(ValueError, match="`confidence` must be a number > 0 and < 1"):
        paired_difference([1, 2], [1, 2], 1.0)
    with pytest.raises(ValueError, match="`degrees_of_freedom`"):
        student_t_p_value(1.0, 0)
