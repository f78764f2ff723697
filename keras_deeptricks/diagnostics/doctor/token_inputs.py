"""Detects tokens and other ids that are used as amounts."""

import keras
import numpy as np

from keras_deeptricks.diagnostics.doctor import layer_kinds as kinds
from keras_deeptricks.diagnostics.doctor import paths, roles
from keras_deeptricks.diagnostics.doctor.finding import Finding

# Fewer different numbers may be counts or grades.
_MOST_AMOUNTS = 50
_LEAST_STEPS = 5
# Neighbours in images and time series are alike; those of ids differ as any two ids do. Share of
# the mean difference of any two.
_UNLIKE = 0.75
# Columns of a table differ in scale; every position of a text holds any id. Distance of a
# column's mean from the usual one, in deviations of a column, for most of the columns.
_ALIKE, _MOST_COLUMNS = 0.5, 0.8


def ids_as_amounts(case):
    """Ids of words that go into layers which multiply them by weights."""
    if _looks_ids_up(case):
        return
    for leaf, stage in zip(case.probe.inputs, _takers(case), strict=True):
        if stage is None:
            continue
        different = looks_like_ids(leaf)
        if different:
            yield Finding(
                "architecture",
                "warning",
                stage.name,
                f"'{stage.name}' gets whole numbers as amounts: {different} different ones from "
                f"{leaf.min()} to {leaf.max()}, spread alike over all {leaf.shape[1]} positions, "
                "with neighbours that have nothing to do with each other. They look like ids.",
                "Which word has which number is chance: 500 is not twice 250.",
                "Begin with keras.layers.Embedding, or with one-hot or bag-of-words coding "
                "(keras.layers.CategoryEncoding).",
            )


def looks_like_ids(values):
    """The number of different ids if an array of shape (rows, positions) holds ids, else 0."""
    if values.dtype.kind not in "iu" or values.ndim != 2 or values.shape[1] < _LEAST_STEPS:
        return 0
    if values.min() < 0:
        return 0
    numbers = values.astype("float64")
    filled = values > 0  # sequences are padded with zeros
    different = len(np.unique(values[filled]))
    if different <= _MOST_AMOUNTS or filled.sum() < 100:
        return 0
    both = filled[:, 1:] & filled[:, :-1]
    steps = np.abs(np.diff(numbers, axis=1))[both]
    inside = np.sort(numbers[filled])
    # The mean difference of any two of n sorted numbers (Gini).
    n = len(inside)
    any_two = 2 * np.sum((2 * np.arange(1, n + 1) - n - 1) * inside) / (n * (n - 1))
    if not len(steps) or steps.mean() < _UNLIKE * any_two:
        return 0
    columns = [numbers[filled[:, c], c] for c in range(values.shape[1])]
    columns = [column for column in columns if len(column) >= 20]
    if len(columns) < _LEAST_STEPS - 1:
        return 0
    means = np.array([column.mean() for column in columns])
    deviation = np.median([column.std() for column in columns])
    near = np.abs(means - np.median(means)) <= _ALIKE * deviation
    return different if np.mean(near) >= _MOST_COLUMNS else 0


def _looks_ids_up(case):
    """Whether any layer may turn ids into vectors: an embedding, a coding, one of one's own."""
    known = (
        keras.layers.Embedding,
        keras.layers.CategoryEncoding,
        keras.layers.IntegerLookup,
        keras.layers.Lambda,
    )
    for stage in case.structure.stages:
        layer = stage.layer
        if isinstance(layer, known) or type(layer).__name__ in ("OneHot", "MultiHot", "Take"):
            return True
        if isinstance(layer, keras.layers.Normalization):
            return True  # they are meant as amounts
        if isinstance(layer, keras.Layer) and not type(layer).__module__.startswith("keras."):
            return True
    return False


def _takers(case):
    """The first layer with weights behind each input, None where there is none, or unknown."""
    leaves = case.probe.inputs
    if len(leaves) != 1 or not case.structure.is_graph:
        return [None] * len(leaves)
    for stage in case.structure.stages:
        if kinds.has_kernel(stage.layer) or kinds.is_recurrent(stage.layer):
            first = list(paths.backwards(stage))[1:]
            plain = all(_rearranges(s.layer) for s in first)
            return [stage if plain and None in (first or [stage])[-1].sources else None]
    return [None]


def _rearranges(layer):
    return roles.passes_values(layer) or type(layer).__name__ in ("GetItem", "ExpandDims")
