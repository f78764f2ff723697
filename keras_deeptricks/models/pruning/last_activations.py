"""The activations at the very end of a model."""

import keras
import numpy as np

from keras_deeptricks.utils.activation_kinds import ACTIVATION_LAYERS, activation_name
from keras_deeptricks.utils.layer_probe import as_numpy, leaf_calls_watched
from keras_deeptricks.utils.patching import patched

# Layers whose `activation` is what they do last.
_ACTIVATED = (
    keras.layers.Activation,
    keras.layers.Dense,
    keras.layers.EinsumDense,
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
)


def last_activations(model, x):
    """Finds the activations that a model applies last, which can be taken for a part of the loss.

    Args:
        model: A built model.
        x: A batch of inputs, tensors.

    Returns:
        What `patched` takes to leave them out; for each output its activation, None where there is
        none to be left out; and the outputs of the model for `x`.
    """
    calls = []

    def watch(layer, around, args, kwargs, outputs):
        calls.append((layer, keras.tree.flatten((args, kwargs)), outputs))

    with keras.StatelessScope(), leaf_calls_watched(model, watch):
        outputs = model(x, training=False)
    leaves, patches, activations = keras.tree.flatten(outputs), [], []
    for leaf in leaves:
        layer = _producer(calls, leaf)
        patch, activation = (None, None) if layer is None else _activation_taken_off(layer)
        activations.append(activation)
        if patch is not None:
            patches.append(patch)
    if not _same_outputs(model, x, leaves, patches, activations):
        # An operation, such as a sum of tensors, takes what an activation returns.
        return [], [None] * len(leaves), outputs
    return patches, activations, outputs


def _same_outputs(model, x, leaves, patches, activations):
    """Whether the activations, left out and applied then, lead to the same outputs."""
    with keras.StatelessScope(), patched(patches):
        before = keras.tree.flatten(model(x, training=False))
    found = [
        leaf if activation is None else activation(leaf)
        for leaf, activation in zip(before, activations, strict=True)
    ]
    pairs = [(as_numpy(one), as_numpy(two)) for one, two in zip(found, leaves, strict=True)]
    # Nothing but rounding is between them.
    return all(np.allclose(one, two, rtol=1e-4, atol=1e-6, equal_nan=True) for one, two in pairs)


def _producer(calls, tensor):
    """The layer that returns the tensor, if it is called once and nothing else takes that."""
    layers = [layer for layer, _, outputs in calls if outputs is tensor]
    if not layers or sum(layer is layers[0] for layer, _, _ in calls) > 1:
        return None
    # Dropout in inference returns the very tensor it gets.
    taken = any(
        each is tensor for _, inputs, outputs in calls if outputs is not tensor for each in inputs
    )
    return None if taken else layers[0]


def _activation_taken_off(layer):
    """(object, attribute, value) that leaves out the activation of a layer, and the activation."""
    if activation_name(layer) == "linear":
        return None, None
    if type(layer) in _ACTIVATED:
        return (layer, "activation", keras.activations.linear), layer.activation
    if type(layer) in ACTIVATION_LAYERS:
        return (layer, "call", lambda inputs, mask=None: inputs), layer.call
    return None, None
