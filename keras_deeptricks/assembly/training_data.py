"""The data of a recipe, checked and split before anything is built."""

import dataclasses

import keras
import numpy as np
from keras import ops

from keras_deeptricks.assembly.targets import Targets, check_targets, understand_targets
from keras_deeptricks.utils.batches import is_arrays
from keras_deeptricks.utils.checks import check_number

# What tf.data calls INFINITE_CARDINALITY.
_ENDLESS = -1


@dataclasses.dataclass(frozen=True, eq=False)
class TrainingData:
    """What `fit` gets, and what the network is built from.

    Attributes:
        x, y: Training arrays, `y` encoded; or a data set and None.
        sample_weight: An array, or None.
        validation: A pair or triple of arrays, a data set, or None.
        inputs: Data to adapt the standardization to.
        input_shape: Shape of one row.
        targets: The task and its classes.
        all_targets: The targets of all training rows, as the loss takes them.
        rows: Number of training rows.
        batches: Number of batches of a data set; None for arrays.
    """

    x: object
    y: object
    sample_weight: object
    validation: object
    inputs: object
    input_shape: tuple
    targets: Targets
    all_targets: object
    rows: int
    batches: int | None = None


def prepare(x, y, *, sample_weight, validation_data, validation_split, task, outputs, seed):
    """Checks the data of a recipe and splits off the validation rows.

    Raises:
        TypeError: The data is of a type that cannot be trained on.
        ValueError: The data is empty, of the wrong rank, NaN or infinite, of mismatched lengths,
            of a single class, or holds labels in the validation part that the training lacks; or
            weights are given beside a data set.
    """
    split = check_number("validation_split", validation_split, minimum=0, below=1)
    if not is_arrays(x) and not isinstance(x, list):
        if sample_weight is not None:
            raise ValueError(
                "`sample_weight` is for arrays. A data set yields the weights itself: (inputs, "
                "targets, weights)."
            )
        return _prepare_dataset(x, y, validation_data, task, outputs)
    if y is None:
        raise ValueError(
            "`y` is missing. Pass the targets, or a data set that yields (inputs, targets)."
        )
    x = check_inputs(x, "x")
    raw = check_targets(y, "y")
    _check_lengths(x=x, y=raw)
    if sample_weight is not None:
        sample_weight = np.asarray(sample_weight, "float32")
        _check_lengths(x=x, sample_weight=sample_weight)
    targets = understand_targets(raw, task, outputs)
    encoded = targets.encode(raw)
    validation = None
    if validation_data is not None:
        validation = _validation(validation_data, targets, x)
    elif split:
        x, encoded, sample_weight, validation = _split(x, encoded, sample_weight, split, seed)
    return TrainingData(
        x=x,
        y=encoded,
        sample_weight=sample_weight,
        validation=validation,
        inputs=x,
        input_shape=x.shape[1:],
        targets=targets,
        all_targets=encoded,
        rows=len(x),
    )


def check_inputs(x, name):
    """`x` as an array of numbers of rank 2 to 4, finite and not empty.

    Raises:
        TypeError: its dtype is not a number's.
        ValueError: it is empty, of another rank, or holds NaN or infinities.
    """
    if isinstance(x, (dict, tuple)):
        raise TypeError(
            f"`{name}` must be one array; the default networks have one input. For several build "
            "a model with keras.Model and use the pieces of this library."
        )
    x = np.asarray(ops.convert_to_numpy(x) if ops.is_tensor(x) else x)
    if x.dtype.kind not in "biuf":
        raise TypeError(
            f"`{name}` must hold numbers. Received dtype {x.dtype}: encode categories as numbers, "
            f"and convert with {name}.astype('float32')."
        )
    if x.size == 0:
        raise ValueError(f"`{name}` is empty (shape {x.shape}).")
    if not 2 <= x.ndim <= 4:
        raise ValueError(
            f"`{name}` must have shape (rows, features), (rows, height, width) or (rows, height, "
            f"width, channels). Received shape {x.shape}."
            + (f" For one feature use {name}.reshape(-1, 1)." if x.ndim == 1 else "")
        )
    if x.dtype.kind == "f" and not np.isfinite(x).all():
        bad = np.argwhere(~np.isfinite(x.reshape(len(x), -1)))
        raise ValueError(
            f"`{name}` holds {len(bad)} NaN or infinite values, the first in row {bad[0][0]}, "
            f"position {bad[0][1]}: remove or fill them."
        )
    return x.astype("float32") if x.dtype.kind in "bf" else x


def _check_lengths(**arrays):
    (first, a), (second, b) = arrays.items()
    if len(a) != len(b):
        raise ValueError(
            f"`{first}` and `{second}` must have the same number of rows. Received {len(a)} and "
            f"{len(b)}."
        )


def _validation(validation_data, targets, x):
    if not isinstance(validation_data, (tuple, list)):
        return validation_data
    if len(validation_data) not in (2, 3):
        raise ValueError(
            "`validation_data` must be (x, y), (x, y, sample_weight) or a data set. Received "
            f"{len(validation_data)} values."
        )
    xv = check_inputs(validation_data[0], "validation_data[0]")
    yv = targets.encode(validation_data[1], "validation_data[1]")
    _check_lengths(**{"validation_data[0]": xv, "validation_data[1]": yv})
    if xv.shape[1:] != x.shape[1:]:
        raise ValueError(
            f"The rows of `validation_data` have shape {xv.shape[1:]}, those of `x` {x.shape[1:]}."
        )
    return (xv, yv, *validation_data[2:])


def _split(x, y, sample_weight, share, seed):
    """Random rows to validate on, so that sorted data is split fairly."""
    kept, held = drawn_rows(len(x), share, seed)
    weights = (None, None) if sample_weight is None else (sample_weight[kept], sample_weight[held])
    validation = (x[held], y[held]) if weights[1] is None else (x[held], y[held], weights[1])
    return x[kept], y[kept], weights[0], validation


def drawn_rows(rows, share, seed):
    """Draws the rows to validate on.

    Args:
        rows: Number of all rows.
        share: Share of them to validate on.
        seed: Whole number that fixes the draw, or None.

    Returns:
        The pair of the places of the rows to train on and of those to validate on, in order.

    Raises:
        ValueError: One of the two would be empty.
    """
    count = round(rows * share)
    if not 1 <= count < rows:
        raise ValueError(
            f"`validation_split`={share} of {rows} rows leaves nothing to validate on or to "
            "train on. Pass validation_data."
        )
    order = np.random.default_rng(seed).permutation(rows)
    return np.sort(order[count:]), np.sort(order[:count])


def check_dataset(x):
    """Refuses what is no data set, or one that can be read only once.

    Raises:
        TypeError: It is a generator, or nothing that yields batches.
    """
    if not hasattr(x, "__iter__") and not isinstance(x, keras.utils.PyDataset):
        raise TypeError(
            "`x` must be an array, a tf.data.Dataset, a keras.utils.PyDataset or another iterable "
            f"of batches (inputs, targets). Received: {type(x).__name__}."
        )
    if hasattr(x, "__next__"):
        raise TypeError(
            "`x` is a generator, which can be read only once, and the data is read several times. "
            "Make it a keras.utils.PyDataset or a tf.data.Dataset, or collect it in arrays."
        )


def _prepare_dataset(x, y, validation_data, task, outputs):
    if y is not None:
        raise ValueError("`y` must be None where `x` is a data set that yields (inputs, targets).")
    check_dataset(x)
    if hasattr(x, "cardinality") and int(x.cardinality()) == _ENDLESS:
        raise ValueError("`x` is endless: a recipe reads it once to its end. Leave out repeat().")
    first, rows, batches = None, 0, 0
    labels = []
    for batch in dataset_batches(x):
        batches += 1
        if not isinstance(batch, (tuple, list)) or len(batch) < 2:
            raise ValueError("`x` must yield pairs (inputs, targets).")
        inputs = check_inputs(batch[0], "x")
        first = inputs if first is None else first
        rows += len(inputs)
        labels.append(np.asarray(ops.convert_to_numpy(batch[1])))
        _check_lengths(x=inputs, y=labels[-1])
    if first is None:
        raise ValueError("`x` is empty: it yields no batch.")
    targets = _dataset_targets(check_targets(np.concatenate(labels), "y"), task, outputs)
    return TrainingData(
        x=x,
        y=None,
        sample_weight=None,
        validation=validation_data,
        inputs=x,
        input_shape=first.shape[1:],
        targets=targets,
        all_targets=np.concatenate(labels),
        rows=rows,
        batches=batches,
    )


def dataset_batches(x):
    """The batches of a data set that can be read again; of a `PyDataset` those of one epoch."""
    if isinstance(x, keras.utils.PyDataset):
        return (x[index] for index in range(len(x)))
    return iter(x)


def _dataset_targets(y, task, outputs):
    """Targets of a data set are not encoded: they have to be as the loss takes them."""
    targets = understand_targets(y, task, outputs)
    if targets.task not in ("classification", "binary"):
        return targets
    if targets.one_hot or not np.array_equal(targets.labels, np.arange(len(targets.labels))):
        received = "one-hot rows" if targets.one_hot else targets.labels[:20].tolist()
        raise ValueError(
            "The targets of a data set must be whole numbers from 0 to classes − 1. Received "
            f"{received}: encode them in the data set, or pass arrays."
        )
    return targets
