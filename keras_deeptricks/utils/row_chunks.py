"""Data of any form that Keras takes, cut into chunks of equal numbers of rows."""

import keras
import numpy as np
from keras import ops

from keras_deeptricks.utils.batches import is_arrays
from keras_deeptricks.utils.checks import check_integer


def row_chunks(x, size, y=None, sample_weight=None, batch_size=None, steps=None):
    """Yields (number of the first row, inputs, targets, weights) for `size` rows at a time.

    Where the chunks begin depends on `size` alone, not on how the data is batched. The last one
    may be shorter. Targets and weights are None where there are none.

    Args:
        x: Arrays (also a list, tuple or dictionary of them), a `tf.data.Dataset`, a
            `keras.utils.PyDataset`, a torch `DataLoader`, or a generator of batches.
        size: Rows of a chunk, at least 1.
        y, sample_weight: For arrays only: the targets, and a weight for each row.
        batch_size: Rows of a step, which counts together with `steps`. Defaults to 32.
        steps: Number of steps (batches) to take, by default all there are.

    Raises:
        TypeError: `x` is nothing of the above.
        ValueError: numbers of rows do not agree, targets are given twice, the data is empty or
            has no end and `steps` is not given.
    """
    if batch_size is not None:
        batch_size = check_integer("batch_size", batch_size, minimum=1)
    if steps is not None:
        steps = check_integer("steps", steps, minimum=1)
    if is_arrays(x):
        rows = check_rows(x, y, sample_weight)
        if steps is not None:
            rows = min(rows, steps * (batch_size or 32))
        for first in range(0, rows, size):
            chunk = slice(first, min(first + size, rows))
            yield first, *(numpy_rows(part, chunk) for part in (x, y, sample_weight))
        return
    if y is not None or sample_weight is not None:
        raise ValueError(
            "`y` and `sample_weight` go with arrays only: a data set yields them beside `x`."
        )
    yield from _regrouped(batches_of_dataset(x, steps), size)


def check_rows(x, y=None, sample_weight=None):
    """The number of rows of arrays.

    Raises:
        ValueError: They have different numbers of rows, or none.
    """
    counts = {}
    for name, part in (("x", x), ("y", y), ("sample_weight", sample_weight)):
        if part is not None:
            for leaf in keras.tree.flatten(part):
                counts.setdefault(_row_count(name, leaf), name)
    if len(counts) != 1:
        found = ", ".join(f"{name} has {count}" for count, name in counts.items())
        raise ValueError(f"All arrays must have the same number of rows, but {found}.")
    (rows,) = counts
    if rows == 0:
        raise ValueError("`x` is empty: it has no rows.")
    return rows


def _row_count(name, leaf):
    shape = np.shape(leaf)
    if not shape:
        raise ValueError(f"`{name}` must have an axis of rows. Received: {name}={leaf!r}.")
    return int(shape[0])


def numpy_rows(part, rows):
    """A slice of the rows of arrays, as NumPy arrays in Keras' precision; None stays None."""
    if part is None:
        return None
    return keras.tree.map_structure(lambda leaf: _as_numpy(leaf[rows]), part)


def batches_of_dataset(x, steps=None, name="x"):
    """Yields the batches of a data set as (inputs, targets, weights) of NumPy arrays.

    Args:
        x: A `tf.data.Dataset`, a `keras.utils.PyDataset`, a torch `DataLoader`, or a generator.
        steps: Number of batches to take, by default all there are.
        name: What errors call the data set.

    Raises:
        TypeError: `x` is nothing of the above.
        ValueError: it has no end and `steps` is not given.
    """
    if isinstance(x, keras.utils.PyDataset):
        if x.num_batches is None and steps is None:
            _refuse_endless(name)
        count = x.num_batches if steps is None else steps
        batches = (x[index] for index in range(min(count, x.num_batches or count)))
    elif hasattr(x, "__iter__") and not isinstance(x, (str, bytes, dict)):
        # A tf.data.Dataset says by −1 that it has no end.
        if steps is None and hasattr(x, "cardinality") and int(x.cardinality()) == -1:
            _refuse_endless(name)
        batches = iter(x)
    else:
        raise TypeError(
            f"`{name}` must be arrays, a tf.data.Dataset, a keras.utils.PyDataset, a torch "
            f"DataLoader or a generator of batches. Received: {name} of type {type(x).__name__}."
        )
    for index, batch in enumerate(batches):
        if index == steps:
            return
        parts = keras.utils.unpack_x_y_sample_weight(batch)
        yield tuple(
            None if part is None else keras.tree.map_structure(_as_numpy, part) for part in parts
        )
        if index + 1 == steps:
            return


def _regrouped(batches, size):
    held, first = None, 0
    for batch in batches:
        held = batch if held is None else _joined(held, batch)
        while _rows_of(held) >= size:
            yield first, *(_slice(part, 0, size) for part in held)
            held = tuple(_slice(part, size, None) for part in held)
            first += size
    if held is not None and _rows_of(held):
        yield first, *held
    elif first == 0:
        raise ValueError("`x` is empty: it yields no rows.")


def _joined(a, b):
    if [part is None for part in a] != [part is None for part in b]:
        raise ValueError("Either all batches must hold targets (and weights), or none.")
    pairs = zip(a, b, strict=True)
    return tuple(None if p is None else keras.tree.map_structure(_join, p, q) for p, q in pairs)


def _join(a, b):
    if a.shape[1:] != b.shape[1:]:
        raise ValueError(
            f"All rows must have one shape, but batches have rows of {a.shape[1:]} and of "
            f"{b.shape[1:]}. Pad them to the same length."
        )
    return np.concatenate([a, b])


def _rows_of(parts):
    return len(keras.tree.flatten(parts[0])[0])


def _slice(part, start, stop):
    return None if part is None else keras.tree.map_structure(lambda leaf: leaf[start:stop], part)


def _as_numpy(leaf):
    if hasattr(leaf, "to_numpy"):
        leaf = leaf.to_numpy()
    array = ops.convert_to_numpy(leaf) if keras.ops.is_tensor(leaf) else np.asarray(leaf)
    # Keras' `predict` hands floating-point data over in this precision too.
    return array.astype(keras.config.floatx()) if array.dtype == np.float64 else array


def _refuse_endless(name):
    raise ValueError(f"`{name}` has no end: pass `steps`, the number of batches to take.")
