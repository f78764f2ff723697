"""The blocks of densely connected convolutional networks."""

import keras

from keras_deeptricks.layers.convolution_parts import ConvolutionParts
from keras_deeptricks.utils.checks import check_flag, check_integer, check_number
from keras_deeptricks.utils.composite import Composite

# The 1×1 convolution before each 3×3 one leaves this many times the growth in channels.
_BOTTLENECK = 4


@keras.saving.register_keras_serializable(package="keras_deeptricks")
class DenseBlock(Composite):
    """Convolutions of which each gets the outputs of all before it, and the block's input.

    Each unit is BN – ReLU – 1×1 convolution to 4·growth channels – BN – ReLU – 3×3 convolution to
    `growth` channels (without `bottleneck`: BN – ReLU – 3×3), whose output is appended to the
    channels so far.

    Args:
        units: Number of units, at least 1.
        growth: Channels that each unit adds.
        bottleneck: Whether a 1×1 convolution comes before each 3×3 one. Defaults to `True`.
        activation: Name or function. Defaults to `"relu"`.
        dropout: Rate of dropout behind each convolution, from 0 to below 1.
        batch_norm_momentum, batch_norm_epsilon, kernel_initializer, kernel_regularizer,
        data_format, seed: As in `keras_deeptricks.layers.ResidualBlock`.
        **kwargs: The arguments of `keras.Layer`.

    Input shape: (rows, height, width, channels). Output shape: (rows, height, width, channels +
    units·growth).

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: An argument is out of its range.

    Example:

    ```python
    import keras
    import keras_deeptricks as kdt

    model = keras.Sequential([
        keras.Input((16, 16, 24)),
        kdt.layers.DenseBlock(units=4, growth=12),
        kdt.layers.DenseTransition(compression=0.5),
    ])
    assert model.output_shape == (None, 8, 8, 36)
    ```

    Reference: Huang, Liu, van der Maaten & Weinberger, Densely connected convolutional networks,
    2017, section 3.
    """

    def __init__(
        self,
        units,
        growth,
        bottleneck=True,
        activation="relu",
        dropout=0.0,
        batch_norm_momentum=0.9,
        batch_norm_epsilon=1e-5,
        kernel_initializer=None,
        kernel_regularizer=None,
        data_format=None,
        seed=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.units = check_integer("units", units, minimum=1)
        self.growth = check_integer("growth", growth, minimum=1)
        self.bottleneck = check_flag("bottleneck", bottleneck)
        self.parts = ConvolutionParts(
            activation,
            dropout,
            batch_norm_momentum,
            batch_norm_epsilon,
            kernel_initializer,
            kernel_regularizer,
            data_format,
            seed,
            name=self.name,
        )
        self.branches = [self._unit() for _ in range(self.units)]
        self.joins = [
            keras.layers.Concatenate(
                self.parts.channel_axis, dtype=self.dtype_policy, name=f"{self.name}_join_{unit}"
            )
            for unit in range(self.units)
        ]

    def build(self, input_shape):
        self.parts.check_images(input_shape)
        shape = tuple(input_shape)
        for branch, join in zip(self.branches, self.joins, strict=True):
            if not branch.built:
                branch.build(shape)
            shapes = [shape, branch.compute_output_shape(shape)]
            if not join.built:
                join.build(shapes)
            shape = join.compute_output_shape(shapes)
        super().build(input_shape)

    def call(self, inputs):
        return self.call_parts(lambda layer, tensor: layer(tensor), inputs)

    def call_parts(self, call, inputs):
        for branch, join in zip(self.branches, self.joins, strict=True):
            inputs = call(join, [inputs, call(branch, inputs)])
        return inputs

    def compute_output_shape(self, input_shape):
        shape = list(input_shape)
        shape[self.parts.channel_axis] += self.units * self.growth
        return tuple(shape)

    def get_config(self):
        return {
            **super().get_config(),
            "units": self.units,
            "growth": self.growth,
            "bottleneck": self.bottleneck,
            **self.parts.config(),
        }

    def _unit(self):
        parts, policy, layers = self.parts, self.dtype_policy, []
        sizes = [(_BOTTLENECK * self.growth, 1)] if self.bottleneck else []
        for filters, size in [*sizes, (self.growth, 3)]:
            layers += [parts.normalization(policy), parts.activation(policy)]
            layers += [parts.convolution(filters, size, policy), *parts.dropout(policy)]
        return keras.Sequential(layers)


@keras.saving.register_keras_serializable(package="keras_deeptricks")
class DenseTransition(Composite):
    """What lies between dense blocks: BN – ReLU – 1×1 convolution – 2×2 average pooling.

    Args:
        compression: Share of the channels that are kept, above 0 and at most 1. Defaults to
            `0.5`.
        activation: Name or function. Defaults to `"relu"`.
        dropout, batch_norm_momentum, batch_norm_epsilon, kernel_initializer, kernel_regularizer,
        data_format, seed: As in `DenseBlock`.
        **kwargs: The arguments of `keras.Layer`.

    Input shape: (rows, height, width, channels). Output shape: (rows, height // 2, width // 2,
    ⌊compression·channels⌋).

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: An argument is out of its range.

    Example:

    ```python
    import numpy as np
    import keras_deeptricks as kdt

    transition = kdt.layers.DenseTransition(0.5, data_format="channels_last")
    assert transition(np.ones((2, 8, 8, 36))).shape == (2, 4, 4, 18)
    ```

    Reference: Huang, Liu, van der Maaten & Weinberger, Densely connected convolutional networks,
    2017, section 3.
    """

    def __init__(
        self,
        compression=0.5,
        activation="relu",
        dropout=0.0,
        batch_norm_momentum=0.9,
        batch_norm_epsilon=1e-5,
        kernel_initializer=None,
        kernel_regularizer=None,
        data_format=None,
        seed=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.compression = check_number("compression", compression, above=0, maximum=1)
        self.parts = ConvolutionParts(
            activation,
            dropout,
            batch_norm_momentum,
            batch_norm_epsilon,
            kernel_initializer,
            kernel_regularizer,
            data_format,
            seed,
            name=self.name,
        )
        # It exists once the number of input channels is known.
        self.layers = None

    def build(self, input_shape):
        self.parts.check_images(input_shape)
        if self.layers is None:
            parts, policy = self.parts, self.dtype_policy
            layers = [parts.normalization(policy), parts.activation(policy)]
            filters = self._filters(input_shape[parts.channel_axis])
            layers += [parts.convolution(filters, 1, policy), *parts.dropout(policy)]
            pooling = keras.layers.AveragePooling2D(
                2,
                data_format=parts.data_format,
                dtype=policy,
                name=f"{self.name}_pooling",
            )
            self.layers = keras.Sequential([*layers, pooling], name="layers")
        if not self.layers.built:
            self.layers.build(input_shape)
        super().build(input_shape)

    def call(self, inputs):
        return self.layers(inputs)

    def call_parts(self, call, inputs):
        return call(self.layers, inputs)

    def compute_output_shape(self, input_shape):
        shape = list(input_shape)
        for axis in self.parts.spatial_axes:
            shape[axis] = None if shape[axis] is None else shape[axis] // 2
        channels = self.parts.channel_axis
        shape[channels] = self._filters(shape[channels])
        return tuple(shape)

    def get_config(self):
        return {
            **super().get_config(),
            "compression": self.compression,
            **self.parts.config(),
        }

    def _filters(self, channels):
        # 0.29·100 is a little below 29 in floating point.
        return max(1, int(self.compression * channels + 1e-9))
