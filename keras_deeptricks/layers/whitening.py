"""Decorrelation and whitening of a model's inputs, inside the model."""

import math

import keras
import numpy as np
from keras import ops

from keras_deeptricks.utils.checks import check_choice, check_integer, check_number
from keras_deeptricks.utils.running_covariance import RunningCovariance, principal_directions
from keras_deeptricks.utils.running_moments import batches_of

METHODS = ("pca", "zca", "decorrelation")
# Their covariance takes 3 GB.
_MOST_FEATURES = 20_000
# A direction whose variance is smaller, as a share of the largest, counts as constant.
_CONSTANT = 1e-12


@keras.saving.register_keras_serializable(package="keras_deeptricks")
class Whitening(keras.layers.Layer):
    """Rotates adapted data to uncorrelated features, and scales these to variance 1.

    With the mean μ, and the variances λ (largest first) and directions V of the data's
    covariance VΛVᵀ:

    - `"decorrelation"`: (x − μ)V, the principal components, uncorrelated and not scaled;
    - `"pca"`: (x − μ)V / √(λ + ε), whose covariance is the identity;
    - `"zca"`: the same rotated back, (x − μ)V / √(λ + ε) Vᵀ: of all white data the nearest to x, so
      that images still look like images.

    By default the features are the entries of a whole row, for images every channel of every
    pixel. With `axis` they are the entries of that axis, and all positions are observations of the
    same features, as for the channels of an image or of a sequence.

    Without ε, noise in directions in which the data hardly varies would be blown up. Directions
    without noticeable variance (a deviation below a millionth of the largest) get the scale of
    the largest, so that a constant feature that moves in new data does no harm. The statistics
    are ordinary non-trainable weights (`mean`, `rotation`, `deviation`), read at every call:
    `adapt` has effect on a model that was compiled and called before. The variances are biased
    (divided by the number of rows n): what scikit-learn's `PCA(whiten=True)` gives is smaller by
    the factor √((n − 1)/n). As there, the largest entry of each direction is positive.

    Args:
        method: `"pca"`, `"zca"` or `"decorrelation"`. Defaults to `"pca"`.
        components: Number of leading components to keep, or None for all. Not for `"zca"`.
        epsilon: ε as a share of the largest variance, ≥ 0; it is 0 to whiten exactly. Defaults
            to `1e-5`.
        axis: The axis with the features, or None for all entries of a row. Not 0.
        **kwargs: The arguments of `keras.Layer`. The layer computes in float32 by default, also
            under a mixed policy, because raw data can lie outside the range of float16.

    Input shape: (rows, …), with the sizes of the features fixed. Output shape: that of the input
    for `"zca"`; otherwise (rows, components), or with `axis` the input's with that axis as long
    as there are components.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: An argument is out of its range.

    Example:

    ```python
    import keras
    import numpy as np
    import keras_deeptricks as kdt

    rng = np.random.default_rng(0)
    x = (rng.normal(size=(500, 3)) @ rng.normal(size=(3, 3)) + 5).astype("float32")
    layer = kdt.layers.Whitening("zca")
    layer.adapt(x)
    z = keras.ops.convert_to_numpy(layer(x))
    assert np.allclose(np.cov(z.T, bias=True), np.eye(3), atol=1e-2)
    assert np.allclose(layer.inverse(z), x, atol=1e-3)
    ```

    Reference: Kessy, Lewin & Strimmer, Optimal whitening and decorrelation, 2018, table 1;
    Krizhevsky, Learning multiple layers of features from tiny images, 2009, appendix A (ZCA).
    """

    def __init__(self, method="pca", components=None, epsilon=1e-5, axis=None, **kwargs):
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        self.method = check_choice("method", method, METHODS)
        if components is not None:
            components = check_integer("components", components, minimum=1)
            if method == "zca":
                raise ValueError(
                    "`components` goes with method='pca' or 'decorrelation': 'zca' rotates back "
                    f"to all features. Received: components={components}."
                )
        if axis is not None and (not isinstance(axis, int) or isinstance(axis, bool)):
            raise TypeError(f"`axis` must be a whole number or None. Received: axis={axis!r}.")
        if axis == 0:
            raise ValueError("`axis` must not be 0, the axis of rows. Received: axis=0.")
        self.components = components
        self.epsilon = check_number("epsilon", epsilon, minimum=0)
        self.axis = axis

    def build(self, input_shape):
        if self.built:
            return
        features = self._feature_count(input_shape)
        count = self._component_count(features)
        self._row_shape = tuple(input_shape[1:])
        shapes = {"mean": (features,), "rotation": (features, count), "deviation": (count,)}
        for name, initializer in zip(shapes, ("zeros", "identity", "ones"), strict=True):
            weight = self.add_weight(
                name=name,
                shape=shapes[name],
                initializer=initializer,
                dtype="float32",
                trainable=False,
            )
            setattr(self, name, weight)
        super().build(input_shape)

    def adapt(self, data, batch_size=1024):
        """Takes the mean and covariance of `data`, streaming, in double precision.

        Args:
            data: An array, or anything that yields batches: a `tf.data.Dataset`, a
                `keras.utils.PyDataset`, a torch `DataLoader`. Of tuples (inputs, targets, …) the
                inputs are taken.
            batch_size: Rows of an array that are handled at once.

        Raises:
            ValueError: `data` has fewer than two rows, other features than the layer was built
                for, or NaN or infinities; the layer is as before.
        """
        moments, shape = RunningCovariance(), None
        for batch in batches_of(data, batch_size):
            self._check_features(batch.shape, shape)
            shape = batch.shape
            moments.update(self._as_table(np.asarray(batch), np))
        mean, covariance = moments.mean_and_covariance()
        variances, directions = principal_directions(covariance)
        if not self.built:
            self.build((None, *shape[1:]))
        count = self.deviation.shape[0]
        self.mean.assign(mean)
        self.rotation.assign(directions[:, :count])
        self.deviation.assign(_deviations(variances, self.epsilon)[:count])

    def call(self, inputs):
        inputs = ops.cast(inputs, self.compute_dtype)
        mean, rotation, deviation = self._statistics(inputs.dtype)
        outputs = ops.matmul(self._as_table(inputs, ops) - mean, rotation)
        if self.method != "decorrelation":
            outputs = outputs / deviation
        if self.method == "zca":
            outputs = ops.matmul(outputs, ops.transpose(rotation))
        row = inputs.shape[1:] if self.method == "zca" else outputs.shape[1:]
        return self._as_rows(outputs, ops.shape(inputs), row)

    def inverse(self, outputs):
        """What the layer was called on, from its outputs; of fewer components their part of it.

        Args:
            outputs: An array or tensor of the layer's output shape.

        Returns:
            A tensor of the layer's input shape.

        Raises:
            ValueError: the layer is not built.
        """
        if not self.built:
            raise ValueError(f"'{self.name}' is not built: adapt it to data first.")
        outputs = ops.cast(ops.convert_to_tensor(outputs), self.compute_dtype)
        mean, rotation, deviation = self._statistics(outputs.dtype)
        table = self._as_table(outputs, ops)
        if self.method == "zca":
            table = ops.matmul(table, rotation)
        if self.method != "decorrelation":
            table = table * deviation
        table = ops.matmul(table, ops.transpose(rotation)) + mean
        row = outputs.shape[1:] if self.method == "zca" else self._row_shape
        return self._as_rows(table, ops.shape(outputs), row)

    def compute_output_shape(self, input_shape):
        if self.method == "zca":
            return tuple(input_shape)
        count = self._component_count(self._feature_count(input_shape))
        if self.axis is None:
            return (input_shape[0], count)
        shape = list(input_shape)
        shape[self.axis] = count
        return tuple(shape)

    def get_config(self):
        return {
            **super().get_config(),
            "method": self.method,
            "components": self.components,
            "epsilon": self.epsilon,
            "axis": self.axis,
        }

    def _statistics(self, dtype):
        return [ops.cast(weight, dtype) for weight in (self.mean, self.rotation, self.deviation)]

    def _as_table(self, rows, numpy):
        """Observations × features; `numpy` is that module or `keras.ops`."""
        if self.axis is None:
            return numpy.reshape(rows, (-1, math.prod(rows.shape[1:])))
        moved = numpy.moveaxis(rows, self.axis, -1)
        return numpy.reshape(moved, (-1, moved.shape[-1]))

    def _as_rows(self, table, shape, row_shape):
        """The inverse of `_as_table`: rows of that shape, or without an axis of `row_shape`."""
        if self.axis is None:
            return ops.reshape(table, (-1, *row_shape))
        rest = list(shape)
        del rest[self.axis]
        return ops.moveaxis(ops.reshape(table, (*rest, table.shape[-1])), -1, self.axis)

    def _feature_count(self, shape):
        sizes = shape[1:]
        if self.axis is not None:
            if not -len(shape) < self.axis < len(shape):
                raise ValueError(
                    f"`axis`={self.axis} does not exist in an input of shape {tuple(shape)}, or is "
                    "the axis of rows."
                )
            sizes = (shape[self.axis],)
        if None in sizes:
            raise ValueError(
                "The sizes of the features must be known: fix them, or choose by `axis` one that "
                f"is. Received an input of shape {tuple(shape)} with axis={self.axis}."
            )
        count = math.prod(sizes)
        if count > _MOST_FEATURES:
            raise ValueError(
                f"A covariance of {count} features is too large, {_MOST_FEATURES} are the most. "
                "Make the rows smaller, or choose by `axis` what the features are."
            )
        return count

    def _component_count(self, features):
        if self.components is not None and self.components > features:
            raise ValueError(
                f"`components` must be at most the number of features, {features}. "
                f"Received: components={self.components}."
            )
        return self.components or features

    def _check_features(self, shape, shape_before):
        count = self._feature_count(shape)
        self._component_count(count)
        if self.built and count != self.mean.shape[0]:
            raise ValueError(
                f"The data has {count} features, but this layer was built for "
                f"{self.mean.shape[0]}: adapt it to data of the same features."
            )
        if self.axis is None and shape_before is not None and shape[1:] != shape_before[1:]:
            raise ValueError(
                f"The batches must have rows of one shape. Received: {shape_before[1:]} and "
                f"{shape[1:]}."
            )


def _deviations(variances, epsilon):
    """√(λ + ε), or the largest deviation where there is no noticeable variance."""
    largest = variances[0]
    if largest == 0:
        return np.ones_like(variances)
    varies = variances > _CONSTANT * largest
    return np.sqrt(np.where(varies, variances + epsilon * largest, largest))
