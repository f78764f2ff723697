"""Layers whose weights or settings depend on how many units they have."""

import keras
import numpy as np

from keras_deeptricks.constraints.fixed_mask import FixedMask
from keras_deeptricks.layers.padded_shortcut import PaddedShortcut
from keras_deeptricks.models.pruning.connections import check_plain, numbers
from keras_deeptricks.models.pruning.unit_constants import constants_through, is_elementwise
from keras_deeptricks.models.pruning.unit_groups import NotShrinkable, Units
from keras_deeptricks.models.pruning.unit_paths import check_channels, positions

layers = keras.layers


def constraint_name(layer, constraint):
    """The name of the attribute in which a layer has a constraint."""
    return next(name for name, value in vars(layer).items() if value is constraint)


class Carrier:
    """A layer that maps each unit by itself, and has to be made anew when units go.

    Attributes:
        layer: The layer.
        calls: For each call the `Units` of its input and output, None where they stay.
        fixed: Why it has to stay as it is, or None.
    """

    def __init__(self, layer):
        self.layer, self.calls, self.fixed = layer, [], None

    def follow(self, call, units, groups):
        """Notes a call; returns the units of its output, None where it has none."""
        outputs = None if units is None else self._follow(call, units, groups)
        self.calls.append((units, outputs))
        return outputs

    def tie(self, groups):
        """Joins the units of all calls, as the layer has its weights once."""
        known = [units for ends in self.calls for units in ends if units is not None]
        sizes = {tuple(len(units.groups) if units else None for units in c) for c in self.calls}
        if self.fixed is None and len(sizes) > 1:
            self.fixed = f"'{self.layer.name}' is called elsewhere on what stays as it is"
        if self.fixed is not None:
            for units in known:
                groups.pin(units.groups, self.fixed)
            return
        for ends in self.calls[1:]:
            for first, other in zip(self.calls[0], ends, strict=True):
                if first is not None:
                    groups.join(first.groups, other.groups)

    def kept(self, alive):
        """Which units of the input and of the output stay; None where all do.

        Args:
            alive: Function from groups to an array that tells which of them stay.
        """
        return [None if units is None else alive(units.groups) for units in self.calls[0]]

    def new_layer(self, inputs, outputs):
        """The layer for the units that `kept` returned, without weights as yet."""
        options = self._options(inputs, outputs)
        layer = type(self.layer).from_config({**self.layer.get_config(), **options})
        for name, variable in self._variables():
            mask = variable.constraint
            if isinstance(mask, FixedMask):
                attribute = constraint_name(self.layer, mask)
                cut = self._cut_mask(name, mask.mask, inputs, outputs)
                # Without a pruned entry left the mask has nothing to do.
                left = mask.constraint if cut.all() else mask.with_mask(cut)
                setattr(layer, attribute, left)
        return layer

    def values(self, inputs, outputs):
        """The values of the new layer's weights, in their order."""
        return [
            self._cut(name, numbers(variable), inputs, outputs)
            for name, variable in self._variables()
        ]

    def _variables(self):
        """The weights that `_cut` knows by name."""
        return []

    def _cut(self, name, array, inputs, outputs):
        """What is left of an array of the shape of a weight."""
        return array[outputs]

    def _cut_mask(self, name, mask, inputs, outputs):
        return self._cut(name, mask, inputs, outputs)

    def _options(self, inputs, outputs):
        return {}


class BatchNormCarrier(Carrier):
    """A batch norm, in inference a scale and a shift of each unit."""

    def _variables(self):
        return [(weight.name, weight) for weight in self.layer.weights]

    def _cut(self, name, array, inputs, outputs):
        return array[outputs] if array.shape == outputs.shape else array

    def _follow(self, call, units, groups):
        layer, rank = self.layer, len(call.main_input.shape)
        if not isinstance(layer.axis, int) or layer.axis % rank != units.axis:
            raise NotShrinkable(f"'{layer.name}' does not normalize along the axis of the units")
        if call.training:
            return units.unknown()
        deviation = np.sqrt(numbers(layer.moving_variance).astype("float64") + layer.epsilon)
        scale = (numbers(layer.gamma).astype("float64") if layer.scale else 1.0) / deviation
        # Where the scale is 0, the input does not matter.
        values = np.where(scale == 0, 0.0, units.constants)
        mean = numbers(layer.moving_mean).astype("float64")
        shift = numbers(layer.beta).astype("float64") if layer.center else 0.0
        return units.with_constants((values - mean) * scale + shift)


class DepthwiseCarrier(Carrier):
    """`DepthwiseConv1D` and `2D`: a kernel of (…, channels, channels made of each)."""

    def _variables(self):
        return zip(("kernel", "bias"), self.layer.weights, strict=False)

    def _cut(self, name, array, inputs, outputs):
        return array[outputs] if name == "bias" else array[..., inputs, :]

    def _follow(self, call, units, groups):
        layer = self.layer
        check_channels(call, units)
        check_plain(layer, 1)
        kernel = numbers(layer.kernel).astype("float64")
        window = tuple(range(kernel.ndim - 2))
        pads = layer.padding != "valid" and max(layer.kernel_size) > 1
        trusted = ~np.isnan(units.constants) & ((units.constants == 0) | (not pads))
        sums = kernel.sum(axis=window) * np.where(trusted, units.constants, 0.0)[:, None]
        reached = (kernel != 0).any(axis=window) & ~trusted[:, None]
        bias = 0.0 if layer.bias is None else numbers(layer.bias).astype("float64")
        constants = np.where(reached.reshape(-1), np.nan, sums.reshape(-1) + bias)
        outputs = Units(units.axis, np.repeat(units.groups, kernel.shape[-1]), constants)
        if not is_elementwise(layer.activation):
            raise NotShrinkable(f"the activation of '{layer.name}' mixes units or is not known")
        return outputs.with_constants(
            constants_through(layer.activation, constants, layer.compute_dtype)
        )


class PReLUCarrier(Carrier):
    """`PReLU`: a slope for each unit, or for each unit and place."""

    def _variables(self):
        return [("alpha", self.layer.alpha)]

    def _cut(self, name, array, inputs, outputs):
        axis = self.calls[0][0].axis - 1
        return array if array.shape[axis] == 1 else np.compress(outputs, array, axis=axis)

    def _follow(self, call, units, groups):
        alpha = numbers(self.layer.alpha).astype("float64")
        alpha = np.moveaxis(alpha, units.axis - 1, 0)
        alpha = np.broadcast_to(alpha.reshape(len(alpha), -1), (len(units.groups), alpha[0].size))
        same = (alpha == alpha[:, :1]).all(axis=1) | (units.constants >= 0)
        slope = np.where(units.constants >= 0, 1.0, alpha[:, 0])
        return units.with_constants(np.where(same, units.constants * slope, np.nan))


class ReshapeCarrier(Carrier):
    """`Reshape`, where it keeps the units on an axis of their own."""

    def _follow(self, call, units, groups):
        order = positions(call, units).reshape(call.outputs[0].shape[1:])
        varying = [
            axis
            for axis in range(order.ndim)
            if not np.array_equal(np.broadcast_to(order.take([0], axis), order.shape), order)
        ]
        if len(varying) != 1:
            raise NotShrinkable(f"'{self.layer.name}' spreads the units over several axes")
        if self.calls and self.target != (varying[0], order.shape):
            raise NotShrinkable(f"'{self.layer.name}' is called on units of several shapes")
        self.target = varying[0], order.shape
        first = [0] * order.ndim
        first[varying[0]] = slice(None)
        order = order[tuple(first)]
        return Units(1 + varying[0], units.groups[order], units.constants[order])

    def _options(self, inputs, outputs):
        axis, sizes = self.target[0], list(self.target[1])
        sizes[axis] = int(outputs.sum())
        return {"target_shape": sizes}


class PaddedShortcutCarrier(Carrier):
    """`PaddedShortcut`: new channels of zeros behind the others."""

    def _follow(self, call, units, groups):
        check_channels(call, units)
        new = groups.new(self.layer.filters - len(units.groups))
        constants = np.concatenate([units.constants, np.zeros(len(new))])
        return Units(units.axis, np.concatenate([units.groups, new]), constants)

    def _options(self, inputs, outputs):
        return {"filters": int(outputs.sum())}


CARRIERS = {
    layers.BatchNormalization: BatchNormCarrier,
    layers.DepthwiseConv1D: DepthwiseCarrier,
    layers.DepthwiseConv2D: DepthwiseCarrier,
    layers.PReLU: PReLUCarrier,
    layers.Reshape: ReshapeCarrier,
    PaddedShortcut: PaddedShortcutCarrier,
}
