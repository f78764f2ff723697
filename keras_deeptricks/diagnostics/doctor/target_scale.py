"""Targets of a regression in units that the output is far from."""

import numpy as np

from keras_deeptricks.diagnostics.doctor.columns import outputs_with_targets
from keras_deeptricks.diagnostics.doctor.finding import Finding
from keras_deeptricks.diagnostics.doctor.objective import REGRESSION
from keras_deeptricks.losses.standardized_mean_squared_error import StandardizedMeanSquaredError

# Root of the mean square of target less first prediction. An output starts around 0 with a
# deviation of about 1; at a usual rate its weights move by some units in an epoch, so that 20
# takes a few epochs for nothing but the scale, 100 takes most of the training.
FAR, NOTED = 100.0, 20.0
# Deviation of targets so small that the loss of a random start dwarfs what is to be learned.
TINY = 1e-3
# The output counts as scaled to the targets if it starts within a deviation of their mean, and
# with at least this share of their deviation.
SCALED_SHARE = 0.1
# These do not depend on the unit of the targets.
_UNIT_FREE = ("mean_absolute_percentage_error", "mean_squared_logarithmic_error")
# These have a range of their own, or make large values of small ones.
_OTHERWISE_SCALED = (
    "sigmoid",
    "hard_sigmoid",
    "tanh",
    "softmax",
    "softsign",
    "hard_tanh",
    "exponential",
    "relu6",
    "log_softmax",
    "log_sigmoid",
    "sparsemax",
)


def target_verdict(target, prediction):
    """What the first predictions of some rows say about the scale of their targets.

    Args:
        target, prediction: Arrays with the same number of rows and values.

    Returns:
        (`"far"`, `"noted"`, `"tiny"`, `"constant"` or None, root of the mean square of their
        difference or, if that is less, of the targets, mean and deviation of the targets) of the
        worst column.
    """
    target = np.asarray(target, "float64").reshape(len(target), -1)
    prediction = np.asarray(prediction, "float64").reshape(target.shape)
    if target.shape[1] > 64:
        # Images and series have one scale.
        target, prediction = target.reshape(-1, 1), prediction.reshape(-1, 1)
    mean, deviation = target.mean(axis=0), target.std(axis=0)
    distance = np.sqrt(np.mean((target - prediction) ** 2, axis=0))
    # Predictions may be enormous because of the inputs: that is not the targets' fault.
    distance = np.minimum(distance, np.sqrt(mean**2 + deviation**2))
    scaled = np.abs(prediction.mean(axis=0) - mean) <= deviation
    scaled &= prediction.std(axis=0) >= SCALED_SHARE * deviation
    varying = deviation > 1e-6 * np.abs(mean)
    start = np.sqrt(np.mean(prediction**2, axis=0))
    tiny = varying & (deviation < TINY) & (start > 10 * deviation)
    worst = int(np.argmax(np.where(scaled, 0.0, distance)))
    if len(target) > 10 and not varying.any():
        return "constant", float(distance[0]), float(mean[0]), float(deviation[0])
    verdict = None
    if not scaled[worst] and distance[worst] > NOTED:
        verdict = "far" if distance[worst] > FAR else "noted"
    elif tiny.all():
        verdict, worst = "tiny", int(np.argmin(deviation))
    return verdict, float(distance[worst]), float(mean[worst]), float(deviation[worst])


def find_target_scale(case):
    """Regression targets far from what the output starts with."""
    if case.finite.rows < 2:
        return
    for output, target in outputs_with_targets(case):
        if target is None or not _is_regression(case, output):
            continue
        part = output.target
        if part.size != output.prediction.size or not np.isfinite(output.prediction).all():
            continue
        kind, _, mean, deviation = target_verdict(part, output.prediction)
        if kind is not None:
            custom = output.loss is None or output.loss.name == "custom"
            severity = "note" if kind == "noted" or custom else "warning"
            yield _finding(output, severity, kind, mean, deviation)


def _is_regression(case, output):
    if isinstance(getattr(case.model, "loss", None), StandardizedMeanSquaredError):
        return False
    if output.activation in _OTHERWISE_SCALED or output.kind is None:
        return False
    name = "custom" if output.loss is None else output.loss.name
    if name in _UNIT_FREE:
        return False
    if name in REGRESSION:
        return output.kind.kind in ("continuous", "labels", "sequence")
    # What a loss of one's own makes of them is not known.
    return name == "custom" and output.kind.kind == "continuous" and not case.trains_itself


def _finding(output, severity, kind, mean, deviation):
    if kind == "constant":
        return Finding(
            "target_scale",
            severity,
            output.layer,
            f"All targets are {mean:.4g}.",
            "There is nothing to be learned from targets that are all the same.",
            "Look at how the targets are read and prepared.",
        )
    about = f"targets with mean {mean:.4g} and deviation {deviation:.4g}"
    if kind == "tiny":
        explanation = (
            "The random start dwarfs what is to be learned, and a squared error this small has "
            "no gradients to speak of: predictions of 0 look perfect."
        )
    else:
        explanation = (
            "Most of the training goes into reaching the targets' mean and scale, with enormous "
            "gradients under a squared error, and with a rate far too small for it else."
        )
    return Finding(
        "target_scale",
        severity,
        output.layer,
        f"The first predictions have mean {output.prediction.mean():.4g} and deviation "
        f"{output.prediction.std():.4g}, the {about}.",
        explanation,
        "Standardize the targets with the training data's mean and deviation; or let the model "
        "end with keras_deeptricks.layers.Standardization(invert=True), adapted to them, and "
        "compile it with keras_deeptricks.losses.StandardizedMeanSquaredError(deviation).",
    )
