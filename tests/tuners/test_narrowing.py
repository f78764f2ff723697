import pytest

from keras_deeptricks.tuners.narrowing import narrowed, neighbours


@pytest.mark.parametrize(
    "best, interval, expected",
    [
        (0.5, (0.0, 1.0), (0.25, 0.75)),
        (0.3, (0.0, 1.0), (0.05, 0.55)),
        # Near an end of the first range: moved inside, as wide as the others.
        (0.2, (0.0, 1.0), (0.0, 0.5)),
        (0.85, (0.0, 1.0), (0.5, 1.0)),
        (0.5, (0.4, 0.6), (0.45, 0.55)),
        # On an end of a narrower one: moved on, no narrower.
        (0.6, (0.4, 0.6), (0.5, 0.7)),
        (0.41, (0.4, 0.6), (0.31, 0.51)),
        # On an end of the first one there is nowhere to go.
        (1.0, (0.0, 1.0), (0.0, 1.0)),
        (1.0, (0.8, 1.0), (0.8, 1.0)),
    ],
)
def test_intervals(best, interval, expected):
    assert narrowed(best, interval, 0.5) == pytest.approx(expected)


@pytest.mark.parametrize(
    "best, interval, expected",
    [
        (1.0, (0.0, 1.0), (0.5, 1.5)),
        (-0.1, (-0.2, 0.8), (-0.5, 0.5)),  # by half of the range at most
        (0.5, (0.0, 1.0), (0.25, 0.75)),
    ],
)
def test_intervals_that_may_leave_the_range(best, interval, expected):
    assert narrowed(best, interval, 0.5, may_leave=True) == pytest.approx(expected)


def test_ordered_values():
    values = [16, 32, 64, 128, 256]
    assert neighbours(values, 64, (0.0, 1.0), 0.5) == ([32, 64, 128], (0.25, 0.75))
    # The best's neighbours stay, however narrow the interval.
    kept, interval = neighbours(values, 64, (0.25, 0.75), 0.5)
    assert kept == [32, 64, 128]
    assert interval == (0.375, 0.625)
    # The best at the end of the values: as many as before.
    assert neighbours(values, 256, (0.5, 1.0), 0.5) == ([64, 128, 256], (0.5, 1.0))
