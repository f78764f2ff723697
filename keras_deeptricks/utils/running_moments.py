"""Mean and variance of streamed data, in double precision."""

import keras
import numpy as np
from keras import ops


class RunningMoments:
    """Collects the mean and variance of batches, merged exactly.

    Args:
        axis: The axis whose entries have statistics of their own, or None for one of each.

    Reference: Chan, Golub & LeVeque, Updating formulae and a pairwise algorithm for computing
    sample variances, 1979, equation 2.1.
    """

    def __init__(self, axis):
        self.axis = axis
        self.count = 0
        self.mean = 0.0
        self.squares = 0.0

    def update(self, batch):
        """Adds a batch.

        Raises:
            ValueError: it holds NaN or infinities, lacks the axis, or has another size along it.
        """
        batch = np.asarray(batch, "float64")
        if not np.isfinite(batch).all():
            raise ValueError("The data holds NaN or infinite values: remove or replace them first.")
        axes = tuple(range(batch.ndim))
        if self.axis is not None:
            if not -batch.ndim <= self.axis < batch.ndim:
                raise ValueError(
                    f"`axis`={self.axis} does not exist in data of shape {batch.shape}."
                )
            kept = self.axis % batch.ndim
            axes = tuple(a for a in axes if a != kept)
        count = int(np.prod([batch.shape[a] for a in axes]))
        if count == 0:
            return
        mean = batch.mean(axis=axes)
        shape = [1] * batch.ndim
        if self.axis is not None:
            shape[self.axis] = -1
        self.merge(count, mean, np.square(batch - mean.reshape(shape)).sum(axis=axes))

    def merge(self, count, mean, squares):
        """Adds `count` values of each entry, of which the mean and squared deviations are known.

        Raises:
            ValueError: there are more or fewer entries than before.
        """
        if self.count and np.shape(self.mean) != mean.shape:
            raise ValueError(
                f"The batches must have the same features. One has {mean.shape} statistics, the "
                f"ones before it {np.shape(self.mean)}."
            )
        total = self.count + count
        gap = mean - self.mean
        self.squares = self.squares + squares + gap**2 * (self.count * count / total)
        self.mean = self.mean + gap * (count / total)
        self.count = total

    def mean_and_variance(self):
        """The mean and the (biased) variance so far.

        Raises:
            ValueError: there was no data.
        """
        if not self.count:
            raise ValueError("There is no data to take statistics of: it is empty.")
        return self.mean, self.squares / self.count


def batches_of(data, batch_size=1024):
    """Yields the inputs of `data` as NumPy batches.

    Args:
        data: An array or tensor, or anything that yields batches or tuples that begin with one.
            A `keras.utils.PyDataset` is read by its indices.
        batch_size: Rows of an array that make a batch.
    """
    if hasattr(data, "shape") or (isinstance(data, list) and not _holds_arrays(data)):
        data = data if hasattr(data, "shape") else np.asarray(data)
        for start in range(0, len(data), batch_size):
            yield ops.convert_to_numpy(data[start : start + batch_size])
        return
    if isinstance(data, keras.utils.PyDataset):
        if data.num_batches is None:
            raise ValueError("A PyDataset of unknown length cannot be read in one pass.")
        data = map(data.__getitem__, range(data.num_batches))
    for batch in data:
        inputs = batch[0] if isinstance(batch, (tuple, list)) else batch
        yield ops.convert_to_numpy(inputs)


def _holds_arrays(values):
    """True for a list of arrays, which are batches, and not of plain numbers."""
    first = values[0] if values else None
    return _holds_arrays(first) if isinstance(first, (list, tuple)) else np.ndim(first) > 0
