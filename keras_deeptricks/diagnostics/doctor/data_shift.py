"""Validation data that are distributed differently from the training data."""

import dataclasses

import numpy as np

from keras_deeptricks.diagnostics.doctor.columns import (
    input_names,
    is_text,
    listed,
    outputs_with_targets,
    overlapping_windows,
    targets_in,
    token_leaves,
)
from keras_deeptricks.diagnostics.doctor.finding import Finding
from keras_deeptricks.diagnostics.doctor.labels import is_classification, labels_of
from keras_deeptricks.diagnostics.doctor.row_order import MONOTONE, rank_correlation

# Difference of means in deviations, and of distribution functions, that no usual difference
# between two samples of the same thing makes, and those of a noticeable one.
LARGE_MEAN, LARGE_DISTANCE = 1.0, 0.5
NOTED_DISTANCE = 0.25
# Series and other data in the order of time drift: only such a difference is more than a note.
HUGE_MEAN = 5.0
# Ratio of the sizes of all values, as where one of the two was not scaled.
OTHER_SCALE = 8.0
# A difference counts if chance makes it once in a thousand such examinations, of all features.
CHANCE = 1e-3
# So many rows of a class are expected, but none is there.
EXPECTED_ROWS = 10
_MOST_ROWS, _MOST_FEATURES = 2000, 64


@dataclasses.dataclass(frozen=True, eq=False)
class Shift:
    """How features differ between two samples.

    Attributes:
        mean: Difference of the means in deviations of the training data.
        distance: The largest difference of the distribution functions (Kolmogorov, Smirnov).
        critical: The distance that chance makes with the probability `CHANCE` in any feature.
        features: The places of the features that were compared.
    """

    mean: np.ndarray
    distance: np.ndarray
    critical: float
    features: np.ndarray


def smirnov_distance(first, second):
    """The largest difference between the distribution functions of two samples.

    Example:

    ```python
    from keras_deeptricks.diagnostics.doctor.data_shift import smirnov_distance

    assert smirnov_distance([1.0, 2.0], [3.0, 4.0]) == 1.0
    assert smirnov_distance([1.0, 2.0], [1.0, 3.0]) == 0.5
    ```
    """
    first, second = np.sort(first), np.sort(second)
    both = np.concatenate([first, second])
    lower = np.searchsorted(first, both, side="right") / len(first)
    upper = np.searchsorted(second, both, side="right") / len(second)
    return float(np.abs(lower - upper).max())


def shift_of(train, validation):
    """The `Shift` between two tables with the same columns."""
    train, validation = (np.asarray(part, "float64") for part in (train, validation))
    # Both together, so that a feature that is constant in one of them has a deviation.
    spread = np.sqrt(0.5 * (train.var(axis=0) + validation.var(axis=0)))
    gap = validation.mean(axis=0) - train.mean(axis=0)
    tiny = spread <= 1e-6 * np.maximum(np.abs(train).max(axis=0), np.abs(validation).max(axis=0))
    mean = np.where(tiny, np.where(gap == 0, 0.0, np.inf), gap / np.where(tiny, 1.0, spread))
    features = np.arange(train.shape[1])
    if len(features) > _MOST_FEATURES:
        widths = np.log((validation.std(axis=0) + 1e-12) / (train.std(axis=0) + 1e-12))
        half = _MOST_FEATURES // 2
        features = np.union1d(np.argsort(-np.abs(mean))[:half], np.argsort(-np.abs(widths))[:half])
    distance = [smirnov_distance(train[:, f], validation[:, f]) for f in features]
    sizes = len(train), len(validation)
    level = np.sqrt(-0.5 * np.log(0.5 * CHANCE / max(1, train.shape[1])))
    critical = float(level * np.sqrt(sum(sizes) / (sizes[0] * sizes[1])))
    return Shift(mean[features], np.asarray(distance), critical, features)


def features_of(leaf):
    """A table of what is compared: the columns, or mean and deviation of each channel.

    Pixels and steps of series move within images and series; their channels do not.
    """
    if leaf.ndim <= 2:
        return leaf.reshape(len(leaf), -1)
    if leaf.shape[-1] > 4 and leaf.ndim == 4 and leaf.shape[1] <= 4:
        leaf = np.moveaxis(leaf, 1, -1)
    values = leaf.reshape(len(leaf), -1, leaf.shape[-1]).astype("float32")
    if leaf.ndim == 3 and leaf.shape[-1] > 8:
        # Images without an axis of channels.
        values = values.reshape(len(leaf), -1, 1)
    return np.concatenate([values.mean(axis=1), values.std(axis=1)], axis=1)


def find_data_shift(case):
    """Inputs, classes and targets that differ between training and validation."""
    train, validation = case.finite, case.validation
    if validation is None or validation.rows < 10 or train.rows < 10:
        return
    first = train.take(_some_rows(train.rows))
    second = validation.take(_some_rows(validation.rows))
    tokens = token_leaves(case)
    series = any(overlapping_windows(leaf) for leaf in train.inputs)
    for place, name in enumerate(input_names(case)):
        old, new = first.inputs[place], second.inputs[place]
        if is_text(old) or is_text(new) or place in tokens or old.shape[1:] != new.shape[1:]:
            continue
        new = new[np.isfinite(new.reshape(len(new), -1)).all(axis=1)]
        if len(new) >= 10:
            yield from _of_inputs(name, old, new, series)
    if validation.y is None or train.y is None:
        return
    for (output, old), new in zip(
        outputs_with_targets(case), targets_in(case, validation), strict=True
    ):
        if old is None or new is None or np.shape(old)[1:] != np.shape(new)[1:]:
            continue
        yield from _of_targets(output, old, np.asarray(new), series)


def _some_rows(rows):
    return np.linspace(0, rows - 1, min(rows, _MOST_ROWS)).astype(int)


def _of_inputs(name, old, new, series):
    sizes = [float(np.sqrt(np.mean(np.square(part, dtype="float64")))) for part in (old, new)]
    if min(sizes) > 0 and max(sizes) > OTHER_SCALE * min(sizes) and not series:
        # One row of enormous values does not make it: the usual value must differ too.
        usual = [float(np.mean(np.abs(part))) for part in (old, new)]
        if max(usual) > 0.5 * OTHER_SCALE * min(usual):
            yield _finding(
                "warning",
                name,
                f"The root of the mean square of the values is {sizes[0]:.4g} in training and "
                f"{sizes[1]:.4g} in validation.",
                "Prepare both in the same way, with the statistics of the training data.",
            )
            return
    train, validation = features_of(old), features_of(new)
    shift = shift_of(train, validation)
    significant = shift.distance > shift.critical
    large = significant & ((np.abs(shift.mean) > LARGE_MEAN) | (shift.distance > LARGE_DISTANCE))
    noted = significant & (shift.distance > NOTED_DISTANCE)
    if not noted.any():
        return
    # A column that grows from row to row, such as a date, is later in later rows.
    drifting = np.array([abs(rank_correlation(train[:, f])) > MONOTONE for f in shift.features])
    huge = significant & (np.abs(shift.mean) > HUGE_MEAN) & np.isfinite(shift.mean)
    severe = (huge & ~drifting if series else large & ~drifting).any()
    told = np.flatnonzero(large if large.any() else noted)
    worst = told[np.argmax(shift.distance[told])]
    what = "features" if old.ndim <= 2 else "means and deviations of channels"
    yield _finding(
        "warning" if severe else "note",
        name,
        f"{len(told)} of {train.shape[1]} {what} are distributed differently: "
        f"{listed(shift.features[told])}. The means of {shift.features[worst]} lie "
        f"{abs(shift.mean[worst]):.3g} deviations apart, its distribution functions "
        f"{shift.distance[worst]:.2f}.",
        "Shuffle before the data are split, unless they are in the order of time, and prepare "
        "both parts in the same way.",
    )


def _of_targets(output, old, new, series):
    labels = labels_of(old, output.kind)
    if labels is None or not is_classification(output):
        if output.kind.kind == "continuous" and new.dtype.kind in "biuf":
            old, new = (part.reshape(len(part), -1) for part in (old, new))
            new = new[np.isfinite(new).all(axis=1)]
            if old.shape[1] <= _MOST_FEATURES and len(new) >= 10:
                yield from _of_values(output, old, new, series)
        return
    others = np.argmax(new, axis=-1) if new.ndim == 2 and new.shape[1] > 1 else np.ravel(new)
    classes, counts = np.unique(labels, return_counts=True)
    unknown = np.setdiff1d(others, classes)
    if len(unknown):
        share = np.isin(others, unknown).mean()
        # Among very many classes some are so rare that a split takes all of their rows.
        yield _finding(
            "warning" if share > 0.01 else "note",
            output.name,
            f"{share:.1%} of the validation rows are of classes that no training row has: "
            f"{listed(unknown)}.",
            "Shuffle before the data are split, or split class by class.",
        )
        return
    expected = counts / counts.sum() * len(others)
    missing = classes[(expected >= EXPECTED_ROWS) & ~np.isin(classes, others)]
    if len(missing):
        most = expected[np.isin(classes, missing)].sum() > 0.5 * len(others)
        yield _finding(
            "warning" if most else "note",
            output.name,
            f"Of {len(classes)} classes the validation data lack {listed(missing)}.",
            "Shuffle before the data are split, or split class by class.",
        )


def _of_values(output, old, new, series):
    old, new = old[_some_rows(len(old))], new[_some_rows(len(new))]
    shift = shift_of(old, new)
    significant = shift.distance > np.maximum(shift.critical, LARGE_DISTANCE)
    if not (significant & (np.abs(shift.mean) > LARGE_MEAN)).any():
        return
    worst = int(np.argmax(np.where(significant, np.abs(shift.mean), 0)))
    drifting = series or abs(rank_correlation(old[:, worst])) > MONOTONE
    yield _finding(
        "note" if drifting else "warning",
        output.name,
        f"The means of the targets lie {abs(shift.mean[worst]):.3g} deviations apart: "
        f"{old[:, worst].mean():.4g} in training, {new[:, worst].mean():.4g} in validation.",
        "Shuffle before the data are split, unless they are in the order of time.",
    )


def _finding(severity, name, evidence, remedy):
    return Finding(
        "data_shift",
        severity,
        name,
        evidence,
        "The validation loss then tells how the network does on other data than it learned from, "
        "and not how far it overfits.",
        remedy,
    )
