"""Maxout units: the maximum of several affine maps."""

import keras
from keras import ops

from keras_deeptricks.initializers.he_maxout import HeMaxout
from keras_deeptricks.utils.checks import check_integer


@keras.saving.register_keras_serializable(package="keras_deeptricks")
class Maxout(keras.layers.Layer):
    """A dense layer with its own activation: each unit is the largest of `pieces` affine maps.

    h_u(x) = max over p of x·W[:, p, u] + b[p, u]. With two pieces a unit can learn the ReLU, a
    leaky ReLU or the absolute value, with more any convex function, piece by piece; no unit ever
    dies. It has `pieces` times the weights of a `Dense` layer of as many units and was made to go
    with dropout. Follow it with no other activation.

    The kernel is one matrix (features, pieces·units), one column per unit and piece: piece p
    of unit u is column p·units + u. So initializers see the right fan_in, and
    `keras_deeptricks.constraints.MaxNorm` limits every piece by itself. Their fan_out is that of
    all pieces, which makes Glorot's weights too small; hence a default that only asks for fan_in
    and keeps the mean square of the signal. A constant initializer would make all pieces equal
    for ever.

    Args:
        units: Number of units, at least 1.
        pieces: Number of affine maps for each unit, at least 1; with one the layer is a linear
            `Dense`. Defaults to `2`.
        use_bias: Whether the maps have a bias. Defaults to `True`.
        kernel_initializer: A Keras initializer, or `"he_maxout"` for
            `keras_deeptricks.initializers.HeMaxout(pieces)`.
        bias_initializer, kernel_regularizer, bias_regularizer, activity_regularizer,
        kernel_constraint, bias_constraint: As in `keras.layers.Dense`.
        **kwargs: The arguments of `keras.Layer`.

    Input shape: (…, features). Output shape: (…, units).

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: An argument is out of its range.

    Example:

    ```python
    import keras
    import numpy as np
    import keras_deeptricks as kdt

    layer = kdt.layers.Maxout(1, pieces=2)
    layer.build((None, 1))
    layer.set_weights([np.array([[1.0, -1.0]]), np.zeros(2)])
    y = keras.ops.convert_to_numpy(layer(np.array([[-3.0], [2.0]])))
    assert np.allclose(y, [[3.0], [2.0]])
    ```

    Reference: Goodfellow, Warde-Farley, Mirza, Courville & Bengio, Maxout networks, 2013,
    section 3.
    """

    def __init__(
        self,
        units,
        pieces=2,
        use_bias=True,
        kernel_initializer="he_maxout",
        bias_initializer="zeros",
        kernel_regularizer=None,
        bias_regularizer=None,
        activity_regularizer=None,
        kernel_constraint=None,
        bias_constraint=None,
        **kwargs,
    ):
        super().__init__(activity_regularizer=activity_regularizer, **kwargs)
        self.units = check_integer("units", units, minimum=1)
        self.pieces = check_integer("pieces", pieces, minimum=1)
        self.affine = keras.layers.Dense(
            self.units * self.pieces,
            use_bias=use_bias,
            kernel_initializer=maxout_initializer(kernel_initializer, self.pieces),
            bias_initializer=bias_initializer,
            kernel_regularizer=kernel_regularizer,
            bias_regularizer=bias_regularizer,
            kernel_constraint=kernel_constraint,
            bias_constraint=bias_constraint,
            dtype=self.dtype_policy,
            name="affine",
        )
        self.supports_masking = True

    @property
    def kernel(self):
        """The weights, of shape (features, pieces·units)."""
        return self.affine.kernel

    @property
    def bias(self):
        """The biases, of shape (pieces·units,), or None."""
        return self.affine.bias

    def build(self, input_shape):
        # The inner layer did not exist yet when a configuration froze this one.
        self.affine.trainable = self.trainable
        self.affine.build(input_shape)

    def call(self, inputs):
        outputs = self.affine(inputs)
        shape = (*ops.shape(outputs)[:-1], self.pieces, self.units)
        return ops.max(ops.reshape(outputs, shape), axis=-2)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.units)

    def get_config(self):
        return {
            **super().get_config(),
            "units": self.units,
            "pieces": self.pieces,
            **weight_arguments(self.affine),
            "activity_regularizer": keras.regularizers.serialize(self.activity_regularizer),
        }


def maxout_initializer(initializer, pieces):
    """`HeMaxout` for its name; anything else as it is."""
    return HeMaxout(pieces) if initializer == "he_maxout" else initializer


def weight_arguments(affine):
    """The part of a configuration that the affine maps of a maxout layer know."""
    names = (
        "use_bias",
        "kernel_initializer",
        "bias_initializer",
        "kernel_regularizer",
        "bias_regularizer",
        "kernel_constraint",
        "bias_constraint",
    )
    config = affine.get_config()
    return {name: config[name] for name in names}
