"""The data, the schedules and the rate of a trial."""

import numpy as np
import pytest
from hypermodel_cases import X, Y

from keras_deeptricks.tuners.trial_course import (
    peak_momentum,
    prepare_trial_data,
    schedule_callback,
)


def test_the_schedules():
    settings = {"schedule": "1cycle", "momentum": 0.95}
    assert peak_momentum(settings) == pytest.approx(0.85)
    assert peak_momentum({**settings, "schedule": "cosine"}) == 0.95
    rate, momentum = schedule_callback(settings, 0.1, 100).factory(100)
    assert rate.numpy_values([29])[0] == pytest.approx(0.1)
    assert momentum.numpy_values([0, 29]).tolist() == pytest.approx([0.95, 0.85])
    expected = {"cosine": 0.05, "exponential": 0.01, "constant": 0.1}
    for kind, halfway in expected.items():
        rate, momentum = schedule_callback({**settings, "schedule": kind}, 0.1, 100).factory(100)
        # Single precision of Keras' schedules.
        assert rate.numpy_values([0, 50]).tolist() == pytest.approx([0.1, halfway], rel=1e-5)
        assert momentum is None


def test_steps_and_validation_rows():
    data = prepare_trial_data(X, Y, None, None, 0.25, 50, None)
    # 144 rows in batches of 50.
    assert (len(data.x), len(data.validation[0]), data.steps) == (144, 48, 3)
    np.testing.assert_array_equal(data.validation[1], Y[144:])
    assert prepare_trial_data(X, Y, None, None, None, 50, 7).steps == 7
    batches = [(X[:10], Y[:10])] * 4
    assert prepare_trial_data(batches_of(batches), None, None, None, None, 50, None).steps == 4


def batches_of(batches):
    class Batches:
        def __iter__(self):
            return iter(batches)

    return Batches()


@pytest.mark.parametrize(
    "x, y, split, says",
    [
        (X, None, None, "`y` is missing"),
        (X, Y[:5], None, "same number of rows"),
        (X, np.array(["a"] * len(X)), None, "encode"),
        (X, np.full(len(X), np.inf), None, "NaN or infinite"),
        (X, Y, 1.0, "validation_split"),
        (X[:2], Y[:2], 0.1, "leaves nothing"),
        (iter([]), None, None, "generator"),
        (batches_of([]), None, None, "empty"),
        (batches_of([]), Y, None, "must be None"),
        (7, None, None, "must be an array"),
    ],
)
def test_bad_data(x, y, split, says):
    # Of two rows a tenth is none to validate on, but all are kept by rounding down to one.
    split = 0.99 if says == "leaves nothing" else split
    with pytest.raises((TypeError, ValueError), match=says):
        prepare_trial_data(x, y, None, None, split, 16, None)
