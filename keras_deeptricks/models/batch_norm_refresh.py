"""What refreshing the statistics of batch normalization has changed."""

import dataclasses

import numpy as np

from keras_deeptricks.utils.results import Result


@dataclasses.dataclass(frozen=True, eq=False)
class BatchNormRefresh(Result):
    """The statistics of batch normalization before and after `refresh_batch_norm`.

    Attributes:
        method: `"layerwise"` or `"batch_average"`.
        layers: Names of the refreshed layers, in the order in which they were refreshed.
        old_mean, new_mean: Moving means, one array for each layer.
        old_variance, new_variance: Moving variances, one array for each layer.
        rows: Rows of data in a pass.
        passes: How often the data was read.
    """

    method: str
    layers: list
    old_mean: list
    new_mean: list
    old_variance: list
    new_variance: list
    rows: int
    passes: int

    @property
    def mean_shift(self):
        """How far the means of each layer moved: root mean square, in old standard deviations."""
        parts = zip(self.old_mean, self.new_mean, self.old_variance, strict=True)
        return [
            float(np.sqrt(np.mean((new - old) ** 2 / np.maximum(variance, 1e-12))))
            for old, new, variance in parts
        ]
