"""Detects losses of one's own that do not compare each prediction with its own target."""

import keras
import numpy as np

from keras_deeptricks.diagnostics.doctor.finding import Finding
from keras_deeptricks.diagnostics.doctor.target_wording import shape_by_rows

_FEWEST_ROWS = 8
# A loss that compares all rows with all is the same for permuted targets but for rounding. One
# that compares row by row changes by far more, as does any that looks at the targets at all when
# these are all made one.
_SAME, _OTHER = 2e-6, 1e-4


def custom_loss_pairing(case):
    """Finds losses that depend on the targets, but not on which row they belong to."""
    for place, output in enumerate(case.outputs):
        if output.loss is None or output.loss.name != "custom" or output.target is None:
            continue
        loss = _loss_of(case.model, output.name, place)
        target, prediction = output.target, output.prediction
        if loss is None or len(target) < _FEWEST_ROWS or target.dtype.kind not in "biuf":
            continue
        if np.std(prediction, axis=0).max() < 1e-4 or (target == target[:1]).all():
            continue
        target = np.asarray(target, keras.config.floatx())
        given = _value(loss, target, prediction)
        permuted = _value(loss, target[::-1], prediction)
        alike = _value(loss, np.repeat(target[:1], len(target), axis=0), prediction)
        if None in (given, permuted, alike) or not np.isfinite([given, permuted, alike]).all():
            continue
        if _differs(given, permuted, _SAME) or not _differs(given, alike, _OTHER):
            continue
        yield Finding(
            "label_shape",
            "error",
            output.layer,
            f"{output.loss.label} gives {given:.5g} for the targets in their order and in the "
            f"opposite one. Targets have the shape {shape_by_rows(target)}, predictions "
            f"{shape_by_rows(prediction)}.",
            "The loss stretches one over the other, and compares each prediction with the targets "
            "of all rows: the best that the model can learn is their mean.",
            "Give targets and predictions one shape, such as y[:, None], and let the loss neither "
            "flatten nor widen only one of the two.",
        )


def _loss_of(model, name, place):
    loss = model.loss
    if isinstance(loss, dict):
        loss = loss.get(name)
    elif isinstance(loss, (list, tuple)):
        loss = loss[place] if place < len(loss) else None
    return loss if callable(loss) else None


def _value(loss, target, prediction):
    if not isinstance(loss, keras.losses.Loss) and target.size == prediction.size:
        # Keras hands functions targets in the shape of the predictions.
        target = target.reshape(prediction.shape)
    try:
        value = loss(
            keras.ops.convert_to_tensor(np.ascontiguousarray(target)),
            keras.ops.convert_to_tensor(prediction),
        )
        return float(np.mean(keras.ops.convert_to_numpy(value)))
    except Exception:
        return None  # it wants something else, which training will tell


def _differs(a, b, share):
    return abs(a - b) > share * max(abs(a), abs(b), 1e-12)
