"""Checks of arguments whose errors name the argument, the rule and what was received."""

import math
import numbers

import keras
import numpy as np


def check_built(name, model):
    """Raises a clear error unless `model` is a `keras.Model` that is built."""
    if not isinstance(model, keras.Model):
        raise TypeError(f"`{name}` must be a keras.Model. Received: {name}={model!r}.")
    if not model.built:
        raise ValueError(
            f"`{name}` must be built, for its weights to exist. '{model.name}' is not: call it on "
            "a batch first."
        )


def check_number(name, value, *, minimum=None, maximum=None, above=None, below=None):
    """Returns `value` as a float if it is a finite real number within the bounds.

    `minimum` and `maximum` are inclusive, `above` and `below` exclusive.

    Raises:
        TypeError: `value` is not a real number.
        ValueError: `value` is not finite or outside the bounds.
    """
    rule = f"`{name}` must be a number{_interval(minimum, maximum, above, below)}."
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Real):
        raise TypeError(f"{rule} Received: {name}={value!r} (of type {type(value).__name__}).")
    value = float(value)
    if not math.isfinite(value) or not _within(value, minimum, maximum, above, below):
        raise ValueError(f"{rule} Received: {name}={value!r}.")
    return value


def check_integer(name, value, *, minimum=None, maximum=None):
    """Returns `value` as an int if it is a whole number within the inclusive bounds.

    Raises:
        TypeError: `value` is not a whole number.
        ValueError: `value` is outside the bounds.
    """
    rule = f"`{name}` must be a whole number{_interval(minimum, maximum, None, None)}."
    whole = isinstance(value, numbers.Integral) or (
        isinstance(value, numbers.Real) and float(value).is_integer()
    )
    if isinstance(value, (bool, np.bool_)) or not whole:
        raise TypeError(f"{rule} Received: {name}={value!r} (of type {type(value).__name__}).")
    value = int(value)
    if not _within(value, minimum, maximum, None, None):
        raise ValueError(f"{rule} Received: {name}={value!r}.")
    return value


def check_choice(name, value, choices):
    """Returns `value` if it is one of `choices`.

    Raises:
        ValueError: it is none of them.
    """
    # An unhashable or array value compares elementwise, so identity of type comes first.
    for choice in choices:
        if type(value) is type(choice) and value == choice:
            return value
    known = ", ".join(repr(choice) for choice in choices)
    raise ValueError(f"`{name}` must be one of {known}. Received: {name}={value!r}.")


def check_flag(name, value):
    """Returns `value` if it is True or False.

    Raises:
        TypeError: it is neither.
    """
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"`{name}` must be True or False. Received: {name}={value!r}.")
    return bool(value)


def _within(value, minimum, maximum, above, below):
    return (
        (minimum is None or value >= minimum)
        and (maximum is None or value <= maximum)
        and (above is None or value > above)
        and (below is None or value < below)
    )


def _interval(minimum, maximum, above, below):
    low = f" ≥ {minimum}" if minimum is not None else f" > {above}" if above is not None else ""
    high = f" ≤ {maximum}" if maximum is not None else f" < {below}" if below is not None else ""
    return f"{low}{' and' if low and high else ''}{high}"
