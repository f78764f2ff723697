"""Monte-Carlo passes over every kind of stochastic layer, model, input and output."""

import math
import warnings
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest
from keras import layers, ops
from small_models import Subclassed, assert_identical, values, whole_state

import keras_deeptricks as kdt
from keras_deeptricks.utils.layer_walk import walk_layers

MonteCarlo = kdt.models.MonteCarlo
# Sums of some dozen numbers in float32, whose neighbours are 6e-8 of their size apart.
SINGLE = {"rtol": 1e-5, "atol": 1e-6}
Z = 5.0  # standard errors; all seeds are fixed


def data(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def predict(model, x, samples=10, seed=1, **kwargs):
    call = {k: kwargs.pop(k) for k in ("keep_samples", "batch_size") if k in kwargs}
    return MonteCarlo(model, samples, seed, **kwargs).predict(x, verbose=0, **call)


def samples_of(model, x, samples=10, **kwargs):
    return predict(model, x, samples, keep_samples=True, **kwargs).samples


def alone(layer, *shape):
    """A model of this layer only."""
    return keras.Sequential([keras.Input(shape), layer])


# The layers, against theory.


def assert_moments(values, mean, variance, fourth):
    """Mean and variance of independent values within 5 standard errors; `fourth` is central."""
    n = values.size
    values = values.astype("float64")
    assert abs(values.mean() - mean) < Z * math.sqrt(variance / n)
    assert abs(values.var() - variance) < Z * math.sqrt((fourth - variance**2) / n)


def test_random_slopes():
    x = np.full((20, 50), -3.0)
    x[:, :10] = 2.0
    found = samples_of(alone(kdt.layers.RReLU(0.1, 0.5), 50), x, 50)
    np.testing.assert_array_equal(found[..., :10], 2)
    # −3 times a uniform variable on 0.1 … 0.5, of variance 0.4²/12 and fourth moment 0.4⁴/80.
    assert_moments(found[..., 10:], -0.9, 9 * 0.4**2 / 12, 81 * 0.4**4 / 80)
    assert found[..., 10:].min() >= -1.5 - 1e-6
    assert found[..., 10:].max() <= -0.3 + 1e-6


def test_a_fixed_slope_is_not_random():
    fixed, free = kdt.layers.RReLU(0.2, 0.2), kdt.layers.RReLU(0.2, 0.3)
    model = keras.Sequential([keras.Input((5,)), fixed, layers.Dropout(0.5)])
    passes = MonteCarlo(model, samples=4, seed=1)
    found = passes.predict(-np.ones((3, 5)), verbose=0, keep_samples=True).samples
    np.testing.assert_allclose(np.unique(found), [-0.4, 0], rtol=1e-6)
    with pytest.raises(ValueError, match="no stochastic layer"):
        MonteCarlo(alone(fixed, 5), samples=4)
    assert MonteCarlo(alone(free, 5), samples=4).predict(-np.ones((3, 5)), verbose=0).std.min() > 0


@pytest.mark.parametrize("make", [layers.Dropout, kdt.layers.MCDropout])
def test_dropout(make):
    found = samples_of(alone(make(0.2), 50), np.full((20, 50), 3.0), 50)
    np.testing.assert_allclose(np.unique(found), [0, 3.75], rtol=1e-6)
    # 3.75 times a Bernoulli variable with p = 0.8.
    assert_moments(found, 3, 3.75**2 * 0.16, 3.75**4 * 0.16 * (1 - 3 * 0.16))


def test_gaussian_noise():
    found = samples_of(alone(layers.GaussianNoise(0.5), 50), np.full((20, 50), 3.0), 50)
    assert_moments(found, 3, 0.25, 3 * 0.25**2)


def test_gaussian_dropout():
    found = samples_of(alone(layers.GaussianDropout(0.2), 50), np.full((20, 50), 3.0), 50)
    # Standard deviation √(0.2 / 0.8) = ½ of the input.
    assert_moments(found, 3, 2.25, 3 * 2.25**2)


@pytest.mark.parametrize("make", [layers.AlphaDropout, kdt.layers.MCAlphaDropout])
def test_alpha_dropout_keeps_mean_and_variance(make):
    x = np.repeat([-1.0, 1.0], 25)[None].repeat(20, axis=0)  # mean 0, variance 1
    found = samples_of(alone(make(0.2), 50), x, 50)
    saturation = -1.7580993408473766
    a = (0.8 * (1 + 0.2 * saturation**2)) ** -0.5
    b = -a * saturation * 0.2
    points = np.array([a * saturation, -a, a]) + b
    weights = np.array([0.2, 0.4, 0.4])
    np.testing.assert_allclose(np.unique(found), np.sort(points), rtol=1e-6)
    assert_moments(found, 0, 1, np.sum(weights * points**4))


@pytest.mark.parametrize(
    "layer, shape, shared",
    [
        (layers.SpatialDropout1D(0.5), (6, 8), (1,)),
        (layers.SpatialDropout2D(0.5, data_format="channels_last"), (4, 5, 8), (1, 2)),
        (layers.SpatialDropout2D(0.5, data_format="channels_first"), (8, 4, 5), (2, 3)),
        (layers.SpatialDropout3D(0.5, data_format="channels_last"), (2, 3, 4, 8), (1, 2, 3)),
        (layers.Dropout(0.5, noise_shape=(None, 1, None)), (6, 8), (1,)),
        (layers.AlphaDropout(0.5, noise_shape=(None, 1, None)), (6, 8), (1,)),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_masks_are_shared_along_axes(layer, shape, shared):
    found = samples_of(alone(layer, *shape), np.ones((5, *shape)), 12)
    axes = tuple(axis + 1 for axis in shared)  # behind that of the passes
    np.testing.assert_array_equal(found.max(axis=axes), found.min(axis=axes))
    kept = found.max(axis=axes) > 1
    assert kept.shape == (12, 5, 8)
    # 480 fair coins, of which neither rows nor passes are equal.
    assert abs(kept.mean() - 0.5) < Z * 0.5 / math.sqrt(480)
    assert len(np.unique(kept.reshape(60, 8), axis=0)) > 40
    assert len(np.unique(kept.reshape(12, 40), axis=0)) == 12


@pytest.mark.parametrize("chunk_size", [None, 2])
def test_a_mask_for_all_rows(chunk_size):
    model = alone(layers.Dropout(0.5, noise_shape=(1, None)), 64)
    found = samples_of(model, np.ones((5, 64)), 12, chunk_size=chunk_size)
    np.testing.assert_array_equal(found, np.repeat(found[:, :1], 5, axis=1))
    assert len(np.unique(found[:, 0], axis=0)) == 12


def test_a_mask_for_all_rows_with_rows_computed_one_by_one():
    model = alone(layers.Dropout(0.5, noise_shape=(1, 20)), 20)
    found = samples_of(model, np.ones((6, 20)), samples=1, chunk_size=1)[0]
    assert (found == found[0]).all()
    assert set(found.ravel()) == {0, 2}


def test_dropped_values_are_gone():
    x = keras.Input((1,))
    model = keras.Model(x, ops.minimum(layers.Dropout(0.5)(x), 5.0))
    found = samples_of(model, np.full((4, 1), np.inf), 30)
    # A mask that was multiplied would give NaN.
    assert set(np.unique(found)) == {0, 5}


RECURRENT = [
    layers.LSTM(4, dropout=0.5),
    layers.SimpleRNN(4, dropout=0.5, recurrent_dropout=0.5, return_sequences=True),
    layers.Bidirectional(layers.GRU(4, recurrent_dropout=0.5)),
    layers.RNN([layers.LSTMCell(3, dropout=0.5), layers.GRUCell(4)]),
    layers.TimeDistributed(layers.Dropout(0.5)),
]


@pytest.mark.parametrize("layer", RECURRENT, ids=lambda layer: layer.name)
def test_recurrent_layers_are_random_and_repeat(layer):
    model, x = alone(type(layer).from_config(layer.get_config()), 5, 3), data(6, 5, 3)
    state = values(model.variables)
    passes = MonteCarlo(model, 10, seed=1)
    found = passes.predict(x, verbose=0, keep_samples=True).samples
    # Every row in every pass, up to masks that are equal by chance.
    assert np.count_nonzero(found.std(axis=0)) > 0.7 * found[0].size
    assert len(np.unique(found.reshape(10, -1), axis=0)) == 10
    again = passes.predict(x, batch_size=1, verbose=0, keep_samples=True).samples
    np.testing.assert_array_equal(again, found)
    passes.seed = 2
    assert (passes.predict(x, verbose=0, keep_samples=True).samples != found).any()
    assert_identical(values(model.variables), state)


def test_dropout_of_a_recurrent_layer_by_theory():
    """The sum of the inputs, of which the mask is the same at each step."""
    cell = {"kernel_initializer": "ones", "recurrent_initializer": "ones", "activation": None}
    model = alone(layers.SimpleRNN(1, dropout=0.5, **cell), 3, 1)
    found = samples_of(model, np.ones((200, 3, 1)), 100)
    np.testing.assert_allclose(np.unique(found), [0, 6], rtol=1e-6)
    # 6 times a fair coin.
    assert abs(found.mean() - 3) < Z * 3 / math.sqrt(found.size)


def test_attention():
    tensor = keras.Input((5, 4))
    heads = layers.MultiHeadAttention(2, 3, dropout=0.5)
    plain = layers.Attention(dropout=0.5)
    additive = layers.AdditiveAttention(dropout=0.5)
    grouped = layers.GroupQueryAttention(3, 2, 1, dropout=0.5)
    outputs = [
        layer(*args)
        for layer, args in (
            (heads, (tensor, tensor)),
            (plain, ([tensor, tensor],)),
            (additive, ([tensor, tensor],)),
            (grouped, (tensor, tensor)),
        )
    ]
    model, x = keras.Model(tensor, outputs), data(6, 5, 4)
    state = values(model.variables)
    passes = MonteCarlo(model, 10, seed=1, task="regression")
    found = passes.predict(x, verbose=0, keep_samples=True).samples
    for one in found:
        assert one.std(axis=0).min() > 0
        # Of 60, less those in which chance drops the same.
        assert len(np.unique(one[:, :, 0, 0])) > 40
    again = passes.predict(x, batch_size=1, verbose=0, keep_samples=True).samples
    for one, other in zip(found, again, strict=True):
        np.testing.assert_array_equal(one, other)
    assert_identical(values(model.variables), state)


def test_attention_by_theory():
    """Equal scores: a quarter of each of four values, each dropped with probability ½."""
    model = keras.Sequential([keras.Input((4, 1)), SelfAttention()])
    found = samples_of(model, np.ones((50, 4, 1)), 50)
    assert set(np.unique(found)) == {0, 0.5, 1, 1.5, 2}
    # ½ times a binomial variable of 4 fair coins: variance ¼·1, fourth moment (3·1 − ½)/16.
    assert_moments(found, 1, 0.25, 2.5 / 16)


class SelfAttention(layers.Layer):
    def __init__(self):
        super().__init__()
        self.attention = layers.Attention(dropout=0.5)

    def call(self, inputs):
        return self.attention([0.0 * inputs, inputs, inputs])


# Masks of padded sequences.


@pytest.mark.parametrize("rate", [0.0, 0.5])
def test_padding_does_not_count(rate):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((None,), dtype="int32"),
            layers.Embedding(10, 4, mask_zero=True),
            layers.Dropout(rate),
            layers.LSTM(3),
            layers.Dense(1),
        ]
    )
    short = np.array([[1, 2, 3], [4, 5, 0], [6, 0, 0]])
    # No gate is open at the masked steps: the padded tokens change nothing.
    found = predict(model, short, 20)
    if rate == 0:
        np.testing.assert_allclose(found.mean, model.predict(short, verbose=0), **SINGLE)
        assert found.std.max() < 1e-6
        long = np.pad(short, ((0, 0), (0, 4)))
        np.testing.assert_allclose(predict(model, long, 20).mean, found.mean, **SINGLE)
    else:
        embedding = model.layers[0]
        weights = embedding.get_weights()[0]
        weights[0] = 100  # the padding's own vector
        embedding.set_weights([weights])
        np.testing.assert_allclose(predict(model, short, 20).mean, found.mean, **SINGLE)
        assert found.std.min() > 0


# Kinds of models.


def nested():
    inner = keras.Sequential(
        [keras.Input((6,)), layers.Dense(5, activation="relu"), layers.Dropout(0.5)]
    )
    x = keras.Input((4,))
    middle = keras.Model(x, inner(layers.Dense(6)(x)))
    return keras.Sequential(
        [keras.Input((4,)), middle, layers.BatchNormalization(), layers.Dense(1)]
    )


def subclassed():
    return Subclassed([layers.Dense(6), layers.Dropout(0.5), layers.Dense(1)])


@keras.saving.register_keras_serializable("test_monte_carlo_models")
class Block(layers.Layer):
    """A layer with layers inside."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.steps = [layers.Dense(6), layers.Dropout(0.5)]

    def call(self, inputs, training=False):
        return self.steps[1](self.steps[0](inputs), training=training)


def layer_of_layers():
    return keras.Sequential([keras.Input((4,)), Block(), layers.Dense(1)])


class AlwaysDropout(layers.Dropout):
    """Géron's, 2022, chapter 11, in two spellings."""

    def call(self, inputs, training=False):
        return super().call(inputs, training=True)


class AlwaysDropoutWithoutArgument(layers.Dropout):
    def call(self, inputs):
        return super().call(inputs, training=True)


def own_dropout():
    return keras.Sequential([keras.Input((4,)), AlwaysDropout(0.5, seed=1), layers.Dense(1)])


def own_dropout_without_argument():
    layer = AlwaysDropoutWithoutArgument(0.5, seed=1)
    return keras.Sequential([keras.Input((4,)), layer, layers.Dense(1)])


def dropout_called_in_training():
    x = keras.Input((4,))
    return keras.Model(x, layers.Dense(1)(layers.Dropout(0.5)(x, training=True)))


def arithmetic():
    x = keras.Input((4,))
    return keras.Model(x, ops.sum(layers.Dropout(0.5)(2 * ops.abs(x) + 1), axis=-1, keepdims=True))


MODELS = [
    nested,
    subclassed,
    layer_of_layers,
    own_dropout,
    own_dropout_without_argument,
    dropout_called_in_training,
    arithmetic,
]


@pytest.mark.parametrize("make", MODELS, ids=lambda make: make.__name__)
def test_each_kind_of_model(make):
    model, x = make(), data(9, 4)
    if model.built:
        state = whole_state(model)
    passes = MonteCarlo(model, 64, seed=1)
    found = passes.predict(x, verbose=0, keep_samples=True).samples
    if make is subclassed:
        state = whole_state(model)
    assert len(np.unique(found[:, :, 0], axis=0)) > 10
    assert (found.std(axis=0) > 0).mean() > 0.9
    again = passes.predict(iter([x[:2], x[2:]]), verbose=0, keep_samples=True).samples
    np.testing.assert_array_equal(again, found)
    # Dropout is unbiased before a linear layer: the mean of the passes is the model's output.
    for layer in walk_layers(model):
        if isinstance(layer, layers.Dropout):
            layer.rate = 0.0
    expected = ops.convert_to_numpy(model(x, training=False))
    error = found.std(axis=0) / 8
    assert (abs(found.mean(axis=0) - expected) < Z * error + 1e-5).all()
    assert_identical(whole_state(model), state)


def test_a_model_that_is_not_built_yet():
    model = keras.Sequential([layers.Dense(3), layers.Dropout(0.5), layers.Dense(1)])
    assert predict(model, data(5, 4)).std.min() >= 0
    assert model.built
    assert model.inputs[0].shape == (None, 4)
    assert predict(model, data(9, 4)).mean.shape == (9, 1)
    assert model.predict(data(3, 4), verbose=0).shape == (3, 1)


@keras.saving.register_keras_serializable("test_monte_carlo_models")
class RandomShift(layers.Layer):
    """Adds one number to all; holds a normalization, which must not learn."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.generator = keras.random.SeedGenerator(3)
        self.norm = layers.BatchNormalization()

    def call(self, inputs, training=False):
        inputs = self.norm(inputs, training=training)
        if not training:
            return inputs
        return inputs + keras.random.normal(ops.shape(inputs), seed=self.generator)


def test_a_random_layer_of_ones_own():
    model, x = alone(RandomShift(), 4), data(30, 4) + 7
    with pytest.raises(ValueError, match="has no stochastic layer"):
        MonteCarlo(model)
    state = values(model.variables)
    found = samples_of(model, x, 50, stochastic=[RandomShift])
    # Standard normal numbers around the model's output in inference mode.
    assert_moments(found - model.predict(x, verbose=0), 0, 1, 3)
    assert_identical(values(model.variables), state)
    np.testing.assert_array_equal(samples_of(model, x, 50, stochastic=RandomShift), found)


class DropConnect(layers.Layer):
    """A dense layer whose weights are dropped, not its inputs."""

    def __init__(self):
        super().__init__()
        self.drop = layers.Dropout(0.5)

    def build(self, input_shape):
        self.kernel = self.add_weight((input_shape[-1], 1), "ones")

    def call(self, inputs, training=False):
        return ops.matmul(inputs, self.drop(self.kernel, training=training))


@pytest.mark.parametrize("samples", [32, 31, 16, 12])
def test_dropped_weights_differ_between_passes(samples):
    # 8 rows of 32 passes are a batch as long as the matrix, of 16 passes half as long.
    model = keras.Sequential([keras.Input((256,)), DropConnect()])
    found = samples_of(model, np.ones((8, 256)), samples)
    # All rows have the weights of the pass.
    np.testing.assert_array_equal(found, np.repeat(found[:, :1], 8, axis=1))
    assert len(np.unique(found[:, 0])) > samples / 2
    # 2 times a binomial variable of 256 fair coins: mean 256, standard deviation 16.
    assert abs(found[:, 0].mean() - 256) < Z * 16 / math.sqrt(samples)


def test_a_model_bound_to_its_number_of_rows():
    x = keras.Input(batch_shape=(4, 6))
    h = ops.reshape(layers.Dropout(0.5)(x), (4, 2, 3))
    model = keras.Model(x, ops.sum(h, axis=2))
    found = samples_of(model, np.ones((10, 6)), 20)
    assert found.shape == (20, 10, 2)
    assert set(np.unique(found)) == {0, 2, 4, 6}
    assert len(np.unique(found.reshape(20, 20), axis=0)) == 20
    assert len(np.unique(found.transpose(1, 0, 2).reshape(10, 40), axis=0)) == 10


# Inputs and outputs.


def test_several_inputs_and_outputs():
    a, b = keras.Input((4,), name="a"), keras.Input((3,), name="b")
    h = layers.Dropout(0.5)(layers.Concatenate()([a, b]))
    outputs = {"sum": ops.sum(h, axis=-1, keepdims=True), "b": b, "class": layers.Softmax()(h)}
    model = keras.Model({"a": a, "b": b}, outputs)
    x = {"a": data(9, 4), "b": data(9, 3)}
    found = predict(
        model, x, task={"sum": "regression", "b": "regression", "class": "classification"}
    )
    assert set(found.mean) == {"sum", "b", "class"}
    np.testing.assert_array_equal(found.mean["b"], x["b"])
    np.testing.assert_array_equal(found.std["b"], 0)
    assert found.std["sum"].min() > 0
    assert found["class"].mutual_information.shape == (9,)
    # The same by position, and by names for a model of a list.
    listed = keras.Model([a, b], [outputs["sum"], outputs["b"]])
    first = predict(listed, [x["a"], x["b"]], task="regression")
    again = predict(listed, {"b": x["b"], "a": x["a"]}, task="regression")
    assert isinstance(first.mean, list)
    np.testing.assert_array_equal(first.mean[0], again.mean[0])
    np.testing.assert_array_equal(first.mean[1], x["b"])


def test_one_output_in_a_list():
    x = keras.Input((4,))
    model = keras.Model([x], [layers.Dropout(0.5)(x)])
    assert predict(model, [data(5, 4)], task="regression").mean.shape == (5, 4)


def test_whole_numbers():
    images = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), dtype="uint8")
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3), dtype="uint8"),
            layers.Rescaling(1 / 255),
            layers.Conv2D(4, 3, activation="relu"),
            layers.SpatialDropout2D(0.5),
            layers.Flatten(),
            layers.Dense(3, activation="softmax"),
        ]
    )
    found = predict(model, images)
    assert found.task == "classification"
    assert found.std.max() > 0
    # Outputs in whole numbers, which are not random.
    x = keras.Input((4,), dtype="int32")
    model = keras.Model(x, [x, x > 0, layers.Dropout(0.5)(ops.cast(x, "float32"))])
    numbers = np.arange(-8, 8, dtype="int32").reshape(4, 4)
    found = predict(model, numbers, task="regression")
    np.testing.assert_array_equal(found.mean[0], numbers)
    np.testing.assert_array_equal(found.mean[1], numbers > 0)


@pytest.mark.parametrize(
    "policy, rounding", [("mixed_float16", 2**-10), ("mixed_bfloat16", 2**-7), ("float64", 1e-6)]
)
def test_other_precisions(policy, rounding):
    if policy == "float64" and keras.config.backend() == "jax":
        pytest.skip("JAX computes in double precision only where it was told before it started")

    def model(policy):
        keras.config.set_dtype_policy(policy)
        keras.utils.set_random_seed(0)
        return keras.Sequential(
            [
                keras.Input((4,)),
                layers.Dense(8, activation="selu"),
                layers.Dropout(0.3),
                layers.AlphaDropout(0.3),
                layers.GaussianNoise(0.1),
                layers.GaussianDropout(0.1),
                layers.Dense(3, activation="softmax"),
            ]
        )

    x = data(5, 4)
    single, other = model("float32"), model(policy)
    other.set_weights(single.get_weights())
    expected, found = samples_of(single, x, 20), samples_of(other, x, 20)
    assert found.dtype == "float32"
    # The same masks. A dozen roundings of numbers of about 1.
    np.testing.assert_allclose(found, expected, atol=12 * rounding)
    assert found.std(axis=0).min() > 0


# What is told of a model.


class OnlyInTraining(layers.Layer):
    """Asks for `training` itself, so that its dropout is not called in inference mode."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.drop = layers.Dropout(0.5)

    def call(self, inputs, training=False):
        return self.drop(inputs, training=True) if training else inputs


def test_a_layer_that_is_never_called_gives_a_warning():
    model = alone(OnlyInTraining(), 4)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert predict(model, np.ones((3, 4))).std.max() == 0
    (told,) = [str(w.message) for w in caught if w.category is UserWarning]
    assert "drawn nothing from 'dropout" in told
    assert "stochastic=[" in told
    assert predict(model, np.ones((3, 4)), stochastic=[OnlyInTraining]).std.min() > 0


def test_attention_that_drops_nothing_is_not_stochastic():
    inputs = keras.Input((5, 4))
    outputs = layers.MultiHeadAttention(2, 2, dropout=0.0)(inputs, inputs)
    with pytest.raises(ValueError, match="no stochastic layer"):
        MonteCarlo(keras.Model(inputs, outputs))


def test_outputs_of_a_linear_layer_are_a_regression_whatever_their_sum():
    half = keras.initializers.Constant(0.5)
    last = layers.Dense(2, kernel_initializer="zeros", bias_initializer=half)
    model = keras.Sequential([keras.Input((3,)), layers.Dropout(0.5), last])
    assert predict(model, np.ones((4, 3))).task == "regression"


def test_a_rate_that_is_changed_is_noticed():
    layer = layers.Dropout(0.5)
    passes = MonteCarlo(alone(layer, 50), samples=20, seed=1)
    assert passes.predict(np.ones((4, 50)), verbose=0).std.min() > 0
    layer.rate = 0.0
    assert passes.predict(np.ones((4, 50)), verbose=0).std.max() == 0


@pytest.mark.skipif(
    keras.config.backend() == "jax", reason="JAX takes the weights away during a call, as in Keras"
)
def test_two_runs_at_once_leave_the_layers_as_they_were():
    model = keras.Sequential([keras.Input((6,)), layers.Dense(8), layers.Dropout(0.5)])
    x = data(40, 6)
    alone_results = [predict(model, x, samples=50, seed=seed).mean for seed in (1, 2)]
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(predict, model, x, samples=50, seed=seed) for seed in (1, 2)]
        together = [w.result().mean for w in waiting]
    for expected, found in zip(alone_results, together, strict=True):
        assert np.array_equal(expected, found)
    assert not any("call" in vars(layer) for layer in walk_layers(model))
