"""Detects what keeps SELU layers from normalizing themselves."""

import re

import keras
import numpy as np

from keras_deeptricks.diagnostics.doctor import layer_kinds as kinds
from keras_deeptricks.diagnostics.doctor import roles
from keras_deeptricks.diagnostics.doctor.finding import Finding
from keras_deeptricks.diagnostics.self_normalization import self_normalization_problems
from keras_deeptricks.utils.layer_walk import walk_layers

# What a problem's text begins with or holds, by what it is about.
_MILD = ("Skip connections", "Recurrent layers", "Other activations", "are held small")
# Kernels of another initializer than LeCun's, whose variance times fan-in is about 1 all the same
# (Glorot's of a layer as wide as the one before).
_NEAR_ONE = (0.67, 1.5)
# The second moment of inputs that SELU brings back to 1 within a few layers; pixels in 0 to 1
# have about 0.1.
_MOMENT = (0.1, 10.0)


def self_normalization(case):
    """The problems that `check_self_normalization` tells of, where SELU layers are stacked."""
    selu = [layer for layer in walk_layers(case.model) if roles.activation_of(layer) == "selu"]
    if not selu:
        return
    x = case.probe.x if all(leaf.dtype.kind == "f" for leaf in case.probe.inputs) else None
    for problem in self_normalization_problems(case.model, x):
        named = re.search(r"'([^']+)'", problem)
        name = named.group(1) if named else selu[0].name
        severity = "note" if len(selu) < 2 or _is_mild(case, problem, selu) else "warning"
        evidence, remedy = _split(problem)
        yield Finding(
            "self_normalization_broken",
            severity,
            name if any(layer.name == name for layer in walk_layers(case.model)) else selu[0].name,
            evidence,
            "SELU keeps activations at mean 0 and variance 1 only in a plain stack of layers with "
            "LeCun initialization, alpha dropout and standardized inputs (Klambauer et al., 2017).",
            remedy,
        )


def _is_mild(case, problem, selu):
    if any(text in problem for text in _MILD):
        return True
    if "not LeCun" in problem:
        found = [_gain(layer) for layer in selu]
        found = [gain for gain in found if gain is not None]
        return bool(found) and all(_NEAR_ONE[0] <= gain <= _NEAR_ONE[1] for gain in found)
    if "not standardized" in problem:
        moment = _entering(case, selu)
        return moment is not None and _MOMENT[0] <= moment <= _MOMENT[1]
    return False


def _gain(layer):
    """The variance of a layer's kernel times its fan-in."""
    kernels = kinds.kernels_of(layer)
    if not kernels:
        return None
    kernel = np.asarray(keras.ops.convert_to_numpy(kernels[0]), "float64")
    return float(np.mean(kernel**2) * np.prod(kernel.shape[:-1]))


def _entering(case, selu):
    """The mean square of what enters the first SELU layer."""
    ids = {id(layer) for layer in selu}
    for call in case.calls:
        if id(call.layer) in ids and not isinstance(call.inputs, list):
            return float(np.mean(np.asarray(call.inputs, "float64") ** 2))
    return None


def _split(problem):
    """(what is wrong, what to do about it)."""
    sentences = re.split(r": (?=pass |use |take )|(?<=\.) (?=Begin with )", problem)
    if len(sentences) == 2:
        remedy = sentences[1]
        return sentences[0].rstrip(".") + ".", remedy[0].upper() + remedy[1:]
    return problem, "Use the layers that self-normalization asks for, or another activation."
