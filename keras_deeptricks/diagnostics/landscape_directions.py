"""Random directions in the space of a model's weights, normalized filter by filter."""

import dataclasses

import numpy as np

from keras_deeptricks.constraints import MaxNorm
from keras_deeptricks.utils.layer_walk import walk_layers

NORMALIZATIONS = ("filter", "layer", None)
# Weights that scale or shift single entries, which may have several axes, and are no filters.
_NO_FILTERS = ("bias", "gamma", "beta", "scale", "alpha", "slopes", "hinges")
# They compute with variables of their own framework, which Keras cannot replace for one call.
_FOREIGN = ("TorchModuleWrapper", "TFSMLayer")


@dataclasses.dataclass(frozen=True)
class MovedWeight:
    """A kernel that directions move.

    Attributes:
        place: Its place in `model.weights`.
        axes: The axes that one filter has: those to take its norm over.
    """

    place: int
    axes: tuple


def moved_weights(model):
    """The `MovedWeight`s of a model: the trainable kernels, in the order of `model.weights`.

    Biases, the parameters of normalization and activation layers, vectors, and whatever is not
    trainable stay where they are.

    Args:
        model: A built `keras.Model`.

    Raises:
        ValueError: None is left, or one belongs to a layer that Keras cannot compute with other
            weights.
    """
    owners = {}
    for layer in walk_layers(model):  # from outside to inside: the last one is the owner
        for variable in layer.trainable_variables:
            owners[id(variable)] = layer
    moved = []
    for place, variable in enumerate(model.weights):
        layer, shape = owners.get(id(variable)), variable.shape
        if layer is None or len(shape) < 2 or variable.name.endswith(_NO_FILTERS):
            continue
        if any(base.__name__ in _FOREIGN for base in type(layer).__mro__):
            raise ValueError(
                f"`model`: the layer '{layer.name}' ({type(layer).__name__}) has weights that "
                "Keras cannot replace. Freeze it (layer.trainable = False) and compile again."
            )
        moved.append(MovedWeight(place, _filter_axes(layer, variable.name, len(shape))))
    if not moved:
        raise ValueError(
            f"`model` must have a trainable kernel to move. '{model.name}' has none: biases, "
            "the parameters of normalization layers and frozen weights do not count."
        )
    return moved


def random_direction(weights, axes, generator, normalization="filter"):
    """A Gaussian direction as long as the weights, filter by filter: d ← d · ‖w‖ / ‖d‖.

    Args:
        weights: A list of NumPy arrays.
        axes: For each of them the axes of one filter.
        generator: A `numpy.random.Generator`.
        normalization: `"filter"`; `"layer"`, for which each whole array is as long as that of
            the weights; or None for standard normal numbers.

    Returns:
        A list of float64 arrays of the same shapes. Filters that are 0 are not moved, unless
        `normalization` is None.
    """
    direction = [generator.standard_normal(weight.shape) for weight in weights]
    if normalization is None:
        return direction
    if normalization == "layer":
        axes = [tuple(range(weight.ndim)) for weight in weights]
    return [_as_long(d, w, a) for d, w, a in zip(direction, weights, axes, strict=True)]


def _as_long(direction, weight, axes):
    norms = [
        np.sqrt(np.sum(np.square(np.asarray(array, "float64")), axis=axes, keepdims=True))
        for array in (weight, direction)
    ]
    return direction * (norms[0] / norms[1])


def _filter_axes(layer, name, rank):
    all_but_last = tuple(range(rank - 1))
    if name.startswith("pointwise"):  # the second kernel of SeparableConv
        return all_but_last
    try:
        limit = MaxNorm.for_layer(type(layer), equation=getattr(layer, "equation", None))
    except ValueError:  # a layer of the user's own
        return all_but_last
    fits = limit.axis != "auto" and max(limit.axis) < rank
    return limit.axis if fits else all_but_last
