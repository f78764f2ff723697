"""Mean, spread, entropy and quantiles of the samples of a prediction."""

import numpy as np

from keras_deeptricks.utils.checks import check_choice
from keras_deeptricks.utils.probabilistic_scores import TASKS, check_probabilities, entropy


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
    mean = samples.mean(axis=0, dtype="float64")
    # Pass by pass: the samples in double precision may not fit in memory. And from the mean:
    # the mean of the squares less the square of the mean would cancel.
    squares = sum(np.square(sample - mean) for sample in samples)
    found = {"mean": mean, "std": np.sqrt(squares / len(samples)), "samples": samples}
    if task != "regression":
        found["expected_entropy"] = sum(entropy(s, task) for s in samples) / len(samples)
    if levels is not None:
        found["quantiles"] = np.quantile(samples.astype("float64"), levels, axis=0)
    found = {name: value.astype("float32") for name, value in found.items()}
    return {"expected_entropy": None, **found}
