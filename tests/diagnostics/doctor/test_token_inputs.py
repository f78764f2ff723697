import numpy as np
import pytest
from keras import Input, Model, ops
from keras.layers import LSTM, CategoryEncoding, Dense, Embedding, Flatten, Reshape
from structural_cases import case_of, found

from keras_deeptricks.diagnostics.doctor.token_inputs import ids_as_amounts, looks_like_ids

RNG = np.random.default_rng(0)


def texts(rows=60, steps=12):
    """Ids of words, frequent ones small, padded with zeros in front."""
    ids = np.minimum(RNG.geometric(0.01, (rows, steps)), 999)
    lengths = RNG.integers(5, steps + 1, (rows, 1))
    return np.where(np.arange(steps) >= steps - lengths, ids, 0)


def test_what_looks_like_ids():
    assert looks_like_ids(texts()) > 50
    assert looks_like_ids(RNG.integers(1, 500, (60, 12))) > 50


def test_what_does_not():
    images = np.clip(np.cumsum(RNG.normal(0, 9, (60, 64)), 1) + 128, 0, 255).astype("uint8")
    series = np.cumsum(RNG.integers(-3, 4, (60, 40)), axis=1) + 200
    table = np.stack([RNG.integers(0, 10**k, 60) for k in (1, 2, 3, 1, 2, 4)], axis=1)
    counts = RNG.poisson(0.3, (60, 100))
    for values in (images, series, table, counts, texts() + 0.5, texts()[:, :3]):
        assert looks_like_ids(values) == 0


@pytest.mark.parametrize("kind", ["dense", "lstm"])
def test_ids_that_are_multiplied_by_weights(kind):
    x = texts()
    inputs = Input((12,))
    tensor = Reshape((12, 1))(inputs) if kind == "lstm" else inputs
    layer = LSTM(4, name="taker") if kind == "lstm" else Dense(8, "relu", name="taker")
    model = Model(inputs, Dense(3, "softmax")(layer(tensor)))
    case = case_of(model, x)
    assert found(case, ids_as_amounts) == [("architecture", "warning", "taker")]


def test_ids_that_are_looked_up():
    x = texts()
    inputs = Input((12,), dtype="int32")
    for layer in (Embedding(1000, 4), CategoryEncoding(1000)):
        tensor = layer(inputs)
        tensor = Flatten()(tensor) if len(tensor.shape) > 2 else tensor
        assert found(case_of(Model(inputs, Dense(3)(tensor)), x), ids_as_amounts) == []
    tensor = Flatten()(ops.one_hot(inputs, 1000))
    assert found(case_of(Model(inputs, Dense(3)(tensor)), x), ids_as_amounts) == []
