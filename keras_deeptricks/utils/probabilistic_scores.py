"""What predicted probabilities and densities are worth, computed in double precision.

`task` says what the entries of a prediction are. `"classification"`: the probabilities of classes,
which sum to one over the last axis. `"binary"`: each a probability of its own, as of a sigmoid.
`"regression"`: numbers.
"""

import numpy as np

from keras_deeptricks.utils.checks import check_integer

TASKS = ("classification", "binary", "regression")
# A float32 softmax saturates at exactly 0 or 1. The logarithm of 0 would let a single row decide
# the mean; this bounds its cost at 27.6 nats, and touches nothing between 1e-12 and 1 − 1e-12.
SMALLEST_PROBABILITY = 1e-12
# A float16 softmax over a thousand classes sums to 1 within a few thousandths.
PROBABILITY_TOLERANCE = 1e-2


def check_probabilities(name, values, task):
    """Refuses what cannot be probabilities of that task.

    Raises:
        ValueError: an entry is outside 0 to 1, or the last axis does not sum to one.
    """
    low, high = values.min(initial=0), values.max(initial=1)
    rule = "probabilities from 0 to 1"
    wrong = max(-low, high - 1) > PROBABILITY_TOLERANCE
    if task == "classification":
        rule += " that sum to one over the last axis"
        gap = abs(values.sum(axis=-1, dtype="float64") - 1)
        wrong = wrong or values.ndim < 2 or gap.max(initial=0) > PROBABILITY_TOLERANCE
    if wrong or not np.isfinite([low, high]).all():
        raise ValueError(
            f"`{name}` of the task {task!r} must hold {rule}. If the model gives logits, apply "
            f"softmax or sigmoid first; if it predicts numbers, the task is 'regression'. "
            f"Received: {name} of shape {values.shape} from {low:.3g} to {high:.3g}."
        )


def entropy(probabilities, task):
    """The entropy in nats: of the last axis (classification), of each entry (binary), or None.

    0·log 0 counts as 0, and so does a probability that rounding made negative.
    """
    if task == "regression":
        return None
    p = np.clip(np.asarray(probabilities, "float64"), 0, 1)
    if task == "classification":
        return _negative_p_log_p(p).sum(axis=-1)
    return _negative_p_log_p(p) + _negative_p_log_p(1 - p)


def align(y, shape):
    """`y` in that shape, from which it may differ by a last axis of 1.

    Raises:
        ValueError: it differs by more.
    """
    y = np.asarray(y)
    if y.shape == shape:
        return y
    if y.shape == (*shape, 1) or (*y.shape, 1) == shape:
        return y.reshape(shape)
    raise ValueError(
        f"`y` must have the shape {shape} of the predictions, but for a last axis of 1. Received: "
        f"y of shape {y.shape}."
    )


def class_indices(y, mean):
    """The classes that `y` tells, as integers of the shape of `mean` without its last axis.

    Args:
        y: Class indices of any dtype that holds whole numbers, also with a last axis of 1; or
            one-hot or soft targets of the shape of `mean`, whose largest entry counts.
        mean: Predicted probabilities, of shape (rows, ..., classes).

    Raises:
        ValueError: the shapes do not fit, an index is no whole number or no class, or soft
            targets are negative or do not sum to one.
    """
    y = np.asarray(y)
    if _is_dense(y, mean):
        if y.min(initial=0) < 0 or (abs(y.sum(axis=-1) - 1) > PROBABILITY_TOLERANCE).any():
            raise ValueError(
                "One-hot or soft targets `y` must be at least 0 and sum to one over the last "
                f"axis. Received: sums from {y.sum(axis=-1).min():.3g} to "
                f"{y.sum(axis=-1).max():.3g}, entries from {y.min():.3g}."
            )
        return y.argmax(axis=-1)
    y, classes = align(y, mean.shape[:-1]), mean.shape[-1]
    labels = y.astype("int64")
    if (labels != y).any() or labels.min(initial=0) < 0 or labels.max(initial=0) >= classes:
        raise ValueError(
            f"`y` must hold class indices, whole numbers from 0 to {classes - 1}. Received: y from "
            f"{y.min()} to {y.max()}."
        )
    return labels


def binary_targets(y, shape):
    """The binary targets `y` as floats of that shape, from which it may differ by a last axis of 1.

    Raises:
        ValueError: it differs by more, or a target is outside 0 to 1.
    """
    y = align(y, shape).astype("float64")
    if y.min(initial=0) < 0 or y.max(initial=1) > 1:
        raise ValueError(
            "Binary targets `y` must be 0 or 1, or probabilities between. Received: y from "
            f"{y.min():.3g} to {y.max():.3g}."
        )
    return y


def log_probability(y, mean, task):
    """The logarithm of the probability that was given to `y`, per row, pixel or binary entry.

    Of soft targets it is Σ y·log p, minus the cross entropy. A probability below 1e-12 counts as
    1e-12.
    """
    p = np.clip(np.asarray(mean, "float64"), SMALLEST_PROBABILITY, 1)
    if task == "binary":
        y = binary_targets(y, p.shape)
        other = np.clip(1 - np.asarray(mean, "float64"), SMALLEST_PROBABILITY, 1)
        return y * np.log(p) + (1 - y) * np.log(other)
    labels = class_indices(y, p)
    if _is_dense(np.asarray(y), p):
        return (np.asarray(y, "float64") * np.log(p)).sum(axis=-1)
    return np.log(_of_label(p, labels))


def brier_score(y, mean, task):
    """The squared distance of the probabilities from `y`, per row, pixel or binary entry.

    Classification: Σ_k (p_k − y_k)² over the classes, from 0 to 2, as first defined (Brier,
    Verification of forecasts expressed in terms of probability, 1950, equation 2). Binary:
    (p − y)², from 0 to 1, half of that over both classes.
    """
    p = np.asarray(mean, "float64")
    if task == "binary":
        return np.square(p - binary_targets(y, p.shape))
    labels = class_indices(y, p)
    if _is_dense(np.asarray(y), p):
        return np.square(p - y).sum(axis=-1)
    right = _of_label(p, labels)
    return np.square(p).sum(axis=-1) - np.square(right) + np.square(1 - right)


def reliability(confidence, correct, weights=None, bins=15):
    """Compares what is promised with what comes true, in bins of equal width from 0 to 1.

    A confidence on an edge belongs to the bin below it.

    Args:
        confidence: Predicted probabilities.
        correct: Whether each came true: True and False, or numbers from 0 to 1.
        weights: The weight of each, or None.
        bins: Number of bins, at least 1. Defaults to `15`.

    Returns:
        Arrays of one entry a bin: the mean confidence and the frequency (both NaN in an empty
        bin), and the bin's share of the weight.
    """
    bins = check_integer("bins", bins, minimum=1)
    confidence, correct, weights = _flat(confidence, correct, weights)
    at = np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], confidence)
    total = np.bincount(at, weights, bins)
    with np.errstate(invalid="ignore"):
        mean = np.bincount(at, weights * confidence, bins) / total
        frequency = np.bincount(at, weights * correct, bins) / total
    return mean, frequency, total / weights.sum()


def expected_calibration_error(confidence, correct, weights=None, bins=15):
    """The mean gap between confidence and frequency over the bins of `reliability`.

    Reference: Guo, Pleiss, Sun & Weinberger, On calibration of modern neural networks, 2017,
    equation 3.
    """
    return calibration_gap(*reliability(confidence, correct, weights, bins))


def calibration_gap(mean, frequency, share):
    """The expected calibration error of bins that `reliability` gave."""
    filled = share > 0
    return float((share * abs(mean - frequency))[filled].sum())


def rejection_curve(uncertainty, score_per_row, weights=None, points=20):
    """The mean score of the most certain share of the rows, for growing shares.

    A share that ends within a row, or among rows of equal uncertainty, takes the same part of each
    of these: the mean over all orders they could have.

    Args:
        uncertainty: A number per row; the lowest are kept first.
        score_per_row: The score to average.
        weights: The weight of each row, or None.
        points: Number of shares, at equal distances up to 1. Defaults to `20`.

    Returns:
        The shares, and the mean score of each.
    """
    points = check_integer("points", points, minimum=1)
    uncertainty, score, weights = _flat(uncertainty, score_per_row, weights)
    _, group = np.unique(uncertainty, return_inverse=True)
    weight_below = np.append(0, np.cumsum(np.bincount(group, weights)))
    score_below = np.append(0, np.cumsum(np.bincount(group, weights * score)))
    shares = np.arange(1, points + 1) / points
    kept = shares * weight_below[-1]
    return shares, np.interp(kept, weight_below, score_below) / kept


def _negative_p_log_p(p):
    return -p * np.log(np.where(p > 0, p, 1))


def _is_dense(y, mean):
    return y.shape == mean.shape and mean.shape[-1] > 1


def _of_label(p, labels):
    return np.take_along_axis(p, labels[..., None], axis=-1)[..., 0]


def _flat(first, second, weights):
    first, second = np.asarray(first, "float64"), np.asarray(second, "float64")
    weights = np.ones(first.shape) if weights is None else np.asarray(weights, "float64")
    return first.ravel(), second.ravel(), weights.ravel()
