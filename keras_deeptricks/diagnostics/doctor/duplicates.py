"""Rows that occur in training and validation data, or several times with different targets."""

import dataclasses

import numpy as np

from keras_deeptricks.diagnostics.doctor.columns import (
    as_table,
    is_few_valued,
    outputs_with_targets,
    row_keys,
)
from keras_deeptricks.diagnostics.doctor.finding import Finding
from keras_deeptricks.diagnostics.doctor.labels import labels_of

# Share of the validation rows. Below it lie the copies that large collections have by accident.
LEAKED = 0.01
# A single row may be the same by accident.
FEWEST_LEAKED = 2
# Share of the training rows that have a copy among them from which on copies may be natural.
OWN_COPIES = 0.01
# A table with this share of columns of few values may repeat whole rows, such as passengers of one
# class, age and fare.
MOST_COLUMNS = 0.5
# Share of the rows that contradict others with the same inputs.
CONTRADICTING, MASSIVELY = 0.05, 0.5


@dataclasses.dataclass(frozen=True)
class Overlap:
    """How much validation and training rows have in common.

    Attributes:
        share: Share of the validation rows that are among the training rows.
        rows: Their number.
        distinct: The number of different rows among them.
        own_copies: Share of the training rows that equal another training row.
    """

    share: float
    rows: int
    distinct: int
    own_copies: float


def overlap_of(train, validation):
    """The `Overlap` of the keys of training and of validation rows.

    Example:

    ```python
    import numpy as np
    from keras_deeptricks.diagnostics.doctor.duplicates import overlap_of

    overlap = overlap_of(np.array([1, 2, 2, 3]), np.array([2, 5, 2, 6]))
    assert (overlap.share, overlap.rows, overlap.distinct) == (0.5, 2, 1)
    assert overlap.own_copies == 0.5
    ```
    """
    unique, counts = np.unique(train, return_counts=True)
    shared = np.isin(validation, unique)
    return Overlap(
        share=float(shared.mean()),
        rows=int(shared.sum()),
        distinct=len(np.unique(validation[shared])),
        own_copies=float(counts[counts > 1].sum() / len(train)),
    )


def contradicting_rows(keys, labels):
    """How many rows have a label other than a row with the same key.

    Example:

    ```python
    import numpy as np
    from keras_deeptricks.diagnostics.doctor.duplicates import contradicting_rows

    assert contradicting_rows(np.array([1, 1, 2, 2]), np.array([0, 1, 0, 0])) == 2
    ```
    """
    _, group = np.unique(keys, return_inverse=True)
    pairs = np.unique(np.column_stack([group, labels]), axis=0)
    several = np.bincount(pairs[:, 0], minlength=group.max() + 1) > 1
    return int(several[group].sum())


def can_recur(inputs, columns=1.0):
    """True if equal rows may be different cases: those of few values, of words, of labels.

    Args:
        inputs: Arrays.
        columns: The share of the columns of each that must hold few values.
    """
    tables = [as_table(leaf) for leaf in inputs]
    if any(table is None for table in tables):
        return True
    if any(leaf.ndim >= 3 and int(np.prod(leaf.shape[1:])) >= 64 for leaf in inputs):
        # Images and long series.
        return False
    return all(is_few_valued(table, columns) for table in tables)


def find_leakage(case):
    """Validation rows that are among the training rows."""
    train, validation = case.sample, case.validation
    if validation is None or validation.rows < 2 or train.rows < 2:
        return
    shapes = [[leaf.shape[1:] for leaf in sample.inputs] for sample in (train, validation)]
    if shapes[0] != shapes[1]:
        return
    train_keys, keys = row_keys(train.inputs), row_keys(validation.inputs)
    overlap = overlap_of(train_keys, keys)
    # Of many training rows only some were read.
    part = min(1.0, train.rows / train.total_rows) if train.total_rows else 1.0
    share = min(1.0, overlap.share / part)
    if overlap.rows == 0:
        return
    natural = overlap.own_copies > OWN_COPIES and (
        can_recur(train.inputs)
        # Then rows recur between the parts no more often than within one.
        or (share <= overlap.own_copies and can_recur(train.inputs, MOST_COLUMNS))
    )
    severe = share > LEAKED and overlap.distinct >= FEWEST_LEAKED and not natural
    if not severe and natural and share < 0.5:
        # Such rows recur in any split.
        return
    read = "" if part == 1 else f" the {train.rows} that were read of"
    yield Finding(
        "data_leakage",
        "warning" if severe else "note",
        "validation_data",
        f"{overlap.rows} of {len(keys)} validation rows ({overlap.share:.1%}) are also among{read} "
        f"the training rows; {overlap.own_copies:.1%} of the training rows have a copy among "
        "themselves.",
        "On rows that it was trained on a network looks better than it is, and overfitting does "
        "not show.",
        "Remove copies before the data are split, and augment or oversample after it.",
    )


def find_contradictions(case):
    """Equal inputs with different labels."""
    sample = case.finite
    if sample.rows < 20 or all((leaf == leaf[:1]).all() for leaf in sample.inputs):
        return
    keys = None
    for output, target in outputs_with_targets(case):
        labels = None if target is None or not output.kind else labels_of(target, output.kind)
        if labels is None:
            continue
        keys = row_keys(sample.inputs) if keys is None else keys
        rows = contradicting_rows(keys, labels)
        share = rows / sample.rows
        # Where rows recur, chance may decide on the label.
        natural = can_recur(sample.inputs)
        if share < CONTRADICTING or (natural and share < MASSIVELY):
            continue
        yield Finding(
            "labels_unrelated",
            "warning" if share > MASSIVELY and not natural else "note",
            output.name,
            f"{rows} of {sample.rows} rows ({share:.0%}) have the same inputs as another row with "
            "a different label.",
            "No network can tell such rows apart: their error stays.",
            "Look at how the labels were given, and whether a feature was lost that tells the "
            "rows apart.",
        )
