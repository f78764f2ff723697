"""Adaptive piecewise linear units: equation 1 by hand, what it contains, its gradients."""

import keras
import numpy as np
import pytest
from gradients import assert_gradients
from keras import ops
from small_models import regression_data

from keras_deeptricks.layers import AdaptivePiecewiseLinear

ROUNDING = {"rtol": 1e-5, "atol": 1e-6}
X = np.random.default_rng(0).normal(size=(6, 3)).astype("float32")


def called(layer, x):
    return ops.convert_to_numpy(layer(ops.convert_to_tensor(np.asarray(x, "float32"))))


def with_weights(slopes, hinges, shape, **options):
    layer = AdaptivePiecewiseLinear(segments=len(slopes), **options)
    layer.build(shape)
    layer.set_weights([np.asarray(slopes, "float32"), np.asarray(hinges, "float32")])
    return layer


def test_by_hand():
    # The authors' first example: a = 0.2, b = 0 and a = −1… of two hinges, unit by unit.
    layer = with_weights([[0.2, -1.0], [-0.5, 0.0]], [[0.0, 1.0], [2.0, 5.0]], (None, 2))
    # Unit 0 at −1: 0 + 0.2·1 − 0.5·3 = −1.3; at 1: 1 + 0 − 0.5·1 = 0.5; at 3: 3.
    # Unit 1 at −1: 0 − 2; at 1: 1 − 0 = 1; at 3: 3.
    np.testing.assert_allclose(
        called(layer, [[-1, -1], [1, 1], [3, 3]]), [[-1.3, -2], [0.5, 1], [3, 3]], **ROUNDING
    )


def test_against_the_formula_in_numpy():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(2, 5, 3))
    expected = np.maximum(X, 0) + np.sum(a[:, None] * np.maximum(b[:, None] - X, 0), axis=0)
    np.testing.assert_allclose(called(with_weights(a, b, (None, 3)), X), expected, **ROUNDING)


def test_it_starts_as_the_relu():
    np.testing.assert_array_equal(called(AdaptivePiecewiseLinear(), X), np.maximum(X, 0))


def test_one_hinge_at_zero_is_a_prelu():
    prelu = keras.layers.PReLU()
    prelu.build((None, 3))
    prelu.set_weights([np.array([0.1, -0.3, 1.0])])
    ours = with_weights([[-0.1, 0.3, -1.0]], np.zeros((1, 3)), (None, 3))
    np.testing.assert_allclose(called(ours, X), called(prelu, X), **ROUNDING)


def test_far_to_the_right_it_is_the_identity():
    layer = with_weights([[5.0]], [[2.0]], (None, 1))
    np.testing.assert_array_equal(called(layer, [[2.0], [3.0], [100.0]]), [[2.0], [3.0], [100.0]])


def test_hinges_differ_at_the_start():
    layer = AdaptivePiecewiseLinear(segments=3)
    layer.build((None, 1000))
    hinges = ops.convert_to_numpy(layer.hinges)
    assert hinges.shape == (3, 1000)
    # 3,000 draws: the deviation is off by 1.3 %; four of these.
    assert hinges.std() == pytest.approx(0.5, rel=0.05)


@pytest.mark.parametrize(
    "shared, shape", [((1, 2), (2, 1, 1, 3)), ((2, 3), (2, 4, 1, 1)), (1, (2, 1, 5, 3))]
)
def test_shared_axes(shared, shape):
    layer = AdaptivePiecewiseLinear(shared_axes=shared, slope_initializer="random_normal")
    x = np.random.default_rng(2).normal(size=(2, 4, 5, 3)).astype("float32")
    out = called(layer, x)
    assert tuple(layer.slopes.shape) == tuple(layer.hinges.shape) == shape
    a, b = ops.convert_to_numpy(layer.slopes), ops.convert_to_numpy(layer.hinges)
    expected = np.maximum(x, 0) + sum(a[s] * np.maximum(b[s] - x, 0) for s in range(2))
    np.testing.assert_allclose(out, expected, **ROUNDING)


def test_shared_axes_may_have_an_unknown_size():
    layer = AdaptivePiecewiseLinear(shared_axes=(1, 2))
    assert layer(keras.Input((None, None, 3))).shape == (None, None, None, 3)


def test_gradients():
    a, b = [[0.5, -0.4, 0.2], [0.3, 0.6, -0.7]], [[0.0, 0.1, -0.5], [1.0, -1.0, 0.8]]
    x = np.array([[-1.5, -0.5, 0.3], [0.5, 1.2, 0.5], [2.0, -2.0, -1.1]])
    # No input lies within a step of a kink.
    assert min(np.abs(x).min(), np.abs(x[:, None] - np.array(b)).min()) > 0.02
    layer = with_weights(a, b, (None, 3))
    assert_gradients(layer, x)


def test_slopes_and_hinges_are_learned():
    x, y = regression_data(rows=32)
    layer = AdaptivePiecewiseLinear(hinge_regularizer=keras.regularizers.L2(0.5))
    model = keras.Sequential([keras.Input((4,)), layer, keras.layers.Dense(1)])
    layer.hinges.assign(np.ones((2, 4)))
    assert sum(ops.convert_to_numpy(loss) for loss in layer.losses) == pytest.approx(4.0)
    before = model.get_weights()
    model.compile(keras.optimizers.SGD(0.01), "mse")
    model.fit(x, y, epochs=2, verbose=0)
    assert all(np.all(old != new) for old, new in zip(before[:2], layer.get_weights(), strict=True))


def test_what_does_not_fit_the_input_is_refused():
    with pytest.raises(ValueError, match="`shared_axes` names axis 2"):
        AdaptivePiecewiseLinear(shared_axes=2).build((None, 3))
    with pytest.raises(ValueError, match="must be known"):
        AdaptivePiecewiseLinear().build((None, None, 3))
    with pytest.raises(ValueError, match="`segments`"):
        AdaptivePiecewiseLinear(segments=0)
    with pytest.raises(ValueError, match="`shared_axes`"):
        AdaptivePiecewiseLinear(shared_axes=0)
