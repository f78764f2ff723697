"""The kernels of a model: the weights that pruning may take, their masks and their units."""

import dataclasses

import keras
import numpy as np
from keras import ops

from keras_deeptricks.constraints.fixed_mask import FixedMask
from keras_deeptricks.utils.checks import check_built
from keras_deeptricks.utils.layer_walk import walk_layers

# A weight, and the attribute with its constraint, which a layer's configuration tells.
_WEIGHTS = (
    ("kernel", "kernel_constraint"),
    ("kernel", "depthwise_constraint"),
    ("recurrent_kernel", "recurrent_constraint"),
    ("depthwise_kernel", "depthwise_constraint"),
    ("pointwise_kernel", "pointwise_constraint"),
    ("embeddings", "embeddings_constraint"),
)
_BIAS = ("bias", "bias_constraint")
# Of a batch norm: where a unit before it is pruned, it is to give 0 too.
_NORM = (("gamma", "gamma_constraint"), ("beta", "beta_constraint"))
_OUTPUT_LAST = (
    keras.layers.Dense,
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
    keras.layers.SeparableConv1D,
    keras.layers.SeparableConv2D,
)
_OUTPUT_FIRST = (
    keras.layers.Conv1DTranspose,
    keras.layers.Conv2DTranspose,
    keras.layers.Conv3DTranspose,
)
_DEPTHWISE = (keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)
# Their configurations do not tell the constraints of the layers inside.
_CLOSED = (
    keras.layers.MultiHeadAttention,
    keras.layers.GroupQueryAttention,
    keras.layers.Bidirectional,
)


@dataclasses.dataclass(frozen=True, eq=False)
class Kernel:
    """A weight that pruning may take.

    Attributes:
        path: The name of its layer (inside a recurrent layer, or one of one's own, that of the
            layer around) and its own, such as `"dense/kernel"`; with a number (`"dense/kernel#2"`)
            from the second weight of that path on. It is the same in copies of the model, and in
            what is loaded from its file.
        place: Its place in `model.weights`.
        layer: The layer that owns it.
        attribute: Its name there.
        constraint_attribute: The name of its constraint there.
        variable: The `keras.Variable`.
    """

    path: str
    place: int
    layer: keras.Layer
    attribute: str
    constraint_attribute: str
    variable: keras.Variable

    @property
    def shape(self):
        return tuple(self.variable.shape)

    @property
    def is_kernel(self):
        """False for a bias, and for the scale and the shift of a batch norm."""
        return self.attribute not in ("bias", "gamma", "beta")

    @property
    def constraint(self):
        """The constraint of the weight, or None."""
        return self.variable.constraint

    @property
    def mask(self):
        """The mask of the weight, True where it is not pruned; None without a `FixedMask`."""
        return self.constraint.mask if isinstance(self.constraint, FixedMask) else None

    def keep(self):
        """The mask of the weight, all True without a `FixedMask`."""
        return np.ones(self.shape, bool) if self.mask is None else self.mask

    def value(self):
        """A copy of the weight, of float64 if it is that and else of float32."""
        array = np.asarray(ops.convert_to_numpy(self.variable))
        return array.astype("float64" if array.dtype == np.float64 else "float32")

    def set_constraint(self, constraint):
        """Puts a constraint on the weight, and into the layer's configuration."""
        setattr(self.layer, self.constraint_attribute, constraint)
        self.variable.constraint = constraint


def kernels_of(model):
    """The kernels of a built model by path, in the order of `model.weights`.

    That is the weights that layers multiply by: those of `Dense`, convolutions, recurrent layers,
    `Embedding`, and of layers of one's own whose `kernel` has a `kernel_constraint`. Biases and the
    weights of normalizations are none, nor is what is inside attention layers and `Bidirectional`,
    which cannot keep a mask for each layer inside.

    Raises:
        TypeError: `model` is no Keras model.
        ValueError: It is not built.
    """
    check_built("model", model)
    owners = _owners(model, _WEIGHTS)
    return {kernel.path: kernel for kernel in _ordered(model, owners)}


def unit_weights_of(model):
    """The biases, scales and shifts of a built model, lists of `Kernel` by the `id` of the layer.

    Scales and shifts are those of batch norms.
    """
    found = {}
    for weight in _ordered(model, _owners(model, [_BIAS, *_NORM])):
        found.setdefault(id(weight.layer), []).append(weight)
    return found


def maskable_of(model):
    """The weights of a built model that can have a mask, by path: `unit_weights_of` too."""
    check_built("model", model)
    owners = _owners(model, [*_WEIGHTS, _BIAS, *_NORM])
    return {weight.path: weight for weight in _ordered(model, owners)}


def _owners(model, names):
    """For each weight a name, its layer and its attributes, by the `id` of its variable."""
    layers = list(walk_layers(model))
    closed = [set(map(id, walk_layers(layer))) for layer in layers if isinstance(layer, _CLOSED)]
    inside, owners = set().union(*closed), {}
    # The names of cells, and of other layers inside a layer, need not be saved.
    around = {}
    for layer in layers:
        if not isinstance(layer, (keras.Model, keras.layers.Wrapper)):
            for inner in walk_layers(layer):
                around.setdefault(id(inner), layer.name)
    for layer in layers:
        if id(layer) not in inside:
            for pair in names:
                _add_owner(owners, layer, around.get(id(layer), layer.name), *pair)
    return owners


def _add_owner(owners, layer, name, attribute, constraint_attribute):
    # A quantized layer, or one with LoRA, has a tensor there that it computes.
    weight = getattr(layer, attribute, None) if hasattr(layer, constraint_attribute) else None
    of_norm = (attribute, constraint_attribute) in _NORM
    if isinstance(weight, keras.Variable) and (
        not of_norm or isinstance(layer, keras.layers.BatchNormalization)
    ):
        owners.setdefault(id(weight), (name, layer, attribute, constraint_attribute))


def _ordered(model, owners):
    taken = {}
    for place, variable in enumerate(model.weights):
        if id(variable) not in owners:
            continue
        name, *owner = owners[id(variable)]
        path = f"{name}/{owner[1]}"
        number = taken[path] = taken.get(path, 0) + 1
        yield Kernel(path if number == 1 else f"{path}#{number}", place, *owner, variable)


def unit_axes(kernel):
    """The axes of a kernel along which its layer's units lie, or None where it has no units.

    A unit is a neuron or filter. Those of a depthwise convolution lie along two axes. Recurrent
    layers, whose kernels hold several gates, and `Embedding` have none, nor has the depthwise
    kernel of a separable convolution.
    """
    layer, rank = kernel.layer, len(kernel.shape)
    if kernel.attribute not in ("kernel", "pointwise_kernel"):
        return None
    if isinstance(layer, _DEPTHWISE):
        return (rank - 2, rank - 1)
    if isinstance(layer, _OUTPUT_FIRST):
        return (rank - 2,)
    if isinstance(layer, _OUTPUT_LAST):
        return (rank - 1,)
    if isinstance(layer, keras.layers.EinsumDense):
        return _einsum_units(layer.equation)
    return None


def _einsum_units(equation):
    """The axis of the units where there is one, which is also the last of the output."""
    terms, output = equation.replace(" ", "").split("->")
    kernel = terms.split(",")[1]
    kept = [axis for axis, letter in enumerate(kernel) if letter in output]
    return tuple(kept) if len(kept) == 1 and kernel[kept[0]] == output[-1] else None


def unit_count(kernel):
    """The number of units of a kernel that has `unit_axes`."""
    return int(np.prod([kernel.shape[axis] for axis in unit_axes(kernel)]))


def by_unit(array, axes):
    """An array of a kernel's shape as (units, incoming weights)."""
    last = np.moveaxis(array, axes, range(array.ndim - len(axes), array.ndim))
    units = int(np.prod([array.shape[axis] for axis in axes]))
    return last.reshape(-1, units).T


def over_incoming(units, kernel):
    """An array of one value per unit, spread over the shape of the kernel."""
    axes = unit_axes(kernel)
    shape = [kernel.shape[axis] if axis in axes else 1 for axis in range(len(kernel.shape))]
    return np.broadcast_to(np.asarray(units).reshape(shape), kernel.shape)
