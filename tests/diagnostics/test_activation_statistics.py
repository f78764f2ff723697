"""Moments, histograms, dead and saturated shares of activations, against NumPy."""

import keras
import numpy as np
import pytest
from keras import layers
from small_models import dense_model, values

import keras_deeptricks as kdt
from keras_deeptricks.utils.activation_kinds import activation_name, saturation_bounds, unit_axis
from keras_deeptricks.utils.layer_probe import observed_layers

statistics_of = kdt.diagnostics.activation_statistics


def passing(*inner, features=3):
    """The layers behind a Dense that passes its inputs on."""
    model = keras.Sequential(
        [keras.Input((features,)), layers.Dense(features, use_bias=False, name="same"), *inner]
    )
    model.layers[0].set_weights([np.eye(features)])
    return model


def test_values_by_hand():
    model = passing(layers.ReLU(name="relu"))
    x = np.array([[-1.0, 2.0, -5.0], [-3.0, 4.0, 6.0]])
    found = statistics_of(model, x, bins=3)
    assert found.layers == ["same", "relu"]
    assert found.activations == ["linear", "relu"]
    assert found.units.tolist() == [3, 3]
    assert found.rows == 2
    np.testing.assert_allclose(found.mean, [0.5, 2.0], rtol=1e-6)
    np.testing.assert_allclose(found.std, [x.std(), np.maximum(x, 0).std()], rtol=1e-6)
    # Only the first unit of the ReLU is zero for both rows.
    np.testing.assert_allclose(found.dead_share, [0, 1 / 3])
    assert np.isnan(found.saturated_share).all()
    assert found.nan_share.tolist() == [0, 0]
    np.testing.assert_allclose(found.edges[1], [0, 2, 4, 6])
    # A bin holds its lower edge: zeros; 2; 4 and, in the last one, its upper edge.
    assert found.counts[1].tolist() == [3, 1, 2]
    np.testing.assert_allclose(found.unit_std[1], [0, 1, 3], atol=1e-12)


@pytest.mark.parametrize("training", [False, True])
def test_chunks_give_what_one_pass_gives(training):
    model = dense_model()
    x = np.random.default_rng(0).normal(size=(50, 4)) * 3 + 100
    # (With the batch's own statistics chunks would differ: only before the normalization.)
    stop = 1 if training else 4
    whole = statistics_of(model, x, batch_size=50, training=training)
    parts = statistics_of(model, x, batch_size=17, training=training)
    assert whole.layers == ["hidden", "norm", "out"]
    for name in ("mean", "std", "dead_share", "saturated_share", "edges"):
        a, b = getattr(whole, name)[:stop], getattr(parts, name)[:stop]
        # float32 sums of numbers near 100.
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    assert parts.counts[:stop].sum() == whole.counts[:stop].sum()
    calls = {call.name: call.outputs for call in observed_layers(model, x)}
    np.testing.assert_allclose(whole.std[0], calls["hidden"].std(), rtol=1e-5)


def test_rows_and_data_sets():
    model = dense_model()
    x = np.random.default_rng(0).normal(size=(40, 4)).astype("float32")

    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return 5

        def __getitem__(self, index):
            return x[8 * index : 8 * index + 8], np.zeros(8)

    found = statistics_of(model, Batches(), rows=20, batch_size=7)
    assert found.rows == 20
    np.testing.assert_allclose(found.mean, statistics_of(model, x[:20]).mean, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("layer", "bounds"),
    [
        (layers.Dense(1, activation="tanh"), (-0.99, 0.99)),
        (layers.Activation("sigmoid"), (0.01, 0.99)),
        (layers.TimeDistributed(layers.Dense(2, activation="softsign")), (-0.99, 0.99)),
        (layers.ELU(alpha=0.5), (-0.495, None)),
        (layers.Dense(1, activation=layers.ReLU(max_value=2.0)), None),
        (layers.Dense(1, activation="relu"), None),
        (layers.Flatten(), None),
        (layers.LSTM(2), (-0.99, 0.99)),
    ],
)
def test_where_activations_are_flat(layer, bounds):
    assert saturation_bounds(layer) == bounds


def test_names_of_activations_and_axes_of_units():
    assert activation_name(layers.Dense(1, activation=layers.LeakyReLU())) == "leaky_relu"
    assert activation_name(layers.Dense(1, activation=keras.activations.gelu)) == "gelu"
    assert activation_name(layers.Add()) == "linear"
    assert unit_axis(layers.Conv2D(1, 1, data_format="channels_first"), 4) == 1
    assert unit_axis(layers.Conv2D(1, 1, data_format="channels_last"), 4) == 3
    assert unit_axis(layers.Dense(1), 2) == 1


def test_saturated_shares_by_hand():
    model = passing(layers.Activation("tanh", name="tanh"), layers.Activation("sigmoid", name="s"))
    x = np.array([[-9.0, 0.0, 9.0], [-9.0, 1.0, -1.0]])
    found = statistics_of(model, x)
    # tanh 9 = 1; sigmoid of −1 … 1 is between 0.27 and 0.73.
    np.testing.assert_allclose(found.saturated_share[1:], [0.5, 0.0])


def test_dead_channels_of_images():
    model = keras.Sequential(
        [
            keras.Input((4, 4, 1)),
            layers.Conv2D(2, 1, activation="relu", data_format="channels_last", name="conv"),
            layers.Flatten(),
        ]
    )
    model.layers[0].set_weights([np.array([1.0, -1.0]).reshape(1, 1, 1, 2), np.zeros(2)])
    found = statistics_of(model, np.ones((3, 4, 4, 1)))
    assert found.layers == ["conv"]
    assert found.units.tolist() == [2]
    assert found.dead_share.tolist() == [0.5]


def test_what_is_not_finite_is_counted_and_left_out():
    model = passing(layers.Activation("relu", name="relu"))
    model.layers[0].set_weights([np.diag([np.nan, 1.0, np.inf])])
    found = statistics_of(model, np.array([[1.0, 2.0, 0.0], [1.0, 4.0, 0.0]]))
    # The first unit is NaN, the third ∞·0.
    np.testing.assert_allclose(found.nan_share[0], 2 / 3)
    assert found.mean[0] == 3.0
    assert found.std[0] == 1.0
    assert found.counts[0].sum() == 2
    model.layers[0].set_weights([np.full((3, 3), np.nan)])
    found = statistics_of(model, np.ones((2, 3)))
    assert found.nan_share[0] == 1.0
    assert np.isnan(found.mean[0])
    assert found.counts[0].sum() == 0


def test_the_model_is_left_as_it_was_and_results_are_saved(tmp_path):
    model = dense_model()
    before = values(model.variables)
    found = statistics_of(model, np.ones((8, 4)), training=True)
    for a, b in zip(before, values(model.variables), strict=True):
        np.testing.assert_array_equal(a, b)
    for suffix in ("json", "npz"):
        found.save(tmp_path / f"found.{suffix}")
        again = type(found).load(tmp_path / f"found.{suffix}")
        np.testing.assert_array_equal(again.edges, found.edges)
        assert again.layers == found.layers
    assert "hidden" in str(found)


@pytest.mark.parametrize(
    ("initializer", "activation"),
    [("small", "tanh"), ("large", "tanh"), ("glorot_normal", "tanh"), ("he_normal", "relu")],
)
def test_the_pictures_of_the_textbook(initializer, activation):
    """Six layers of 500 units on 1,000 standard normal inputs."""
    given = {
        "small": keras.initializers.RandomNormal(stddev=0.01, seed=1),
        "large": keras.initializers.RandomNormal(stddev=1.0, seed=1),
        "glorot_normal": keras.initializers.GlorotNormal(seed=1),
        "he_normal": keras.initializers.HeNormal(seed=1),
    }[initializer]
    model = keras.Sequential([keras.Input((500,))])
    for _ in range(6):
        given = type(given).from_config(given.get_config() | {"seed": given.seed + 1})
        model.add(layers.Dense(500, activation=activation, kernel_initializer=given))
    x = np.random.default_rng(0).normal(size=(1000, 500))
    found = statistics_of(model, x, rows=1000, batch_size=500)
    if initializer == "small":
        # Each layer multiplies by about 0.01·√500 = 0.22.
        ratio = found.std[1:] / found.std[:-1]
        np.testing.assert_allclose(ratio, 0.01 * np.sqrt(500), rtol=0.1)
        assert found.std[-1] < 1e-3
    elif initializer == "large":
        assert (found.saturated_share > 0.9).all()
        assert (found.std > 0.95).all()
    elif initializer == "glorot_normal":
        assert found.std[-1] > 0.2
        assert (found.saturated_share < 0.05).all()
    else:
        # The mean square is kept: 1, of which a ReLU's output has its share around its mean.
        square = found.std**2 + found.mean**2
        np.testing.assert_allclose(square, 1, rtol=0.35)


def test_errors():
    model = dense_model()
    for arguments in ({"rows": 0}, {"bins": 0}, {"batch_size": 0}):
        with pytest.raises(ValueError, match=next(iter(arguments))):
            statistics_of(model, np.ones((2, 4)), **arguments)
    with pytest.raises(TypeError, match="`model`"):
        statistics_of(layers.Dense(1), np.ones((2, 4)))
    with pytest.raises(ValueError, match="no rows"):
        statistics_of(model, np.ones((0, 4)))
