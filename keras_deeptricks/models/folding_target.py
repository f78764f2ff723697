"""A layer that a batch norm is folded into: what all kinds have in common."""

import keras
import numpy as np
from keras import ops

# The largest number of the types that are not as wide as float32.
_LARGEST = {"float16": 65504.0}


class NotFoldable(Exception):
    """Why a batch norm stays."""


class Target:
    """A layer that can take up a batch norm; its weights in float64.

    A batch norm in inference is scale·x + shift. `pattern` says to which channel of the batch norm
    an entry of the tensor between the two belongs: an array of whole numbers with the tensor's
    axes but that of the rows, of size 1 on every axis that does not matter.
    """

    kernels = ("kernel",)

    def __init__(self, layer):
        self.layer = layer
        self.values = {name: float64(getattr(layer, name)) for name in self.kernels}
        self.changed = False
        self._read_bias()

    def after(self, pattern, scale, shift):
        """Checks that the batch norm behind the layer can be folded; returns the new values."""
        activation = self.layer.activation
        if activation is not None and activation is not keras.activations.linear:
            name = getattr(activation, "__name__", getattr(activation, "name", "activation"))
            raise NotFoldable(f"'{self.layer.name}' has an activation inside ({name})")
        return self._checked(self._scale_outputs(self.values, pattern, scale, shift))

    def before(self, pattern, scale, shift):
        """Checks that the batch norm before the layer can be folded; returns the new values."""
        if np.any(shift != 0) and self._adds_zeros():
            raise NotFoldable(
                f"'{self.layer.name}' sees zeros at the borders, to which the batch norm's shift "
                "is not added"
            )
        return self._checked(self._scale_inputs(self.values, pattern, scale, shift))

    def take(self, values):
        """Accepts values that `after` or `before` returned."""
        self.values, self.changed = values, True

    def new_layer(self):
        """The layer that takes this one's place, without weights as yet."""
        config = self.layer.get_config()
        return type(self.layer).from_config({**config, **self._new_options()})

    def give_weights(self, layer):
        """Writes the values into the built new layer: the only rounding."""
        for name in self.kernels:
            getattr(layer, name).assign(self.values[name])
        if layer.bias is not None:
            layer.bias.assign(np.broadcast_to(self.values["bias"], layer.bias.shape))

    def _read_bias(self):
        bias = self.layer.bias
        self.values["bias"] = np.zeros(()) if bias is None else float64(bias)

    def _new_options(self):
        has_bias = self.layer.use_bias or bool(np.any(self.values["bias"] != 0))
        return {"use_bias": has_bias}

    def _adds_zeros(self):
        return False

    def _checked(self, values):
        limit = _LARGEST.get(self.layer.variable_dtype, 3.4e38)
        for value in values.values():
            if not np.all(np.abs(value) <= limit):
                raise NotFoldable(f"the weights of '{self.layer.name}' would overflow")
        return values

    def _channels(self, pattern, values):
        """Values per channel of the layer; a size of 1 stands for all of them."""
        axis = self._channel_axis(pattern.ndim)
        if any(size > 1 for place, size in enumerate(pattern.shape) if place != axis):
            raise NotFoldable(f"it does not normalize the channels of '{self.layer.name}'")
        return values[pattern.reshape(-1)]

    def _channel_axis(self, rank):
        return 0 if getattr(self.layer, "data_format", None) == "channels_first" else rank - 1


def float64(variable):
    """The value of a variable, in double precision."""
    return np.asarray(ops.convert_to_numpy(variable)).astype("float64")
