"""Detects learning rates that are too high or too low, by training at others."""

import numpy as np

from keras_deeptricks.diagnostics.doctor.finding import Finding


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
