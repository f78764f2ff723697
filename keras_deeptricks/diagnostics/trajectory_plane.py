"""The plane that shows most of a path through the space of weights: its principal components."""

import numpy as np

# Less of the first component's variance than this is rounding of float32 weights.
_NO_VARIANCE = 1e-10


def trajectory_plane(path, count):
    """The first principal components of a path, seen from its end.

    The eigenvectors of the Gram matrix of the checkpoints give them, which is small, however many
    weights there are.

    Args:
        path: A list of checkpoints, each a list of NumPy arrays.
        count: Number of components.

    Returns:
        directions: A list of `count` lists of float64 arrays: orthonormal, with such signs that
            the path starts on the positive side.
        coordinates: The path from its end, (checkpoint − last checkpoint) · direction, of shape
            (checkpoints, count).
        shares: The share of the variance of the path along each direction, of shape (count,).

    Raises:
        ValueError: The path has fewer dimensions than `count`.
    """
    gram = np.zeros((len(path), len(path)))
    for arrays in zip(*path, strict=True):
        steps = _from_the_end(arrays)
        gram += steps @ steps.T
    centered = gram - gram.mean(axis=0) - gram.mean(axis=1, keepdims=True) + gram.mean()
    variances, vectors = np.linalg.eigh(centered)
    variances, vectors = np.maximum(variances[::-1], 0), vectors[:, ::-1]
    dimensions = int(np.sum(variances > _NO_VARIANCE * variances[0]))
    if dimensions < count:
        raise ValueError(
            f"`trajectory` must move along at least {count} directions of its own, which takes "
            f"{count + 1} different checkpoints or more. Received: {len(path)} checkpoints that "
            f"span {dimensions}. Record more of them"
            + (", or pass directions=1." if count > 1 and dimensions else ".")
        )
    # In float64, mixtures of the checkpoints that sum to 0: the mean of the path drops out.
    mixtures = vectors[:, :count] / np.sqrt(variances[:count])
    coordinates = gram @ mixtures
    signs = np.where(coordinates[0] < 0, -1.0, 1.0)
    mixtures, coordinates = mixtures * signs, coordinates * signs
    directions = [[] for _ in range(count)]
    for arrays in zip(*path, strict=True):
        found = mixtures.T @ _from_the_end(arrays)
        for direction, part in zip(directions, found, strict=True):
            direction.append(part.reshape(arrays[-1].shape))
    return directions, coordinates, variances[:count] / variances.sum()


def _from_the_end(arrays):
    """The differences of one weight's checkpoints to the last one, as rows."""
    rows = np.stack([np.ravel(array).astype("float64") for array in arrays])
    return rows - rows[-1]
