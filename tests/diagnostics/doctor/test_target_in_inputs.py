"""Inputs that hold the target."""

import keras
import numpy as np
from doctor_cases import Batches, case_of, classifier, found, labels, normal, regressor
from keras import layers

from keras_deeptricks.diagnostics.doctor.target_in_inputs import (
    columns_that_tell,
    find_target_in_inputs,
)

WARNING, NOTE = [("data_leakage", "warning")], [("data_leakage", "note")]


def test_by_hand():
    table = np.array([[1.0, 5, 7], [2, 3, 7], [4, -1, 7], [3, 1, 6]])
    told = columns_that_tell(table, np.array([[10.0], [20], [40], [30]]))
    assert told[:, 0].tolist() == [True, True, False]


def test_regressions():
    x, y = normal(200, 5), normal(200, seed=1)
    assert not found(find_target_in_inputs, case_of(regressor((5,)), x, y))
    x[:, 3] = 7 - 2 * y
    assert found(find_target_in_inputs, case_of(regressor((5,)), x, y)) == WARNING
    assert found(find_target_in_inputs, case_of(regressor((5,)), Batches(x, y))) == WARNING
    # Nearly is not the same.
    x[:, 3] += 0.1 * normal(200, seed=3)
    assert not found(find_target_in_inputs, case_of(regressor((5,)), x, y))


def test_classes():
    x, y = normal(200, 5), labels(200)
    assert not found(find_target_in_inputs, case_of(classifier((5,)), x, y))
    x[:, 2] = y
    assert found(find_target_in_inputs, case_of(classifier((5,)), x, y)) == WARNING
    signs = np.concatenate([normal(200, 2), np.eye(3, dtype="float32")[y]], axis=1)
    assert found(find_target_in_inputs, case_of(classifier((5,)), signs, y)) == WARNING
    # That one class is known beforehand may be so.
    x[:, 2] = y == 1
    assert found(find_target_in_inputs, case_of(classifier((5,)), x, y)) == NOTE


def test_examples_of_textbooks():
    x = np.linspace(-1, 1, 200)[:, None]
    assert found(find_target_in_inputs, case_of(regressor((1,)), x, 2 * x[:, 0] + 1)) == NOTE
    # What separates the classes but is no coding of them.
    x = normal(200, 4)
    case = case_of(classifier((4,), 2), x, (x[:, 0] > 0).astype(int))
    assert not found(find_target_in_inputs, case)


def test_autoencoders_reproduce_their_inputs():
    x = normal(100, 6)
    model = keras.Sequential([keras.Input((6,)), layers.Dense(6)])
    model.compile("sgd", "mse")
    assert not found(find_target_in_inputs, case_of(model, x, x))
