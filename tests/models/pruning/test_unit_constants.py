"""Which activations look at each entry alone, against what they compute."""

import inspect

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_deeptricks as kdt
from keras_deeptricks.models.pruning.unit_constants import constants_through, is_elementwise

# `threshold` has arguments that an activation is not called with.
_NO_ACTIVATIONS = ("deserialize", "get", "serialize", "threshold")
ACTIVATIONS = [
    name
    for name, function in inspect.getmembers(keras.activations, inspect.isfunction)
    if name not in _NO_ACTIVATIONS
]


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_of_keras(name):
    function = getattr(keras.activations, name)
    # The first entry beside others, and beside very different ones.
    rows = np.array([[3, -0.4, 1.0, 2], [3, 5, -4, -0.1], [3, -3, 0.2, 1]], "float32")
    outputs = ops.convert_to_numpy(function(ops.convert_to_tensor(rows)))
    # Vectorized and single entries may be rounded differently.
    alone = outputs.shape == rows.shape and np.ptp(outputs[:, 0]) < 1e-6
    assert is_elementwise(function) == alone


def test_layers_and_others():
    for layer in (layers.ReLU(), layers.Activation("tanh"), layers.Rescaling(2.0)):
        assert is_elementwise(layer)
    assert is_elementwise(kdt.activations.centered_softplus)
    assert is_elementwise(None)
    for layer in (layers.Softmax(), layers.Activation("softmax"), layers.Rescaling([1.0, 2])):
        assert not is_elementwise(layer)
    assert not is_elementwise(lambda x: 2 * x)  # not known


def test_unknown_values_stay_unknown():
    constants = np.array([0.5, np.nan, -1.0])
    np.testing.assert_array_equal(
        constants_through(keras.activations.relu, constants, "float32"), [0.5, np.nan, 0]
    )
    # e^1000 is infinite: no constant to go on with.
    found = constants_through(keras.activations.exponential, np.array([1000.0, 0]), "float32")
    np.testing.assert_array_equal(found, [np.nan, 1])


def test_it_is_computed_in_the_type_of_the_model():
    found = constants_through(keras.activations.relu, np.array([1 + 2.0**-12]), "float16")
    np.testing.assert_array_equal(found, [1])
