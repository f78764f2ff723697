"""One checked batch of whatever the inputs come in."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_deeptricks.utils.one_batch import as_tensors, one_batch

X = np.arange(12.0).reshape(6, 2)


class Batches(keras.utils.PyDataset):
    def __len__(self):
        return 2

    def __getitem__(self, index):
        return X[3 * index : 3 * index + 3], np.zeros(3)


def test_all_rows_or_the_first_ones():
    np.testing.assert_array_equal(one_batch(X), X)
    np.testing.assert_array_equal(one_batch(X, 2), X[:2])
    np.testing.assert_array_equal(one_batch(ops.convert_to_tensor(X), 100), X)


def test_the_first_batch_of_a_data_set():
    np.testing.assert_array_equal(one_batch(Batches()), X[:3])
    np.testing.assert_array_equal(one_batch(Batches(), 2), X[:2])


def test_the_structure_is_kept():
    found = one_batch({"a": X, "b": [X[:, 0]]}, 2)
    np.testing.assert_array_equal(found["a"], X[:2])
    np.testing.assert_array_equal(found["b"][0], [0, 2])


def test_doubles_become_the_default_float_and_whole_numbers_stay():
    tensors = as_tensors([X, X.astype("int32")])
    assert [keras.backend.standardize_dtype(t.dtype) for t in tensors] == ["float32", "int32"]


@pytest.mark.parametrize(
    "bad, message",
    [
        (np.zeros((0, 2)), "empty"),
        (np.array([[np.nan]]), "NaN"),
        ({"a": X, "b": np.full((6, 1), np.inf)}, "NaN or infinite"),
        (np.array(3.0), "rows"),
        (iter([X]), "generator"),
    ],
)
def test_what_is_no_batch_is_refused(bad, message):
    with pytest.raises(ValueError, match=message):
        one_batch(bad)
