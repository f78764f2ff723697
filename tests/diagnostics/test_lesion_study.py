"""The lesion study: each score is that of the model without the block; the model stays itself."""

import keras
import numpy as np
import pytest
from keras import layers, ops
from small_models import (
    BACKEND,
    STEPS_PER_EXECUTION,
    assert_identical,
    class_data,
    dense_model,
    whole_state,
)

import keras_deeptricks as kdt
from keras_deeptricks.diagnostics import LesionStudy, lesion_study
from keras_deeptricks.models import lesion
from keras_deeptricks.utils.rewriting import graph_of

X, Y = class_data(rows=100, features=4)
BLOCKS = ["projected", "second", "third", "add"]


def network():
    """Residual layers, one with stochastic depth, and a sum, with random weights."""
    keras.utils.set_random_seed(3)
    x = keras.Input((4,))
    h = kdt.layers.Residual(
        [layers.Dense(6, activation="tanh"), layers.BatchNormalization(), layers.Dense(6)],
        shortcut=layers.Dense(6),
        name="projected",
    )(x)
    for name, probability in (("second", 0.7), ("third", 1.0)):
        branch = [layers.Dense(6, activation="tanh"), layers.Dropout(0.3, seed=1)]
        h = kdt.layers.Residual(
            branch, activation="relu", survival_probability=probability, name=name
        )(h)
    h = layers.Add(name="add")([layers.Dense(6, activation="tanh")(h), h])
    return keras.Model(x, layers.Dense(3, activation="softmax")(h))


def small():
    """Two blocks, quickly traced."""
    keras.utils.set_random_seed(3)
    blocks = [kdt.layers.Residual(layers.Dense(4), name=name) for name in ("first", "second")]
    return keras.Sequential([keras.Input((4,)), *blocks, layers.Dense(3, activation="softmax")])


def compiled(model=None, **options):
    model = network() if model is None else model
    options = {"metrics": ["accuracy"], **options}
    model.compile("adam", "sparse_categorical_crossentropy", **options)
    return model


def scores_by_lesion(model, sets, metric):
    scores = []
    for deleted in sets:
        cut = lesion(model, deleted) if deleted else graph_of(model)
        # Eagerly, for each of them would be traced anew.
        cut.compile(loss="sparse_categorical_crossentropy", metrics=["accuracy"], run_eagerly=True)
        logs = cut.evaluate(X, Y, batch_size=50, verbose=0, return_dict=True)
        scores.append(logs[metric])
    return scores


@pytest.mark.parametrize("metric", ["accuracy", "loss"])
def test_each_score_is_that_of_the_model_without_the_block(metric):
    model = compiled()
    study = lesion_study(model, X, Y, metric=metric, several=[1, 4], draws=2, seed=1)
    assert study.metric == metric
    assert study.blocks == BLOCKS
    assert study.projected.tolist() == [True, False, False, False]
    expected = scores_by_lesion(model, [[], *([name] for name in BLOCKS), BLOCKS], metric)
    # The loss is a mean over batches of float32; the accuracy counts rows.
    tolerance = 1e-5 if metric == "loss" else 1e-7
    found = [study.whole, *study.single, study.several[1, 0]]
    np.testing.assert_allclose(found, expected, rtol=tolerance)
    assert len(set(expected)) > 3  # the blocks do count
    # Without all blocks there is one choice, without one block it is a single score.
    assert study.several[1, 0] == study.several[1, 1]
    assert set(study.several[0]) <= set(study.single)
    assert study.counts.tolist() == [1, 4]


def test_several_blocks_by_all_pairs():
    model = compiled()
    study = lesion_study(model, X, Y, metric="loss", several=[2], draws=20)
    pairs = [(a, b) for place, a in enumerate(BLOCKS) for b in BLOCKS[place + 1 :]]
    expected = sorted(scores_by_lesion(model, pairs, "loss"))
    # 20 draws of 6 pairs; the seed is one that finds them all.
    found = np.unique(study.several)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_the_model_is_as_before():
    model = compiled(steps_per_execution=STEPS_PER_EXECUTION[-1])
    model.fit(X, Y, epochs=1, verbose=0)
    optimizer, metrics = model.optimizer, model.metrics
    before = whole_state(model)
    model_json = model.to_json()
    lesion_study(model, X, Y, several=[2], draws=1)
    assert_identical(before, whole_state(model))
    assert model.optimizer is optimizer
    assert [id(m) for m in model.metrics] == [id(m) for m in metrics]
    assert model.to_json() == model_json
    model.fit(X, Y, epochs=1, verbose=0)  # it still trains


def test_a_seed_gives_the_same_study():
    model = compiled(small())
    options = {"several": [1], "draws": 3, "batch_size": 50}
    first, again, other = (lesion_study(model, X, Y, seed=seed, **options) for seed in (0, 0, 5))
    np.testing.assert_array_equal(first.several, again.several)
    np.testing.assert_array_equal(first.single, other.single)


class Batches(keras.utils.PyDataset):
    """Batches in order; after some it fails."""

    def __init__(self, batches_left=None):
        super().__init__()
        self.batches_left = batches_left

    def __len__(self):
        return 4

    def __getitem__(self, index):
        if self.batches_left is not None:
            self.batches_left -= 1
            if self.batches_left < 0:
                raise RuntimeError("a broken disk")
        rows = slice(25 * index, 25 * index + 25)
        return X[rows], Y[rows]


def test_data_sets():
    model = compiled(small())
    expected = lesion_study(model, X, Y, several=[], batch_size=25)
    assert expected.several.shape == (0, 5)
    kinds = [Batches()]
    if BACKEND == "tensorflow":
        import tensorflow as tf

        kinds.append(tf.data.Dataset.from_tensor_slices((X, Y)).batch(25))
    if BACKEND == "torch":
        import torch

        rows = torch.utils.data.TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))
        kinds.append(torch.utils.data.DataLoader(rows, batch_size=25))
    for data in kinds:
        np.testing.assert_array_equal(lesion_study(model, data, several=[]).single, expected.single)


def test_an_error_in_the_data_leaves_the_model_as_before():
    model = compiled(small())
    before = whole_state(model)
    with pytest.raises(Exception, match="a broken disk"):
        lesion_study(model, Batches(batches_left=7), several=[])
    assert_identical(before, whole_state(model))


def test_metrics():
    model = small()
    for metric in (
        keras.metrics.SparseCategoricalAccuracy(name="accuracy"),
        keras.metrics.sparse_categorical_accuracy,
    ):
        study = lesion_study(model, X, Y, blocks="second", metric=metric, several=[])
        assert study.metric in ("accuracy", "sparse_categorical_accuracy")
        assert study.blocks == ["second"]
        expected = scores_by_lesion(small(), [[], ["second"]], "accuracy")
        np.testing.assert_allclose([study.whole, *study.single], expected, rtol=1e-7)
    assert not model.compiled
    without = compiled(small(), metrics=None)
    assert lesion_study(without, X, Y, blocks="second", several=[]).metric == "loss"
    # The first that the model is compiled with, not the first of the alphabet.
    two = compiled(small(), metrics=["sparse_categorical_crossentropy", "accuracy"])
    study = lesion_study(two, X, Y, blocks="second", several=[])
    assert study.metric == "sparse_categorical_crossentropy"


def test_custom_losses_and_metrics():
    def loss(targets, predictions):
        return -ops.log(ops.max(predictions, axis=-1))

    model = small()
    model.compile("sgd", loss, metrics=["accuracy"])
    study = lesion_study(model, X, Y, blocks=["second"], metric="loss", several=[])
    expected = model.evaluate(X, Y, verbose=0, return_dict=True)["loss"]
    np.testing.assert_allclose(study.whole, expected, rtol=1e-5)
    model.compile("sgd", "mse", metrics=[loss])
    with pytest.raises(ValueError, match="cannot be copied"):
        lesion_study(model, X, Y)
    study = lesion_study(model, X, Y, blocks="second", metric=loss, several=[])
    np.testing.assert_allclose(study.whole, expected, rtol=1e-5)


def test_mixed_precision():
    keras.config.set_dtype_policy("mixed_float16")
    model = network()
    keras.config.set_dtype_policy("float32")
    metric = keras.metrics.SparseCategoricalAccuracy()
    study = lesion_study(model, X, Y, metric=metric, several=[])
    expected = scores_by_lesion(model, [[], *([name] for name in BLOCKS)], "accuracy")
    # A tie of two classes in float16 may fall either way where operations are fused.
    np.testing.assert_allclose([study.whole, *study.single], expected, atol=0.021)


def test_sample_weights_count():
    model = compiled(small(), metrics=None, weighted_metrics=["accuracy"])
    weights = (np.arange(100) < 30).astype("float32")
    study = lesion_study(model, X, Y, sample_weight=weights, blocks="second", several=[])
    expected = lesion_study(compiled(small()), X[:30], Y[:30], blocks="second", several=[])
    # Weighted means of 0 and 1 in float32.
    np.testing.assert_allclose(study.single, expected.single, rtol=1e-5)


def test_default_counts_of_many_blocks():
    from keras_deeptricks.diagnostics.lesion_study import _counts

    assert _counts(None, 3) == [1, 2, 3]
    assert _counts(None, 54) == [1, 9, 16, 24, 31, 39, 46, 54]
    assert _counts([3, 1, 3], 4) == [1, 3]


class OwnStep(keras.Model):
    """Scores itself in its own way."""

    def test_step(self, *args, **kwargs):
        return super().test_step(*args, **kwargs)


def test_a_model_with_a_test_step_of_its_own_is_refused():
    plain = small()
    model = compiled(OwnStep(plain.inputs[0], plain.outputs[0]))
    with pytest.raises(ValueError, match="own `test_step`"):
        lesion_study(model, X, Y)
    study = lesion_study(model, X, Y, metric=keras.metrics.SparseCategoricalAccuracy(), several=[])
    assert study.blocks == ["first", "second"]


def test_table_and_file(tmp_path):
    study = LesionStudy(
        metric="accuracy",
        blocks=["a", "down"],
        projected=np.array([False, True]),
        whole=0.9,
        single=np.array([0.875, 0.5]),
        counts=np.array([2]),
        several=np.array([[0.25, 0.75]]),
    )
    lines = str(study).splitlines()
    assert lines[0].split() == ["without", "accuracy"]
    assert lines[1].split() == ["nothing", "0.9"]
    assert lines[2].split() == ["a", "0.875"]
    assert lines[3].split() == ["down", "0.5", "(projected)"]
    assert lines[4].split() == ["2", "at", "random", "0.5", "±", "0.25"]
    study.save(tmp_path / "study.json")
    again = LesionStudy.load(tmp_path / "study.json")
    np.testing.assert_array_equal(again.several, study.several)
    assert again.blocks == study.blocks


def test_errors():
    model = compiled(small())
    with pytest.raises(ValueError, match="has no residual block"):
        lesion_study(dense_model(), X, Y)
    with pytest.raises(ValueError, match="`blocks`: 'head' is no residual block"):
        lesion_study(model, X, Y, blocks="head")
    with pytest.raises(ValueError, match="not compiled"):
        lesion_study(small(), X, Y)
    with pytest.raises(ValueError, match="not compiled"):
        lesion_study(small(), X, Y, metric="accuracy")
    with pytest.raises(ValueError, match=r"'accuracy'.*Received: metric='auc'"):
        lesion_study(model, X, Y, metric="auc")
    with pytest.raises(TypeError, match="`metric`"):
        lesion_study(model, X, Y, metric=3)
    with pytest.raises(ValueError, match="generator"):
        lesion_study(model, ((X, Y) for _ in range(2)))
    with pytest.raises(ValueError, match="`several`"):
        lesion_study(model, X, Y, several=[3])
    with pytest.raises(TypeError, match="`several`"):
        lesion_study(model, X, Y, several=2)
    with pytest.raises(ValueError, match="`draws`"):
        lesion_study(model, X, Y, draws=0)
