"""Columns of the inputs that hold the target."""

import numpy as np

from keras_deeptricks.diagnostics.doctor.columns import (
    as_table,
    centred,
    input_names,
    is_text,
    listed,
    outputs_with_targets,
)
from keras_deeptricks.diagnostics.doctor.finding import Finding
from keras_deeptricks.diagnostics.doctor.labels import is_classification, labels_of

# Beyond this correlation a column is the target in other units; rounding in float32 stays above.
SAME = 0.99999
# Among fewer rows or columns a perfect relation is an example of a textbook, or an accident.
FEWEST_ROWS, FEWEST_COLUMNS = 50, 3
# What more columns than these cost in time they do not bring.
_MOST_COLUMNS, _MOST_ROWS = 4096, 2000
_MOST_CLASSES = 20


def columns_that_tell(table, target):
    """The places of the columns that a factor and an offset turn into a column of the target.

    Args:
        table: Array of shape (rows, columns).
        target: Array of shape (rows, targets).

    Returns:
        An array of booleans of shape (columns, targets).
    """
    return np.abs(centred(table).T @ centred(target)) > SAME


def find_target_in_inputs(case):
    """Inputs that hold the target in a column."""
    sample = case.finite
    if sample.rows < 10:
        return
    rows = np.linspace(0, sample.rows - 1, min(sample.rows, _MOST_ROWS)).astype(int)
    columns = sum(int(np.prod(leaf.shape[1:])) for leaf in sample.inputs)
    for output, target in outputs_with_targets(case):
        if target is None or output.kind is None or output.kind.kind == "text":
            continue
        if any(leaf.shape == target.shape and np.ndim(target) > 1 for leaf in sample.inputs):
            # What reproduces its input is meant to.
            continue
        codes, whole = _codes(output, target[rows])
        if codes is None:
            continue
        for name, leaf in zip(input_names(case), sample.inputs, strict=True):
            table = None if is_text(leaf) else as_table(leaf[rows])
            if table is None or table.shape[1] > _MOST_COLUMNS:
                continue
            found = columns_that_tell(table, codes)
            if not found.any():
                continue
            # A sign of one class of several may be a fact known beforehand.
            complete = found[:, :whole].any() or bool(found[:, whole:].any(axis=0).all())
            sure = complete and leaf.ndim == 2 and columns >= FEWEST_COLUMNS
            sure = sure and len(rows) >= FEWEST_ROWS and not _takes_targets(case, output)
            yield _finding(name, output, found, sure)


def _codes(output, target):
    """(columns that code the target, how many of them tell all of it)."""
    labels = labels_of(target, output.kind)
    if labels is not None and is_classification(output):
        classes = np.unique(labels)
        if not 2 <= len(classes) <= _MOST_CLASSES:
            return (labels[:, None], 1) if len(classes) > 2 else (None, 0)
        signs = (labels[:, None] == classes).astype("float64")
        return np.column_stack([labels, signs]), 1
    values = target.reshape(len(target), -1)
    if values.shape[1] > 32 or values.dtype.kind not in "biuf":
        return None, 0
    return values, values.shape[1]


def _takes_targets(case, output):
    """True for models that may be given the labels for a purpose, as some losses ask for it."""
    return case.trains_itself or output.loss is None or output.loss.name == "custom"


def _finding(name, output, found, sure):
    places = np.flatnonzero(found.any(axis=1))
    return Finding(
        "data_leakage",
        "warning" if sure else "note",
        name,
        f"Column {listed(places)} of '{name}' is the target of '{output.name}' itself, up to a "
        f"factor and an offset (correlation above {SAME}).",
        "The network learns to copy it, and fails where the target is not known yet.",
        "Leave the column out of the inputs.",
    )
