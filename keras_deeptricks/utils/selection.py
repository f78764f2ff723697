"""Which layers and variables a name, a pattern or a layer means."""

import fnmatch
import re

import keras

from keras_deeptricks.utils.layer_walk import walk_layers

# At the start, or right after a letter, digit or `_`: "dense_*" is a regular expression too, and as
# such it would match "dense".
_SHELL_SIGN = re.compile(r"(?:^|/|(?<!\\)[\w-])[*?]")


def matches(pattern, path):
    """True if `pattern` names `path` or a part of it between slashes.

    The pattern is a name, a shell pattern or a regular expression, and has to match whole
    components: `"dense_1"` matches `"net/dense_1/kernel"`, not `"net/dense_10/kernel"`; so do
    `"dense_*"`, `"dense_.*"`, `"dense_1/kernel"` and `"net/.*"`. A `*` or `?` right after a letter,
    digit or `_` is that of a shell pattern.
    """
    components = path.split("/")
    parts = {
        "/".join(components[start:end])
        for start in range(len(components))
        for end in range(start + 1, len(components) + 1)
    }
    shell = re.compile(fnmatch.translate(pattern))
    if any(shell.fullmatch(part) for part in parts):
        return True
    if _SHELL_SIGN.search(pattern):
        return False
    try:
        regular = re.compile(pattern)
    except re.error:
        return False
    return any(regular.fullmatch(part) for part in parts)


def check_patterns(name, value):
    """Returns `value`, a pattern, layer or variable or a list of them, as a tuple of patterns.

    A layer stands for its name, a variable for its path.

    Raises:
        TypeError: it is something else.
    """
    several = value if isinstance(value, (list, tuple, set)) else (value,)
    patterns = []
    for one in several:
        if isinstance(one, keras.Layer):
            patterns.append(one.name)
        elif isinstance(one, keras.Variable):
            # Without the model's name, which a loaded model has not everywhere.
            patterns.append(re.escape("/".join(one.path.split("/")[-2:])))
        elif isinstance(one, str) and one:
            patterns.append(one)
        else:
            raise TypeError(
                f"`{name}` must be a layer, a variable, a name or pattern of one, or a list of "
                f"these. Received: {name}={value!r}."
            )
    return tuple(patterns)


def select_layers(model, selection):
    """The layers of `model` that `selection` names, in the order from outside to inside.

    Args:
        model: A `keras.Model`.
        selection: A layer, a name or pattern of layers (see `matches`), or a list of these.

    Raises:
        TypeError: `selection` is something else.
        ValueError: One of them is or matches no layer of the model.
    """
    layers = [layer for layer in walk_layers(model) if layer is not model]
    several = selection if isinstance(selection, (list, tuple, set)) else (selection,)
    chosen = set()
    for one in several:
        if isinstance(one, keras.Layer):
            found = [layer for layer in (model, *layers) if layer is one]
        elif isinstance(one, str) and one:
            found = [layer for layer in layers if matches(one, _path(layer))]
        else:
            raise TypeError(
                "`layers` must be a layer, a name or pattern of layers, or a list of these. "
                f"Received: {one!r}."
            )
        if not found:
            known = ", ".join(layer.name for layer in getattr(model, "layers", layers))
            what = f"'{one.name}'" if isinstance(one, keras.Layer) else f"{one!r}"
            raise ValueError(f"`layers`: {what} is no layer of '{model.name}'. It has: {known}.")
        chosen.update(id(layer) for layer in found)
    return [layer for layer in (model, *layers) if id(layer) in chosen]


def _path(layer):
    path = getattr(layer, "path", None) or layer.name
    # A layer that is not built yet has no path.
    return path if path.split("/")[-1] == layer.name else layer.name
