"""Inputs that reach the first weights in units of their own."""

import dataclasses

import numpy as np

from keras_deeptricks.diagnostics.doctor.entrances import entrances
from keras_deeptricks.diagnostics.doctor.finding import Finding

# Root of the mean square of a feature. Weights are initialized for 1. From 30 on pre-activations
# start so large that units saturate or die, and gradients are a thousand times as steep along this
# feature as along others; between, a usual rate still copes, only slower.
LARGE, NOTED = 30.0, 10.0
# Bytes as they come reach 255. Dark images have a smaller root of the mean square than LARGE.
LARGEST_OF_SCALED_PIXELS, LARGE_OF_BYTES = 100.0, 10.0
# A mean of so many deviations makes the feature a second bias: the curvature along it is the
# square of it larger than along the feature's own variation. Below 1 the mean itself is harmless.
FAR_OFF, NOTED_OFF, HARMLESS_MEAN = 30.0, 12.0, 1.0
# Deviations so small that the network starts, and for long remains, a constant function.
# Pixels that were divided by 255 twice are below a hundredth.
TINY, TINY_AT_MOST = 1e-3, 0.01
# The largest deviation of a column to the smallest.
UNEVEN = 100.0
_BYTES = "Divide pixels by 255, in the data or with keras.layers.Rescaling(1 / 255) at the input."
_STANDARDIZE = (
    "Standardize the features with the training data's mean and deviation, for example with "
    "keras_deeptricks.layers.Standardization at the input, adapted to them."
)


@dataclasses.dataclass(frozen=True, eq=False)
class FeatureScales:
    """Mean, deviation and root of the mean square of each feature, and the largest value of all."""

    mean: np.ndarray
    deviation: np.ndarray
    size: np.ndarray
    largest: float
    is_binary: np.ndarray


def feature_scales(values, axis=-1):
    """The `FeatureScales` of an array, whose features lie along `axis`.

    Example:

    ```python
    import numpy as np
    from keras_deeptricks.diagnostics.doctor.input_scale import feature_scales

    scales = feature_scales(np.array([[3.0, 10.0], [5.0, 10.0]]))
    assert scales.mean.tolist() == [4.0, 10.0] and scales.deviation.tolist() == [1.0, 0.0]
    ```
    """
    values = np.moveaxis(np.asarray(values), axis, -1)
    table = values.reshape(-1, values.shape[-1])
    mean = table.mean(axis=0, dtype="float64")
    deviation = table.std(axis=0, dtype="float64")
    return FeatureScales(
        mean=mean,
        deviation=deviation,
        size=np.sqrt(mean**2 + deviation**2),
        largest=float(np.abs(table).max(initial=0)),
        is_binary=((table == 0) | (table == 1)).all(axis=0),
    )


def scale_verdict(scales, is_image=False):
    """What is wrong with features of such scales.

    Returns:
        (severity, one of `"large"`, `"bytes"`, `"offset"`, `"tiny"`, `"uneven"`, places of the
        features concerned), or None.
    """
    varying = scales.deviation > 1e-6 * np.maximum(np.abs(scales.mean), 1e-30)
    if not varying.any():
        return None
    whole = float(np.sqrt(np.mean(scales.size**2)))
    if is_image and scales.largest > LARGEST_OF_SCALED_PIXELS and whole > LARGE_OF_BYTES:
        return "warning", "bytes", np.flatnonzero(scales.size > LARGE_OF_BYTES)
    # A constant feature acts as a bias, which is as bad if it is as large.
    large = np.flatnonzero(scales.size > LARGE)
    if len(large):
        return "warning", "large", large
    if scales.deviation[varying].max() < TINY or scales.largest < TINY_AT_MOST:
        return "warning", "tiny", np.flatnonzero(varying)
    ratio = np.abs(scales.mean) / np.where(varying, scales.deviation, np.inf)
    off = (ratio > FAR_OFF) & (np.abs(scales.mean) > HARMLESS_MEAN)
    if off.mean() > 0.5:
        return "warning", "offset", np.flatnonzero(off)
    noted = np.flatnonzero(scales.size > NOTED)
    if len(noted):
        return "note", "large", noted
    off = (ratio > NOTED_OFF) & (np.abs(scales.mean) > HARMLESS_MEAN)
    if off.any():
        return "note", "offset", np.flatnonzero(off)
    compared = np.flatnonzero(varying & ~scales.is_binary)
    deviations = scales.deviation[compared]
    if not is_image and 1 < len(compared) <= 64 and deviations.max() > UNEVEN * deviations.min():
        return "note", "uneven", compared[deviations * UNEVEN < deviations.max()]
    return None


def find_input_scale(case):
    """Features far from mean 0 and deviation 1 where the first kernel takes them."""
    if case.finite.rows < 2:
        return
    is_image = any(leaf.ndim >= 4 for leaf in case.finite.inputs)
    told = set()
    for entrance in entrances(case):
        scales = feature_scales(entrance.values, entrance.axis)
        images = is_image or (scales.mean.size >= 64 and entrance.values.ndim == 2)
        verdict = scale_verdict(scales, images)
        if verdict is None:
            continue
        severity, kind, places = verdict
        key = (kind, entrance.values.shape, float(scales.size.sum()))
        if key in told:
            # Several layers take the same inputs.
            continue
        told.add(key)
        uniform = scales.size.max() <= LARGE * scales.size[scales.size > 0].min(initial=np.inf)
        mild = entrance.normalized_after and (kind in ("bytes", "tiny") or uniform)
        if mild or not entrance.trainable:
            severity = "note"
        yield _finding(entrance, scales, severity, kind, places, mild)


def _finding(entrance, scales, severity, kind, places, mild):
    worst = places[np.argmax(scales.size[places])]
    if kind == "offset":
        worst = places[np.argmax(np.abs(scales.mean[places]) / scales.deviation[places])]
    elif kind in ("tiny", "uneven"):
        worst = places[np.argmin(scales.deviation[places])]
    many = "channels" if entrance.values.ndim > 2 else "features"
    evidence = (
        f"{len(places)} of {scales.mean.size} {many} that '{entrance.name}' takes are "
        f"{_WORDS[kind]}; feature {worst} has mean {scales.mean[worst]:.4g} and deviation "
        f"{scales.deviation[worst]:.4g}, and the largest value of all is {scales.largest:.4g}."
    )
    explanation = _EXPLANATIONS[kind]
    if mild:
        explanation = (
            "The normalization behind this layer takes the scale out again, so that it hardly "
            "counts. Penalties of the weights and clipping of gradients still depend on it."
        )
    elif not entrance.trainable:
        explanation = (
            "The layer is frozen. See that these are the values its weights were trained with."
        )
    return Finding(
        "input_scale",
        severity,
        entrance.name,
        evidence,
        explanation,
        _BYTES if kind == "bytes" else _STANDARDIZE,
    )


_WORDS = {
    "large": "large",
    "bytes": "pixels on a scale up to 255",
    "offset": "far from 0 beside their deviation",
    "tiny": "tiny",
    "uneven": "less than a hundredth as wide as others",
}
_LARGE = (
    "Weights are initialized for inputs around 0 with deviation 1. Larger ones saturate units or "
    "kill them at the start, and the steepest direction forces a small learning rate on all."
)
_EXPLANATIONS = {
    "large": _LARGE,
    "bytes": _LARGE,
    "offset": (
        "A large mean acts as a second bias: the loss is far steeper along it than along what the "
        "feature tells, so that training is slow."
    ),
    "tiny": (
        "Beside the biases such inputs count for nothing: the network starts as a constant "
        "function, and long remains one."
    ),
    "uneven": "The network hardly sees the narrow ones: their weights would have to grow a lot.",
}
