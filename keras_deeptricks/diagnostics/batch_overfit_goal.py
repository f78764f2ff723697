"""How low the loss of a batch can go, and what guessing gives."""

import dataclasses
import functools
import math

import keras
import numpy as np

from keras_deeptricks.diagnostics.doctor.outputs import Output, outputs_of
from keras_deeptricks.diagnostics.doctor.roles import RANGES
from keras_deeptricks.utils.one_batch import as_tensors

_TINY = 1e-30
# What mixes targets by their mean; others get what lies in the middle.
_MEDIAN_LOSSES = ("mean_absolute_error", "mean_absolute_percentage_error", "log_cosh")
_CLASSES = ("sparse_categorical_crossentropy",)
_PROBABILITIES = (
    "categorical_crossentropy",
    "categorical_focal_crossentropy",
    "binary_crossentropy",
    "binary_focal_crossentropy",
)


class Judge(keras.Model):
    """Computes the loss that a model is compiled with, of targets and predictions alone.

    What regularizers and layers add is no part of it.
    """

    @classmethod
    def of(cls, model):
        """The judge of a compiled model; None if it has no loss or computes one in its own way."""
        own = type(model).compute_loss is not keras.Model.compute_loss
        if own or getattr(model, "loss", None) is None:
            return None
        judge = cls()
        if getattr(model, "output_names", None):
            judge.output_names = list(model.output_names)
        judge.compile(loss=model.loss, loss_weights=_loss_weights(model))
        return judge

    def call(self, inputs):
        return inputs

    def loss_of(self, y, prediction, sample_weight=None):
        """The loss, a float, of arrays; NaN if they do not fit together."""
        try:
            parts = [None if p is None else as_tensors(p) for p in (y, prediction, sample_weight)]
            value = self.compute_loss(None, parts[0], parts[1], parts[2])
            return float(keras.ops.convert_to_numpy(value))
        except Exception:
            # Whatever a loss of one's own raises for a prediction that is made up.
            return math.nan


@dataclasses.dataclass(frozen=True, eq=False)
class Goal:
    """What the loss of a batch can be.

    Attributes:
        lowest: The loss of the best predictions for the rows, equal rows getting equal ones; NaN
            if it is not known.
        lowest_in_range: The same with predictions that the output's activation can yield.
        guessing: The loss of the best prediction that is the same for all rows; NaN if unknown.
        best_score: The highest accuracy that equal rows with different targets permit; of
            regressions the R².
        contradicting: Share of the rows that equal others but for their targets.
    """

    lowest: float
    lowest_in_range: float
    guessing: float
    best_score: float
    contradicting: float


def goal_of(judge, outputs, x, y, sample_weight, structure):
    """The `Goal` of a batch.

    Args:
        judge: A `Judge`.
        outputs: A list of `Output`, all with their targets.
        x, y, sample_weight: The batch as NumPy arrays.
        structure: A prediction of the model, for its structure.
    """
    groups = equal_rows(x)
    one = np.zeros(len(groups), int)

    def loss(groups, limited):
        values = []
        for as_logits in (True, False) if limited else (True,):
            parts = [
                best_prediction(o, groups, weights_of(sample_weight, i), limited, as_logits)
                for i, o in enumerate(outputs)
            ]
            if all(part is not None for part in parts):
                packed = keras.tree.pack_sequence_as(structure, parts)
                values.append(judge.loss_of(y, packed, sample_weight))
        values = [value for value in values if math.isfinite(value)]
        return min(values, default=math.nan)

    best = [best_prediction(o, groups, weights_of(sample_weight, i)) for i, o in enumerate(outputs)]
    counted = scored(outputs)
    scores = [
        score_of(o, p) for o, p in zip(outputs, best, strict=True) if p is not None and o in counted
    ]
    scores = [value for value in scores if math.isfinite(value)]
    return Goal(
        lowest=loss(groups, False),
        lowest_in_range=loss(groups, True),
        guessing=loss(one, False),
        best_score=float(np.mean(scores)) if scores else math.nan,
        contradicting=_contradicting(outputs, groups),
    )


def outputs_with_targets(model, structure, prediction, y):
    """The outputs of a model, or None where their targets cannot be told."""
    try:
        outputs = outputs_of(model, structure, prediction, y, slice(None))
        outputs = [_with_loss(o, i, model.loss) for i, o in enumerate(outputs)]
    except Exception:
        # The shape of the targets is the user's; other checks tell what is wrong with it.
        return None
    known = [o.target is not None and o.target.dtype.kind in "biuf" for o in outputs]
    return outputs if outputs and all(known) else None


@dataclasses.dataclass(frozen=True, eq=False)
class _Aim(Output):
    """An `Output` that also knows the loss as it was given, for its settings."""

    given_loss: object = None

    @functools.cached_property
    def best_target(self):
        """The targets in the form of predictions, float64; None if they do not fit."""
        return targets_like_predictions(self)


def _with_loss(output, place, given):
    loss = given.get(output.name) if isinstance(given, dict) else given
    loss = loss[place] if isinstance(loss, (list, tuple)) else loss
    return _Aim(**vars(output), given_loss=loss)


def equal_rows(x):
    """For each row the number of the group of equal rows it is in."""
    rows = [np.asarray(leaf) for leaf in keras.tree.flatten(x)]
    keys = [
        b"".join(np.ascontiguousarray(leaf[i]).tobytes() for leaf in rows)
        if all(leaf.dtype.kind != "O" for leaf in rows)
        else str([leaf[i] for leaf in rows]).encode()
        for i in range(len(rows[0]))
    ]
    known = {}
    return np.array([known.setdefault(key, len(known)) for key in keys])


def weights_of(sample_weight, index):
    """The weights of one output's rows, or None."""
    if sample_weight is None:
        return None
    leaves = keras.tree.flatten(sample_weight)
    weights = np.asarray(leaves[index] if len(leaves) > 1 else leaves[0], "float64")
    return weights if weights.ndim == 1 else None


def best_prediction(output, groups, weights=None, limited=False, as_logits=True):
    """The prediction of the lowest loss that is the same for all rows of a group.

    Args:
        output: An `Output` with its targets.
        groups: For each row the number of its group.
        weights: Weights of the rows, or None.
        limited: Whether it has to be in the range of the output's activation.
        as_logits: False to leave probabilities where the loss takes logits.

    Returns:
        An array of the shape of the output's prediction, or None if that is not known.
    """
    target = targets_like_predictions(output)
    if target is None:
        return None
    name = output.loss.name if output.loss is not None else "custom"
    best = np.empty_like(target)
    for group in np.unique(groups):
        rows = groups == group
        own = None if weights is None or weights[rows].sum() <= 0 else weights[rows]
        part = target[rows]
        if name in _MEDIAN_LOSSES:
            best[rows] = np.median(part, axis=0)
        else:
            best[rows] = np.average(part, axis=0, weights=own)
    logits = output.loss is not None and output.loss.from_logits
    if logits and as_logits:
        best = _logits(best, name)
    return _in_range(best, output) if limited else best


def targets_like_predictions(output):
    """Targets in the form of predictions: probabilities for labels; None if they do not fit."""
    shape, target = output.prediction.shape, output.target
    name = output.loss.name if output.loss is not None else "custom"
    if name in _CLASSES:
        labels = target[..., 0] if target.shape == (*shape[:-1], 1) else target
        if labels.shape != shape[:-1]:
            return None
        inside = (labels >= 0) & (labels < shape[-1])
        return np.eye(shape[-1])[np.where(inside, labels, 0).astype(int)]
    if target.size != int(np.prod(shape)):
        return None
    target = target.reshape(shape).astype("float64")
    if name in _PROBABILITIES:
        smoothing = getattr(output.given_loss, "label_smoothing", 0.0) or 0.0
        kinds = 2 if name.startswith("binary") else shape[-1]
        target = target * (1 - smoothing) + smoothing / kinds
    return target


def kind_of(output):
    """`"classes"`, `"binary"` or `"numbers"`: what an output's score is computed for."""
    name = output.loss.name if output.loss is not None else "custom"
    if name in (*_CLASSES, "categorical_crossentropy", "categorical_focal_crossentropy"):
        return "classes"
    if name.startswith("binary"):
        return "binary"
    return "numbers"


def scored(outputs):
    """The outputs whose scores count: those with an accuracy if there are any, else all.

    An R² is never exactly 1, which an accuracy can be asked for.
    """
    return [o for o in outputs if kind_of(o) != "numbers"] or list(outputs)


def is_hard(target):
    """True if targets of single probabilities are 0 and 1, or were before smoothing."""
    low, high = target.min(), target.max()
    middle = (target > low + 1e-6) & (target < high - 1e-6)
    return bool(low < 0.5 < high) and not middle.any()


def score_of(output, prediction):
    """The accuracy of a prediction, or its R² for numbers; NaN if it cannot be told."""
    kind, target = kind_of(output), targets_like_predictions(output)
    if target is None or not np.isfinite(prediction).all():
        return math.nan
    if kind == "classes":
        return float(np.mean(prediction.argmax(-1) == target.argmax(-1)))
    if kind == "binary":
        edge = 0.0 if output.loss.from_logits else 0.5
        right = (prediction > edge) == (target > 0.5)
        return float(right.mean()) if is_hard(target) else math.nan
    spread = float(np.square(target - target.mean(axis=0)).sum())
    if spread == 0:
        return math.nan
    return 1 - float(np.square(target - prediction.reshape(target.shape)).sum()) / spread


def _logits(probabilities, name):
    if name.startswith("binary"):
        p = np.clip(probabilities, 1e-12, 1 - 1e-12)
        return np.log(p) - np.log1p(-p)
    return np.log(np.maximum(probabilities, _TINY))


def _in_range(values, output):
    low, high = RANGES.get(output.activation, (-math.inf, math.inf))
    values = np.clip(values, low, high)
    if output.activation == "softmax":
        total = values.sum(axis=-1, keepdims=True)
        values = np.where(total > 0, values / np.maximum(total, _TINY), 1 / values.shape[-1])
    return values


def _contradicting(outputs, groups):
    rows = np.zeros(len(groups), bool)
    for output in outputs:
        flat = output.target.reshape(len(groups), -1)
        for group in np.unique(groups):
            members = groups == group
            if members.sum() > 1 and (flat[members] != flat[members][0]).any():
                rows |= members
    return float(rows.mean())


def _loss_weights(model):
    try:
        return (model.get_compile_config() or {}).get("loss_weights")
    except Exception:
        # A loss without a configuration keeps all of it from being told.
        return None
