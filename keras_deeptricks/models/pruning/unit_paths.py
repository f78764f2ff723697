"""How units pass through layers that look at each of them alone and have no weights."""

import keras
import numpy as np

from keras_deeptricks.layers.mc_dropout import MCAlphaDropout, MCDropout
from keras_deeptricks.models.pruning.unit_constants import constants_through, is_elementwise
from keras_deeptricks.models.pruning.unit_groups import NotShrinkable, Units
from keras_deeptricks.utils.layer_kinds import IDENTITY_LAYERS, NOISE_LAYERS, PADDING_LAYERS

layers = keras.layers
_ALWAYS_NOISE = (MCDropout, MCAlphaDropout)
_WINDOWS = (
    *(layers.MaxPooling1D, layers.MaxPooling2D, layers.MaxPooling3D),
    # The average is that of the pixels without the padding, on every backend.
    *(layers.AveragePooling1D, layers.AveragePooling2D, layers.AveragePooling3D),
    *(layers.GlobalMaxPooling1D, layers.GlobalMaxPooling2D, layers.GlobalMaxPooling3D),
    *(layers.GlobalAveragePooling1D, layers.GlobalAveragePooling2D),
    layers.GlobalAveragePooling3D,
    *(layers.Cropping1D, layers.Cropping2D, layers.Cropping3D),
    *(layers.UpSampling1D, layers.UpSampling2D, layers.UpSampling3D),
    *PADDING_LAYERS,
)


def pass_units(call, units):
    """The units behind a layer.

    Args:
        call: The `FlatCall` of the layer.
        units: The `Units` of its input; may be None for a layer with weights.

    Raises:
        NotShrinkable: It mixes units, or is not known.
    """
    layer, kind = call.layer, type(call.layer)
    if kind in IDENTITY_LAYERS:
        return units
    if kind in (*NOISE_LAYERS, *_ALWAYS_NOISE):
        return _pass_noise(call, units)
    if is_elementwise(layer):
        dtype = keras.backend.standardize_dtype(call.outputs[0].dtype)
        constants = constants_through(getattr(layer, "call", layer), units.constants, dtype)
        return units.unknown() if call.training else units.with_constants(constants)
    if kind is layers.Flatten:
        return _flatten(call, units)
    if kind is layers.Permute:
        return Units(1 + layer.dims.index(units.axis), units.groups, units.constants)
    if kind is layers.RepeatVector:
        return Units(2, units.groups, units.constants)
    if kind in _WINDOWS:
        return _pass_window(call, units)
    raise NotShrinkable(f"'{call.name}' ({kind.__name__}) mixes units, or is not known")


def channel_axis(layer, rank):
    """The axis of an image's channels, or of the features of rows."""
    first = getattr(layer, "data_format", None) == "channels_first"
    return 1 if first else rank - 1


def check_channels(call, units):
    """Raises unless the units are the channels of the layer's input."""
    if units.axis != channel_axis(call.layer, len(call.main_input.shape)):
        raise NotShrinkable(f"'{call.name}' works along the axis of the units")


def positions(call, units):
    """For each entry of one row of a call's input the number of its unit.

    Raises:
        NotShrinkable: The input has axes of unknown length.
    """
    sizes = call.main_input.shape[1:]
    if None in sizes:
        raise NotShrinkable(f"'{call.name}' gets axes of unknown length")
    ones = [1] * len(sizes)
    ones[units.axis - 1] = len(units.groups)
    return np.broadcast_to(np.arange(len(units.groups)).reshape(ones), sizes)


def _pass_noise(call, units):
    shape = getattr(call.layer, "noise_shape", None)
    if shape is not None and shape[units.axis] not in (None, 1):
        raise NotShrinkable(f"the `noise_shape` of '{call.name}' has a size for the units")
    always = isinstance(call.layer, _ALWAYS_NOISE)
    return units.unknown() if always or call.training else units


def _flatten(call, units):
    order = positions(call, units)
    if call.layer.data_format == "channels_first" and order.ndim > 1:
        order = np.moveaxis(order, 0, -1)
    order = order.reshape(-1)
    return Units(1, units.groups[order], units.constants[order])


def _pass_window(call, units):
    check_channels(call, units)
    rank = len(call.outputs[0].shape)
    axis = units.axis if rank == len(call.main_input.shape) else 1
    constants = units.constants
    if type(call.layer) in PADDING_LAYERS:
        constants = np.where(constants == 0, 0.0, np.nan)
    return Units(axis, units.groups, constants)
