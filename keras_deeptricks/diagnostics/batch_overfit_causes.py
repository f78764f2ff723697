"""Why a model does not learn one batch by heart: seen in the batch, or tried."""

import math

import keras
import numpy as np

from keras_deeptricks.diagnostics.batch_overfit_goal import kind_of
from keras_deeptricks.diagnostics.batch_overfit_trial import (
    REACHED,
    Trial,
    has_penalties,
    noisy_layers,
)
from keras_deeptricks.diagnostics.doctor.finding import Finding

# A rate that is too low hardly moves the loss in all steps.
HARDLY_MOVED = 0.1
# Inputs and targets are usually of size one; a tenfold size changes what a rate does.
USUAL_SIZE = (0.05, 20.0)
# The first layer's gradient beside the largest one's, per weight.
VANISHING_RATIO = 1e-5
# Predictions that vary by less of what the targets vary are the same.
CONSTANT = 1e-3
# Rows that contradict others: some are usual in tables of few values.
MANY_CONTRADICTIONS = 0.5
_CROSSENTROPIES = (
    "sparse_categorical_crossentropy",
    "categorical_crossentropy",
    "binary_crossentropy",
    "categorical_focal_crossentropy",
    "binary_focal_crossentropy",
)
_PROBABILITIES = ("softmax", "sigmoid", "hard_sigmoid")


def blocking_findings(model, x, y):
    """What keeps training from meaning anything: not finite data, nothing to train."""
    findings = []
    for name, part in (("x", x), ("y", y)):
        leaves = [] if part is None else keras.tree.flatten(part)
        bad = sum(int((~np.isfinite(a)).sum()) for a in leaves if a.dtype.kind == "f")
        if bad:
            findings.append(
                Finding(
                    "input_nan",
                    "error",
                    name,
                    f"The batch has {bad} values in {name} that are NaN or infinite.",
                    "One such value makes the loss and then every weight NaN.",
                    "Remove or fill them.",
                )
            )
    if not model.trainable_variables:
        findings.append(_nothing_trainable("No weight of the model is trainable."))
    return findings


def target_findings(outputs):
    """Targets of another coding or range than the loss takes."""
    findings = []
    for output in outputs or ():
        name, shape = _loss(output), output.prediction.shape
        target = output.target
        if name == "sparse_categorical_crossentropy":
            if len(shape) > 1 and target.shape == shape and shape[-1] > 1:
                findings.append(
                    _label_shape(
                        output,
                        "one-hot targets",
                        "whole numbers",
                        "Use the loss categorical_crossentropy, or pass y.argmax(-1).",
                    )
                )
            elif target.size and (target.min() < 0 or target.max() >= shape[-1]):
                findings.append(
                    Finding(
                        "label_range",
                        "error",
                        output.name,
                        f"Labels reach from {target.min():g} to {target.max():g}; "
                        f"'{output.layer}' has {shape[-1]} units, for labels 0 to {shape[-1] - 1}.",
                        "A label without a unit gives a loss that means nothing, or NaN.",
                        "Number the classes from 0, and give the output a unit for each.",
                    )
                )
        elif name.startswith("categorical") and output.best_target is None:
            findings.append(
                _label_shape(
                    output,
                    f"targets of shape {target.shape}",
                    f"one column for each of {shape[-1]} classes",
                    "Use the loss sparse_categorical_crossentropy, or keras.utils.to_categorical.",
                )
            )
    return findings


def output_findings(outputs, goal):
    """Outputs that cannot take on the targets, or whose loss takes them for something else."""
    findings = []
    for output in outputs or ():
        if _loss(output) not in _CROSSENTROPIES:
            continue
        logits, given = output.loss.from_logits, output.activation in _PROBABILITIES
        if logits and given:
            findings.append(
                _from_logits(
                    output,
                    f"'{output.layer}' ends with {output.activation}, and {output.loss.label} is "
                    "told from_logits=True.",
                    "Leave out from_logits=True, or the activation.",
                )
            )
        elif not logits and output.activation == "linear":
            findings.append(
                _from_logits(
                    output,
                    f"'{output.layer}' has no activation, and {output.loss.label} takes "
                    "probabilities.",
                    "Tell the loss from_logits=True, or give the layer softmax (sigmoid for one "
                    "unit).",
                )
            )
    if findings or goal is None or not math.isfinite(goal.lowest_in_range):
        return findings
    way = max(goal.guessing - goal.lowest, 1e-12)
    if (goal.lowest_in_range - goal.lowest) / way > REACHED:
        output = max(outputs, key=_out_of_range)
        findings.append(
            Finding(
                "output_range",
                "error",
                output.layer,
                f"'{output.layer}' ends with {output.activation}; the targets reach from "
                f"{output.target.min():.4g} to {output.target.max():.4g}. The lowest loss within "
                f"its range is {goal.lowest_in_range:.4g}, without it {goal.lowest:.4g}.",
                "No weights can make the output reach these targets.",
                "Use no activation in the last layer of a regression, or scale the targets; a "
                "single unit of a classifier takes sigmoid, not softmax.",
            )
        )
    return findings


def contradiction_finding(goal):
    """Equal rows with different targets; none if there are none."""
    if goal is None or goal.contradicting == 0:
        return []
    return [
        Finding(
            "labels_unrelated",
            "warning" if goal.contradicting >= MANY_CONTRADICTIONS else "note",
            "y",
            f"{goal.contradicting:.0%} of the rows equal others but have other targets. The lowest "
            f"loss that leaves is {goal.lowest:.4g}.",
            "No model can tell equal rows apart.",
            "Look whether inputs were lost or targets mixed up.",
        )
    ]


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


def gradient_findings(model, gradients):
    """Gradients at the start that are zero, or vanish; none if they are sound.

    Args:
        model: The model.
        gradients: Pairs (variable, gradient).
    """
    return _dead_findings(model, gradients) or _vanishing(gradients)


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


def _dead_findings(model, gradients):
    kernels = [(v, g) for v, g in gradients if len(v.shape) > 1]
    still = [v for v, g in kernels if not np.any(g)]
    if not kernels or not still:
        return []
    constant = [v for v, _ in kernels if np.ptp(keras.ops.convert_to_numpy(v)) == 0]
    if constant:
        return [
            Finding(
                "initialization_constant",
                "error",
                _layer_of(model, constant[0]),
                f"{_paths(constant)}: all weights are equal.",
                "Equal units get equal gradients, or none, and never become different.",
                "Use a random initializer, such as he_normal or glorot_uniform.",
            )
        ]
    if not any(np.any(g) for _, g in gradients):
        return [_nothing_trainable(f"The gradient of every kernel is zero: {_paths(still)}.")]
    return [
        Finding(
            "dead_units",
            "error",
            _layer_of(model, still[-1]),
            f"The gradient is exactly zero for {_paths(still)}.",
            "Units that are zero for every row pass no gradient on and never learn.",
            "Begin with he_normal weights and zero biases, standardize the inputs, or use elu or "
            "leaky_relu.",
        )
    ]


def _vanishing(gradients):
    norms = [(v, _root_mean_square(g)) for v, g in gradients if len(v.shape) > 1]
    if len(norms) < 3:
        return []
    largest = max(norm for _, norm in norms)
    variable, norm = norms[0]
    if norm > VANISHING_RATIO * largest:
        return []
    return [
        Finding(
            "vanishing_gradient",
            "error",
            variable.path.split("/")[-2] if "/" in variable.path else variable.path,
            f"The gradient of {variable.path} is {norm:.2g} per weight, up to {largest:.2g} in "
            "other layers.",
            "The first layers get next to no gradient.",
            "Use relu, elu or selu with their initializers, add batch normalization or shortcuts, "
            "or take fewer layers.",
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


def _nothing_trainable(evidence):
    return Finding(
        "nothing_trainable",
        "error",
        None,
        evidence,
        "Training cannot change anything.",
        "Set layer.trainable = True where it should learn, compile again, and look for "
        "operations without a gradient (argmax, round, comparisons).",
    )


def _label_shape(output, got, wanted, remedy):
    return Finding(
        "label_shape",
        "error",
        output.name,
        f"{output.loss.label} takes {wanted}; got {got}.",
        "The loss would compare values that do not belong together.",
        remedy,
    )


def _from_logits(output, evidence, remedy):
    return Finding(
        "from_logits_mismatch",
        "error",
        output.layer,
        evidence,
        "The loss takes logits for probabilities, or the other way round, and can hardly fall. "
        "(On TensorFlow the loss in training may hide it.)",
        remedy,
    )


def _out_of_range(output):
    from keras_deeptricks.diagnostics.doctor.roles import RANGES

    low, high = RANGES.get(output.activation, (-math.inf, math.inf))
    outside = max(low - output.target.min(), output.target.max() - high)
    single = output.activation == "softmax" and output.units == 1
    return math.inf if single else outside


def _penalized_layer(model):
    worst = max(
        (v for v in model.trainable_variables if v.regularizer is not None),
        key=lambda v: float(keras.ops.convert_to_numpy(v.regularizer(v))),
        default=None,
    )
    return None if worst is None else _layer_of(model, worst)


def _layer_of(model, variable):
    parts = variable.path.split("/")
    return parts[-2] if len(parts) > 1 else model.name


def _paths(variables):
    names = [v.path for v in variables[:3]]
    more = f" and {len(variables) - 3} more" if len(variables) > 3 else ""
    return ", ".join(names) + more


def _loss(output):
    return output.loss.name if output.loss is not None else "custom"


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


def _root_mean_square(values):
    return float(np.sqrt(np.mean(np.square(np.asarray(values, "float64")))))
