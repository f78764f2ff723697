"""How good predictions are, against the best constant ones."""

import dataclasses

import numpy as np

from keras_deeptricks.diagnostics.doctor.labels import labels_of
from keras_deeptricks.diagnostics.doctor.objective import REGRESSION


@dataclasses.dataclass(frozen=True)
class Score:
    """The quality of predictions.

    Attributes:
        loss: Cross-entropy per row, or mean squared error.
        baseline: The same of the best constant prediction.
        accuracy: Share of right classes; None for amounts.
        chance: Share of the most frequent class; None for amounts.
        rows: Number of rows, or of labels.
    """

    loss: float
    baseline: float
    accuracy: float | None
    chance: float | None
    rows: int

    @property
    def skill(self):
        """1 for perfect predictions, 0 for the best constant ones, below 0 for worse."""
        return 1 - self.loss / self.baseline if self.baseline > 0 else 0.0

    @property
    def z(self):
        """How many standard errors the accuracy lies above chance; None for amounts."""
        if self.accuracy is None:
            return None
        error = np.sqrt(max(self.chance * (1 - self.chance), 1e-9) / self.rows)
        return (self.accuracy - self.chance) / error


def score(output, prediction, target):
    """The `Score` of predictions, or None for targets of another kind.

    Args:
        output: The `Output` they belong to.
        prediction, target: Arrays of the same rows.
    """
    output = dataclasses.replace(output, target=target)
    if output.loss is not None and output.loss.name in REGRESSION:
        return _of_amounts(output, prediction, target)
    labels = labels_of_output(output)
    probabilities = class_probabilities(output, prediction)
    if labels is None or probabilities is None:
        return None
    labels = labels.reshape(-1)
    probabilities = probabilities.reshape(-1, probabilities.shape[-1])
    if len(labels) != len(probabilities) or labels.min() < 0:
        return None
    if labels.max() >= probabilities.shape[-1]:
        return None
    shares = np.bincount(labels, minlength=probabilities.shape[-1]) / len(labels)
    present = shares[shares > 0]
    return Score(
        crossentropy(probabilities, labels),
        float(-np.sum(present * np.log(present))),
        float(np.mean(probabilities.argmax(axis=-1) == labels)),
        float(shares.max()),
        len(labels),
    )


def labels_of_output(output):
    """The class that each prediction should have, whole numbers; None where there are none.

    There may be several to a row, as of every pixel.
    """
    kind, target = output.kind, output.target
    if kind is None or target is None or target.dtype.kind not in "biuf":
        return None
    if kind.kind == "one_hot":
        return target.argmax(axis=-1) if output.units == target.shape[-1] else None
    if kind.kind == "sequence" and np.all(target == np.round(target)):
        return target.astype(int)
    return labels_of(target, kind)


def class_probabilities(output, prediction):
    """Predictions as probabilities of the classes along the last axis, or None."""
    if output.loss is None or "crossentropy" not in output.loss.name:
        return None
    values = np.asarray(prediction, "float64")
    if output.loss.from_logits and output.activation not in ("softmax", "sigmoid"):
        if values.shape[-1] == 1 or values.ndim == 1:
            values = 1 / (1 + np.exp(-np.clip(values, -60, 60)))
        else:
            values = np.exp(values - values.max(axis=-1, keepdims=True))
            values /= values.sum(axis=-1, keepdims=True)
    if values.ndim == 1:
        values = values[:, None]
    if values.shape[-1] == 1:
        if output.activation == "softmax":
            return None
        values = np.concatenate([1 - values, values], axis=-1)
    elif "binary" in output.loss.name and output.activation != "softmax":
        if output.kind is None or output.kind.kind != "one_hot":
            return None
        values = values / np.maximum(values.sum(axis=-1, keepdims=True), 1e-12)
    return np.clip(values, 0, 1)


def crossentropy(probabilities, labels):
    """Mean of −log of the probabilities of the labels, none below 1e-15."""
    labels = labels.reshape(-1)
    flat = probabilities.reshape(-1, probabilities.shape[-1])
    labels = np.clip(labels, 0, flat.shape[-1] - 1)
    chosen = flat[np.arange(len(labels)), labels]
    return float(-np.mean(np.log(np.maximum(chosen, 1e-15))))


def _of_amounts(output, prediction, target):
    if output.kind is None or output.kind.kind == "text":
        return None
    target = np.asarray(target, "float64").reshape(len(target), -1)
    prediction = np.asarray(prediction, "float64").reshape(len(prediction), -1)
    if target.shape != prediction.shape:
        return None
    return Score(
        float(np.mean(np.square(prediction - target))),
        float(np.mean(np.var(target, axis=0))),
        None,
        None,
        len(target),
    )
