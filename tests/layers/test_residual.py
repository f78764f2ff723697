"""Residual: skipping a dropped branch changes nothing but the time."""

import keras
import numpy as np
import pytest
from keras import layers, ops
from small_models import BACKEND, assert_identical, values, whole_state

import keras_deeptricks as kdt
from keras_deeptricks.layers import Residual, StochasticDepth

X = np.random.default_rng(0).normal(size=(32, 4)).astype("float32")
Y = X[:, ::-1] * 0.5
IDS = np.array([[1, 2, 3, 0, 0], [4, 5, 0, 0, 0], [6, 7, 8, 1, 2], [3, 0, 0, 0, 0]])
# The same operations, which a compiler may fuse in another order.
ROUNDING = {"rtol": 1e-4, "atol": 1e-5}


def dense(seed, units=4, **options):
    return layers.Dense(units, kernel_initializer=keras.initializers.GlorotUniform(seed), **options)


def everything(seed):
    """A branch with statistics, seeds, penalties of weights and of activities."""
    return [
        layers.BatchNormalization(momentum=0.8),
        dense(seed, 6, activation="tanh", kernel_regularizer="l2", activity_regularizer="l2"),
        layers.Dropout(0.3, seed=seed),
        dense(seed + 1),
    ]


def network(branch=everything, probabilities=(0.8, 0.5), **options):
    blocks = [
        Residual(branch(10 * n), survival_probability=p, seed=n, **options)
        for n, p in enumerate(probabilities, 1)
    ]
    return keras.Sequential([keras.Input((4,)), *blocks, dense(3, name="out")])


def trained(model, epochs=2, optimizer="sgd", **compile_options):
    if optimizer == "sgd":
        optimizer = keras.optimizers.SGD(0.05, momentum=0.9)
    model.compile(optimizer, "mse", **compile_options)
    history = model.fit(X, Y, batch_size=4, epochs=epochs, shuffle=False, verbose=0)
    return history.history["loss"]


def assert_close(first, second):
    assert len(first) == len(second)
    for a, b in zip(first, second, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, **ROUNDING)


def called(layer, x, **options):
    return ops.convert_to_numpy(layer(x, **options))


def kept(seed, probability, calls):
    """The draws that a layer with this seed makes."""
    merge = StochasticDepth(probability, seed=seed)
    return [bool(merge.draw()) for _ in range(calls)]


def states(layer):
    """Batch norm statistics and seeds."""
    return values(layer.non_trainable_variables)


# The formula.


def test_inference_and_both_outcomes_of_training():
    branch = dense(1, use_bias=False)
    layer = Residual(branch, activation="relu", survival_probability=0.75, seed=1)
    inferred = called(layer, X)
    product = X @ values(branch.weights)[0]
    np.testing.assert_allclose(inferred, np.maximum(X + 0.75 * product, 0), **ROUNDING)
    draws = kept(1, 0.75, 12)
    assert set(draws) == {True, False}
    for is_kept in draws:
        expected = np.maximum(X + is_kept * product, 0)
        np.testing.assert_allclose(called(layer, X, training=True), expected, **ROUNDING)


def test_a_certain_branch_draws_nothing():
    plain = Residual(everything(1))
    assert not any("seed" in v.path and "merge" in v.path for v in plain.variables)
    inputs = keras.Input((4,))
    norm, first, drop, last = everything(1)
    by_hand = keras.Model(inputs, layers.Add()([inputs, last(drop(first(norm(inputs))))]))
    model = keras.Sequential([keras.Input((4,)), plain])
    np.testing.assert_allclose(trained(model), trained(by_hand), rtol=1e-5)
    assert_close(values(model.weights), values(by_hand.weights))


def test_a_shortcut_of_layers():
    layer = Residual([dense(1, 3)], shortcut=[dense(2, 3), layers.Activation("tanh")])
    branch, shortcut = layer(X) * 0 + layer.branch(X), layer.shortcut(X)
    expected = ops.convert_to_numpy(branch) + ops.convert_to_numpy(shortcut)
    np.testing.assert_allclose(called(layer, X), expected, **ROUNDING)
    assert layer.compute_output_shape((None, 4)) == (None, 3)
    assert len(layer.weights) == 4


# Skipping against computing and throwing away.


def both_ways(make, **training):
    """Losses and the whole state after training with and without skipping."""
    results = []
    for skip in (True, False):
        model = make(skip)
        results.append((trained(model, **training), whole_state(model)))
    return results


def test_skipping_changes_nothing():
    (losses, state), (masked_losses, masked_state) = both_ways(lambda skip: network(skip=skip))
    np.testing.assert_allclose(losses, masked_losses, rtol=1e-5)
    assert_close(state, masked_state)
    # Both outcomes have happened.
    assert {True, False} == set(kept(1, 0.8, 24)) == set(kept(2, 0.5, 24))


@pytest.mark.parametrize("skip", [True, False])
def test_losses_are_those_of_layers_called_in_the_open(skip):
    """Penalties of weights count once, of activities where the branch is kept, of all else not."""
    sure = 0.999999
    assert all(all(kept(n, sure, 16)) for n in range(1, 4))
    # Several blocks: Keras tells losses apart by their place in memory, which is used again.
    found = trained(network(probabilities=(sure,) * 3, skip=skip))
    expected = trained(network(probabilities=(1.0,) * 3))
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_losses_of_a_block_inside_a_block():
    found, expected = (trained(network(inside_another, (p,)), epochs=1) for p in (0.999999, 1.0))
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def inside_another(seed):
    return [
        Residual(everything(seed + k), survival_probability=0.999999, seed=100 + seed + k)
        for k in (0, 3)
    ]


def test_a_dropped_branch_has_only_the_penalty_of_its_weights():
    model = network(probabilities=(0.0,))
    model.compile("sgd", "mse")
    kernel = values(model.layers[0].trainable_weights)[2]
    expected = np.mean((called(model.layers[-1], X) - Y) ** 2) + 0.01 * np.sum(kernel**2)
    assert model.train_on_batch(X, Y) == pytest.approx(expected, rel=1e-5)


def test_a_dropped_branch_keeps_its_state():
    def branch(n):
        return [layers.BatchNormalization(), dense(n), layers.Dropout(0.5, seed=n)]

    model = network(branch, (0.0,))
    before, head = values(model.layers[0].branch.variables), values(model.layers[-1].weights)
    trained(model, epochs=1)
    # With neither penalties nor momentum zero gradients leave the weights too.
    assert_identical(values(model.layers[0].branch.variables), before)
    assert not np.array_equal(values(model.layers[-1].weights)[0], head[0])


def test_statistics_follow_the_kept_batches_alone():
    norm = layers.BatchNormalization(momentum=0.5)
    model = keras.Sequential([keras.Input((4,)), Residual(norm, survival_probability=0.5, seed=1)])
    trained(model, epochs=1)
    mean = np.zeros(4)
    for step, is_kept in enumerate(kept(1, 0.5, 8)):
        if is_kept:
            mean = 0.5 * mean + 0.5 * X[4 * step : 4 * step + 4].mean(axis=0)
    np.testing.assert_allclose(values([norm.moving_mean])[0], mean, **ROUNDING)


@pytest.mark.parametrize("run_eagerly", [False, True])
def test_all_branches_dropped_have_zero_gradients(run_eagerly):
    # Missing ones are a warning, and with nothing else to train an error.
    model = keras.Sequential(
        [keras.Input((4,)), *(Residual([dense(n)], survival_probability=0.0) for n in range(3))]
    )
    before = model.get_weights()
    losses = trained(model, epochs=1, run_eagerly=run_eagerly)
    np.testing.assert_allclose(losses, [np.mean((X - Y) ** 2)], rtol=1e-5)
    assert_identical(model.get_weights(), before)


def test_momentum_goes_on_without_gradients():
    model = keras.Sequential(
        [keras.Input((4,)), Residual([dense(1)], survival_probability=0.5, seed=4)]
    )
    model.compile(keras.optimizers.SGD(0.1, momentum=0.5), "mse")
    moves, last = [], values(model.weights)[0]
    for _ in range(12):
        model.train_on_batch(X, Y)
        moves.append(values(model.weights)[0] - last)
        last = values(model.weights)[0]
    draws = kept(4, 0.5, 12)
    pairs = [n for n in range(1, 12) if draws[n - 1] and not draws[n]]
    assert pairs
    for n in pairs:
        np.testing.assert_allclose(moves[n], 0.5 * moves[n - 1], rtol=1e-3, atol=1e-6)


def test_accumulated_gradients():
    def optimizer():
        return keras.optimizers.Adam(0.01, gradient_accumulation_steps=3)

    results = [
        trained_state(network(probabilities=(0.5,), skip=skip), optimizer())
        for skip in (True, False)
    ]
    assert_close(*results)


def trained_state(model, optimizer, **options):
    trained(model, optimizer=optimizer, **options)
    return whole_state(model)


@pytest.mark.skipif(BACKEND == "torch", reason="torch refuses steps_per_execution")
def test_several_steps_per_execution():
    one, four = (
        trained_state(network(probabilities=(0.5,)), "sgd", steps_per_execution=n) for n in (1, 4)
    )
    assert_identical(one, four)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="a choice of TensorFlow's")
def test_compiled_by_xla():
    (losses, state), (masked_losses, masked) = both_ways(
        lambda skip: network(nested, (0.6,), skip=skip), jit_compile=True
    )
    np.testing.assert_allclose(losses, masked_losses, rtol=1e-5)
    assert_close(state, masked)


@pytest.mark.parametrize("policy, skip", [("mixed_float16", True), ("mixed_bfloat16", False)])
def test_mixed_precision_leaves_variables_in_float32(policy, skip):
    keras.config.set_dtype_policy(policy)

    def branch(seed):
        # Its float32 layer inside a half-precision model.
        return [
            layers.LayerNormalization(dtype="float32"),
            layers.BatchNormalization(),
            dense(seed),
        ]

    model = network(branch, (0.5, 0.5), skip=skip)
    norms = [block.branch.layers for block in model.layers[:2]]
    odd = np.float32(1) + np.float32(2) ** -20  # lost in half precision
    for inner in norms:
        inner[0].gamma.assign(np.full(4, odd))
        inner[1].moving_mean.assign(np.full(4, odd))
        inner[0].trainable = False
    model.layers[0].trainable = False
    trained(model, epochs=1)
    assert {w.dtype for w in model.get_weights()} == {np.dtype("float32")}
    for inner in norms:
        np.testing.assert_array_equal(values([inner[0].gamma])[0], np.full(4, odd))
    np.testing.assert_array_equal(values([norms[0][1].moving_mean])[0], np.full(4, odd))
    assert keras.backend.standardize_dtype(model(X).dtype) == policy.removeprefix("mixed_")
    # The result of a block is of its policy, whatever the input.
    block = Residual([dense(1)], survival_probability=0.5, dtype=policy)
    for training in (False, True):
        out = block(X, training=training)
        assert keras.backend.standardize_dtype(out.dtype) == policy.removeprefix("mixed_")


def test_one_layer_as_branch_computes_in_its_own_precision():
    outputs = [
        called(Residual(dense(1, dtype="mixed_bfloat16"), survival_probability=p), X, training=True)
        for p in (1.0, 0.999999)
    ]
    assert_identical(*([out] for out in outputs))


def test_one_layer_as_branch_has_its_activity_penalty():
    losses = [
        trained(
            keras.Sequential(
                [
                    keras.Input((4,)),
                    Residual(dense(1, activity_regularizer="l2"), survival_probability=p),
                ]
            ),
            epochs=1,
        )
        for p in (1.0, 0.999999)
    ]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)


# What a branch can be.


def functional(seed):
    inputs = keras.Input((4,))
    h = dense(seed)(inputs)
    return keras.Model(inputs, dense(seed + 1)(layers.BatchNormalization()(h)) * h)


@keras.saving.register_keras_serializable(package="test_residual")
class Unaware(keras.layers.Layer):
    """Neither `build` nor `compute_output_shape` nor `training`."""

    def __init__(self, seed, **kwargs):
        super().__init__(**kwargs)
        self.seed = seed
        self.first, self.drop = dense(seed), layers.Dropout(0.5, seed=seed)

    def call(self, inputs):
        return self.drop(self.first(inputs))

    def get_config(self):
        return {**super().get_config(), "seed": self.seed}


@keras.saving.register_keras_serializable(package="test_residual")
class Aware(Unaware):
    def build(self, input_shape):
        self.first.build(input_shape)
        self.scale = self.add_weight(shape=(4,), initializer="ones", name="scale")

    def call(self, inputs, training=False):
        return self.drop(self.first(inputs * self.scale), training=training)

    def compute_output_shape(self, input_shape):
        return input_shape


def nested(seed):
    branch = [layers.BatchNormalization(), dense(seed), layers.Dropout(0.2, seed=seed)]
    return Residual(branch, survival_probability=0.5, seed=seed)


def deeply_nested(seed):
    return [dense(seed), Residual([nested(seed + 1), layers.Dropout(0.2, seed=1)])]


@pytest.mark.parametrize("branch", [functional, Unaware, Aware, nested])
def test_branches_of_every_kind(branch):
    (losses, state), (masked_losses, masked) = both_ways(
        lambda skip: network(branch, (0.5,), skip=skip), epochs=1
    )
    np.testing.assert_allclose(losses, masked_losses, rtol=1e-5)
    assert_close(state, masked)


@pytest.mark.parametrize("branch", [everything, functional, Aware, deeply_nested])
def test_described_cloned_saved_and_loaded(branch, tmp_path):
    model = network(branch, (0.5,))
    serialized = keras.saving.serialize_keras_object(model.layers[0])
    again = keras.saving.deserialize_keras_object(serialized)
    assert again.get_config().keys() == model.layers[0].get_config().keys()
    assert again.survival_probability == 0.5
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    model.save_weights(tmp_path / "model.weights.h5")
    fresh = network(branch, (0.5,))
    for weight in fresh.weights:
        weight.assign(weight * 0)
    fresh.load_weights(tmp_path / "model.weights.h5")
    expected = called(model, X)
    for other in (clone, loaded, fresh):
        np.testing.assert_array_equal(called(other, X), expected)


def test_a_configuration_comes_back():
    layer = Residual(
        [dense(1, name="wide"), dense(2, name="narrow")],
        shortcut=dense(3),
        activation="gelu",
        survival_probability=0.25,
        skip=True,
        seed=5,
        dtype="mixed_bfloat16",
        name="block",
    )
    config = layer.get_config()
    again = Residual.from_config(config)
    assert again.get_config() == config
    assert again.merge.compute_dtype == again.activation.compute_dtype == "bfloat16"
    assert [inner.name for inner in again.branch.layers] == ["wide", "narrow"]
    assert again.survival_probability == 0.25
    layer(X)
    assert Residual.from_config(layer.get_config())(X).shape == (32, 4)


def test_a_summary_shows_the_block():
    lines = []
    model = network(probabilities=(0.5,))
    model.summary(print_fn=lambda line, **_: lines.append(line), expand_nested=True)
    assert "Residual" in "\n".join(lines)
    assert f"{model.count_params():,}" in "\n".join(lines)


def test_a_branch_that_two_blocks_share():
    def make(skip):
        shared = keras.Sequential(
            [dense(1), layers.BatchNormalization(), layers.Dropout(0.2, seed=1)]
        )
        blocks = [Residual(shared, survival_probability=0.6, skip=skip, seed=n) for n in (1, 2)]
        return keras.Sequential([keras.Input((4,)), *blocks])

    (losses, state), (masked_losses, masked) = both_ways(make)
    np.testing.assert_allclose(losses, masked_losses, rtol=1e-5)
    assert_close(state, masked)
    assert len(make(True).trainable_weights) == 4


def test_a_block_called_twice():
    def make(skip):
        inputs = keras.Input((4,))
        block = Residual(everything(1), survival_probability=0.6, skip=skip, seed=1)
        return keras.Model(inputs, block(block(inputs)))

    (losses, state), (masked_losses, masked) = both_ways(make)
    np.testing.assert_allclose(losses, masked_losses, rtol=1e-5)
    assert_close(state, masked)


# Sequences and masks.


def with_lstm():
    return [layers.LSTM(4, return_sequences=True)]


def with_attention():
    inputs = keras.Input((None, 4))
    return keras.Model(inputs, layers.MultiHeadAttention(2, 2)(inputs, inputs))


@pytest.mark.parametrize("branch", [with_lstm, with_attention])
@pytest.mark.parametrize("skip", [True, False])
def test_masks_reach_the_branch_and_what_follows(branch, skip):
    # A branch that is sure to be kept: training and inference are the same.
    block = Residual(branch(), survival_probability=1 - 1e-7, skip=skip, seed=1)
    model = keras.Sequential(
        [
            keras.Input((None,), dtype="int32"),
            layers.Embedding(9, 4, mask_zero=True),
            block,
            layers.GlobalAveragePooling1D(),
        ]
    )
    for training in (False, True):
        padded = called(model, IDS[1:2], training=training)
        np.testing.assert_allclose(
            padded, called(model, IDS[1:2, :2], training=training), **ROUNDING
        )


@pytest.mark.parametrize("training", [False, True])
def test_a_mask_that_is_given(training):
    sequences = np.random.default_rng(1).normal(size=(3, 5, 4)).astype("float32")
    mask = np.arange(5) < np.array([[2], [5], [3]])
    lstm = layers.LSTM(4, return_sequences=True)
    block = Residual([lstm], survival_probability=1 - 1e-6, seed=1)
    expected = sequences + ops.convert_to_numpy(lstm(sequences, mask=mask))
    found = called(block, sequences, mask=mask, training=training)
    np.testing.assert_allclose(found, expected, **ROUNDING)


# Ways to train.


class Custom(keras.Model):
    """Blocks in a subclassed model."""

    def __init__(self, skip):
        super().__init__()
        self.blocks = [
            Residual(everything(10 * n), survival_probability=0.6, seed=n, skip=skip)
            for n in range(1)
        ]
        self.out = dense(3)

    def call(self, inputs, training=False):
        for block in self.blocks:
            inputs = block(inputs, training=training)
        return self.out(inputs)


def test_subclassed_models():
    def make(skip):
        model = Custom(skip)
        model(X)
        return model

    (losses, state), (masked_losses, masked) = both_ways(make)
    np.testing.assert_allclose(losses, masked_losses, rtol=1e-5)
    assert_close(state, masked)


def test_a_model_called_in_training_mode():
    model = network(lambda n: [layers.BatchNormalization(), dense(n)], (0.5,))
    block = model.layers[0]
    before = states(block.branch)
    changed = []
    for _ in range(8):
        model(X, training=True)
        after = states(block.branch)
        changed.append(not np.array_equal(before[0], after[0]))
        before = after
    assert changed == kept(1, 0.5, 8)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="TensorFlow's own")
def test_under_a_tensorflow_function():
    import tensorflow as tf

    model = network(lambda n: [layers.BatchNormalization(), dense(n)], (0.5,))

    @tf.function
    def step(x):
        with tf.GradientTape() as tape:
            loss = ops.mean(model(x, training=True) ** 2)
        return tape.gradient(loss, model.trainable_variables)

    kernel = model.layers[0].branch.layers[1].kernel
    place = [v.path for v in model.trainable_variables].index(kernel.path)
    has_gradient = [bool(np.any(step(X)[place].numpy())) for _ in range(8)]
    assert has_gradient == kept(1, 0.5, 8)


def test_a_training_step_of_ones_own():
    class Own(keras.Sequential):
        def train_step(self, *data):
            return super().train_step(*data)

    states = []
    for cls in (keras.Sequential, Own):
        model = cls([keras.Input((4,)), *network(probabilities=(0.5,)).layers])
        states.append(trained_state(model, "sgd", epochs=1))
    assert_identical(*states)


def test_trainable_that_changes_between_trainings():
    results = []
    for skip in (True, False):
        model = network(probabilities=(0.5,), skip=skip)
        # A layer before it, so that gradients pass through what is frozen.
        model = keras.Sequential([keras.Input((4,)), dense(8), *model.layers])
        block = model.layers[1]
        block.branch.layers[1].trainable = False
        frozen = values(block.branch.layers[1].weights)
        trained(model, epochs=1)
        assert_identical(values(block.branch.layers[1].weights), frozen)
        block.trainable = False
        before = values(block.branch.weights)
        trained(model, epochs=1)
        # Batch norm too is in inference mode.
        assert_identical(values(block.branch.weights), before)
        block.trainable = True
        trained(model, epochs=1)
        assert not np.array_equal(values(block.branch.layers[1].weights)[0], frozen[0])
        results.append(values(model.weights))
    assert_close(*results)


# With the rest of the library.


def test_freezing_a_block():
    model = network()
    model.compile(kdt.optimizers.PartialTraining(keras.optimizers.SGD(0.05)), "mse")
    kdt.models.freeze(model, [model.layers[0].name])
    before = values(model.layers[0].branch.weights)
    model.fit(X, Y, verbose=0)
    assert_identical(values(model.layers[0].branch.weights), before)
    kdt.models.unfreeze(model, [model.layers[0].name])
    model.fit(X, Y, epochs=6, batch_size=8, verbose=0)
    assert not np.array_equal(values(model.layers[0].trainable_weights)[2], before[2])


@pytest.mark.filterwarnings("ignore:The loss hardly fell")
def test_a_search_of_the_learning_rate_leaves_the_model():
    model = network()
    trained(model, epochs=1)
    before = whole_state(model)
    # The losses of so small batches jump: no reason to stop here.
    search = {"batch_size": 4, "steps": 12, "high": 0.01, "divergence_factor": 1e6}
    kdt.diagnostics.find_learning_rate(model, X, Y, **search)
    assert_identical(whole_state(model), before)


def test_gradient_clipping_by_units():
    def optimizer():
        return kdt.optimizers.AdaptiveGradientClipping(
            keras.optimizers.SGD(0.1), clip_factor=0.01, exclude=()
        )

    first, second = (
        trained_state(network(probabilities=(0.5,), skip=skip), optimizer())
        for skip in (True, False)
    )
    assert_close(first, second)


def test_a_resumed_training_draws_as_if_it_had_not_stopped(tmp_path):
    def run(epochs, folder):
        model = network(probabilities=(0.5,))
        model.compile(keras.optimizers.SGD(0.05, momentum=0.9), "mse")
        backup = kdt.callbacks.BackupAndRestore(tmp_path / folder, delete_checkpoint=False)
        model.fit(X, Y, batch_size=4, epochs=epochs, shuffle=False, verbose=0, callbacks=[backup])
        return whole_state(model)[: len(model.variables)]

    whole = run(4, "one")
    run(2, "two")
    assert_identical(run(4, "two"), whole)


def test_monte_carlo_draws_branches_by_row():
    block = Residual([dense(1, use_bias=False)], survival_probability=0.5, seed=1)
    model = keras.Sequential([keras.Input((4,)), block])
    before = whole_state(model)
    rows = np.tile(X[:1], (8, 1))
    sampler = kdt.models.MonteCarlo(model, samples=400, seed=1)
    found = sampler.predict(rows, keep_samples=True).samples
    whole = called(block.branch, X[:1])[0]
    is_kept = np.isclose(found, X[0] + whole, rtol=1e-4, atol=1e-5).all(axis=-1)
    is_dropped = np.isclose(found, X[0], rtol=1e-4, atol=1e-5).all(axis=-1)
    assert (is_kept ^ is_dropped).all()
    # 3,200 draws: 5 standard errors of 0.5/√3200.
    assert abs(is_kept.mean() - 0.5) < 5 * 0.5 / np.sqrt(3200)
    assert 0 < is_kept[0].sum() < 8
    assert_identical(whole_state(model), before)


# What is refused.


def test_shapes_that_do_not_fit():
    with pytest.raises(ValueError, match=r"\(None, 4\) and \(None, 3\)"):
        Residual([dense(1, 3)])(keras.Input((4,)))


@pytest.mark.parametrize("branch", [None, [], "dense", [None], [dense]])
def test_no_branch(branch):
    with pytest.raises(TypeError, match="`branch`"):
        Residual(branch)


def test_no_shortcut():
    with pytest.raises(TypeError, match="`shortcut`"):
        Residual(dense(1), shortcut="conv")
    for bad in (None, 1, "yes"):
        with pytest.raises(ValueError, match="`skip`"):
            Residual(dense(1), skip=bad)
