"""The shortcut without weights of a residual block that changes the shape."""

import keras
from keras import ops

from keras_deeptricks.utils.checks import check_choice, check_integer


@keras.saving.register_keras_serializable(package="keras_deeptricks")
class PaddedShortcut(keras.layers.Layer):
    """A shortcut without weights: every `strides`-th pixel, and zeros for new channels.

    Args:
        filters: Number of channels of the output, at least those of the input.
        strides: Distance of the pixels that are kept. Defaults to `1`.
        data_format: `"channels_last"`, `"channels_first"`, or None for Keras' setting.
        **kwargs: The arguments of `keras.Layer`.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: An argument is out of its range, or the input has more channels than `filters`.

    Example:

    ```python
    import numpy as np
    import keras_deeptricks as kdt

    shortcut = kdt.layers.PaddedShortcut(16, strides=2, data_format="channels_last")
    assert shortcut(np.ones((1, 8, 8, 4))).shape == (1, 4, 4, 16)
    ```

    Reference: He, Zhang, Ren & Sun, Deep residual learning, 2015, section 3.3, option A.
    """

    def __init__(self, filters, strides=1, data_format=None, **kwargs):
        super().__init__(**kwargs)
        self.filters = check_integer("filters", filters, minimum=1)
        self.strides = check_integer("strides", strides, minimum=1)
        self.data_format = check_choice(
            "data_format",
            data_format or keras.config.image_data_format(),
            ("channels_last", "channels_first"),
        )

    def build(self, input_shape):
        channels = input_shape[self._channel_axis]
        if channels > self.filters:
            raise ValueError(
                "A padded shortcut cannot lose channels: the input has "
                f"{channels}, `filters` is {self.filters}. Use shortcut='projection'."
            )
        super().build(input_shape)

    def call(self, inputs):
        new = [0, self.filters - inputs.shape[self._channel_axis]]
        step = self.strides
        if self.data_format == "channels_last":
            return ops.pad(inputs[:, ::step, ::step, :], [[0, 0], [0, 0], [0, 0], new])
        return ops.pad(inputs[:, :, ::step, ::step], [[0, 0], new, [0, 0], [0, 0]])

    def compute_output_shape(self, input_shape):
        shape = list(input_shape)
        for axis in (1, 2) if self.data_format == "channels_last" else (2, 3):
            shape[axis] = None if shape[axis] is None else -(-shape[axis] // self.strides)
        shape[self._channel_axis] = self.filters
        return tuple(shape)

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "strides": self.strides,
            "data_format": self.data_format,
        }

    @property
    def _channel_axis(self):
        return -1 if self.data_format == "channels_last" else 1
