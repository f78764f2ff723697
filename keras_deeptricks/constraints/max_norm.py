"""Max-norm: a limit on the weight norm of every unit, exact for every kind of kernel."""

import re

import keras
from keras import ops

from keras_deeptricks.utils.checks import check_number

# Axes that belong to one output unit, where they are not "all but the last". Kernel layouts:
# DepthwiseConv (…, channels, multiplier), Conv*Transpose (…, outputs, inputs), Embedding
# (words, features): each word's vector.
_AXES_OF_LAYERS = {
    "DepthwiseConv1D": (0,),
    "DepthwiseConv2D": (0, 1),
    "Conv1DTranspose": (0, 2),
    "Conv2DTranspose": (0, 1, 3),
    "Conv3DTranspose": (0, 1, 2, 4),
    "Embedding": (1,),
}
_OUTPUT_LAST = (
    "Dense",
    "Conv1D",
    "Conv2D",
    "Conv3D",
    "SimpleRNN",
    "LSTM",
    "GRU",
    "SimpleRNNCell",
    "LSTMCell",
    "GRUCell",
    "ConvLSTM1D",
    "ConvLSTM2D",
    "ConvLSTM3D",
)
# Two kernels of different layouts; the pointwise one is output-last.
_DEPTHWISE_OF = {"SeparableConv1D": (0,), "SeparableConv2D": (0, 1)}


@keras.saving.register_keras_serializable(package="keras_deeptricks")
class MaxNorm(keras.constraints.Constraint):
    """Scales the incoming weights of a unit back to norm `max_value` where they exceed it.

    For each output unit, w ← w·c/‖w‖₂ where ‖w‖₂ > c, and w bit for bit as it is elsewhere.
    (Keras' `MaxNorm` multiplies by c/(ε + ‖w‖) wherever its clipping bites, shrinks weights
    inside the ball by rounding and ε, and its default `axis=0` is wrong for convolutions.) Use it
    with dropout and high learning rates.

    A constraint sees only the tensor, not its layer. `axis="auto"` takes the norm over all axes
    but the last, which is one unit or filter in the kernels of `Dense`, `Conv1D/2D/3D` and the
    recurrent layers. Kernels of another layout get their axes from `MaxNorm.for_layer`.

    Args:
        max_value: The limit c, above 0. Defaults to `2.0`.
        axis: `"auto"`, or the axis or axes to take the norm over.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: `max_value` is not above 0.

    Example:

    ```python
    import keras
    import numpy as np
    import keras_deeptricks as kdt

    layer = keras.layers.Dense(10, kernel_constraint=kdt.constraints.MaxNorm(1.0))
    limited = kdt.constraints.MaxNorm(1.0)(np.array([[3.0, 0.3], [4.0, 0.4]], "float32"))
    assert np.allclose(limited, [[0.6, 0.3], [0.8, 0.4]])
    ```

    Reference: Srivastava, Hinton, Krizhevsky, Sutskever & Salakhutdinov, Dropout, 2014,
    section 5.1.
    """

    def __init__(self, max_value=2.0, axis="auto"):
        self.max_value = check_number("max_value", max_value, above=0)
        self.axis = _check_axis(axis)

    @classmethod
    def for_layer(cls, layer_class, max_value=2.0, equation=None):
        """A `MaxNorm` with the axes that one unit has in the kernel of `layer_class`.

        Args:
            layer_class: A Keras layer class, such as `keras.layers.DepthwiseConv2D`. For
                `Embedding` the unit is one word's vector; for `SeparableConv` this is the
                `depthwise_constraint` (the pointwise kernel takes a plain `MaxNorm`).
            max_value: The limit, above 0.
            equation: The layer's `equation`, for `EinsumDense` only: a unit is what is summed
                over, the axes of the kernel that the output has not.

        Raises:
            ValueError: The kernel layout of `layer_class` is not known, as for
                `MultiHeadAttention`, whose kernels differ; pass `axis` instead. Or `equation` is
                missing or no equation of a kernel.
        """
        if any(base is keras.layers.EinsumDense for base in getattr(layer_class, "__mro__", ())):
            return cls(max_value, axis=_summed_axes(equation))
        for base in getattr(layer_class, "__mro__", ()):
            if base.__name__ in _AXES_OF_LAYERS:
                return cls(max_value, axis=_AXES_OF_LAYERS[base.__name__])
            if base.__name__ in _DEPTHWISE_OF:
                return cls(max_value, axis=_DEPTHWISE_OF[base.__name__])
            if base.__name__ in _OUTPUT_LAST:
                return cls(max_value)
        raise ValueError(
            "`layer_class` must be a Keras layer class with a known kernel layout: "
            f"{', '.join((*_OUTPUT_LAST, *_DEPTHWISE_OF, *_AXES_OF_LAYERS))}, EinsumDense. "
            f"Received: layer_class={layer_class!r}. For another layer pass the axes that belong "
            "to one output unit: MaxNorm(max_value, axis=(0, 1))."
        )

    def __call__(self, w):
        w = ops.convert_to_tensor(w)
        axis = tuple(range(max(len(w.shape) - 1, 1))) if self.axis == "auto" else self.axis
        # In half precision the squares overflow or vanish.
        double = keras.backend.standardize_dtype(w.dtype) == "float64"
        wide = ops.cast(w, "float64" if double else "float32")
        norm = ops.sqrt(ops.sum(ops.square(wide), axis=axis, keepdims=True))
        too_long = norm > self.max_value
        scale = self.max_value / ops.where(too_long, norm, ops.ones_like(norm))
        return ops.where(too_long, ops.cast(wide * scale, w.dtype), w)

    def get_config(self):
        axis = list(self.axis) if isinstance(self.axis, tuple) else self.axis
        return {"max_value": self.max_value, "axis": axis}


def _summed_axes(equation):
    """The axes of an `EinsumDense` kernel over which its equation sums."""
    parts = re.fullmatch(r"[a-zA-Z.]+,([a-zA-Z]+)->([a-zA-Z.]+)", equation or "")
    axes = ()
    if parts is not None:
        kernel, output = parts.groups()
        axes = tuple(axis for axis, letter in enumerate(kernel) if letter not in output)
    if not axes:
        raise ValueError(
            "`equation` must be that of the EinsumDense layer and sum over some axis of the "
            "kernel, such as 'abc,cd->abd'. "
            f"Received: equation={equation!r}."
        )
    return axes


def _check_axis(axis):
    if axis == "auto":
        return axis
    axes = axis if isinstance(axis, (tuple, list)) else (axis,)
    if not axes or not all(isinstance(a, int) and not isinstance(a, bool) for a in axes):
        raise TypeError(
            f"`axis` must be 'auto', a whole number or a tuple of them. Received: axis={axis!r}."
        )
    return tuple(axes)
