"""Lets a model learn one batch by heart, or tells what stops it."""

import dataclasses
import math
import time

import keras
import numpy as np

from keras_deeptricks.diagnostics import batch_overfit_causes as causes
from keras_deeptricks.diagnostics import batch_overfit_targets as targets
from keras_deeptricks.diagnostics.batch_overfit_goal import (
    Judge,
    goal_of,
    kind_of,
    outputs_with_targets,
)
from keras_deeptricks.diagnostics.batch_overfit_gradients import gradient_findings
from keras_deeptricks.diagnostics.batch_overfit_trial import Batch, train
from keras_deeptricks.diagnostics.doctor.finding import Finding
from keras_deeptricks.diagnostics.doctor.short_runs import peak_rate
from keras_deeptricks.diagnostics.doctor.structure import structure_of
from keras_deeptricks.utils.backend import random_order_preserved, tracing_warnings_hidden
from keras_deeptricks.utils.batches import ensure_built, is_arrays, row_count
from keras_deeptricks.utils.checks import check_integer, check_number
from keras_deeptricks.utils.compiled_step import (
    check_compiled,
    clone_optimizer,
    has_schedule,
    is_multi_optimizer,
    unwrap_optimizer,
)
from keras_deeptricks.utils.layer_probe import observed_gradients
from keras_deeptricks.utils.one_batch import as_tensors
from keras_deeptricks.utils.results import Result
from keras_deeptricks.utils.row_chunks import batches_of_dataset, numpy_rows
from keras_deeptricks.utils.training_state import preserved

# Other rates that are tried, as factors of the model's own: where the loss hardly moved, where it
# fell but did not arrive, and where it rose.
_FAR_HIGHER, _HIGHER, _LOWER = (100.0, 1e4), (10.0,), (0.1, 0.01)
# What is left of the way when a model is only slow, and nothing is wrong with it.
_NEARLY = 0.3
# Adam's, where nothing of the model's own optimizer learns.
_ADAM_RATES = (1e-3, 1e-2)


@dataclasses.dataclass(frozen=True, eq=False)
class BatchOverfit(Result):
    """What came of training on one batch.

    Attributes:
        reached: Whether the model learned the batch by heart.
        reason: Why it did, or what stopped it, in a sentence.
        findings: List of `Finding`.
        losses: The loss of the data before each step of the model's own optimizer, without
            penalties.
        scores: The accuracy before each step, for numbers the R²; NaN where it cannot be told.
        score_name: `"accuracy"` or `"R²"`.
        final_loss, final_score: Those of the best trial, in inference or training without noise.
        lowest_loss: The lowest loss that the targets permit: above 0 for soft targets, or where
            equal rows have different targets. NaN if it is not known.
        guessing_loss: That of the best prediction that is the same for all rows. NaN if unknown.
        trials: The losses of each trial by its name.
        rows: Number of rows of the batch.
        seconds: How long it took.
    """

    plot_function = "plot_batch_overfit"

    reached: bool
    reason: str
    findings: list
    losses: np.ndarray
    scores: np.ndarray
    score_name: str
    final_loss: float
    final_score: float
    lowest_loss: float
    guessing_loss: float
    trials: dict
    rows: int
    seconds: float

    def __post_init__(self):
        found = [item if isinstance(item, Finding) else Finding(**item) for item in self.findings]
        object.__setattr__(self, "findings", found)
        super().__post_init__()

    @property
    def accuracy(self):
        """The accuracy at the end, of a classification; else NaN."""
        return self.final_score if self.score_name == "accuracy" else math.nan

    def __str__(self):
        head = "learned" if self.reached else "NOT learned"
        numbers = f"loss {self.final_loss:.4g}"
        if math.isfinite(self.lowest_loss):
            numbers += f" (lowest possible {self.lowest_loss:.4g})"
        if math.isfinite(self.final_score):
            numbers += f", {self.score_name} {self.final_score:.3f}"
        text = f"One batch of {self.rows} rows: {head}, {numbers}."
        if not self.findings or self.findings[0].evidence != self.reason:
            text += f" {self.reason}"
        return "\n\n".join([text, *map(str, self.findings)])


def overfit_batch(
    model,
    x,
    y=None,
    *,
    batch_size=32,
    steps=300,
    learning_rate=None,
    sample_weight=None,
    seed=None,
):
    """Trains on one batch until it is learned by heart, or tells by experiments what stops that.

    A sound model, loss and optimizer bring the loss of a few rows to its lowest value in some
    hundred steps. Where they do not, more data and longer training will not help either: so
    begin with this. Each suspicion is tried out: without dropout, without penalties, with inputs
    or targets standardized, at other rates, with Adam. The loss that is judged is that of the
    data, without penalties, relative to the lowest that the targets permit.

    The model comes back with its weights, statistics, optimizer, seeds and metrics untouched, bit
    for bit.

    Args:
        model: A compiled `keras.Model` of any kind. If it is not built yet, it gets built.
        x, y: Data as for `model.fit`: arrays, a `tf.data.Dataset`, a `keras.utils.PyDataset`, a
            torch `DataLoader`, a generator. Of data sets the first batch is taken.
        batch_size: Rows to take, at random, of arrays; at most so many of a data set's batch.
            Defaults to 32.
        steps: Most steps of each trial, at least 10. Defaults to 300.
        learning_rate: A rate for the model's own optimizer in place of its own, or None.
        sample_weight: As for `model.fit`, for arrays.
        seed: Whole number that chooses the rows. Defaults to 0.

    Returns:
        A `BatchOverfit`; `plot()` draws the losses.

    Raises:
        TypeError: `model` is no Keras model, or an argument is of the wrong type.
        ValueError: `model` is not compiled, an argument is out of range, or the data is empty.

    Example:

    ```python
    import keras
    import numpy as np
    import keras_deeptricks as kdt

    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(100, 8)), rng.integers(0, 3, 100)
    model = keras.Sequential(
        [
            keras.Input((8,)),
            keras.layers.Dense(64, activation="relu"),
            keras.layers.Dense(3, activation="softmax"),
        ]
    )
    model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy")
    result = kdt.diagnostics.overfit_batch(model, x, y)
    assert result.reached and result.accuracy == 1.0 and not result.findings
    ```

    Reference: Karpathy, A recipe for training neural networks, 2019, "overfit one batch".
    """
    started = time.perf_counter()
    check_compiled(model)
    batch_size = check_integer("batch_size", batch_size, minimum=1)
    steps = check_integer("steps", steps, minimum=10)
    seed = check_integer("seed", 0 if seed is None else seed, minimum=0)
    if learning_rate is not None:
        learning_rate = check_number("learning_rate", learning_rate, above=0)
    parts = _one_batch(x, y, sample_weight, batch_size, np.random.default_rng(seed))
    ensure_built(model, parts[0])
    found = targets.blocking_findings(model, parts[0], parts[1])
    if found:
        return _blocked(found, parts, started)
    with tracing_warnings_hidden(), random_order_preserved(), preserved(model):
        batch = _described(model, *parts)
        found = targets.target_findings(batch.outputs)
        if found:
            return _blocked(found, parts, started, batch)
        return _Experiment(model, batch, steps, learning_rate).result(started)


class _Experiment:
    """The trials, one after the other, until one learns the batch."""

    def __init__(self, model, batch, steps, learning_rate):
        self.model, self.batch, self.steps = model, batch, steps
        self.rate = peak_rate(model.optimizer) if learning_rate is None else learning_rate
        self.given = learning_rate
        self.trials = []

    def result(self, started):
        own = self.train("as it is")
        found = targets.output_findings(self.batch.outputs, self.batch.goal)
        same = targets.contradiction_finding(self.batch.goal)
        if own.reached and not found:
            reason = f"It took {len(own.losses)} steps."
            return self._finish(own, True, reason, same, started)
        if self.batch.judge is None or self.batch.goal is None or not _is_known(self.batch):
            return self._without_goal(own, same, started)
        if found:
            return self._finish(own, False, found[0].evidence, [*found, *same], started)
        best, reached, found = self._search(own)
        reason = found[0].evidence if found else self._slow_reason(own, best)
        return self._finish(best, reached or not found, reason, [*found, *same], started)

    def train(self, label, rate=None, batch=None, optimizer=None, **eased):
        optimizer = optimizer or self._own_optimizer(rate)
        batch = self.batch if batch is None else batch
        trial = train(self.model, batch, optimizer, self.steps, label, **eased)
        self.trials.append(trial)
        return trial

    def _search(self, own):
        """(the best trial, whether the model itself learns the batch, findings)."""
        for name in causes.trial_plan(self.model, self.batch):
            trial = self.train(*self._eased(name)[:1], **self._eased(name)[1])
            if name in ("inputs", "targets", "both"):
                if not _is_better(trial, own):
                    continue
                slow = own.finite and own.excess <= _NEARLY
                found = causes.scale_finding(name, self.batch, own, trial)
                if slow:
                    found = dataclasses.replace(found, severity="note")
                return own, slow, [found]
            if trial.reached and own.finite and own.excess <= _NEARLY:
                return trial, True, []
            if trial.reached:
                return trial, False, [causes.eased_finding(name, self.model, own, trial)]
        found = gradient_findings(self.model, self._gradients())
        if found:
            return own, False, found
        eased = {"penalties": False, "noise": False}
        moved = 0.0
        for factor in self._factors(own):
            trial = self.train(f"rate × {factor:g}", rate=self.rate * factor, **eased)
            moved = max(moved, trial.progress if factor > 1 else 0.0)
            if trial.reached or (factor < 1 and _is_better(trial, own)):
                # A schedule warms up to its peak.
                if factor < 1 and self.given is None and has_schedule(self.model.optimizer):
                    return trial, True, []
                found = causes.rate_finding(own, self.rate, trial, factor)
                return trial, not found, found
        for rate in _ADAM_RATES:
            trial = self.train(f"Adam, {rate:g}", optimizer=self._adam(rate), **eased)
            if not trial.reached:
                continue
            if own.finite and own.progress > 0.5:
                return trial, True, []
            if own.progress < causes.HARDLY_MOVED and moved > 2 * max(own.progress, 0.0):
                return trial, False, [causes.low_rate_finding(own, self.rate, trial, rate)]
            optimizer = unwrap_optimizer(self.model.optimizer)
            return trial, False, [causes.optimizer_finding(optimizer, own, trial, rate)]
        best = min(self.trials, key=lambda trial: trial.final_loss)
        return best, False, causes.remaining_findings(self.batch, own, best)

    def _without_goal(self, own, same, started):
        fell = own.finite and own.progress > 0.5
        found = (
            [causes.cannot_tell(own)]
            if own.finite
            else causes.remaining_findings(self.batch, own, own)
        )
        return self._finish(own, fell, found[0].evidence, [*found, *same], started)

    def _eased(self, name):
        if name == "no_noise":
            return "no dropout", {"noise": False}
        if name == "no_penalties":
            return "no penalties", {"penalties": False}
        if name == "eased":
            return "no dropout, no penalties", {"noise": False, "penalties": False}
        x, y = self.batch.x, self.batch.y
        x = _standardized(x) if name in ("inputs", "both") else x
        y = _standardized(y) if name in ("targets", "both") else y
        batch = _described(self.model, x, y, self.batch.sample_weight)
        return f"standardized {name}", {"batch": batch}

    def _factors(self, own):
        if self.rate is None or self.rate <= 0:
            return ()
        if not own.finite or own.losses[-1] > own.losses[0]:
            return _LOWER
        return _FAR_HIGHER if own.progress < causes.HARDLY_MOVED else (*_HIGHER, *_LOWER[:1])

    def _own_optimizer(self, rate):
        optimizer = self.model.optimizer
        if is_multi_optimizer(unwrap_optimizer(optimizer)):
            return clone_optimizer(optimizer)
        return clone_optimizer(optimizer, learning_rate=rate or self.rate)

    def _adam(self, rate):
        adam = keras.optimizers.Adam(rate)
        if isinstance(self.model.optimizer, keras.optimizers.LossScaleOptimizer):
            return keras.optimizers.LossScaleOptimizer(adam)
        return adam

    def _gradients(self):
        batch = self.batch
        pairs = observed_gradients(self.model, batch.x, batch.y, batch.sample_weight, training=True)
        return pairs[1]

    def _slow_reason(self, own, best):
        return (
            f"The model's own optimizer was still falling after {len(own.losses)} steps "
            f"({own.final_loss:.4g}); '{best.label}' arrived in {len(best.losses)}."
        )

    def _finish(self, best, reached, reason, findings, started):
        own, goal = self.trials[0], self.batch.goal
        outputs = self.batch.outputs
        numbers = outputs is None or all(kind_of(o) == "numbers" for o in outputs)
        return BatchOverfit(
            reached=reached,
            reason=reason,
            findings=findings,
            losses=own.losses,
            scores=own.scores,
            score_name="R²" if numbers else "accuracy",
            final_loss=best.final_loss,
            final_score=best.final_score,
            lowest_loss=math.nan if goal is None else goal.lowest,
            guessing_loss=math.nan if goal is None else goal.guessing,
            trials={trial.label: trial.losses for trial in self.trials},
            rows=row_count(self.batch.x),
            seconds=time.perf_counter() - started,
        )


def _one_batch(x, y, sample_weight, size, rng):
    """The batch as NumPy arrays: inputs, targets, weights."""
    if not is_arrays(x):
        if y is not None or sample_weight is not None:
            raise ValueError(
                "`y` and `sample_weight` go with arrays only: a data set yields them beside `x`."
            )
        batch = next(batches_of_dataset(x, steps=1), None)
        if batch is None or not row_count(batch[0]):
            raise ValueError("`x` is empty: it yields no rows.")
        return tuple(numpy_rows(part, slice(0, size)) for part in batch)
    rows = row_count(x)
    if rows == 0:
        raise ValueError("`x` is empty: it has no rows.")
    for name, part in (("y", y), ("sample_weight", sample_weight)):
        if part is not None and row_count(part) != rows:
            raise ValueError(
                f"`{name}` must have as many rows as `x`, {rows}. Received: {row_count(part)}."
            )
    chosen = np.sort(rng.permutation(rows)[:size])
    whole = (numpy_rows(part, slice(None)) for part in (x, y, sample_weight))
    return tuple(
        None if part is None else keras.tree.map_structure(lambda leaf: leaf[chosen], part)
        for part in whole
    )


def _described(model, x, y, sample_weight):
    judge = Judge.of(model)
    if judge is None or y is None:
        return Batch(x, y, sample_weight, None, None, None)
    with keras.StatelessScope():
        prediction = model(as_tensors(x), training=False)
    prediction = keras.tree.map_structure(
        lambda leaf: np.asarray(keras.ops.convert_to_numpy(keras.ops.cast(leaf, "float32"))),
        prediction,
    )
    # Builds the loss outside of any compiled function.
    judge.loss_of(y, prediction, sample_weight)
    outputs = outputs_with_targets(model, structure_of(model, x), prediction, y)
    goal = None
    if outputs is not None:
        goal = goal_of(judge, outputs, x, y, sample_weight, prediction)
    return Batch(x, y, sample_weight, outputs, judge, goal)


def _is_better(trial, own):
    """Whether a trial learned the batch, or much of it where `own` learned next to nothing."""
    if trial.reached:
        return True
    little = not own.finite or own.excess > 2 * _NEARLY
    return little and trial.finite and trial.excess <= _NEARLY


def _is_known(batch):
    return math.isfinite(batch.goal.lowest) and math.isfinite(batch.goal.guessing)


def _standardized(values):
    def standardize(leaf):
        if leaf.dtype.kind != "f":
            return leaf
        deviation = leaf.std(axis=0, keepdims=True)
        scaled = (leaf - leaf.mean(axis=0, keepdims=True)) / np.where(deviation > 0, deviation, 1)
        return scaled.astype(leaf.dtype)

    return keras.tree.map_structure(standardize, values)


def _blocked(findings, parts, started, batch=None):
    """The result where training would mean nothing."""
    goal = None if batch is None else batch.goal
    return BatchOverfit(
        reached=False,
        reason=findings[0].evidence,
        findings=findings,
        losses=np.zeros(0),
        scores=np.zeros(0),
        score_name="accuracy",
        final_loss=math.nan,
        final_score=math.nan,
        lowest_loss=math.nan if goal is None else goal.lowest,
        guessing_loss=math.nan if goal is None else goal.guessing,
        trials={},
        rows=row_count(parts[0]),
        seconds=time.perf_counter() - started,
    )
