"""The saliencies that pruning curves know by name, and checks of their arguments."""

import collections.abc

import numpy as np

from keras_deeptricks.models.pruning.incoming_weight_norm import incoming_weight_norm
from keras_deeptricks.models.pruning.kernels import kernels_of, unit_axes, unit_count
from keras_deeptricks.models.pruning.mean_activation import active_share, mean_activation
from keras_deeptricks.models.pruning.optimal_brain_damage import optimal_brain_damage
from keras_deeptricks.models.pruning.weight_magnitude import weight_magnitude
from keras_deeptricks.utils.checks import check_choice, check_number

_OF_WEIGHTS = ("random", "weight_magnitude", "optimal_brain_damage")
_OF_UNITS = ("random_units", "incoming_weight_norm", "mean_activation", "active_share")
_NEED_DATA = ("optimal_brain_damage", "mean_activation", "active_share")


def check_saliencies(saliencies, data, seed):
    """A dictionary from labels to functions of the model, or dictionaries, as `prune` takes them.

    Args:
        saliencies: Names, a dictionary from labels to names or to what `prune` takes, or None for
            those of weights that the data allows.
        data: A tuple (inputs, targets) or (inputs, targets, weights) of arrays, a data set, or
            None.
        seed: Whole number that fixes the random orders.

    Raises:
        TypeError: `saliencies` is of the wrong type.
        ValueError: A name is unknown, or needs data where there is none.
    """
    if saliencies is None:
        saliencies = [one for one in _OF_WEIGHTS if data is not None or one not in _NEED_DATA]
    elif isinstance(saliencies, str):
        saliencies = [saliencies]
    if isinstance(saliencies, (list, tuple)):
        saliencies = {name: name for name in saliencies}
    if not isinstance(saliencies, collections.abc.Mapping):
        raise TypeError(
            "`saliencies` must be a list of names, or a dictionary from labels to names or to what "
            f"keras_deeptricks.models.pruning.prune takes. Received: saliencies={saliencies!r}."
        )
    if not saliencies:
        raise ValueError(f"`saliencies` must name at least one. Received: {saliencies!r}.")
    return {str(label): _known(one, data, seed) for label, one in saliencies.items()}


def check_fractions(fractions):
    """The fractions as an array, in growing order, each once.

    Raises:
        TypeError: `fractions` is no list of numbers.
        ValueError: It is empty, or one is out of its range.
    """
    if not isinstance(fractions, (list, tuple, np.ndarray)):
        raise TypeError(f"`fractions` must be a list of numbers. Received: {fractions!r}.")
    found = {check_number("fractions", one, minimum=0, maximum=1) for one in fractions}
    if not found:
        raise ValueError("`fractions` must hold at least one number. Received none.")
    return np.array(sorted(found))


def random_saliency(model, of_units, seed):
    """Uniformly random numbers for each weight, or each unit, of a model's kernels."""
    generator, found = np.random.default_rng(seed), {}
    for path, kernel in kernels_of(model).items():
        if not of_units:
            found[path] = generator.random(kernel.shape)
        elif unit_axes(kernel) is not None:
            found[path] = generator.random(unit_count(kernel))
    return found


def _known(saliency, data, seed):
    if not isinstance(saliency, str):
        return saliency
    check_choice("saliencies", saliency, (*_OF_WEIGHTS, *_OF_UNITS))
    if saliency in _NEED_DATA and data is None:
        raise ValueError(
            f"`saliency_data` must be given for '{saliency}', which is measured on data; a part of "
            "the training data will do. Received: saliency_data=None."
        )
    x, *targets = data if isinstance(data, tuple) else (data,)
    return {
        "random": lambda model: random_saliency(model, False, seed),
        "random_units": lambda model: random_saliency(model, True, seed),
        "weight_magnitude": weight_magnitude,
        "optimal_brain_damage": lambda model: optimal_brain_damage(model, x, *targets),
        # The mean, by which layers with more and with fewer weights can be compared.
        "incoming_weight_norm": lambda model: incoming_weight_norm(model, mean=True),
        "mean_activation": lambda model: mean_activation(model, x),
        "active_share": lambda model: active_share(model, x),
    }[saliency]
