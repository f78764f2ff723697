import keras
import numpy as np
from doctor_cases import case_of

from keras_deeptricks.diagnostics.doctor.scores import class_probabilities, crossentropy, score


def output(units, activation, loss, y):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(units, activation)])
    model.compile("sgd", loss)
    return case_of(model, np.ones((len(y), 2), "float32"), y).outputs[0]


def test_crossentropy_by_hand():
    probabilities = np.array([[0.5, 0.5], [0.25, 0.75]])
    expected = -(np.log(0.5) + np.log(0.75)) / 2
    np.testing.assert_allclose(crossentropy(probabilities, np.array([0, 1])), expected)


def test_score_of_classes():
    y = np.array([0, 1, 1, 1])
    one = output(2, "softmax", "sparse_categorical_crossentropy", y)
    good = np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6], [0.7, 0.3]])
    found = score(one, good, y)
    assert (found.accuracy, found.chance, found.rows) == (0.75, 0.75, 4)
    np.testing.assert_allclose(found.baseline, -(0.25 * np.log(0.25) + 0.75 * np.log(0.75)))
    prior = np.tile([0.25, 0.75], (4, 1))
    np.testing.assert_allclose(score(one, prior, y).skill, 0, atol=1e-12)


def test_logits_become_probabilities():
    y = np.array([0, 1])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    logits = np.log(np.array([[0.9, 0.1], [0.5, 0.5]])) + 7  # a constant changes nothing
    found = class_probabilities(output(2, None, loss, y), logits)
    np.testing.assert_allclose(found, [[0.9, 0.1], [0.5, 0.5]])


def test_one_sigmoid_gives_two_probabilities():
    y = np.array([0, 1])
    one = output(1, "sigmoid", "binary_crossentropy", y)
    np.testing.assert_allclose(class_probabilities(one, [[0.25], [1.0]]), [[0.75, 0.25], [0, 1]])


def test_score_of_amounts():
    y = np.array([1.0, 2.0, 3.5])
    one = output(1, None, "mse", y)
    assert score(one, y[:, None], y).skill == 1.0
    np.testing.assert_allclose(score(one, np.full((3, 1), y.mean()), y).skill, 0, atol=1e-12)
