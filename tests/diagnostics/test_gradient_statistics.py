"""Norms of gradients by variable and by layer, against NumPy."""

import keras
import numpy as np
import pytest
from keras import layers
from small_models import dense_model, regression_data, values

import keras_deeptricks as kdt

statistics_of = kdt.diagnostics.gradient_statistics


def test_values_by_hand():
    model = keras.Sequential(
        [keras.Input((2,)), layers.Dense(2, name="a"), layers.Dense(1, use_bias=False, name="b")]
    )
    model.compile("sgd", "mse")
    a, b = np.array([[1.0, 2.0], [0.0, 1.0]]), np.array([[3.0], [-1.0]])
    model.set_weights([a, np.zeros(2), b])
    x, y = np.array([[1.0, 2.0]]), np.array([[0.0]])
    hidden = x @ a  # (1, 4)
    error = (hidden @ b - y).item()  # 3 − 4 = −1
    gradients = [2 * error * x.T @ b.T, 2 * error * b.ravel(), 2 * error * hidden.T]
    found = statistics_of(model, x, y)
    assert found.loss == pytest.approx(1.0)
    # (Some models have their name in front.)
    assert [path.split("/")[-2:] for path in found.variables] == [
        ["a", "kernel"],
        ["a", "bias"],
        ["b", "kernel"],
    ]
    assert found.variable_layers == ["a", "a", "b"]
    norms = [np.sqrt((g**2).sum()) for g in gradients]
    np.testing.assert_allclose(found.norm, norms, rtol=1e-5)
    np.testing.assert_allclose(found.rms, np.array(norms) / np.sqrt([4, 2, 2]), rtol=1e-5)
    np.testing.assert_allclose(found.weight_norm, [np.sqrt(6), 0, np.sqrt(10)], rtol=1e-6)
    np.testing.assert_allclose(found.ratio[[0, 2]], [norms[0] / 6**0.5, norms[2] / 10**0.5], 1e-5)
    assert np.isinf(found.ratio[1])
    assert found.layers == ["a", "b"]
    first = np.hypot(norms[0], norms[1])
    np.testing.assert_allclose(found.layer_norm, [first, norms[2]], rtol=1e-5)
    expected = (first / np.sqrt(6)) / (norms[2] / np.sqrt(2))
    assert found.first_to_last == pytest.approx(expected, rel=1e-5)
    assert not found.nan_share.any()


@pytest.mark.parametrize("kind", ["sequential", "functional", "subclassed"])
def test_layers_come_in_the_order_of_computation(kind):
    model = dense_model(kind=kind)
    model.compile("adam", "mse")
    x, y = regression_data()
    found = statistics_of(model, x, y, rows=16)
    assert found.layers == ["hidden", "norm", "out"]
    assert found.rows == 16


def test_sigmoids_let_gradients_vanish():
    def deep(activation, initializer):
        model = keras.Sequential([keras.Input((20,))])
        for _ in range(10):
            model.add(layers.Dense(20, activation=activation, kernel_initializer=initializer))
        model.add(layers.Dense(1))
        model.compile("sgd", "mse")
        x = np.random.default_rng(0).normal(size=(64, 20))
        return statistics_of(model, x, x[:, :1]).first_to_last

    # A quarter at most in each layer.
    assert deep("sigmoid", "glorot_uniform") < 0.25**8
    assert 0.01 < deep("relu", "he_normal") < 100


def test_weights_of_an_outer_layer_and_frozen_ones():
    class Scaled(keras.Layer):
        def __init__(self):
            super().__init__(name="scaled")
            self.inner = layers.Dense(3, name="inner")
            self.frozen = layers.Dense(3, name="frozen", trainable=False)

        def build(self, shape):
            self.scale = self.add_weight(shape=(), initializer="ones", name="scale")
            self.inner.build(shape)
            self.frozen.build((None, 3))

        def call(self, x):
            return self.scale * self.frozen(self.inner(x))

    model = keras.Sequential([keras.Input((4,)), Scaled(), layers.Dense(1, name="out")])
    model.compile("sgd", "mse")
    x, y = regression_data(rows=8)
    found = statistics_of(model, x, y)
    assert found.layers[:2] == ["inner", "out"]
    assert found.layers[2].endswith("scaled")
    assert len(found.variables) == 5


def test_nan_is_counted_and_nothing_changes(tmp_path):
    model = dense_model()
    model.compile("sgd", "mse")
    before = values(model.variables)
    x, y = regression_data(rows=8)
    found = statistics_of(model, x, np.full_like(y, np.nan))
    assert found.nan_share[-1] == 1.0
    for a, b in zip(before, values(model.variables), strict=True):
        np.testing.assert_array_equal(a, b)
    found.save(tmp_path / "found.json")
    assert type(found).load(tmp_path / "found.json").layers == found.layers
    assert "first to last" in str(found)


def test_errors():
    x, y = regression_data(rows=8)
    with pytest.raises(ValueError, match="compiled"):
        statistics_of(dense_model(), x, y)
    model = dense_model()
    model.trainable = False
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="nothing to train"):
        statistics_of(model, x, y)
    with pytest.raises(ValueError, match="rows"):
        statistics_of(model, x, y, rows=0)
