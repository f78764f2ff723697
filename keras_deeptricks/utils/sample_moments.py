"""Moments of samples that come in parts."""


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
