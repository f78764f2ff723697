"""The losses and metrics that a model was compiled with, in words that detectors can compare."""

import dataclasses
import re

import keras

CROSSENTROPIES = (
    "sparse_categorical_crossentropy",
    "categorical_crossentropy",
    "binary_crossentropy",
    "categorical_focal_crossentropy",
    "binary_focal_crossentropy",
)
REGRESSION = (
    "mean_squared_error",
    "mean_absolute_error",
    "mean_absolute_percentage_error",
    "mean_squared_logarithmic_error",
    "huber",
    "log_cosh",
)
_LONG = {
    "kld": "kl_divergence",
    "kullback_leibler_divergence": "kl_divergence",
    "logcosh": "log_cosh",
    "huber_loss": "huber",
}


@dataclasses.dataclass(frozen=True)
class LossInfo:
    """A loss.

    Attributes:
        name: Its canonical name, such as `"binary_crossentropy"`; `"custom"` for one's own.
        from_logits: Whether it takes logits, of a cross-entropy.
        ignored_class: The label that a sparse cross-entropy leaves out, or None.
        label: How the user wrote it, for messages.
    """

    name: str
    from_logits: bool
    ignored_class: int | None
    label: str


def loss_info(loss):
    """The `LossInfo` of a loss as `compile` takes it; None of None."""
    if loss is None:
        return None
    label = loss if isinstance(loss, str) else getattr(loss, "__name__", type(loss).__name__)
    if isinstance(loss, str):
        try:
            loss = keras.losses.get(loss)
        except ValueError:
            return LossInfo("custom", False, None, label)
    name = _canonical(loss)
    return LossInfo(
        name,
        bool(getattr(loss, "from_logits", False)),
        getattr(loss, "ignore_class", None),
        label,
    )


def losses_of(model, names):
    """The `LossInfo` of each output, None where there is none.

    Args:
        model: A compiled model.
        names: The names of its outputs, in the order of `keras.tree.flatten`.
    """
    loss = getattr(model, "loss", None)
    if loss is None or not names:
        return [None] * len(names)
    if isinstance(loss, dict):
        return [loss_info(loss.get(name)) for name in names]
    if isinstance(loss, (list, tuple)):
        given = list(loss) + [None] * len(names)
        return [loss_info(part) for part in given[: len(names)]]
    return [loss_info(loss)] * len(names)


def metrics_of(model, names):
    """The names of the metrics of each output, as canonical as can be told.

    Args:
        model: A compiled model.
        names: The names of its outputs.

    Returns:
        A list with a list of strings for each output, such as `["accuracy", "MeanSquaredError"]`.
    """
    try:
        config = model.get_compile_config() or {}
    except Exception:
        # What has no configuration, such as a lambda, cannot be told.
        return [[] for _ in names]
    found = [[] for _ in names]
    for kind in ("metrics", "weighted_metrics"):
        for place, metrics in enumerate(_per_output(config.get(kind), names)):
            found[place] += [_metric_name(metric) for metric in metrics]
    return found


def _per_output(metrics, names):
    if metrics is None:
        return [[] for _ in names]
    if isinstance(metrics, dict) and "class_name" not in metrics:
        return [_as_list(metrics.get(name)) for name in names]
    if len(names) > 1 and isinstance(metrics, (list, tuple)) and len(metrics) == len(names):
        return [_as_list(part) for part in metrics]
    return [_as_list(metrics) for _ in names]


def _as_list(value):
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _metric_name(metric):
    if isinstance(metric, str):
        return {"acc": "accuracy"}.get(metric, metric)
    if isinstance(metric, dict):
        name = metric.get("class_name", "custom")
        # A function is written as its name in the configuration.
        if name == "function":
            name = metric.get("config", "custom")
        return name if isinstance(name, str) else "custom"
    return "custom"


def _canonical(loss):
    kind = loss if callable(loss) and hasattr(loss, "__name__") else type(loss)
    module = getattr(kind, "__module__", "") or ""
    if not module.startswith("keras."):
        return "custom"
    name = kind.__name__
    if isinstance(kind, type):
        name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
        name = {"kldivergence": "kl_divergence"}.get(name, name)
    return _LONG.get(name, name)
