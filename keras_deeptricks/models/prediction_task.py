"""What a model's outputs are: class probabilities, single probabilities, or numbers."""

import warnings

import keras
import numpy as np

from keras_deeptricks.utils.rewriting import has_graph

TASKS = ("classification", "binary", "regression")
_TASK_OF_ACTIVATION = {"softmax": "classification", "sigmoid": "binary"}
_TASK_OF_LOSS = {
    "categoricalcrossentropy": "classification",
    "sparsecategoricalcrossentropy": "classification",
    "categoricalfocalcrossentropy": "classification",
    "binarycrossentropy": "binary",
    "binaryfocalcrossentropy": "binary",
}


def prediction_task(model, outputs=None, task="auto", activation=None):
    """The task of each output: `"classification"`, `"binary"` or `"regression"`.

    It is taken from, in this order: `task`; `activation`; the activation of the layer that makes
    the output; the loss the model is compiled with; example outputs whose last axis sums to one.
    What remains is a regression.

    Args:
        model: A `keras.Model`.
        outputs: Example outputs as arrays, in the model's structure, or None.
        task: `"auto"`, a task for all outputs, or a structure of them. `"multilabel"` is another
            word for `"binary"`.
        activation: Name of an activation, or a function, that is applied to the outputs
            afterwards, or None.

    Returns:
        A string, or for several outputs the structure of the outputs with strings.

    Raises:
        ValueError: `task` is unknown or has another structure than the outputs.
    """
    structure = outputs if outputs is not None else getattr(model, "output", None)
    if isinstance(structure, list) and len(structure) == 1 and outputs is None:
        structure = structure[0]
    count = len(keras.tree.flatten(structure)) if structure is not None else 1
    if task != "auto":
        return _given(task, structure, count)
    layers = _output_layers(model, count)
    losses = _losses(model, structure, count)
    arrays = keras.tree.flatten(outputs) if outputs is not None else [None] * count
    found = [
        _TASK_OF_ACTIVATION.get(getattr(activation, "__name__", activation))
        or _task_of_layer(layer)
        or _task_of_loss(loss, activation)
        or _task_without_probabilities(layer, activation)
        or _task_of_values(values)
        for layer, loss, values in zip(layers, losses, arrays, strict=True)
    ]
    return found[0] if count == 1 else keras.tree.pack_sequence_as(structure, found)


def _given(task, structure, count):
    tasks = [task] * count if isinstance(task, str) else keras.tree.flatten(task)
    tasks = ["binary" if name == "multilabel" else name for name in tasks]
    if len(tasks) != count or any(name not in TASKS for name in tasks):
        raise ValueError(
            f"`task` must be 'auto' or one of {TASKS}, or one of these for each of the {count} "
            f"output(s). Received: task={task!r}."
        )
    return tasks[0] if count == 1 else keras.tree.pack_sequence_as(structure, tasks)


def _output_layers(model, count):
    """The layer that makes each output, or None where it cannot be told."""
    if not has_graph(model):
        return [None] * count
    if isinstance(model, keras.Sequential):
        last = model.layers[-1]
        return _output_layers(last, count) if has_graph(last) else [last]
    return [_layer_of(model, tensor) for tensor in model.outputs]


def _layer_of(model, tensor):
    for layer in reversed(model.layers):
        try:
            made = keras.tree.flatten(layer.output)
        except (AttributeError, ValueError):
            continue
        for index, output in enumerate(made):
            if output is tensor:
                return _output_layers(layer, len(made))[index] if has_graph(layer) else layer
    return None


def _task_of_layer(layer):
    if isinstance(layer, keras.layers.Softmax):
        return "classification"
    activation = getattr(layer, "activation", None)
    return _TASK_OF_ACTIVATION.get(getattr(activation, "__name__", None))


def _task_without_probabilities(layer, activation):
    """A regression, where the last layer's activation is known to give no probabilities."""
    name = getattr(getattr(layer, "activation", None), "__name__", None)
    return "regression" if activation is None and name == "linear" else None


def _losses(model, structure, count):
    loss = getattr(model, "loss", None) if getattr(model, "compiled", False) else None
    if isinstance(loss, dict):
        names = getattr(model, "output_names", None) or sorted(loss)
        keys = list(structure) if isinstance(structure, dict) else names
        losses = [loss.get(key) for key in keys]
    else:
        losses = list(loss) if isinstance(loss, (list, tuple)) else [loss] * count
    return losses if len(losses) == count else [None] * count


def _task_of_loss(loss, activation):
    name = loss if isinstance(loss, str) else getattr(loss, "__name__", type(loss).__name__)
    task = _TASK_OF_LOSS.get(str(name).replace("_", "").lower())
    if task is None or not _expects_logits(loss):
        return task
    if activation is not None:
        # Only the values show what it makes of the logits.
        return None
    activations = {value: key for key, value in _TASK_OF_ACTIVATION.items()}
    warnings.warn(
        "The model gives logits (its loss says from_logits=True), whose mean is no "
        f"probability. Pass activation='{activations[task]}' to turn them into probabilities "
        "before they are averaged.",
        stacklevel=2,
    )
    return "regression"


def _expects_logits(loss):
    config = loss.get_config() if isinstance(loss, keras.losses.Loss) else {}
    return bool(config.get("from_logits"))


def _task_of_values(values):
    if values is None or np.ndim(values) < 2 or np.shape(values)[-1] < 2 or not np.size(values):
        return "regression"
    values = np.asarray(values, "float64")
    sums_to_one = np.allclose(values.sum(axis=-1), 1.0, atol=1e-2)
    return "classification" if sums_to_one and values.min() >= 0 else "regression"
