"""The squared gradients of single rows by the kernels of Dense layers, a whole batch at once."""

import keras
from keras import ops

from keras_deeptricks.utils.backend import gradients_of
from keras_deeptricks.utils.layer_probe import leaf_calls_watched
from keras_deeptricks.utils.patching import patched


def plain_dense_layers(model, x, kernels):
    """The layers of the kernels, if each is a `Dense` that is called once, on rows of features.

    Args:
        model: A built model.
        x: A batch of inputs, tensors.
        kernels: The kernels, as of `kernels_of`.

    Returns:
        A list in the order of the kernels, or None if one is anything else. That nothing but its
        layer takes a kernel is for the caller to see.
    """
    shapes, rows = {}, keras.tree.flatten(x)[0].shape[0]

    def watch(layer, around, args, kwargs, outputs):
        leaves = [leaf for leaf in keras.tree.flatten((args, kwargs)) if ops.is_tensor(leaf)]
        shapes.setdefault(id(layer), []).append(tuple(leaves[0].shape) if leaves else ())

    with keras.StatelessScope(), leaf_calls_watched(model, watch):
        model(x, training=False)
    layers = [kernel.layer for kernel in kernels]
    plain = all(
        type(layer) is keras.layers.Dense
        and [(len(shape), shape[:1]) for shape in shapes.get(id(layer), ())] == [(2, (rows,))]
        for layer in layers
    )
    return layers if plain else None


def squared_dense_gradients(layers, compute, weights):
    """Σ weight·(∂ scalar/∂ kernel)² over the rows, for each kernel.

    The gradient of a row is the product of the layer's input and of δ, the derivative by its output
    before the activation. As rows do not depend on each other, one pass back gives δ for all.

    Args:
        layers: List of Dense layers, each called once.
        compute: A function without arguments that calls the model and returns the sum of the
            scalars of all rows.
        weights: A tensor of the weights of the rows.

    Returns:
        A list of tensors of the shapes of the kernels.
    """

    def sum_of_scalars(shifts):
        inputs = [None] * len(layers)
        calls = [
            (layer, "call", _shifted_call(layer, place, shifts[place], inputs))
            for place, layer in enumerate(layers)
        ]
        with patched(calls):
            return compute(), inputs

    rows = weights.shape[0]
    shifts = [ops.zeros((rows, layer.units), dtype=weights.dtype) for layer in layers]
    _, inputs, deltas = gradients_of(sum_of_scalars, shifts)
    weights = ops.expand_dims(weights, -1)
    return [
        ops.matmul(ops.transpose(weights * ops.square(ops.cast(x, weights.dtype))), ops.square(d))
        for x, d in zip(inputs, deltas, strict=True)
    ]


def _shifted_call(layer, place, shift, inputs):
    original, activation = layer.call, layer.activation

    def call(x, training=None):
        inputs[place] = x
        with patched([(layer, "activation", keras.activations.linear)]):
            before = original(x)
        return activation(before + ops.cast(shift, before.dtype))

    return call
