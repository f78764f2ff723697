"""Linear layers in numbers: which inputs reach which outputs, and what is left when some go."""

import keras
import numpy as np
from keras import ops

from keras_deeptricks.models.pruning.unit_groups import NotShrinkable

layers = keras.layers


def numbers(variable):
    """The value of a variable as a NumPy array, of float32 at least."""
    array = np.asarray(ops.convert_to_numpy(variable))
    return array.astype("float32") if array.dtype.itemsize < 4 else array


class Connections:
    """Those of a `Dense` layer, with a kernel of (inputs, outputs).

    Attributes:
        connected: Whether an input reaches an output, of shape (inputs, outputs).
        bias: In float64, 0 where the layer has none.
    """

    names = ("kernel",)

    def __init__(self, layer):
        self.layer = layer
        self.values = {name: numbers(getattr(layer, name)) for name in self.names}
        self.connected = self._connected()
        count = self.connected.shape[1]
        self.bias = np.zeros(count) if layer.bias is None else numbers(layer.bias).astype("float64")

    @property
    def pads(self):
        """Whether the kernel sees zeros at the border, or different shares of its weights."""
        return False

    def sums(self, inputs):
        """What an input of 1 everywhere adds to each output, for some of the inputs; float64."""
        return self.values["kernel"][inputs].astype("float64")

    def cut(self, name, array, inputs, outputs):
        """Of an array of a kernel's shape what is between some inputs and some outputs."""
        return array[inputs][:, outputs]

    def options(self, count):
        """The arguments of a layer with `count` outputs."""
        return {"units": count}

    def _connected(self):
        return self.values["kernel"] != 0


class ConvolutionConnections(Connections):
    """That of `Conv1D` to `Conv3D`: (…, inputs, outputs)."""

    @property
    def pads(self):
        return self.layer.padding != "valid" and max(self.layer.kernel_size) > 1

    def sums(self, inputs):
        kernel = self.values["kernel"][..., inputs, :].astype("float64")
        return kernel.sum(axis=tuple(range(kernel.ndim - 2)))

    def cut(self, name, array, inputs, outputs):
        return array[..., inputs, :][..., outputs]

    def options(self, count):
        return {"filters": count}

    def _connected(self):
        kernel = self.values["kernel"]
        return (kernel != 0).any(axis=tuple(range(kernel.ndim - 2)))


class TransposedConvolutionConnections(ConvolutionConnections):
    """That of `Conv1DTranspose` to `Conv3DTranspose`: (…, outputs, inputs)."""

    @property
    def pads(self):
        # Pixels of the output are made of different shares of the kernel.
        return max(self.layer.kernel_size) > 1 or max(self.layer.strides) > 1

    def sums(self, inputs):
        kernel = self.values["kernel"][..., inputs].astype("float64")
        return kernel.sum(axis=tuple(range(kernel.ndim - 2))).T

    def cut(self, name, array, inputs, outputs):
        return array[..., outputs, :][..., inputs]

    def _connected(self):
        return super()._connected().T


class SeparableConvolutionConnections(ConvolutionConnections):
    """Those of `SeparableConv1D` and `2D`: (…, inputs, of each) and (…, of all, outputs)."""

    names = ("depthwise_kernel", "pointwise_kernel")

    def sums(self, inputs):
        depthwise = self.values["depthwise_kernel"][..., inputs, :].astype("float64")
        depthwise = depthwise.sum(axis=tuple(range(depthwise.ndim - 2)))
        pointwise = self._pointwise()[inputs].astype("float64")
        return np.einsum("im,imo->io", depthwise, pointwise)

    def cut(self, name, array, inputs, outputs):
        if name == "depthwise_kernel":
            return array[..., inputs, :]
        pointwise = self._by_channel(array)[inputs][..., outputs]
        return pointwise.reshape(*array.shape[:-2], -1, pointwise.shape[-1])

    def _pointwise(self):
        return self._by_channel(self.values["pointwise_kernel"])

    def _by_channel(self, pointwise):
        """With an axis for the inputs and one for the channels made of each."""
        channels, multiplier = self.values["depthwise_kernel"].shape[-2:]
        return pointwise.reshape(channels, multiplier, -1)

    def _connected(self):
        depthwise = self.values["depthwise_kernel"] != 0
        depthwise = depthwise.any(axis=tuple(range(depthwise.ndim - 2)))
        return (depthwise[..., None] & (self._pointwise() != 0)).any(axis=1)


LINEAR = {
    layers.Dense: Connections,
    layers.Conv1D: ConvolutionConnections,
    layers.Conv2D: ConvolutionConnections,
    layers.Conv3D: ConvolutionConnections,
    layers.Conv1DTranspose: TransposedConvolutionConnections,
    layers.Conv2DTranspose: TransposedConvolutionConnections,
    layers.Conv3DTranspose: TransposedConvolutionConnections,
    layers.SeparableConv1D: SeparableConvolutionConnections,
    layers.SeparableConv2D: SeparableConvolutionConnections,
}


def connections_of(layer):
    """The `Connections` of a layer.

    Raises:
        NotShrinkable: The layer has groups, or is changed in a way that is not known here.
    """
    made = LINEAR[type(layer)]
    check_plain(layer, len(made.names))
    if getattr(layer, "groups", 1) > 1:
        raise NotShrinkable(f"'{layer.name}' ({type(layer).__name__}) has groups")
    return made(layer)


def check_plain(layer, kernels):
    """Raises unless a layer has its plain weights: that many kernels, and a bias."""
    if getattr(layer, "lora_enabled", False):
        raise NotShrinkable(f"'{layer.name}' has LoRA enabled")
    if getattr(layer, "quantization_mode", None) is not None:
        raise NotShrinkable(f"'{layer.name}' is quantized")
    if len(layer.weights) != kernels + (layer.bias is not None):
        raise NotShrinkable(f"'{layer.name}' has more weights than its class")
