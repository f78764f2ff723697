"""Detects softmax inside the network, and activations applied to probabilities."""

import keras
import numpy as np

from keras_deeptricks.diagnostics.doctor import layer_kinds as kinds
from keras_deeptricks.diagnostics.doctor import paths, roles
from keras_deeptricks.diagnostics.doctor.finding import Finding

_PROBABILITIES = ("softmax", "sigmoid", "log_softmax")


def hidden_softmax(case):
    """Softmax whose shares go into another layer with weights; gates and attention are left out."""
    told = set()
    for stage in case.structure.stages:
        layer = stage.layer
        if id(layer) in told:
            continue
        if kinds.is_recurrent(layer) and _recurrent_activation(layer) == "softmax":
            told.add(id(layer))
            yield _finding(stage, "its own next step", "warning")
        if roles.activation_of(layer) != "softmax" or not _along_units(stage):
            continue
        ends, is_output = paths.ends_forward(stage, _passes)
        takers = [end for end in ends if kinds.has_kernel(end.layer) or _is_recurrent(end)]
        # Shares that weigh something are attention or a gate, whatever else takes them too.
        if not takers or len(takers) < len(ends):
            continue
        told.add(id(layer))
        yield _finding(stage, f"'{takers[0].name}'", "note" if is_output else "warning")


def double_softmax(case):
    """Softmax or sigmoid of what a softmax or sigmoid yields already."""
    told = False
    for stage in case.structure.stages:
        outer = roles.activation_of(stage.layer)
        if outer not in ("softmax", "sigmoid") or not roles.is_pure_activation(stage.layer):
            continue
        inner = _probabilities_behind(stage)
        if inner is None:
            continue
        told = True
        yield _double_finding(
            stage.name,
            outer,
            inner.name,
            roles.activation_of(inner.layer),
            paths.leads_to_output(stage),
        )
    if not told and not case.structure.is_graph:
        yield from _measured(case)


def _passes(stage):
    layer = stage.layer
    if len(stage.sources) != 1:
        return False
    if roles.passes_values(layer) or kinds.is_normalization(layer):
        return True
    # Shares are not negative: these leave them as they are.
    return roles.is_pure_activation(layer) and roles.activation_of(layer) in ("relu", "leaky_relu")


def _is_recurrent(stage):
    return kinds.is_recurrent(stage.layer)


def _recurrent_activation(layer):
    layer = layer.forward_layer if isinstance(layer, keras.layers.Bidirectional) else layer
    if not hasattr(layer, "activation"):
        return None
    return roles.activation_name(layer.activation)


def _along_units(stage):
    """Whether the shares are over the last axis: over positions it is attention."""
    axis = getattr(stage.layer, "axis", -1)
    return axis in (-1, len(stage.output_shapes[0]) - 1)


def _finding(stage, taker, severity):
    explanation = (
        "The units of a softmax share one unit of activation among them: each is about "
        f"1/{stage.units} at the start, and one can only grow if others shrink. Little signal "
        "and little gradient get through."
    )
    if severity == "note":
        explanation += " As the layer is an output too, it may be meant."
    return Finding(
        "hidden_softmax",
        severity,
        stage.name,
        f"The softmax of '{stage.name}' ({stage.units} units) goes into {taker}.",
        explanation,
        f"Give '{stage.name}' another activation, such as 'relu', and keep softmax for the output.",
    )


def _probabilities_behind(stage):
    """The stage with a softmax or sigmoid that `stage` takes its values from, or None."""
    source = paths.source_of(stage)
    while source is not None:
        if roles.activation_of(source.layer) in _PROBABILITIES:
            return source
        if not roles.passes_values(source.layer):
            return None
        source = paths.source_of(source)
    return None


def _double_finding(name, outer, inner_name, inner, is_output):
    if outer == "softmax" and inner == "log_softmax":
        severity, effect = "note", "It only undoes the logarithm."
    elif outer == "softmax" and inner == "softmax":
        severity = "error"
        effect = (
            "Softmax of numbers between 0 and 1 is nearly uniform: no class can get more than "
            "e/(e + classes − 1), however sure the network is."
        )
    elif outer == "sigmoid":
        severity = "error"
        effect = "The sigmoid of numbers between 0 and 1 lies between 0.5 and 0.73, never below."
    else:
        severity = "warning"
        effect = "The softmax of numbers between 0 and 1 is nearly uniform."
    # Inside the network such a pair may be a gate.
    if not is_output:
        severity = {"error": "warning"}.get(severity, "note")
    return Finding(
        "double_softmax",
        severity,
        name,
        f"'{name}' applies {outer} to what '{inner_name}' has applied {inner} to.",
        effect,
        "Apply one activation only: leave out the first, so that the last gets logits.",
    )


def _measured(case):
    """A subclassed model may apply an activation in its own code: its prediction tells."""
    outputs = case.outputs
    if len(outputs) != 1 or not case.calls:
        return
    call, prediction = case.calls[-1], outputs[0].prediction
    inner = roles.activation_of(call.layer)
    values = call.outputs
    if inner not in _PROBABILITIES or isinstance(values, list) or values.shape != prediction.shape:
        return
    for outer in ("softmax", "sigmoid"):
        if outer == "softmax" and (values.ndim < 2 or values.shape[-1] < 2):
            continue
        if np.allclose(_applied(outer, values), prediction, rtol=1e-4, atol=1e-6):
            name = case.model.name
            yield _double_finding(f"the output of {name}", outer, call.name, inner, True)
            return


def _applied(activation, values):
    if activation == "sigmoid":
        return 1 / (1 + np.exp(-values))
    powers = np.exp(values - values.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)
