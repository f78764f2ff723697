"""Rows of data of any form, as NumPy arrays, for detectors to look at."""

import dataclasses

import keras
import numpy as np

from keras_deeptricks.utils.batches import is_arrays, row_count
from keras_deeptricks.utils.row_chunks import batches_of_dataset, check_rows

# Rows of arrays that are looked at, and of a data set, which costs more to read.
_MOST_ROWS, _MOST_DATASET_ROWS, _MOST_BATCHES = 20_000, 8_000, 200
_DEFAULT_BATCH = 32


@dataclasses.dataclass(frozen=True, eq=False)
class Sample:
    """Rows of the data.

    Attributes:
        x, y, sample_weight: Arrays in the structure that the model takes; y and weights or None.
        batch_size: Rows of a batch in training.
        shuffled: Whether `fit` shuffles the rows: it does with arrays.
        total_rows: Rows of all the data, None where that is not known.
    """

    x: object
    y: object
    sample_weight: object
    batch_size: int
    shuffled: bool
    total_rows: int | None

    @property
    def rows(self):
        """The number of rows in the sample."""
        return row_count(self.x)

    @property
    def inputs(self):
        """The arrays of the inputs."""
        return keras.tree.flatten(self.x)

    @property
    def targets(self):
        """The arrays of the targets; an empty list without targets."""
        return [] if self.y is None else keras.tree.flatten(self.y)

    def take(self, rows):
        """The sample with the given rows only: a slice, or whole numbers."""
        return dataclasses.replace(
            self,
            x=_take(self.x, rows),
            y=_take(self.y, rows),
            sample_weight=_take(self.sample_weight, rows),
        )


def read_sample(x, y=None, sample_weight=None, batch_size=None, rng=None):
    """Reads rows of `x` and `y` in their order; of many rows an even choice.

    Args:
        x, y, sample_weight: As for `model.fit`.
        batch_size: For arrays; 32 by default as in `fit`.
        rng: A NumPy `Generator` that chooses the rows of long arrays.

    Raises:
        ValueError: There are no rows, or arrays have different numbers of them.
    """
    if not is_arrays(x):
        return _from_dataset(x, y)
    total = check_rows(x, y, sample_weight)
    rows = slice(None)
    if total > _MOST_ROWS:
        rng = rng or np.random.default_rng(0)
        rows = np.sort(rng.choice(total, _MOST_ROWS, replace=False))
    return Sample(
        x=_take(_as_numpy(x), rows),
        y=_take(_as_numpy(y), rows),
        sample_weight=_take(_as_numpy(sample_weight), rows),
        batch_size=min(batch_size or _DEFAULT_BATCH, total),
        shuffled=True,
        total_rows=total,
    )


def _from_dataset(x, y):
    if y is not None:
        raise ValueError(
            "`y` goes with arrays only: a data set yields pairs (inputs, targets). Received: `x` "
            f"of type {type(x).__name__} with `y`."
        )
    batches, rows = [], 0
    complete = False
    for batch in batches_of_dataset(x, _MOST_BATCHES):
        batches.append(batch)
        rows += row_count(batch[0])
        if rows >= _MOST_DATASET_ROWS:
            break
    else:
        complete = len(batches) < _MOST_BATCHES
    if not rows:
        raise ValueError("`x` is empty: it yields no rows.")
    shapes = {tuple(leaf.shape[1:] for leaf in keras.tree.flatten(b[0])) for b in batches}
    if len(shapes) > 1:
        # Batches of padded sequences may differ in length: those like the first are taken.
        first = [leaf.shape[1:] for leaf in keras.tree.flatten(batches[0][0])]
        batches = [
            b for b in batches if [leaf.shape[1:] for leaf in keras.tree.flatten(b[0])] == first
        ]
    parts = [None if p[0] is None else _joined(p) for p in zip(*batches, strict=True)]
    return Sample(
        x=parts[0],
        y=parts[1],
        sample_weight=parts[2],
        batch_size=row_count(batches[0][0]),
        shuffled=False,
        total_rows=row_count(parts[0]) if complete and len(shapes) == 1 else None,
    )


def _joined(parts):
    return keras.tree.map_structure(lambda *leaves: np.concatenate(leaves), *parts)


def _take(part, rows):
    if part is None:
        return None
    return keras.tree.map_structure(lambda leaf: leaf[rows], part)


def _as_numpy(part):
    if part is None:
        return None

    def convert(leaf):
        if hasattr(leaf, "to_numpy"):
            return leaf.to_numpy()
        return keras.ops.convert_to_numpy(leaf) if keras.ops.is_tensor(leaf) else np.asarray(leaf)

    return keras.tree.map_structure(convert, part)
