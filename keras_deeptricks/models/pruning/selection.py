"""Which entries of arrays of saliencies are pruned: exact counts, and ties in order."""

import numpy as np


def gone_by_fraction(saliencies, gone, fraction):
    """The lowest entries, with those that are gone already, until a share of all is gone.

    The number is `fraction` times that of all entries, rounded to the nearest (.5 to the even one).
    Of equal saliencies the first ones go. Where more than that is gone already, nothing is added.

    Args:
        saliencies: List of arrays, without NaN.
        gone: List of boolean arrays of these shapes.
        fraction: From 0 to 1.

    Returns:
        A list of boolean arrays, True where an entry goes or is gone.
    """
    values = np.concatenate([np.ravel(array) for array in saliencies])
    chosen = np.concatenate([np.ravel(array) for array in gone])
    missing = round(fraction * len(values)) - int(chosen.sum())
    if missing > 0:
        free = ~chosen
        limit = np.partition(values[free], missing - 1)[missing - 1]
        chosen = chosen | (free & (values < limit))
        left = missing - int((free & chosen).sum())
        chosen[np.flatnonzero(free & (values == limit))[:left]] = True
    ends = np.cumsum([array.size for array in saliencies])[:-1]
    parts = np.split(chosen, ends)
    return [part.reshape(array.shape) for part, array in zip(parts, saliencies, strict=True)]


def gone_by_threshold(saliencies, gone, threshold):
    """All entries below the threshold, and those that are gone already, likewise."""
    pairs = zip(saliencies, gone, strict=True)
    return [(np.asarray(array) < threshold) | before for array, before in pairs]
