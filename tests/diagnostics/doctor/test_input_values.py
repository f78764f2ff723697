"""NaN, constants and copies among the inputs: by hand, and as the detectors tell of them."""

import keras
import numpy as np
import pytest
from doctor_cases import Batches, case_of, classifier, found, labels, normal, regressor
from keras import layers

from keras_deeptricks.diagnostics.doctor.input_values import (
    constant_columns,
    copied_columns,
    find_constant_features,
    find_nan,
    non_finite,
    proportional_columns,
)


def test_non_finite_by_hand():
    nan, infinite, rows, columns = non_finite(np.array([[1.0, np.nan], [np.inf, np.nan], [0, 0]]))
    assert (nan, infinite) == (2, 1)
    assert rows.tolist() == [0, 1]
    assert columns.tolist() == [0, 1]
    assert non_finite(np.array([1, 2]))[:2] == (0, 0)


def test_columns_by_hand():
    table = np.array([[1.0, 2, 1, 5, 3], [2, 4, 2, 5, 1], [4, 8, 4, 5, 2]])
    assert constant_columns(table).tolist() == [3]
    assert copied_columns(table) == [(0, 2)]
    assert proportional_columns(table) == [(0, 1), (0, 2), (1, 2)]


def test_copies_among_hundreds_of_columns():
    table = normal(400, 300)
    table[:, 250] = table[:, 7]
    assert copied_columns(table) == [(7, 250)]


def nan_cases(faulty):
    value = np.nan if faulty else 0.0
    x, y = normal(60, 4), labels(60)
    bad = x.copy()
    bad[7, 2] = value
    targets = normal(60, seed=2)
    targets[3] = np.inf if faulty else 0.0
    weights = np.ones(60)
    weights[5] = value
    images = normal(40, 4, 4, 1)
    images[0, 0, 0, 0] = value
    yield "table", case_of(classifier((4,)), bad, y)
    yield "batches", case_of(classifier((4,)), Batches(bad, y))
    yield "targets", case_of(regressor((4,)), x, targets)
    yield "weights", case_of(classifier((4,)), x, y, sample_weight=weights)
    yield "images", case_of(classifier((4, 4, 1)), images, labels(40))
    yield "validation", case_of(classifier((4,)), x, y, validation=(bad, y))


def test_nan_is_an_error_wherever_it_is():
    for name, case in nan_cases(True):
        assert found(find_nan, case) == [("input_nan", "error")], name


def test_without_nan_it_is_silent():
    for name, case in nan_cases(False):
        assert not found(find_nan, case), name


def test_all_rows_with_nan():
    x = np.full((30, 4), np.nan, "float32")
    assert found(find_nan, case_of(classifier((4,)), x, labels(30))) == [("input_nan", "error")]
    assert not found(find_constant_features, case_of(classifier((4,)), x, labels(30)))


class Filled(keras.layers.Layer):
    """Replaces NaN by 0."""

    def call(self, inputs):
        return keras.ops.nan_to_num(inputs)


def test_nan_that_the_model_replaces_is_a_note():
    x = normal(60, 4)
    x[::9, 1] = np.nan
    case = case_of(classifier((4,), 3, Filled()), x, labels(60))
    assert found(find_nan, case) == [("input_nan", "note")]


def test_it_names_input_rows_and_columns():
    x = {"age": normal(40, 1), "rest": normal(40, 3)}
    x["rest"][11, 2] = np.nan
    inputs = {"age": keras.Input((1,), name="age"), "rest": keras.Input((3,), name="rest")}
    model = keras.Model(inputs, layers.Dense(3)(layers.Concatenate()(list(inputs.values()))))
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    (finding,) = find_nan(case_of(model, x, labels(40)))
    assert finding.layer == "rest"
    assert "columns 2" in finding.evidence
    assert "row 11" in finding.evidence


@pytest.mark.parametrize("column", [np.zeros(60), "copy", "proportional"])
def test_useless_columns_are_notes(column):
    x = normal(60, 5)
    healthy = case_of(classifier((5,)), x.copy(), labels(60))
    assert not found(find_constant_features, healthy)
    if isinstance(column, str):
        column = x[:, 0] if column == "copy" else 2 - 3 * x[:, 0]
    x[:, 3] = column
    case = case_of(classifier((5,)), x, labels(60))
    assert found(find_constant_features, case) == [("constant_feature", "note")]


def test_inputs_that_are_all_the_same_are_an_error():
    case = case_of(classifier((4,)), np.ones((60, 4), "float32"), labels(60))
    assert found(find_constant_features, case) == [("constant_feature", "error")]


def test_pixels_and_tokens_may_be_constant():
    images = normal(60, 6, 6, 1)
    images[:, 0] = 0
    assert not found(find_constant_features, case_of(classifier((6, 6, 1)), images, labels(60)))
    tokens = labels(600, 9).reshape(60, 10)
    tokens[:, -1] = 0
    model = classifier((10,), 3, layers.Embedding(9, 4), dtype="int32")
    assert not found(find_constant_features, case_of(model, tokens, labels(60)))
