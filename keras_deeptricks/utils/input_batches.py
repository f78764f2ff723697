"""The inputs of data of any form, batch by batch, as often as they are needed."""

import keras
import numpy as np

from keras_deeptricks.utils.batches import is_arrays, row_count
from keras_deeptricks.utils.checks import check_integer
from keras_deeptricks.utils.row_chunks import batches_of_dataset, numpy_rows

_DEFAULT_ROWS = 256


class InputBatches:
    """Reads the inputs of `data` as NumPy batches; of tuples (inputs, targets, …) the inputs.

    Arrays are cut into batches of `batch_size` rows; the batches of a data set are taken as they
    come. Iterating again reads again, where that is possible.

    Args:
        data: Arrays (also a list, tuple or dictionary of them), a `tf.data.Dataset`, a
            `keras.utils.PyDataset`, a torch `DataLoader`, or a generator of batches.
        batch_size: Rows of a batch, for arrays only. Defaults to 256.
        steps: Number of batches to take, by default all there are.

    Attributes:
        is_read_once: True for a generator, which cannot be read again.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: An argument is out of its range, arrays have no rows or different numbers of
            them, or `batch_size` is given for a data set.
    """

    def __init__(self, data, batch_size=None, steps=None):
        self.data = data
        self.steps = None if steps is None else check_integer("steps", steps, minimum=1)
        self.is_arrays = is_arrays(data)
        self.is_read_once = not self.is_arrays and hasattr(data, "__next__")
        if batch_size is not None:
            batch_size = check_integer("batch_size", batch_size, minimum=1)
            if not self.is_arrays:
                raise ValueError(
                    "`batch_size` goes with arrays only: a data set has batches of its own. "
                    f"Received: batch_size={batch_size} with data of type {type(data).__name__}."
                )
        self.batch_size = batch_size or _DEFAULT_ROWS
        if self.is_arrays:
            _check_rows(data)

    def __iter__(self):
        if not self.is_arrays:
            for batch in batches_of_dataset(self.data, self.steps, "data"):
                yield batch[0]
            return
        rows = row_count(self.data)
        if self.steps is not None:
            rows = min(rows, self.steps * self.batch_size)
        for first in range(0, rows, self.batch_size):
            chunk = slice(first, min(first + self.batch_size, rows))
            yield numpy_rows(self.data, chunk)

    def first(self):
        """The first batch.

        Raises:
            ValueError: there is none.
        """
        for batch in self:
            return batch
        raise ValueError("`data` is empty: it yields no batch.")


def _check_rows(data):
    shapes = [np.shape(leaf) for leaf in keras.tree.flatten(data)]
    if not all(shapes):
        raise ValueError(f"`data` must have an axis of rows. Received shapes: {shapes}.")
    counts = {shape[0] for shape in shapes}
    if len(counts) > 1:
        raise ValueError(
            f"`data`: all arrays must have the same number of rows. Received: {shapes}."
        )
    if counts == {0}:
        raise ValueError("`data` is empty: it has no rows.")
