"""What the shapes of training curves say: the learning rate's verdict, and faults."""

import dataclasses

import numpy as np

from keras_deeptricks.diagnostics.doctor.finding import Finding
from keras_deeptricks.diagnostics.history_shape import curve_shape, finite_part, late_count

# Fewer epochs have no shape.
FEWEST_EPOCHS = 4
# Epochs it takes to tell a slow descent from one that has only begun.
EPOCHS_FOR_SLOW = 8
# A loss that fell by less of itself, evenly, had hardly begun; up to the second figure it was slow.
HARDLY_FELL, FELL_SLOWLY = 0.15, 0.4
# The slope of an even descent is about the same in both halves; that of one that converges is not.
EVEN_SLOPES = 0.5
# The same rows under weights that do not move give the same loss but for rounding.
UNMOVED = 1e-3
# Rises of the loss that are no accident: beyond this many deviations of its noise.
CLEAR = 4.0
# … and beyond this share of the first loss, or from the best of the descent and of the first loss.
RISE_OF_FIRST, RISE_OF_DESCENT, RISE_OF_LEVEL = 0.02, 0.3, 0.05
# Jumps from epoch to epoch beside the whole descent, and beside the level reached: small data
# makes noise of some per cent, a rate that is too high makes much more.
JUMPS_OF_DESCENT, JUMPS_OF_LEVEL, EPOCHS_FOR_JUMPS = 0.2, 0.1, 8
# Without learning a loss is at the baseline; a first epoch this far above it was thrown there.
NEAR_BASELINE, ABOVE_BASELINE = 0.9, 3.0
# Accuracies: good enough that slow progress is no fault; so bad that no progress is one.
GOOD_ACCURACY, BAD_ACCURACY, SAME_ACCURACY = 0.9, 0.6, 0.03
# A loss that no longer changes by more than this share of itself stands still.
STANDS_STILL = 0.02
# Early stopping waits some epochs while the validation loss rises by a little.
RISE_OF_VALIDATION, EPOCHS_AFTER_BEST = 0.2, 3
# Accuracies of training and validation that lie so far apart, and losses as a share of the way.
GAP_OF_ACCURACY, GAP_OF_LOSS = 0.2, 0.6
# Steps beside the weights: around 1e-3 is usual, these are not.
LARGE_UPDATES, SMALL_UPDATES = 0.1, 1e-6
# A plateau that is told: so many epochs, at least this share of all, still at a high level.
PLATEAU_EPOCHS, PLATEAU_SHARE, PLATEAU_LEVEL = 10, 0.5, 0.5


@dataclasses.dataclass(frozen=True)
class Curves:
    """What the rules look at.

    Attributes:
        name: The name of the loss.
        loss: Its values.
        accuracy: Values of an accuracy, or None.
        baseline: The loss of guessing, or None.
        update_ratio: The usual size of a step beside the weights, or None.
    """

    name: str
    loss: np.ndarray
    accuracy: np.ndarray | None = None
    baseline: float | None = None
    update_ratio: float | None = None

    @property
    def is_positive(self):
        """True if the loss looks like one whose lowest value is 0."""
        return bool((finite_part(self.loss) >= 0).all())

    @property
    def late_accuracy(self):
        """The accuracy at the end, or None."""
        if self.accuracy is None or not len(finite_part(self.accuracy)):
            return None
        values = finite_part(self.accuracy)
        return float(np.median(values[-late_count(len(values)) :]))


def judge(curves):
    """The learning rate's verdict and the findings about the training loss.

    Returns:
        (one of `"too low"`, `"good"`, `"high"`, `"very high"`, `"undecided"`, list of findings).

    Reference: Karpathy, CS231n: Convolutional neural networks for visual recognition, "Babysitting
    the learning process", 2016 (the four curves).
    """
    values = finite_part(curves.loss)
    broke = len(values) < len(curves.loss)
    if len(values) < (2 if broke else FEWEST_EPOCHS):
        return ("very high" if _is_infinite_early(curves.loss) else "undecided"), []
    shape = curve_shape(values)
    for rule in (_broken, _risen, _thrown, _oscillating, _too_low, _stuck, _by_updates):
        found = rule(curves, shape, broke)
        if found is not None:
            return found
    falls = shape.descent > max(3 * shape.noise, STANDS_STILL * abs(shape.first))
    return ("good" if falls else "undecided"), _plateau(curves, shape)


def overfitting(curves, validation, name):
    """The finding that the validation loss rises, or lies far above the training loss; or none."""
    train, valid = finite_part(curves.loss), finite_part(validation)
    if min(len(train), len(valid)) < FEWEST_EPOCHS:
        return []
    shape = curve_shape(valid)
    still_falls = curve_shape(train).rise <= max(0.1 * curve_shape(train).descent, 0.0)
    least = max(RISE_OF_VALIDATION * max(abs(shape.best), shape.descent), 3 * shape.noise)
    after = shape.epochs - 1 - shape.best_epoch
    if shape.rise > least and after >= EPOCHS_AFTER_BEST and still_falls:
        at = round(shape.best_epoch * (len(train) - 1) / (len(valid) - 1)) + 1
        return [
            _overfit(
                f"{name} was lowest in epoch {at} ({shape.best:.4g}) and rose to "
                f"{shape.late_level:.4g}, while {curves.name} fell to {_late(train):.4g}."
            )
        ]
    if curves.accuracy is not None:
        return []
    # The first epoch's training loss is a mean over its course, so both starts count.
    way = max(train[0], valid[0]) - min(train.min(), valid.min())
    gap = shape.late_level - _late(train)
    twice = not curves.is_positive or shape.late_level > 2 * _late(train)
    if gap > max(GAP_OF_LOSS * way, 3 * shape.noise) and twice and still_falls:
        return [
            _overfit(
                f"{name} ended at {shape.late_level:.4g}, {curves.name} at {_late(train):.4g}: "
                f"a gap of {gap / way:.0%} of the whole descent."
            )
        ]
    return []


def accuracy_gap(name, training, validation):
    """The finding that an accuracy is far better in training than in validation; or none."""
    training, validation = finite_part(training), finite_part(validation)
    if min(len(training), len(validation)) < FEWEST_EPOCHS:
        return []
    gap = _late(training) - _late(validation)
    spread = curve_shape(-validation).noise
    if gap < max(GAP_OF_ACCURACY, 3 * spread):
        return []
    return [
        _overfit(
            f"At the end {name} was {_late(training):.3f} in training and "
            f"{_late(validation):.3f} in validation."
        )
    ]


def _broken(curves, shape, broke):
    """The loss grew before it became NaN."""
    if not broke:
        return None
    values = finite_part(curves.loss)
    infinite = np.isinf(curves.loss[len(values)])
    grew = shape.last > shape.first + CLEAR * min(shape.noise, abs(shape.first) / CLEAR)
    if not (infinite or grew):
        return "undecided", []
    evidence = f"{curves.name} grew from {shape.first:.4g} to {shape.last:.4g}"
    return "very high", [_too_high(f"{evidence} and then was no finite number any more.")]


def _risen(curves, shape, broke):
    """The loss ends above where it began, or far above its best."""
    noise = CLEAR * max(shape.late_noise, shape.noise)
    size = abs(shape.first) if curves.is_positive else float(np.ptp(finite_part(curves.loss)))
    if shape.late_level - shape.first > max(RISE_OF_FIRST * size, noise):
        return "very high", [
            _divergence(
                "error",
                f"{curves.name} rose from {shape.first:.4g} in the first epoch to "
                f"{shape.late_level:.4g} at the end.",
            ),
            _too_high(f"{curves.name} is higher at the end than at the beginning."),
        ]
    after = shape.epochs - 1 - shape.best_epoch
    if shape.rise > max(RISE_OF_DESCENT * shape.descent, noise) and after >= EPOCHS_AFTER_BEST:
        if curves.is_positive and shape.rise < RISE_OF_LEVEL * size:
            return None  # a curve that is flat altogether
        evidence = (
            f"{curves.name} was lowest in epoch {shape.best_epoch + 1} ({shape.best:.4g}) and "
            f"rose to {shape.late_level:.4g} at the end."
        )
        return "high", [_divergence("warning", evidence), _too_high(evidence)]
    return None


def _thrown(curves, shape, broke):
    """The first epoch lies far above what guessing gives."""
    base = curves.baseline
    if base is None or base <= 0 or shape.first < ABOVE_BASELINE * base:
        return None
    if shape.late_level < NEAR_BASELINE * base:
        return None  # it recovered: inputs or first weights may have been to blame
    return "very high", [
        _too_high(
            f"{curves.name} was {shape.first:.4g} in the first epoch and {shape.late_level:.4g} "
            f"at the end, where guessing gives {base:.4g}."
        )
    ]


def _oscillating(curves, shape, broke):
    if shape.epochs < EPOCHS_FOR_JUMPS or _is_good(curves):
        return None
    level = abs(shape.late_level) if curves.is_positive else 0.0
    jumps = shape.late_noise
    if jumps <= max(JUMPS_OF_DESCENT * shape.descent, JUMPS_OF_LEVEL * level):
        return None
    evidence = (
        f"In the second half {curves.name} jumps by ±{jumps:.3g} from epoch to epoch around "
        f"{shape.late_level:.4g}; since the beginning it fell by {max(shape.descent, 0):.3g}."
    )
    explanation = "Steps so long that they leap over the valley make the loss jump."
    remedy = "Lower the learning rate three- to tenfold, or take larger batches."
    return "high", [
        Finding("oscillation", "warning", None, evidence, explanation, remedy),
        _too_high(evidence),
    ]


def _too_low(curves, shape, broke):
    if not curves.is_positive or _is_good(curves) or shape.first <= 0:
        return None
    fell = shape.descent / shape.first
    values = finite_part(curves.loss)
    if np.ptp(values) == 0:
        return _unmoved(curves, shape)
    even = shape.late_slope < 0 and shape.late_slope <= EVEN_SLOPES * shape.early_slope
    smooth = shape.falling_share >= 0.75 and shape.noise < abs(shape.late_slope)
    barely = np.ptp(values) < UNMOVED * shape.first
    if not (even and smooth) and not barely:
        return None
    if fell < HARDLY_FELL:
        severity, how = "warning", "hardly fell"
    elif fell < FELL_SLOWLY and shape.epochs >= EPOCHS_FOR_SLOW:
        severity, how = "note", "fell slowly and evenly"
    else:
        return None
    return "too low", [
        Finding(
            "learning_rate_too_low",
            severity,
            "learning_rate",
            f"{curves.name} {how}: from {shape.first:.5g} to {shape.last:.5g} "
            f"({fell:.2%}) in {shape.epochs} epochs.",
            "A descent that is even and small to the last epoch comes from steps that are too "
            "short.",
            "Raise the learning rate tenfold, or find one with "
            "diagnostics.find_learning_rate(model, x, y).",
        )
    ]


def _unmoved(curves, shape):
    return "undecided", [
        Finding(
            "nothing_trainable",
            "warning",
            None,
            f"{curves.name} is exactly {shape.first:.6g} in every epoch.",
            "No step changes the loss: the weights are frozen, the rate is 0, or every gradient "
            "is zero.",
            "Look at model.trainable_weights, at the learning rate and for dead units.",
        )
    ]


def _stuck(curves, shape, broke):
    """From its second epoch on the loss stands still at a level that means nothing was learned."""
    after = finite_part(curves.loss)[1:]
    size = abs(shape.first) if curves.is_positive else max(float(np.ptp(after)), shape.descent)
    still = np.median(after[: len(after) // 2]) - np.median(after[len(after) // 2 :])
    if abs(still) > STANDS_STILL * size or _is_good(curves):
        return None
    base = curves.baseline
    if base is not None:
        bad = base > 0 and shape.late_level > NEAR_BASELINE * base
        evidence = f"{curves.name} stays at {shape.late_level:.4g}; guessing gives {base:.4g}."
    else:
        accuracy = finite_part(curves.accuracy) if curves.accuracy is not None else ()
        bad = len(accuracy) > 1 and curves.late_accuracy < BAD_ACCURACY
        bad = bad and abs(_late(accuracy) - np.median(accuracy[: len(accuracy) // 2])) < (
            SAME_ACCURACY
        )
        evidence = (
            f"{curves.name} stays at {shape.late_level:.4g}, and the accuracy at "
            f"{curves.late_accuracy or 0:.3f}."
        )
    if not bad:
        return None
    finding = Finding(
        "underfitting",
        "warning",
        None,
        evidence,
        "The model does not learn its own training data.",
        "Make sure that it can learn one batch: diagnostics.overfit_batch(model, x, y). Then try "
        "a lower learning rate, other first weights, or a larger model.",
    )
    # What fell at once and then stays on a high level was driven there by long steps.
    first_drop = shape.first - np.median(after)
    if first_drop > 3 * max(shape.noise, STANDS_STILL * abs(shape.late_level)):
        evidence = f"{curves.name} fell by {first_drop:.3g} at once and not any more. {evidence}"
        return "high", [finding, _too_high(evidence)]
    return "undecided", [finding]


def _by_updates(curves, shape, broke):
    """Curves that are not clear, where the size of the steps is."""
    ratio = curves.update_ratio
    if ratio is None or shape.descent > 0.5 * abs(shape.first) or _is_good(curves):
        return None
    evidence = f"A step changes the weights by {ratio:.2g} of themselves; about 1e-3 is usual."
    if ratio > LARGE_UPDATES:
        return "high", [_too_high(evidence)]
    if ratio < SMALL_UPDATES:
        return "too low", [
            Finding(
                "learning_rate_too_low",
                "warning",
                "learning_rate",
                evidence,
                "With steps so short training takes for ever.",
                "Raise the learning rate, or find one with diagnostics.find_learning_rate.",
            )
        ]
    return None


def _plateau(curves, shape):
    epochs = shape.epochs - shape.flat_since
    long = epochs >= PLATEAU_EPOCHS and epochs >= PLATEAU_SHARE * shape.epochs
    accuracy, base = curves.late_accuracy, curves.baseline
    high = accuracy is not None and accuracy < BAD_ACCURACY
    if base is not None and base > 0:
        high = shape.late_level > PLATEAU_LEVEL * base
    if not long or not high:
        return []
    return [
        Finding(
            "plateau",
            "note",
            None,
            f"{curves.name} has stood at {shape.late_level:.4g} since epoch "
            f"{shape.flat_since + 1} of {shape.epochs}.",
            "The last epochs changed nothing, and the level is still a high one.",
            "Lower the rate when the loss stands still (callbacks.PerformanceScheduling), or take "
            "a larger model.",
        )
    ]


def _is_good(curves):
    return curves.late_accuracy is not None and curves.late_accuracy >= GOOD_ACCURACY


def _is_infinite_early(loss):
    return bool(len(loss)) and bool(np.isinf(loss[:1]).all())


def _late(values):
    return float(np.median(values[-late_count(len(values)) :]))


def _divergence(severity, evidence):
    return Finding(
        "divergence",
        severity,
        None,
        evidence,
        "Training makes the model worse instead of better.",
        "Lower the learning rate tenfold, warm it up, or clip gradients (clipnorm=1.0).",
    )


def _too_high(evidence):
    return Finding(
        "learning_rate_too_high",
        "warning",
        "learning_rate",
        evidence,
        "Steps that are too long keep the weights from settling, or drive them away.",
        "Lower the learning rate three- to tenfold, or find one with "
        "diagnostics.find_learning_rate(model, x, y).",
    )


def _overfit(evidence):
    return Finding(
        "overfitting",
        "warning",
        None,
        evidence,
        "The model learns its training rows by heart, which does not help with new ones.",
        "Stop early (callbacks.EarlyStopping with restore_best_weights=True), get or augment more "
        "data, add dropout or weight decay, or take a smaller model.",
    )
