"""Detects layers whose units all start with the same weights."""

import keras
import numpy as np

from keras_deeptricks.diagnostics.doctor import layer_kinds as kinds
from keras_deeptricks.diagnostics.doctor import roles
from keras_deeptricks.diagnostics.doctor.finding import Finding


def identical_units(kernel):
    """Whether all units (entries of the last axis) of a kernel have the same weights.

    Example:

    ```python
    import numpy as np
    from keras_deeptricks.diagnostics.doctor.initialization_constant import identical_units

    assert identical_units(np.ones((3, 4))) and not identical_units(np.eye(3))
    ```
    """
    if kernel.shape[-1] < 2:
        return False
    return bool(np.all(kernel == kernel[..., :1]))


def alike_layers(case):
    """The hidden layers with a trainable kernel whose units are all identical now."""
    last = {id(output.acting.layer) for output in case.outputs if output.acting is not None}
    found = {}
    stages = [s for s in case.structure.stages if isinstance(s.layer, keras.Layer)]
    ends = {id(layer) for stage in _last_kernels(case) for layer in [stage.layer]}
    for stage in stages:
        layer = kinds.inner_layer(stage.layer)
        if not (kinds.has_kernel(stage.layer) or isinstance(layer, keras.layers.RNN)):
            continue
        if id(stage.layer) in last | ends or not layer.trainable:
            continue
        kernels = [v for v in layer.trainable_variables if "kernel" in v.name and v.ndim > 1]
        if kernels and all(identical_units(keras.ops.convert_to_numpy(v)) for v in kernels):
            found[id(layer)] = layer
    return list(found.values())


def initialization_constant(case):
    """Finds hidden layers whose units start alike and cannot become different."""
    alike = alike_layers(case)
    zero = [layer for layer in alike if _is_zero(layer)]
    constant = [layer for layer in alike if not _is_zero(layer)]
    # One layer of zeros may be the last one of a branch that is to begin with nothing; trials tell.
    wrong = constant + (zero if len(zero) + len(constant) > 1 else [])
    case.zero_layers = [layer for layer in zero if layer not in wrong]
    if wrong:
        yield constant_finding(case, wrong)


def constant_finding(case, layers, still=""):
    """The finding about layers whose units are alike."""
    values = "zeros" if all(map(_is_zero, layers)) else "the same values for every unit"
    return Finding(
        "initialization_constant",
        "error",
        layers[0].name,
        f"The kernels of {case.layer_names(layers)} are {values}{still}.",
        "Units with equal weights get equal gradients and stay equal for ever: the layer is worth "
        "one unit.",
        "Start from random weights: leave kernel_initializer out, or take "
        f"keras_deeptricks.initializers.for_activation('{_activation(layers[0])}').",
    )


def _last_kernels(case):
    """The last stages with a kernel before each output."""
    for output in case.outputs:
        stage = output.stage
        while stage is not None and not kinds.has_kernel(stage.layer):
            stage = stage.sources[0] if len(stage.sources) == 1 else None
        if stage is not None:
            yield stage


def _activation(layer):
    name = roles.activation_of(layer)
    return name if name in ("relu", "elu", "selu", "tanh", "sigmoid", "gelu", "silu") else "relu"


def _is_zero(layer):
    kernels = [v for v in layer.trainable_variables if "kernel" in v.name and v.ndim > 1]
    return all(not keras.ops.convert_to_numpy(v).any() for v in kernels)
