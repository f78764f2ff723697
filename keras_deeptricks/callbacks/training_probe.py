"""The compiled function with which a `TrainingMonitor` looks into a model."""

import contextlib

import keras
import numpy as np
from keras import ops

from keras_deeptricks.callbacks.training_record import STATISTICS
from keras_deeptricks.utils.activation_kinds import (
    only_rearranges,
    saturation_bounds,
    unit_axis,
)
from keras_deeptricks.utils.backend import compiled, random_order_preserved
from keras_deeptricks.utils.layer_probe import (
    CallNames,
    LossGradients,
    is_float,
    leaf_calls_watched,
    variables_by_layer,
    watchable_layers,
)


class TrainingProbe:
    """One forward and backward pass over a fixed batch, of which only scalars come home.

    Args:
        model: A built and compiled `keras.Model`.
        data: (inputs, targets, weights) of the batch, as tensors.
        training: Whether the layers are called as in training.

    Attributes:
        layers: Names of the layers; known after the first call.
    """

    def __init__(self, model, data, training):
        self.data = data
        self.step = LossGradients(model, training, self._watching, self._measured)
        self.key = _key(model)
        self._model, self._layers = model, watchable_layers(model)
        self._function = self._look if model.run_eagerly else compiled(self._look)
        self._copies = _copies if model.run_eagerly else compiled(_copies)
        self.layers = None
        self._calls, self._found = [], []

    def fits(self, model):
        """Whether the model still is as it was when the probe was made."""
        return _key(model) == self.key

    def weights(self):
        """Copies of the trainable variables, on the device."""
        return self._copies([variable.value for variable in self.step.variables])

    def has(self, name, statistic):
        """Whether a layer has a statistic at all, NaN or not."""
        if statistic in ("gradient_norm", "update_ratio"):
            return name in self._members
        if statistic == "saturated_share":
            return name in self._saturating
        return name in self._call_names

    def look(self, before):
        """A vector of all that is seen, on the device: it is not waited for.

        Args:
            before: What `weights` returned before the last steps.
        """
        with random_order_preserved():
            return self._function(self.step.values(), before, self.data)

    def read(self, found, steps):
        """The loss, the statistics of all layers (L, 6), and the first that is not finite.

        Args:
            found: What `look` returned.
            steps: Number of steps since the weights `before`.
        """
        found = np.asarray(ops.convert_to_numpy(found), "float64")
        if self.layers is None:
            self._name_layers()
        calls = len(self._calls)
        measured = found[1 : 1 + 5 * calls].reshape(calls, 5)
        variables = found[1 + 5 * calls :].reshape(-1, 3)
        return found[0], *self._by_layer(measured, variables, steps)

    def _look(self, values, before, data):
        loss, measured, gradients = self.step(values, data)
        weights = values[0]
        parts = [ops.reshape(ops.cast(loss, "float32"), (1,)), *measured]
        for gradient, after, old in zip(gradients, weights, before, strict=True):
            gradient, after, old = (ops.cast(t, "float32") for t in (gradient, after, old))
            parts.append(ops.stack([_squares(gradient), _squares(after - old), _squares(old)]))
        # On torch it would else hold all tensors of the pass until it is read.
        return ops.stop_gradient(ops.concatenate(parts))

    @contextlib.contextmanager
    def _watching(self):
        self._calls, self._found = [], []
        with leaf_calls_watched(self._model, self._watch, self._layers):
            yield

    def _watch(self, layer, around, args, kwargs, outputs):
        output = None if only_rearranges(layer) else _first_float(outputs)
        if output is not None:
            self._calls.append((layer, around))
            self._found.append(_measures(layer, output))

    def _measured(self):
        found, self._found = self._found, []
        return found

    def _name_layers(self):
        self._call_names = CallNames(self._calls).names
        calls = zip(self._call_names, self._calls, strict=True)
        self._saturating = {name for name, (layer, _) in calls if saturation_bounds(layer)}
        groups = variables_by_layer(self.step.variables, self._calls)
        # In the order of computation, those without outputs of their own at the end.
        self.layers = list(dict.fromkeys([*self._call_names, *groups]))
        at = {id(variable): i for i, variable in enumerate(self.step.variables)}
        self._members = {name: [at[id(v)] for v in group] for name, group in groups.items()}

    def _by_layer(self, measured, variables, steps):
        table = np.full((len(self.layers), len(STATISTICS)), np.nan)
        for name, values in zip(self._call_names, measured, strict=True):
            table[self.layers.index(name), :4] = values[:4]
        for name, own in self._members.items():
            gradient, change, weight = np.sqrt(variables[own].sum(axis=0))
            with np.errstate(divide="ignore", invalid="ignore"):
                table[self.layers.index(name), 4:] = gradient, change / weight / max(steps, 1)
        return table, self._first_not_finite(measured, variables)

    def _first_not_finite(self, measured, variables):
        """(Layer, what) that was not finite first, in the order of computation, or None."""
        for name, own in self._members.items():
            if not np.isfinite(variables[own, 1:]).all():
                return name, "weights"
        for name, values in zip(self._call_names, measured, strict=True):
            if not np.isfinite(values[4]):
                return name, "activations"
        # Gradients are computed from the last layer to the first.
        for name, own in reversed(self._members.items()):
            if not np.isfinite(variables[own, 0]).all():
                return name, "gradients"
        return None


def _copies(values):
    return [ops.copy(value) for value in values]


def _squares(tensor):
    """The sum of squares; row by row first, which XLA does a lot faster on a CPU."""
    squares = ops.square(tensor)
    while len(squares.shape):
        squares = ops.sum(squares, axis=0)
    return squares


def _measures(layer, output):
    """Mean, deviation, dead share, saturated share, and a number that is finite if all are."""
    output = ops.cast(output, "float32")
    rank = len(output.shape)
    axis = unit_axis(layer, rank) if rank > 1 else rank
    others = [other for other in range(rank) if other != axis]
    # By units first: their means are needed for nothing, but are computed fast.
    mean = ops.mean(ops.mean(output, axis=others))
    squares = ops.mean(ops.square(output - mean), axis=others)
    variance = ops.mean(squares)
    # Zero for every row if, and only if, the largest size is.
    dead = ops.mean(ops.cast(ops.equal(ops.max(ops.abs(output), axis=others), 0.0), "float32"))
    bounds = saturation_bounds(layer)
    if bounds is None:
        saturated = ops.full((), float("nan"))
    else:
        low, high = (float("inf") if bound is None else bound for bound in bounds)
        low = -low if bounds[0] is None else low
        outside = ops.logical_or(output < low, output > high)
        saturated = ops.mean(ops.mean(ops.cast(outside, "float32"), axis=others))
    return ops.stack([mean, ops.sqrt(variance), dead, saturated, variance])


def _first_float(outputs):
    for leaf in keras.tree.flatten(outputs):
        if ops.is_tensor(leaf) and len(leaf.shape) and is_float(leaf):
            return leaf
    return None


def _key(model):
    return tuple(id(variable) for variable in model.trainable_variables)
