"""Results: frozen dataclasses of NumPy arrays that can be drawn, saved and loaded."""

import dataclasses
import importlib
import json
import pathlib

import numpy as np


class Result:
    """Base of the frozen dataclasses that measurements return.

    A subclass is declared with `@dataclasses.dataclass(frozen=True, eq=False)`, holds NumPy
    arrays, numbers, strings, and lists or dictionaries of these, and names in `plot_function`
    the function of `keras_deeptricks.visualization` that draws it. Its arrays are made
    read-only, also those in lists and dictionaries.
    """

    plot_function = None

    def __post_init__(self):
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, _read_only(getattr(self, field.name)))

    def plot(self, ax=None):
        """Draws the result; needs Matplotlib.

        Args:
            ax: Matplotlib `Axes` to draw on; a new figure's by default.

        Returns:
            The `Axes` drawn on.
        """
        visualization = importlib.import_module("keras_deeptricks.visualization")
        return getattr(visualization, self.plot_function)(self, ax=ax)

    def save(self, path):
        """Writes the result to `path`: `.json` (readable) or `.npz` (exact and small).

        Raises:
            ValueError: `path` ends in neither.
        """
        path = _check_path(path)
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        if path.suffix == ".json":
            path.write_text(json.dumps(to_json(values), indent=1) + "\n", encoding="utf-8")
            return
        arrays = {name: v for name, v in values.items() if isinstance(v, np.ndarray)}
        nested = []
        others = {
            name: to_json(_stored_apart(v, nested))
            for name, v in values.items()
            if name not in arrays
        }
        arrays.update({f"__nested_{number}__": array for number, array in enumerate(nested)})
        np.savez_compressed(path, __others__=np.array(json.dumps(others)), **arrays)

    @classmethod
    def load(cls, path):
        """Reads a result that `save` wrote; never runs code from the file.

        Raises:
            ValueError: `path` ends in neither `.json` nor `.npz`, or holds another result.
        """
        path = _check_path(path)
        if path.suffix == ".json":
            values = from_json(json.loads(path.read_text(encoding="utf-8")))
        else:
            with np.load(path, allow_pickle=False) as file:
                values = {name: file[name] for name in file.files}
            others = from_json(json.loads(str(values.pop("__others__", "{}"))))
            values.update(_put_back(others, values))
        names = {field.name for field in dataclasses.fields(cls)}
        found = sorted(values) if isinstance(values, dict) else []
        if set(found) != names:
            raise ValueError(
                f"{path} does not hold a {cls.__name__}: its fields are {found}, "
                f"expected {sorted(names)}."
            )
        return cls(**values)


def to_json(value):
    """What `json` can write of arrays, NumPy scalars and containers, so that it can be read back.

    Arrays keep their dtype; NaN and infinities become strings, which JSON has no numbers for.
    Dataclasses become dictionaries of their fields.
    """
    if isinstance(value, np.ndarray):
        items = to_json(value.tolist())
        return {"__array__": items, "dtype": str(value.dtype), "shape": list(value.shape)}
    if isinstance(value, np.generic):
        value = value.item()
    if dataclasses.is_dataclass(value):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, float) and not np.isfinite(value):
        return {"__float__": repr(value)}
    if isinstance(value, dict):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(item) for item in value]
    return value


def from_json(value):
    """The inverse of `to_json`; tuples come back as lists, keys of dictionaries as strings."""
    if isinstance(value, list):
        return [from_json(item) for item in value]
    if not isinstance(value, dict):
        return value
    if "__array__" in value:
        array = np.array(from_json(value["__array__"]), dtype=value["dtype"])
        return array.reshape(value["shape"])
    if "__float__" in value:
        return float(value["__float__"])
    return {key: from_json(item) for key, item in value.items()}


def _read_only(value):
    """A copy of an array, or of the containers that hold arrays, that cannot be written to."""
    if isinstance(value, np.ndarray):
        value = value.copy()
        value.flags.writeable = False
        return value
    if type(value) is dict:
        return {key: _read_only(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(_read_only, value))
    return value


def _stored_apart(value, arrays):
    """`value` with a number for each array in its containers, which go to the list `arrays`."""
    if isinstance(value, np.ndarray):
        arrays.append(value)
        return {"__stored__": len(arrays) - 1}
    if isinstance(value, dict):
        return {key: _stored_apart(item, arrays) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_stored_apart(item, arrays) for item in value]
    return value


def _put_back(value, stored):
    """The inverse of `_stored_apart`; takes the arrays out of `stored`."""
    if isinstance(value, list):
        return [_put_back(item, stored) for item in value]
    if not isinstance(value, dict):
        return value
    if "__stored__" in value:
        return stored.pop(f"__nested_{value['__stored__']}__")
    return {key: _put_back(item, stored) for key, item in value.items()}


def _check_path(path):
    path = pathlib.Path(path)
    if path.suffix not in (".json", ".npz"):
        raise ValueError(f"`path` must end in .json or .npz. Received: path='{path}'.")
    return path
