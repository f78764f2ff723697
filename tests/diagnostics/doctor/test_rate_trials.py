"""The verdict on a rate, from made-up runs."""

import math

import numpy as np
import pytest

from keras_deeptricks.diagnostics.doctor.rate_trials import RateTrials
from keras_deeptricks.diagnostics.doctor.short_runs import ShortRun, peak_rate


def trials(ends, rate=0.01, start=2.3, noise=0.05, steps_per_epoch=50):
    """`RateTrials` whose runs of 100 steps end at the given losses, by powers of ten."""
    runs = {}
    for power, end in ends.items():
        finite = math.isfinite(end)
        losses = np.linspace(start, end, 100) if finite else np.array([start, math.nan])
        if finite:
            losses[-20:] = end
        runs[power] = ShortRun(rate * 10.0**power, losses, finite, 1.0)
    return RateTrials(rate, runs, start, noise, steps_per_epoch)


@pytest.mark.parametrize(
    "ends, verdict",
    [
        ({-1: 1.9, 0: 0.6, 1: 0.4}, "fine"),
        ({-1: 0.5, 0: 0.4, 1: 2.4}, "fine"),
        # A tenth of the rate gets all the way, the given one a quarter of it.
        ({-2: 0.9, -1: 0.3, 0: 1.8, 1: 9.0}, "too high"),
        ({-1: 0.3, 0: math.nan, 1: math.nan}, "too high"),
        ({-1: 2.2, 0: 50.0, 1: 900.0}, "too high"),
        ({-1: math.nan, 0: math.nan, 1: math.nan}, "fails"),
        ({-1: 2.3, 0: 2.29, 1: 2.2, 2: 1.4, 3: 0.3}, "too low"),
        # Nothing is learned at any rate: no rate is to blame.
        ({-1: 2.3, 0: 2.3, 1: 2.3, 2: 2.31}, "undecided"),
    ],
)
def test_verdict(ends, verdict):
    assert trials(ends).verdict == verdict


def test_a_slow_rate_with_long_epochs_is_patience():
    """2 % of the way in 100 steps: 5000 steps are 100 epochs of 50, but 3 of 1800."""
    ends = {-1: 2.3, 0: 2.26, 1: 1.6, 2: 0.3}
    assert trials(ends).verdict == "too low"
    assert trials(ends, steps_per_epoch=1800).verdict == "fine"


def test_without_a_single_rate():
    assert trials({0: 0.3}, rate=1.0).verdict == "fine"
    run = ShortRun(None, np.array([2.0, 1.0]), True, 1.0)
    assert RateTrials(None, {0: run}, 2.0, 0.1, 10).verdict == "undecided"


def test_progress_is_relative_to_the_best_run():
    found = trials({-1: 1.3, 0: 0.3, 1: math.nan})
    assert found.progress(0) == 1.0
    np.testing.assert_allclose(found.progress(-1), 0.5)
    assert found.progress(1) == -math.inf


def test_the_end_is_the_median_of_the_last_fifth():
    losses = np.concatenate([np.full(80, 9.0), np.full(19, 1.0), [500.0]])
    assert ShortRun(0.1, losses, True, 1.0).end == 1.0


def test_peak_rate():
    import keras

    import keras_deeptricks as kdt

    assert peak_rate(keras.optimizers.SGD(0.25)) == 0.25
    cycle = kdt.schedules.OneCycle(0.5, total_steps=100)
    # The steps of the table pass within a few per cent of the peak.
    np.testing.assert_allclose(peak_rate(kdt.optimizers.SGD(cycle)), 0.5, rtol=0.01)
