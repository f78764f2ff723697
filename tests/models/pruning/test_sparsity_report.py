"""The report: counts by hand, operations, sizes, times, and its table."""

import zlib

import keras
import numpy as np
import pytest
from keras import layers
from small_models import Subclassed

from keras_deeptricks.models.pruning import (
    SparsityReport,
    prune,
    set_masks,
    sparsity,
    weight_magnitude,
)
from keras_deeptricks.models.pruning.pruning_rounds import round_entry


def images_model(shape=(6, 6, 2)):
    inputs = keras.Input(shape)
    tensor = layers.Conv2D(4, 3, name="conv")(inputs)
    tensor = layers.BatchNormalization()(tensor)
    tensor = layers.SeparableConv2D(5, 3, name="both")(tensor)
    tensor = layers.GlobalAveragePooling2D()(tensor)
    return keras.Model(inputs, layers.Dense(3, name="out")(tensor), name="images")


def test_by_hand():
    model = images_model()
    mask = np.ones((5, 3))
    mask[:2] = 0
    set_masks(model, {"out/kernel": mask})
    report = sparsity(model)
    found = {entry["path"]: entry for entry in report.kernels}
    # Two for each multiply-add: 4×4 and 2×2 positions of the convolutions.
    assert [entry["flops"] for entry in report.kernels] == [
        2 * 3 * 3 * 2 * 4 * 16,
        2 * 3 * 3 * 4 * 4,
        2 * 4 * 5 * 4,
        2 * 5 * 3,
    ]
    assert found["out/kernel"]["masked"] == 6
    assert found["out/kernel"]["nonzero"] == 9
    assert found["out/kernel"]["shape"] == [5, 3]
    weights = 72 + 36 + 20 + 15
    assert report.sparsity == pytest.approx(6 / weights)
    # Biases, and the statistics of the batch norm, four of each channel.
    assert report.after["parameters"] == weights + 4 + 16 + 5 + 3
    # Zero besides: the biases, β and the moving means.
    assert report.after["nonzero"] == weights - 6 + 8
    assert report.after["flops"] == 2304 + 288 + 160 + 30
    assert report.after["nonzero_flops"] == 2304 + 288 + 160 + 18
    assert report.after["seconds"] is None
    assert report.before is None


def test_zeros_make_a_file_smaller_only_when_it_is_compressed():
    model = keras.Sequential([keras.Input((100,)), layers.Dense(200), layers.Dense(10)])
    pruned, report = prune(model, weight_magnitude, fraction=0.9, report=True)
    size = report.before["file_bytes"]
    # The masks are a part of it: less than a bit for each weight, in base 64.
    assert size < report.after["file_bytes"] < size + 22_000 / 8 * 4 / 3
    assert report.before["compressed_bytes"] > 0.9 * 4 * 22_000
    assert report.after["compressed_bytes"] < 0.4 * report.before["compressed_bytes"]
    # The optimizer is not in it.
    pruned.compile("adam", "mse")
    pruned.fit(np.ones((4, 100)), np.ones((4, 10)), verbose=0)
    assert sparsity(pruned).after["file_bytes"] < size + 22_000 / 8 * 4 / 3


def test_times_of_two_models():
    model = images_model()
    report = sparsity(model, before=images_model(), x=np.ones((4, 6, 6, 2)), repeats=3)
    assert 0 < report.after["seconds"] < 10
    assert 0 < report.before["seconds"] < 10


def test_shapes_that_are_not_known_need_data():
    model = images_model((None, None, 2))
    assert sparsity(model).after["flops"] is None
    assert sparsity(model).kernels[0]["flops"] is None
    assert sparsity(model, x=np.ones((3, 6, 6, 2))).after["flops"] == 2304 + 288 + 160 + 30
    subclassed = Subclassed([layers.Dense(3), layers.Dense(2)])
    subclassed(np.ones((1, 4)))
    assert sparsity(subclassed).after["flops"] is None
    assert sparsity(subclassed, x=np.ones((2, 4))).after["flops"] == 2 * (12 + 6)


def test_the_table(tmp_path):
    model = keras.Sequential(
        [keras.Input((4,)), layers.Dense(500, name="hidden"), layers.Dense(1, name="out")],
        name="small",
    )
    _, report = prune(model, weight_magnitude, fraction=0.5, exclude="out", report=True)
    lines = str(report).splitlines()
    assert lines[0] == "'small': 40.0% of the kernels' weights are zero"
    # Of 3,001 weights the 1,000 pruned ones and the 501 biases are zero.
    assert lines[1] == (
        "of 3,001 parameters, 2,500 are in kernels that can be pruned; 50.0% of all are zero"
    )
    assert lines[2].split() == ["kernel", "shape", "weights", "not", "zero", "sparsity", "FLOPs"]
    assert lines[3].split() == ["hidden/kernel", "4×500", "2,000", "1,000", "50.0%", "4,000"]
    assert lines[4].split() == ["out/kernel", "500×1", "500", "500", "0.0%", "1,000"]
    assert "parameters: 3,001 → 3,001" in lines
    assert "nonzero flops: 5,000 → 3,000" in lines
    for name in ("report.json", "report.npz"):
        report.save(tmp_path / name)
        assert str(SparsityReport.load(tmp_path / name)) == str(report)


def test_a_fixed_batch():
    inputs = keras.Input(batch_shape=(16, 5, 4))
    # The rows stand along the axis of the steps for one layer.
    rows = keras.ops.reshape(layers.Dense(3, name="first")(inputs), (80, 3))
    model = keras.Model(inputs, keras.ops.reshape(layers.Dense(2)(rows), (16, 5, 2)))
    expected = [2 * 5 * 4 * 3, 2 * 5 * 3 * 2]
    assert [entry["flops"] for entry in sparsity(model).kernels] == expected
    # Fewer rows than the model takes, and more.
    for count in (3, 20):
        found = sparsity(model, x=np.ones((count, 5, 4)))
        assert [entry["flops"] for entry in found.kernels] == expected
    _, report = prune(model, weight_magnitude, fraction=0.5, report=True)
    assert report.before["flops"] == sum(expected)


def test_states_are_as_before():
    model = keras.Sequential(
        [keras.Input(batch_shape=(2, 5, 4)), layers.LSTM(3, stateful=True), layers.Dense(1)]
    )
    states = model.layers[0].states
    for state in states:
        state.assign(np.full((2, 3), 0.5))
    report = sparsity(model, x=np.ones((2, 5, 4)), repeats=1)
    assert report.after["flops"] == 2 * 5 * (4 + 3) * 12 + 2 * 3
    for state in states:
        assert (keras.ops.convert_to_numpy(state) == 0.5).all()


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="Text goes in on TensorFlow.")
def test_text():
    vectorize = layers.TextVectorization(vocabulary=["a", "b"], output_mode="multi_hot")
    inputs = keras.Input((1,), dtype="string")
    model = keras.Model(inputs, layers.Dense(3)(vectorize(inputs)))
    report = sparsity(model)
    assert report.after["flops"] is None
    assert report.kernels[0]["flops"] is None
    assert sparsity(model, x=np.array([["a b"], ["b"]])).after["flops"] == 2 * 3 * 3


def test_a_model_that_refuses_zeros_or_single_rows():
    class Pairs(keras.layers.Layer):
        def call(self, inputs):
            if inputs.shape[0] is not None and inputs.shape[0] % 2:
                raise ValueError("pairs")
            return inputs

        def compute_output_shape(self, shape):
            return shape

    inputs = keras.Input((4,))
    model = keras.Model(inputs, layers.Dense(3)(Pairs()(inputs)))
    assert sparsity(model, file_sizes=False).after["flops"] is None
    assert sparsity(model, x=np.ones((6, 4)), file_sizes=False).after["flops"] == 24
    with pytest.raises(ValueError, match="pairs"):
        sparsity(model, x=np.ones((3, 4)), file_sizes=False)


def test_without_file_sizes_nothing_is_written(monkeypatch):
    model = images_model()
    whole = sparsity(model)
    monkeypatch.setattr(keras.Model, "save", None)
    report = sparsity(model, file_sizes=False)
    assert report.after["file_bytes"] is report.after["compressed_bytes"] is None
    assert report.kernels == whole.kernels
    assert report.after["flops"] == whole.after["flops"]
    entry = round_entry(1, 0.5, report)
    assert entry["nonzero"] == 143
    assert entry["flops"] == 2304 + 288 + 160 + 30


def test_the_compression_is_that_of_zip(monkeypatch):
    levels = []
    compress = zlib.compress
    monkeypatch.setattr(zlib, "compress", lambda *a: levels.append(a[1]) or compress(*a))
    report = sparsity(keras.Sequential([keras.Input((4,)), layers.Dense(2)]))
    # Level 9 takes ten times as long on weights that are mostly zero.
    assert levels == [6]
    assert report.after["compressed_bytes"] < report.after["file_bytes"]


def test_no_kernels():
    model = keras.Sequential([keras.Input((4,)), layers.BatchNormalization()], name="plain")
    report = sparsity(model)
    assert report.sparsity == 0
    assert report.after["flops"] == 0
    lines = str(report).splitlines()
    assert lines[0] == "'plain': no kernels, nothing that can be pruned"
    assert lines[1].startswith("of 16 parameters, 0 are in kernels")


def attention_model():
    inputs = keras.Input((5, 4))
    tensor = layers.MultiHeadAttention(2, 3, name="attention")(inputs, inputs)
    tensor = layers.Bidirectional(layers.LSTM(2), name="both")(tensor)
    return keras.Model(inputs, layers.Dense(1, name="out")(tensor), name="mixed")


def test_what_is_left_out_is_told():
    model = attention_model()
    _, report = prune(model, weight_magnitude, fraction=0.5, report=True)
    attention, lstm = 4 * 4 * 6, 2 * (4 + 2) * 8
    assert report.left_out == [
        {"layer": "attention", "matrices": 4, "parameters": attention, "nonzero": attention},
        {"layer": "both", "matrices": 4, "parameters": lstm, "nonzero": lstm},
    ]
    assert report.sparsity == 0.5
    # Zero besides the two weights: the biases, but those of the forget gates.
    total, zero = model.count_params(), 2 + (3 * 6 + 4) + 2 * 6 + 1
    assert report.parameter_sparsity == pytest.approx(zero / total)
    lines = str(report).splitlines()
    assert lines[1] == (
        f"of {total} parameters, 4 are in kernels that can be pruned; "
        f"{zero / total:.1%} of all are zero"
    )
    assert lines[4].startswith("attention: left out, ")
    assert lines[4].endswith("4, of 96 weights, 0.0% zero")
    assert lines[5].startswith("both: left out, ")
    # Projections, scores and sums of values, then the steps of both directions.
    flops = 2 * 5 * attention + 2 * 2 * 5 * 5 * (3 + 3) + 2 * 5 * lstm
    assert report.after["flops"] == flops + 8
    assert report.after["nonzero_flops"] == flops + 4


def test_layers_that_are_not_known():
    class Product(keras.layers.Layer):
        def build(self, shape):
            self.matrix = self.add_weight(shape=(shape[-1], 2))

        def call(self, inputs):
            return keras.ops.matmul(inputs, self.matrix)

    model = keras.Sequential([keras.Input((4,)), layers.Dense(3), Product(name="own")])
    report = sparsity(model, file_sizes=False)
    assert [entry["flops"] for entry in report.kernels] == [24]
    assert report.after["flops"] is None
    assert report.after["nonzero_flops"] is None
    assert [entry["layer"] for entry in report.left_out] == ["own"]
    # Weights of several axes that nothing is multiplied by, as matrices are, do no harm.
    model = keras.Sequential([keras.Input((4, 3)), layers.LayerNormalization(axis=(1, 2))])
    report = sparsity(model, file_sizes=False)
    assert report.after["flops"] == 0
    assert report.left_out == []


def test_bad_arguments_are_refused():
    model = images_model()
    with pytest.raises(TypeError, match="`model`"):
        sparsity(3)
    with pytest.raises(TypeError, match="`before`"):
        sparsity(model, before=3)
    with pytest.raises(ValueError, match="built"):
        sparsity(keras.Sequential([layers.Dense(1)]))
    with pytest.raises(ValueError, match="`x`"):
        sparsity(model, repeats=2)
    with pytest.raises(ValueError, match="`repeats`"):
        sparsity(model, repeats=-1)
    with pytest.raises(TypeError, match="`file_sizes`"):
        sparsity(model, file_sizes=None)
