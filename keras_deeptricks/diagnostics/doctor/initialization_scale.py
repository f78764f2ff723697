"""Detects weights that are far too small or far too large for the size of their layer."""

import keras
import numpy as np

from keras_deeptricks.diagnostics.doctor import layer_kinds as kinds
from keras_deeptricks.diagnostics.doctor import roles
from keras_deeptricks.diagnostics.doctor.finding import Finding

# The gain of a kernel is its root mean square times √fan_in: about 1 under LeCun and Glorot, 1.4
# under He. Beyond these bounds a single layer changes the scale of the signal by orders.
_LOWEST_GAIN, _HIGHEST_GAIN = 0.02, 5.0
# Several layers in a row that shrink the signal by less each do the same together.
_LOWEST_PRODUCT = 0.01
# Signals up to this size, and this share of saturated units, do no harm.
_LARGE_SIGNAL, _SATURATED = 5.0, 0.5
# A signal that has become so many times smaller on its way is lost in the biases.
_FADED = 1e-3
_RECTIFIERS = ("relu", "relu6", "leaky_relu", "elu", "gelu", "silu")
_SATURATING = ("tanh", "sigmoid", "softsign", "hard_sigmoid")
_RESETTING = (*kinds.NORMALIZATION, keras.layers.Add, keras.layers.Multiply, keras.layers.Average)


def kernel_gain(kernel):
    """Root mean square of a kernel times the square root of its fan-in.

    Args:
        kernel: An array with the units along the last axis.
    """
    kernel = np.asarray(kernel, "float64")
    return float(np.sqrt(np.mean(np.square(kernel)) * np.prod(kernel.shape[:-1])))


def initialization_scale(case):
    """Finds kernels with a gain out of all proportion, where it can be seen in the signal."""
    outputs = {}
    for call in case.calls:
        outputs.setdefault(id(call.layer), call)
    large, products = [], {}
    worst = None
    for stage in case.structure.stages:
        layer = kinds.inner_layer(stage.layer)
        before = min((products.get(id(s), (1.0, None)) for s in stage.sources if s), default=None)
        product, smallest = before or (1.0, None)
        if isinstance(stage.layer, _RESETTING) or not isinstance(stage.layer, keras.Layer):
            product, smallest = 1.0, None
        gain = _gain(stage)
        if gain is not None and gain > 0 and not _is_normalized(stage):
            product *= min(gain, 1.0)
            if smallest is None or gain < smallest[0]:
                smallest = gain, layer
            is_last = stage.is_output or not any(_kernel_below(user) for user in stage.users)
            if gain > _HIGHEST_GAIN and _is_harmful(stage, outputs.get(id(stage.layer))):
                large.append((gain, layer))
            small = gain < _LOWEST_GAIN or product < _LOWEST_PRODUCT
            if small and not is_last and (worst is None or product < worst[0]):
                worst = product, smallest
        products[id(stage)] = product, smallest
    if large:
        gain, layer = max(large, key=lambda pair: pair[0])
        yield _finding(case, [one for _, one in large], layer, gain, "large")
    if worst is not None:
        product, (gain, layer) = worst
        yield _finding(case, [layer], layer, gain, "small", product)
    elif not large:
        yield from _fading(case)


def _fading(case):
    """A signal that each of many layers makes a little smaller, as ReLU does without He's gain."""
    hidden = {}
    for stage in case.structure.stages:
        rectifies = roles.activation_of(stage.layer) in _RECTIFIERS
        if rectifies and any(_kernel_below(user) for user in stage.users):
            hidden[id(stage.layer)] = roles.activation_of(stage.layer)
    names, deviations = [], []
    for call in case.calls:
        if id(call.layer) in hidden and isinstance(call.outputs, np.ndarray):
            names.append(call.name)
            deviations.append(float(np.mean(np.std(call.outputs.astype("float64"), axis=0))))
    faded = [n for n, d in zip(names, deviations, strict=True) if d < _FADED * deviations[0]]
    if faded and deviations[0] > 0:
        activation = next(iter(hidden.values()))
        yield Finding(
            "initialization_scale",
            "warning",
            faded[0],
            f"The deviation of the signal over the rows falls from {deviations[0]:.2g} in "
            f"'{names[0]}' to {deviations[-1]:.2g} in '{names[-1]}'.",
            "Each layer makes the signal a little smaller, until every row looks alike; the "
            "gradients fade with it.",
            f"Pass kernel_initializer=keras_deeptricks.initializers.for_activation('{activation}')"
            ", or normalize in between.",
        )


def _finding(case, layers, layer, gain, kind, product=None):
    call = next((c for c in case.calls if c.layer is layer), None)
    size = "" if call is None else f"; what it puts out has a root mean square of {_rms(call):.2g}"
    together = ""
    if product is not None and product < 0.5 * gain:
        together = f", with the layers before it {product:.2g}"
    activation = roles.activation_of(layer)
    known = activation if activation in ("relu", "elu", "selu", "tanh", "sigmoid") else "relu"
    where = f"of {case.layer_names(layers)}" if len(layers) > 1 else f"of '{layer.name}'"
    effect = (
        "The signal grows from layer to layer: units saturate, the first loss is enormous and "
        "gradients explode."
        if kind == "large"
        else "The signal shrinks from layer to layer until every row looks alike, and so do the "
        "gradients on their way back."
    )
    return Finding(
        "initialization_scale",
        "warning",
        layer.name,
        f"The weights {where} are {gain:.2g} times as large as those that keep a signal's "
        f"size{together}{size}.",
        effect,
        f"Leave kernel_initializer out, or pass "
        f"keras_deeptricks.initializers.for_activation('{known}').",
    )


def _gain(stage):
    layer = kinds.inner_layer(stage.layer)
    plain = (
        keras.layers.Dense,
        keras.layers.Conv1D,
        keras.layers.Conv2D,
        keras.layers.Conv3D,
    )
    if not isinstance(layer, plain) or not layer.trainable:
        return None
    kernels = kinds.kernels_of(layer)
    return kernel_gain(keras.ops.convert_to_numpy(kernels[0])) if kernels else None


def _is_normalized(stage):
    """Whether normalization follows before the next kernel: then the scale does not matter."""
    waiting = list(stage.users)
    while waiting:
        user = waiting.pop()
        if kinds.is_normalization(user.layer):
            return True
        if not _kernel(user) and not user.is_output:
            waiting += user.users
    return False


def _kernel(stage):
    return isinstance(stage.layer, keras.Layer) and kinds.has_kernel(stage.layer)


def _kernel_below(stage):
    waiting = [stage]
    while waiting:
        one = waiting.pop()
        if _kernel(one):
            return True
        waiting += one.users
    return False


def _is_harmful(stage, call):
    if call is None:
        return True
    activation = roles.activation_of(stage.layer)
    if activation == "linear":
        activation = next((roles.activation_of(u.layer) for u in stage.users), None)
    if activation in _SATURATING:
        values = np.asarray(call.outputs)
        if roles.activation_of(stage.layer) == "linear":
            values = np.tanh(values)
        if activation == "sigmoid" and roles.activation_of(stage.layer) == "sigmoid":
            values = 2 * values - 1
        return float(np.mean(np.abs(values) > 0.98)) > _SATURATED
    if activation == "softmax":
        values = np.asarray(call.outputs)
        return float(np.mean(values.max(axis=-1) > 0.99)) > _SATURATED
    return _rms(call) > _LARGE_SIGNAL


def _rms(call):
    values = np.asarray(call.outputs, "float64")
    return float(np.sqrt(np.mean(np.square(values))))
