"""Statistics of batch normalization from data: both methods by hand, and every kind of model."""

import importlib

import keras
import numpy as np
import pytest
from keras import layers, ops
from small_models import BACKEND, assert_identical, dense_model, values, whole_state

import keras_deeptricks as kdt
from keras_deeptricks.utils.composite import Composite
from keras_deeptricks.utils.patching import patched

refresh_batch_norm = kdt.models.refresh_batch_norm
# Sums of a few hundred float32 values.
CLOSE = {"rtol": 1e-5, "atol": 1e-5}
EPSILON = 1e-3  # Keras' default


def data(rows=100, features=4, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(2, 3, size=(rows, features)).astype("float32")


def norms_of(model):
    found = model._flatten_layers()
    return [layer for layer in found if isinstance(layer, layers.BatchNormalization)]


def scramble(model, seed=0):
    """Other weights and statistics than those of a new batch normalization."""
    rng = np.random.default_rng(seed)
    for norm in norms_of(model):
        for variable in norm.weights:
            variable.assign(rng.uniform(0.5, 2, size=variable.shape))
    return model


def statistics(norm):
    return values([norm.moving_mean, norm.moving_variance])


def sequential(**options):
    return scramble(
        keras.Sequential(
            [
                keras.Input((4,)),
                layers.Dense(8, activation="relu"),
                layers.BatchNormalization(**options),
                layers.Dropout(0.5, seed=1),
                layers.Dense(5),
                layers.BatchNormalization(**options),
                layers.Dense(1),
            ]
        )
    )


def hidden_by_hand(model, x):
    dense = [layer.get_weights() for layer in model.layers if isinstance(layer, layers.Dense)]
    return np.maximum(x.astype("float64") @ dense[0][0] + dense[0][1], 0), dense[1]


def normalized(norm, h, mean, variance):
    gamma = values([norm.gamma])[0] if norm.scale else 1.0
    beta = values([norm.beta])[0] if norm.center else 0.0
    return (h - mean) / np.sqrt(variance + EPSILON) * gamma + beta


def layerwise_by_hand(model, x):
    norm = norms_of(model)[0]
    h, (kernel, bias) = hidden_by_hand(model, x)
    k = normalized(norm, h, h.mean(axis=0), h.var(axis=0)) @ kernel + bias
    return [[h.mean(axis=0), h.var(axis=0)], [k.mean(axis=0), k.var(axis=0)]]


def batch_average_by_hand(model, x, batch_size):
    norm = norms_of(model)[0]
    sums, rows = [[0, 0], [0, 0]], len(x)
    for first in range(0, rows, batch_size):
        h, (kernel, bias) = hidden_by_hand(model, x[first : first + batch_size])
        k = normalized(norm, h, h.mean(axis=0), h.var(axis=0)) @ kernel + bias
        share = len(h) / rows
        for total, part in zip(sums, (h, k), strict=True):
            total[0] = total[0] + share * part.mean(axis=0)
            total[1] = total[1] + share * part.var(axis=0)
    return sums


def assert_statistics(model, expected, **tolerance):
    for norm, pair in zip(norms_of(model), expected, strict=True):
        for ours, theirs in zip(statistics(norm), pair, strict=True):
            np.testing.assert_allclose(ours, theirs, **(tolerance or CLOSE))


@pytest.mark.parametrize("batch_size", [None, 32, 100])
@pytest.mark.parametrize("options", [{}, {"scale": False}, {"center": False, "scale": False}])
def test_layerwise_by_hand(options, batch_size):
    model, x = sequential(**options), data()
    old = [statistics(norm) for norm in norms_of(model)]
    expected = layerwise_by_hand(model, x)
    report = refresh_batch_norm(model, x, batch_size=batch_size)
    assert_statistics(model, expected)
    assert (report.method, report.rows, report.passes) == ("layerwise", 100, 2)
    assert report.layers == [norm.name for norm in norms_of(model)]
    for place, norm in enumerate(norms_of(model)):
        new = statistics(norm)
        assert_identical([report.old_mean[place], report.old_variance[place]], old[place])
        assert_identical([report.new_mean[place], report.new_variance[place]], new)
        shift = (new[0] - old[place][0]) / np.sqrt(old[place][1])
        np.testing.assert_allclose(report.mean_shift[place], np.sqrt(np.mean(shift**2)), rtol=1e-5)


@pytest.mark.parametrize("batch_size", [32, 50])  # 32 leaves a short last batch
def test_batch_average_by_hand(batch_size):
    model, x = sequential(), data()
    expected = batch_average_by_hand(model, x, batch_size)
    report = refresh_batch_norm(model, x, method="batch_average", batch_size=batch_size)
    assert_statistics(model, expected)
    assert (report.method, report.rows, report.passes) == ("batch_average", 100, 1)


def test_the_methods_agree_on_a_single_batch_and_differ_on_many():
    x = data()
    exact, one, many = sequential(), sequential(), sequential()
    for model in (one, many):
        model.set_weights(exact.get_weights())
    refresh_batch_norm(exact, x)
    refresh_batch_norm(one, x, "batch_average", batch_size=100)
    refresh_batch_norm(many, x, "batch_average", batch_size=10)
    assert_statistics(one, [statistics(norm) for norm in norms_of(exact)])
    # Within batches of 10 rows the variance is a tenth smaller, on average.
    ratio = statistics(norms_of(many)[0])[1] / statistics(norms_of(exact)[0])[1]
    np.testing.assert_allclose(ratio.mean(), 0.9, atol=0.05)


def test_it_does_not_matter_where_the_statistics_were():
    first, second = sequential(), sequential()
    second.set_weights(first.get_weights())
    for norm in norms_of(second):
        norm.moving_mean.assign(np.full(norm.moving_mean.shape, 100.0))
    for model in (first, second):
        refresh_batch_norm(model, data())
    assert_identical(first.get_weights(), second.get_weights())


def test_data_far_from_zero_keeps_its_variance():
    # In float32 the mean of squares less the squared mean would be lost altogether.
    model = keras.Sequential([keras.Input((1,)), layers.BatchNormalization()])
    x = (1e4 + np.random.default_rng(0).normal(size=(1000, 1))).astype("float32")
    refresh_batch_norm(model, x, batch_size=128)
    exact = x.astype("float64")
    assert_statistics(model, [[exact.mean(axis=0), exact.var(axis=0)]], rtol=1e-5)


def test_only_the_statistics_change():
    model, x = sequential(), data()
    model.compile("adam", "mse", metrics=["mae"])
    model.fit(x, x[:, :1], verbose=0)
    changing = {id(v) for n in norms_of(model) for v in (n.moving_mean, n.moving_variance)}
    kept = [v for v in model.variables if id(v) not in changing]
    before, state = values(kept), whole_state(model)
    flags = [v.trainable for v in model.variables]
    optimizer = values(model.optimizer.variables)
    for method in ("layerwise", "batch_average"):
        refresh_batch_norm(model, x, method)
        assert_identical(values(kept), before)
        assert_identical(values(model.optimizer.variables), optimizer)
    assert [v.trainable for v in model.variables] == flags
    assert len(whole_state(model)) == len(state)
    assert all("call" not in vars(layer) for layer in model.layers)
    model.fit(x, x[:, :1], verbose=0)  # and it still trains


@pytest.mark.parametrize("eagerly", [True, False])
def test_a_traced_predict_function_uses_the_new_statistics(eagerly):
    model, x = sequential(), data()
    model.compile("sgd", "mse", run_eagerly=eagerly)
    before = model.predict(x, verbose=0)
    refresh_batch_norm(model, x)
    after = model.predict(x, verbose=0)
    fresh = sequential()
    fresh.set_weights(model.get_weights())
    np.testing.assert_allclose(after, fresh.predict(x, verbose=0), **CLOSE)
    assert np.abs(after - before).max() > 0.1


def test_layers_that_are_random_in_inference_keep_their_seeds():
    model = keras.Sequential(
        [keras.Input((4,)), kdt.layers.MCDropout(0.5, seed=3), layers.BatchNormalization()]
    )
    before = values(model.variables)
    refresh_batch_norm(model, data())
    changed = [
        variable.name
        for variable, old in zip(model.variables, before, strict=True)
        if not np.array_equal(values([variable])[0], old)
    ]
    assert changed == ["moving_mean", "moving_variance"]


class Pair(Composite):
    """A layer that only calls two others."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense, self.norm = layers.Dense(4), layers.BatchNormalization()

    def build(self, shape):
        self.dense.build(shape)
        self.norm.build(shape)
        super().build(shape)

    def call_parts(self, call, inputs):
        return inputs + call(self.norm, call(self.dense, inputs))

    def call(self, inputs, training=False):
        return inputs + self.norm(self.dense(inputs), training=training)


class Opaque(layers.Layer):
    """A layer of one's own with layers inside, one of which it calls in training mode."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        # Listed in another order than they are called in.
        self.inner = [layers.BatchNormalization(), layers.BatchNormalization(), layers.Dense(4)]

    def build(self, shape):
        for layer in self.inner:
            layer.build(shape)
        super().build(shape)

    def call(self, inputs):
        last, first, dense = self.inner
        return last(ops.square(dense(first(inputs, training=True))))


def chain(*parts):
    inputs = tensor = keras.Input((4,))
    for part in parts:
        tensor = part(tensor)
    return keras.Model(inputs, tensor)


def branches():
    """Two branches of two norms each, and one after them: three depths."""
    inputs = keras.Input((4,))
    ends = []
    for _ in range(2):
        h = layers.BatchNormalization()(layers.Dense(4, activation="tanh")(inputs))
        ends.append(layers.BatchNormalization()(layers.Dense(3, activation="relu")(h)))
    return keras.Model(inputs, layers.BatchNormalization()(ops.multiply(*ends)))


def nested():
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(4), layers.BatchNormalization()])
    return chain(layers.BatchNormalization(), inner, layers.Dense(4), layers.BatchNormalization())


def subclassed():
    model = dense_model(outputs=4, kind="subclassed")
    model.inner.append(layers.BatchNormalization())
    model(data())
    return model


KINDS = {
    "sequential": (sequential, 2),
    "branches": (branches, 3),
    "nested": (nested, 3),
    "subclassed": (subclassed, 2),
    "composite": (lambda: chain(Pair(), layers.Dense(4), Pair()), 2),
    "opaque": (lambda: chain(layers.BatchNormalization(), Opaque()), 3),
}


def watching(norm, seen):
    """The layer's call in inference mode, also where training mode is asked for."""
    original = norm.call

    def call(inputs, training=None, mask=None):
        seen[norm.name] = ops.convert_to_numpy(inputs)
        return original(inputs, training=False, mask=mask)

    return call


@pytest.mark.parametrize("kind", KINDS)
def test_after_layerwise_every_layer_gets_what_it_expects(kind):
    """What enters a layer in inference has its mean and variance: the definition."""
    build, passes = KINDS[kind]
    model, x = scramble(build()), data()
    report = refresh_batch_norm(model, x, batch_size=32)
    assert report.passes == passes
    assert sorted(report.layers) == sorted(norm.name for norm in norms_of(model))
    seen = {}
    with patched([(norm, "call", watching(norm, seen)) for norm in norms_of(model)]):
        model(ops.convert_to_tensor(x), training=False)
    for norm in norms_of(model):
        mean, variance = statistics(norm)
        np.testing.assert_allclose(mean, seen[norm.name].mean(axis=0), **CLOSE)
        np.testing.assert_allclose(variance, seen[norm.name].var(axis=0), **CLOSE)


@pytest.mark.parametrize("kind", KINDS)
def test_batch_average_is_what_training_tends_to(kind):
    model, x = scramble(KINDS[kind][0]()), data()
    twin = scramble(KINDS[kind][0]())
    twin.set_weights(model.get_weights())
    # With one batch and no momentum, training mode leaves that batch's statistics behind.
    for norm in norms_of(twin):
        norm.momentum = 0.0
    for layer in twin._flatten_layers():
        if isinstance(layer, layers.Dropout):
            layer.rate = 0.0
    twin(ops.convert_to_tensor(x), training=True)
    report = refresh_batch_norm(model, x, "batch_average", batch_size=100)
    assert report.passes == 1
    assert_statistics(model, [statistics(norm) for norm in norms_of(twin)])


def test_a_layer_called_twice_has_the_statistics_of_all_calls():
    norm = layers.BatchNormalization()
    inputs = [keras.Input((4,)), keras.Input((4,))]
    model = keras.Model(inputs, layers.Add()([norm(inputs[0]), norm(inputs[1])]))
    pair = [data(), 5 + 2 * data(seed=1)]
    both = np.concatenate(pair).astype("float64")
    assert refresh_batch_norm(model, pair, batch_size=32).passes == 1
    assert_statistics(model, [[both.mean(axis=0), both.var(axis=0)]])
    # In training every call has a batch of its own.
    refresh_batch_norm(model, pair, "batch_average", batch_size=100)
    expected = [np.mean([f(x, axis=0) for x in pair], axis=0) for f in (np.mean, np.var)]
    assert_statistics(model, [expected])


def test_a_layer_called_on_its_own_output_is_told_by_its_old_statistics():
    norm, other = layers.BatchNormalization(), layers.BatchNormalization()
    model = scramble(chain(norm, other, norm))
    x = data()
    old = statistics(norm)
    report = refresh_batch_norm(model, x)
    assert report.layers == [norm.name, other.name]
    first = x.astype("float64")
    # The second layer had not been refreshed either when the first one was.
    assert report.passes == 2
    middle = normalized(norm, first, *old)
    middle = normalized(other, middle, report.old_mean[1], report.old_variance[1])
    both = np.concatenate([first, middle])
    np.testing.assert_allclose(statistics(norm)[0], both.mean(axis=0), **CLOSE)
    np.testing.assert_allclose(statistics(norm)[1], both.var(axis=0), **CLOSE)


@pytest.mark.parametrize("axis", [1, -1])
def test_images(axis):
    model = keras.Sequential([keras.Input((3, 5, 2)), layers.BatchNormalization(axis=axis)])
    x = np.random.default_rng(0).normal(2, 3, size=(50, 3, 5, 2)).astype("float32")
    others = tuple(a for a in range(4) if a != axis % 4)
    expected = [[x.mean(axis=others), x.var(axis=others)]]
    for method in ("layerwise", "batch_average"):
        refresh_batch_norm(model, x, method, batch_size=50)
        assert_statistics(model, expected)


@pytest.mark.parametrize("method", ["layerwise", "batch_average"])
def test_masked_entries_do_not_count(method):
    model = keras.Sequential(
        [keras.Input((6, 2)), layers.Masking(-1.0), layers.BatchNormalization()]
    )
    x = np.random.default_rng(0).normal(2, 3, size=(20, 6, 2)).astype("float32")
    x[:15, 4:], x[3:9, 1:], x[10] = -1.0, -1.0, -1.0
    seen = (x != -1.0).any(axis=-1)
    refresh_batch_norm(model, x, method, batch_size=20 if method == "batch_average" else 7)
    assert_statistics(model, [[x[seen].mean(axis=0), x[seen].var(axis=0)]])


def test_batches_count_by_their_unmasked_values():
    model = keras.Sequential(
        [keras.Input((3, 1)), layers.Masking(-1.0), layers.BatchNormalization()]
    )
    x = np.array([[1, 2, 3], [4, 5, 6], [10, 20, -1], [-1, -1, -1]], "float32")[..., None]
    refresh_batch_norm(model, x, "batch_average", batch_size=2)
    # Six values of mean 3.5 and variance 35/12; two of mean 15 and variance 25.
    assert_statistics(model, [[[(6 * 3.5 + 2 * 15) / 8], [(6 * 35 / 12 + 2 * 25) / 8]]])


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_under_a_mixed_policy_the_statistics_are_in_float32(policy):
    keras.config.set_dtype_policy(policy)
    model = keras.Sequential([keras.Input((4,)), layers.BatchNormalization()])
    x = np.round(data(rows=500) * 4) / 4  # what bfloat16 can tell
    refresh_batch_norm(model, x)
    assert_statistics(model, [[x.mean(axis=0), x.var(axis=0)]])


def test_frozen_and_synchronized_layers_are_refreshed_too():
    # Keras has the latter on TensorFlow alone.
    model = sequential(synchronized=BACKEND == "tensorflow")
    model.trainable = False
    x = data()
    expected = layerwise_by_hand(model, x)
    refresh_batch_norm(model, x)
    assert_statistics(model, expected)
    assert not model.trainable


def test_renormalization_gets_its_deviation():
    try:
        norm = layers.BatchNormalization(renorm=True)
    except (TypeError, ValueError):
        pytest.skip("this Keras has no batch renormalization")
    model, x = keras.Sequential([keras.Input((4,)), norm]), data()
    refresh_batch_norm(model, x)
    np.testing.assert_allclose(
        values([norm.moving_stddev])[0], np.sqrt(x.var(axis=0) + EPSILON), **CLOSE
    )


def test_only_the_chosen_layers_are_refreshed():
    model, x = sequential(), data()
    first, second = norms_of(model)
    before = statistics(second)
    assert refresh_batch_norm(model, x, layers=first.name).layers == [first.name]
    assert_identical(statistics(second), before)
    expected = layerwise_by_hand(model, x)
    for method in ("layerwise", "batch_average"):
        refresh_batch_norm(model, x, method, batch_size=100, layers=[second])
        assert_statistics(model, expected)


def test_the_function_is_not_hidden_by_its_module():
    module = importlib.import_module("keras_deeptricks.models.refresh_batch_norm")
    assert module.refresh_batch_norm is kdt.models.refresh_batch_norm
    import keras_deeptricks.models.refresh_batch_norm

    assert callable(keras_deeptricks.models.refresh_batch_norm)
