"""RReLU: the slopes of training and inference, against the distribution and against torch."""

import math

import keras
import numpy as np
import pytest
from gradients import assert_gradients
from keras import ops
from small_models import BACKEND, regression_data

from keras_deeptricks.layers import RReLU


def called(layer, x, **kwargs):
    return ops.convert_to_numpy(layer(ops.convert_to_tensor(np.asarray(x, "float32")), **kwargs))


def slopes(layer, shape=(200, 50)):
    return -called(layer, -np.ones(shape), training=True)


def test_in_inference_the_slope_is_the_middle():
    # (1/8 + 1/3)/2 = 11/48.
    np.testing.assert_allclose(called(RReLU(), [[-48.0, 0.0, 2.0]]), [[-11.0, 0.0, 2.0]], rtol=1e-6)
    np.testing.assert_allclose(called(RReLU(0.1, 0.5), [[-2.0]]), [[-0.6]], rtol=1e-6)


def test_in_training_slopes_are_uniform():
    drawn = slopes(RReLU(0.1, 0.5, seed=1))
    # float16 apart: the bounds are rounded by a digit of float32.
    assert drawn.min() >= 0.1 - 1e-6
    assert drawn.max() <= 0.5 + 1e-6
    # 10,000 draws of mean 0.3 and variance 0.4²/12; five standard errors each.
    deviation = 0.4 / math.sqrt(12)
    assert abs(drawn.mean() - 0.3) < 5 * deviation / 100
    assert drawn.var() == pytest.approx(deviation**2, rel=5 * math.sqrt(0.8) / 100)
    # The largest gap to the distribution exceeds 2.5/√n with p = 7e-6.
    share = np.mean(drawn[..., None] <= np.linspace(0.1, 0.5, 41), axis=(0, 1))
    assert np.abs(share - np.linspace(0, 1, 41)).max() < 2.5 / 100


def test_in_training_what_is_not_negative_passes():
    x = np.array([[0.0, 1.0, 3.0]], "float32")
    np.testing.assert_array_equal(called(RReLU(seed=1), x, training=True), x)


def test_every_element_and_every_call_has_its_own_slope():
    layer = RReLU(seed=1)
    first, second = slopes(layer), slopes(layer)
    # Equal 24-bit numbers among 10,000 are few.
    assert len(np.unique(first)) > 9900
    assert np.mean(first == second) < 1e-3


def test_a_seed_repeats():
    np.testing.assert_array_equal(slopes(RReLU(seed=3)), slopes(RReLU(seed=3)))
    assert not np.array_equal(slopes(RReLU(seed=3)), slopes(RReLU(seed=4)))


def test_equal_bounds_are_a_leaky_relu():
    x = np.random.default_rng(0).normal(size=(4, 5))
    layer, leaky = RReLU(0.2, 0.2), keras.layers.LeakyReLU(negative_slope=0.2)
    for training in (False, True):
        np.testing.assert_allclose(called(layer, x, training=training), called(leaky, x), rtol=1e-6)


@pytest.mark.skipif(BACKEND != "torch", reason="torch comes with its own backend")
def test_torch_has_the_same_defaults_and_inference():
    import torch

    x = np.random.default_rng(0).normal(size=(4, 5)).astype("float32")
    theirs = torch.nn.RReLU().eval()(torch.tensor(x)).numpy()
    np.testing.assert_allclose(called(RReLU(), x), theirs, rtol=1e-6)


def test_gradients():
    # Training draws slopes anew, so only equal bounds have a gradient to compare.
    x = [[-1.0, 0.5, -0.3], [2.0, -3.0, 1.0]]
    assert_gradients(RReLU(0.25, 0.25), x)


def test_training_draws_anew_in_every_step():
    layer = RReLU(0.0, 1.0, seed=1)
    before = np.array(ops.convert_to_numpy(layer.seed_generator.state))
    model = keras.Sequential([keras.Input((4,)), layer, keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(*regression_data(rows=16), batch_size=4, verbose=0)
    assert not np.array_equal(ops.convert_to_numpy(layer.seed_generator.state), before)


def test_half_precision_keeps_its_dtype():
    layer = RReLU(seed=1, dtype="float16")
    out = layer(ops.convert_to_tensor(-np.ones((4, 5), "float16")), training=True)
    assert keras.backend.standardize_dtype(out.dtype) == "float16"


def test_bounds_in_the_wrong_order_are_refused():
    with pytest.raises(ValueError, match="`lower` must not be above `upper`"):
        RReLU(0.5, 0.1)
    with pytest.raises(ValueError, match="`lower`"):
        RReLU(-0.1, 0.1)
