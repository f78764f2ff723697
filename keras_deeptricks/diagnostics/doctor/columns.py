"""Inputs and targets as names, tables of numbers and keys of rows."""

import keras
import numpy as np

from keras_deeptricks.diagnostics.doctor.outputs import output_names, targets_of

# Layers that take values as names of things and not as amounts.
LOOKUPS = tuple(
    getattr(keras.layers, name)
    for name in (
        "Embedding",
        "CategoryEncoding",
        "Discretization",
        "Hashing",
        "HashedCrossing",
        "IntegerLookup",
        "StringLookup",
        "TextVectorization",
    )
)


def input_names(case):
    """A name for every array of the inputs: its key, the model's name for it, or `x`."""
    count = len(case.sample.inputs)
    names = [None] * count
    if isinstance(case.sample.x, dict):
        places = keras.tree.pack_sequence_as(case.sample.x, list(range(count)))
        for key, value in places.items():
            leaves = keras.tree.flatten(value)
            for number, place in enumerate(leaves):
                names[place] = str(key) if len(leaves) == 1 else f"{key}[{number}]"
        return names
    if count == 1:
        return ["x"]
    given = getattr(case.model, "input_names", None)
    if given and len(given) == count:
        return list(given)
    return [f"x[{place}]" for place in range(count)]


def outputs_with_targets(case):
    """(`Output`, all its targets in `finite`) of every output that has targets.

    In one output for one target with a row axis only, they are as given; see `Output.target`.
    """
    return list(zip(case.outputs, targets_in(case, case.finite), strict=True))


def targets_in(case, sample):
    """The targets of each output in a `Sample`, None where there are none."""
    names = output_names(case.model, case.structure, case.prediction)
    return targets_of(sample.y, case.prediction, names)


def token_leaves(case):
    """The places of the inputs that go into embeddings and look-up layers as they are."""
    taken = []
    for call in case.calls:
        if isinstance(call.layer, LOOKUPS):
            taken += [np.asarray(leaf) for leaf in keras.tree.flatten(call.inputs)]
    return {
        place
        for place, leaf in enumerate(case.probe.inputs)
        if is_text(leaf) or any(_same_values(leaf, values) for values in taken)
    }


def is_text(leaf):
    """True for arrays of strings and objects."""
    return leaf.dtype.kind not in "biuf"


def as_table(leaf):
    """An array as rows and columns of numbers; None of text."""
    if is_text(leaf):
        return None
    return leaf.reshape(len(leaf), -1)


def is_few_valued(table, share=1.0):
    """True if columns hold few different values, so that rows can recur by chance.

    Args:
        table: Array of shape (rows, columns).
        share: The share of the columns that must; by default all.
    """
    rows = table[np.linspace(0, len(table) - 1, min(len(table), 500)).astype(int)]
    rows = np.unique(rows, axis=0) if rows.shape[1] <= 64 else rows
    values = np.sort(rows, axis=0)
    distinct = 1 + (values[1:] != values[:-1]).sum(axis=0)
    # A column of measured values has many: as many as a fifth of the rows and no fewer than 20.
    return bool(np.mean(distinct < max(20, 0.2 * len(rows))) >= share)


def row_keys(leaves):
    """One whole number for every row, equal for equal rows.

    Args:
        leaves: Arrays with the same number of rows.
    """
    parts = []
    for leaf in leaves:
        if is_text(leaf):
            parts.append([hash(tuple(row)) for row in leaf.reshape(len(leaf), -1).tolist()])
            continue
        # In one type, for training and validation data may differ in theirs; −0 becomes 0.
        values = np.ascontiguousarray(leaf.reshape(len(leaf), -1).astype("float32") + 0.0)
        parts.append([hash(row.tobytes()) for row in values])
    keys = parts[0] if len(parts) == 1 else [hash(row) for row in zip(*parts, strict=True)]
    return np.asarray(keys, dtype="int64")


def centred(table):
    """Columns with mean 0 and length 1, in double precision; constant ones become 0."""
    values = np.asarray(table, "float64")
    values = values - values.mean(axis=0)
    length = np.sqrt(np.square(values).sum(axis=0))
    # What rounding leaves of a constant is not a variation.
    noise = 1e-6 * np.sqrt(len(values)) * np.abs(np.asarray(table, "float64")).max(axis=0)
    flat = length <= noise
    return np.where(flat, 0.0, values / np.where(flat, 1.0, length))


def listed(numbers, most=5):
    """A few numbers as text, and how many more there are."""
    numbers = list(numbers)
    said = ", ".join(str(number) for number in numbers[:most])
    return said if len(numbers) <= most else f"{said} and {len(numbers) - most} more"


def overlapping_windows(leaf):
    """True if each row is the row before it moved on by a step: windows of a series in order."""
    if is_text(leaf) or leaf.ndim < 2 or leaf.shape[1] < 3 or len(leaf) < 8:
        return False
    rows = leaf[:200]
    same = rows[1:, :-1] == rows[:-1, 1:]
    same = same.reshape(len(same), -1).all(axis=1)
    # Not of rows that are one constant, which are moved on into themselves.
    varied = np.ptp(rows[1:].reshape(len(same), -1), axis=1) > 0
    return bool(varied.any()) and same[varied].mean() > 0.5


def _same_values(leaf, values):
    if values.size != leaf.size or is_text(values):
        return False
    return np.array_equal(leaf.ravel().astype("float64"), values.ravel().astype("float64"))
