"""The data of an ablation, and what tells one experiment from another."""

import dataclasses
import functools
import hashlib
import inspect

import keras
import numpy as np
from keras import ops

from keras_deeptricks.utils.batches import is_arrays, row_count

_FORMS = (
    "`data` must be (x_train, y_train, x_val, y_val), ((x_train, y_train), (x_val, y_val)) or an "
    "object with the attributes x_train, y_train and validation_data, all of them arrays."
)


@dataclasses.dataclass(frozen=True, eq=False)
class AblationData:
    """Arrays to train on and arrays to score on."""

    x_train: object
    y_train: object
    x_val: object
    y_val: object

    @property
    def validation_data(self):
        """The pair (x, y) that `fit` takes."""
        return self.x_val, self.y_val


def check_data(data):
    """`data` in any of its forms as an `AblationData`.

    Raises:
        TypeError: it has none of these forms.
        ValueError: an array is empty, or inputs and targets differ in their number of rows.
    """
    parts = _parts(data)
    if parts is None:
        raise TypeError(f"{_FORMS} Received: {type(data).__name__}.")
    for name, part in zip(("x_train", "y_train", "x_val", "y_val"), parts, strict=True):
        if isinstance(part, (str, bytes)) or not is_arrays(part):
            raise TypeError(f"{_FORMS} Received as {name}: {type(part).__name__}.")
    found = AblationData(*parts)
    for which in ("train", "val"):
        rows = {
            row_count(leaf)
            for name in (f"x_{which}", f"y_{which}")
            for leaf in keras.tree.flatten(getattr(found, name))
        }
        if len(rows) > 1 or 0 in rows:
            raise ValueError(
                f"`data`: x_{which} and y_{which} must have the same number of rows, at least 1. "
                f"Received: {sorted(rows)}."
            )
    return found


def _parts(data):
    """The four parts of `data`, or None where it has none of the forms."""
    if isinstance(data, (tuple, list)):
        if len(data) == 4:
            return tuple(data)
        pairs = [part for part in data if isinstance(part, (tuple, list)) and len(part) == 2]
        return (*pairs[0], *pairs[1]) if len(data) == len(pairs) == 2 else None
    validation = getattr(data, "validation_data", None)
    if not hasattr(data, "x_train") or not hasattr(data, "y_train"):
        return None
    if not isinstance(validation, (tuple, list)) or len(validation) != 2:
        return None
    return (data.x_train, data.y_train, *validation)


def description(value):
    """What identifies a value across processes, as something JSON can hold.

    Arrays are named by a digest of their contents, functions and classes by their names, other
    objects by their class and their fields or configuration.
    """
    if value is None or isinstance(value, (bool, int, float, str)):
        return value if isinstance(value, (bool, int, str)) else repr(value)
    if isinstance(value, (list, tuple)):
        return [description(item) for item in value]
    if isinstance(value, dict):
        return {str(key): description(item) for key, item in value.items()}
    if isinstance(value, np.generic):
        return description(value.item())
    if isinstance(value, functools.partial):
        return ["partial", *map(description, (value.func, value.args, value.keywords))]
    if inspect.ismethod(value):
        return [value.__func__.__qualname__, description(value.__self__)]
    if inspect.isroutine(value) or inspect.isclass(value):
        return value.__qualname__
    if ops.is_tensor(value) or hasattr(value, "__array__"):
        return _digest(np.asarray(ops.convert_to_numpy(value) if ops.is_tensor(value) else value))
    name = type(value).__qualname__
    if dataclasses.is_dataclass(value):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return [name, description(fields)]
    if hasattr(value, "get_config"):
        return [name, description(value.get_config())]
    return name if " at 0x" in repr(value) else [name, repr(value)]


def _digest(array):
    digest = hashlib.sha256()
    raw = repr(array.tolist()).encode() if array.dtype.hasobject else np.ascontiguousarray(array)
    digest.update(raw)
    shape = "×".join(map(str, array.shape))
    return f"{array.dtype} {shape} {digest.hexdigest()[:16]}"
