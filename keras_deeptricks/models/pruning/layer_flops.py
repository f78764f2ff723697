"""Floating-point operations of layers, from their matrices and shapes."""

import math

import keras

from keras_deeptricks.layers.adaptive_piecewise_linear import AdaptivePiecewiseLinear
from keras_deeptricks.layers.standardization import Standardization
from keras_deeptricks.utils.layer_walk import walk_layers

layers = keras.layers
ATTENTION = (layers.MultiHeadAttention, layers.GroupQueryAttention)
_BY_OUTPUT = (
    *(layers.Conv1D, layers.Conv2D, layers.Conv3D),
    *(layers.DepthwiseConv1D, layers.DepthwiseConv2D),
    *(layers.SeparableConv1D, layers.SeparableConv2D),
)
_BY_INPUT = (layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose)
_CELLS = (layers.SimpleRNNCell, layers.GRUCell, layers.LSTMCell)
# It may also multiply by the transpose of its weights; not in older versions of Keras.
_REVERSIBLE = getattr(layers, "ReversibleEmbedding", ())
# Their weights may have several axes, but no product sums over them.
_ELEMENTWISE = (
    *(layers.LayerNormalization, layers.RMSNormalization, layers.Normalization, layers.PReLU),
    *(layers.SpectralNormalization, AdaptivePiecewiseLinear, Standardization),
)


def layer_flops(layer, input_shape, output_shape):
    """Floating-point operations of one call of a layer on one row: two for each multiply-add.

    Only products with matrices are counted: those of `Dense`, `EinsumDense`, convolutions (each
    position of the kernel, also over padding), `SimpleRNN`, `GRU`, `LSTM` (every time step, also
    where it is masked), and of multi-head attention, with the products of its queries, keys and
    values. Biases, normalizations, activations, `Embedding` and layers without matrices count as 0.

    Args:
        layer: A built layer.
        input_shape, output_shape: The shapes of its tensors, with the axis of the rows. Attention
            needs a list of those of query, value and, where it differs, key.

    Returns:
        A whole number; None where it depends on an axis of unknown length, or the layer multiplies
        by a matrix in a way that is not known.
    """
    found = product_flops(layer, input_shape, output_shape)
    counted = {id(variable) for variable, _ in found}
    flops = [count for _, count in found]
    if None in flops or any(id(matrix) not in counted for matrix in matrices_of(layer)):
        return None
    return sum(flops)


def matrices_of(layer):
    """The weights of a layer or model with two axes or more, but for those used elementwise.

    That is without the biases, and the weights of normalizations.
    """
    elementwise = set()
    for inner in walk_layers(layer):
        elementwise.add(id(getattr(inner, "bias", None)))
        if isinstance(inner, _ELEMENTWISE):
            inside = getattr(inner, "layer", None)
            wrapped = set() if inside is None else {id(weight) for weight in inside.weights}
            elementwise |= {id(weight) for weight in inner.weights} - wrapped
    return [w for w in layer.weights if len(w.shape) > 1 and id(w) not in elementwise]


def product_flops(layer, input_shape, output_shape):
    """The parts of `layer_flops`: a list of pairs of a weight and its operations.

    The weight is None for products of tensors, the operations are None where they depend on an axis
    of unknown length. Matrices of which nothing is known are not in the list.
    """
    shapes = [input_shape] if _is_shape(input_shape) else list(input_shape)
    shape = shapes[0]
    if isinstance(layer, layers.Dense):
        return _products(layer, ["kernel"], shape[1:-1])
    if isinstance(layer, layers.EinsumDense):
        return [(layer.kernel, _einsum_flops(layer, output_shape))]
    if isinstance(layer, (*_BY_OUTPUT, *_BY_INPUT)):
        names = [n for n in ("kernel", "depthwise_kernel", "pointwise_kernel") if hasattr(layer, n)]
        by_input = isinstance(layer, _BY_INPUT)
        return _products(layer, names, _image_sizes(layer, shape if by_input else output_shape))
    if isinstance(layer, layers.RNN):
        cells = [c for c in getattr(layer.cell, "cells", [layer.cell]) if isinstance(c, _CELLS)]
        names = ["kernel", "recurrent_kernel"]
        return [pair for cell in cells for pair in _products(cell, names, shape[1:2])]
    if isinstance(layer, layers.Bidirectional):
        both = layer.forward_layer, layer.backward_layer
        return [pair for one in both for pair in product_flops(one, shape, output_shape)]
    if isinstance(layer, layers.TimeDistributed):
        step = [(sizes[0], *sizes[2:]) for sizes in (shape, output_shape)]
        pairs = product_flops(layer.layer, *step)
        return [(weight, _times(flops, shape[1:2])) for weight, flops in pairs]
    if isinstance(layer, layers.SpectralNormalization):
        return product_flops(layer.layer, input_shape, output_shape)
    if isinstance(layer, ATTENTION):
        return _attention_flops(layer, shapes)
    if isinstance(layer, layers.Embedding) and not isinstance(layer, _REVERSIBLE):
        return [(layer.embeddings, 0)]
    return []


def _is_shape(shape):
    return all(size is None or isinstance(size, int) for size in shape)


def _products(layer, names, places):
    weights = [weight for weight in (getattr(layer, name) for name in names) if weight is not None]
    return [(weight, _times(2 * math.prod(weight.shape), places)) for weight in weights]


def _times(flops, places):
    return None if flops is None or None in places else flops * math.prod(places)


def _image_sizes(layer, shape):
    return shape[2:] if layer.data_format == "channels_first" else shape[1:-1]


def _einsum_flops(layer, output_shape):
    """Every weight is used once for each entry of the output's axes that the kernel has not."""
    letters, output = layer.equation.replace(" ", "").split(",")[1].split("->")
    outputs = [
        size for letter, size in zip(letters, layer.kernel.shape, strict=True) if letter in output
    ]
    if None in output_shape[1:]:
        return None
    places = math.prod(output_shape[1:]) // math.prod(outputs)
    return 2 * math.prod(layer.kernel.shape) * places


def _attention_flops(layer, shapes):
    """The projections, and the products of queries with keys and of scores with values."""
    inside = {inner.name: inner for inner in walk_layers(layer)}
    query, value, key = shapes[0], *(shapes[1:2] or [None]), *(shapes[2:3] or shapes[1:2] or [None])
    inputs = {"query": query, "gate": query, "key": key, "value": value, "attention_output": query}
    found = []
    for name, shape in inputs.items():
        if name in inside:
            places = [None] if shape is None else shape[1:-1]
            found += _products(inside[name], ["kernel"], places)
    _, heads, query_size = inside["query"].kernel.shape
    value_size = inside["value"].kernel.shape[-1]
    axes = getattr(layer, "attention_axes", None) or range(1, len(query) - 1)
    lengths = [None] if value is None else [value[axis] for axis in axes]
    scores = 2 * heads * (query_size + value_size)
    return [*found, (None, _times(scores, [*query[1:-1], *lengths]))]
