"""Detects an activation between the last layer with a kernel and the output's own activation."""

from keras_deeptricks.diagnostics.doctor import layer_kinds as kinds
from keras_deeptricks.diagnostics.doctor import roles
from keras_deeptricks.diagnostics.doctor.finding import Finding

_CUTTING = ("relu", "relu6", "tanh", "elu", "selu", "softplus")


def cut_before_output(case):
    """Finds a softmax or sigmoid of values that another activation has limited before."""
    for output in case.outputs:
        acting = output.acting
        if acting is None or output.activation not in ("softmax", "sigmoid"):
            continue
        if not roles.is_pure_activation(acting.layer) or len(acting.sources) != 1:
            continue
        before = acting.sources[0]
        while before is not None and len(before.sources) == 1 and roles.passes_values(before.layer):
            before = before.sources[0]
        activation = None if before is None else roles.activation_of(before.layer)
        if activation not in _CUTTING or kinds.is_pooling(acting.sources[0].layer):
            continue
        yield Finding(
            "output_activation_mismatch",
            "warning",
            before.name,
            f"The {output.activation} of the output acts on the {activation} of '{before.name}'.",
            f"A {output.activation} wants any number, low ones too; the {activation} cuts part of "
            "them off, and where it is flat nothing is learned.",
            f"Take the {activation} out.",
        )
