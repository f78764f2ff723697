"""Detects penalties and dropout that keep a model from fitting, by training without them."""

import contextlib

import keras

from keras_deeptricks.diagnostics.batch_overfit_trial import (
    has_penalties,
    noisy_layers,
    without_noise,
    without_penalties,
)
from keras_deeptricks.diagnostics.doctor.finding import Finding
from keras_deeptricks.diagnostics.doctor.rate_comparison import can_train

# A model that explains less than this of its own rows is looked into, and one that without
# regularization explains so much more is told of.
_POOR, _GAP = 0.4, 0.3


def regularization_trial(case):
    """Finds regularization without which the same short training gets much farther."""
    if not can_train(case) or case.has("dropout_misuse", "over_regularization"):
        return
    trials, best = case.trials, case.trials.runs[case.trials.best]
    if best.after is None or trials.rate is None or not best.after.fitted:
        return
    skills = {name: score.skill for name, score in best.after.fitted.items()}
    if max(skills.values()) >= _POOR:
        return
    for what, undone in _ways(case.model):
        with contextlib.ExitStack() as stack:
            for context in undone:
                stack.enter_context(context(case.model))
            with case.short_runs() as runner:
                run = runner.run(best.rate, len(best.losses), case.look)
        if run.after is None:
            continue
        freed = max(score.skill for score in run.after.fitted.values())
        if freed > max(max(skills.values()), 0.0) + _GAP:
            yield _finding(case.model, what, max(skills.values()), freed, len(best.losses))
            return


def _ways(model):
    penalties, noise = has_penalties(model), bool(noisy_layers(model))
    if penalties:
        yield "penalties", [without_penalties]
    if noise:
        yield "dropout and noise", [without_noise]


def _finding(model, what, skill, freed, steps):
    if what == "penalties":
        code, layer = "over_regularization", _strongest(model)
        remedy = "Make the regularizers' factors ten to a hundred times smaller (1e-4 is usual)."
    else:
        code, layer = "over_regularization", noisy_layers(model)[0][0].name
        remedy = "Lower the dropout rates, to 0.1 to 0.5."
    return Finding(
        code,
        "warning",
        layer,
        f"After {steps} steps the model explains {max(0.0, skill):.0%} of its own training rows; "
        f"without {what} {freed:.0%}.",
        "Regularization is to keep a model that fits from fitting too well. Here it keeps it from "
        "fitting.",
        remedy,
    )


def _strongest(model):
    """The name of the layer whose weights are penalized most."""
    variables = [v for v in model.trainable_variables if v.regularizer is not None]
    if not variables:
        return None
    worst = max(variables, key=lambda v: float(keras.ops.convert_to_numpy(v.regularizer(v))))
    return worst.path.split("/")[-2] if "/" in worst.path else None
