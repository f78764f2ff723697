"""Convolutional maxout: the maximum of several convolutions."""

import keras
from keras import ops

from keras_deeptricks.layers.maxout import maxout_initializer, weight_arguments
from keras_deeptricks.utils.checks import check_integer


@keras.saving.register_keras_serializable(package="keras_deeptricks")
class MaxoutConv2D(keras.layers.Layer):
    """A 2D convolution with its own activation: the largest of `pieces` feature maps.

    Each filter is the maximum of `pieces` convolutions, entry by entry: see
    `keras_deeptricks.layers.Maxout` for what it is good for, and for the default initializer.

    The kernel is one tensor (height, width, channels, pieces·filters); piece p of filter f lies
    at p·filters + f of the last axis. So `keras_deeptricks.constraints.MaxNorm` limits every
    piece by itself.

    Args:
        filters: Number of filters, at least 1.
        kernel_size, strides, padding, data_format, dilation_rate: As in `keras.layers.Conv2D`.
        pieces: Number of convolutions for each filter, at least 1; with one the layer is a linear
            `Conv2D`. Defaults to `2`.
        use_bias: Whether the convolutions have a bias. Defaults to `True`.
        kernel_initializer: A Keras initializer, or `"he_maxout"` for
            `keras_deeptricks.initializers.HeMaxout(pieces)`.
        bias_initializer, kernel_regularizer, bias_regularizer, activity_regularizer,
        kernel_constraint, bias_constraint: As in `keras.layers.Conv2D`.
        **kwargs: The arguments of `keras.Layer`.

    Input shape: (batch, height, width, channels), or (batch, channels, height, width) with
    `data_format="channels_first"`. Output shape: the same form, with `filters` channels.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: An argument is out of its range.

    Example:

    ```python
    import keras
    import numpy as np
    import keras_deeptricks as kdt

    layer = kdt.layers.MaxoutConv2D(8, kernel_size=3, pieces=2, padding="same")
    assert layer(np.zeros((2, 28, 28, 1), "float32")).shape == (2, 28, 28, 8)
    ```

    Reference: Goodfellow, Warde-Farley, Mirza, Courville & Bengio, Maxout networks, 2013,
    section 3.
    """

    def __init__(
        self,
        filters,
        kernel_size,
        pieces=2,
        strides=1,
        padding="valid",
        data_format=None,
        dilation_rate=1,
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
        self.filters = check_integer("filters", filters, minimum=1)
        self.pieces = check_integer("pieces", pieces, minimum=1)
        self.affine = keras.layers.Conv2D(
            self.filters * self.pieces,
            kernel_size,
            strides=strides,
            padding=padding,
            data_format=data_format,
            dilation_rate=dilation_rate,
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
        self.data_format = self.affine.data_format
        self.input_spec = keras.layers.InputSpec(ndim=4)

    @property
    def kernel(self):
        """The weights, of shape (height, width, channels, pieces·filters)."""
        return self.affine.kernel

    @property
    def bias(self):
        """The biases, of shape (pieces·filters,), or None."""
        return self.affine.bias

    def build(self, input_shape):
        # The inner layer did not exist yet when a configuration froze this one.
        self.affine.trainable = self.trainable
        self.affine.build(input_shape)

    def call(self, inputs):
        outputs = self.affine(inputs)
        channels = 1 if self.data_format == "channels_first" else 3
        shape = list(ops.shape(outputs))
        shape[channels : channels + 1] = [self.pieces, self.filters]
        return ops.max(ops.reshape(outputs, shape), axis=channels)

    def compute_output_shape(self, input_shape):
        shape = list(self.affine.compute_output_shape(input_shape))
        shape[1 if self.data_format == "channels_first" else 3] = self.filters
        return tuple(shape)

    def get_config(self):
        affine = self.affine
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": affine.kernel_size,
            "pieces": self.pieces,
            "strides": affine.strides,
            "padding": affine.padding,
            "data_format": affine.data_format,
            "dilation_rate": affine.dilation_rate,
            **weight_arguments(affine),
            "activity_regularizer": keras.regularizers.serialize(self.activity_regularizer),
        }
