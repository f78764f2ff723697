"""Detects units that are dead or saturated on the data."""

import numpy as np

from keras_deeptricks.diagnostics.doctor import roles
from keras_deeptricks.diagnostics.doctor.finding import Finding

# With few rows, or few units, many are off by chance. On inputs that are all positive half of the
# units of a first layer may be, too.
_ROWS, _UNITS, _DEAD = 50, 8, 0.7
_SATURATED = 0.5
# Where an activation counts as flat: the slope is below 4 % of the steepest.
_EDGES = {"sigmoid": (0.01, 0.99), "tanh": (-0.98, 0.98), "hard_sigmoid": (1e-6, 1 - 1e-6)}
_CUTTING = ("relu", "relu6")


def dead_units(case):
    """Finds layers in which most units are zero for every row."""
    if case.has("initialization_constant"):
        return
    for name, values in _activations(case, _CUTTING):
        dead = dead_share(values)
        units = values.shape[-1]
        if values.size // units < _ROWS or units < _UNITS or dead <= _DEAD:
            continue
        yield Finding(
            "dead_units",
            "error" if dead == 1 else "warning",
            name,
            f"{dead:.0%} of its {units} units are zero for all {len(values)} rows looked at.",
            "Where a ReLU is zero no gradient passes: these units do not learn.",
            "Standardize the inputs, begin biases at 0 and kernels with He's initialization, or "
            "use an activation that is not flat, such as ELU.",
        )


def saturated_units(case):
    """Finds hidden layers in which most values lie where the activation is flat."""
    for name, values in _activations(case, tuple(_EDGES)):
        activation = next(
            roles.activation_of(s.layer) for s in case.structure.stages if s.name == name
        )
        low, high = _EDGES[activation]
        share = float(np.mean((values <= low) | (values >= high)))
        if share <= _SATURATED:
            continue
        yield Finding(
            "saturated_units",
            "warning",
            name,
            f"{share:.0%} of its {activation} outputs are below {low:g} or above {high:g}.",
            "There the activation is flat: gradients vanish and the layer hardly learns.",
            "Standardize the inputs and take smaller weights to begin with "
            f"(keras_deeptricks.initializers.for_activation('{activation}')), or use ReLU or ELU.",
        )


def dead_share(values):
    """The share of units (last axis) that are zero everywhere.

    Example:

    ```python
    import numpy as np
    from keras_deeptricks.diagnostics.doctor.idle_units import dead_share

    assert dead_share(np.array([[0.0, 1.0], [0.0, 0.0]])) == 0.5
    ```
    """
    return float(np.mean(~values.reshape(-1, values.shape[-1]).any(axis=0)))


def hidden_activations(structure, calls, activations):
    """Yields (name, outputs) of the hidden layers with one of the activations."""
    hidden = {}
    for stage in structure.stages:
        gates = any(type(user.layer).__name__ == "Multiply" for user in stage.users)
        if stage.is_output or gates or roles.activation_of(stage.layer) not in activations:
            continue
        if not _leads_on(stage):
            continue
        hidden[id(stage.layer)] = stage.name
    for call in calls:
        if id(call.layer) in hidden and isinstance(call.outputs, np.ndarray):
            yield hidden[id(call.layer)], np.asarray(call.outputs)


def _activations(case, activations):
    return hidden_activations(case.structure, case.calls, activations)


def _leads_on(stage):
    """Whether anything but rearranging stands between a stage and the output."""
    waiting = list(stage.users)
    if not waiting:
        return not stage.is_output
    while waiting:
        user = waiting.pop()
        if not roles.passes_values(user.layer):
            return True
        waiting += user.users
    return False
