"""What kind of target an array holds."""

import dataclasses

import numpy as np

# More different whole numbers than these are counts or amounts rather than classes.
_MOST_CLASSES = 1000


@dataclasses.dataclass(frozen=True)
class TargetKind:
    """What the values of targets look like.

    Attributes:
        kind: `"labels"`: one whole number per row, few different ones; `"binary"`: 0 or 1, one
            per row; `"one_hot"`: one 1 among zeros; `"multi_label"`: zeros and ones;
            `"distribution"`: shares that sum to 1; `"sequence"`: whole numbers, several per row;
            `"continuous"`: anything else.
        classes: Sorted values of labels, or the columns of one-hot rows; else None.
        counts: How often each occurs; else None.
        low, high, mean, deviation: Of all finite values.
    """

    kind: str
    classes: object
    counts: object
    low: float
    high: float
    mean: float
    deviation: float


def target_kind(target):
    """The `TargetKind` of an array of targets, with rows along the first axis.

    Example:

    ```python
    import numpy as np
    from keras_deeptricks.diagnostics.doctor.target_kind import target_kind

    assert target_kind(np.array([0, 2, 1, 2])).kind == "labels"
    assert target_kind(np.eye(3)[[0, 2, 1]]).kind == "one_hot"
    assert target_kind(np.array([0.3, 1.7, 2.2])).kind == "continuous"
    ```
    """
    values = np.asarray(target)
    if values.dtype.kind not in "biuf":
        return TargetKind("text", None, None, *(float("nan"),) * 4)
    values = values.astype("float64")
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        return TargetKind("continuous", None, None, *(float("nan"),) * 4)
    summary = finite.min(), finite.max(), finite.mean(), finite.std()
    summary = tuple(map(float, summary))
    columns = values.reshape(len(values), -1)
    whole = bool(np.all(finite == np.round(finite)))
    if columns.shape[1] == 1:
        return _of_single(finite, whole, summary)
    last_axis = values.reshape(-1, values.shape[-1]) if values.ndim > 1 else columns
    if np.isin(finite, (0.0, 1.0)).all() and values.shape[-1] > 1:
        sums = last_axis.sum(axis=1)
        if np.all(sums == 1):
            counts = last_axis.sum(axis=0).astype(int)
            return TargetKind("one_hot", np.arange(values.shape[-1]), counts, *summary)
        return TargetKind("multi_label", None, None, *summary)
    if summary[0] >= 0 and values.shape[-1] > 1 and np.allclose(last_axis.sum(1), 1, atol=1e-4):
        return TargetKind("distribution", None, None, *summary)
    if whole and summary[0] >= 0:
        return TargetKind("sequence", *_counted(finite), *summary)
    return TargetKind("continuous", None, None, *summary)


def _of_single(finite, whole, summary):
    if not whole:
        return TargetKind("continuous", None, None, *summary)
    classes, counts = _counted(finite)
    if len(classes) <= 2 and summary[0] >= 0 and summary[1] <= 1:
        return TargetKind("binary", classes, counts, *summary)
    # Labels recur; amounts in whole numbers are spread.
    recurring = len(classes) <= max(3, len(finite) / 3)
    if len(classes) <= _MOST_CLASSES and recurring:
        return TargetKind("labels", classes, counts, *summary)
    return TargetKind("continuous", None, None, *summary)


def _counted(values):
    classes, counts = np.unique(values, return_counts=True)
    return classes.astype(int), counts
