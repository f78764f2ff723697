"""The units of a model, followed from layer to layer."""

import keras
import numpy as np

from keras_deeptricks.constraints.fixed_mask import FixedMask
from keras_deeptricks.models.pruning.connections import LINEAR, connections_of
from keras_deeptricks.models.pruning.linear_carrier import LinearCarrier
from keras_deeptricks.models.pruning.unit_carriers import CARRIERS
from keras_deeptricks.models.pruning.unit_groups import Groups, NotShrinkable
from keras_deeptricks.models.pruning.unit_joins import is_join, join_units
from keras_deeptricks.models.pruning.unit_paths import pass_units


class UnitFlow:
    """Which units every tensor of a graph has, which go together, and which are constant.

    Args:
        flat: The model's `FlatCalls`.
        connections: A dictionary that keeps the `Connections` of layers by their id.
        untrusted: By the id of a linear layer, the inputs whose constants other than 0 its bias
            cannot take up.

    Attributes:
        groups: The `Groups`.
        units: The `Units` by the id of a tensor; none for a tensor that stays as it is.
        carriers: The `Carrier` by the id of a layer.
        obstacles: Why layers with weights stay as they are, by name.
    """

    def __init__(self, flat, connections, untrusted):
        self.groups, self.units, self.carriers, self.obstacles = Groups(), {}, {}, {}
        self._connections, self._untrusted = connections, untrusted
        for call in flat.calls:
            self._follow(call)
        for tensor in keras.tree.flatten(flat.outputs):
            if id(tensor) in self.units:
                self.groups.pin(self.units[id(tensor)].groups, "they are an output of the model")
        # One that was stopped at its first call has nothing to tie.
        self.carriers = {key: carrier for key, carrier in self.carriers.items() if carrier.calls}
        for carrier in self.carriers.values():
            carrier.tie(self.groups)

    @property
    def linear(self):
        """The carriers of linear layers, in the order of their first call."""
        return [c for c in self.carriers.values() if isinstance(c, LinearCarrier)]

    def _find(self, tensor):
        return self.units.get(id(tensor))

    def _follow(self, call):
        try:
            units = self._behind(call)
        except NotShrinkable as reason:
            self._stop(call, str(reason))
        else:
            if units is not None:
                self.units[id(call.outputs[0])] = units

    def _behind(self, call):
        """The units of the output of a call, None where it has none."""
        if is_join(call.layer):
            return join_units(call, self._find, self.groups)
        if len(call.tensors) != 1 or len(call.outputs) != 1:
            raise NotShrinkable(f"'{call.name}' gets or returns several tensors")
        units = self._find(call.tensors[0])
        carrier = self._carrier(call.layer)
        if carrier is not None:
            return carrier.follow(call, units, self.groups)
        if units is None and not getattr(call.layer, "weights", ()):
            return None
        return pass_units(call, units)

    def _stop(self, call, reason):
        """Has all units stay that a call gets."""
        stopped = [units for units in map(self._find, call.tensors) if units is not None]
        for units in stopped:
            self.groups.pin(units.groups, reason)
        if id(call.layer) in self.carriers:
            self.carriers[id(call.layer)].fixed = reason
        weights = getattr(call.layer, "weights", ())
        # A normalization of the model's inputs has no units and stops none.
        if (stopped and weights) or any(len(weight.shape) > 1 for weight in weights):
            self.obstacles[call.name] = reason

    def _carrier(self, layer):
        if id(layer) not in self.carriers:
            made = self._make_carrier(layer)
            if made is None:
                return None
            self.carriers[id(layer)] = made
        return self.carriers[id(layer)]

    def _make_carrier(self, layer):
        if type(layer) in CARRIERS:
            return CARRIERS[type(layer)](layer)
        if type(layer) not in LINEAR:
            return None
        if id(layer) not in self._connections:
            self._connections[id(layer)] = connections_of(layer)
        connections = self._connections[id(layer)]
        untrusted = np.full(len(connections.connected), _limits_bias(layer))
        if id(layer) in self._untrusted:
            untrusted |= self._untrusted[id(layer)]
        return LinearCarrier(layer, connections, untrusted)


def _limits_bias(layer):
    """Whether the bias has a constraint, which could refuse what it takes up."""
    constraint = layer.bias_constraint
    if isinstance(constraint, FixedMask):
        constraint = constraint.constraint
    return constraint is not None
