"""The residual blocks of convolutional networks: basic, bottleneck, pre-activation."""

import keras

from keras_deeptricks.layers.convolution_parts import ConvolutionParts
from keras_deeptricks.layers.padded_shortcut import PaddedShortcut
from keras_deeptricks.layers.residual import Residual
from keras_deeptricks.utils.checks import check_choice, check_flag, check_integer, check_number
from keras_deeptricks.utils.composite import Composite

# The last convolution of a bottleneck widens by this factor.
_EXPANSION = 4


@keras.saving.register_keras_serializable(package="keras_deeptricks")
class ResidualBlock(Composite):
    """A block of convolutions and batch norms beside a shortcut.

    | kind | branch |
    |---|---|
    | `"basic"` | 3×3 (strides) – BN – ReLU – 3×3 – BN |
    | `"bottleneck"` | 1×1 – BN – ReLU – 3×3 (strides) – BN – ReLU – 1×1, 4·filters – BN |

    Behind the sum follows a ReLU. With `pre_activation` each convolution has its BN and ReLU
    before it and none follows the sum, so that the shortcuts are one straight path through the
    network: better from some hundred layers on.

    The shortcut is the input itself where the shape stays. Where strides or filters change it, it
    is a projection, or, with `shortcut="padding"`, every second pixel and zeros for the channels
    that are new, without weights.

    Args:
        filters: Channels of the branch's 3×3 convolutions; also of the output, but for a
            bottleneck, which has 4 times as many.
        kind: `"basic"` or `"bottleneck"`.
        strides: Strides of the (first) 3×3 convolution. Defaults to `1`.
        pre_activation: Whether batch norm and activation come before the convolutions. A
            projection then begins behind the first of them, as in wide residual networks.
        shortcut: `"projection"` (1×1 convolution; with batch norm but for pre-activation) or
            `"padding"`, where the shape changes.
        activation: Name or function. Defaults to `"relu"`.
        kernel_size: Of the inner convolutions. Defaults to `3`.
        dropout: Rate of dropout before the last inner convolution, from 0 to below 1.
        zero_init_residual: Whether the branch begins as zero, and the block as its shortcut: the
            scale of its last batch norm, or with pre-activation its last kernel, starts at 0.
        survival_probability, skip: As in `keras_deeptricks.layers.Residual`.
        batch_norm_momentum: Defaults to `0.9`: with Keras' 0.99 the statistics of a deep net lag
            behind in short trainings.
        batch_norm_epsilon: Defaults to `1e-5`.
        kernel_initializer: By default chosen for the activation (He for ReLU).
        kernel_regularizer: Of all convolutions, or None.
        data_format: `"channels_last"`, `"channels_first"`, or None for Keras' setting.
        seed: Whole number for initial weights, dropout and the draws of the survival, or None.
            Blocks of equal seeds begin with equal weights and are dropped together.
        **kwargs: The arguments of `keras.Layer`.

    Input shape: (rows, height, width, channels). Output shape: (rows, ⌈height/strides⌉,
    ⌈width/strides⌉, filters or 4·filters).

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: An argument is out of its range, or zeros should pad to fewer channels.

    Example:

    ```python
    import keras
    import numpy as np
    import keras_deeptricks as kdt

    model = keras.Sequential([
        keras.Input((16, 16, 8)),
        kdt.layers.ResidualBlock(8),
        kdt.layers.ResidualBlock(16, strides=2, survival_probability=0.8),
    ])
    assert model.output_shape == (None, 8, 8, 16)
    ```

    Reference: He, Zhang, Ren & Sun, Deep residual learning, 2015, section 3.3, figure 5; Identity
    mappings in deep residual networks, 2016, figure 4(e); Goyal et al., 2017, section 5.1
    (`zero_init_residual`).
    """

    def __init__(
        self,
        filters,
        kind="basic",
        strides=1,
        pre_activation=False,
        shortcut="projection",
        activation="relu",
        kernel_size=3,
        dropout=0.0,
        zero_init_residual=False,
        survival_probability=1.0,
        skip="auto",
        batch_norm_momentum=0.9,
        batch_norm_epsilon=1e-5,
        kernel_initializer=None,
        kernel_regularizer=None,
        data_format=None,
        seed=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.filters = check_integer("filters", filters, minimum=1)
        self.kind = check_choice("kind", kind, ("basic", "bottleneck"))
        self.strides = check_integer("strides", strides, minimum=1)
        self.pre_activation = check_flag("pre_activation", pre_activation)
        self.shortcut = check_choice("shortcut", shortcut, ("projection", "padding"))
        self.kernel_size = check_integer("kernel_size", kernel_size, minimum=1)
        self.zero_init_residual = check_flag("zero_init_residual", zero_init_residual)
        self.survival_probability = check_number(
            "survival_probability", survival_probability, minimum=0, maximum=1
        )
        self.skip = check_choice("skip", skip, ("auto", True, False))
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
        # Layers before both branch and shortcut, and the block itself; they exist once the number
        # of input channels is known.
        self.common = self.residual = None

    def build(self, input_shape):
        self.parts.check_images(input_shape)
        if self.residual is None:
            self._make_layers(input_shape[self.parts.channel_axis])
        if self.common is not None:
            self.common.build(input_shape)
        if not self.residual.built:
            self.residual.build(input_shape)
        super().build(input_shape)

    def call(self, inputs):
        return self.call_parts(lambda layer, tensor: layer(tensor), inputs)

    def call_parts(self, call, inputs):
        if self.common is not None:
            inputs = call(self.common, inputs)
        return call(self.residual, inputs)

    def without_branch(self):
        """The layers that are left when the branch is cut out, in order; the same objects."""
        before = [] if self.common is None else [self.common]
        return before + self.residual.without_branch()

    def compute_output_shape(self, input_shape):
        shape = list(input_shape)
        for axis in self.parts.spatial_axes:
            shape[axis] = None if shape[axis] is None else -(-shape[axis] // self.strides)
        shape[self.parts.channel_axis] = self._output_filters
        return tuple(shape)

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "kind": self.kind,
            "strides": self.strides,
            "pre_activation": self.pre_activation,
            "shortcut": self.shortcut,
            "kernel_size": self.kernel_size,
            "zero_init_residual": self.zero_init_residual,
            "survival_probability": self.survival_probability,
            "skip": self.skip,
            **self.parts.config(),
        }

    @property
    def _output_filters(self):
        return self.filters * (_EXPANSION if self.kind == "bottleneck" else 1)

    def _make_layers(self, channels):
        changes = self.strides != 1 or channels != self._output_filters
        branch = self._branch()
        if changes and self.shortcut == "projection" and self.pre_activation:
            self.common = keras.Sequential(branch[:2], name="common")
            branch = branch[2:]
        self.residual = Residual(
            branch,
            self._shortcut() if changes else None,
            activation=None if self.pre_activation else self.parts.activation_function,
            survival_probability=self.survival_probability,
            skip=self.skip,
            seed=self.parts.seed,
            dtype=self.dtype_policy,
            name=self.name,
        )

    def _convolutions(self):
        """Channels, kernel size and strides of the branch's convolutions."""
        inner = self.filters, self.kernel_size, self.strides
        if self.kind == "basic":
            return [inner, (self.filters, self.kernel_size, 1)]
        return [(self.filters, 1, 1), inner, (self._output_filters, 1, 1)]

    def _branch(self):
        parts, policy, branch = self.parts, self.dtype_policy, []
        convolutions = self._convolutions()
        for position, (filters, size, strides) in enumerate(convolutions):
            is_last = position == len(convolutions) - 1
            zero = self.zero_init_residual and is_last
            # Before the second convolution: the last 3×3 one of either kind.
            branch_dropout = parts.dropout(policy) if position == 1 else []
            if self.pre_activation:
                branch += [parts.normalization(policy), parts.activation(policy), *branch_dropout]
                branch.append(parts.convolution(filters, size, policy, strides, zero=zero))
            else:
                branch += [*branch_dropout, parts.convolution(filters, size, policy, strides)]
                branch.append(parts.normalization(policy, zero=zero))
                branch += [] if is_last else [parts.activation(policy)]
        return branch

    def _shortcut(self):
        parts, policy, filters = self.parts, self.dtype_policy, self._output_filters
        if self.shortcut == "padding":
            return PaddedShortcut(
                filters,
                self.strides,
                data_format=parts.data_format,
                dtype=policy,
                name=f"{self.name}_padding",
            )
        projection = [parts.convolution(filters, 1, policy, self.strides)]
        return projection + ([] if self.pre_activation else [parts.normalization(policy)])
