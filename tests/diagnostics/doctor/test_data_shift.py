"""Distances of distributions by hand, and shifts between training and validation."""

import numpy as np
import pytest
from doctor_cases import Batches, case_of, classifier, found, labels, normal, regressor

from keras_deeptricks.diagnostics.doctor.data_shift import (
    features_of,
    find_data_shift,
    shift_of,
    smirnov_distance,
)

WARNING, NOTE = [("data_shift", "warning")], [("data_shift", "note")]


def test_by_hand():
    assert smirnov_distance([0, 0, 1, 1], [0, 1, 1, 1]) == 0.25
    shift = shift_of([[0.0, 5], [2, 5]], [[4.0, 5], [6, 5]])
    # Deviations of 1 in both, and means of 1 and 5; a constant has no shift.
    assert shift.mean.tolist() == [4, 0]
    assert shift.distance.tolist() == [1, 0]
    images = np.zeros((3, 5, 5, 2))
    images[..., 1] = 4
    assert features_of(images).tolist() == [[0, 4, 0, 0]] * 3


def test_against_scipy():
    stats = pytest.importorskip("scipy.stats")
    first, second = normal(80), normal(50, seed=1)
    expected = stats.ks_2samp(first, second).statistic
    assert smirnov_distance(first, second) == pytest.approx(expected, abs=1e-12)


def split(x, y, rows=300):
    return x[:rows], y[:rows], (x[rows:], y[rows:])


def test_tables():
    x, y = normal(400, 5), labels(400)
    assert not found(find_data_shift, case_of(classifier((5,)), *split(x, y)))
    moved = x.copy()
    moved[300:, 1] += 2.5
    (finding,) = find_data_shift(case_of(classifier((5,)), *split(moved, y)))
    assert finding.severity == "warning"
    assert ": 1." in finding.evidence
    slightly = x.copy()
    slightly[300:, 1] += 0.8
    assert found(find_data_shift, case_of(classifier((5,)), *split(slightly, y))) == NOTE
    other_unit = x.copy()
    other_unit[300:] *= 100
    batches = case_of(
        classifier((5,)), Batches(x[:300], y[:300]), None, (other_unit[300:], y[300:])
    )
    assert found(find_data_shift, batches) == WARNING


def test_images_of_another_scale():
    x, y = np.random.default_rng(0).random((200, 6, 6, 1)), labels(200)
    assert not found(find_data_shift, case_of(classifier((6, 6, 1)), *split(x, y, 150)))
    x[150:] *= 255
    assert found(find_data_shift, case_of(classifier((6, 6, 1)), *split(x, y, 150))) == WARNING


def test_a_few_validation_rows_prove_nothing():
    for seed in range(5):
        x, y = normal(320, 30, seed=seed), labels(320)
        assert not found(find_data_shift, case_of(classifier((30,)), *split(x, y)))


def test_classes_that_training_lacks():
    x, y = normal(400, 3), labels(400)
    ordered = np.sort(y)
    assert found(find_data_shift, case_of(classifier((3,)), *split(x, ordered, 250))) == WARNING
    assert not found(find_data_shift, case_of(classifier((3,)), *split(x, y, 250)))
    # The rates of classes may differ, as after oversampling.
    train = np.concatenate([np.zeros(100, int), np.ones(100, int)])
    validation = np.concatenate([np.zeros(180, int), np.ones(20, int)])
    case = case_of(classifier((3,), 2), x[:200], train, (x[200:], validation))
    assert not found(find_data_shift, case)


def test_targets():
    x, y = normal(400, 3), normal(400, seed=1)
    assert not found(find_data_shift, case_of(regressor((3,)), *split(x, y)))
    assert found(find_data_shift, case_of(regressor((3,)), *split(x, np.sort(y), 200))) == NOTE
    mixed = np.sort(y)
    np.random.default_rng(0).shuffle(mixed[:200])
    assert found(find_data_shift, case_of(regressor((3,)), *split(x, mixed, 200))) == WARNING


def test_a_series_that_drifts_is_a_note():
    series = (np.arange(520) / 100 + 0.1 * normal(520)).astype("float32")
    x = np.lib.stride_tricks.sliding_window_view(series, 20)[:500, :, None].copy()
    case = case_of(regressor((20, 1)), *split(x, series[20:], 400))
    assert set(found(find_data_shift, case)) <= set(NOTE)
