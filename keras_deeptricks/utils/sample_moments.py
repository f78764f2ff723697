"""Moments of samples, also of samples that come in parts."""

import numpy as np

from keras_deeptricks.utils.probabilistic_scores import entropy


def moments_of(samples, task):
    """Mean, sum of squared deviations and, for probabilities, mean entropy, in double precision.

    Args:
        samples: Array of shape (passes, rows, …).
        task: `"classification"`, `"binary"` or `"regression"`.

    Returns:
        A list of two or three arrays.
    """
    mean = samples.mean(axis=0, dtype="float64")
    # Pass by pass: the samples in double precision may not fit in memory. And from the mean:
    # the mean of the squares less the square of the mean would cancel.
    squares = sum(np.square(sample - mean) for sample in samples)
    if task == "regression":
        return [mean, squares]
    return [mean, squares, sum(entropy(sample, task) for sample in samples) / len(samples)]


def merged_moments(total, done, found, count):
    """The moments of `done` passes and of `count` more together, exactly.

    Args:
        total, found: For each output a list: mean, sum of squared deviations, and any number of
            further means, as arrays.
        done, count: How many passes each stands for.

    Example:

    ```python
    from keras_deeptricks.utils.sample_moments import merged_moments

    # 1 and 3, then 8: mean 4, squares 9 + 1 + 16.
    assert merged_moments([[2.0, 2.0]], 2, [[8.0, 0.0]], 1) == [[4.0, 26.0]]
    ```

    Reference: Chan, Golub & LeVeque, Updating formulae and a pairwise algorithm for computing
    sample variances, 1979, equation 2.1.
    """
    share = count / (done + count)
    merged = []
    for (mean, squares, *old), (new_mean, new_squares, *new) in zip(total, found, strict=True):
        gap = new_mean - mean
        others = [a + (b - a) * share for a, b in zip(old, new, strict=True)]
        squares = squares + new_squares + gap**2 * (done * share)
        merged.append([mean + gap * share, squares, *others])
    return merged
