"""Detects learning rates that are too high or too low, by training at others."""

import keras
import numpy as np

from keras_deeptricks.diagnostics.doctor.finding import Finding
from keras_deeptricks.utils.compiled_step import (
    given_learning_rate,
    has_schedule,
    is_multi_optimizer,
    unwrap_optimizer,
)

# A schedule is looked at for so many steps. What goes no farther than so few steps at its highest
# rate, and than an epoch, ends before it has begun.
_SCHEDULE_STEPS, _FEWEST_EQUAL_STEPS = 20_000, 25


def can_train(case):
    """Whether short runs make sense: data without errors that stop training, a rate above 0."""
    if case.finite.rows < 2 or not case.model.trainable_variables:
        return False
    return not case.has("label_shape", "nothing_trainable", severity="error")


def rate_comparison(case):
    """Finds rates at which a short run gets far less far than at others."""
    if not can_train(case):
        return
    trials = case.trials
    _note_facts(case, trials)
    verdict = trials.verdict
    if verdict == "too high":
        yield _too_high(trials)
    elif verdict == "too low":
        yield _too_low(trials)
    elif verdict == "fails" and not case.has("nan", severity="error"):
        steps = len(trials.own.losses)
        yield Finding(
            "nan",
            "error",
            "loss",
            f"The loss or a weight became NaN or infinite after {steps} steps at the rate "
            f"{_rate(trials.rate)}, and at {len(trials.runs) - 1} other rates.",
            "No rate mends it: something in the model, the loss or the data is not finite, or of "
            "an enormous scale.",
            "Standardize inputs and targets, take smaller weights to begin with, and look for "
            "logarithms, roots and divisions in layers and losses of your own.",
        )
        if not case.has("exploding_gradient"):
            yield Finding(
                "exploding_gradient",
                "warning",
                None,
                "The weights became infinite at every rate tried.",
                "Gradients of this size overturn the weights in one step.",
                "Standardize inputs and targets, and clip gradients (clipnorm=1.0).",
            )


def schedule_length(case):
    """Finds schedules that fall to nothing before training has begun in earnest."""
    optimizer = unwrap_optimizer(case.model.optimizer)
    if not can_train(case) or is_multi_optimizer(optimizer) or not has_schedule(optimizer):
        return
    schedule = given_learning_rate(optimizer)
    steps_per_epoch = max(
        1.0, (case.sample.total_rows or case.sample.rows) / case.sample.batch_size
    )
    places = np.unique(np.geomspace(1, _SCHEDULE_STEPS, 500).astype(int))
    rates = np.array([float(keras.ops.convert_to_numpy(schedule(int(step)))) for step in places])
    peak = rates.max()
    if not np.isfinite(rates).all() or peak <= 0:
        return
    # All the steps together go as far as so many at the highest rate.
    equal = float(np.sum(rates[:-1] * np.diff(places)) / peak)
    if equal < min(_FEWEST_EQUAL_STEPS, steps_per_epoch):
        fallen = int(places[np.argmax(rates < 0.01 * peak)])
        yield Finding(
            "learning_rate_too_low",
            "warning",
            "learning_rate",
            f"The schedule falls from {peak:.3g} to a hundredth of it by step {fallen}; an epoch "
            f"has {steps_per_epoch:.0f} steps.",
            "Schedules count steps (batches), not epochs: training ends before it has begun.",
            "Multiply the schedule's lengths by the steps of an epoch.",
        )


def _too_high(trials):
    own, best = trials.own, trials.runs[trials.best]
    if not own.finite:
        happened = f"the loss became NaN or infinite after {len(own.losses)} steps"
    else:
        happened = f"the loss was {own.end:.4g} after {len(own.losses)} steps"
    broken = not own.finite or own.end > trials.start
    return Finding(
        "learning_rate_too_high",
        "error" if broken else "warning",
        "learning_rate",
        f"At the rate {_rate(trials.rate)} {happened}, from {trials.start:.4g} at the start; at "
        f"{_rate(best.rate)} it was {best.end:.4g}.",
        "Steps that are too long jump over the valley, or throw the weights far away for good.",
        f"Begin with a rate of about {_rate(best.rate)}; keras_deeptricks.diagnostics."
        "find_learning_rate measures it.",
    )


def _too_low(trials):
    own, best = trials.own, trials.runs[trials.best]
    share = max(0.0, trials.progress(0))
    return Finding(
        "learning_rate_too_low",
        "warning",
        "learning_rate",
        f"At the rate {_rate(trials.rate)} the loss went from {trials.start:.4g} to {own.end:.4g} "
        f"in {len(own.losses)} steps, {share:.0%} of the way that it went at {_rate(best.rate)} "
        f"(to {best.end:.4g}).",
        "Training takes many times longer than it has to, and looks as if the model could not "
        "learn.",
        f"Try a rate of about {_rate(best.rate)}; keras_deeptricks.diagnostics.find_learning_rate "
        "measures it.",
    )


def _note_facts(case, trials):
    case.facts["trial_start_loss"] = trials.start
    if trials.rate is not None:
        case.facts["learning_rate"] = trials.rate
    case.facts["trial_rates"] = np.array(
        [np.nan if run.rate is None else run.rate for run in trials.runs.values()]
    )
    case.facts["trial_losses"] = [run.losses for run in trials.runs.values()]
    case.facts["trial_end_losses"] = np.array([run.end for run in trials.runs.values()])


def _rate(rate):
    return "of the optimizers" if rate is None else f"{rate:.3g}"
