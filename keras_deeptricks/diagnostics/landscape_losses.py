"""The losses of a model at many points of a line or plane in the space of its weights."""

import inspect
import math

import keras
import numpy as np
from keras import ops

from keras_deeptricks.utils.backend import jit_for_few_calls, tracing_warnings_hidden
from keras_deeptricks.utils.batches import is_arrays, row_count
from keras_deeptricks.utils.row_chunks import batches_of_dataset, row_chunks

# Points of one compiled call, which can be interrupted only between two of them.
_POINTS_OF_A_CALL = 32


def losses_at(model, places, directions, coordinates, data, rows=None, verbose=0):
    """The losses of a model, in inference mode, at weights + coordinates · directions.

    The data is read once, batch by batch; each batch is evaluated at all points, whose weights
    exist only inside the compiled function.

    Args:
        model: A compiled `keras.Model`; it is not changed.
        places: The places in `model.weights` of those that the directions move.
        directions: A list of directions, each a list of arrays for these weights.
        coordinates: The points, of shape (points, directions).
        data: A dictionary of x, y, sample_weight and batch_size.
        rows: Number of rows to use, the first ones; all by default.
        verbose: 1 for a progress bar over the batches.

    Returns:
        The losses in float64, of shape (points,), and the number of rows.

    Raises:
        ValueError: The data is empty.
    """
    network = _PointLosses(model, places, directions)
    options = {"jit_compile": _jit_compile(model), "run_eagerly": model.run_eagerly}
    network.compile(optimizer=None, **options)
    chunks = _chunks(np.asarray(coordinates, "float32"))
    total, seen = np.zeros(len(coordinates)), 0
    bar = keras.utils.Progbar(_batch_count(data, rows), verbose=verbose, unit_name="batch")
    with tracing_warnings_hidden():
        for batch in _batches(data, rows):
            size = len(keras.tree.flatten(batch[0])[0])
            # Once for all calls, which would bring them to the device again and again.
            batch = keras.tree.map_structure(_to_tensor, batch)
            found = [network.predict_on_batch((points, *batch)) for points in chunks]
            total += size * np.concatenate(found)[: len(total)].astype("float64")
            seen += size
            bar.add(1)
    if not seen:
        raise ValueError("`x` is empty: it yields no rows.")
    return total / seen, seen


class _PointLosses(keras.Model):
    """A model that outputs the losses of another one at points of its space of weights."""

    def __init__(self, network, places, directions):
        # Without a name of its own it would take the next number of Keras' counter.
        super().__init__(name="point_losses", dtype="float32", autocast=False)
        self.network = network
        self.places = list(places)
        self.directions = [[self._constant(array) for array in each] for each in directions]
        self.takes_training = "training" in inspect.signature(network.compute_loss).parameters
        self.built = True

    def _constant(self, array):
        # A variable, for a constant would be compiled into the function.
        dtype = "float64" if keras.config.floatx() == "float64" else "float32"
        weight = self.add_weight(
            name="direction", shape=array.shape, dtype=dtype, initializer="zeros", trainable=False
        )
        weight.assign(array)
        return weight

    def call(self, inputs, training=False):
        points, x, y, sample_weight = inputs
        weights = self.network.weights
        # All of them: on JAX the scope hides the one outside, which holds the current values.
        center = [(v, ops.convert_to_tensor(v)) for v in self.network.variables]
        moved = [weights[place] for place in self.places]
        start = [ops.convert_to_tensor(variable) for variable in moved]
        # For each weight its step along each direction.
        steps = [
            [ops.convert_to_tensor(step) for step in each]
            for each in zip(*self.directions, strict=True)
        ]
        keep = []

        def loss_at(point):
            values = center + [
                (variable, _moved(value, point, along))
                for variable, value, along in zip(moved, start, steps, strict=True)
            ]
            with keras.StatelessScope(values, collect_losses=True) as scope:
                outputs = self.network(x, training=False)
                options = {"training": False} if self.takes_training else {}
                loss = self.network.compute_loss(x, y, outputs, sample_weight, **options)
            # Keras knows added losses by their `id`, which must not be given away again.
            keep.append(scope.losses)
            return ops.cast(loss, points.dtype)

        return ops.map(loss_at, points)


def _moved(value, point, steps):
    """A weight at a point: its value plus the coordinates times the directions."""
    found = ops.cast(value, steps[0].dtype)
    for axis, step in enumerate(steps):
        found = found + ops.cast(point[axis], step.dtype) * step
    return ops.cast(found, value.dtype)


def _jit_compile(model):
    """Whether to compile with XLA: as the model says, but not by itself where that takes long."""
    return jit_for_few_calls() if model.jit_compile in ("auto", True) else model.jit_compile


def _chunks(points):
    """The points in groups of one size, the last one filled up."""
    count = math.ceil(len(points) / _POINTS_OF_A_CALL)
    size = math.ceil(len(points) / count)
    filled = np.concatenate([points, np.repeat(points[-1:], count * size - len(points), axis=0)])
    return [ops.convert_to_tensor(part) for part in np.split(filled, count)]


def _batches(data, rows):
    """Yields (inputs, targets, weights), batch by batch, up to `rows` rows."""
    x, y, sample_weight, size = (data[n] for n in ("x", "y", "sample_weight", "batch_size"))
    if is_arrays(x):
        batches = (parts for _, *parts in row_chunks(x, size, y, sample_weight))
    else:
        # A batch has a row at least: no more than `rows` of them are needed.
        batches = batches_of_dataset(x, steps=rows)
    left = rows
    for batch in batches:
        count = len(keras.tree.flatten(batch[0])[0])
        if left is not None:
            batch, left = _first_rows(batch, left), left - count
        yield tuple(batch)
        if left is not None and left <= 0:
            return


def _first_rows(batch, rows):
    return [
        None if part is None else keras.tree.map_structure(lambda leaf: leaf[:rows], part)
        for part in batch
    ]


def _batch_count(data, rows):
    if not is_arrays(data["x"]):
        return None
    count = row_count(data["x"])
    return math.ceil((count if rows is None else min(count, rows)) / data["batch_size"])


def _to_tensor(leaf):
    return None if leaf is None else ops.convert_to_tensor(leaf)
