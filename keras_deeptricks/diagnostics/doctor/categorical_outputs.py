"""Detects outputs and targets that do not suit a loss over classes that exclude each other."""

import numpy as np

from keras_deeptricks.diagnostics.doctor.finding import Finding
from keras_deeptricks.diagnostics.doctor.logits import wrong_logits
from keras_deeptricks.diagnostics.doctor.target_wording import shape_by_rows

_SPARSE = ("sparse_categorical_crossentropy",)
_ONE_HOT = ("categorical_crossentropy", "categorical_focal_crossentropy")
# A class that is seen this often in the rarest case would be seen at all.
_ROWS_OF_A_CLASS = 20
# So many times more units than classes are no reserve for rare ones.
_TOO_MANY_UNITS = 2


def categorical_outputs(case):
    """Finds what is wrong between outputs, targets and categorical cross-entropies."""
    for output in case.outputs:
        if output.loss is None or output.loss.name not in (*_SPARSE, *_ONE_HOT):
            continue
        if output.units == 1:
            yield _one_unit(output)
            continue
        if output.target is not None:
            found = list(_of_targets(output))
            yield from found
        if output.activation in ("sigmoid", "hard_sigmoid") and not output.loss.from_logits:
            yield Finding(
                "output_activation_mismatch",
                "warning",
                output.layer,
                f"The output has {output.units} sigmoid units under {output.loss.label}.",
                "Sigmoids are probabilities of independent events: they do not sum to 1, and the "
                "loss rescales them without telling the model.",
                "Use activation='softmax' for classes that exclude each other, or "
                "binary_crossentropy with targets of zeros and ones if they do not.",
            )
        else:
            yield from wrong_logits(output, "softmax")


def _one_unit(output):
    kind = output.kind
    continuous = kind is not None and kind.kind == "continuous"
    classes = 0 if kind is None or kind.classes is None else len(kind.classes)
    if continuous:
        evidence, remedy = (
            "the targets are amounts",
            "Use a regression loss such as 'mse', and no activation.",
        )
    elif classes > 2:
        evidence = f"the targets have {classes} classes"
        remedy = f"Give the last layer {classes} units and a softmax."
    else:
        evidence = "the targets are of two classes"
        remedy = "Use activation='sigmoid' with binary_crossentropy, or two units with a softmax."
    code = "loss_mismatch" if continuous or classes <= 2 else "output_units"
    return Finding(
        code,
        "error",
        output.layer,
        f"The output has 1 unit under {output.loss.label}, and {evidence}.",
        "A categorical cross-entropy compares the units of one row; with a single unit the loss is "
        "the same whatever the model predicts.",
        remedy,
    )


def _of_targets(output):
    kind, loss = output.kind, output.loss
    target, prediction = output.target, output.prediction
    if kind.kind == "text":
        yield _shape(output, "The targets are text", "Turn them into whole numbers from 0 on.")
        return
    if loss.name in _SPARSE:
        yield from _of_sparse(output, kind, target, prediction)
    else:
        yield from _of_one_hot(output, kind, target, prediction)


def _of_sparse(output, kind, target, prediction):
    label = output.loss.label
    if target.ndim == prediction.ndim and target.shape[-1] == output.units > 1:
        yield _shape(
            output,
            f"The targets have the shape {shape_by_rows(target)}, one column a class, under "
            f"{label}",
            "Use categorical_crossentropy, or whole numbers: y.argmax(axis=-1).",
        )
        return
    if kind.kind == "continuous" and kind.deviation > 0 and not _is_whole(target):
        if len(np.unique(target)) <= output.units:
            yield Finding(
                "label_range",
                "error",
                output.layer,
                f"The labels have {len(np.unique(target))} different values from {kind.low:.4g} to "
                f"{kind.high:.4g} that are no whole numbers, under {label}.",
                "The loss cuts them off to whole numbers, and different classes become one.",
                "Do not scale labels: leave them whole numbers from 0 on.",
            )
            return
        yield Finding(
            "loss_mismatch",
            "error",
            output.layer,
            f"The targets are amounts from {kind.low:.4g} to {kind.high:.4g}, and the loss is "
            f"{label}.",
            "A categorical cross-entropy takes whole numbers that name classes.",
            "Use a regression loss such as 'mse', one unit per amount and no activation.",
        )
        return
    inner = target.shape[:-1] if target.ndim > 1 and target.shape[-1] == 1 else target.shape
    if inner != prediction.shape[:-1]:
        yield _shape(
            output,
            f"The targets have the shape {shape_by_rows(target)} and the predictions "
            f"{shape_by_rows(prediction)}, under {label}",
            "The predictions must have the shape of the targets and one axis of classes more: is a "
            "Flatten or a pooling layer missing, or return_sequences=False?",
        )
        return
    labels = kind.classes if kind.classes is not None else np.unique(target)
    labels = labels[labels != output.loss.ignored_class]
    if not len(labels):
        return
    if labels.min() < 0 or labels.max() >= output.units:
        yield from _out_of_range(output, labels)
    elif target.ndim <= 2:
        yield from _unused_units(output, kind, labels)


def _out_of_range(output, labels):
    low, high = int(labels.min()), int(labels.max())
    starts_at_one = low == 1 and high == output.units
    yield Finding(
        "label_range",
        "error",
        output.layer,
        f"The labels go from {low} to {high}, and the output has {output.units} units, for the "
        f"labels 0 to {output.units - 1}.",
        "A label beyond the units gives NaN, an error, or silently no loss at all, according to "
        "the backend.",
        "Subtract 1 from the labels."
        if starts_at_one
        else f"Renumber the labels from 0 on, and give the last layer {len(labels)} units or more.",
    )
    if low >= 0 and len(labels) > output.units:
        yield Finding(
            "output_units",
            "error",
            output.layer,
            f"The output has {output.units} units for {len(labels)} classes.",
            "Some classes cannot be predicted at all.",
            f"Give the last layer {high + 1 if low == 0 else len(labels)} units.",
        )


def _unused_units(output, kind, labels):
    unused = output.units - len(labels)
    if unused <= 0 or kind.counts is None:
        return
    enough = kind.counts.min() >= _ROWS_OF_A_CLASS
    many = output.units >= _TOO_MANY_UNITS * len(labels) and enough
    yield Finding(
        "output_units",
        "warning" if many else "note",
        output.layer,
        f"The output has {output.units} units, and the targets {len(labels)} different labels, "
        f"from {labels.min()} to {labels.max()}.",
        "Units without a class only have to be learned away.",
        f"Give the last layer {len(labels)} units, with labels from 0 on, unless the other classes "
        "occur elsewhere.",
    )


def _of_one_hot(output, kind, target, prediction):
    label = output.loss.label
    if target.shape != prediction.shape:
        whole = kind.kind in ("labels", "binary", "sequence")
        if whole and target.shape[-1:] != prediction.shape[-1:]:
            yield _shape(
                output,
                f"The targets are whole numbers of the shape {shape_by_rows(target)}, and {label} "
                f"wants one column for each of the {output.units} classes",
                "Use sparse_categorical_crossentropy, or keras.utils.to_categorical(y).",
            )
        elif target.ndim == prediction.ndim:
            yield Finding(
                "output_units",
                "error",
                output.layer,
                f"The output has {output.units} units, and the targets have "
                f"{target.shape[-1]} columns.",
                "Each class needs one unit.",
                f"Give the last layer {target.shape[-1]} units.",
            )
        else:
            yield _shape(
                output,
                f"The targets have the shape {shape_by_rows(target)} and the predictions "
                f"{shape_by_rows(prediction)}",
                "Both must be the same: is a Flatten or a pooling layer missing, or "
                "return_sequences=False?",
            )
    elif kind.kind == "multi_label":
        yield Finding(
            "loss_mismatch",
            "warning",
            output.layer,
            f"Rows of the targets have several ones, or none, under {label}.",
            "A categorical cross-entropy is for classes that exclude each other.",
            "Use binary_crossentropy with activation='sigmoid' for labels that may come together.",
        )
    elif kind.kind not in ("one_hot", "distribution") and (kind.low < 0 or kind.high > 1):
        yield Finding(
            "loss_mismatch" if not _is_whole(target) else "label_range",
            "error",
            output.layer,
            f"The targets go from {kind.low:.4g} to {kind.high:.4g} under {label}.",
            "The loss takes shares of classes, which lie between 0 and 1 and sum to 1.",
            "Encode classes with keras.utils.to_categorical; for amounts use a regression loss.",
        )


def _shape(output, evidence, remedy):
    return Finding(
        "label_shape",
        "error",
        output.layer,
        evidence + ".",
        "Targets and predictions do not fit together: training fails, or compares what does not "
        "belong together.",
        remedy,
    )


def _is_whole(values):
    return values.dtype.kind in "biu" or bool(np.all(values == np.round(values)))
