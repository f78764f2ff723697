"""Standardization of a model's inputs, or of its targets, inside the model."""

import warnings

import keras
import numpy as np
from keras import ops

from keras_deeptricks.utils.checks import check_flag, check_number
from keras_deeptricks.utils.running_moments import RunningMoments, batches_of


@keras.saving.register_keras_serializable(package="keras_deeptricks")
class Standardization(keras.layers.Layer):
    """Subtracts the mean and divides by the standard deviation of adapted data.

    Keras' `Normalization` divides a feature without variance by 1e-7, so that the slightest
    change of it on new data becomes 1e7; here a feature without noticeable variance is only
    centred. The statistics are ordinary non-trainable weights, read at every call:
    `set_weights`, `load_weights` and a capture of the training state carry them, and `adapt`
    has effect on a model that was compiled and called before.

    Args:
        axis: The axis that keeps a mean and deviation for each of its entries, such as the
            features of a table or the channels of an image, or None for one of each for all.
            Defaults to `-1`.
        invert: Whether to multiply by the deviation and add the mean instead, as behind the
            output of a regression. Defaults to `False`.
        minimum_deviation: Deviation up to which an entry counts as constant, in the units of the
            data; so does one below a millionth of its mean. Defaults to `1e-6`.
        **kwargs: The arguments of `keras.Layer`. The layer computes in float32 by default, also
            under a mixed policy, because raw data can lie outside the range of float16.

    Input shape: any, with the size of `axis` fixed. Output shape: the same.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: An argument is out of its range.

    Example:

    ```python
    import keras
    import numpy as np
    import keras_deeptricks as kdt

    x = np.array([[1.0, 5.0], [3.0, 5.0]], "float32")
    layer = kdt.layers.Standardization()
    layer.adapt(x)
    assert np.allclose(layer(x), [[-1, 0], [1, 0]])
    ```

    Reference: LeCun, Bottou, Orr & Müller, Efficient backprop, 1998, section 4.3.
    """

    def __init__(self, axis=-1, invert=False, minimum_deviation=1e-6, **kwargs):
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        if axis is not None and (not isinstance(axis, int) or isinstance(axis, bool)):
            raise TypeError(f"`axis` must be a whole number or None. Received: axis={axis!r}.")
        self.axis = axis
        self.invert = check_flag("invert", invert)
        self.minimum_deviation = check_number("minimum_deviation", minimum_deviation, minimum=0)

    def build(self, input_shape):
        if self.built:
            return
        shape = self._statistics_shape(input_shape)
        self.mean = self.add_weight(
            name="mean", shape=shape, initializer="zeros", dtype="float32", trainable=False
        )
        self.deviation = self.add_weight(
            name="deviation", shape=shape, initializer="ones", dtype="float32", trainable=False
        )
        super().build(input_shape)

    def adapt(self, data, batch_size=1024):
        """Takes the mean and deviation of `data`, streaming, in double precision.

        Args:
            data: An array, or anything that yields batches: a `tf.data.Dataset`, a
                `keras.utils.PyDataset`, a torch `DataLoader`. Of tuples (inputs, targets, …) the
                inputs are taken.
            batch_size: Rows of an array that are handled at once.

        Raises:
            ValueError: `data` is empty, or holds NaN or infinities; the layer is as before.
        """
        moments = RunningMoments(self.axis)
        shape = None
        for batch in batches_of(data, batch_size):
            moments.update(batch)
            shape = batch.shape
        mean, variance = moments.mean_and_variance()
        if not self.built:
            self.build((None, *shape[1:]))
        if tuple(mean.shape) != tuple(self.mean.shape):
            raise ValueError(
                f"The data has {mean.shape} statistics, but this layer was built for "
                f"{tuple(self.mean.shape)}: adapt it to data of the same features."
            )
        deviation = np.sqrt(variance)
        limit = np.maximum(self.minimum_deviation, 1e-6 * np.abs(mean))
        self._warn_of_small_units(mean, deviation)
        self.mean.assign(mean)
        self.deviation.assign(np.where(deviation > limit, deviation, 1.0))

    def call(self, inputs):
        inputs = ops.cast(inputs, self.compute_dtype)
        shape = self._broadcast_shape(len(inputs.shape))
        mean = ops.cast(ops.reshape(self.mean, shape), inputs.dtype)
        deviation = ops.cast(ops.reshape(self.deviation, shape), inputs.dtype)
        if self.invert:
            return inputs * deviation + mean
        return (inputs - mean) / deviation

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {
            **super().get_config(),
            "axis": self.axis,
            "invert": self.invert,
            "minimum_deviation": self.minimum_deviation,
        }

    def _statistics_shape(self, input_shape):
        if self.axis is None:
            return ()
        if not -len(input_shape) <= self.axis < len(input_shape):
            raise ValueError(
                f"`axis`={self.axis} does not exist in an input of shape {tuple(input_shape)}."
            )
        size = input_shape[self.axis]
        if size is None:
            raise ValueError(
                f"The size of `axis`={self.axis} must be known. "
                f"Received an input of shape {tuple(input_shape)}."
            )
        return (size,)

    def _broadcast_shape(self, rank):
        shape = [1] * rank
        if self.axis is not None:
            shape[self.axis] = -1
        return shape

    def _warn_of_small_units(self, mean, deviation):
        small = (deviation > 0) & (deviation <= self.minimum_deviation)
        small &= deviation > 1e-3 * np.abs(mean)
        if np.any(small):
            warnings.warn(
                f"{int(np.sum(small))} feature(s) vary by no more than `minimum_deviation`="
                f"{self.minimum_deviation:g} and are only centred. If that is their scale, and not "
                "noise, rescale them or pass a smaller `minimum_deviation`.",
                stacklevel=3,
            )
