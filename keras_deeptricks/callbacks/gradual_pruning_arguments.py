"""Checks of the saliency, and of the data for it, with which pruning goes on during training."""

import inspect

from keras_deeptricks.models.pruning.incoming_weight_norm import incoming_weight_norm
from keras_deeptricks.models.pruning.mean_activation import active_share, mean_activation
from keras_deeptricks.models.pruning.optimal_brain_damage import optimal_brain_damage
from keras_deeptricks.models.pruning.weight_magnitude import weight_magnitude
from keras_deeptricks.utils.checks import check_choice

# The saliencies known by name, and how many of `x` and `y` they take.
_KNOWN = {
    weight_magnitude: (0,),
    incoming_weight_norm: (0,),
    mean_activation: (1,),
    active_share: (1,),
    optimal_brain_damage: (1, 2),
}
_NAMES = {function.__name__: function for function in _KNOWN}


def check_data(x, y):
    """The data for a saliency as a tuple of what is given of `x` and `y`.

    Raises:
        TypeError: One can be read only once.
        ValueError: There is `y` without `x`.
    """
    for name, data in (("x", x), ("y", y)):
        if hasattr(data, "__next__"):
            raise TypeError(
                f"`{name}` must be data that can be read at each step. Pass arrays, a "
                "tf.data.Dataset or a keras.utils.PyDataset. Received: a generator, which can be "
                f"read only once, of type {type(data).__name__}."
            )
    if x is None and y is not None:
        raise ValueError(f"`y` goes with `x` only. Received: x=None, y of type {type(y).__name__}.")
    return tuple(part for part in (x, y) if part is not None)


def check_saliency(saliency, data):
    """The function that `saliency` is, or is the name of, if it takes this data.

    Raises:
        TypeError: It is neither a function nor a name.
        ValueError: The name is unknown, or the function does not take this data.
    """
    if isinstance(saliency, str):
        saliency = _NAMES[check_choice("saliency", saliency, tuple(_NAMES))]
    if not callable(saliency):
        raise TypeError(
            f"`saliency` must be a function of the model, or one of {', '.join(_NAMES)}: it is "
            f"computed anew at each step. Received: saliency={saliency!r}."
        )
    name = getattr(saliency, "__name__", repr(saliency))
    takes = next((counts for function, counts in _KNOWN.items() if function is saliency), None)
    if takes is not None and len(data) not in takes:
        counts = " or ".join(("no data", "`x`", "`x` and `y`")[count] for count in takes)
        raise ValueError(
            f"`saliency` is {name}, which takes {counts}. "
            f"Received: {' and '.join(('`x`', '`y`')[: len(data)]) or 'no data'}."
        )
    try:
        inspect.signature(saliency).bind(None, *data)
    except TypeError as error:
        raise ValueError(
            f"`saliency` must be a function of the model and of as much of `x` and `y` as is "
            f"given. Received: {name}, with which that does not go: {error}."
        ) from error
    except ValueError:
        pass  # one that has no signature
    return saliency
