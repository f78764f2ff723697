"""Adaptive gradient clipping: gradients limited in proportion to the weights they change."""

import warnings

import keras
from keras import ops

from keras_deeptricks.optimizers.gradient_transform import GradientTransform, kept_variables
from keras_deeptricks.utils.checks import check_choice, check_number
from keras_deeptricks.utils.hyperparameters import Schedulable
from keras_deeptricks.utils.selection import check_patterns, matches

_SCOPES = ("unit", "layer", "element")


@keras.saving.register_keras_serializable(package="keras_deeptricks")
class AdaptiveGradientClipping(GradientTransform):
    """Clips each unit's gradient where it is too large for the unit's weights.

    With G the gradient and W the weights of an output unit, and ‖W‖* = max(‖W‖, ε):

    ```
    G ← λ·‖W‖*/‖G‖ · G      where ‖G‖ / ‖W‖* > λ
    ```

    Use it for large batches and high learning rates, above all in networks without batch norm.
    (Keras' own `global_clipnorm`, `clipnorm` and `clipvalue` clip by fixed limits; they come
    before it.) It acts on the accumulated, unscaled gradient of an update, and on the weights as
    they stand after the weight decay of the update.

    Args:
        optimizer: A `keras.optimizers.Optimizer` that was not trained with yet. It is copied.
        clip_factor: λ, above 0, or a schedule of it. Defaults to `0.01`, for batches of
            thousands; smaller batches stand more.
        epsilon: ε, above 0, which lets weights that start at zero move. Defaults to `1e-3`.
        scope: What is measured together. `"unit"`: the weights of one output unit or filter,
            that is, all axes but the last; vectors (biases, γ, β) by their whole norm.
            `"layer"`: each variable by its whole (Frobenius) norm. `"element"`: each weight alone.
        exclude: Layers, variables, names or patterns of them that are not clipped. The paper
            leaves out the last layer, which an optimizer cannot tell from the others: name it.
            Without `exclude` a warning says so once; pass `()` to clip every layer.
        axes: Dictionary from names or patterns to the axes that are measured together, for
            kernels whose outputs are not last, such as `{"depthwise_.*/kernel": (0, 1)}`; see
            `keras_deeptricks.constraints.MaxNorm.for_layer`.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: An argument is out of its range, or `optimizer` is trained already, a
            `LossScaleOptimizer` or a `MultiOptimizer`: this goes inside those.

    Example:

    ```python
    import keras
    import keras_deeptricks as kdt

    optimizer = kdt.optimizers.AdaptiveGradientClipping(
        kdt.optimizers.SGD(0.1, momentum=0.9), clip_factor=0.02, exclude=["scores"]
    )
    model = keras.Sequential(
        [keras.Input((8,)), keras.layers.Dense(16), keras.layers.Dense(3, name="scores")]
    )
    model.compile(optimizer, "mse")
    ```

    Reference: Brock, De, Smith & Simonyan, High-performance large-scale image recognition without
    normalization, 2021, equation 3.
    """

    clip_factor = Schedulable(above=0)

    def __init__(
        self,
        optimizer,
        clip_factor=0.01,
        epsilon=1e-3,
        scope="unit",
        exclude=None,
        axes=None,
    ):
        self.clip_factor = clip_factor
        self.clip_epsilon = check_number("epsilon", epsilon, above=0)
        self.clip_scope = check_choice("scope", scope, _SCOPES)
        self.clip_axes = _check_axes(axes)
        if exclude is None:
            warnings.warn(
                "AdaptiveGradientClipping clips every layer, also the last, which Brock et al. "
                "advise against. Name the output layer: exclude=['its name']. To clip every "
                "layer, pass exclude=().",
                stacklevel=2,
            )
        self.clip_exclude = check_patterns("exclude", () if exclude is None else exclude)

    def transform_config(self):
        return {
            "clip_factor": self.given("clip_factor"),
            "epsilon": self.clip_epsilon,
            "scope": self.clip_scope,
            "exclude": list(self.clip_exclude),
            "axes": {pattern: list(axes) for pattern, axes in self.clip_axes},
        }

    def prepare(self, variables):
        kept = kept_variables(self, "AdaptiveGradientClipping", variables, self.clip_exclude)
        # Plain numbers: Keras would take over variables that are kept in an attribute.
        measured = tuple(
            self._measured(variable) if keep else None
            for variable, keep in zip(variables, kept, strict=True)
        )
        object.__setattr__(self, "_clip_measured", measured)

    def transformed(self, gradient, variable, index, learning_rate):
        axes = self._clip_measured[index]
        if axes is not None:
            gradient = clipped(gradient, variable, self.clip_factor, self.clip_epsilon, axes)
        return gradient, learning_rate

    def _measured(self, variable):
        """The axes of a variable over which norms are taken."""
        for pattern, axes in self.clip_axes:
            if matches(pattern, variable.path):
                return axes
        rank = len(variable.shape)
        if self.clip_scope == "element":
            return ()
        if self.clip_scope == "layer" or rank < 2:
            return tuple(range(rank))
        return tuple(range(rank - 1))


def clipped(gradient, weights, clip_factor, epsilon, axes):
    """The gradient, clipped to `clip_factor` times the norms of the weights over `axes`.

    Args:
        gradient, weights: Tensors or variables of one shape.
        clip_factor: λ, a number or scalar tensor.
        epsilon: ε, the smallest norm that weights are taken to have.
        axes: Tuple of axes that are measured together; `()` for each weight alone.

    Returns:
        A tensor of the gradient's dtype, bit for bit the gradient where it is small enough.
    """
    gradient = ops.convert_to_tensor(gradient)
    wide = _wide(gradient)
    norm = _norm(wide, axes)
    limit = clip_factor * ops.maximum(_norm(_wide(ops.convert_to_tensor(weights)), axes), epsilon)
    too_long = norm > limit
    scale = limit / ops.where(too_long, norm, ops.ones_like(norm))
    return ops.where(too_long, ops.cast(wide * scale, gradient.dtype), gradient)


def _wide(tensor):
    # In half precision the squares overflow or vanish.
    double = keras.backend.standardize_dtype(tensor.dtype) == "float64"
    return ops.cast(tensor, "float64" if double else "float32")


def _norm(tensor, axes):
    if not axes:
        return ops.abs(tensor)
    return ops.sqrt(ops.sum(ops.square(tensor), axis=axes, keepdims=True))


def _check_axes(axes):
    rule = "`axes` must be a dictionary from names or patterns to tuples of axes."
    if axes is None:
        return ()
    if not isinstance(axes, dict):
        raise TypeError(f"{rule} Received: axes={axes!r}.")
    checked = []
    for pattern, several in axes.items():
        several = several if isinstance(several, (tuple, list)) else (several,)
        if not all(isinstance(a, int) and not isinstance(a, bool) for a in several):
            raise TypeError(f"{rule} Received: axes={axes!r}.")
        checked += [(one, tuple(several)) for one in check_patterns("axes", pattern)]
    return tuple(checked)
