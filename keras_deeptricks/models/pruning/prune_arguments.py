"""Checks of the arguments of `prune`."""

import collections.abc
import inspect

import keras
import numpy as np

from keras_deeptricks.models.pruning.incoming_weight_norm import incoming_weight_norm
from keras_deeptricks.models.pruning.kernels import kernels_of, unit_axes, unit_count
from keras_deeptricks.models.pruning.weight_magnitude import weight_magnitude
from keras_deeptricks.utils.checks import check_choice, check_number
from keras_deeptricks.utils.layer_walk import walk_layers

# The saliencies that need no data.
_BY_NAME = {
    "weight_magnitude": weight_magnitude,
    "incoming_weight_norm": incoming_weight_norm,
}


def check_amount(fraction, threshold):
    """The fraction and the threshold, one of them None.

    Raises:
        TypeError: One is no number.
        ValueError: Both are given, or none, or one is out of its range.
    """
    if (fraction is None) == (threshold is None):
        raise ValueError(
            "Pass either `fraction` or `threshold`. "
            f"Received: fraction={fraction!r}, threshold={threshold!r}."
        )
    if fraction is not None:
        return check_number("fraction", fraction, minimum=0, maximum=1), None
    return None, check_number("threshold", threshold)


def check_exclude(exclude, model):
    """The paths of the kernels to leave alone.

    Raises:
        TypeError: `exclude` is no list.
        ValueError: Something in it is no layer, or kernel, of the model.
    """
    if isinstance(exclude, (str, keras.Layer)):
        exclude = [exclude]
    if not isinstance(exclude, (list, tuple, set)):
        raise TypeError(
            "`exclude` must be a list of layers, of their names or of paths of kernels. "
            f"Received: exclude={exclude!r}."
        )
    kernels, layers, found = kernels_of(model), list(walk_layers(model)), set()
    for item in exclude:
        if not isinstance(item, (str, keras.Layer)):
            raise TypeError(
                "`exclude` must hold layers, names of layers or paths of kernels. "
                f"Received: {item!r}."
            )
        tops = [layer for layer in layers if layer is item or layer.name == item]
        inside = {id(layer) for top in tops for layer in walk_layers(top)}
        if not tops and item not in kernels:
            raise ValueError(
                "`exclude` must name layers of the model or paths of its kernels: "
                f"{list(kernels)}. Received: {item!r}."
            )
        found.update(p for p, kernel in kernels.items() if p == item or id(kernel.layer) in inside)
    return found


def check_saliency(saliency, model, kernels):
    """The saliencies as arrays, in the order of the model, and whether they are of units.

    Raises:
        TypeError: `saliency` is no dictionary, nor a function.
        ValueError: It does not fit the model, is of weights and of units, or holds NaN.
    """
    if not kernels:
        raise ValueError(
            f"`model` ('{model.name}') has no weights that can be pruned: no kernel of a Dense, "
            "convolutional or recurrent layer, or of an embedding, that is not quantized."
        )
    if isinstance(saliency, str):
        saliency = _BY_NAME[check_choice("saliency", saliency, tuple(_BY_NAME))]
    if callable(saliency) and not isinstance(saliency, collections.abc.Mapping):
        saliency = _called(saliency, model)
    if not isinstance(saliency, collections.abc.Mapping):
        raise TypeError(
            "`saliency` must be a dictionary from the paths of kernels to arrays, or a function of "
            f"the model that returns one. Received: saliency={saliency!r}."
        )
    unknown = [path for path in saliency if path not in kernels]
    if unknown or not saliency:
        raise ValueError(
            "`saliency` must be for kernels of the model, by their paths: "
            f"{list(kernels)}. Received: {unknown or 'none'}."
        )
    found, of_units = {}, set()
    for path in [path for path in kernels if path in saliency]:
        array, kernel = _real(path, saliency[path]), kernels[path]
        units = unit_count(kernel) if unit_axes(kernel) is not None else None
        if array.shape != kernel.shape and array.shape != (units,):
            raise ValueError(
                "`saliency` must have a value for each weight, or for each unit, of a kernel. "
                f"Received: for {path!r} of shape {kernel.shape}"
                f"{'' if units is None else f' ({units} units)'} an array of shape {array.shape}."
            )
        if np.isnan(array).any():
            raise ValueError(f"`saliency` holds NaN. Received: for {path!r}.")
        found[path] = array
        of_units.add(array.shape != kernel.shape)
    if len(of_units) > 1:
        raise ValueError(
            "`saliency` must be of weights or of units, the same for all kernels. "
            "Received: some of both."
        )
    return found, of_units.pop()


def _called(saliency, model):
    """What a saliency says of the model."""
    name = getattr(saliency, "__name__", repr(saliency))
    try:
        inspect.signature(saliency).bind(model)
    except TypeError as error:
        raise TypeError(
            "`saliency` must be a function of the model alone, or what it returned. Received: "
            f"{name}, which takes more ({error}): pass {name}(model, x), or a lambda."
        ) from error
    except ValueError:
        pass  # no signature is known
    return saliency(model)


def _real(path, values):
    array = np.asarray(values)
    if not (np.issubdtype(array.dtype, np.number) or array.dtype == bool) or np.iscomplexobj(array):
        raise TypeError(
            f"`saliency` must hold arrays of real numbers. Received: for {path!r} {values!r}."
        )
    return array.astype("float64")
