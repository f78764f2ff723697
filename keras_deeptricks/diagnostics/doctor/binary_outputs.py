"""Detects outputs and targets that do not suit a loss over yes-or-no labels."""

from keras_deeptricks.diagnostics.doctor.finding import Finding
from keras_deeptricks.diagnostics.doctor.logits import wrong_logits
from keras_deeptricks.diagnostics.doctor.target_wording import shape_by_rows, text_for_numbers

_BINARY = ("binary_crossentropy", "binary_focal_crossentropy")
_HINGE = ("hinge", "squared_hinge")
# Rows that exclude each other by chance if the labels do not.
_ROWS = 50


def binary_outputs(case):
    """Finds what is wrong between outputs, targets and binary cross-entropies or hinge losses."""
    for output in case.outputs:
        if output.loss is None:
            continue
        if output.loss.name in _BINARY:
            yield from _of_crossentropy(output)
        elif output.loss.name in _HINGE and output.activation in ("sigmoid", "softmax", "relu"):
            yield Finding(
                "output_activation_mismatch",
                "warning",
                output.layer,
                f"The output has the activation {output.activation} under {output.loss.label}.",
                "The hinge loss wants scores below −1 for one class and above 1 for the other.",
                "Use no activation, or tanh, on the last layer.",
            )


def _of_crossentropy(output):
    if output.target is not None:
        found = list(_of_targets(output))
        yield from found
        if any(finding.code in ("label_shape", "output_units") for finding in found):
            return
    if output.activation == "softmax":
        if output.units == 1:
            return  # told by single_unit_softmax
        yield from _of_softmax(output)
    else:
        yield from wrong_logits(output, "sigmoid")


def _of_softmax(output):
    kind, label = output.kind, output.loss.label
    if output.loss.from_logits:
        yield from wrong_logits(output, "sigmoid")
    elif kind is not None and kind.kind == "multi_label":
        yield Finding(
            "output_activation_mismatch",
            "error",
            output.layer,
            f"The output is a softmax under {label}, and rows of the targets have several ones, "
            "or none.",
            "A softmax shares 1 among the labels: two of them cannot both be likely.",
            "Use activation='sigmoid' on the last layer.",
        )
    else:
        two = output.units == 2
        yield Finding(
            "loss_mismatch",
            "note" if two else "warning",
            output.layer,
            f"The output is a softmax over {output.units} classes under {label}.",
            "The loss judges each class on its own"
            + (
                ", which comes to the same with two."
                if two
                else ", and binary accuracy with it: predicting no class at all already looks good."
            ),
            "Use categorical_crossentropy (one-hot) or sparse_categorical_crossentropy (labels).",
        )


def _of_targets(output):
    kind, label = output.kind, output.loss.label
    target, prediction = output.target, output.prediction
    if kind.kind == "text":
        yield text_for_numbers(output, "0 and 1")
        return
    classes = None if kind.classes is None else len(kind.classes)
    if kind.low < 0 or kind.high > 1:
        yield from _beyond(output, kind, classes)
    elif kind.classes is not None and classes and kind.kind == "labels":
        yield _range(output, f"The labels are {_listed(kind.classes)} under {label}")
    if _without_last(target.shape) != _without_last(prediction.shape):
        code = "label_shape"
        remedy = "Give the predictions the shape of the targets."
        if prediction.ndim == 2 and target.size == len(target):
            remedy = (
                "For labels of one column use 1 unit with a sigmoid, or a softmax with "
                "sparse_categorical_crossentropy."
            )
        yield Finding(
            code,
            "error",
            output.layer,
            f"The targets have the shape {shape_by_rows(target)} and the predictions "
            f"{shape_by_rows(prediction)} under {label}.",
            "Each unit needs a target of its own: training fails, or compares each unit with the "
            "same label.",
            remedy,
        )
    elif _excludes(output) and output.activation != "softmax":
        yield Finding(
            "loss_mismatch",
            "warning",
            output.layer,
            f"Every row of the targets has exactly one 1 in {output.units} columns, under {label}.",
            "The classes exclude each other, which this loss does not use: predicting none of "
            "them already looks good.",
            "Use a softmax with categorical_crossentropy.",
        )


def _excludes(output):
    """Whether the targets are one of several classes, as far as the rows can show."""
    one_hot = output.kind.kind == "one_hot" and output.target.ndim == 2
    return one_hot and output.units > 2 and len(output.target) >= _ROWS


def _beyond(output, kind, classes):
    label = output.loss.label
    if kind.classes is not None and classes == 2:
        yield _range(output, f"The labels are {_listed(kind.classes)} under {label}")
    elif kind.classes is not None and kind.kind == "labels":
        yield Finding(
            "loss_mismatch",
            "error",
            output.layer,
            f"The targets are {classes} classes ({_listed(kind.classes)}) under {label}.",
            "A binary cross-entropy takes labels of 0 and 1; beyond them it has no lowest value.",
            f"Use {classes} units with a softmax and sparse_categorical_crossentropy.",
        )
        yield _range(output, f"The labels are {_listed(kind.classes)} under {label}")
        if output.units == 1:
            yield Finding(
                "output_units",
                "error",
                output.layer,
                f"The output has 1 unit for {classes} classes.",
                "One unit tells two classes apart.",
                f"Give the last layer {classes} units.",
            )
    else:
        yield Finding(
            "loss_mismatch",
            "error",
            output.layer,
            f"The targets go from {kind.low:.4g} to {kind.high:.4g} under {label}.",
            "A binary cross-entropy takes values between 0 and 1; beyond them it has no lowest "
            "value.",
            "For amounts use a regression loss such as 'mse' and no activation; scale pixels to "
            "between 0 and 1.",
        )
        yield _range(output, f"The targets go from {kind.low:.4g} to {kind.high:.4g}")


def _range(output, evidence):
    return Finding(
        "label_range",
        "error",
        output.layer,
        evidence + ".",
        "A binary cross-entropy wants labels of 0 and 1.",
        "Recode the labels as 0 and 1.",
    )


def _listed(classes):
    said = ", ".join(map(str, classes[:6]))
    return said + (", …" if len(classes) > 6 else "")


def _without_last(shape):
    return shape[:-1] if len(shape) > 1 and shape[-1] == 1 else shape
