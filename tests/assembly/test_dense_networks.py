"""The two networks: structure, initializers, precision, loss and standardization."""

import keras
import numpy as np
import pytest

import keras_deeptricks as kdt

RNG = np.random.default_rng(0)
TABLE = RNG.normal([5, -2, 100], [2, 0.1, 30], size=(200, 3)).astype("float32")
NETWORKS = (kdt.recipes.default_network, kdt.recipes.self_normalizing_network)


def kinds(model):
    return [type(layer).__name__ for layer in model.layers]


def dense_layers(model):
    return [layer for layer in model.layers if isinstance(layer, keras.layers.Dense)]


def test_batch_norm_comes_with_depth():
    shallow = kdt.recipes.default_network((3,), 4, hidden_units=(8, 8))
    deep = kdt.recipes.default_network((3,), 4, hidden_units=(8, 8, 8))
    assert kinds(shallow).count("BatchNormalization") == 0
    assert kinds(deep).count("BatchNormalization") == 3
    forced = kdt.recipes.default_network((3,), 4, hidden_units=(8,), normalization="batch")
    assert kinds(forced).count("BatchNormalization") == 1
    none = kdt.recipes.default_network((3,), 4, hidden_units=(8,) * 5, normalization=None)
    assert kinds(none).count("BatchNormalization") == 0


@pytest.mark.parametrize("position", ["before", "after"])
def test_batch_norm_position(position):
    model = kdt.recipes.default_network(
        (3,), 4, hidden_units=(8,), normalization="batch", batch_norm_position=position
    )
    order = [name for name in kinds(model)[2:5] if name != "Dense"]
    expected = ["BatchNormalization", "Activation"]
    assert order == (expected if position == "before" else expected[::-1])
    # Batch norm right behind it makes a bias superfluous.
    assert dense_layers(model)[0].use_bias == (position == "after")


def test_default_configuration():
    model = kdt.recipes.default_network((3,), 4, l2=0.01, dropout=0.3, hidden_units=(8, 6))
    hidden, last = dense_layers(model)[:-1], dense_layers(model)[-1]
    assert all(
        isinstance(layer.kernel_initializer, keras.initializers.HeNormal) for layer in hidden
    )
    assert isinstance(last.kernel_initializer, keras.initializers.GlorotNormal)
    assert all(float(layer.kernel_regularizer.l2) == pytest.approx(0.01) for layer in hidden)
    assert kinds(model).count("Dropout") == 2
    assert isinstance(model.optimizer, kdt.optimizers.SGD)
    assert model.optimizer.nesterov


def test_self_normalizing_configuration():
    model = kdt.recipes.self_normalizing_network((3,), 4, hidden_units=(8, 6), alpha_dropout=0.2)
    hidden = dense_layers(model)[:-1]
    assert all(
        isinstance(layer.kernel_initializer, keras.initializers.LecunNormal) for layer in hidden
    )
    assert all(layer.activation is keras.activations.selu for layer in hidden)
    assert kinds(model).count("AlphaDropout") == 2
    assert kinds(model).count("BatchNormalization") == 0


@pytest.mark.parametrize("network", NETWORKS)
def test_max_norm_limits_the_hidden_units_only(network):
    model = network((3,), 4, hidden_units=(8, 6), max_norm=0.1, seed=0)
    model.train_on_batch(TABLE, np.arange(200) % 4)
    norms = [
        np.linalg.norm(keras.ops.convert_to_numpy(layer.kernel), axis=0)
        for layer in dense_layers(model)
    ]
    # LeCun's and He's kernels begin with norms of 1 and more; rounding in single precision.
    assert all(norm.max() <= 0.1 * (1 + 1e-6) for norm in norms[:-1])
    assert norms[-1].max() > 0.2
    assert all(layer.kernel_constraint is None for layer in dense_layers(network((3,), 4)))


def test_activations_stay_normal_through_32_selu_layers():
    model = kdt.recipes.self_normalizing_network(
        (64,), 2, hidden_units=(256,) * 32, alpha_dropout=0.0, seed=1
    )
    x = np.random.default_rng(1).normal(size=(512, 64)).astype("float32")
    last = keras.Model(model.inputs, dense_layers(model)[-2].output)
    signal = last.predict(x, verbose=0)
    # The fixed point is mean 0 and variance 1; 32 random layers of 256 units wander around it
    # by a few times 1/√256.
    assert abs(signal.mean()) < 0.2
    assert 0.6 < signal.var() < 1.5


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize(
    "task, outputs, loss, activation",
    [
        ("classification", 4, "sparse_categorical_crossentropy", "softmax"),
        ("binary", 1, "binary_crossentropy", "sigmoid"),
        ("multilabel", 4, "binary_crossentropy", "sigmoid"),
        ("regression", 2, "StandardizedMeanSquaredError", "linear"),
    ],
)
def test_tasks(network, task, outputs, loss, activation):
    model = network((3,), outputs, task=task, hidden_units=(8,))
    assert model.loss == loss or type(model.loss).__name__ == loss
    assert model.get_layer("output").activation.__name__ == activation
    assert model.output_shape == (None, outputs)


def test_features_are_standardized_each_and_constants_only_centred():
    x = np.concatenate([TABLE, np.full((200, 1), 7.0, "float32")], axis=1)
    model = kdt.recipes.default_network((4,), 2, adapt_to=x)
    standardized = model.get_layer("standardization")(x)
    standardized = keras.ops.convert_to_numpy(standardized)
    # Single precision of numbers around 100.
    np.testing.assert_allclose(standardized.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(standardized.std(axis=0), [1, 1, 1, 0], atol=1e-5)
    moved = keras.ops.convert_to_numpy(model.get_layer("standardization")(x + 0.5))
    np.testing.assert_allclose(moved[:, 3], 0.5)


@pytest.mark.parametrize("shape, statistics", [((5, 6), ()), ((5, 6, 3), (3,)), ((7,), (7,))])
def test_one_mean_per_channel_or_feature(shape, statistics):
    x = np.random.default_rng(0).integers(0, 256, size=(50, *shape)).astype("uint8")
    model = kdt.recipes.default_network(shape, 2, adapt_to=x, hidden_units=(4,))
    layer = model.get_layer("standardization")
    assert tuple(layer.mean.shape) == statistics
    axes = (0, 1, 2)[: len(shape) + 1] if len(shape) != 1 else (0,)
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(layer.mean), x.astype(float).mean(axis=axes), rtol=1e-5
    )


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_keeps_input_and_output_in_float32(precision):
    # Raw values beyond the range of float16 (65,504) must survive standardization.
    x = (TABLE * 1e5).astype("float32")
    model = kdt.recipes.default_network(
        (3,), 4, hidden_units=(8, 8, 8), adapt_to=x, precision=precision
    )
    assert all(layer.compute_dtype == precision[6:] for layer in dense_layers(model))
    assert model.get_layer("output").compute_dtype == "float32"
    assert model.get_layer("standardization").compute_dtype == "float32"
    scaled = isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    assert scaled == (precision == "mixed_float16")
    predictions = model.predict(x, verbose=0)
    assert predictions.dtype == np.float32
    # A softmax in half precision would be off by 1e-3.
    np.testing.assert_allclose(predictions.sum(axis=1), 1, atol=1e-6)
    losses = model.fit(x, np.arange(200) % 4, epochs=2, verbose=0).history["loss"]
    assert np.isfinite(losses).all()
    # The global policy is the user's.
    assert keras.config.dtype_policy().name == "float32"


def test_regression_predicts_in_the_units_of_the_targets():
    y = np.stack([1000 + 50 * TABLE[:, 0], 1e-3 * TABLE[:, 2]], axis=1)
    model = kdt.recipes.default_network(
        (3,), 2, task="regression", adapt_to=TABLE, adapt_targets_to=y, hidden_units=(8,)
    )
    always_mean = np.tile(y.mean(axis=0), (200, 1))
    # The loss of the mean is 1 for each target, whatever its scale.
    loss = float(keras.ops.mean(model.loss(y, always_mean)))
    assert loss == pytest.approx(1, rel=1e-4)
    predictions = model.predict(TABLE, verbose=0)
    spread = y.std(axis=0)
    assert np.all(np.abs(predictions.mean(axis=0) - y.mean(axis=0)) < 10 * spread)


@pytest.mark.parametrize("network", NETWORKS)
def test_the_seed_fixes_the_weights(network):
    first, second, other = (network((3,), 4, seed=seed).get_weights() for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    kernels = [(a, b) for a, b in zip(first, other, strict=True) if a.ndim == 2]
    assert kernels
    assert not any(np.array_equal(a, b) for a, b in kernels)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("optimizer", ["momentum", "rmsprop", "nadam"])
def test_saves_and_loads_without_custom_objects(network, optimizer, tmp_path):
    model = network((3,), 2, hidden_units=(8, 8, 8), adapt_to=TABLE, optimizer=optimizer)
    model.fit(TABLE, np.arange(200) % 2, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again.predict(TABLE, verbose=0), model.predict(TABLE, verbose=0))
    assert type(again.optimizer) is type(model.optimizer)


@pytest.mark.parametrize(
    "arguments, name",
    [
        ({"input_shape": ()}, "input_shape"),
        ({"input_shape": (3, 3, 3, 3)}, "input_shape"),
        ({"input_shape": (None,)}, "input_shape"),
        ({"outputs": 0}, "outputs"),
        ({"outputs": 1}, "outputs"),
        ({"outputs": 2, "task": "binary"}, "outputs"),
        ({"hidden_units": "300"}, "hidden_units"),
        ({"hidden_units": (300, 0)}, "hidden_units"),
        ({"task": "clustering"}, "task"),
        ({"normalization": "layer"}, "normalization"),
        ({"batch_norm_position": "beside"}, "batch_norm_position"),
        ({"activation": "nonsense"}, "nonsense"),
        ({"dropout": 1.0}, "dropout"),
        ({"l2": -0.1}, "l2"),
        ({"max_norm": 0}, "max_norm"),
        ({"optimizer": "adam3"}, "optimizer"),
        ({"precision": "float16"}, "precision"),
        ({"seed": -1}, "seed"),
        ({"adapt_targets_to": np.zeros(3)}, "adapt_targets_to"),
    ],
)
def test_bad_arguments(arguments, name):
    with pytest.raises((ValueError, TypeError), match=name):
        kdt.recipes.default_network(**{"input_shape": (3,), "outputs": 3, **arguments})


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_bad_alpha_dropout(rate):
    with pytest.raises(ValueError, match="`alpha_dropout`"):
        kdt.recipes.self_normalizing_network((3,), 3, alpha_dropout=rate)


@pytest.mark.parametrize("make", NETWORKS)
@pytest.mark.parametrize("precision", ["float32", "mixed_float16"])
def test_adaptive_clipping_leaves_the_output_layer_alone(make, precision):
    model = make((4,), 3, hidden_units=(5,), adaptive_clip_factor=1e-4, precision=precision, seed=0)
    x = np.random.default_rng(0).normal(size=(32, 4)).astype("float32")
    before = {v.path: keras.ops.convert_to_numpy(v).copy() for v in model.trainable_variables}
    model.train_on_batch(x, np.arange(32) % 3)
    moved = {
        v.path: np.linalg.norm(keras.ops.convert_to_numpy(v) - before[v.path])
        for v in model.trainable_variables
    }
    # Hidden kernels move by no more than rate·(1 + momentum)·λ·‖W‖, the output's by far more.
    kernels = [path for path in moved if path.endswith("kernel")]
    hidden, scores = kernels
    assert scores.split("/")[-2] == "scores"
    rate = 0.02 * 1.95
    assert 0 < moved[hidden] <= rate * 1e-4 * np.linalg.norm(before[hidden]) * 1.01
    assert moved[scores] > 10 * rate * 1e-4 * np.linalg.norm(before[scores])
