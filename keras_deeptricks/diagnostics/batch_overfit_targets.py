"""Why a model cannot learn one batch by heart, as far as the batch alone shows it."""

import math

import keras
import numpy as np

from keras_deeptricks.diagnostics.batch_overfit_gradients import nothing_trainable
from keras_deeptricks.diagnostics.batch_overfit_trial import REACHED
from keras_deeptricks.diagnostics.doctor.finding import Finding
from keras_deeptricks.diagnostics.doctor.objective import CROSSENTROPIES

# Rows that contradict others: some are usual in tables of few values.
MANY_CONTRADICTIONS = 0.5
_PROBABILITIES = ("softmax", "sigmoid", "hard_sigmoid")


def blocking_findings(model, x, y):
    """What keeps training from meaning anything: not finite data, nothing to train."""
    findings = []
    for name, part in (("x", x), ("y", y)):
        leaves = [] if part is None else keras.tree.flatten(part)
        bad = sum(int((~np.isfinite(a)).sum()) for a in leaves if a.dtype.kind == "f")
        if bad:
            findings.append(
                Finding(
                    "input_nan",
                    "error",
                    name,
                    f"The batch has {bad} values in {name} that are NaN or infinite.",
                    "One such value makes the loss and then every weight NaN.",
                    "Remove or fill them.",
                )
            )
    if not model.trainable_variables:
        findings.append(nothing_trainable("No weight of the model is trainable."))
    return findings


def target_findings(outputs):
    """Targets of another coding or range than the loss takes."""
    findings = []
    for output in outputs or ():
        name, shape = _loss(output), output.prediction.shape
        target = output.target
        if name == "sparse_categorical_crossentropy":
            if len(shape) > 1 and target.shape == shape and shape[-1] > 1:
                findings.append(
                    _label_shape(
                        output,
                        "one-hot targets",
                        "whole numbers",
                        "Use the loss categorical_crossentropy, or pass y.argmax(-1).",
                    )
                )
            elif target.size and (target.min() < 0 or target.max() >= shape[-1]):
                findings.append(
                    Finding(
                        "label_range",
                        "error",
                        output.name,
                        f"Labels reach from {target.min():g} to {target.max():g}; "
                        f"'{output.layer}' has {shape[-1]} units, for labels 0 to {shape[-1] - 1}.",
                        "A label without a unit gives a loss that means nothing, or NaN.",
                        "Number the classes from 0, and give the output a unit for each.",
                    )
                )
        elif name.startswith("categorical") and output.best_target is None:
            findings.append(
                _label_shape(
                    output,
                    f"targets of shape {target.shape}",
                    f"one column for each of {shape[-1]} classes",
                    "Use the loss sparse_categorical_crossentropy, or keras.utils.to_categorical.",
                )
            )
    return findings


def output_findings(outputs, goal):
    """Outputs that cannot take on the targets, or whose loss takes them for something else."""
    findings = []
    for output in outputs or ():
        if _loss(output) not in CROSSENTROPIES:
            continue
        logits, given = output.loss.from_logits, output.activation in _PROBABILITIES
        if logits and given:
            findings.append(
                _from_logits(
                    output,
                    f"'{output.layer}' ends with {output.activation}, and {output.loss.label} is "
                    "told from_logits=True.",
                    "Leave out from_logits=True, or the activation.",
                )
            )
        elif not logits and output.activation == "linear":
            findings.append(
                _from_logits(
                    output,
                    f"'{output.layer}' has no activation, and {output.loss.label} takes "
                    "probabilities.",
                    "Tell the loss from_logits=True, or give the layer softmax (sigmoid for one "
                    "unit).",
                )
            )
    if findings or goal is None or not math.isfinite(goal.lowest_in_range):
        return findings
    way = max(goal.guessing - goal.lowest, 1e-12)
    if (goal.lowest_in_range - goal.lowest) / way > REACHED:
        output = max(outputs, key=_out_of_range)
        findings.append(
            Finding(
                "output_range",
                "error",
                output.layer,
                f"'{output.layer}' ends with {output.activation}; the targets reach from "
                f"{output.target.min():.4g} to {output.target.max():.4g}. The lowest loss within "
                f"its range is {goal.lowest_in_range:.4g}, without it {goal.lowest:.4g}.",
                "No weights can make the output reach these targets.",
                "Use no activation in the last layer of a regression, or scale the targets; a "
                "single unit of a classifier takes sigmoid, not softmax.",
            )
        )
    return findings


def contradiction_finding(goal):
    """Equal rows with different targets; none if there are none."""
    if goal is None or goal.contradicting == 0:
        return []
    return [
        Finding(
            "labels_unrelated",
            "warning" if goal.contradicting >= MANY_CONTRADICTIONS else "note",
            "y",
            f"{goal.contradicting:.0%} of the rows equal others but have other targets. The lowest "
            f"loss that leaves is {goal.lowest:.4g}.",
            "No model can tell equal rows apart.",
            "Look whether inputs were lost or targets mixed up.",
        )
    ]


def _label_shape(output, got, wanted, remedy):
    return Finding(
        "label_shape",
        "error",
        output.name,
        f"{output.loss.label} takes {wanted}; got {got}.",
        "The loss would compare values that do not belong together.",
        remedy,
    )


def _from_logits(output, evidence, remedy):
    return Finding(
        "from_logits_mismatch",
        "error",
        output.layer,
        evidence,
        "The loss takes logits for probabilities, or the other way round, and can hardly fall. "
        "(On TensorFlow the loss in training may hide it.)",
        remedy,
    )


def _out_of_range(output):
    from keras_deeptricks.diagnostics.doctor.roles import RANGES

    low, high = RANGES.get(output.activation, (-math.inf, math.inf))
    outside = max(low - output.target.min(), output.target.max() - high)
    single = output.activation == "softmax" and output.units == 1
    return math.inf if single else outside


def _loss(output):
    return output.loss.name if output.loss is not None else "custom"
