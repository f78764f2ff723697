"""Detects gradients that vanish or explode on their way back, before training."""

import keras
import numpy as np

from keras_deeptricks.diagnostics.doctor import layer_kinds as kinds
from keras_deeptricks.diagnostics.doctor.finding import Finding
from keras_deeptricks.utils.compiled_step import unwrap_optimizer

# Gradients are compared relative to the weights they change. From layer to layer of a healthy
# network they differ by a factor of ten or so, over a hundred layers by less than a thousand.
_VANISHING, _EXPLODING = 1e-4, 1e4
# A gradient so many times as large as the weights overturns them at any usual rate.
_ENORMOUS, _LARGE = 1e3, 10.0
_FEWEST_LAYERS = 3


def first_gradients(case):
    """Finds first layers with next to no gradient, and gradients far larger than the weights."""
    if case.finite.y is None or not case.model.trainable_variables:
        return
    names, relative = layer_gradients(case)
    if not names or not np.isfinite(relative).all():
        return
    case.facts["gradient_layers"] = names
    case.facts["relative_gradients"] = np.asarray(relative)
    last = max(relative[len(relative) // 2 :])
    first = int(np.argmin(relative[: max(1, len(relative) // 2)]))
    deep = len(names) >= _FEWEST_LAYERS
    if deep and last > 0 and relative[first] < _VANISHING * last:
        yield Finding(
            "vanishing_gradient",
            "warning",
            names[first],
            f"Relative to its weights, the gradient of '{names[first]}' is "
            f"{relative[first] / last:.1g} of the largest in the later layers ({len(names)} layers "
            "with kernels).",
            "The first layers hardly learn while the last ones do.",
            "Use ReLU, ELU or SELU with the initializer that fits (keras_deeptricks.initializers."
            "for_activation), batch normalization, or residual connections.",
        )
    if max(relative) > _ENORMOUS or (
        deep
        and relative[first] > _LARGE
        and min(relative[-2:]) > 0
        and relative[first] > _EXPLODING * min(relative[-2:])
    ):
        worst = int(np.argmax(relative))
        clipped = _clips(case.model.optimizer)
        yield Finding(
            "exploding_gradient",
            "note" if clipped else "warning",
            names[worst],
            f"The first gradient of '{names[worst]}' is {relative[worst]:.2g} times as large as "
            "its weights" + (", but it is clipped." if clipped else "."),
            "A step of usual size overturns the weights.",
            "Standardize inputs and targets, take smaller weights to begin with, and clip "
            "gradients (clipnorm=1.0, or keras_deeptricks.optimizers.AdaptiveGradientClipping).",
        )


def layer_gradients(case):
    """Names of the layers with kernels in order, and their gradients relative to the weights."""
    by_variable = {id(variable): gradient for variable, gradient in case.gradients[1]}
    names, relative = [], []
    for stage in case.structure.stages:
        if not isinstance(stage.layer, keras.Layer) or not kinds.has_kernel(stage.layer):
            continue
        pairs = [(kernel, by_variable.get(id(kernel))) for kernel in kinds.kernels_of(stage.layer)]
        pairs = [(kernel, gradient) for kernel, gradient in pairs if gradient is not None]
        if not pairs or stage.name in names:
            continue
        weight = np.sqrt(sum(float(np.sum(np.square(_numpy(k)))) for k, _ in pairs))
        gradient = np.sqrt(sum(float(np.sum(np.square(g, dtype="float64"))) for _, g in pairs))
        if weight > 0:
            names.append(stage.name)
            relative.append(gradient / weight)
    return names, relative


def _clips(optimizer):
    inner = unwrap_optimizer(optimizer)
    names = ("clipnorm", "global_clipnorm", "clipvalue", "clip_factor")
    return any(getattr(inner, name, None) for name in names)


def _numpy(variable):
    return keras.ops.convert_to_numpy(keras.ops.cast(variable, "float32")).astype("float64")
