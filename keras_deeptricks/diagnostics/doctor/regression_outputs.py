"""Detects outputs and targets that do not suit a loss over amounts."""

import numpy as np

from keras_deeptricks.diagnostics.doctor import roles
from keras_deeptricks.diagnostics.doctor.finding import Finding
from keras_deeptricks.diagnostics.doctor.objective import REGRESSION
from keras_deeptricks.diagnostics.doctor.target_wording import shape_by_rows, text_for_numbers

# Share of targets out of the output's reach from which it is told, and from which it is an error:
# a few that noise has pushed over the edge cost little.
_SHARE, _ERROR_SHARE = 0.01, 0.05
# Whole numbers of no more different values than these may be classes.
_MOST_CLASSES = 20
# Counts and ratings begin at 1 or thin out; classes are numbered from 0 and none is very rare.
_RAREST, _FEW = 0.05, 12


def regression_outputs(case):
    """Finds what is wrong between outputs, targets and regression losses."""
    input_shapes = [leaf.shape[1:] for leaf in case.finite.inputs]
    for output in case.outputs:
        if output.loss is None or output.target is None:
            continue
        if output.loss.name in REGRESSION:
            yield from _of_regression(output, input_shapes)
        elif output.loss.name in ("poisson", "kl_divergence"):
            yield from _of_positive(output)


def _of_regression(output, input_shapes):
    kind, target = output.kind, output.target
    if kind.kind == "text":
        yield text_for_numbers(output, "numbers")
        return
    misshaped = _shape(output)
    if misshaped is not None:
        yield misshaped
        if kind.kind == "labels" and output.activation == "softmax":
            yield _classes_as_amounts(output, f"sparse labels and {output.units} softmax units")
        return
    if output.activation == "softmax" and output.units == 1:
        return  # told by single_unit_softmax
    out_of_reach = list(_reach(output))
    yield from out_of_reach
    reconstructs = target.shape[1:] in input_shapes and target.ndim > 1
    if not out_of_reach and not reconstructs and target.ndim <= 2:
        yield from _of_classes(output)
    yield from _of_special_losses(output)


def _shape(output):
    target, prediction = _squeezed(output.target), _squeezed(output.prediction)
    if target == prediction:
        return None
    same_axes = len(target) == len(prediction) and target[:-1] == prediction[:-1]
    both_columns = same_axes and len(target) > 1
    one_against_many = {len(target), len(prediction)} == {1, 2}
    code = "output_units" if both_columns else "label_shape"
    if one_against_many and len(prediction) == 2:
        remedy = f"Give the last layer 1 unit instead of {output.units}."
    elif one_against_many or both_columns:
        remedy = f"Give the last layer {output.target.shape[-1]} units."
    else:
        remedy = (
            "Give the predictions the shape of the targets: is a Flatten or a pooling layer "
            "missing, or return_sequences=False?"
        )
    return Finding(
        code,
        "error",
        output.layer,
        f"The targets have the shape {shape_by_rows(output.target)} and the predictions "
        f"{shape_by_rows(output.prediction)}.",
        "Training fails, or stretches the smaller one over the larger one and compares what does "
        "not belong together.",
        remedy,
    )


def _reach(output):
    """Targets that the output's activation cannot yield."""
    if output.activation not in roles.RANGES:
        return
    low, high = roles.RANGES[output.activation]
    kind, target = output.kind, np.asarray(output.target, "float64")
    if output.activation == "softmax" and kind.kind in ("continuous", "multi_label"):
        sums = target.sum(axis=-1) if target.ndim > 1 else target
        if not np.allclose(sums, 1, atol=0.01):
            yield Finding(
                "output_activation_mismatch",
                "error",
                output.layer,
                f"The output is a softmax over {output.units} units, and the targets lie between "
                f"{kind.low:.4g} and {kind.high:.4g} and do not sum to 1.",
                "A softmax yields shares of 1.",
                "Use a sigmoid for labels that may come together, and no activation for amounts.",
            )
            return
    slack = 0.01 * kind.deviation + 1e-6
    outside = float(np.mean((target < low - slack) | (target > high + slack)))
    if outside < _SHARE:
        return
    severity = "error" if outside >= _ERROR_SHARE else "warning"
    bounds = f"{low:.3g} to {high:.3g}" if np.isfinite(high) else f"{low:.3g} upwards"
    if not np.isfinite(low):
        bounds = f"below {high:.3g}"
    yield Finding(
        "output_range",
        severity,
        output.layer,
        f"{outside:.0%} of the targets (from {kind.low:.4g} to {kind.high:.4g}) lie outside what "
        f"{output.activation} can yield ({bounds}).",
        "The model can never predict them, and gets no gradient where it is at its limit.",
        "Use no activation on the last layer, or scale the targets into its range.",
    )
    yield Finding(
        "output_activation_mismatch",
        severity,
        output.layer,
        f"The output has the activation {output.activation} for amounts from {kind.low:.4g} to "
        f"{kind.high:.4g}.",
        "An amount without limits needs an output without limits.",
        "Use no activation on the last layer.",
    )


def _of_classes(output):
    """Classes that are learned as amounts."""
    kind, units = output.kind, output.units
    accuracy = any("accuracy" in metric.lower() for metric in output.metrics)
    squashed = output.activation in ("sigmoid", "softmax", "hard_sigmoid")
    if kind.kind == "one_hot" and units > 1 and (squashed or accuracy):
        yield _classes_as_amounts(output, f"one-hot classes in {units} columns")
    elif kind.kind == "binary" and (squashed or accuracy) and len(kind.classes) == 2:
        yield _classes_as_amounts(output, "labels of 0 and 1")
    elif kind.kind == "binary" and len(kind.classes) == 2:
        yield _classes_as_amounts(output, "labels of 0 and 1", "note")
    elif kind.kind == "labels" and len(kind.classes) <= _MOST_CLASSES:
        contiguous = kind.classes[-1] - kind.classes[0] == len(kind.classes) - 1
        if contiguous and kind.classes[0] in (0, 1):
            yield _classes_as_amounts(
                output,
                f"the whole numbers {kind.classes[0]} to {kind.classes[-1]}",
                "warning" if accuracy or _numbered(output) else "note",
            )


def _numbered(output):
    """Whether whole numbers are numbered from 0 on and about as frequent, unlike counts."""
    kind = output.kind
    shares = kind.counts / kind.counts.sum()
    whole = output.target.dtype.kind in "iu"
    return whole and kind.classes[0] == 0 and shares.min() > _RAREST and len(shares) <= _FEW


def _classes_as_amounts(output, what, severity="warning"):
    loss = output.loss.label
    proper = {
        "binary": "'binary_crossentropy' and one sigmoid unit",
        "one_hot": "'categorical_crossentropy' and a softmax",
    }.get(output.kind.kind, "'sparse_categorical_crossentropy' and one softmax unit per class")
    return Finding(
        "loss_mismatch",
        severity,
        output.layer,
        f"The targets look like classes ({what}), and the loss is {loss}.",
        "A regression loss takes the numbers of classes for amounts, and behind a sigmoid or "
        "softmax its gradient vanishes just where the model is most wrong.",
        f"If they are classes, use {proper}.",
    )


def _of_special_losses(output):
    name, kind = output.loss.name, output.kind
    if name == "mean_absolute_percentage_error":
        zeros = float(np.mean(np.abs(output.target) < 1e-7))
        if zeros > 0:
            yield Finding(
                "loss_mismatch",
                "warning",
                output.layer,
                f"{zeros:.1%} of the targets are 0 under {output.loss.label}.",
                "A share of 0 is infinite: these rows outweigh all others.",
                "Use 'mae' or 'huber'.",
            )
    if name == "mean_squared_logarithmic_error" and kind.low < 0:
        yield Finding(
            "label_range",
            "error",
            output.layer,
            f"The targets go down to {kind.low:.4g} under {output.loss.label}.",
            "The loss takes the logarithm of 1 + target and cuts negative ones off.",
            "Use 'mse', or targets from 0 on.",
        )


def _of_positive(output):
    kind, name = output.kind, output.loss.label
    if kind.low < 0:
        yield Finding(
            "label_range",
            "error",
            output.layer,
            f"The targets go down to {kind.low:.4g} under {name}.",
            "The loss is for counts or shares, which are not negative.",
            "Use a regression loss such as 'mse'.",
        )
    if output.activation in ("linear", "tanh", "elu", "selu", "leaky_relu"):
        wanted = "softmax" if output.loss.name == "kl_divergence" else "exponential"
        yield Finding(
            "output_activation_mismatch",
            "warning",
            output.layer,
            f"The output has the activation {output.activation} under {name}.",
            "The loss takes the logarithm of the output, which may be negative here.",
            f"Use activation='{wanted}'" + (" or 'softplus'." if wanted != "softmax" else "."),
        )


def _squeezed(array):
    shape = array.shape
    while len(shape) > 1 and shape[-1] == 1:
        shape = shape[:-1]
    return shape
