"""Detects metrics that do not suit the kind of problem, or the form of the targets."""

from keras_deeptricks.diagnostics.doctor.finding import Finding
from keras_deeptricks.diagnostics.doctor.objective import CROSSENTROPIES, REGRESSION

_AMOUNTS = {
    "mse", "mae", "mape", "msle", "mean_squared_error", "mean_absolute_error",
    "mean_absolute_percentage_error", "mean_squared_logarithmic_error", "MeanSquaredError",
    "MeanAbsoluteError", "RootMeanSquaredError", "R2Score", "MeanAbsolutePercentageError",
}  # fmt: skip
_SPARSE = {"sparse_categorical_accuracy", "SparseCategoricalAccuracy"}
_ONE_HOT = {"categorical_accuracy", "CategoricalAccuracy"}
_BINARY = {"binary_accuracy", "BinaryAccuracy"}


def output_metrics(case):
    """Finds metrics that measure nothing on these targets."""
    for output in case.outputs:
        if output.loss is None or output.kind is None:
            continue
        for metric in dict.fromkeys(output.metrics):
            finding = _of_metric(output, metric)
            if finding is not None:
                yield finding


def _of_metric(output, metric):
    kind, loss = output.kind.kind, output.loss.name
    categorical = loss in CROSSENTROPIES and "categorical" in loss
    accuracy = "accuracy" in metric.lower()
    if metric == "Accuracy" and kind != "continuous":
        return _finding(
            output,
            metric,
            "the predictions are no labels",
            "keras.metrics.Accuracy counts predictions that equal the target exactly, which "
            "probabilities and logits hardly ever do.",
            "Write 'accuracy', which finds out what to compare.",
        )
    if accuracy and loss in REGRESSION and kind == "continuous":
        return _finding(
            output,
            metric,
            "the targets are amounts",
            "Accuracy counts predictions that equal the target, and amounts hardly ever do.",
            "Use 'mae' or keras.metrics.RootMeanSquaredError().",
        )
    if metric in _AMOUNTS and categorical:
        return _finding(
            output,
            metric,
            "the targets are classes",
            "It takes the numbers of classes for amounts.",
            "Use 'accuracy'.",
        )
    if metric in _SPARSE and kind == "one_hot":
        return _finding(
            output,
            metric,
            "the targets are one-hot",
            "It takes whole numbers.",
            "Use 'accuracy', which finds out the form of the targets.",
        )
    if metric in _ONE_HOT and categorical and kind in ("labels", "binary"):
        return _finding(
            output,
            metric,
            "the targets are whole numbers",
            "It takes one-hot rows.",
            "Use 'accuracy', which finds out the form of the targets.",
        )
    if metric in _BINARY and output.units > 2 and (categorical or output.activation == "softmax"):
        return _finding(
            output,
            metric,
            f"the output is one of {output.units} classes",
            "It judges each unit on its own: predicting none of the classes already scores "
            f"{1 - 1 / output.units:.0%}.",
            "Use 'accuracy'.",
        )
    if accuracy and loss == "binary_crossentropy" and output.loss.from_logits:
        return _finding(
            output,
            metric,
            "the output is logits",
            "It compares with 0.5, where a logit says yes from 0 on.",
            "Use keras.metrics.BinaryAccuracy(threshold=0.0).",
            "note",
        )
    return None


def _finding(output, metric, but, why, remedy, severity="warning"):
    return Finding(
        "metric_mismatch",
        severity,
        output.layer,
        f"The metric is {metric}, and {but}.",
        why,
        remedy,
    )
