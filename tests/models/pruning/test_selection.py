"""Which entries go: the lowest, exactly as many as asked for, of equal ones the first."""

import numpy as np
import pytest

from keras_deeptricks.models.pruning.selection import gone_by_fraction, gone_by_threshold


@pytest.mark.parametrize(
    "fraction, expected",
    [(0.0, [0, 0, 0, 0, 0]), (0.2, [1, 0, 0, 0, 0]), (0.4, [1, 0, 0, 1, 0]), (1.0, [1] * 5)],
)
def test_the_lowest_go_and_of_equal_ones_the_first(fraction, expected):
    values = [np.array([[-1.0, 2.0], [5.0, 2.0]])[:1], np.array([7.0, 1.0, 2.0])]
    none = [np.zeros(array.shape, bool) for array in values]
    found = np.concatenate([g.ravel() for g in gone_by_fraction(values, none, fraction)])
    assert found.astype(int).tolist() == expected
    ties = gone_by_fraction([np.zeros((2, 3))], [np.zeros((2, 3), bool)], 0.5)
    assert ties[0].astype(int).tolist() == [[1, 1, 1], [0, 0, 0]]


def test_what_is_gone_counts_and_stays_gone():
    values = [np.array([1.0, 2.0, 3.0, 4.0])]
    gone = [np.array([False, False, True, False])]
    assert gone_by_fraction(values, gone, 0.5)[0].tolist() == [True, False, True, False]
    assert gone_by_fraction(values, gone, 0.0)[0].tolist() == [False, False, True, False]
    assert gone_by_threshold(values, gone, 2)[0].tolist() == [True, False, True, False]


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_counts_are_exact_for_all_fractions(size):
    rng = np.random.default_rng(size)
    values = rng.integers(0, 5, size).astype(float)  # many ties
    gone = rng.uniform(size=size) < 0.1
    for fraction in (0, 0.1, 1 / 3, 0.5, 0.917, 1):
        (found,) = gone_by_fraction([values], [gone], fraction)
        assert found.sum() == max(round(fraction * size), gone.sum())
        assert (found | ~gone).all()
        if not found.all():
            assert values[found & ~gone].max(initial=-1) <= values[~found].min()
