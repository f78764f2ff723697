"""Which way a monitored value should go, and whether it has improved."""

import re

from keras_deeptricks.utils.checks import check_choice

_LARGER_IS_BETTER = (
    "acc",
    "auc",
    "precision",
    "recall",
    "f1",
    "fbeta",
    "iou",
    "dice",
    "r2",
    "score",
    "sensitivity",
    "specificity",
    "similarity",
)
_SMALLER_IS_BETTER = (
    "loss",
    "error",
    "mse",
    "mae",
    "mape",
    "msle",
    "entropy",
    "false",
    "perplexity",
)


def improves_upwards(monitor, mode="auto"):
    """True if a larger value of the logs' entry `monitor` is better.

    Args:
        monitor: Name in the logs, such as `"val_accuracy"`.
        mode: `"min"`, `"max"`, or `"auto"` to go by the name.

    Raises:
        ValueError: `mode` is unknown, or `"auto"` and the name says nothing.
    """
    check_choice("mode", mode, ("auto", "min", "max"))
    if mode != "auto":
        return mode == "max"
    words = re.split(r"[^a-z0-9]+", monitor.lower())
    # Words such as "crossentropy" and "rmse" on one side, "accuracy" on the other; never a part
    # within a word, such as the "iou" of "previous".
    if any(word.endswith(end) for word in words for end in _SMALLER_IS_BETTER):
        return False
    if any(word.startswith(begin) for word in words for begin in _LARGER_IS_BETTER):
        return True
    raise ValueError(
        f"Whether '{monitor}' should rise or fall cannot be told from its name. Pass mode='max' "
        "or mode='min'."
    )
