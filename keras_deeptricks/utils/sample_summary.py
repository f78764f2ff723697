"""Mean, spread, entropy and quantiles of the samples of a prediction."""

import numpy as np

from keras_deeptricks.utils.checks import check_choice, check_number
from keras_deeptricks.utils.probabilistic_scores import TASKS, check_probabilities
from keras_deeptricks.utils.sample_moments import moments_of


def sample_summary(samples, task, levels):
    """What is kept of the passes of one output, computed in double precision.

    Args:
        samples: Array of shape (passes, rows, ...).
        task: `"classification"`, `"binary"` or `"regression"`.
        levels: Levels of the quantiles to take, or None.

    Returns:
        A dictionary of float32 arrays: `mean`, `std`, `samples`, `expected_entropy` (None for a
        regression) and, if there are levels, `quantiles`.

    Raises:
        ValueError: The task is unknown, or the samples are none, not finite or no probabilities.
    """
    check_choice("task", task, TASKS)
    samples = np.asarray(samples)
    if samples.ndim < 2 or not len(samples):
        raise ValueError(
            "`samples` must have the shape (passes, rows, ...), with at least one pass. Received: "
            f"samples of shape {samples.shape}."
        )
    if not np.isfinite(samples).all():
        raise ValueError("`samples` must be finite. Received: samples with NaN or infinities.")
    if task != "regression":
        check_probabilities("samples", samples, task)
    found = summary_of_moments(moments_of(samples, task), len(samples))
    if levels is not None:
        found["quantiles"] = quantiles_of(samples, levels)
    return {**found, "samples": samples.astype("float32")}


def summary_of_moments(moments, passes):
    """`mean`, `std` and `expected_entropy` (None for a regression) in float32."""
    mean, squares, *entropies = moments
    found = {"mean": mean, "std": np.sqrt(np.maximum(squares, 0.0) / passes)}
    found = {name: np.asarray(value, "float32") for name, value in found.items()}
    entropies = [np.asarray(value, "float32") for value in entropies]
    return {**found, "expected_entropy": entropies[0] if entropies else None}


def quantiles_of(samples, levels):
    """The quantiles of the passes, of shape (levels, rows, …), as float32."""
    return np.quantile(samples.astype("float64"), levels, axis=0).astype("float32")


def check_levels(quantiles):
    """Levels of quantiles as a tuple of floats.

    Raises:
        TypeError: one is no number.
        ValueError: there are none, or one is not within 0 and 1.
    """
    levels = np.ravel(np.asarray(quantiles, dtype=object)).tolist()
    if not levels:
        raise ValueError("`quantiles` must name at least one level from 0 to 1. Received: none.")
    return tuple(check_number("quantiles", level, minimum=0, maximum=1) for level in levels)
