"""Why a model does not learn one batch by heart, as trials show it."""

import keras
import numpy as np

from keras_deeptricks.diagnostics.batch_overfit_goal import kind_of
from keras_deeptricks.diagnostics.batch_overfit_gradients import layer_of
from keras_deeptricks.diagnostics.batch_overfit_trial import Trial, has_penalties, noisy_layers
from keras_deeptricks.diagnostics.doctor.finding import Finding

# A rate that is too low hardly moves the loss in all steps.
HARDLY_MOVED = 0.1
# Inputs and targets are usually of size one; a tenfold size changes what a rate does.
USUAL_SIZE = (0.05, 20.0)
# Predictions that vary by less of what the targets vary are the same.
CONSTANT = 1e-3


def trial_plan(model, batch):
    """The trials after a failed one, from the likeliest cause on.

    Yields:
        (name, settings): `"no_noise"`, `"no_penalties"`, `"eased"`, `"inputs"`, `"targets"`.
    """
    noise, penalties = bool(noisy_layers(model)), has_penalties(model)
    if noise:
        yield "no_noise"
    if penalties:
        yield "no_penalties"
    if noise and penalties:
        yield "eased"
    if not _is_usual(batch.x):
        yield "inputs"
    if _is_regression(batch) and not _is_usual(batch.y):
        yield "targets"
        if not _is_usual(batch.x):
            yield "both"


def eased_finding(name, model, own, eased):
    """The finding of a trial without dropout or penalties that learned what `own` did not."""
    if name == "no_noise":
        layers = noisy_layers(model)
        layer, attributes = max(layers, key=lambda item: max(vars(item[0])[n] for n in item[1]))
        rate = max(vars(layer)[n] for n in attributes)
        return Finding(
            "dropout_misuse",
            "warning",
            layer.name,
            f"With all dropout and noise the loss of one batch stays at {own.final_loss:.4g}; "
            f"without, it falls to {eased.final_loss:.4g}. The strongest is '{layer.name}' "
            f"({rate:g}).",
            "So much noise keeps the model from fitting even a single batch.",
            "Lower the dropout rates, to 0.1 to 0.5, and have none just before a small output.",
        )
    what = "penalties" if name == "no_penalties" else "dropout and penalties"
    return Finding(
        "over_regularization",
        "warning",
        _penalized_layer(model),
        f"With {what} the loss of the data stays at {own.final_loss:.4g}, and the penalties add "
        f"{own.penalty:.4g}; without them the loss falls to {eased.final_loss:.4g}.",
        "The model is kept from fitting even a single batch.",
        "Make the regularizers' factors ten to a hundred times smaller (1e-4 is usual).",
    )


def scale_finding(name, batch, own, scaled):
    """The finding of a trial on standardized data that learned what `own` did not."""
    code, part, values = (
        ("target_scale", "y", batch.y) if name == "targets" else ("input_scale", "x", batch.x)
    )
    mean, deviation = _moments(values)
    how = _how_it_went(own)
    return Finding(
        code,
        "warning",
        part,
        f"{part} has the mean {mean:.3g} and the deviation {deviation:.3g}. As it is, the loss "
        f"{how}; with {'both' if name == 'both' else part} standardized the same steps learned "
        "the batch.",
        "Rates and first weights suit values of mean 0 and deviation 1.",
        "Put layers.Standardization (or keras.layers.Normalization) first."
        if part == "x"
        else "Standardize the targets, and scale predictions back.",
    )


def rate_finding(own, rate, better, factor):
    """The finding that another rate learned what the model's own did not; or none."""
    if factor > 1:
        if own.progress >= HARDLY_MOVED:
            return []
        return [
            Finding(
                "learning_rate_too_low",
                "warning",
                "learning_rate",
                f"At the rate {rate:.3g} the loss of one batch went {max(own.progress, 0):.1%} of "
                f"its way in {len(own.losses)} steps; at {rate * factor:.3g} it was learned in "
                f"{len(better.losses)}.",
                "Steps this short need a thousand times as long.",
                f"Raise the learning rate towards {rate * factor:.3g}, or find one with "
                "diagnostics.find_learning_rate.",
            )
        ]
    return [
        Finding(
            "learning_rate_too_high",
            "warning",
            "learning_rate",
            f"At the rate {rate:.3g} the loss of one batch {_how_it_went(own)}; at "
            f"{rate * factor:.3g} it was learned in {len(better.losses)} steps.",
            "Steps this long leap over the valley, and may ruin units for good.",
            f"Lower the learning rate to {rate * factor:.3g}, or find one with "
            "diagnostics.find_learning_rate.",
        )
    ]


def low_rate_finding(own, rate, adam, adam_rate):
    """The finding that the loss hardly moved, more so at higher rates, and Adam learned it."""
    return Finding(
        "learning_rate_too_low",
        "warning",
        "learning_rate",
        f"At the rate {rate:.3g} the loss of one batch went {max(own.progress, 0):.1%} of its way "
        f"in {len(own.losses)} steps, and further at higher rates; Adam at {adam_rate:g} learned "
        f"it in {len(adam.losses)}.",
        "Steps this short need a thousand times as long.",
        "Raise the learning rate, or find one with diagnostics.find_learning_rate.",
    )


def optimizer_finding(optimizer, own, adam, rate):
    """The finding that Adam learned what the model's optimizer did not at any rate."""
    return Finding(
        "optimizer_setting",
        "warning",
        "optimizer",
        f"With {type(optimizer).__name__} as configured the loss of one batch {_how_it_went(own)}; "
        f"Adam at {rate:g} learned it in {len(adam.losses)} steps.",
        "The model and the data are fine, so it is the optimizer's settings: momentum, epsilon, "
        "clipping, weight decay or rate.",
        "Go back to its defaults, or use Adam.",
    )


def remaining_findings(batch, own, last):
    """What can be said where no trial learned the batch.

    Args:
        batch: A `Batch`.
        own, last: The first `Trial` and the best of all.
    """
    if not own.finite and not last.finite:
        return [
            Finding(
                "nan",
                "error",
                None,
                f"The loss was NaN or infinite after {len(own.losses)} steps, at every rate.",
                "Something computes what has no value, such as the logarithm of 0.",
                "Guard logarithms, roots and divisions of your own, and look at the loss's range.",
            )
        ]
    if batch.goal is None:
        return [cannot_tell(last)]
    return _constant_output(batch, last) or [
        Finding(
            "underfitting",
            "error",
            None,
            f"The loss of one batch stays at {last.final_loss:.4g}; {batch.goal.lowest:.4g} is "
            f"possible and {batch.goal.guessing:.4g} is guessing.",
            "A model that cannot learn one batch by heart will not learn the data.",
            "Take more units or layers, and look whether the inputs tell the rows apart and "
            "reach the output.",
        )
    ]


def _constant_output(batch, trial):
    for output, prediction in zip(batch.outputs or (), trial.prediction, strict=False):
        target = output.best_target
        if target is None or len(prediction) < 2:
            continue
        spread = target.reshape(len(target), -1).std(axis=0).max()
        if spread > 0 and prediction.reshape(len(target), -1).std(axis=0).max() < CONSTANT * spread:
            return [
                Finding(
                    "constant_output",
                    "error",
                    output.layer,
                    "After training on one batch the model still predicts the same for every row.",
                    "What tells the rows apart does not reach the output.",
                    "Look for dead or saturated layers, constant inputs, and layers that average "
                    "everything away.",
                )
            ]
    return []


def cannot_tell(trial):
    """The note that the lowest loss is not known, nor so whether the batch is learned."""
    return Finding(
        "check_incomplete",
        "note",
        None,
        f"The loss went from {trial.losses[0]:.4g} to {trial.final_loss:.4g}; what its lowest "
        "value is cannot be told.",
        "The model computes its loss in its own way, or takes targets in a form of its own.",
        "Judge the curve by what you know of the loss.",
    )


def _how_it_went(trial: Trial):
    if not trial.finite:
        return f"became NaN or infinite after {len(trial.losses)} steps"
    if trial.losses[-1] > trial.losses[0]:
        return f"rose from {trial.losses[0]:.4g} to {trial.losses[-1]:.4g}"
    return f"fell only from {trial.losses[0]:.4g} to {trial.final_loss:.4g}"


def _penalized_layer(model):
    worst = max(
        (v for v in model.trainable_variables if v.regularizer is not None),
        key=lambda v: float(keras.ops.convert_to_numpy(v.regularizer(v))),
        default=None,
    )
    return None if worst is None else layer_of(model, worst)


def _is_regression(batch):
    single = batch.outputs is not None and len(batch.outputs) == 1
    return single and kind_of(batch.outputs[0]) == "numbers" and hasattr(batch.y, "std")


def _moments(values):
    leaves = [np.asarray(a, "float64") for a in keras.tree.flatten(values) if a.dtype.kind in "fiu"]
    if not leaves:
        return 0.0, 1.0
    flat = np.concatenate([leaf.ravel() for leaf in leaves])
    return float(flat.mean()), float(flat.std())


def _is_usual(values):
    # Whole numbers may be indices of words, which have no scale.
    leaves = [a for a in keras.tree.flatten(values) if a.dtype.kind == "f"]
    if not leaves:
        return True
    sizes = [float(np.sqrt(np.mean(np.square(a.astype("float64"))))) for a in leaves]
    return all(size == 0 or USUAL_SIZE[0] <= size <= USUAL_SIZE[1] for size in sizes)
