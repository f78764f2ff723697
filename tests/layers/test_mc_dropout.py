"""Dropout that stays active in inference, and nothing else that does."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_deeptricks as kdt

KINDS = [kdt.layers.MCDropout, kdt.layers.MCAlphaDropout]
# The value that alpha dropout puts in the place of a dropped unit: −λ·α of SELU.
SATURATION = -1.0507009873554805 * 1.6732632423543772


def called(layer, x, **options):
    return ops.convert_to_numpy(layer(ops.convert_to_tensor(x), **options))


@pytest.mark.parametrize("options", [{}, {"training": False}, {"training": None}])
def test_dropped_units_are_zero_and_the_others_are_scaled(options):
    x = np.ones((100, 100), "float32")
    out = called(kdt.layers.MCDropout(0.2, seed=1), x, **options)
    # 1 / (1 − 0.2) = 1.25, in float32 up to a rounding.
    np.testing.assert_allclose(np.unique(out), [0, 1.25], rtol=1e-6)
    # 10,000 Bernoulli draws of p = 0.2 deviate by 0.004; five deviations.
    assert (out == 0).mean() == pytest.approx(0.2, abs=0.02)


@pytest.mark.parametrize("options", [{}, {"training": False}])
def test_alpha_dropout_puts_in_the_saturation_value_and_rescales(options):
    x = np.full((100, 100), 2.0, "float32")
    out = called(kdt.layers.MCAlphaDropout(0.1, seed=1), x, **options)
    # Klambauer et al.: a = (q + α'²·q·(1 − q))^(−1/2), b = −a·(1 − q)·α', q = 0.9.
    a = (0.9 + SATURATION**2 * 0.9 * 0.1) ** -0.5
    b = -a * 0.1 * SATURATION
    # A few roundings of float32.
    np.testing.assert_allclose(np.unique(out), [a * SATURATION + b, a * 2 + b], rtol=1e-5)
    # As above, with p = 0.1: a deviation of 0.003.
    assert (out < 0).mean() == pytest.approx(0.1, abs=0.015)


def test_alpha_dropout_keeps_mean_and_variance():
    x = np.random.default_rng(0).normal(size=(300, 300)).astype("float32")
    out = called(kdt.layers.MCAlphaDropout(0.3, seed=1), x)
    # 90,000 draws: the mean deviates by 1/300, the variance by some 1.5/300; over three of each.
    assert out.mean() == pytest.approx(0, abs=0.012)
    assert out.var() == pytest.approx(1, abs=0.025)


@pytest.mark.parametrize("kind", KINDS)
def test_in_training_it_is_keras_own(kind):
    x = np.random.default_rng(0).normal(size=(8, 8)).astype("float32")
    parent = kind.__mro__[1]
    ours, theirs = kind(0.3, seed=7), parent(0.3, seed=7)
    np.testing.assert_array_equal(called(ours, x, training=False), called(theirs, x, training=True))


@pytest.mark.parametrize("kind", KINDS)
def test_predict_gives_another_sample_each_time_and_a_seed_repeats_them(kind):
    def samples():
        model = keras.Sequential([keras.Input((16,)), kind(0.5, seed=3)])
        x = np.ones((4, 16), "float32")
        return np.stack([model.predict(x, verbose=0) for _ in range(2)])

    first, again = samples(), samples()
    assert not np.array_equal(first[0], first[1])
    np.testing.assert_array_equal(first, again)


def test_batch_normalization_beside_it_stays_in_inference():
    norm = layers.BatchNormalization()
    model = keras.Sequential([keras.Input((3,)), norm, kdt.layers.MCDropout(0.5, seed=1)])
    x = np.full((8, 3), 5.0, "float32")
    out = model.predict(x, verbose=0)
    assert (ops.convert_to_numpy(norm.moving_mean) == 0).all()
    # Moving mean 0 and variance 1: 5 / √(1 + ε), doubled or dropped; batch statistics give 0.
    # The ε of 1e-3 makes up 5e-4.
    np.testing.assert_allclose(np.unique(out), [0, 10], rtol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_rate_zero_changes_nothing(kind):
    x = np.random.default_rng(0).normal(size=(4, 4)).astype("float32")
    np.testing.assert_array_equal(called(kind(0), x), x)


def test_a_noise_shape_shares_the_mask():
    out = called(
        kdt.layers.MCDropout(0.5, noise_shape=(None, 1), seed=1), np.ones((50, 6), "float32")
    )
    assert (out == out[:, :1]).all()
    assert len(np.unique(out[:, 0])) == 2


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_model_finds_it(kind, tmp_path):
    model = keras.Sequential([keras.Input((3,)), kind(0.25, seed=5, name="mc")])
    model.save(tmp_path / "model.keras")
    layer = keras.models.load_model(tmp_path / "model.keras").get_layer("mc")
    assert type(layer) is kind
    assert layer.get_config() == model.get_layer("mc").get_config()
    assert (layer.rate, layer.seed) == (0.25, 5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rate", [1, 1.0, -0.1, float("nan")])
def test_rates_outside_the_range_are_refused(kind, rate):
    with pytest.raises(ValueError, match="`rate` must be a number ≥ 0 and < 1"):
        kind(rate)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rate", ["0.5", None, True])
def test_rates_that_are_no_numbers_are_refused(kind, rate):
    with pytest.raises(TypeError, match="`rate`"):
        kind(rate)
