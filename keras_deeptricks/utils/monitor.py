"""Which way a monitored value should go, and whether it has improved."""

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
    name = monitor.lower()
    if any(part in name for part in _SMALLER_IS_BETTER):
        return False
    if any(part in name for part in _LARGER_IS_BETTER):
        return True
    raise ValueError(
        f"Whether '{monitor}' should rise or fall cannot be told from its name. Pass mode='max' "
        "or mode='min'."
    )
