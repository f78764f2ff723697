"""Whether the whole of a model is an affine function of its inputs, by its layers and measured."""

import keras
import numpy as np

from keras_deeptricks.diagnostics.doctor import affine_chains, paths, roles
from keras_deeptricks.diagnostics.doctor import layer_kinds as kinds

# Rows whose mixtures are predicted.
_ROWS = 64
# Deviations from an affine function, as a share of the spread of its values, that rounding of
# float32 and of half precision explains: float32 gives about 1e-6, a small net of ReLU layers
# above 3e-2.
ROUNDING, HALF_ROUNDING = 1e-3, 2e-2
# Probabilities nearer to 0 or 1 than this do not tell their logits in float32.
_LOWEST = 1e-5


def affine_output(structure, output):
    """What the layers say of an output: (verdict, kernels).

    Args:
        structure: A `Structure`.
        output: An `Output`.

    Returns:
        True if every stage before the output's activation is affine, False if one is not, None if
        it cannot be told (layers of one's own, a subclassed model); and the stages with kernels
        that the output depends on, in the order of computation.
    """
    end = output.acting or output.stage
    if end is None:
        if structure.is_graph:
            return False, []
        # All that is known are the layers.
        stages = structure.stages
    else:
        above = {id(stage) for stage in _above(end)}
        stages = [stage for stage in structure.stages if id(stage) in above]
        if not structure.is_graph and any(None in stage.sources for stage in stages[1:]):
            # The model's own code computes something between its layers.
            stages = structure.stages
    kernels = [stage for stage in stages if kinds.has_kernel(stage.layer)]
    verdicts = [_verdict(stage, stage is end) for stage in stages]
    if False in verdicts:
        return False, kernels
    is_known = structure.is_graph and None not in verdicts
    return (True if is_known else None), kernels


def _above(end):
    waiting, seen = [end], set()
    while waiting:
        stage = waiting.pop()
        if stage is None or id(stage) in seen:
            continue
        seen.add(id(stage))
        yield stage
        waiting += stage.sources


def _verdict(stage, is_end):
    layer = stage.layer
    if is_end and (roles.is_pure_activation(layer) or kinds.has_kernel(layer)):
        return True
    if paths.keeps_one_path(stage) or kinds.is_linear_merge(layer):
        return True
    if affine_chains.lacks_activation(stage):
        return True
    if isinstance(layer, keras.Layer) and not type(layer).__module__.startswith("keras."):
        return None
    return None if isinstance(layer, keras.layers.Lambda) else False


def deviation_from_affine(case, place):
    """How far an output is from an affine function of the inputs, measured on mixtures of rows.

    The output before its activation is f; the result is the size of f((a+b)/2) − (f(a)+f(b))/2
    over that of f(a) − f(b), for pairs of rows a, b.

    Args:
        case: A `Case`.
        place: The number of the output.

    Returns:
        A float, or None where it cannot be measured: inputs that are no amounts, outputs that do
        not tell what they were before their activation, constant outputs.
    """
    rows = case.probe.take(slice(0, _ROWS))
    half = rows.rows // 2
    if half < 4 or any(leaf.dtype.kind != "f" for leaf in rows.inputs):
        return None
    mixed = keras.tree.map_structure(lambda leaf: (leaf[:half] + leaf[half : 2 * half]) / 2, rows.x)
    activation = case.outputs[place].activation
    values = []
    for x in (rows.take(slice(0, 2 * half)).x, mixed):
        prediction = np.asarray(keras.tree.flatten(case.predict(x))[place], "float64")
        values.append(_before_activation(prediction, activation))
    if values[0] is None or values[1] is None:
        return None
    (first, second), middle = np.split(values[0], 2), values[1]
    fine = np.isfinite(first).all(-1) & np.isfinite(second).all(-1) & np.isfinite(middle).all(-1)
    if fine.sum() < 4:
        return None
    first, second, middle = first[fine], second[fine], middle[fine]
    spread = np.sqrt(np.mean((first - second) ** 2))
    if spread <= 1e-4 * max(1e-12, np.sqrt(np.mean(middle**2))):
        return None
    return float(np.sqrt(np.mean((middle - (first + second) / 2) ** 2)) / spread)


def _before_activation(prediction, activation):
    """Values of shape (rows, …) up to a constant per row; NaN where they cannot be told."""
    values = prediction.reshape(len(prediction), -1) if prediction.ndim < 2 else prediction
    if activation in (None, "custom"):
        activation = _guess(values)
    if activation in ("linear", None):
        return values.reshape(len(values), -1)
    inside = (values > _LOWEST) & (values < 1 - _LOWEST)
    if activation == "softmax" and values.shape[-1] > 1:
        logs = np.log(np.where(values > _LOWEST, values, np.nan))
        found = logs - logs.mean(-1, keepdims=True)
    elif activation == "sigmoid":
        values = np.where(inside, values, np.nan)
        found = np.log(values) - np.log1p(-values)
    elif activation == "tanh":
        found = np.arctanh(np.where(np.abs(values) < 1 - _LOWEST, values, np.nan))
    else:
        return None
    return found.reshape(len(found), -1)


def _guess(values):
    if np.all(values >= 0) and np.all(values <= 1):
        if values.shape[-1] > 1 and np.allclose(values.sum(-1), 1, atol=1e-4):
            return "softmax"
        return "sigmoid"
    return "linear"
