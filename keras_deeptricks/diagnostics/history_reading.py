"""Reads the curves of a training from any of the forms they are kept in."""

import collections.abc
import csv
import os

import numpy as np

from keras_deeptricks.utils.monitor import improves_upwards

_MONITOR = "monitor/"
# Columns that count or describe instead of measuring.
_NO_CURVES = ("epoch", "learning_rate", "lr", "momentum", "weight_decay", "time", "seconds")
# What a CSVLogger writes where an epoch has no value.
_MISSING = ("", "NA", "None")


def read_history(history):
    """The curves as a dictionary of float64 arrays, one value per epoch.

    Args:
        history: A `keras.callbacks.History`, a dictionary of lists, the path of a file that
            `keras.callbacks.CSVLogger` wrote, or a pandas `DataFrame`. Columns that hold no
            numbers are left out.

    Raises:
        TypeError: `history` is nothing of the above.
        ValueError: it has no epochs, or no file is there.
    """
    if isinstance(history, (str, os.PathLike)):
        columns = _read_csv(history)
    elif isinstance(getattr(history, "history", None), collections.abc.Mapping):
        columns = history.history
    elif isinstance(history, collections.abc.Mapping):
        columns = history
    elif hasattr(history, "columns") and hasattr(history, "to_dict"):
        columns = history.to_dict("list")
    else:
        raise TypeError(
            "`history` must be a keras.callbacks.History, a dictionary of lists, the path of a "
            f"CSVLogger's file or a DataFrame. Received: history of type {type(history).__name__}."
        )
    curves = {str(name): _as_curve(values) for name, values in columns.items()}
    curves = {name: values for name, values in curves.items() if values is not None}
    if not any(len(values) for values in curves.values()):
        raise ValueError(
            f"`history` must hold at least one epoch of numbers. Received: {sorted(columns)}."
        )
    return {name: values for name, values in curves.items() if len(values)}


def split_history(curves):
    """Sorts curves into (those of training, those of validation, those of layers).

    Returns:
        Training curves by name; validation curves by the name without `val_`; of the layers a
        dictionary of dictionaries, `[layer][statistic]`, in the order of the history.
    """
    training, validation, layers = {}, {}, {}
    for name, values in curves.items():
        if name.startswith(_MONITOR):
            layer, _, statistic = name[len(_MONITOR) :].rpartition("/")
            layers.setdefault(layer, {})[statistic] = values
        elif name.startswith("val_"):
            validation[name[4:]] = values
        elif name.lower() not in _NO_CURVES and not name.endswith("_per_step"):
            training[name] = values
    return training, validation, layers


def main_loss(training, monitor):
    """The name of the loss: `monitor`, or the first that looks like one.

    Raises:
        ValueError: there is none.
    """
    if monitor is not None:
        if monitor not in training:
            raise ValueError(
                f"`monitor` must be a training curve of the history. Received: monitor={monitor!r}."
                f" There are: {', '.join(training)}."
            )
        return monitor
    names = ["loss", *[name for name in training if name.endswith("loss")], *training]
    for name in names:
        if name in training and not _rises(name):
            return name
    raise ValueError(
        "`history` has no curve that looks like a loss. Pass its name as `monitor`. There are: "
        f"{', '.join(training) or 'none of training'}."
    )


def losses(training):
    """The names of all curves that end in `loss`."""
    return [name for name in training if name.endswith("loss")]


def accuracies(training):
    """The names of the curves that are shares of right answers."""
    return [name for name in training if _is_accuracy(name)]


def fill_missing(values):
    """A validation curve without the epochs that were not validated, and their numbers.

    Where a NaN stands alone among numbers it is taken for a missing value; NaN up to the end is
    one.
    """
    values = np.asarray(values, "float64")
    finite = np.flatnonzero(~np.isnan(values))
    if not finite.size or finite[-1] == len(values) - 1:
        kept = finite if finite.size else np.arange(len(values))
        return values[kept], kept
    gaps = np.diff(finite)
    period = int(np.median(gaps)) if gaps.size else 1
    # Validated every few epochs, it ends with up to that many missing ones.
    if len(values) - 1 - finite[-1] < period:
        return values[finite], finite
    kept = np.concatenate([finite, np.arange(finite[-1] + 1, len(values))])
    return values[kept], kept


def _is_accuracy(name):
    return "acc" in name.lower() and _rises(name)


def _rises(name):
    try:
        return improves_upwards(name)
    except ValueError:
        return False


def _as_curve(values):
    try:
        array = np.asarray(values, "float64")
    except (TypeError, ValueError):
        return None
    return array if array.ndim == 1 else None


def _read_csv(path):
    if not os.path.isfile(path):
        raise ValueError(f"`history` must be the path of a file. There is none: '{path}'.")
    with open(path, newline="", encoding="utf-8") as file:
        text = file.read()
    try:
        dialect = csv.Sniffer().sniff(text.split("\n")[0], delimiters=",;\t")
    except csv.Error:
        dialect = csv.excel
    rows = list(csv.DictReader(text.splitlines(), dialect=dialect))
    names = rows[0].keys() if rows else ()
    return {
        name: [np.nan if row[name] in _MISSING else row[name] for row in rows] for name in names
    }
