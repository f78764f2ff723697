"""Chunks of rows: the same whatever holds the data and however it is batched."""

import importlib.util
import itertools

import keras
import numpy as np
import pytest

from keras_deeptricks.utils.row_chunks import row_chunks

X = np.arange(22, dtype="float32").reshape(11, 2)
Y = np.arange(11, dtype="int32")
W = np.linspace(0, 1, 11, dtype="float32")
needs_tensorflow = pytest.mark.skipif(
    importlib.util.find_spec("tensorflow") is None, reason="TensorFlow is not installed"
)
needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="torch is not installed"
)


class Batches(keras.utils.PyDataset):
    """X, Y and W in batches; `count` is what it says of their number."""

    def __init__(self, size=3, count="all", **kwargs):
        super().__init__(**kwargs)
        self.size, self.count = size, count

    @property
    def num_batches(self):
        return -(-len(X) // self.size) if self.count == "all" else self.count

    def __getitem__(self, index):
        start = index * self.size % len(X)
        rows = slice(start, start + self.size)
        return X[rows], Y[rows], W[rows]


def in_batches(size, *parts):
    for start in range(0, len(X), size):
        batch = tuple(part[start : start + size] for part in parts)
        yield batch if len(batch) > 1 else batch[0]


def joined(chunks, part=1):
    return np.concatenate([chunk[part] for chunk in chunks])


def assert_chunks(chunks, size, rows=11):
    """Full chunks but for the last, numbered by their first rows, with all rows in order."""
    chunks = list(chunks)
    assert [first for first, *_ in chunks] == list(range(0, rows, size))
    assert [len(x) for _, x, *_ in chunks[:-1]] == [size] * (len(chunks) - 1)
    np.testing.assert_array_equal(joined(chunks), X[:rows])
    return chunks


# By hand.


def test_arrays_by_hand():
    chunks = list(row_chunks(X[:3], 2, y=Y[:3]))
    (first, x, y, weight), (second, *last) = chunks
    assert (first, second) == (0, 2)
    np.testing.assert_array_equal(x, [[0, 1], [2, 3]])
    np.testing.assert_array_equal(y, [0, 1])
    assert weight is None
    np.testing.assert_array_equal(last[0], [[4, 5]])
    np.testing.assert_array_equal(last[1], [2])


@pytest.mark.parametrize("size", [1, 2, 3, 4, 11, 100])
@pytest.mark.parametrize("batch", [1, 2, 4, 5, 11])
def test_batches_do_not_change_the_chunks(size, batch):
    chunks = assert_chunks(row_chunks(in_batches(batch, X, Y, W), size), size)
    np.testing.assert_array_equal(joined(chunks, 2), Y)
    np.testing.assert_array_equal(joined(chunks, 3), W)


# Forms of data.


@pytest.mark.parametrize("pack", [list, tuple, lambda pair: dict(zip("ab", pair, strict=True))])
def test_structures_of_arrays_and_of_batches(pack):
    for x in (pack((X, Y)), ((pack(batch),) for batch in in_batches(3, X, Y))):
        found = [keras.tree.flatten(inputs) for _, inputs, _, _ in row_chunks(x, 4)]
        assert [len(first) for first, _ in found] == [4, 4, 3]
        np.testing.assert_array_equal(np.concatenate([first for first, _ in found]), X)
        np.testing.assert_array_equal(np.concatenate([second for _, second in found]), Y)
    assert type(next(row_chunks(pack((X, Y)), 4))[1]) is type(pack((X, Y)))


def test_tensors():
    tensors = (keras.ops.convert_to_tensor(part) for part in (X, Y, W))
    x, y, weight = tensors
    chunks = assert_chunks(row_chunks(x, 4, y=y, sample_weight=weight), 4)
    assert all(isinstance(part, np.ndarray) for _, *parts in chunks for part in parts)
    np.testing.assert_array_equal(joined(chunks, 2), Y)


@pytest.mark.parametrize("index", [None, range(5, 16), np.linspace(0, 1, 11), list("kjihgfedcba")])
def test_tables_of_pandas_go_by_position(index):
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame(X, columns=["a", "b"], index=index)
    column = pandas.Series(Y, index=index)
    chunks = assert_chunks(row_chunks(table, 4, y=column), 4)
    np.testing.assert_array_equal(joined(chunks, 2), Y)


def test_a_dictionary_of_columns():
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame(X, columns=["a", "b"])
    chunks = list(row_chunks(dict(table), 4))
    np.testing.assert_array_equal(np.concatenate([x["b"] for _, x, _, _ in chunks]), X[:, 1])


@needs_tensorflow
@pytest.mark.parametrize("batch", [2, 4, 5])
def test_tensorflow_data(batch):
    import tensorflow as tf

    data = tf.data.Dataset.from_tensor_slices((X, Y, W)).batch(batch)
    chunks = assert_chunks(row_chunks(data, 4), 4)
    np.testing.assert_array_equal(joined(chunks, 2), Y)
    np.testing.assert_array_equal(joined(chunks, 3), W)
    assert_chunks(row_chunks(data.map(lambda x, y, w: x), 4), 4)
    # Of unknown length, and then of no end.
    assert_chunks(row_chunks(data.filter(lambda x, y, w: True), 4), 4)
    assert_chunks(row_chunks(data.repeat(), 4, steps=2), 4, rows=2 * batch)


@needs_tensorflow
def test_endless_tensorflow_data_needs_steps():
    import tensorflow as tf

    with pytest.raises(ValueError, match="`x` has no end: pass `steps`"):
        list(row_chunks(tf.data.Dataset.from_tensor_slices(X).batch(2).repeat(), 4))


def test_py_datasets():
    chunks = assert_chunks(row_chunks(Batches(), 4), 4)
    np.testing.assert_array_equal(joined(chunks, 2), Y)
    np.testing.assert_array_equal(joined(chunks, 3), W)
    assert_chunks(row_chunks(Batches(), 4, steps=2), 4, rows=6)
    assert_chunks(row_chunks(Batches(), 4, steps=99), 4)
    assert_chunks(row_chunks(Batches(count=None), 4, steps=3), 4, rows=9)
    with pytest.raises(ValueError, match="`x` has no end: pass `steps`"):
        list(row_chunks(Batches(count=None), 4))


@needs_torch
def test_torch_data_loaders():
    import torch

    pairs = torch.utils.data.TensorDataset(torch.tensor(X), torch.tensor(Y))
    chunks = assert_chunks(row_chunks(torch.utils.data.DataLoader(pairs, batch_size=3), 4), 4)
    np.testing.assert_array_equal(joined(chunks, 2), Y)


def test_a_generator_gives_no_more_batches_than_asked_for():
    batches = in_batches(2, X)
    assert_chunks(row_chunks(batches, 3, steps=2), 3, rows=4)
    np.testing.assert_array_equal(next(batches), X[4:6])
    endless = itertools.cycle([X[:2]])
    assert sum(len(x) for _, x, _, _ in row_chunks(endless, 3, steps=5)) == 10


@pytest.mark.parametrize("batch_size, steps, rows", [(2, 3, 6), (None, 1, 11), (4, 99, 11)])
def test_steps_of_arrays(batch_size, steps, rows):
    chunks = row_chunks(X, 4, y=Y, batch_size=batch_size, steps=steps)
    np.testing.assert_array_equal(joined(assert_chunks(chunks, 4, rows), 2), Y[:rows])


def test_chunks_come_as_they_are_needed():
    def batches():
        yield X[:4]
        raise RuntimeError("the second batch was asked for")

    _, x, _, _ = next(row_chunks(batches(), 4))
    np.testing.assert_array_equal(x, X[:4])


# Types.


@pytest.mark.parametrize("dtype", ["uint8", "int32", "float16", "float32", "bool"])
def test_types_are_kept(dtype):
    for x in (X.astype(dtype), iter([X.astype(dtype)])):
        _, inputs, _, _ = next(row_chunks(x, 4))
        assert inputs.dtype == dtype


def test_double_precision_becomes_that_of_keras():
    _, inputs, targets, _ = next(row_chunks(X.astype("float64"), 4, y=Y.astype("float64")))
    assert (inputs.dtype, targets.dtype) == ("float32", "float32")


# Errors.


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"x": X, "y": Y[:5]}, "same number of rows, but x has 11, y has 5"),
        ({"x": [X, Y[:5]]}, "same number of rows"),
        ({"x": X, "sample_weight": W[:1]}, "sample_weight has 1"),
        ({"x": X[:0]}, "`x` is empty"),
        ({"x": iter([])}, "`x` is empty"),
        ({"x": iter([X[:0]])}, "`x` is empty"),
        ({"x": np.float32(3)}, "`x` must have an axis of rows"),
        ({"x": X, "batch_size": 0}, "`batch_size`"),
        ({"x": X, "steps": 0}, "`steps`"),
        ({"x": Batches(), "y": Y}, "`y` and `sample_weight` go with arrays only"),
        ({"x": iter([X]), "sample_weight": W}, "`y` and `sample_weight` go with arrays only"),
        ({"x": iter([X[:, :1], X])}, r"rows of \(1,\) and of \(2,\). Pad them"),
    ],
)
def test_wrong_data(arguments, message):
    with pytest.raises(ValueError, match=message):
        list(row_chunks(size=4, **arguments))


@pytest.mark.parametrize("x", [3, "rows", None, len])
def test_what_is_no_data(x):
    with pytest.raises(TypeError, match="`x` must be arrays"):
        list(row_chunks(x, 4))


def test_batches_with_and_without_targets():
    with pytest.raises(ValueError, match="targets"):
        list(row_chunks(iter([(X[:2], Y[:2]), X[:2]]), 4))
