"""What only the full examination does: a longer training, one batch by heart, the range test."""

import dataclasses
import math
import time
import warnings

import keras
import numpy as np

from keras_deeptricks.diagnostics.batch_overfit import overfit_batch
from keras_deeptricks.diagnostics.doctor.rate_comparison import can_train
from keras_deeptricks.diagnostics.history import diagnose_history
from keras_deeptricks.diagnostics.learning_rate_search import find_learning_rate
from keras_deeptricks.utils.compiled_step import borrowed_for_training, clone_optimizer
from keras_deeptricks.utils.training_state import preserved

_EPOCHS, _SECONDS = 40, 40.0
# One epoch of a small data set is a few steps: of those more are made.
_STEPS, _MOST_EPOCHS = 1200, 300
_FEWEST_EPOCHS = 5
# Overfitting that no choice of the epoch mends: accuracies so far apart, or training rows learned
# by heart while the validation loss stays near where it began.
_ACCURACY_GAP, _BY_HEART, _UNMOVED = 0.15, 0.05, 0.6


def longer_training(case):
    """Trains as the user would, with the user's own rate, and reads the curves."""
    if case.level != "full" or not can_train(case):
        return
    history = _train(case)
    if len(history.get("loss", ())) < _FEWEST_EPOCHS:
        return
    diagnosis = diagnose_history(history)
    case.facts.update(
        {name: value for name, value in diagnosis.facts.items() if name.startswith("curve/")}
    )
    told = {finding.code for finding in case.findings}
    for finding in diagnosis.findings:
        if finding.code in told:
            continue  # short runs have told it with more evidence
        if finding.code == "overfitting" and not _is_severe(history):
            # The user may stop earlier than this training does.
            finding = dataclasses.replace(finding, severity="note")
        yield finding


def one_batch(case):
    """Trains on one batch until it is learned by heart."""
    if case.level != "full" or not can_train(case) or case.finite.y is None:
        return
    part = case.finite.take(case.split[0])
    result = overfit_batch(
        case.model,
        part.x,
        part.y,
        sample_weight=part.sample_weight,
        batch_size=min(32, part.rows),
        seed=0,
    )
    case.facts["one_batch_learned"] = str(result.reached)
    told = {finding.code for finding in case.findings}
    yield from (finding for finding in result.findings if finding.code not in told)


def range_test(case):
    """Notes the curve of the learning-rate range test."""
    single = can_train(case) and case.trials.rate is not None
    if case.level != "full" or not single:
        return ()
    part = case.finite.take(case.split[0])
    try:
        found = find_learning_rate(
            case.model,
            part.x,
            part.y,
            batch_size=part.batch_size,
            sample_weight=part.sample_weight,
            class_weight=case.class_weight,
            seed=0,
        )
    except ValueError:
        return ()  # it diverges at once, which the short runs tell
    case.facts["range_test_rates"] = found.learning_rates
    case.facts["range_test_losses"] = found.smoothed_losses
    case.facts["suggested_learning_rate"] = float(found.suggestion)
    return ()


def _is_severe(history):
    """Whether the validation rows fare far worse than the training rows, not just a little."""
    for name, values in history.items():
        if "acc" in name and f"val_{name}" in history:
            return values[-1] - history[f"val_{name}"][-1] > _ACCURACY_GAP
    validation = history.get("val_loss")
    if not validation:
        return False
    start, end = history["loss"][0], history["loss"][-1]
    return end < _BY_HEART * start and min(validation) > _UNMOVED * start


def _train(case):
    train, held = case.split
    part, rest = case.finite.take(train), case.finite.take(held)
    if case.validation is not None:
        rest = case.validation
    steps = max(1, math.ceil(part.rows / part.batch_size))
    epochs = int(np.clip(math.ceil(_STEPS / steps), _EPOCHS, _MOST_EPOCHS))
    validation = None
    if rest.rows:
        validation = (rest.x, rest.y) if rest.sample_weight is None else (
            rest.x, rest.y, rest.sample_weight,
        )  # fmt: skip
    model = case.model
    optimizer = model.optimizer if case.trials.rate is None else clone_optimizer(model.optimizer)
    with borrowed_for_training(model, optimizer), preserved(model), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        history = model.fit(
            part.x,
            part.y,
            sample_weight=part.sample_weight,
            class_weight=case.class_weight,
            batch_size=part.batch_size,
            epochs=epochs,
            validation_data=validation,
            verbose=0,
            callbacks=[_TimeLimit(_SECONDS)],
        )
    return history.history


class _TimeLimit(keras.callbacks.Callback):
    """Stops after some seconds, or when the loss is no number any more."""

    def __init__(self, seconds):
        super().__init__()
        self.seconds = seconds

    def on_train_begin(self, logs=None):
        self._started = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        over = time.perf_counter() - self._started > self.seconds
        if over or not math.isfinite((logs or {}).get("loss", 0.0)):
            self.model.stop_training = True
