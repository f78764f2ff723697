"""Detects loss classes of one's own that stretch targets over predictions of another shape."""

import keras
import numpy as np

from keras_deeptricks.diagnostics.doctor.finding import Finding

_ROWS = 16
# Two computations of the same loss in float32 agree to far more than this.
_TOLERANCE = 1e-3


def custom_loss_shapes(case):
    """Finds losses whose value depends on whether targets are a column or a plain list."""
    for place, output in enumerate(case.outputs):
        if output.loss is None or output.loss.name != "custom" or output.target is None:
            continue
        target, prediction = output.target[:_ROWS], output.prediction[:_ROWS]
        loss = _loss_of(case.model, output.name, place)
        other = _reshaped(target, prediction)
        if loss is None or other is None or len(target) < 2:
            continue
        given, proper = _value(loss, target, prediction), _value(loss, other, prediction)
        if given is None or proper is None or _close(given, proper):
            continue
        yield Finding(
            "label_shape",
            "error",
            output.layer,
            f"The targets have the shape {_rows(target)} and the predictions {_rows(prediction)}. "
            f"{output.loss.label} gives {given:.4g}; with targets of the shape {_rows(other)} it "
            f"gives {proper:.4g}.",
            "The loss stretches one over the other, and compares each prediction with the targets "
            "of all rows: the model learns their mean.",
            "Give targets and predictions one shape, such as y[:, None], or reshape them in the "
            "loss.",
        )


def _loss_of(model, name, place):
    loss = model.loss
    if isinstance(loss, dict):
        loss = loss.get(name)
    elif isinstance(loss, (list, tuple)):
        loss = loss[place] if place < len(loss) else None
    # Functions get targets in the shape of the predictions: Keras wraps them so.
    return loss if isinstance(loss, keras.losses.Loss) else None


def _reshaped(target, prediction):
    """Targets in the shape of the predictions, where they differ by axes of size 1 alone."""
    same_size = target.size == prediction.size and target.dtype.kind in "biuf"
    return target.reshape(prediction.shape) if same_size and target.ndim != prediction.ndim else None


def _value(loss, target, prediction):
    try:
        target = keras.ops.convert_to_tensor(target.astype(keras.config.floatx()))
        value = loss(target, keras.ops.convert_to_tensor(prediction))
        return float(np.mean(keras.ops.convert_to_numpy(value)))
    except Exception:
        return None  # it wants something else, which training will tell


def _close(a, b):
    return abs(a - b) <= _TOLERANCE * max(abs(a), abs(b), 1e-12)


def _rows(array):
    return str(("rows", *array.shape[1:])).replace("'", "")
