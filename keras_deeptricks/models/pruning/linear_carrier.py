"""Linear layers, whose units are each made from all units of the input."""

import numpy as np

from keras_deeptricks.models.pruning.unit_carriers import Carrier
from keras_deeptricks.models.pruning.unit_constants import constants_through, is_elementwise
from keras_deeptricks.models.pruning.unit_groups import NotShrinkable, Units
from keras_deeptricks.models.pruning.unit_paths import channel_axis


class LinearCarrier(Carrier):
    """A linear layer: units of its own, of which each is made from all of the input.

    Attributes:
        connections: Its `Connections`.
        dead: Which of its units are constant before the activation, at every call.
        untrusted: Which inputs are left alone where they are constants other than 0.
        constants: The values of the inputs that are the same constants at every call, else NaN.
        disputed: Which inputs are constants that differ from call to call.
    """

    def __init__(self, layer, connections, untrusted):
        super().__init__(layer)
        self.connections = connections
        self.untrusted = untrusted
        self.dead = np.ones(len(connections.bias), dtype=bool)
        self._groups = None

    def follow(self, call, units, groups):
        axis = channel_axis(self.layer, len(call.main_input.shape))
        if units is not None and units.axis != axis:
            raise NotShrinkable(f"'{self.layer.name}' does not sum along the axis of the units")
        before = self._before_activation(units)
        self.dead &= ~np.isnan(before)
        outputs = self._outputs(call, axis, before, groups)
        self.calls.append((units, outputs))
        return outputs

    def tie(self, groups):
        super().tie(groups)
        constants = [
            np.full(len(self.untrusted), np.nan) if units is None else units.constants
            for units, _ in self.calls
        ]
        same = np.all([other == constants[0] for other in constants], axis=0)
        self.constants = np.where(same, constants[0], np.nan)
        known = np.any([~np.isnan(values) & (values != 0) for values in constants], axis=0)
        # Those whose constants were made use of, although the bias, which is one, cannot.
        self.disputed = known & ~same & ~self.untrusted

    @property
    def foldable(self):
        """Which inputs are constants that the bias can take up."""
        return self._usable(self.constants)

    def obstacle(self, place):
        """Why the constant of an input cannot be taken up."""
        name, constant = self.layer.name, self.constants[place]
        if np.isnan(constant):
            return f"'{name}' gets other values than its constant, from a sum or at another call"
        if self.connections.pads:
            return f"'{name}' sees zeros at the border instead of its constant {constant:.3g}"
        return f"the bias of '{name}' cannot take up its constant {constant:.3g}"

    def new_bias(self, inputs, outputs):
        """The bias in float64, with the constants of the inputs that go."""
        bias = self.connections.bias.copy()
        if inputs is not None:
            gone = np.flatnonzero(~inputs & (np.nan_to_num(self.constants) != 0))
            bias += self.constants[gone] @ self.connections.sums(gone)
        return bias[outputs]

    def values(self, inputs, outputs):
        values = super().values(inputs, outputs)[: len(self.connections.names)]
        if self._use_bias(inputs, outputs):
            values.append(self.new_bias(inputs, outputs))
        return values

    def _variables(self):
        return zip((*self.connections.names, "bias"), self.layer.weights, strict=False)

    def _cut(self, name, array, inputs, outputs):
        if name == "bias":
            return array[outputs]
        if inputs is None:
            inputs = np.ones(len(self.untrusted), dtype=bool)
        return self.connections.cut(name, array, inputs, outputs)

    def _cut_mask(self, name, mask, inputs, outputs):
        cut = super()._cut_mask(name, mask, inputs, outputs)
        # A masked bias is opened where it takes up a constant.
        return cut | (self.new_bias(inputs, outputs) != 0) if name == "bias" else cut

    def _options(self, inputs, outputs):
        count = int(outputs.sum())
        return {**self.connections.options(count), "use_bias": self._use_bias(inputs, outputs)}

    def _use_bias(self, inputs, outputs):
        return self.layer.bias is not None or bool(np.any(self.new_bias(inputs, outputs) != 0))

    def _usable(self, constants):
        nothing_but_zero = self.untrusted | self.connections.pads
        return ~np.isnan(constants) & (~nothing_but_zero | (constants == 0))

    def _before_activation(self, units):
        connected, bias = self.connections.connected, self.connections.bias
        if units is None:
            return np.where(connected.any(axis=0), np.nan, bias)
        usable = self._usable(units.constants)
        places = np.flatnonzero(usable & (np.nan_to_num(units.constants) != 0))
        bias = bias + units.constants[places] @ self.connections.sums(places)
        return np.where(connected[~usable].any(axis=0), np.nan, bias)

    def _outputs(self, call, axis, before, groups):
        if self._groups is None:
            self._groups = groups.new(len(before))
        activation = self.layer.activation
        if is_elementwise(activation):
            constants = constants_through(activation, before, self.layer.compute_dtype)
            return Units(axis, self._groups, constants)
        name = getattr(activation, "__name__", type(activation).__name__)
        groups.pin(
            self._groups,
            f"the activation of '{self.layer.name}', {name}, mixes units or is not known",
        )
        return Units(axis, self._groups, np.full(len(before), np.nan))
