"""Rows in common by hand, and leaks between training and validation data."""

import numpy as np
from doctor_cases import Batches, case_of, classifier, found, labels, normal
from keras import layers

from keras_deeptricks.diagnostics.doctor.columns import is_few_valued, row_keys
from keras_deeptricks.diagnostics.doctor.duplicates import (
    can_recur,
    contradicting_rows,
    find_contradictions,
    find_leakage,
    overlap_of,
)

WARNING, NOTE = [("data_leakage", "warning")], [("data_leakage", "note")]


def test_by_hand():
    keys = row_keys([np.array([[1, 2], [1, 2], [2, 1]]), np.array(["a", "a", "a"])])
    assert keys[0] == keys[1] != keys[2]
    # In whatever type, and whatever the sign of 0.
    same = row_keys([np.array([[0.0, 3.0]], "float64")]), row_keys([np.array([[-0.0, 3]], "f4")])
    assert same[0] == same[1]
    overlap = overlap_of(np.array([1, 1, 2, 3]), np.array([3, 4, 5, 1]))
    assert (overlap.share, overlap.rows, overlap.distinct) == (0.5, 2, 2)
    assert overlap.own_copies == 0.5
    assert contradicting_rows(np.array([7, 7, 7, 8]), np.array([0, 0, 1, 1])) == 3


def test_what_can_recur_by_chance():
    assert is_few_valued(labels(900, 4).reshape(300, 3))
    assert not is_few_valued(np.column_stack([labels(300, 4), normal(300)]))
    assert can_recur([labels(900, 4).reshape(300, 3)])
    assert not can_recur([normal(300, 3)])
    assert not can_recur([labels(50 * 64, 2).reshape(50, 8, 8)])


def test_copies_in_the_validation_data():
    x, y = normal(300, 4), labels(300)
    model = classifier((4,))
    leaked = (x[180:], y[180:])
    assert found(find_leakage, case_of(model, x[:200], y[:200], leaked)) == WARNING
    assert found(find_leakage, case_of(model, Batches(x[:200], y[:200]), None, leaked)) == WARNING
    assert not found(find_leakage, case_of(model, x[:180], y[:180], leaked))
    one = (np.concatenate([x[200:], x[:1]]), np.concatenate([y[200:], y[:1]]))
    assert found(find_leakage, case_of(model, x[:200], y[:200], one)) == NOTE


def test_images_and_oversampled_rows():
    x, y = labels(200 * 64, 5).reshape(200, 8, 8, 1), labels(200)
    model = classifier((8, 8, 1))
    assert found(find_leakage, case_of(model, x, y, (x[150:], y[150:]))) == WARNING
    assert not found(find_leakage, case_of(model, x[:150], y[:150], (x[150:], y[150:])))
    # Copied before the split: training rows have copies too.
    x, y = normal(300, 4), labels(300)
    order = np.random.default_rng(0).permutation(400)
    x, y = np.concatenate([x, x[:100]])[order], np.concatenate([y, y[:100]])[order]
    case = case_of(classifier((4,)), x[:300], y[:300], (x[300:], y[300:]))
    assert found(find_leakage, case) == WARNING


def test_rows_of_few_values_recur():
    x, y = labels(1200, 3).reshape(400, 3), labels(400)
    case = case_of(classifier((3,)), x[:300], y[:300], (x[300:], y[300:]))
    assert found(find_leakage, case) in ([], NOTE)
    tokens = labels(2400, 3).reshape(400, 6)
    model = classifier((6,), 3, layers.Embedding(3, 2), dtype="int32")
    case = case_of(model, tokens[:300], y[:300], (tokens[300:], y[300:]))
    assert found(find_leakage, case) in ([], NOTE)


def test_equal_inputs_with_different_labels():
    x = np.repeat(normal(50, 4), 2, axis=0)
    same, different = np.repeat(labels(50), 2), np.arange(100) % 3
    assert not found(find_contradictions, case_of(classifier((4,)), x, same))
    case = case_of(classifier((4,)), x, different)
    assert found(find_contradictions, case) == [("labels_unrelated", "warning")]
    few = case_of(classifier((2,)), labels(400, 3).reshape(200, 2), labels(200))
    assert found(find_contradictions, few) == [("labels_unrelated", "note")]
