"""Detects settings of the optimizer out of their useful ranges, as far as they can be read."""

import math

import keras

from keras_deeptricks.diagnostics.doctor.finding import Finding
from keras_deeptricks.diagnostics.doctor.short_runs import peak_rate
from keras_deeptricks.utils.compiled_step import single_optimizers

# An average over 1/(1 − momentum) steps: from 0.999 on the update of a step acts for a thousand.
_MOMENTUM = 0.999
# Adam's second moment over fewer than two steps follows single gradients.
_SECOND_MOMENT = 0.5
# Adam divides by √v + epsilon; gradients of 1e-2 to 1e-4 are usual, so that such an epsilon
# decides on the step in place of v.
_EPSILON, _LARGE_EPSILON = 1e-2, 0.1
# A norm of the whole gradient of 1e-4 and less is that of a trained network.
_CLIP = 1e-4
_ADAMS = ("Adam", "AdamW", "Nadam", "Adamax", "Lamb")
_AVERAGES = {"momentum": "momentum", "beta_1": "first moment"}
_SQUARES = {"beta_2": _SECOND_MOMENT, "rho": _SECOND_MOMENT}


def learning_rate_sign(case):
    """A learning rate of exactly 0, or below."""
    for optimizer in single_optimizers(case.model.optimizer):
        rate = peak_rate(optimizer)
        if rate is None or rate > 0:
            continue
        effect = "No weight changes." if rate == 0 else "Each step goes uphill: the loss grows."
        yield Finding(
            "learning_rate_too_low",
            "error",
            "learning_rate",
            f"The learning rate of {type(optimizer).__name__} is {rate:g}"
            + (", at its highest." if _has_schedule(optimizer) else "."),
            effect,
            "Pass a learning rate above 0, such as 1e-3 for Adam or 1e-2 for SGD.",
        )


def momentum(case):
    """Moving averages of gradients over far too many steps, or over none."""
    for optimizer in single_optimizers(case.model.optimizer):
        for argument, what in _AVERAGES.items():
            value = setting(optimizer, argument)
            if value is None:
                continue
            if value >= _MOMENTUM:
                yield _setting(
                    optimizer,
                    argument,
                    value,
                    "error" if value >= 1 else "warning",
                    f"Its {what} never forgets."
                    if value >= 1
                    else f"Its {what} averages over about {1 / (1 - value):,.0f} steps: it rolls "
                    "past every minimum and takes as long to get going.",
                    f"Pass {argument}=0.9.",
                )
            elif argument == "beta_1" and value == 0:
                yield _setting(
                    optimizer,
                    argument,
                    value,
                    "note",
                    "Without a first moment steps are as noisy as single batches; for GANs that "
                    "may be meant.",
                    "Pass beta_1=0.9.",
                )


def second_moment(case):
    """Moving averages of squared gradients over too few steps."""
    for optimizer in single_optimizers(case.model.optimizer):
        for argument, least in _SQUARES.items():
            value = setting(optimizer, argument)
            # Lion has a beta_2 that is a momentum.
            if value is None or isinstance(optimizer, keras.optimizers.Lion):
                continue
            if value < least or value >= 1:
                yield _setting(
                    optimizer,
                    argument,
                    value,
                    "error" if value >= 1 else "warning",
                    "The squared gradients are never learned."
                    if value >= 1
                    else "Each gradient is divided by little more than its own size: steps have "
                    "one size, whether a gradient matters or is noise.",
                    f"Pass {argument}={0.999 if argument == 'beta_2' else 0.9}.",
                )


def epsilon(case):
    """An epsilon that outweighs what it is added to."""
    for optimizer in single_optimizers(case.model.optimizer):
        value = setting(optimizer, "epsilon")
        if value is None or value < _EPSILON:
            continue
        # RMSprop is in use with an epsilon of 1 (Inception).
        is_adam = any(kind.__name__ in _ADAMS for kind in type(optimizer).__mro__)
        yield _setting(
            optimizer,
            "epsilon",
            value,
            "warning" if value >= _LARGE_EPSILON and is_adam else "note",
            "It outweighs the usual size of gradients: steps shrink with the gradients instead of "
            "being scaled to the learning rate.",
            "Pass epsilon=1e-7.",
        )


def clipping(case):
    """Gradients clipped to nothing."""
    for optimizer in single_optimizers(case.model.optimizer):
        for argument in ("clipnorm", "clipvalue", "global_clipnorm"):
            value = setting(optimizer, argument)
            if value is not None and value < _CLIP:
                yield _setting(
                    optimizer,
                    argument,
                    value,
                    "warning",
                    "Nearly every gradient is cut down to this size, so that steps are tiny and "
                    "all of one length.",
                    f"Pass {argument}=1.0, or leave it out.",
                )


def _setting(optimizer, argument, value, severity, explanation, remedy):
    return Finding(
        "optimizer_setting",
        severity,
        argument,
        f"{type(optimizer).__name__} has {argument}={value:g}.",
        explanation,
        remedy,
    )


def setting(optimizer, name):
    """A setting as a finite float, None where there is none or it has a schedule."""
    value = getattr(optimizer, name, None)
    if value is None or isinstance(value, bool):
        return None
    try:
        value = float(keras.ops.convert_to_numpy(value))
    except (TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None


def _has_schedule(optimizer):
    config = optimizer.get_config().get("learning_rate")
    return isinstance(config, dict)
