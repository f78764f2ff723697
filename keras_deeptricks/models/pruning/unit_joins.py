"""How the units of several tensors become those of one: sums, products, concatenations."""

import keras
import numpy as np

from keras_deeptricks.layers.stochastic_depth import StochasticDepth
from keras_deeptricks.models.pruning.unit_constants import is_operation
from keras_deeptricks.models.pruning.unit_groups import NotShrinkable, Units

layers = keras.layers


def _product(values):
    # Nothing times 0 is 0, also where nothing else is known.
    zero = np.any([value == 0 for value in values], axis=0)
    return np.where(zero, 0.0, np.prod(values, axis=0))


def _difference(values):
    return values[0] - values[1]


def _sum(values):
    return np.sum(values, axis=0)


def _mean(values):
    return np.mean(values, axis=0)


# NumPy's maximum and minimum give NaN where one of the two is NaN.
_LAYERS = {
    layers.Add: _sum,
    layers.Average: _mean,
    layers.Maximum: np.maximum.reduce,
    layers.Minimum: np.minimum.reduce,
    layers.Multiply: _product,
    layers.Subtract: _difference,
}
# What a + b, a * b and the like add to a graph, by the name of their class.
_OPERATIONS = {
    "Add": _sum,
    "Maximum": np.maximum.reduce,
    "Minimum": np.minimum.reduce,
    "Multiply": _product,
    "Subtract": _difference,
}
# Layers of which a new one is made for the joined tensors, because they know their shapes.
MERGES = (*_LAYERS, layers.Concatenate)


def is_join(layer):
    """Whether it is a layer or an operation that joins tensors unit by unit."""
    kind = type(layer)
    return kind in MERGES or kind is StochasticDepth or _operation(layer) is not None


def join_units(call, find, groups):
    """The units of what joins tensors, None where none of its inputs has any.

    Args:
        call: The `FlatCall`.
        find: Function from a tensor to its `Units` or None.
        groups: The `Groups`, where those are joined that go together.

    Raises:
        NotShrinkable: Units meet something that is none of theirs.
    """
    if all(find(tensor) is None for tensor in call.tensors):
        return None
    if type(call.layer) is layers.Concatenate:
        return _concatenate(call, find, groups)
    if type(call.layer) is StochasticDepth:
        combine = _stochastic_sum(call)
    else:
        combine = _LAYERS.get(type(call.layer)) or _operation(call.layer)
    return _combine(call, find, groups, combine)


def _operation(layer):
    if isinstance(layer, keras.Layer) or not is_operation(layer):
        return None
    return _OPERATIONS.get(type(layer).__name__)


def _stochastic_sum(call):
    if call.training:
        return lambda values: np.full(len(values[0]), np.nan)
    return lambda values: values[0] + call.layer.survival_probability * values[1]


def _combine(call, find, groups, combine):
    operands = keras.tree.flatten(call.args)
    if call.kwargs:
        raise NotShrinkable(f"'{call.name}' is called with options")
    first = _of_full_size(call, find)
    axis, count = first.axis, len(first.groups)
    values = []
    for operand in operands:
        units = find(operand)
        if isinstance(operand, keras.KerasTensor):
            if len(operand.shape) != len(call.outputs[0].shape):
                raise NotShrinkable(f"'{call.name}' joins tensors of different ranks")
            if units is None or units.axis != axis or len(units.groups) != count:
                # One number for all units does not care how many there are.
                if operand.shape[axis] != 1:
                    raise NotShrinkable(f"{_told(call)} joins it with a tensor that stays as it is")
                if units is not None:
                    groups.pin(units.groups, f"{_told(call)} spreads it over all units")
                values.append(np.full(count, np.nan))
                continue
            groups.join(first.groups, units.groups)
            values.append(units.constants)
        elif isinstance(operand, (bool, int, float)):
            values.append(np.full(count, float(operand)))
        else:
            raise NotShrinkable(f"{_told(call)} joins it with an array")
    constants = combine(values)
    return Units(axis, first.groups, np.where(np.isfinite(constants), constants, np.nan))


def _of_full_size(call, find):
    for tensor in call.tensors:
        units = find(tensor)
        if units is not None and call.outputs[0].shape[units.axis] == len(units.groups):
            return units
    raise NotShrinkable(f"{_told(call)} joins it with a tensor that stays as it is")


def _concatenate(call, find, groups):
    rank = len(call.outputs[0].shape)
    axis = call.layer.axis % rank
    known = [find(tensor) for tensor in call.tensors]
    first = next(units for units in known if units is not None)
    if any(units is not None and units.axis != first.axis for units in known):
        raise NotShrinkable(f"{_told(call)} joins units of different axes")
    if axis == first.axis:
        parts = [
            _fixed(tensor, axis, groups, call) if units is None else units
            for tensor, units in zip(call.tensors, known, strict=True)
        ]
        joined = np.concatenate([part.groups for part in parts])
        return Units(axis, joined, np.concatenate([part.constants for part in parts]))
    if any(units is None for units in known):
        raise NotShrinkable(f"{_told(call)} joins it with a tensor that stays as it is")
    for units in known[1:]:
        groups.join(first.groups, units.groups)
    same = np.all([units.constants == first.constants for units in known], axis=0)
    return Units(first.axis, first.groups, np.where(same, first.constants, np.nan))


def _fixed(tensor, axis, groups, call):
    """The units of a tensor that keeps all of them, such as an input of the model."""
    if tensor.shape[axis] is None:
        raise NotShrinkable(f"'{call.name}' gets axes of unknown length")
    fixed = groups.new(tensor.shape[axis])
    groups.pin(fixed, f"{_told(call)} gets it from what stays as it is")
    return Units(axis, fixed, np.full(len(fixed), np.nan))


def _told(call):
    return f"'{call.name}' ({type(call.layer).__name__})"
