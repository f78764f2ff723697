"""Trains a model on one batch for some steps, and puts it back."""

import contextlib
import dataclasses
import math
import warnings

import keras
import numpy as np
from keras import ops

from keras_deeptricks.diagnostics.batch_overfit_goal import is_hard, kind_of, score_of, scored
from keras_deeptricks.utils.backend import jit_for_few_calls, random_order_preserved
from keras_deeptricks.utils.batch_losses import BatchLosses, fit_recorded
from keras_deeptricks.utils.compiled_step import borrowed_for_training
from keras_deeptricks.utils.layer_walk import walk_layers
from keras_deeptricks.utils.one_batch import as_tensors
from keras_deeptricks.utils.patching import patched
from keras_deeptricks.utils.training_state import preserved

# What is left of the way from guessing to the lowest loss when a batch counts as learned: for the
# squared error an R² of .95.
REACHED = 0.05
# So many steps in a row, for dropout makes single ones lucky.
_IN_A_ROW = 3
# Attributes that switch the noise of layers on.
_NOISE = ("rate", "stddev", "dropout", "recurrent_dropout")


@dataclasses.dataclass(frozen=True, eq=False)
class Batch:
    """The batch and what is known of its loss.

    Attributes:
        x, y, sample_weight: NumPy arrays in the model's structure; targets and weights or None.
        outputs: A list of `Output` with their targets, or None where that is not known.
        judge: A `Judge`, or None where the model computes its loss in its own way.
        goal: A `Goal`, or None.
    """

    x: object
    y: object
    sample_weight: object
    outputs: list | None
    judge: object
    goal: object


@dataclasses.dataclass(frozen=True, eq=False)
class Trial:
    """What one training showed.

    Attributes:
        label: What it was, in words.
        losses: The loss of the data before each step, without penalties.
        scores: Accuracy or R² before each step, NaN where it cannot be told.
        final_loss: The lower one of the last loss in training and that of the trained model
            without noise.
        final_score: Its score.
        prediction: What the trained model predicts, a list of arrays.
        penalty: What regularizers of weights add to the loss at the end.
        finite: False if a loss became NaN or infinite.
        unchanged: Paths of the trainable variables that no step changed.
        excess: What is left of the way from guessing to the lowest loss; NaN if that is unknown.
        reached: Whether the batch was learned.
        lowest: The lowest loss there is; NaN if it is not known.
    """

    label: str
    losses: np.ndarray
    scores: np.ndarray
    final_loss: float
    final_score: float
    prediction: list
    penalty: float
    finite: bool
    unchanged: list
    excess: float
    reached: bool
    lowest: float

    @property
    def progress(self):
        """The share of the way from the first loss to the lowest that it went."""
        losses = self.losses[np.isfinite(self.losses)]
        if not len(losses):
            return 0.0
        best = min(float(np.median(losses[-5:])), self.final_loss)
        way = losses[0] - self._lowest
        return float((losses[0] - best) / way) if way > 0 else 0.0

    @property
    def _lowest(self):
        losses = self.losses[np.isfinite(self.losses)]
        return min(self.lowest, float(losses.min())) if math.isfinite(self.lowest) else 0.0


def train(model, batch, optimizer, steps, label="", penalties=True, noise=True):
    """A `Trial`: trains `model` on `batch` and puts it back, bit for bit.

    Args:
        model: A compiled and built model.
        batch: A `Batch`.
        optimizer: The optimizer, of which this changes the state.
        steps: Most steps; it ends when the batch is learned.
        label: Name of the trial.
        penalties: False to switch regularizers off.
        noise: False to switch dropout and the like off.
    """
    recorder = _Recorder(batch)
    with contextlib.ExitStack() as stack:
        stack.enter_context(random_order_preserved())
        stack.enter_context(preserved(model))
        stack.enter_context(borrowed_for_training(model, optimizer))
        stack.enter_context(_compiled_quickly(model))
        if not penalties:
            stack.enter_context(without_penalties(model))
        if not noise:
            stack.enter_context(without_noise(model))
        before = _values(model.trainable_variables)
        with patched(_own_logs(model, batch)), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fit_recorded(model, recorder, _Repeated(batch, steps))
        after = _values(model.trainable_variables)
        finite = recorder.finite and all(np.isfinite(value).all() for value in after)
        unchanged = [
            variable.path
            for variable, old, new in zip(model.trainable_variables, before, after, strict=True)
            if np.array_equal(old, new)
        ]
        penalty = sum(_penalty(variable) for variable in model.trainable_variables)
        ends = _ends(model, batch) if finite else []
    return _trial(batch, recorder, label, ends, penalty, finite, unchanged)


def has_penalties(model):
    """True if regularizers add to the loss."""
    weights = any(v.regularizer is not None for v in model.trainable_variables)
    return weights or any(
        getattr(layer, "activity_regularizer", None) is not None for layer in walk_layers(model)
    )


def noisy_layers(model):
    """(layer, names of its attributes) of the layers with dropout or noise."""
    found = []
    for layer in walk_layers(model):
        names = [n for n in _NOISE if _is_share(vars(layer).get(n))]
        # An attribute called so may be anything in other layers.
        if names and (_is_known(layer) or "dropout" in names):
            found.append((layer, names))
    return found


@contextlib.contextmanager
def without_penalties(model):
    """While it lasts, no regularizer adds to the loss."""
    kept = [(v, v.regularizer) for v in model.trainable_variables if v.regularizer is not None]
    layers = [
        (layer, "activity_regularizer", None)
        for layer in walk_layers(model)
        if getattr(layer, "activity_regularizer", None) is not None
    ]
    try:
        for variable, _ in kept:
            variable.regularizer = None
        with patched(layers):
            yield
    finally:
        for variable, regularizer in kept:
            variable.regularizer = regularizer


def without_noise(model):
    """While it lasts, no layer drops values or adds noise."""
    return patched([(layer, n, 0.0) for layer, names in noisy_layers(model) for n in names])


def _is_known(layer):
    kinds = ("Dropout", "AlphaDropout", "GaussianDropout", "GaussianNoise")
    return isinstance(layer, tuple(getattr(keras.layers, kind) for kind in kinds))


def _is_share(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0


@contextlib.contextmanager
def _compiled_quickly(model):
    """Without XLA on TensorFlow, whose compilation costs more than the steps."""
    kept = model.jit_compile
    if jit_for_few_calls() is False:
        model.jit_compile = False
    try:
        yield
    finally:
        if model.jit_compile != kept:
            model.jit_compile = kept


def _own_logs(model, batch):
    """The logs of a step: the loss of the data and the score, in place of the metrics."""
    if batch.judge is None:
        return []

    def compute_metrics(x, y, y_pred, sample_weight=None):
        logs = {"data_loss": batch.judge.compute_loss(None, y, y_pred, sample_weight)}
        if batch.outputs is not None:
            logs["score"] = _mean_score(batch.outputs, y_pred)
        return logs

    # The metrics of the model are not computed, so they have no results.
    return [(model, "compute_metrics", compute_metrics), (model, "get_metrics_result", dict)]


def _mean_score(outputs, y_pred):
    scores = []
    for output, prediction in zip(outputs, keras.tree.flatten(y_pred), strict=True):
        target = output.best_target
        if target is None or output not in scored(outputs):
            continue
        prediction = ops.cast(prediction, "float32")
        kind = kind_of(output)
        if kind == "classes":
            right = ops.equal(ops.argmax(prediction, -1), ops.convert_to_tensor(target.argmax(-1)))
            scores.append(ops.mean(ops.cast(right, "float32")))
        elif kind == "binary":
            if not is_hard(target):
                continue
            edge = 0.0 if output.loss.from_logits else 0.5
            right = ops.equal(prediction > edge, ops.convert_to_tensor(target > 0.5))
            scores.append(ops.mean(ops.cast(right, "float32")))
        else:
            spread = float(np.square(target - target.mean(axis=0)).sum())
            if spread > 0:
                error = ops.sum(ops.square(ops.cast(target, "float32") - prediction))
                scores.append(1.0 - error / spread)
    if not scores:
        return ops.convert_to_tensor(float("nan"))
    return sum(scores) / len(scores)


class _Repeated(keras.utils.PyDataset):
    """The same batch again and again."""

    def __init__(self, batch, steps):
        super().__init__()
        parts = (batch.x, batch.y, batch.sample_weight)
        self.parts = parts if batch.sample_weight is not None else parts[:2]
        self.steps = steps

    def __len__(self):
        return self.steps

    def __getitem__(self, index):
        return self.parts


class _Recorder(BatchLosses):
    """Ends when the batch is learned."""

    def __init__(self, batch):
        super().__init__()
        self.batch = batch
        self.scores, self.finite = [], True
        self._learned = 0

    def is_over(self, loss, logs):
        loss = float(logs.get("data_loss", loss))
        score = float(logs.get("score", math.nan))
        self.losses.append(loss)
        self.scores.append(score)
        self.finite = math.isfinite(loss)
        learned = is_learned(self.batch, loss, score, self.losses[0])
        self._learned = self._learned + 1 if learned else 0
        return not self.finite or self._learned >= _IN_A_ROW


def excess_of(batch, loss, first):
    """What is left of the way from guessing, or where it cannot be told from `first`, to the goal.

    NaN if the lowest loss is unknown.
    """
    goal = batch.goal
    if goal is None or not math.isfinite(goal.lowest):
        return math.nan
    way = goal.guessing - goal.lowest
    if not way > 1e-6 * max(1.0, abs(goal.lowest)):
        # All rows have one target: guessing is perfect.
        way = max(first - goal.lowest, 1e-12)
    return (loss - goal.lowest) / way


def is_learned(batch, loss, score, first):
    """Whether a loss and score mean that the batch is learned by heart."""
    excess = excess_of(batch, loss, first)
    if not excess <= REACHED:
        return False
    best = batch.goal.best_score
    right = any(kind_of(output) != "numbers" for output in batch.outputs or ())
    return not right or not math.isfinite(score) or score >= best - 1e-6


def _ends(model, batch):
    """(loss, score, predictions) of the trained model, in inference and in training without noise.

    After few steps the moving statistics of batch norm lag behind, so both count.
    """
    if batch.judge is None:
        return []
    found = []
    x = as_tensors(batch.x)
    for training in (False, True):
        # Nothing of it stays: statistics, losses of layers.
        with keras.StatelessScope(), without_noise(model):
            try:
                outputs = model(x, training=training)
            except TypeError:
                outputs = model(x)  # its `call` has no such argument
        outputs = keras.tree.map_structure(_as_float, outputs)
        flat = [np.asarray(leaf) for leaf in keras.tree.flatten(outputs)]
        loss = batch.judge.loss_of(batch.y, outputs, batch.sample_weight)
        outputs = batch.outputs or ()
        pairs = zip(outputs, flat, strict=False)
        scores = [score_of(o, p) for o, p in pairs if o in scored(outputs)]
        scores = [value for value in scores if math.isfinite(value)]
        found.append((loss, float(np.mean(scores)) if scores else math.nan, flat))
    return [end for end in found if math.isfinite(end[0])]


def _trial(batch, recorder, label, ends, penalty, finite, unchanged):
    losses, scores = np.array(recorder.losses), np.array(recorder.scores)
    if finite:
        ends = [*ends, (losses[-1], scores[-1], ends[0][2] if ends else [])]
    first = losses[0] if len(losses) else math.nan
    loss, score, prediction = min(ends, key=lambda e: e[0], default=(math.inf, math.nan, []))
    if batch.goal is not None and batch.judge is not None and finite:
        learned = any(is_learned(batch, e[0], e[1], first) for e in ends)
    else:
        learned = False
    return Trial(
        label=label,
        losses=losses,
        scores=scores,
        final_loss=float(loss),
        final_score=float(score),
        prediction=prediction,
        penalty=penalty,
        finite=finite,
        unchanged=unchanged,
        excess=float(excess_of(batch, loss, first)),
        reached=learned,
        lowest=batch.goal.lowest if batch.goal is not None else math.nan,
    )


def _penalty(variable):
    if variable.regularizer is None:
        return 0.0
    return float(ops.convert_to_numpy(variable.regularizer(variable)))


def _values(variables):
    return [np.array(ops.convert_to_numpy(variable)) for variable in variables]


def _as_float(leaf):
    return np.asarray(ops.convert_to_numpy(ops.cast(leaf, "float32")))
