"""The inputs of every form of data, in batches, as often as needed."""

import numpy as np
import pytest

from keras_deeptricks.utils.input_batches import InputBatches

X = np.arange(14.0).reshape(7, 2)


def sizes(batches):
    return [len(batch) for batch in batches]


def test_arrays_are_cut():
    batches = InputBatches(X, batch_size=3)
    assert sizes(batches) == sizes(batches) == [3, 3, 1]
    np.testing.assert_array_equal(np.concatenate(list(batches)), X)
    assert batches.first().dtype == "float32"  # as `predict` hands it over
    assert sizes(InputBatches(X, batch_size=3, steps=2)) == [3, 3]
    assert sizes(InputBatches(X)) == [7]


def test_structures_stay():
    batch = InputBatches({"a": X, "b": [X[:, :1], X]}, batch_size=4).first()
    assert batch["b"][0].shape == (4, 1)


def test_data_sets_keep_their_batches_and_lose_their_targets():
    batches = InputBatches(pair for pair in [(X[:5], 1), (X[5:], 2)])
    assert batches.is_read_once
    assert sizes(batches) == [5, 2]
    assert sizes(batches) == []
    assert not InputBatches(X).is_read_once


@pytest.mark.parametrize(
    "data, options, error, told",
    [
        ([X, X[:3]], {}, ValueError, "same number of rows"),
        (np.float32(3), {}, ValueError, "axis of rows"),
        (X[:0], {}, ValueError, "empty"),
        (X, {"batch_size": 0}, ValueError, "`batch_size`"),
        (X, {"steps": 1.5}, TypeError, "`steps`"),
        (iter([X]), {"batch_size": 2}, ValueError, "goes with arrays only"),
        ("text", {}, TypeError, "`data` must be arrays"),
        (iter([]), {}, ValueError, "empty"),
    ],
)
def test_what_cannot_be_read_is_refused(data, options, error, told):
    with pytest.raises(error, match=told):
        InputBatches(data, **options).first()
