"""Faults seen in what was recorded of every layer during training."""

import numpy as np

from keras_deeptricks.diagnostics.doctor.finding import Finding
from keras_deeptricks.diagnostics.history_shape import first_not_finite, late_count

# Some units of a ReLU layer are always zero on a batch; where it is most, the layer is crippled.
DEAD_SHARE, ALL_DEAD_SHARE = 0.6, 0.95
# An activation is at its flat ends now and then, in a layer that learns not for most values.
SATURATED_SHARE = 0.6
# In a network that trains, gradients of layers differ by some orders of magnitude, not by five.
VANISHING_RATIO = 1e-5
# A gradient may grow tenfold while training finds its way; a hundredfold is an explosion, and
# only where it is large beside the number one that clipping usually keeps it to.
EXPLODING_GROWTH, EXPLODING_NORM = 100.0, 100.0


def layer_findings(layers):
    """The findings of `layers[layer][statistic]`, arrays with one value per epoch."""
    findings = []
    for layer, series in layers.items():
        findings += _dead(layer, series.get("dead_share"))
        findings += _saturated(layer, series.get("saturated_share"))
        findings += _exploding(layer, series.get("gradient_norm"))
    return findings + _vanishing(layers)


def first_layer_not_finite(layers):
    """(layer, statistic, epoch) where a value first became NaN or infinite, or None.

    Of one epoch's, activations come before gradients and updates, and layers in their order:
    what is NaN in one layer is NaN in all that follow.
    """
    order = ("activation", "dead", "saturated", "gradient")
    found = []
    for place, (layer, series) in enumerate(layers.items()):
        for statistic, values in series.items():
            epoch = first_not_finite(values)
            if epoch is not None:
                kind = next((i for i, o in enumerate(order) if statistic.startswith(o)), len(order))
                found.append((epoch, kind, place, layer, statistic))
    if not found:
        return None
    epoch, _, _, layer, statistic = min(found)
    return layer, statistic, epoch


def median_update_ratio(layers):
    """The median over layers and epochs of the updates' size beside the weights', or None."""
    ratios = [_finite(series["update_ratio"]) for series in layers.values() if _has(series)]
    # The first epoch's are those of weights that start at zero.
    ratios = [np.median(values[1:] if len(values) > 1 else values) for values in ratios]
    return float(np.median(ratios)) if ratios else None


def _has(series):
    return "update_ratio" in series and len(_finite(series["update_ratio"])) > 0


def _dead(layer, share):
    early, late = _early_and_late(share)
    if min(early, late) < DEAD_SHARE and late < ALL_DEAD_SHARE:
        return []
    return [
        Finding(
            "dead_units",
            "error" if late >= ALL_DEAD_SHARE else "warning",
            layer,
            f"{late:.0%} of the units were zero for every row at the end, {early:.0%} in the "
            "first half of the training.",
            "A unit that is zero for every row has no gradient and does not learn any more.",
            "Lower the learning rate, begin with he_normal weights and zero biases, standardize "
            "the inputs, or use elu or leaky_relu.",
        )
    ]


def _saturated(layer, share):
    early, late = _early_and_late(share)
    # Confident outputs saturate at the end of a good training, so both have to.
    if min(early, late) < SATURATED_SHARE:
        return []
    return [
        Finding(
            "saturated_units",
            "warning",
            layer,
            f"{late:.0%} of the activations sat in the flat part of their function at the end, "
            f"{early:.0%} in the first half of the training.",
            "Where an activation is flat its gradient is nearly zero, and layers before it learn "
            "slowly or not at all.",
            "Standardize the inputs, begin with glorot_uniform weights, lower the learning rate, "
            "or use relu or elu in hidden layers.",
        )
    ]


def _exploding(layer, norms):
    norms = _finite(norms)
    if len(norms) < 2:
        return []
    late = float(np.median(norms[-late_count(len(norms)) :]))
    if late < EXPLODING_NORM or late < EXPLODING_GROWTH * norms[0]:
        return []
    return [
        Finding(
            "exploding_gradient",
            "warning",
            layer,
            f"The gradient's norm grew from {norms[0]:.3g} to {late:.3g}.",
            "Steps follow the gradient: when it grows so much they throw the weights about.",
            "Clip gradients (clipnorm=1.0 of the optimizer), lower the learning rate, or add "
            "normalization.",
        )
    ]


def _vanishing(layers):
    norms = {layer: _finite(series.get("gradient_norm")) for layer, series in layers.items()}
    # The first half: at the end of a good training all gradients are small.
    medians = {
        layer: float(np.median(values[: max(len(values) // 2, 1)]))
        for layer, values in norms.items()
        if len(values)
    }
    if len(medians) < 2:
        return []
    largest = max(medians.values())
    first = next(iter(medians))
    if not largest > 0 or medians[first] > VANISHING_RATIO * largest:
        return []
    return [
        Finding(
            "vanishing_gradient",
            "warning",
            first,
            f"The gradient's norm is {medians[first]:.2g} in the layer '{first}' and up to "
            f"{largest:.2g} in others.",
            "The first layers get next to no gradient and stay as they were at the start.",
            "Use relu, elu or selu with their initializers, add batch normalization or shortcuts, "
            "or take fewer layers.",
        )
    ]


def _early_and_late(values):
    values = _finite(values)
    if not len(values):
        return 0.0, 0.0
    early = values[: max(len(values) // 2, 1)]
    return float(np.median(early)), float(np.median(values[-late_count(len(values)) :]))


def _finite(values):
    values = np.asarray([] if values is None else values, "float64")
    return values[np.isfinite(values)]
