"""Mean differences of paired measurements, their confidence intervals and p-values."""

import dataclasses
import math

import numpy as np

from keras_deeptricks.utils.checks import check_integer, check_number

# Differences that vary by less than this share of the measurements vary by rounding alone.
_ROUNDING = 1e-12


@dataclasses.dataclass(frozen=True)
class PairedDifference:
    """The mean of paired differences, with what Student's t says of it.

    Attributes:
        pairs: Number of pairs in which both values are finite.
        mean: Mean difference; NaN without pairs.
        low, high: Ends of its confidence interval; NaN for fewer than two pairs.
        p_value: Two-sided p-value of "the mean difference is zero"; NaN for fewer than two pairs.
    """

    pairs: int
    mean: float
    low: float
    high: float
    p_value: float


def paired_difference(first, second, confidence=0.95):
    """The mean of `first` − `second` with its confidence interval and p-value.

    For two ways of training that were run with the same seeds: what the seeds have in common
    cancels in each difference. Pairs with a value that is not finite are left out. Where all
    differences are equal the interval is that one number, with the p-value 0, or 1 if the
    number is 0: the limits of Student's t.

    Args:
        first, second: Arrays of shape (pairs,).
        confidence: Probability of the interval, above 0 and below 1. Defaults to `0.95`.

    Returns:
        A `PairedDifference`.

    Raises:
        ValueError: The shapes differ, or `confidence` is out of its range.

    Example:

    ```python
    from keras_deeptricks.diagnostics.paired_differences import paired_difference

    difference = paired_difference([0.91, 0.93, 0.95], [0.90, 0.91, 0.92])
    assert round(difference.mean, 3) == 0.02 and difference.low < 0 < difference.high
    ```

    Reference: Student, The probable error of a mean, Biometrika 6, 1908.
    """
    confidence = check_number("confidence", confidence, above=0, below=1)
    first, second = np.asarray(first, "float64"), np.asarray(second, "float64")
    if first.shape != second.shape or first.ndim != 1:
        raise ValueError(
            "`first` and `second` must have the same shape (pairs,). Received the shapes "
            f"{first.shape} and {second.shape}."
        )
    finite = np.isfinite(first) & np.isfinite(second)
    first, second = first[finite], second[finite]
    pairs, nothing = len(first), float("nan")
    if pairs == 0:
        return PairedDifference(0, nothing, nothing, nothing, nothing)
    differences = first - second
    mean = float(differences.mean())
    if pairs == 1:
        return PairedDifference(1, mean, nothing, nothing, nothing)
    rounding = _ROUNDING * max(np.abs(first).max(), np.abs(second).max())
    if np.ptp(differences) <= rounding:
        if abs(mean) <= rounding:
            return PairedDifference(pairs, 0.0, 0.0, 0.0, 1.0)
        return PairedDifference(pairs, mean, mean, mean, 0.0)
    error = float(differences.std(ddof=1)) / math.sqrt(pairs)
    half = student_t_quantile(confidence, pairs - 1) * error
    p_value = student_t_p_value(mean / error, pairs - 1)
    return PairedDifference(pairs, mean, mean - half, mean + half, p_value)


def holm(p_values):
    """Holm's adjusted p-values of several tests.

    Rejecting where the adjusted value is at most α keeps the chance of any false rejection among
    all the tests at α, whatever their dependence. NaN stands for no test and stays NaN.

    Args:
        p_values: Array of shape (tests,).

    Returns:
        An array of the same shape.

    Example:

    ```python
    from keras_deeptricks.diagnostics.paired_differences import holm

    assert holm([0.01, 0.04, 0.03]).tolist() == [0.03, 0.06, 0.06]
    ```

    Reference: Holm, A simple sequentially rejective multiple test procedure, 1979.
    """
    p_values = np.asarray(p_values, "float64")
    adjusted = np.full(p_values.shape, np.nan)
    tests = np.flatnonzero(~np.isnan(p_values))
    order = tests[np.argsort(p_values[tests], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(factors * p_values[order]), 1.0)
    return adjusted


def student_t_p_value(t, degrees_of_freedom):
    """The probability that Student's t is at least as far from zero as `t`.

    Args:
        t: A number.
        degrees_of_freedom: Whole number of at least 1.

    Example:

    ```python
    from keras_deeptricks.diagnostics.paired_differences import student_t_p_value

    assert abs(student_t_p_value(1.0, 1) - 0.5) < 1e-12
    ```

    Reference: Abramowitz & Stegun, Handbook of mathematical functions, 26.7.1.
    """
    n = check_integer("degrees_of_freedom", degrees_of_freedom, minimum=1)
    square = float(t) ** 2
    if math.isnan(square):
        return square
    if math.isinf(square):
        return 0.0
    return _incomplete_beta(n / (n + square), square / (n + square), n / 2, 0.5)


def student_t_quantile(confidence, degrees_of_freedom):
    """The number that Student's t is within, on both sides of zero, with this probability.

    Args:
        confidence: Probability, above 0 and below 1.
        degrees_of_freedom: Whole number of at least 1.

    Example:

    ```python
    from keras_deeptricks.diagnostics.paired_differences import student_t_quantile

    assert round(student_t_quantile(0.95, 4), 3) == 2.776
    ```

    Reference: Student, The probable error of a mean, Biometrika 6, 1908.
    """
    outside = 1 - check_number("confidence", confidence, above=0, below=1)
    low, high = 0.0, 1.0
    while student_t_p_value(high, degrees_of_freedom) > outside:
        low, high = high, 2 * high
    while True:
        middle = (low + high) / 2
        if not low < middle < high:
            return high
        if student_t_p_value(middle, degrees_of_freedom) > outside:
            low = middle
        else:
            high = middle


def _incomplete_beta(x, rest, a, b):
    """The regularized incomplete beta function I_x(a, b); `rest` is 1 − x, without its rounding."""
    if x == 0 or rest == 0:
        return 0.0 if x == 0 else 1.0
    # On this side the continued fraction converges in a few terms.
    if x > (a + 1) / (a + b + 2):
        return 1 - _incomplete_beta(rest, x, b, a)
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    log_front += a * math.log(x) + b * math.log(rest)
    return math.exp(log_front) / (a * _beta_fraction(x, a, b))


def _beta_fraction(x, a, b):
    """The continued fraction 26.5.8 of Abramowitz & Stegun, by Lentz' method."""
    tiny = 1e-300
    fraction, numerators, denominators = 1.0, 1.0, 0.0
    for term in range(1, 10_000):
        m = term // 2
        if term % 2:
            factor = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            factor = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        denominators = 1 / ((1 + factor * denominators) or tiny)
        numerators = (1 + factor / numerators) or tiny
        change = numerators * denominators
        fraction *= change
        if abs(change - 1) < 1e-15:
            break
    return fraction
