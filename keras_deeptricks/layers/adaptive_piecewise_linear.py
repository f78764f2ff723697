"""Adaptive piecewise linear units: an activation that every unit learns."""

import keras
from keras import ops

from keras_deeptricks.utils.checks import check_integer


@keras.saving.register_keras_serializable(package="keras_deeptricks")
class AdaptivePiecewiseLinear(keras.layers.Layer):
    """An activation that is learned: the ReLU plus a few hinges, of every unit by itself.

    h(x) = max(0, x) + Σ_s a_s·max(0, −x + b_s), with the slopes a and the places b of the hinges
    learned for each unit: any piecewise linear function, convex or not, that is the identity far
    to the right. With a = 0 it is the ReLU, with S = 1 and b = 0 the PReLU of slope −a. It costs
    2·S weights a unit.

    Defaults: a = 0, so that training starts from the ReLU and He's initialization fits; b
    normal with deviation 0.5, so that hinges differ and lie among the inputs of a standardized
    layer. (Where a is 0 only b has no gradient, until a has moved.)

    Args:
        segments: Number S of hinges, at least 1; few are enough. Defaults to `2`.
        shared_axes: Axes along which the units have one activation together, counted with the
            batch axis as 0, as in `keras.layers.PReLU`: `(1, 2)` behind a channels-last 2D
            convolution, `(2, 3)` behind a channels-first one.
        slope_initializer: Of a. Defaults to `"zeros"`.
        hinge_initializer: Of b. By default normal with deviation 0.5.
        slope_regularizer, hinge_regularizer: Of a and of b, or None. A small l2 on both keeps
            them from growing without bound.
        slope_constraint, hinge_constraint: Of a and of b, or None.
        **kwargs: The arguments of `keras.Layer`.

    Input shape: any, with the sizes of the axes that are not shared fixed. Output shape: the
    same. Weights: `slopes` and `hinges`, of shape (segments, …).

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: An argument is out of its range, or does not fit the input.

    Example:

    ```python
    import keras
    import numpy as np
    import keras_deeptricks as kdt

    layer = kdt.layers.AdaptivePiecewiseLinear(segments=1)
    layer.build((None, 1))
    layer.set_weights([np.array([[0.5]]), np.array([[1.0]])])
    y = keras.ops.convert_to_numpy(layer(np.array([[-1.0], [0.0], [3.0]])))
    assert np.allclose(y, [[1.0], [0.5], [3.0]])
    ```

    Reference: Agostinelli, Hoffman, Sadowski & Baldi, Learning activation functions to improve deep
    neural networks, 2015, equation 1.
    """

    def __init__(
        self,
        segments=2,
        shared_axes=None,
        slope_initializer="zeros",
        hinge_initializer=None,
        slope_regularizer=None,
        hinge_regularizer=None,
        slope_constraint=None,
        hinge_constraint=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.segments = check_integer("segments", segments, minimum=1)
        self.shared_axes = _check_axes(shared_axes)
        self.slope_initializer = keras.initializers.get(slope_initializer)
        if hinge_initializer is None:
            hinge_initializer = keras.initializers.RandomNormal(stddev=0.5)
        self.hinge_initializer = keras.initializers.get(hinge_initializer)
        self.slope_regularizer = keras.regularizers.get(slope_regularizer)
        self.hinge_regularizer = keras.regularizers.get(hinge_regularizer)
        self.slope_constraint = keras.constraints.get(slope_constraint)
        self.hinge_constraint = keras.constraints.get(hinge_constraint)
        self.supports_masking = True

    def build(self, input_shape):
        shape = [self.segments, *self._unit_shape(input_shape)]
        self.slopes = self.add_weight(
            name="slopes",
            shape=shape,
            initializer=self.slope_initializer,
            regularizer=self.slope_regularizer,
            constraint=self.slope_constraint,
        )
        self.hinges = self.add_weight(
            name="hinges",
            shape=shape,
            initializer=self.hinge_initializer,
            regularizer=self.hinge_regularizer,
            constraint=self.hinge_constraint,
        )

    def call(self, inputs):
        slopes, hinges = ops.convert_to_tensor(self.slopes), ops.convert_to_tensor(self.hinges)
        outputs = ops.relu(inputs)
        # One by one: all at once would need `segments` times the memory.
        for segment in range(self.segments):
            outputs = outputs + slopes[segment] * ops.relu(hinges[segment] - inputs)
        return outputs

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        axes = self.shared_axes
        return {
            **super().get_config(),
            "segments": self.segments,
            "shared_axes": axes if axes is None else list(axes),
            "slope_initializer": keras.initializers.serialize(self.slope_initializer),
            "hinge_initializer": keras.initializers.serialize(self.hinge_initializer),
            "slope_regularizer": keras.regularizers.serialize(self.slope_regularizer),
            "hinge_regularizer": keras.regularizers.serialize(self.hinge_regularizer),
            "slope_constraint": keras.constraints.serialize(self.slope_constraint),
            "hinge_constraint": keras.constraints.serialize(self.hinge_constraint),
        }

    def _unit_shape(self, input_shape):
        """The shape of one weight per unit, without the batch axis."""
        shape = list(input_shape)
        for axis in self.shared_axes or ():
            if axis >= len(shape):
                raise ValueError(
                    f"`shared_axes` names axis {axis}, which an input of shape "
                    f"{tuple(input_shape)} does not have."
                )
            shape[axis] = 1
        if None in shape[1:]:
            raise ValueError(
                "The sizes of all axes but those in `shared_axes` must be known. "
                f"Received an input of shape {tuple(input_shape)} and "
                f"shared_axes={self.shared_axes}."
            )
        return shape[1:]


def _check_axes(axes):
    if axes is None:
        return None
    axes = tuple(axes) if isinstance(axes, (tuple, list)) else (axes,)
    return tuple(check_integer("shared_axes", axis, minimum=1) for axis in axes)
