"""The operations of a model on one row, by the weights that they multiply by."""

import keras
import numpy as np
from keras import ops

from keras_deeptricks.models.pruning.layer_flops import ATTENTION, product_flops
from keras_deeptricks.utils.backend import random_order_preserved
from keras_deeptricks.utils.batches import row_count
from keras_deeptricks.utils.layer_probe import leaf_calls_watched, tensors_of, watchable_layers
from keras_deeptricks.utils.layer_walk import walk_layers
from keras_deeptricks.utils.rewriting import graph_of, has_graph


def flops_by_weight(model, batch):
    """The operations on one row with each weight, by its `id`; by None those without weights.

    What is not known is None, or not there; all of it where the model cannot be called.
    """
    rows = _fixed_rows(model)
    if batch is None:
        batch = _zeros_for(model, rows or 1)
        try:
            return {None: None} if batch is None else _count_flops(model, batch, rows or 1)
        except Exception:
            # Zeros need not be inputs that it takes, and nobody has passed them.
            return {None: None}
    if rows is None:
        try:
            return _count_flops(model, _rows(batch, 1), 1)
        except Exception:
            # A subclassed model may take no other number of rows; else this tells what is wrong.
            rows = row_count(batch)
    return _count_flops(model, _rows(batch, rows), rows)


def _count_flops(model, batch, rows):
    closed = [
        inner
        for layer in walk_layers(model)
        if isinstance(layer, (*ATTENTION, keras.layers.Bidirectional))
        for inner in walk_layers(layer)
        if inner is not layer
    ]
    inside = {id(layer) for layer in closed}
    layers = [layer for layer in watchable_layers(model) if id(layer) not in inside]
    found = {}

    def watch(layer, around, args, kwargs, outputs):
        inputs = _input_shapes(layer, args, kwargs)
        outputs = [leaf for leaf in keras.tree.flatten(outputs) if ops.is_tensor(leaf)]
        if not inputs or not outputs:
            return
        for weight, flops in product_flops(layer, inputs, tuple(outputs[0].shape)):
            # What is computed from weights, as a quantized kernel, is none.
            key = id(weight) if isinstance(weight, keras.Variable) else None
            known = found.get(key, 0)
            unknown = None in (known, flops)
            found[key] = None if unknown else known + flops * inputs[0][0]

    # Of what the pass assigns, such as states, nothing stays.
    with random_order_preserved(), keras.StatelessScope(), leaf_calls_watched(model, watch, layers):
        model(tensors_of(batch), training=False)
    return {key: None if flops is None else flops // rows for key, flops in found.items()}


def _input_shapes(layer, args, kwargs):
    """The shapes of what a layer is called with, of attention without the masks."""
    values = [*args, *kwargs.values()]
    if isinstance(layer, ATTENTION):
        named = {**dict(zip(("query", "value", "key"), args, strict=False)), **kwargs}
        values = [named.get(name) for name in ("query", "value", "key")]
    return [tuple(leaf.shape) for leaf in keras.tree.flatten(values) if ops.is_tensor(leaf)]


def _fixed_rows(model):
    """The number of rows that the model is built for, or None for any number."""
    inputs = keras.tree.flatten(graph_of(model).input) if has_graph(model) else []
    sizes = [leaf.shape[0] for leaf in inputs if leaf.shape[0] is not None]
    return max(sizes, default=None)


def _rows(batch, count):
    """The first rows, again and again where there are too few."""
    return keras.tree.map_structure(lambda leaf: leaf[np.arange(count) % len(leaf)], batch)


def _zeros_for(model, rows):
    """Rows of zeros, or None where the model does not tell which inputs it takes, or takes text."""
    if not has_graph(model):
        return None
    inputs = graph_of(model).input
    leaves = keras.tree.flatten(inputs)
    if any(None in leaf.shape[1:] or leaf.dtype == "string" for leaf in leaves):
        return None
    return keras.tree.map_structure(
        lambda leaf: np.zeros((leaf.shape[0] or rows, *leaf.shape[1:]), _numpy_type(leaf.dtype)),
        inputs,
    )


def _numpy_type(dtype):
    return "float32" if keras.backend.is_float_dtype(dtype) else dtype
