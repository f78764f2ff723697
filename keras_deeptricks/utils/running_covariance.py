"""Mean and covariance of streamed data, in double precision."""

import numpy as np


class RunningCovariance:
    """Collects the mean and covariance of batches of shape (rows, features), merged exactly.

    Reference: Chan, Golub & LeVeque, Updating formulae and a pairwise algorithm for computing
    sample variances, 1979, equation 2.1.
    """

    def __init__(self):
        self.count = 0
        self.mean = 0.0
        self.products = 0.0

    def update(self, batch):
        """Adds a batch.

        Raises:
            ValueError: it holds NaN or infinities, or has another number of features.
        """
        batch = np.asarray(batch, "float64")
        if not np.isfinite(batch).all():
            raise ValueError("The data holds NaN or infinite values: remove or replace them first.")
        if self.count and batch.shape[1] != len(self.mean):
            raise ValueError(
                f"The batches must have the same features. One has {batch.shape[1]}, the ones "
                f"before it {len(self.mean)}."
            )
        count = len(batch)
        if count == 0:
            return
        mean = batch.mean(axis=0)
        centred = batch - mean
        total = self.count + count
        gap = mean - self.mean
        share = self.count * count / total
        self.products = self.products + centred.T @ centred + share * np.outer(gap, gap)
        self.mean = self.mean + gap * (count / total)
        self.count = total

    def mean_and_covariance(self):
        """The mean and the (biased) covariance so far.

        Raises:
            ValueError: there were fewer than two rows.
        """
        if self.count < 2:
            raise ValueError(
                "A covariance needs at least 2 rows of data. "
                f"Received: {self.count or 'none, it is empty'}."
            )
        return self.mean, self.products / self.count


def principal_directions(covariance):
    """Variances, largest first, and the directions that have them, as columns.

    The signs are those of scikit-learn: the largest entry of a direction is positive.
    """
    variances, directions = np.linalg.eigh(covariance)
    variances, directions = np.maximum(variances[::-1], 0.0), directions[:, ::-1]
    largest = np.argmax(np.abs(directions), axis=0)
    signs = np.sign(directions[largest, np.arange(directions.shape[1])])
    return variances, directions * signs
