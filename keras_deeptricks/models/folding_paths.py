"""Which layers a batch norm can be moved across on its way into a linear layer."""

import keras
import numpy as np

from keras_deeptricks.models.folding_target import NotFoldable
from keras_deeptricks.utils.layer_kinds import IDENTITY_LAYERS, NOISE_LAYERS, PADDING_LAYERS

layers = keras.layers
_GLOBAL_AVERAGES = (
    layers.GlobalAveragePooling1D,
    layers.GlobalAveragePooling2D,
    layers.GlobalAveragePooling3D,
)
_GLOBAL_MAXIMA = (layers.GlobalMaxPooling1D, layers.GlobalMaxPooling2D, layers.GlobalMaxPooling3D)
_AVERAGES = (layers.AveragePooling1D, layers.AveragePooling2D, layers.AveragePooling3D)
_MAXIMA = (layers.MaxPooling1D, layers.MaxPooling2D, layers.MaxPooling3D)


def first_pattern(axis, rank, channels):
    """The pattern of a batch norm of `channels` on `axis` of a tensor of `rank`."""
    sizes = [1] * (rank - 1)
    axis = axis if axis >= 0 else rank + axis
    if axis == 0:
        raise NotFoldable("it normalizes the rows")
    sizes[axis - 1] = channels
    return np.arange(channels).reshape(sizes)


def cross(call, pattern, scale, shift, forward, through_dropout):
    """The pattern on the other side of a layer, if the batch norm can stand there as well.

    Args:
        call: The `FlatCall` of the layer.
        pattern: As in `Target`, for its input (`forward`) or its output.
        scale, shift: The batch norm's, per channel.
        forward: Whether the batch norm stands before the layer and goes behind it.
        through_dropout: Whether layers that are identities in inference only can be crossed.

    Raises:
        NotFoldable: The layer computes something else of scale·x + shift.
    """
    layer, kind = call.layer, type(call.layer)
    if kind in NOISE_LAYERS:
        if not through_dropout or call.training:
            raise NotFoldable(f"'{call.name}' ({kind.__name__}) lies between")
        return pattern
    if kind in IDENTITY_LAYERS or (
        kind is layers.Activation and layer.activation is keras.activations.linear
    ):
        return pattern
    sizes = call.tensors[0].shape[1:], call.outputs[0].shape[1:]
    if kind is layers.Reshape:
        here, there = sizes if forward else sizes[::-1]
        return _compact(_whole(pattern, here, call).reshape(_known(there, call)))
    if kind is layers.Flatten:
        return _across_flatten(call, pattern, sizes[0], forward)
    if kind is layers.Permute:
        order = [dimension - 1 for dimension in layer.dims]
        return pattern.transpose(order if forward else np.argsort(order))
    if kind in (*_GLOBAL_AVERAGES, *_GLOBAL_MAXIMA, *_AVERAGES, *_MAXIMA, *PADDING_LAYERS):
        return _across_window(call, pattern, scale, shift, forward, len(sizes[0]))
    if isinstance(layer, keras.Layer) and len(call.tensors) == 1:
        raise NotFoldable(f"'{call.name}' ({kind.__name__}) is not linear, or not known")
    raise NotFoldable(f"'{call.name}' ({kind.__name__}) joins tensors")


def _across_flatten(call, pattern, sizes, forward):
    to_last = call.layer.data_format == "channels_first" and len(sizes) > 1
    order = [*range(1, len(sizes)), 0] if to_last else list(range(len(sizes)))
    if forward:
        return _compact(_whole(pattern, sizes, call).transpose(order).reshape(-1))
    sizes = _known(sizes, call)
    pattern = _whole(pattern, [int(np.prod(sizes))], call)
    pattern = pattern.reshape([sizes[axis] for axis in order])
    return _compact(pattern.transpose(np.argsort(order)))


def _across_window(call, pattern, scale, shift, forward, rank):
    layer, kind = call.layer, type(call.layer)
    channels_first = getattr(layer, "data_format", None) == "channels_first"
    spatial = tuple(range(1, rank)) if channels_first else tuple(range(rank - 1))
    is_global = kind in (*_GLOBAL_AVERAGES, *_GLOBAL_MAXIMA)
    if is_global and not layer.keepdims and not forward:
        pattern = np.expand_dims(pattern, spatial)
    if any(pattern.shape[axis] > 1 for axis in spatial):
        raise NotFoldable(f"its axis is one that '{call.name}' ({kind.__name__}) works along")
    if kind in (*_GLOBAL_MAXIMA, *_MAXIMA) and np.any(scale < 0):
        raise NotFoldable(f"'{call.name}' takes maxima, and some of the scales are negative")
    if kind in PADDING_LAYERS and np.any(shift != 0):
        raise NotFoldable(f"'{call.name}' adds zeros, to which the shift is not added")
    if kind in _AVERAGES and layer.padding != "valid":
        raise NotFoldable(f"'{call.name}' averages over its padding")
    return pattern.squeeze(spatial) if is_global and not layer.keepdims and forward else pattern


def _known(sizes, call):
    if None in sizes:
        raise NotFoldable(f"'{call.name}' has axes of unknown length")
    return sizes


def _whole(pattern, sizes, call):
    return np.broadcast_to(pattern, _known(sizes, call))


def _compact(pattern):
    """With size 1 on every axis along which the channel is the same."""
    for axis in range(pattern.ndim):
        first = pattern.take([0], axis=axis)
        if np.array_equal(np.broadcast_to(first, pattern.shape), pattern):
            pattern = first
    return pattern
