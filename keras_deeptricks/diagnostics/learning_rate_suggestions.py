"""Learning rates read off the curve of a range test, as pure functions of arrays."""

import math

import numpy as np


def smooth(losses, smoothing):
    """The bias-corrected exponential moving average of `losses`.

    Entry t is Σ βᵗ⁻ⁱ·lossᵢ / Σ βᵗ⁻ⁱ over i ≤ t, with β = `smoothing` from 0 to below 1.
    """
    average, weight = 0.0, 0.0
    smoothed = np.empty(len(losses))
    for index, loss in enumerate(np.asarray(losses, "float64")):
        average = smoothing * average + (1 - smoothing) * loss
        weight = smoothing * weight + (1 - smoothing)
        smoothed[index] = average / weight
    return smoothed


def valley(learning_rates, losses):
    """The rate half-way down the longest descent, at its second third.

    The longest strictly falling subsequence of the losses is the valley's slope; the rate lies
    half of a third past its first third. (Novak's "valley" in fastai.)
    """
    length = np.ones(len(losses), int)
    for i in range(1, len(losses)):
        longer = length[:i][losses[:i] > losses[i]]
        length[i] = 1 + (longer.max() if longer.size else 0)
    end = int(np.argmax(length))
    start = max(end - int(length[end]), 0)
    section = (end - start) / 3
    return float(learning_rates[start + int(section) + int(section / 2)])


def steepest(learning_rates, losses):
    """The rate at which the loss falls fastest over the logarithm of the rate."""
    return float(learning_rates[int(np.argmin(_slope(learning_rates, losses)))])


def midpoint(learning_rates, losses):
    """The geometric mean of the steepest point's rate and the lowest loss's.

    The first is where training goes fastest at once, the second where it breaks down: between
    them lies the peak of a cycle that is warmed up to it.
    """
    return math.sqrt(
        steepest(learning_rates, losses) * minimum_over_ten(learning_rates, losses) * 10
    )


def minimum_over_ten(learning_rates, losses):
    """A tenth of the rate with the lowest loss."""
    return float(learning_rates[int(np.argmin(losses))]) / 10


def sliding_slope(learning_rates, losses, gap=15, threshold=0.005):
    """The largest rate of a stretch, slid down from the high end, whose slope has settled.

    Two points `gap` steps apart slide from the right end to the left until the loss changes per
    step at both by nearly the same amount (within `threshold`, for losses scaled to the initial
    one); the left one's rate is taken. (The "slide" of fastai.)
    """
    change = np.gradient(losses / max(abs(losses[0]), np.finfo(float).tiny))
    right = len(losses) - 1
    gap = min(gap, right)
    left = right - gap
    while left > 0 and abs(change[right] - change[left]) > threshold:
        right -= 1
        left -= 1
    return float(learning_rates[left])


def _slope(learning_rates, losses):
    return np.gradient(losses, np.log(learning_rates))
