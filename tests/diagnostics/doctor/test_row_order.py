"""Measures of order by hand, and of arrays and data sets in order."""

import keras
import numpy as np
import pytest
from doctor_cases import Batches, case_of, classifier, found, labels, normal, regressor

from keras_deeptricks.diagnostics.doctor.row_order import (
    find_unshuffled,
    purity_excess,
    rank_correlation,
    variance_between,
)

WARNING, NOTE = [("unshuffled_data", "warning")], [("unshuffled_data", "note")]


def test_by_hand():
    y = np.repeat([0, 1], 40)
    excess, found_purity, _ = purity_excess(y, 10, np.random.default_rng(0))
    assert excess == 1
    assert found_purity == 1
    alternating = np.arange(80) % 2
    assert purity_excess(alternating, 10, np.random.default_rng(0))[1] == 0.5
    assert variance_between(np.repeat([1.0, 5.0, 9.0], 8), 8) == pytest.approx(1)
    assert variance_between(np.tile(np.arange(8.0), 3), 8) < 0
    assert rank_correlation([1, 10, 100]) == pytest.approx(1)
    assert rank_correlation([5, 3, 3, 1]) == pytest.approx(-np.sqrt(0.9))
    assert rank_correlation([2, 2, 2]) == 0


def test_random_order_has_no_excess():
    excess, _, _ = purity_excess(labels(2000, 5), 32, np.random.default_rng(0))
    assert abs(excess) < 0.05  # a twentieth of the way at most


def test_classes_in_order():
    x, y = normal(400, 3), labels(400)
    order = np.sort(y)
    assert found(find_unshuffled, case_of(classifier((3,)), Batches(x, order))) == WARNING
    assert not found(find_unshuffled, case_of(classifier((3,)), Batches(x, y)))
    # fit shuffles arrays.
    assert found(find_unshuffled, case_of(classifier((3,)), x, order)) == NOTE
    assert not found(find_unshuffled, case_of(classifier((3,)), x, y))
    # Batches of one row each.
    single = case_of(classifier((3,)), Batches(x[:120], y[:120], 1))
    assert not found(find_unshuffled, single)


def test_generators_are_read_in_their_order():
    x, y = normal(240, 3), np.repeat([0, 1, 2], 80)

    def batches(order):
        for start in range(0, 240, 20):
            rows = order[start : start + 20]
            yield x[rows], y[rows]

    mixed = np.random.default_rng(0).permutation(240)
    assert found(find_unshuffled, case_of(classifier((3,)), batches(np.arange(240)))) == WARNING
    assert not found(find_unshuffled, case_of(classifier((3,)), batches(mixed)))


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="TensorFlow's data sets")
def test_tf_data():
    import tensorflow as tf

    x, y = normal(400, 3), np.repeat([0, 1, 2, 3], 100)
    data = tf.data.Dataset.from_tensor_slices((x, y))
    assert found(find_unshuffled, case_of(classifier((3,), 4), data.batch(20))) == WARNING
    shuffled = data.shuffle(400, seed=0).batch(20)
    assert not found(find_unshuffled, case_of(classifier((3,), 4), shuffled))


def test_a_long_data_set_that_begins_with_one_class():
    def batches():
        while True:
            yield normal(50, 3), np.zeros(50, int)

    assert found(find_unshuffled, case_of(classifier((3,)), batches())) == WARNING


def test_targets_in_order():
    x, y = normal(400, 3), normal(400, seed=1)
    assert found(find_unshuffled, case_of(regressor((3,)), Batches(x, np.sort(y)))) == WARNING
    assert not found(find_unshuffled, case_of(regressor((3,)), Batches(x, y)))
    assert found(find_unshuffled, case_of(regressor((3,)), x, np.sort(y))) == NOTE


@pytest.mark.parametrize("flat", [False, True])
def test_windows_in_the_order_of_time_are_a_note_at_most(flat):
    series = np.cumsum(np.ones(420)).astype("float32") / 100 + 0.01 * normal(420)
    x = np.lib.stride_tricks.sliding_window_view(series, 20)[:400].copy()
    y = series[20:]
    x = x if flat else x[..., None]
    case = case_of(regressor(x.shape[1:]), Batches(x, y))
    assert found(find_unshuffled, case) == NOTE
