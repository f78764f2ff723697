"""Centered softplus: its values, far out and near zero, its slope, and saving it."""

import keras
import numpy as np
import pytest
from gradients import assert_gradients
from keras import ops

from keras_deeptricks.activations import centered_softplus


def called(x):
    return ops.convert_to_numpy(centered_softplus(ops.convert_to_tensor(x)))


def test_by_hand():
    x = np.array([-3.0, -1.0, 0.0, np.log(3.0), 2.0])
    # ln(eˣ + 1) − ln 2; at x = ln 3 it is ln 4 − ln 2 = ln 2.
    expected = [-0.64455983, -0.37988549, 0.0, np.log(2.0), 1.43378083]
    np.testing.assert_allclose(called(x.astype("float32")), expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_far_out_it_is_its_asymptotes(dtype):
    x = np.array([-60000.0, -1000.0, 1000.0, 60000.0], dtype)
    y = called(x)
    assert y.dtype == dtype
    # Half precision has steps of 0.5 at 1000 and of 32 at 60,000.
    expected = np.array([-np.log(2), -np.log(2), 1000 - np.log(2), 60000 - np.log(2)], dtype)
    np.testing.assert_allclose(y, expected, rtol=1e-3 if dtype == "float16" else 1e-6)


@pytest.mark.parametrize("dtype, rounding", [("float32", 1e-6), ("float16", 4e-3)])
def test_near_zero_no_digits_are_lost(dtype, rounding):
    x = np.array([-1e-3, -6e-5, 6e-5, 1e-3], dtype)
    wide = x.astype("float64")
    # x/2 + x²/8 − x⁴/192 + …; ln(eˣ + 1) − ln 2 as it stands would be wrong in every digit.
    np.testing.assert_allclose(called(x), wide / 2 + wide**2 / 8, rtol=rounding)


def test_the_slope_is_the_logistic_function_also_at_zero():
    # Zeros are where a maximum in its place would have another slope.
    x = np.array([[-2.0, 0.0, 0.0, 1e-3, 3.0]])
    assert_gradients(keras.layers.Activation(centered_softplus), x)


def test_a_saved_model_finds_it(tmp_path):
    model = keras.Sequential(
        [keras.Input((3,)), keras.layers.Dense(4, activation=centered_softplus)]
    )
    x = np.random.default_rng(0).normal(size=(5, 3)).astype("float32")
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.layers[-1].activation is centered_softplus
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), model.predict(x, verbose=0))


def test_under_mixed_precision_it_trains():
    keras.config.set_dtype_policy("mixed_float16")
    model = keras.Sequential(
        [keras.Input((3,)), keras.layers.Dense(4, activation=centered_softplus)]
    )
    model.compile("sgd", "mse")
    x = np.random.default_rng(0).normal(size=(8, 3)).astype("float32")
    history = model.fit(x, np.zeros((8, 4)), epochs=2, verbose=0).history["loss"]
    assert history[1] < history[0]
