"""StochasticDepth: the formula of training and inference, its draws, its seeds."""

import itertools
import math

import keras
import numpy as np
import pytest
from keras import ops
from small_models import BACKEND

from keras_deeptricks.layers import StochasticDepth, survival_probabilities

SHORTCUT = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [-7.0, 8.0]], "float32")
BRANCH = np.array([[10.0, -20.0], [0.5, 1.0], [2.0, 4.0], [8.0, 0.0]], "float32")

# JAX is of use compiled alone, torch not.
COMPILED = {"torch": [False], "tensorflow": [False, True], "jax": [True]}[BACKEND]


def called(layer, training=False, shortcut=SHORTCUT, branch=BRANCH):
    inputs = [ops.convert_to_tensor(shortcut), ops.convert_to_tensor(branch)]
    return ops.convert_to_numpy(layer(inputs, training=training))


def kept_rows(layer, rows=1):
    """Which rows of a call kept the branch."""
    x = np.zeros((rows, 1), "float32")
    return called(layer, training=True, shortcut=x, branch=x + 1)[:, 0] == 1


def test_inference_weighs_the_branch():
    expected = [[11 - 2.5, -18 + 5], [3.375, 4.75], [6.5, 9.0], [-1.0, 8.0]]
    np.testing.assert_array_equal(called(StochasticDepth(0.75)), expected)


def test_training_keeps_the_whole_branch_or_nothing():
    layer = StochasticDepth(0.5, seed=1)
    found = {called(layer, training=True).tobytes() for _ in range(30)}
    # 30 equal draws of probability 1/2 would be one chance in 5e8, of this seed none.
    assert found == {SHORTCUT.tobytes(), (SHORTCUT + BRANCH).tobytes()}


def test_by_row_each_row_has_its_own_draw():
    layer = StochasticDepth(0.5, mode="row", seed=1)
    shortcut, branch = np.tile(SHORTCUT, (25, 1)), np.tile(BRANCH, (25, 1))
    found = called(layer, training=True, shortcut=shortcut, branch=branch)
    is_kept = (found == shortcut + branch).all(axis=1)
    is_dropped = (found == shortcut).all(axis=1)
    assert (is_kept ^ is_dropped).all()
    # 100 draws of probability 1/2: 5 standard errors of 5.
    assert abs(is_kept.sum() - 50) < 25
    # On images too a row is dropped as a whole.
    images = np.zeros((20, 3, 3, 2), "float32")
    found = called(layer, training=True, shortcut=images, branch=images + 1)
    assert set(found.reshape(20, -1).sum(axis=1)) == {0.0, 18.0}


@pytest.mark.parametrize("mode", ["batch", "row"])
def test_certain_probabilities(mode):
    always, never = (StochasticDepth(p, mode=mode, seed=1) for p in (1, 0))
    for training in (False, True):
        np.testing.assert_array_equal(called(always, training), SHORTCUT + BRANCH)
        np.testing.assert_array_equal(called(never, training), SHORTCUT)
    assert always.variables == []  # without draws no seed
    assert bool(always.draw())


@pytest.mark.parametrize("probability", [0.2, 0.7])
def test_the_mean_of_training_is_inference(probability):
    draws = 20_000
    layer = StochasticDepth(probability, mode="row", seed=3)
    share = kept_rows(layer, draws).mean()
    # A mean of n draws of a truth value has the standard error √(p(1−p)/n), here 0.003.
    assert abs(share - probability) < 4 * math.sqrt(probability * (1 - probability) / draws)
    inferred = called(layer, shortcut=np.zeros((1, 1), "float32"), branch=np.ones((1, 1)))
    np.testing.assert_allclose(inferred, [[probability]], rtol=1e-6)


def test_draws_by_batch_have_the_probability():
    layer = StochasticDepth(0.7, seed=3)
    draws = np.array([kept_rows(layer)[0] for _ in range(400)])
    assert abs(draws.mean() - 0.7) < 4 * math.sqrt(0.7 * 0.3 / 400)
    # Neighbours are independent: P(both kept) = 0.49, within 4 standard errors.
    both = (draws[1:] & draws[:-1]).mean()
    assert abs(both - 0.49) < 4 * math.sqrt(0.49 * 0.51 / 399)


def test_seeds():
    def draws(seed):
        return kept_rows(StochasticDepth(0.5, mode="row", seed=seed), 64)

    np.testing.assert_array_equal(draws(1), draws(1))
    assert not np.array_equal(draws(1), draws(2))
    assert not np.array_equal(draws(None), draws(None))
    layer = StochasticDepth(0.5, mode="row", seed=1)
    assert not np.array_equal(kept_rows(layer, 64), kept_rows(layer, 64))


@pytest.mark.filterwarnings("ignore:The model does not have any trainable weights")
@pytest.mark.parametrize("jit_compile", COMPILED)
def test_draws_change_from_step_to_step(jit_compile):
    inputs = keras.Input((1,))
    outputs = StochasticDepth(0.5, seed=1)([inputs, 1 * inputs])
    model = keras.Model(inputs, outputs)
    model.compile("sgd", lambda y, out: ops.mean(out, axis=-1), jit_compile=jit_compile)
    x = np.ones((2, 1), "float32")
    # A step an epoch, whose loss is 2 where the branch is kept and 1 where not.
    draws = model.fit(x, x, epochs=24, verbose=0).history["loss"]
    assert set(draws) == {1.0, 2.0}
    assert draws[:12] != draws[12:]
    if not (BACKEND == "tensorflow" and jit_compile):  # XLA has a generator of its own there
        alone = StochasticDepth(0.5, seed=1)
        assert draws == [1.0 + kept_rows(alone)[0] for _ in range(24)]


def test_gradients_reach_the_shortcut_and_a_kept_branch():
    inputs = keras.Input((2,))
    first = keras.layers.Dense(2, name="first")
    second = keras.layers.Dense(2, name="second")
    layer = StochasticDepth(0, seed=1)
    model = keras.Model(inputs, layer([first(inputs), second(inputs)]))
    model.compile(keras.optimizers.SGD(0.1), "mse")
    before = model.get_weights()
    model.fit(SHORTCUT, BRANCH, verbose=0)
    after = model.get_weights()
    assert not np.array_equal(before[0], after[0])
    np.testing.assert_array_equal(before[2], after[2])


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_computes_in_its_own_precision(policy):
    layer = StochasticDepth(0.5, dtype=policy, seed=1)
    for training in (False, True):
        out = layer([SHORTCUT, BRANCH], training=training)
        assert keras.backend.standardize_dtype(out.dtype) == policy.removeprefix("mixed_")


def test_the_mask_is_the_shortcuts():
    ids = np.array([[1, 2, 0], [3, 0, 0]])
    embedded = keras.layers.Embedding(5, 4, mask_zero=True)
    inputs = keras.Input((3,), dtype="int32")
    h = embedded(inputs)
    outputs = StochasticDepth(0.5)([h, keras.layers.Dense(4)(h)])
    pooled = keras.layers.GlobalAveragePooling1D()(outputs)
    joined, mean = (keras.Model(inputs, out).predict(ids, verbose=0) for out in (outputs, pooled))
    # The mean is over what is not masked.
    np.testing.assert_allclose(mean[0], joined[0, :2].mean(axis=0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(mean[1], joined[1, 0], rtol=1e-5, atol=1e-6)


def test_shapes_are_checked():
    with pytest.raises(ValueError, match=r"same shape.*\(None, 3\) and \(None, 4\)"):
        StochasticDepth(0.5)([keras.Input((3,)), keras.Input((4,))])
    with pytest.raises(ValueError, match="list of two tensors"):
        StochasticDepth(0.5)(keras.Input((3,)))
    with pytest.raises(ValueError, match="list of two tensors"):
        StochasticDepth(0.5)([keras.Input((3,))] * 3)
    assert StochasticDepth(0.5)([keras.Input((None, 3)), keras.Input((5, 3))]).shape == (None, 5, 3)


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_a_probability_must_be_one(value):
    with pytest.raises(ValueError, match="survival_probability"):
        StochasticDepth(value)


def test_other_bad_arguments():
    with pytest.raises(TypeError, match="survival_probability"):
        StochasticDepth("0.5")
    with pytest.raises(ValueError, match="mode"):
        StochasticDepth(0.5, mode="column")
    with pytest.raises(TypeError, match="seed"):
        StochasticDepth(0.5, seed="one")


def test_probabilities_fall_linearly():
    # Equation 4 of the paper, p_l = 1 − l/L·(1 − p_L): 54 blocks to 0.5.
    found = survival_probabilities(54)
    np.testing.assert_allclose(found, [1 - n / 54 * 0.5 for n in range(1, 55)], rtol=1e-12)
    assert found[-1] == 0.5
    # The expected length is (3L − 1)/4, as the paper says.
    assert sum(found) == pytest.approx((3 * 54 - 1) / 4)
    assert survival_probabilities(1, last=0.3) == [pytest.approx(0.3)]
    assert survival_probabilities(3, last=1) == [1, 1, 1]
    assert survival_probabilities(2, last=0) == [0.5, 0]
    for bad in ({"blocks": 0}, {"blocks": 2.5}, {"blocks": 2, "last": 1.5}):
        with pytest.raises((TypeError, ValueError), match=list(bad)[-1]):
            survival_probabilities(**bad)


def test_neighbouring_seeds_are_independent():
    draws = []
    for seed in (1, 2, 3):
        layer = StochasticDepth(0.5, seed=seed)
        draws.append([bool(layer.draw()) for _ in range(40)])
    for first, second in itertools.pairwise(draws):
        for shift in (0, 1):
            pairs = zip(first[shift:], second[: len(second) - shift], strict=True)
            equal = sum(a == b for a, b in pairs)
            # 19.5 or 20 of 40 are expected, with a deviation of 3.2.
            assert 5 < equal < 35
