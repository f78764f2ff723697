"""The mean of weights: by hand, bit-identical for equal models, and refusing what does not fit."""

import keras
import numpy as np
import pytest
from small_models import assert_identical, class_data, dense_model, regression_data, values

import keras_deeptricks as kdt

average_weights = kdt.models.average_weights


def plain_model(seed, units=3):
    keras.utils.set_random_seed(seed)
    return keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(units), keras.layers.Dense(1)], name=f"seed_{seed}"
    )


@keras.saving.register_keras_serializable(package="test_average_weights")
class Counting(keras.layers.Layer):
    """A layer with a whole-number variable."""

    def build(self, input_shape):
        self.count = self.add_weight(
            shape=(), dtype="int32", initializer="zeros", trainable=False, name="count"
        )

    def call(self, inputs):
        return inputs


def by_hand(models, shares):
    stacked = [[w.astype("float64") for w in m.get_weights()] for m in models]
    return [
        sum(s * w for s, w in zip(shares, column, strict=True)) / sum(shares)
        for column in zip(*stacked, strict=True)
    ]


def assert_mean(model, expected):
    for weight, mean in zip(model.get_weights(), expected, strict=True):
        assert weight.dtype == np.float32
        np.testing.assert_allclose(weight, mean, rtol=2e-7, atol=1e-9)


@pytest.mark.parametrize("shares", [None, [1, 2, 0.5], [0, 1, 3], np.array([2.0, 1.0, 1.0])])
def test_mean_by_hand(shares):
    models = [plain_model(seed) for seed in range(3)]
    before = [model.get_weights() for model in models]
    averaged = average_weights(models, weights=shares)
    assert_mean(averaged, by_hand(models, [1, 1, 1] if shares is None else list(shares)))
    assert not averaged.compiled
    assert averaged not in models
    for model, weights in zip(models, before, strict=True):
        assert_identical(model.get_weights(), weights)


def test_of_models_files_and_saved_models_alike(tmp_path):
    models = [plain_model(seed) for seed in range(4)]
    models[1].save(tmp_path / "one.keras")
    models[2].save_weights(tmp_path / "two.weights.h5")
    models[3].save_weights(tmp_path / "three.weights.h5")
    template = plain_model(9)
    before = template.get_weights()
    mixed = [
        models[0],
        tmp_path / "one.keras",
        str(tmp_path / "two.weights.h5"),
        tmp_path / "three.weights.h5",
    ]
    averaged = average_weights(mixed, model=template)
    assert_identical(averaged.get_weights(), average_weights(models).get_weights())
    assert_identical(template.get_weights(), before)
    only_files = average_weights(mixed[2:], model=template)
    assert_identical(only_files.get_weights(), average_weights(models[2:]).get_weights())
    assert_identical(template.get_weights(), before)


@pytest.mark.parametrize("kind", ["sequential", "functional", "subclassed"])
def test_copies_of_one_model_average_to_it(kind, tmp_path):
    model = dense_model(outputs=3, kind=kind)
    model.compile("adam", "mse")
    x, _ = class_data()
    model.fit(x, np.ones((64, 3)), verbose=0)
    path = tmp_path / "model.weights.h5"
    model.save_weights(path)
    averaged = average_weights(
        [model, *[path] * 4],
        model=model,
        weights=[1, 3, 0.1, 7, 1 / 3],
        refresh=lambda averaged: None,
    )
    # The states of seed generators too.
    assert_identical(values(averaged.variables), values(model.variables))
    assert_identical([averaged.predict(x, verbose=0)], [model.predict(x, verbose=0)])
    assert not averaged.compiled


def test_whole_numbers_are_those_of_the_first():
    models = [
        keras.Sequential([keras.Input((4,)), Counting(), keras.layers.Dense(1)]) for _ in range(2)
    ]
    models[0].layers[0].count.assign(3)
    models[1].layers[0].count.assign(8)
    averaged = average_weights(models)
    assert int(keras.ops.convert_to_numpy(averaged.layers[0].count)) == 3
    assert_mean(
        keras.Sequential([averaged.layers[1]]),
        by_hand([keras.Sequential([m.layers[1]]) for m in models], [1, 1]),
    )


def test_normalization_computes_with_the_mean():
    x, _ = regression_data()
    models = []
    for scale in (1.0, 3.0):
        layer = keras.layers.Normalization()
        layer.adapt(x * scale)
        models.append(keras.Sequential([keras.Input((4,)), layer]))
    averaged = average_weights(models)
    mean, variance = (w.astype("float64") for w in averaged.get_weights()[:2])
    expected = (x - mean) / np.sqrt(variance)
    np.testing.assert_allclose(averaged.predict(x, verbose=0), expected, rtol=1e-4, atol=1e-5)


def test_batch_normalization_warns_and_is_refreshed():
    models = [dense_model(seed=seed) for seed in range(2)]
    with pytest.raises(UserWarning, match="Pass `refresh`"):  # warnings are errors here
        average_weights(models)
    x, _ = regression_data()

    def refresh(model):
        norm = model.get_layer("norm")
        hidden = keras.ops.convert_to_numpy(model.get_layer("hidden")(x))
        norm.moving_mean.assign(hidden.mean(axis=0))
        norm.moving_variance.assign(hidden.var(axis=0))

    averaged = average_weights(models, refresh=refresh)
    hidden = keras.ops.convert_to_numpy(averaged.get_layer("hidden")(x))
    np.testing.assert_array_equal(averaged.get_layer("norm").get_weights()[2], hidden.mean(axis=0))


def test_bfloat16_variables():
    with_policy = [
        keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, dtype="bfloat16")])
        for _ in range(2)
    ]
    averaged = average_weights(with_policy)
    arrays = [
        [keras.ops.convert_to_numpy(keras.ops.cast(v, "float32")) for v in m.weights]
        for m in (*with_policy, averaged)
    ]
    assert averaged.weights[0].dtype == "bfloat16"
    for a, b, mean in zip(*arrays, strict=True):
        np.testing.assert_allclose(mean, (a + b) / 2, rtol=2**-8)


def test_result_trains():
    averaged = average_weights([plain_model(0), plain_model(1)])
    averaged.compile("adam", "mse")
    x, y = regression_data()
    before = averaged.get_weights()
    averaged.fit(x, y, verbose=0)
    assert not np.array_equal(before[0], averaged.get_weights()[0])


def test_other_structures_are_refused(tmp_path):
    models = [plain_model(0), plain_model(1, units=5)]
    before = [model.get_weights() for model in models]
    with pytest.raises(ValueError, match=r"kernel' of shape \(4, 3\).*models\[1\].*\(4, 5\)"):
        average_weights(models)
    with pytest.raises(ValueError, match=r"models\[0\] has 4 weights, models\[1\] has 2"):
        average_weights([models[0], keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])])
    models[1].save_weights(tmp_path / "other.weights.h5")
    with pytest.raises(ValueError, match=r"other\.weights\.h5' cannot be read"):
        average_weights([models[0], tmp_path / "other.weights.h5"], model=models[0])
    for model, weights in zip(models, before, strict=True):
        assert_identical(model.get_weights(), weights)


def test_a_file_that_is_no_weights_file(tmp_path):
    broken = tmp_path / "broken.weights.h5"
    broken.write_bytes(b"half a file")
    with pytest.raises(ValueError, match=r"broken\.weights\.h5"):
        average_weights([broken], model=plain_model(0))


def test_bad_arguments(tmp_path):
    model, other = plain_model(0), plain_model(1)
    path = tmp_path / "model.weights.h5"
    model.save_weights(path)
    for bad in (model, None, "model.keras", [3], [None]):
        with pytest.raises(TypeError, match="`models` must"):
            average_weights(bad)
    for bad in ([], [model, model], [path.with_name("model.h5")]):
        with pytest.raises(ValueError, match="`models` must"):
            average_weights(bad)
    with pytest.raises(ValueError, match=r"`models\[0\]` must be built"):
        average_weights([keras.Sequential([keras.layers.Dense(1)])])
    with pytest.raises(FileNotFoundError, match="does not exist"):
        average_weights([tmp_path / "none.weights.h5"], model=model)
    with pytest.raises(ValueError, match="`model` must be the model"):
        average_weights([path])
    with pytest.raises(TypeError, match="`model` must be"):
        average_weights([path], model="dense")
    for bad in ([1], [1, -1], [0, 0], [1, np.nan]):
        with pytest.raises(ValueError, match="`weights` must"):
            average_weights([model, other], weights=bad)
    for bad in (3, ["a", "b"]):
        with pytest.raises(TypeError, match="`weights` must"):
            average_weights([model, other], weights=bad)
    with pytest.raises(TypeError, match="`refresh` must"):
        average_weights([model, other], refresh=True)
