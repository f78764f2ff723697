"""Where the inputs meet the first weights of a model, and with which values."""

import dataclasses

import keras
import numpy as np

from keras_deeptricks.diagnostics.doctor import layer_kinds as kinds
from keras_deeptricks.diagnostics.doctor import roles
from keras_deeptricks.diagnostics.doctor.columns import LOOKUPS
from keras_deeptricks.layers.whitening import Whitening


@dataclasses.dataclass(frozen=True, eq=False)
class Entrance:
    """A layer with a kernel that takes inputs on which no other kernel acted.

    Attributes:
        name: The name of the layer.
        values: What it takes, as an array with rows first.
        axis: The axis of its features.
        normalized_after: Whether only a normalization takes what it yields, so that neither the
            scale nor the mean of its inputs counts.
        trainable: Whether its weights are trained.
    """

    name: str
    values: np.ndarray
    axis: int
    normalized_after: bool
    trainable: bool


def entrances(case):
    """The `Entrance` list of a model. What a normalization, as of batches, gives is left out.

    What the model does before its first kernel, in whatever way, is done in `values`.
    """
    if not case.structure.is_graph:
        return _from_calls(case)
    found, states = [], {}
    turns = {}
    for stage in case.structure.stages:
        before = {"raw" if s is None else states[id(s)] for s in stage.sources} or {"raw"}
        state = next(s for s in ("learned", "raw", "normalized") if s in before)
        calls = _calls_of(case, stage, turns)
        place, after = _first_kernel(calls)
        if isinstance(stage.layer, keras.layers.Embedding) or after == "normalized":
            state = "normalized" if state != "learned" else state
        if place is not None:
            if state == "raw":
                is_last = place == len(calls) - 1
                followers = [u.layer for u in stage.users] if is_last else [calls[place + 1].layer]
                found.append(_entrance(calls[place], followers))
            state = "learned"
        states[id(stage)] = state
    return [entrance for entrance in found if entrance is not None]


def _from_calls(case):
    place, state = _first_kernel(case.calls)
    if place is None or state == "normalized":
        return []
    call = case.calls[place]
    following = [c.layer for c in case.calls[place + 1 : place + 2]]
    found = [_entrance(call, following)]
    for other in case.calls[place + 1 :]:
        # Of other kernels only those are known to take inputs that take them as they are.
        values = _values(other)
        if _has_kernel(other.layer) and any(_is_same(values, x) for x in case.probe.inputs):
            found.append(_entrance(other, []))
    return [entrance for entrance in found if entrance is not None]


def _calls_of(case, stage, turns):
    """The observed calls inside of a stage; of a layer called several times one after the other."""
    parts = {id(layer) for layer in kinds.parts_of(stage.layer)}
    calls = [call for call in case.calls if id(call.layer) in parts]
    if calls and all(call.layer is stage.layer for call in calls):
        turn = turns.get(id(stage.layer), 0)
        turns[id(stage.layer)] = turn + 1
        return calls[min(turn, len(calls) - 1) :][:1]
    return calls


def _first_kernel(calls):
    """(place of the first call of a kernel or None, `"normalized"` if values get so before it)."""
    state = "raw"
    for place, call in enumerate(calls):
        if kinds.is_normalization(call.layer) or isinstance(call.layer, keras.layers.Embedding):
            state = "normalized"
        elif _has_kernel(call.layer):
            return place, state
    return None, state


def _has_kernel(layer):
    if isinstance(layer, (*LOOKUPS, Whitening)) or kinds.is_normalization(layer):
        return False
    if kinds.has_kernel(layer):
        return True
    return any(len(variable.shape) >= 2 for variable in layer.trainable_variables)


def _entrance(call, followers):
    values = _values(call)
    if values is None or values.ndim < 2 or values.dtype.kind not in "biuf":
        return None
    layer = kinds.inner_layer(call.layer)
    first = kinds.is_convolution(layer) and layer.data_format == "channels_first"
    linear = roles.activation_of(layer) == "linear"
    return Entrance(
        name=call.name,
        values=values.astype("float32"),
        axis=1 if first else values.ndim - 1,
        normalized_after=linear
        and bool(followers)
        and all(kinds.is_normalization(follower) for follower in followers),
        trainable=bool(call.layer.trainable_variables),
    )


def _values(call):
    inputs = call.inputs if isinstance(call.inputs, list) else [call.inputs]
    arrays = [array for array in inputs if isinstance(array, np.ndarray)]
    return arrays[0] if arrays else None


def _is_same(values, leaf):
    if values is None or leaf.dtype.kind not in "biuf" or values.size != leaf.size:
        return False
    return np.array_equal(values.ravel(), leaf.ravel().astype(values.dtype))
