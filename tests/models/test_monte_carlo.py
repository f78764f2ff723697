"""Monte-Carlo passes: their moments, that they repeat, and that the model stays as it was."""

import importlib.util
import itertools
import random
import threading
import warnings

import keras
import numpy as np
import pytest
from keras import layers, ops
from small_models import (
    BACKEND,
    assert_identical,
    class_data,
    dense_model,
    regression_data,
    values,
    whole_state,
)

import keras_deeptricks as kdt
from keras_deeptricks.models import pass_runner
from keras_deeptricks.utils.layer_walk import walk_layers

MonteCarlo = kdt.models.MonteCarlo
X, Y = regression_data(40)
# Sums of some dozen numbers in float32, whose neighbours are 6e-8 of their size apart.
SINGLE = {"rtol": 1e-5, "atol": 1e-6}


def predict(model, x=X, samples=10, seed=1, **kwargs):
    call = {k: kwargs.pop(k) for k in ("keep_samples", "quantiles", "batch_size") if k in kwargs}
    return MonteCarlo(model, samples, seed, **kwargs).predict(x, verbose=0, **call)


def assert_same(first, second):
    assert_identical([first.mean, first.std], [second.mean, second.std])


def regressor(recurrent=False, seed=0):
    """With all that has a state: weights, statistics, and three kinds of seed generators."""
    keras.utils.set_random_seed(seed)
    x = keras.Input((4,))
    h = layers.Dense(6, activation="elu")(x)
    h = layers.BatchNormalization()(h)
    h = layers.Dropout(0.3, seed=1)(h)
    h = kdt.layers.MCDropout(0.2, seed=2)(h)
    if recurrent:
        h = layers.SimpleRNN(3, dropout=0.2, seed=3)(layers.Reshape((3, 2))(h))
    model = keras.Model(x, layers.Dense(1)(h))
    model.compile("adam", "mse")
    return model


def classifier(outputs=3, **last):
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(8, activation="relu"),
            layers.Dropout(0.5),
            layers.Dense(outputs, **{"activation": "softmax", **last}),
        ]
    )


# The numbers.


def test_moments_against_all_masks():
    """2³ masks of the inputs times 2⁴ of the hidden units, each with its probability."""
    model = keras.Sequential(
        [
            keras.Input((3,)),
            layers.Dropout(0.2),
            layers.Dense(4, activation="tanh"),
            layers.Dropout(0.5),
            layers.Dense(1),
        ]
    )
    w1, b1, w2, b2 = (w.astype("float64") for w in model.get_weights())
    x = np.array([[1.0, -2.0, 0.5], [0.3, 0.0, 3.0]])
    outputs, weights = [], []
    for mask in itertools.product([0, 1], repeat=7):
        keep = np.array(mask)
        hidden = np.tanh(x * keep[:3] / 0.8 @ w1 + b1) * keep[3:] / 0.5
        outputs.append(hidden @ w2 + b2)
        weights.append(np.prod(np.where(keep, [0.8] * 3 + [0.5] * 4, [0.2] * 3 + [0.5] * 4)))
    assert np.isclose(sum(weights), 1)
    outputs, weights = np.array(outputs), np.array(weights)[:, None, None]
    mean = np.sum(weights * outputs, axis=0)
    variance, fourth = (np.sum(weights * (outputs - mean) ** k, axis=0) for k in (2, 4))
    samples = 100_000
    found = predict(model, x, samples)
    # The standard errors of a mean and of a variance; 5 of them for each of 4 numbers.
    assert (abs(found.mean - mean) < 5 * np.sqrt(variance / samples)).all()
    assert (abs(found.variance - variance) < 5 * np.sqrt((fourth - variance**2) / samples)).all()


def test_rate_zero_is_the_model_itself():
    model = keras.Sequential([keras.Input((4,)), layers.Dropout(0.0), layers.Rescaling(3.0)])
    found = predict(model, samples=7)
    np.testing.assert_array_equal(found.mean, model.predict(X, verbose=0))
    np.testing.assert_array_equal(found.std, 0)
    model = keras.Sequential([keras.Input((4,)), layers.Dropout(0.0), layers.Dense(9)])
    found = predict(model, samples=7)
    np.testing.assert_allclose(found.mean, model.predict(X, verbose=0), **SINGLE)
    # The product of matrices may round a row by its place in the batch.
    assert found.std.max() < 1e-5


def test_moments_are_those_of_the_samples():
    model = classifier()
    found = predict(model, samples=50)
    kept = predict(model, samples=50, keep_samples=True, quantiles=(0.05, 0.5, 0.95))
    assert kept.samples.shape == (50, 40, 3)
    for one in (found, kept):
        np.testing.assert_allclose(one.mean, kept.samples.mean(axis=0), **SINGLE)
        np.testing.assert_allclose(one.std, kept.samples.std(axis=0), **SINGLE)
        entropies = -(kept.samples * np.log(kept.samples)).sum(axis=-1).mean(axis=0)
        np.testing.assert_allclose(one.expected_entropy, entropies, **SINGLE)
    quantiles = np.quantile(kept.samples, (0.05, 0.5, 0.95), axis=0)
    np.testing.assert_allclose(kept.quantiles, quantiles, **SINGLE)
    assert kept.quantile_levels == (0.05, 0.5, 0.95)
    assert found.samples is None


def test_several_compiled_calls_are_as_good_as_one(monkeypatch):
    model = classifier()
    whole = predict(model, samples=50)
    monkeypatch.setattr(pass_runner, "_PASSES_OF_A_CALL", 16)
    parts = predict(model, samples=50)
    for name in ("mean", "std", "expected_entropy"):
        np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), **SINGLE)
    kept = predict(model, samples=50, keep_samples=True)
    monkeypatch.setattr(pass_runner, "_FETCHED_ENTRIES", 1)
    np.testing.assert_array_equal(
        predict(model, samples=50, keep_samples=True).samples, kept.samples
    )


def test_rows_and_passes_are_independent():
    model = keras.Sequential([keras.Input((512,)), layers.Dropout(0.5)])
    samples = predict(model, np.ones((8, 512)), 8, keep_samples=True).samples - 1
    signs = samples.reshape(64, 512).astype("float64")
    assert set(np.unique(signs)) == {-1, 1}
    off = (signs @ signs.T / 512)[~np.eye(64, dtype=bool)]
    # Of 2016 pairs, each with the standard error 1/√512.
    assert abs(off).max() < 5 / np.sqrt(512)


def test_two_layers_and_two_calls_of_a_layer_have_masks_of_their_own():
    x = keras.Input((512,))
    drop = layers.Dropout(0.5)
    model = keras.Model(x, ops.stack([drop(x), drop(x), layers.Dropout(0.5)(x)], axis=1))
    first, second, third = predict(model, np.ones((1, 512)), 1).mean[0].astype("float64") - 1
    for a, b in ((first, second), (first, third), (second, third)):
        assert abs(np.mean(a * b)) < 5 / np.sqrt(512)


def test_tau_adds_the_noise_of_the_data():
    model = dense_model()
    passes = MonteCarlo(model, 10, 1, tau=4.0)
    found = passes.predict(X, verbose=0)
    assert found.tau == 4.0
    np.testing.assert_allclose(found.predictive_variance, found.std**2 + 0.25, **SINGLE)
    np.testing.assert_array_equal(passes.predict(X, verbose=0, tau=2.0).std, found.std)
    assert passes.predict(X, verbose=0, tau=2.0).tau == 2.0


# That they repeat.


class Batches(keras.utils.PyDataset):
    def __len__(self):
        return 6

    def __getitem__(self, index):
        return X[7 * index : 7 * index + 7]


def test_the_result_does_not_depend_on_batches():
    passes = MonteCarlo(dense_model(), 10, seed=3, chunk_size=16)
    first = passes.predict(X, verbose=0)
    for batch_size in (1, 7, 32, 1000):
        assert_same(passes.predict(X, batch_size=batch_size, verbose=0), first)
    assert_same(passes.predict((X[i : i + 5] for i in range(0, 40, 5)), verbose=0), first)
    assert_same(passes.predict(Batches(), verbose=0), first)
    assert_same(passes.predict(ops.convert_to_tensor(X), verbose=0), first)
    if importlib.util.find_spec("tensorflow"):
        import tensorflow as tf

        data = tf.data.Dataset.from_tensor_slices(X)
        for batch in (7, 64):
            assert_same(passes.predict(data.batch(batch), verbose=0), first)
    some = passes.predict(X, batch_size=8, steps=4, verbose=0)
    np.testing.assert_array_equal(some.mean, first.mean[:32])


def test_chunks_change_no_more_than_the_rounding():
    model = dense_model()
    first = predict(model)
    for chunk_size in (1, 7):
        np.testing.assert_allclose(predict(model, chunk_size=chunk_size).mean, first.mean, **SINGLE)


def test_seeds():
    model = dense_model()
    first = predict(model, seed=3)
    assert first.seed == 3
    assert_same(predict(model, seed=3), first)
    assert (predict(model, seed=4).mean != first.mean).all()
    free = MonteCarlo(model, 10)
    a, b = free.predict(X, verbose=0), free.predict(X, verbose=0)
    assert a.seed != b.seed
    assert (a.mean != b.mean).all()
    assert_same(predict(model, seed=a.seed), a)


def test_a_free_seed_takes_nothing_from_global_generators():
    passes = MonteCarlo(dense_model(), 3)

    def global_states():
        # The old global generator is what is meant: Keras shuffles with it.
        return random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002

    before = global_states()
    passes.predict(X, verbose=0)
    assert global_states() == before


# That the model stays as it was.


def attributes(model):
    return {layer.name: set(vars(layer)) for layer in walk_layers(model)}


def test_the_model_is_the_same_to_the_bit():
    model = regressor(recurrent=True)
    model.fit(X, Y, epochs=1, verbose=0)
    model.predict(X[:2], verbose=0)
    state, before = whole_state(model), attributes(model)
    listed, config, functions = list(model.layers), model.to_json(), vars(model).get("loss")
    flags = [layer.trainable for layer in walk_layers(model)]
    predict(model)
    MonteCarlo(model, 5).evaluate(X, Y, verbose=0)
    assert_identical(whole_state(model), state)
    assert attributes(model) == before
    assert model.layers == listed
    assert model.to_json() == config
    assert vars(model).get("loss") is functions
    assert [layer.trainable for layer in walk_layers(model)] == flags


def test_training_goes_on_as_without_passes():
    plain, other = regressor(), regressor()
    for model in (plain, other):
        model.fit(X, Y, epochs=1, shuffle=False, verbose=0)
    predict(other)
    for model in (plain, other):
        model.fit(X, Y, epochs=2, shuffle=False, verbose=0)
    assert_identical(whole_state(other), whole_state(plain))


def test_passes_within_a_training():
    plain, other = regressor(), regressor()
    passes, means = MonteCarlo(other, 3, seed=1), []

    def look(epoch, logs):
        means.append(passes.predict(X[:4], verbose=0).mean)

    plain.fit(X, Y, epochs=3, shuffle=False, verbose=0)
    callback = keras.callbacks.LambdaCallback(on_epoch_end=look)
    other.fit(X, Y, epochs=3, shuffle=False, verbose=0, callbacks=[callback])
    assert_identical(whole_state(other), whole_state(plain))
    assert len({mean.tobytes() for mean in means}) == 3
    np.testing.assert_array_equal(passes.predict(X[:4], verbose=0).mean, means[-1])


def test_new_weights_are_used():
    model = keras.Sequential([keras.Input((4,)), layers.Dropout(0.5), layers.Dense(1)])
    passes = MonteCarlo(model, 10, seed=1)
    first = passes.predict(X, verbose=0)
    model.layers[-1].kernel.assign(2 * model.layers[-1].kernel)
    np.testing.assert_allclose(passes.predict(X, verbose=0).mean, 2 * first.mean, **SINGLE)


def test_freezing_between_predictions():
    model = dense_model()
    passes = MonteCarlo(model, 10, seed=1)
    first, state = passes.predict(X, verbose=0), values(model.variables)
    kdt.models.freeze(model, ["hidden"])
    np.testing.assert_allclose(passes.predict(X, verbose=0).mean, first.mean, **SINGLE)
    kdt.models.unfreeze(model, ["hidden"])
    assert_same(passes.predict(X, verbose=0), first)
    assert_identical(values(model.variables), state)


def test_losses_of_layers_do_not_stay():
    x = keras.Input((4,))
    h = layers.ActivityRegularization(l2=0.1)(layers.Dropout(0.5)(x))
    model = keras.Model(x, layers.Dense(1, kernel_regularizer="l2")(h))
    model.compile("sgd", "mse")
    count = len(model.losses)
    predict(model)
    assert len(model.losses) == count
    model.fit(X, Y, verbose=0)
    assert np.isfinite(model.evaluate(X, Y, verbose=0))


@keras.saving.register_keras_serializable("test_monte_carlo")
class Broken(layers.Layer):
    """Fails in the second call after it was armed: within the passes."""

    calls = None

    def call(self, inputs):
        if type(self).calls is not None:
            type(self).calls += 1
            if type(self).calls > 1:
                raise RuntimeError("out of order")
        return inputs

    def compute_output_shape(self, input_shape):
        return input_shape


def test_after_an_error_within_the_passes_the_model_is_as_before():
    x = keras.Input((4,))
    h = layers.LSTM(3, dropout=0.5)(layers.Reshape((2, 2))(layers.Dropout(0.5, seed=1)(x)))
    model = keras.Model(x, Broken()(h))
    model.predict(X, verbose=0)
    passes = MonteCarlo(model, 5)
    expected = ops.convert_to_numpy(model(X))
    # Only now: a recurrent layer's generator moves on with every call, says Keras.
    before, state = attributes(model), whole_state(model)
    passes._runner._prepare(X[:2])  # it calls the layers too
    Broken.calls = 0
    try:
        with pytest.raises(RuntimeError, match="out of order"):
            passes.predict(X, verbose=0)
    finally:
        Broken.calls = None
    assert attributes(model) == before
    assert_identical(whole_state(model), state)
    np.testing.assert_array_equal(ops.convert_to_numpy(model(X)), expected)
    assert passes.predict(X, verbose=0).std.max() > 0


@pytest.mark.skipif(
    BACKEND == "jax", reason="On JAX Keras gives the weights away for the length of a compiled call"
)
def test_the_model_itself_is_not_random_in_another_thread():
    model = dense_model()
    expected = ops.convert_to_numpy(model(X[:2], training=False))
    found, over = [], threading.Event()

    def watch():
        while not over.is_set():
            found.append(ops.convert_to_numpy(model(X[:2], training=False)))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        predict(model, samples=3000, chunk_size=1)
    finally:
        over.set()
        thread.join()
    assert found
    for one in found:
        np.testing.assert_array_equal(one, expected)


# Evaluation.


def test_evaluation_of_a_regression():
    model, tau = dense_model(), 2.0
    passes = MonteCarlo(model, 30, seed=1, tau=tau)
    found = passes.evaluate(X, Y, verbose=0, interval_level=0.8)
    samples = passes.predict(X, verbose=0, keep_samples=True).samples[..., 0].astype("float64")
    np.testing.assert_allclose(found.rmse, np.sqrt(np.mean((samples.mean(0) - Y) ** 2)), rtol=1e-5)
    # Gal & Ghahramani, equation 8: logsumexp(−½τ(y − ŷ)²) − ln T − ½ ln 2π − ½ ln τ⁻¹.
    exponents = -0.5 * tau * (Y - samples) ** 2
    largest = exponents.max(axis=0)
    log_sum = largest + np.log(np.exp(exponents - largest).sum(axis=0))
    density = log_sum - np.log(30) - 0.5 * np.log(2 * np.pi) + 0.5 * np.log(tau)
    np.testing.assert_allclose(found.negative_log_likelihood, -density.mean(), rtol=1e-5)
    assert (found.rows, found.passes, found.task) == (40, 30, "regression")
    # Without τ the interval is that of the samples.
    plain = MonteCarlo(model, 30, seed=1).evaluate(X, Y, verbose=0, interval_level=0.8)
    below = np.mean(samples < Y, axis=0)
    assert plain.interval_coverage == np.mean(abs(2 * below - 1) <= 0.8)
    variance = samples.var(axis=0)
    gauss = 0.5 * ((Y - samples.mean(0)) ** 2 / variance + np.log(2 * np.pi * variance))
    np.testing.assert_allclose(plain.negative_log_likelihood, gauss.mean(), rtol=1e-4)


@pytest.mark.parametrize("one_hot", [False, True])
def test_evaluation_of_a_classification(one_hot):
    x, y = class_data(40)
    passes = MonteCarlo(classifier(), 20, seed=1)
    weights = np.linspace(0, 2, 40)
    targets = np.eye(3)[y] if one_hot else y
    found = passes.evaluate(x, targets, sample_weight=weights, verbose=0)
    p = passes.predict(x, verbose=0).mean.astype("float64")
    right = p.argmax(axis=-1) == y
    np.testing.assert_allclose(found.accuracy, np.average(right, weights=weights))
    nll = np.average(-np.log(p[np.arange(40), y]), weights=weights)
    np.testing.assert_allclose(found.negative_log_likelihood, nll, rtol=1e-6)
    brier = np.average(((p - np.eye(3)[y]) ** 2).sum(axis=-1), weights=weights)
    np.testing.assert_allclose(found.brier_score, brier, rtol=1e-6)


def test_evaluation_of_data_sets():
    passes = MonteCarlo(dense_model(), 10, seed=1, chunk_size=16)
    weights = np.linspace(0, 1, 40).astype("float32")
    expected = passes.evaluate(X, Y, sample_weight=weights, verbose=0).as_dict()
    parts = (X, Y, weights)
    batches = (tuple(p[i : i + 7] for p in parts) for i in range(0, 40, 7))
    # y goes through float64 in any case; the passes are the same to the bit.
    assert passes.evaluate(batches, verbose=0).as_dict() == expected
    if importlib.util.find_spec("tensorflow"):
        import tensorflow as tf

        data = tf.data.Dataset.from_tensor_slices(parts).batch(9)
        assert passes.evaluate(data, verbose=0).as_dict() == expected
    column = passes.evaluate(X, Y[:, None], sample_weight=weights, verbose=0)
    assert column.as_dict() == expected


def test_evaluation_of_several_outputs():
    x = keras.Input((4,))
    h = layers.Dropout(0.5)(layers.Dense(8, activation="relu")(x))
    outputs = {"size": layers.Dense(1)(h), "kind": layers.Dense(3, activation="softmax")(h)}
    passes = MonteCarlo(keras.Model(x, outputs), 10, seed=1)
    _, kinds = class_data(40)
    found = passes.evaluate(X, {"kind": kinds, "size": Y}, verbose=0, tau=1.0)
    assert {name: one.task for name, one in found.items()} == {
        "size": "regression",
        "kind": "classification",
    }
    prediction = passes.predict(X, verbose=0)
    np.testing.assert_allclose(found["kind"].accuracy, np.mean(prediction["kind"].labels == kinds))
    gap = prediction["size"].mean[:, 0] - Y
    np.testing.assert_allclose(found["size"].rmse, np.sqrt(np.mean(gap**2)), rtol=1e-5)


# The task.


@pytest.mark.parametrize(
    "last, compiled, expected",
    [
        ({}, {}, "classification"),
        ({"outputs": 1, "activation": "sigmoid"}, {}, "binary"),
        ({"outputs": 4, "activation": "sigmoid"}, {}, "binary"),
        ({"outputs": 1, "activation": None}, {"loss": "mse"}, "regression"),
        ({"outputs": 2, "activation": None}, {}, "regression"),
    ],
)
def test_the_task_is_told(last, compiled, expected):
    model = classifier(**last)
    if compiled:
        model.compile(**compiled)
    assert predict(model, samples=3).task == expected


def test_logits_are_noticed_and_turned_into_probabilities():
    model = classifier(activation=None)
    model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert predict(model, samples=3).task == "regression"
    assert sum("Pass activation='softmax'" in str(warning.message) for warning in caught) == 1
    found = predict(model, activation="softmax", keep_samples=True)  # warnings are errors here
    assert found.task == "classification"
    # Softmax before the mean: each pass sums to one.
    np.testing.assert_allclose(found.samples.sum(axis=-1), 1, **SINGLE)
    np.testing.assert_allclose(found.mean, found.samples.mean(axis=0), **SINGLE)
    np.testing.assert_allclose(
        predict(classifier(), keep_samples=True).samples, found.samples, **SINGLE
    )


# Errors, and what is printed.


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"samples": 0}, "`samples`"),
        ({"samples": 1.5}, "`samples`"),
        ({"seed": -1}, "`seed`"),
        ({"seed": "1"}, "`seed`"),
        ({"tau": 0}, "`tau`"),
        ({"tau": float("nan")}, "`tau`"),
        ({"chunk_size": 0}, "`chunk_size`"),
        ({"stochastic": [layers.Dropout(0.5)]}, "`stochastic`"),
        ({"stochastic": int}, "`stochastic`"),
        ({"activation": "softmaxx"}, "softmaxx"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises((TypeError, ValueError), match=message):
        MonteCarlo(dense_model(), **arguments)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"quantiles": []}, "`quantiles`"),
        ({"quantiles": 1.5}, "`quantiles`"),
        ({"keep_samples": 1}, "`keep_samples`"),
        ({"batch_size": 0}, "`batch_size`"),
        ({"steps": -1}, "`steps`"),
        ({"tau": -1.0}, "`tau`"),
        ({"x": X[:0]}, "`x` is empty"),
        ({"x": iter([])}, "`x` is empty"),
        ({"x": iter([X[:0]])}, "`x` is empty"),
    ],
)
def test_bad_arguments_of_predict(arguments, message):
    model = dense_model()
    before, state = attributes(model), whole_state(model)
    with pytest.raises((TypeError, ValueError), match=message):
        MonteCarlo(model, 2).predict(**{"x": X, "verbose": 0, **arguments})
    assert attributes(model) == before
    assert_identical(whole_state(model), state)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({}, "`y` is missing"),
        ({"y": Y[:5]}, "same number of rows"),
        ({"y": X}, "`y` must have the shape"),
        ({"y": [Y, Y]}, "one array for each of the 1 output"),
        ({"y": Y, "interval_level": 1}, "`interval_level`"),
        ({"y": Y, "bins": 1}, "`bins`"),
        ({"y": Y, "sample_weight": -np.ones(40)}, "`sample_weight`"),
    ],
)
def test_bad_arguments_of_evaluate(arguments, message):
    with pytest.raises((TypeError, ValueError), match=message):
        MonteCarlo(dense_model(), 2).evaluate(X, **{"verbose": 0, **arguments})


def test_models_without_meaning():
    with pytest.raises(TypeError, match=r"`model` must be a keras\.Model"):
        MonteCarlo(layers.Dropout(0.5))
    with pytest.raises(ValueError, match="has no stochastic layer"):
        MonteCarlo(keras.Sequential([keras.Input((4,)), layers.Dense(1)]))
    stateful = keras.Sequential(
        [keras.Input(batch_shape=(4, 3, 2)), layers.LSTM(3, dropout=0.5, stateful=True)]
    )
    with pytest.raises(ValueError, match="is stateful"):
        predict(stateful, np.zeros((4, 3, 2)))
    with pytest.raises(ValueError, match="no output is a regression"):
        predict(classifier(), tau=1.0)


def test_progress_is_printed_on_demand(capsys):
    passes = MonteCarlo(dense_model(), 3, seed=1)
    passes.predict(X, verbose=0)
    passes.evaluate(X, Y, verbose=0)
    assert capsys.readouterr().out == ""
    passes.predict(X, verbose=2)
    # 40 rows of 3 passes, in one line.
    assert capsys.readouterr().out.count("120/120") == 1
    passes.predict(iter([X]), verbose=1)
    assert "120" in capsys.readouterr().out


@pytest.mark.parametrize("how", [{"run_eagerly": True}, {"jit_compile": False}])
def test_a_model_is_run_as_it_was_compiled(how):
    model = dense_model()
    expected = predict(model)
    model.compile("sgd", "mse", **how)
    # The same operations, fused otherwise.
    np.testing.assert_allclose(predict(model).mean, expected.mean, **SINGLE)
