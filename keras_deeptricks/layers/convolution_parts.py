"""The layers that blocks of convolutions are made of, in one block's settings."""

import keras

from keras_deeptricks.initializers.for_activation import for_activation
from keras_deeptricks.utils.checks import check_choice, check_integer, check_number


class ConvolutionParts:
    """Makes convolutions without bias, batch norms, activations and dropout of one kind.

    Args:
        activation: Name or function.
        dropout: Rate of dropout, from 0 to below 1.
        batch_norm_momentum, batch_norm_epsilon: As in `keras.layers.BatchNormalization`.
        kernel_initializer: None for the one that suits the activation.
        kernel_regularizer: Of the kernels, or None.
        data_format: `"channels_last"`, `"channels_first"`, or None for Keras' setting.
        seed: Whole number, from which each layer gets a seed of its own, or None.
        name: What the layers' names begin with: they then differ also where the graphs of several
            blocks are joined.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: An argument is out of its range.
    """

    def __init__(
        self,
        activation,
        dropout,
        batch_norm_momentum,
        batch_norm_epsilon,
        kernel_initializer,
        kernel_regularizer,
        data_format,
        seed,
        name,
    ):
        if isinstance(activation, keras.Layer):
            raise TypeError(
                "`activation` must be a name or a function: a layer would be one and the same in "
                f"all places of the block. Received: activation={activation!r}."
            )
        self.activation_function = keras.activations.get(activation)
        self.dropout_rate = check_number("dropout", dropout, minimum=0, below=1)
        self.momentum = check_number(
            "batch_norm_momentum", batch_norm_momentum, minimum=0, maximum=1
        )
        self.epsilon = check_number("batch_norm_epsilon", batch_norm_epsilon, above=0)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        if kernel_initializer is None:
            for_activation(self.activation_function)  # an unknown one is refused at once
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.data_format = check_choice(
            "data_format",
            data_format or keras.config.image_data_format(),
            ("channels_last", "channels_first"),
        )
        self.seed = None if seed is None else check_integer("seed", seed, minimum=0)
        self.name = name
        self.seeds_used, self.names_used = 0, 0

    def config(self):
        """The arguments, as `get_config` of a layer has to give them."""
        return {
            "activation": keras.activations.serialize(self.activation_function),
            "dropout": self.dropout_rate,
            "batch_norm_momentum": self.momentum,
            "batch_norm_epsilon": self.epsilon,
            "kernel_initializer": keras.saving.serialize_keras_object(self.kernel_initializer),
            "kernel_regularizer": keras.regularizers.serialize(self.kernel_regularizer),
            "data_format": self.data_format,
            "seed": self.seed,
        }

    def check_images(self, input_shape):
        """Raises a clear error unless the shape is that of images of known channels."""
        if len(input_shape) != 4 or input_shape[self.channel_axis] is None:
            layout = "height, width, channels"
            if self.data_format == "channels_first":
                layout = "channels, height, width"
            raise ValueError(
                f"The input of '{self.name}' must be images of shape (rows, {layout}), with a "
                f"known number of channels. Received an input of shape {tuple(input_shape)}."
            )

    @property
    def channel_axis(self):
        """The axis of the channels."""
        return -1 if self.data_format == "channels_last" else 1

    @property
    def spatial_axes(self):
        """The axes of height and width."""
        return (1, 2) if self.data_format == "channels_last" else (2, 3)

    def convolution(self, filters, size, dtype, strides=1, zero=False):
        """A convolution that keeps the size but for its strides; `zero`: with a kernel of zeros."""
        return keras.layers.Conv2D(
            filters,
            size,
            strides,
            padding="same",
            use_bias=False,
            kernel_initializer="zeros" if zero else self._initializer(),
            kernel_regularizer=self.kernel_regularizer,
            data_format=self.data_format,
            dtype=dtype,
            name=self._next_name("conv"),
        )

    def normalization(self, dtype, zero=False):
        """A batch norm; `zero`: whose scale begins at zero."""
        return keras.layers.BatchNormalization(
            axis=self.channel_axis,
            momentum=self.momentum,
            epsilon=self.epsilon,
            gamma_initializer="zeros" if zero else "ones",
            dtype=dtype,
            name=self._next_name("norm"),
        )

    def activation(self, dtype):
        """The activation as a layer."""
        name = self._next_name("activation")
        return keras.layers.Activation(self.activation_function, dtype=dtype, name=name)

    def dropout(self, dtype):
        """A list of a dropout layer, or an empty one for rate 0."""
        if not self.dropout_rate:
            return []
        name = self._next_name("dropout")
        return [
            keras.layers.Dropout(self.dropout_rate, seed=self._next_seed(), dtype=dtype, name=name)
        ]

    def _initializer(self):
        if self.kernel_initializer is None:
            return for_activation(self.activation_function, seed=self._next_seed())
        if not isinstance(self.kernel_initializer, keras.initializers.Initializer):
            return self.kernel_initializer
        # An initializer gives one shape the same values each time: each kernel gets a copy of its
        # own seed.
        config = self.kernel_initializer.get_config()
        seed = self._next_seed()
        if isinstance(config.get("seed"), int):
            config["seed"] = (config["seed"] * 7919 + self.seeds_used) % 2**31
        elif "seed" in config and config["seed"] is None:
            config["seed"] = seed
        return type(self.kernel_initializer).from_config(config)

    def _next_name(self, part):
        self.names_used += 1
        return f"{self.name}_{part}_{self.names_used}"

    def _next_seed(self):
        self.seeds_used += 1
        # Far from those of blocks with neighbouring seeds.
        return None if self.seed is None else (self.seed * 7919 + self.seeds_used) % 2**31
