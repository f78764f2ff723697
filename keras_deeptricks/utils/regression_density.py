"""The density that the samples of a regression give to its targets, in double precision."""

import math

import numpy as np

from keras_deeptricks.utils.checks import check_number


def gaussian_log_density(y, mean, variance):
    """The log density of Gaussians at `y`; NaN where the variance is 0: there is no density."""
    y, mean, variance = (np.asarray(value, "float64") for value in (y, mean, variance))
    variance = np.where(variance > 0, variance, np.nan)
    return -0.5 * (np.square(y - mean) / variance + np.log(2 * math.pi * variance))


def gaussian_cdf(y, mean, std):
    """The probability of Gaussians to lie below `y`; where `std` is 0, a step of ½ at the mean."""
    y, mean, std = (np.asarray(value, "float64") for value in (y, mean, std))
    gap, spread = np.broadcast_arrays(y - mean, std)
    step = np.where(gap == 0, 0.0, np.copysign(np.inf, gap))
    z = np.divide(gap, spread, out=step, where=spread > 0) / math.sqrt(2)
    erf = np.fromiter(map(math.erf, z.ravel().tolist()), "float64", z.size)
    return 0.5 * (1 + erf.reshape(z.shape))


class RegressionDensity:
    """The density that samples of a regression give to its targets, collected block by block.

    With the precision τ of the observation noise it is the mixture of one Gaussian a sample,
    p(y) = 1/T Σ_t N(y; ŷ_t, 1/τ); without, the Gaussian of the samples' mean and variance. Every
    entry of `y` has its own: targets are taken as independent.

    Args:
        y: The targets, of the shape of one sample.
        tau: The precision τ, above 0, or None.

    Raises:
        TypeError: `tau` is not a number.
        ValueError: `tau` is not above 0.

    Example:

    ```python
    import numpy as np
    from keras_deeptricks.utils.regression_density import RegressionDensity

    density = RegressionDensity(y=np.zeros(2), tau=4.0)
    density.update(np.array([[0.0, 1.0], [0.0, -1.0]]))  # two samples of both rows
    assert np.allclose(density.log_likelihood(), [-0.2258, -2.2258], atol=1e-4)
    assert np.allclose(density.cdf(), 0.5)
    ```

    Reference: Gal & Ghahramani, Dropout as a Bayesian approximation, 2016, equation 8; for the
    running mean and variance Chan, Golub & LeVeque, 1979.
    """

    def __init__(self, y, tau=None):
        self.y = np.asarray(y, "float64")
        self.tau = None if tau is None else check_number("tau", tau, above=0)
        self.count = 0
        self._largest = np.full(self.y.shape, -np.inf)
        self._sum, self._below, self._mean, self._squares = np.zeros((4, *self.y.shape))

    def update(self, block):
        """Adds samples, of shape (samples, *shape of y).

        Raises:
            ValueError: they have another shape.
        """
        block = np.asarray(block, "float64")
        if block.shape[1:] != self.y.shape or block.ndim == 0:
            raise ValueError(
                f"`block` must have the shape (samples, *{self.y.shape}). Received: block of shape "
                f"{block.shape}."
            )
        for sample in block:  # one at a time: a block may be large
            self.count += 1
            self._add(sample)

    def _add(self, sample):
        gap = self.y - sample
        if self.tau is None:
            self._below += np.where(gap == 0, 0.5, gap > 0)
            from_mean = sample - self._mean
            self._mean += from_mean / self.count
            self._squares += from_mean * (sample - self._mean)
            return
        # The running log-sum-exp: what was summed shrinks when a larger exponent comes.
        exponent = -0.5 * self.tau * np.square(gap)
        largest = np.maximum(self._largest, exponent)
        self._sum = self._sum * np.exp(self._largest - largest) + np.exp(exponent - largest)
        self._largest = largest
        self._below += gaussian_cdf(gap, 0, 1 / math.sqrt(self.tau))

    def log_likelihood(self):
        """The log density at each entry of `y`; without τ NaN where all samples are equal.

        Raises:
            ValueError: there are no samples.
        """
        self._check_count()
        if self.tau is None:
            return gaussian_log_density(self.y, self._mean, self._squares / self.count)
        constant = 0.5 * math.log(self.tau / (2 * math.pi)) - math.log(self.count)
        return self._largest + np.log(self._sum) + constant

    def cdf(self):
        """The probability to lie below `y`; without τ the share of samples, equal ones half.

        Raises:
            ValueError: there are no samples.
        """
        self._check_count()
        return self._below / self.count

    def _check_count(self):
        if not self.count:
            raise ValueError("There are no samples to take a density of: call `update` first.")
