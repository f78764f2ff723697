"""How many rows each class has, and all classes together."""

import numpy as np

from keras_deeptricks.diagnostics.doctor.columns import as_table, outputs_with_targets
from keras_deeptricks.diagnostics.doctor.finding import Finding
from keras_deeptricks.diagnostics.doctor.objective import CROSSENTROPIES

# Rows of the most frequent class for one of the rarest: a batch of 32 holds few of the rare.
NOTED_RATIO = 10.0
# Nearly all rows are of one class: always telling it looks like a good model.
NEARLY_ALL = 0.95
# With so many times fewer rows, and so few in all, a class of several is hardly learned.
RARE_RATIO, RARE_ROWS = 30.0, 50
# So many classes are seldom balanced, and meant to be as they are.
MANY_CLASSES = 20
# In maps of classes, as of images, the background always prevails.
NOTED_RATIO_OF_MAPS = 100.0
# Rows per class, and in all, from which on something can be learned at all.
FEW_PER_CLASS, FEW = 10, 50
# With so few rows per class, and more features than rows, they are learned by heart.
HARDLY_ANY_PER_CLASS = 3
# Losses and metrics whose user knows of the imbalance.
_AWARE_LOSSES = ("focal", "dice", "tversky", "weighted", "balanced")
_AWARE_METRICS = ("auc", "precision", "recall", "f1", "fbeta", "f_beta", "balanced", "sensitivity")


def weighted_counts(labels, classes, class_weight=None, sample_weight=None):
    """The sum of the weights of the rows of each class.

    Args:
        labels: One label per row.
        classes: Its different values.
        class_weight: As for `model.fit`, or None.
        sample_weight: One weight per row, or None.
    """
    weights = np.ones(len(labels)) if sample_weight is None else np.asarray(sample_weight, float)
    places = np.searchsorted(classes, labels)
    sums = np.bincount(places, weights=weights, minlength=len(classes))
    factors = [1.0 if class_weight is None else class_weight.get(int(c), 1.0) for c in classes]
    return sums * np.asarray(factors, float)


def imbalance(counts):
    """(most frequent to rarest, share of the most frequent) of counts above 0."""
    counts = np.asarray(counts, float)
    counts = counts[counts > 0]
    return float(counts.max() / counts.min()), float(counts.max() / counts.sum())


def labels_of(target, kind):
    """One label per row of labels or one-hot rows; None of other kinds."""
    if kind.kind in ("labels", "binary"):
        return np.asarray(target).reshape(len(target)).astype("int64")
    if kind.kind == "one_hot" and np.ndim(target) == 2:
        return np.argmax(target, axis=-1)
    return None


def is_classification(output):
    """True if the targets of an `Output` are classes, and its loss takes them so."""
    if output.kind is None or output.kind.kind not in ("labels", "binary", "one_hot"):
        return False
    if output.kind.kind != "labels" or (output.loss and output.loss.name in CROSSENTROPIES):
        return True
    # Whole numbers may be counts: of classes there is a unit for each.
    unknown = output.loss is None or output.loss.name == "custom"
    return unknown and output.units >= max(2, len(output.kind.classes))


def find_class_imbalance(case):
    """Classes that are far rarer than others."""
    if case.finite.rows < 2:
        return
    for output, target in outputs_with_targets(case):
        if target is None or output.kind is None or _is_aware(output, _AWARE_LOSSES):
            continue
        labels = labels_of(target, output.kind)
        if labels is None:
            yield from _of_maps(output, target)
        elif is_classification(output):
            yield from _of_labels(case, output, labels)


def _of_labels(case, output, labels):
    classes, counts = np.unique(labels, return_counts=True)
    rows = len(labels)
    if len(classes) == 1:
        # Of a long data set only the first rows were read: that it is sorted is told elsewhere.
        if rows >= FEW and (case.sample.shuffled or case.sample.total_rows is not None):
            yield Finding(
                "class_imbalance",
                "warning",
                output.layer,
                f"All {rows} rows are of the class {classes[0]}.",
                "There is nothing to be learned from one class.",
                "Look at how the labels are read and prepared.",
            )
        return
    weights = case.finite.sample_weight
    weights = None if weights is None or np.size(weights) != rows else np.ravel(weights)
    ratio, share = imbalance(counts)
    weighted, _ = imbalance(weighted_counts(labels, classes, case.class_weight, weights))
    if ratio < NOTED_RATIO or weighted < NOTED_RATIO:
        return
    rarest = counts.min()
    severe = share >= NEARLY_ALL if len(classes) == 2 else False
    severe |= len(classes) > 2 and ratio >= RARE_RATIO and rarest < RARE_ROWS
    mild = len(classes) >= MANY_CLASSES or case.class_weight or weights is not None
    mild = mild or _is_aware(output, _AWARE_LOSSES, _AWARE_METRICS)
    yield Finding(
        "class_imbalance",
        "warning" if severe and not mild else "note",
        output.layer,
        f"Class {classes[counts.argmin()]} has {rarest} of {rows} rows, class "
        f"{classes[counts.argmax()]} has {counts.max()}: {ratio:.3g} times as many. Always telling "
        f"the most frequent class gives an accuracy of {share:.1%}.",
        "The rare class hardly counts in the loss, and accuracy hides that it is never told.",
        "Pass class_weight to fit, or take rare rows more often; judge by AUC, precision and "
        "recall or balanced accuracy rather than by accuracy.",
    )


def _of_maps(output, target):
    kind = output.kind
    if kind.kind == "multi_label":
        share = np.asarray(target).reshape(-1, target.shape[-1]).mean(axis=0, dtype="float64")
        rarest = np.minimum(share, 1 - share)
        ratio, count = 1 / max(rarest.min(), 1e-9), np.sum(rarest * NOTED_RATIO_OF_MAPS < 1)
        what = f"{count} of {len(share)} labels are on, or off, in less than 1 % of the rows."
    elif kind.counts is not None and 1 < len(kind.counts) < MANY_CLASSES:
        # One's own: labels in series or images.
        ratio, _ = imbalance(kind.counts)
        what = f"The most frequent class occurs {ratio:.3g} times as often as the rarest."
    else:
        return
    if ratio > NOTED_RATIO_OF_MAPS and output.loss is not None:
        if output.loss.name not in CROSSENTROPIES:
            return
        yield Finding(
            "class_imbalance",
            "note",
            output.layer,
            what,
            "What is rare hardly counts in the loss.",
            "Weigh it in the loss, or use a focal or Dice loss.",
        )


def _is_aware(output, losses, metrics=()):
    names = [] if output.loss is None else [output.loss.name, output.loss.label]
    if any(word in str(name).lower() for name in names for word in losses):
        return True
    return any(word in metric.lower() for metric in output.metrics for word in metrics)


def find_few_rows(case):
    """Fewer rows than anything could be learned from."""
    rows = case.sample.total_rows
    if rows is None:
        return
    if rows < 2:
        yield Finding(
            "few_rows",
            "error",
            "x",
            f"There are {rows} rows.",
            "From a single row nothing can be learned that holds for others.",
            "See whether the first axis of the arrays is the one of the rows.",
        )
        return
    if case.finite.rows < 2 or _is_complete(case.finite):
        return
    features = sum(int(np.prod(leaf.shape[1:])) for leaf in case.finite.inputs)
    classes = 0
    for output, target in outputs_with_targets(case):
        if target is None or output.kind is None:
            continue
        labels = labels_of(target, output.kind) if is_classification(output) else None
        if labels is None and output.loss and output.loss.name == CROSSENTROPIES[0]:
            # So few labels that they hardly recur.
            labels = target if np.size(target) == rows else None
        classes = max(classes, 0 if labels is None else len(np.unique(labels)))
    tables = all(leaf.ndim <= 2 and leaf.dtype.kind in "biuf" for leaf in case.finite.inputs)
    said = None
    if classes and rows < FEW_PER_CLASS * classes:
        said = f"There are {rows} rows for {classes} classes: {rows / classes:.3g} per class."
    elif rows < FEW:
        said = f"There are {rows} rows."
    elif tables and 5 * rows < features:
        said = f"There are {rows} rows with {features} features each."
    if said is None:
        return
    hardly = classes >= 3 and rows <= HARDLY_ANY_PER_CLASS * classes and rows < features
    yield Finding(
        "few_rows",
        "warning" if hardly else "note",
        "x",
        said,
        "A network learns so few rows by heart, and what holds for others only by strong "
        "regularization.",
        "Get more rows, augment them, start from a trained model, or take a simpler method; "
        "estimate the error by cross-validation.",
    )


def _is_complete(sample):
    """True if the rows are all that there can be, such as those of a logical function."""
    tables = [as_table(leaf) for leaf in sample.inputs]
    if any(table is None for table in tables):
        return False
    table = np.concatenate(tables, axis=1)
    if table.shape[1] > 16 or len(table) > 4096:
        return False
    distinct = [len(np.unique(column)) for column in table.T]
    return max(distinct) <= 4 and np.prod(distinct) == len(np.unique(table, axis=0))
