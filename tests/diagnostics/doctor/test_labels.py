"""Counts of classes by hand, and what is told of rare classes and few rows."""

import keras
import numpy as np
import pytest
from doctor_cases import Batches, case_of, classifier, found, normal
from keras import layers

from keras_deeptricks.diagnostics.doctor.labels import (
    find_class_imbalance,
    find_few_rows,
    imbalance,
    weighted_counts,
)

WARNING, NOTE = [("class_imbalance", "warning")], [("class_imbalance", "note")]


def rare(rows, classes, count):
    """Classes evenly, but of class 0 only `count` rows, in a random order."""
    others = 1 + np.arange(rows - count) % (classes - 1)
    return np.random.default_rng(0).permutation(np.concatenate([np.zeros(count, int), others]))


def test_counts_by_hand():
    assert imbalance([10, 0, 30]) == (3.0, 0.75)
    y, classes = np.array([2, 5, 5]), np.array([2, 5])
    assert weighted_counts(y, classes).tolist() == [1, 2]
    assert weighted_counts(y, classes, {2: 4.0}).tolist() == [4, 2]
    assert weighted_counts(y, classes, {2: 4.0}, [1, 0.5, 1]).tolist() == [4, 1.5]


@pytest.mark.parametrize(
    "classes, count, expected",
    [(2, 500, []), (2, 80, NOTE), (2, 20, WARNING), (5, 200, []), (5, 20, NOTE), (5, 5, WARNING)],
)
def test_rare_classes(classes, count, expected):
    x, y = normal(1000, 3), rare(1000, classes, count)
    assert found(find_class_imbalance, case_of(classifier((3,), classes), x, y)) == expected
    batches = case_of(classifier((3,), classes), Batches(x, y))
    assert found(find_class_imbalance, batches) == expected


def test_one_hot_and_single_units():
    x, y = normal(600, 3), rare(600, 2, 12)
    model = keras.Sequential([keras.Input((3,)), layers.Dense(2, "softmax")])
    model.compile("sgd", "categorical_crossentropy")
    assert found(find_class_imbalance, case_of(model, x, np.eye(2)[y])) == WARNING
    model = keras.Sequential([keras.Input((3,)), layers.Dense(1, "sigmoid", name="p")])
    model.compile("sgd", "binary_crossentropy")
    (finding,) = find_class_imbalance(case_of(model, x, y[:, None].astype("float32")))
    assert finding.severity == "warning"
    assert finding.layer == "p"
    model.compile("sgd", "binary_focal_crossentropy")
    assert not found(find_class_imbalance, case_of(model, x, y))


def test_weights_that_balance_are_silent():
    x, y = normal(600, 3), rare(600, 2, 12)
    model = classifier((3,), 2)
    assert not found(find_class_imbalance, case_of(model, x, y, class_weight={0: 25.0, 1: 0.5}))
    weights = np.where(y == 0, 25.0, 0.5)
    assert not found(find_class_imbalance, case_of(model, x, y, sample_weight=weights))


def test_who_measures_auc_knows():
    model = keras.Sequential([keras.Input((3,)), layers.Dense(1, "sigmoid")])
    model.compile("sgd", "binary_crossentropy", metrics=[keras.metrics.AUC()])
    assert found(find_class_imbalance, case_of(model, normal(600, 3), rare(600, 2, 12))) == NOTE


def test_long_tails_and_maps_are_notes_at_most():
    y = np.minimum(np.random.default_rng(0).zipf(1.3, 2000) - 1, 29)
    assert found(find_class_imbalance, case_of(classifier((3,), 30), normal(2000, 3), y)) == NOTE
    maps = (np.random.default_rng(0).random((50, 6, 6)) < 0.003).astype("int32")
    model = keras.Sequential([keras.Input((6, 6, 1)), layers.Conv2D(2, 1, activation="softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy")
    assert found(find_class_imbalance, case_of(model, normal(50, 6, 6, 1), maps)) in ([], NOTE)


def test_counts_are_no_classes():
    model = keras.Sequential([keras.Input((3,)), layers.Dense(1, "exponential")])
    model.compile("sgd", "poisson")
    y = np.random.default_rng(0).poisson(1.0, 1000)
    assert not found(find_class_imbalance, case_of(model, normal(1000, 3), y))


def test_a_single_class():
    case = case_of(classifier((3,)), normal(100, 3), np.ones(100, int))
    assert found(find_class_imbalance, case) == WARNING


@pytest.mark.parametrize(
    "rows, classes, features, expected",
    [
        (1, 2, 3, ["error"]),
        (24, 10, 64, ["warning"]),
        (24, 2, 4, ["note"]),
        (60, 10, 4, ["note"]),
        (60, 3, 400, ["note"]),
        (60, 3, 4, []),
        (500, 10, 64, []),
    ],
)
def test_few_rows(rows, classes, features, expected):
    model = classifier((features,), classes)
    case = case_of(model, normal(rows, features), np.arange(rows) % classes)
    assert found(find_few_rows, case) == [("few_rows", severity) for severity in expected]


def test_a_complete_table_is_silent():
    x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], "float32")
    assert not found(find_few_rows, case_of(classifier((2,), 2), x, np.array([0, 1, 1, 0])))
