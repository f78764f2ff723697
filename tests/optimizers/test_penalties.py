"""Penalties on weights are no weight decay: what each does to a kernel, by hand."""

import keras
import numpy as np
from keras import ops

RATE, STRENGTH = 0.25, 0.125
KERNEL = np.array([[0.5, -1.0], [2.0, -0.25]], "float32")


def trained(optimizer, **regularizers):
    """Kernel and bias after one step in which the data has no say."""
    layer = keras.layers.Dense(2, **regularizers)
    model = keras.Sequential([keras.Input((2,)), layer])
    layer.set_weights([KERNEL, np.array([0.5, -0.5], "float32")])
    model.compile(optimizer, lambda y_true, y_pred: 0.0 * ops.sum(y_pred, axis=-1))
    model.train_on_batch(np.ones((4, 2)), np.zeros((4, 2)))
    return [ops.convert_to_numpy(variable) for variable in layer.weights]


def test_l2_shrinks_by_twice_its_strength():
    kernel, bias = trained(
        keras.optimizers.SGD(RATE), kernel_regularizer=keras.regularizers.L2(STRENGTH)
    )
    # λ‖W‖² has the gradient 2λW. All factors are powers of two, so float32 is exact.
    np.testing.assert_array_equal(kernel, (1 - 2 * RATE * STRENGTH) * KERNEL)
    np.testing.assert_array_equal(bias, [0.5, -0.5])


def test_l1_moves_every_weight_by_the_same():
    kernel, bias = trained(
        keras.optimizers.SGD(RATE), kernel_regularizer=keras.regularizers.L1(STRENGTH)
    )
    np.testing.assert_array_equal(kernel, KERNEL - RATE * STRENGTH * np.sign(KERNEL))
    np.testing.assert_array_equal(bias, [0.5, -0.5])


def test_decoupled_decay_shrinks_by_its_strength_and_in_keras_the_bias_too():
    kernel, bias = trained(keras.optimizers.SGD(RATE, weight_decay=STRENGTH))
    np.testing.assert_array_equal(kernel, (1 - RATE * STRENGTH) * KERNEL)
    np.testing.assert_array_equal(bias, (1 - RATE * STRENGTH) * np.array([0.5, -0.5], "float32"))


def test_layers_have_strengths_of_their_own():
    layers = [
        keras.layers.Dense(2, kernel_regularizer=keras.regularizers.L2(strength))
        for strength in (STRENGTH, 4 * STRENGTH)
    ]
    model = keras.Sequential([keras.Input((2,)), *layers])
    for layer in layers:
        layer.set_weights([KERNEL, np.zeros(2, "float32")])
    model.compile(keras.optimizers.SGD(RATE), lambda y_true, y_pred: 0.0 * ops.sum(y_pred, axis=-1))
    model.train_on_batch(np.ones((4, 2)), np.zeros((4, 2)))
    first, second = (ops.convert_to_numpy(layer.kernel) for layer in layers)
    np.testing.assert_array_equal(first, (1 - 2 * RATE * STRENGTH) * KERNEL)
    np.testing.assert_array_equal(second, (1 - 8 * RATE * STRENGTH) * KERNEL)
