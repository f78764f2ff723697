"""One batch of inputs, checked, of whatever `x` is."""

import keras
import numpy as np
from keras import ops

from keras_deeptricks.utils.batches import first_inputs, is_arrays, row_count, take_rows


def one_batch(x, batch_size=None):
    """A batch of inputs as NumPy arrays, in the structure that the model takes.

    Args:
        x: An array, a tensor, a list or dictionary of them, or anything that can be read again
            and again and yields batches: a `tf.data.Dataset`, a `keras.utils.PyDataset`, a torch
            `DataLoader`. Of these the first batch is taken, of tuples (inputs, targets, …) the
            inputs.
        batch_size: Rows to take, the first ones; all of the arrays, or of the batch, by default.

    Raises:
        ValueError: `x` is a generator, has no rows, or holds NaN or infinities.
    """
    if not is_arrays(x):
        if hasattr(x, "__next__"):
            raise ValueError(
                "`x` is a generator, from which a batch cannot be taken without losing it for "
                "others. Pass one batch of it: `next(x)[0]`."
            )
        x = first_inputs(x)
    if any(leaf.ndim == 0 for leaf in keras.tree.flatten(x)):
        raise ValueError("`x` must have rows along its first axis. Received a single number.")
    rows = row_count(x)
    batch = take_rows(x, slice(0, rows if batch_size is None else batch_size))
    for leaf in keras.tree.flatten(batch):
        if leaf.size == 0:
            raise ValueError(f"`x` is empty: it has the shape {tuple(leaf.shape)}.")
        if not _is_finite(leaf):
            raise ValueError("`x` holds NaN or infinite values. Remove or replace them first.")
    return batch


def as_tensors(batch):
    """The arrays of a batch as tensors of the backend; float64 becomes Keras' default float."""
    return keras.tree.map_structure(
        lambda leaf: ops.convert_to_tensor(
            leaf.astype(keras.config.floatx()) if leaf.dtype == np.float64 else leaf
        ),
        batch,
    )


def _is_finite(array):
    # What has no floats, such as text or whole numbers, has no NaN.
    return not np.issubdtype(array.dtype, np.floating) or bool(np.isfinite(array).all())
