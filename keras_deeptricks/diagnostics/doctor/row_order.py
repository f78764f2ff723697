"""Rows that come sorted by their targets."""

import numpy as np

from keras_deeptricks.diagnostics.doctor.columns import (
    outputs_with_targets,
    overlapping_windows,
)
from keras_deeptricks.diagnostics.doctor.finding import Finding
from keras_deeptricks.diagnostics.doctor.labels import is_classification, labels_of

# How far the share of the most frequent class of a batch is on the way from that of a random
# order, 0, to batches of one class each, 1. A small shuffle buffer over sorted rows lies between.
SORTED, PARTLY_SORTED = 0.7, 0.3
# The same of the share of a continuous target's variance that lies between batches: wholly sorted
# rows reach 1; a slow series may come near it in the order of time, and is only noted.
VARIANCE_BETWEEN = 0.8
# Rank correlation of the target with the row number.
MONOTONE = 0.95
# Batches of fewer rows than these hold one class anyway: so many rows are looked at together.
FEWEST_TOGETHER, FEWEST_BATCHES = 8, 4
# So many rows of a longer data set should hold more than one class.
ROWS_OF_ONE_CLASS = 1000


def purity_excess(labels, size, rng):
    """How far batches of `size` consecutive rows hold one class each, beyond those at random.

    Returns:
        (excess: 0 at random, 1 with one class in each; share of the most frequent class of a
        batch, on average; the same in a random order). An excess of a random order is about 0.
    """
    size = max(size, FEWEST_TOGETHER)
    _, codes = np.unique(labels, return_inverse=True)
    found = _purity(codes, size)
    chance = float(np.mean([_purity(rng.permutation(codes), size) for _ in range(5)]))
    return (found - chance) / max(1 - chance, 1e-9), found, chance


def _purity(codes, size):
    batches = len(codes) // size
    parts = codes[: batches * size].reshape(batches, size)
    classes = codes.max() + 1
    flat = (parts + classes * np.arange(batches)[:, None]).ravel()
    counts = np.bincount(flat, minlength=batches * classes).reshape(batches, classes)
    return float(counts.max(axis=1).mean() / size)


def variance_between(values, size):
    """The share of the variance of `values` that lies between batches of consecutive rows.

    It is corrected for chance: 0 on average at random, 1 if each batch holds one value.
    """
    size = max(size, FEWEST_TOGETHER)
    batches = len(values) // size
    parts = np.asarray(values[: batches * size], "float64").reshape(batches, size)
    total = parts.var()
    if total == 0:
        return 0.0
    share = parts.mean(axis=1).var() / total
    chance = (batches - 1) / (batches * size - 1)
    return float((share - chance) / (1 - chance))


def rank_correlation(values):
    """Spearman's correlation of values with their row numbers."""
    values = np.asarray(values, "float64")
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    # Equal values have the mean of their ranks.
    ranks = (np.cumsum(counts) - (counts + 1) / 2)[inverse]
    if len(counts) < 2:
        return 0.0
    return float(np.corrcoef(ranks, np.arange(len(values)))[0, 1])


def find_unshuffled(case):
    """Rows sorted by label or target, above all in data sets, which `fit` does not shuffle."""
    sample = case.finite
    size = max(case.sample.batch_size, FEWEST_TOGETHER)
    for output, target in outputs_with_targets(case) if sample.rows >= 2 else ():
        if target is None or output.kind is None:
            continue
        labels = labels_of(target, output.kind)
        if labels is not None and is_classification(output):
            yield from _of_labels(case, labels, size)
        elif output.kind.kind in ("continuous", "labels") and np.size(target) == len(target):
            yield from _of_values(case, np.ravel(target), size)


def _of_labels(case, labels, size):
    sample = case.sample
    classes = len(np.unique(labels))
    if classes == 1:
        unread = not sample.shuffled and sample.total_rows is None
        if unread and len(labels) >= ROWS_OF_ONE_CLASS:
            yield _finding(
                "warning",
                f"The first {len(labels)} rows of the data set are all of class {labels[0]}.",
                _DATASET,
            )
        return
    if len(labels) < FEWEST_BATCHES * size:
        return
    excess, found, chance = purity_excess(labels, size, np.random.default_rng(0))
    # Where one class has nearly all rows, chance moves the excess a lot.
    if excess < PARTLY_SORTED or (found - chance) * len(labels) < 5:
        return
    evidence = (
        f"{size} consecutive rows hold {found:.0%} of one class on average; in a random order "
        f"they would hold {chance:.0%}."
    )
    if sample.shuffled:
        if excess > SORTED:
            yield _finding("note", evidence, _ARRAYS)
        return
    is_series = any(overlapping_windows(leaf) for leaf in case.finite.inputs)
    severity = "warning" if excess > SORTED and not is_series else "note"
    yield _finding(severity, evidence, _DATASET)


def _of_values(case, values, size):
    if len(values) < FEWEST_BATCHES * size:
        return
    correlation = rank_correlation(values)
    between = variance_between(values, size)
    monotone = abs(correlation) > MONOTONE
    if between < VARIANCE_BETWEEN:
        return
    evidence = (
        f"{between:.0%} of the target's variance lies between batches of {size} rows, 0 % in a "
        f"random order; its rank correlation with the row number is {correlation:.2f}."
    )
    if case.sample.shuffled:
        if monotone:
            yield _finding("note", evidence, _ARRAYS)
        return
    is_series = any(overlapping_windows(leaf) or leaf.ndim == 3 for leaf in case.finite.inputs)
    yield _finding("warning" if monotone and not is_series else "note", evidence, _DATASET)


def _finding(severity, evidence, texts):
    return Finding("unshuffled_data", severity, "x", evidence, *texts)


_ARRAYS = (
    "fit shuffles arrays itself, so training does not suffer; but validation_split takes the last "
    "rows as they are, which then differ from the others.",
    "Shuffle the rows before they are split, unless their order is that of time.",
)
_DATASET = (
    "fit takes a data set in its order. Batches of one kind pull the weights to and fro, and batch "
    "normalization sees other statistics than later.",
    "Shuffle: dataset.shuffle(number of rows) before batch, a random order of rows in a generator "
    "or PyDataset, shuffle=True in a DataLoader.",
)
