"""Plans the passes over a model: what is cut where, how many rows and passes go together."""

import itertools
import math
import warnings

import keras
import numpy as np

from keras_deeptricks.models.model_outputs import ModelOutputs
from keras_deeptricks.models.prediction_task import prediction_task
from keras_deeptricks.models.stochastic_layers import StochasticLayers
from keras_deeptricks.models.stochastic_passes import StochasticPasses
from keras_deeptricks.utils.backend import bring_weights_home
from keras_deeptricks.utils.batches import ensure_built, first_inputs, is_arrays, row_count
from keras_deeptricks.utils.counter_noise import CounterNoise, seed_words
from keras_deeptricks.utils.graph_split import GraphSplit
from keras_deeptricks.utils.layer_walk import walk_layers
from keras_deeptricks.utils.patching import patched
from keras_deeptricks.utils.rewriting import has_graph
from keras_deeptricks.utils.row_chunks import row_chunks
from keras_deeptricks.utils.sample_moments import merged_moments

# Entries of the largest tensor that is computed at once, in the part that runs once, 16 MB in
# float32, and in the part that runs in every pass, 4 MB: what stays in a cache is faster there.
_FIXED_ENTRIES, _RANDOM_ENTRIES = 2**22, 2**20
_MAXIMAL_CHUNK = 1024
# Samples that are fetched from the device at once: 64 MB.
_FETCHED_ENTRIES = 2**24
# A number of rows that the other axes of tensors hardly have.
_UNUSUAL = 29
# Passes of one compiled call; sums of more are added on the host, in double precision.
_PASSES_OF_A_CALL = 4096


class PassRunner:
    """Runs random passes of a model over chunks of rows.

    Args:
        model: A `keras.Model` of any kind.
        task: As in `prediction_task`.
        activation: Name or function applied to the outputs of each pass, or None.
        more: Further layer classes that are random.
        chunk_size: Rows of a chunk, or None to choose by the size of the model's tensors.
    """

    def __init__(self, model, task="auto", activation=None, more=(), chunk_size=None):
        self.model, self.more = model, more
        self._task, self.chunk_size = task, chunk_size
        self.activation = None if activation is None else keras.activations.get(activation)
        self._compiled = {}
        self._is_prepared = self._has_warned = False
        self._one_pass_at_a_time = self._is_searched = False
        self._layers = StochasticLayers(model, more)
        if model.built or isinstance(model, keras.Sequential):
            self._check_layers()

    def chunks(self, x, y=None, sample_weight=None, batch_size=None, steps=None):
        """Yields (first row, inputs, targets, weights), chunk by chunk; builds the model if needed.

        Raises:
            ValueError: as `row_chunks`, or the model cannot be run this way.
        """
        bring_weights_home(self.model)
        x, example = _with_example(x)
        ensure_built(self.model, example)
        if not self._is_prepared:
            self._prepare(example)
        self.row_count = row_count(x) if is_arrays(x) else None
        yield from row_chunks(x, self.chunk_size, y, sample_weight, batch_size, steps)

    def outputs(self, inputs):
        """The `ModelOutputs`, found out with a few rows of inputs."""
        outputs = self._called(inputs, self._fixed_rows or 2)
        self._look_for_tensors_without_rows(inputs)
        if self.activation is not None:
            outputs = keras.tree.map_structure(self.activation, outputs)
        if isinstance(outputs, (list, tuple)) and len(outputs) == 1:
            outputs = outputs[0]
        outputs = keras.tree.map_structure(keras.ops.convert_to_numpy, outputs)
        tasks = prediction_task(self.model, outputs, self._task, self.activation)
        tasks = keras.tree.flatten(tasks)
        shapes = [leaf.shape[1:] for leaf in keras.tree.flatten(outputs)]
        return ModelOutputs(outputs, getattr(self.model, "output_names", None), tasks, shapes)

    def moments(self, inputs, outputs, first_row, seed, passes, on_progress):
        """Mean, sum of squared deviations and mean entropy of each output, over all passes.

        Returns:
            A list for each output: [mean, squares] or [mean, squares, entropy], in float64.
        """
        total, done = None, 0
        while done < passes:
            count = min(_PASSES_OF_A_CALL, passes - done)
            plan = self._plan(inputs, count)
            found = self._call(plan, inputs, outputs, first_row, seed, done, count)
            found = [[part.astype("float64") for part in parts] for parts in found]
            total = found if total is None else merged_moments(total, done, found, count)
            done += count
            on_progress(count * len(keras.tree.flatten(inputs)[0]))
        return total

    def sample_blocks(self, inputs, outputs, first_row, seed, passes, on_progress):
        """Yields the samples of each output, (passes, rows, …), block by block."""
        rows = len(keras.tree.flatten(inputs)[0])
        entries = rows * max(int(np.prod(shape)) for shape in outputs.shapes)
        done = 0
        while done < passes:
            plan = self._plan(inputs, passes)
            groups = -(-passes // plan[1])
            calls = -(-groups // max(1, _FETCHED_ENTRIES // (entries * plan[1])))
            groups = -(-groups // calls)
            found = self._call(plan, inputs, outputs, first_row, seed, done, None, groups)
            # Only now it is known how many passes go together.
            count = min(len(found[0]), passes - done)
            yield [samples[:count] for samples in found]
            done += count
            on_progress(count * rows)

    def _called(self, inputs, rows):
        """The model's outputs for some rows, in inference mode."""
        few = keras.tree.map_structure(lambda leaf: _padded(leaf[:rows], rows), inputs)
        # Random states that always-active layers change stay inside the scope.
        with keras.StatelessScope():
            return self.model(
                keras.tree.map_structure(keras.ops.convert_to_tensor, few), training=False
            )

    def _look_for_tensors_without_rows(self, inputs):
        """Lets passes run one at a time if a layer draws for, say, a matrix of weights.

        In a batch of passes as long as the matrix, its first axis would be taken for the rows.
        """
        if self._is_searched or self._one_pass_at_a_time:
            return
        numbers = keras.ops.arange(_UNUSUAL, dtype="int32")
        noise = CounterNoise(seed_words(0), 0 * numbers, numbers, _UNUSUAL, one_pass=True)
        with self._layers.drawing_from(noise):
            self._called(inputs, _UNUSUAL)
        self._one_pass_at_a_time, self._is_searched = noise.misfit, True

    def _prepare(self, example):
        self._layers = StochasticLayers(self.model, self.more)
        self._check_layers()
        self._check_stateless()
        self._prefix, self._suffix, fixed_rows = None, self.model, None
        if has_graph(self.model):
            split = GraphSplit(self.model, self._layers.within)
            self._prefix, self._suffix = split.prefix, split.suffix
            sizes = split.prefix_size, split.suffix_size
            self._one_pass_at_a_time = not split.rows_everywhere
            # What the graph shows needs no search.
            shown = {id(layer) for layer in split.suffix.layers}
            self._is_searched = all(id(layer) in shown for layer in self._layers.by_hash)
            fixed_rows = split.row_count
        else:
            # No graph tells the size of the tensors inside.
            largest = self._largest_tensor(example)
            sizes = (largest, largest)
        self._at_once = max(1, min(_RANDOM_ENTRIES // sizes[1], 4 * _MAXIMAL_CHUNK))
        if fixed_rows is not None:
            self.chunk_size = fixed_rows
            self._one_pass_at_a_time = True
        else:
            largest = min(_FIXED_ENTRIES // sizes[0], self._at_once, _MAXIMAL_CHUNK)
            self.chunk_size = self.chunk_size or 2 ** max(0, largest.bit_length() - 1)
        self._fixed_rows = fixed_rows
        self._is_prepared = True

    def _largest_tensor(self, example):
        """Entries per row of the largest tensor that a layer makes or takes, tried on two rows."""
        sizes = [_row_size(example)]

        def watched(layer):
            original = layer.call

            def call(*args, **kwargs):
                outputs = original(*args, **kwargs)
                sizes.extend(
                    math.prod(leaf.shape) // 2
                    for leaf in keras.tree.flatten(outputs)
                    if keras.ops.is_tensor(leaf)
                )
                return outputs

            return layer, "call", call

        with patched([watched(layer) for layer in walk_layers(self.model)]):
            self._called(example, 2)
        return max(sizes)

    def _plan(self, inputs, passes):
        """How many rows a compiled call has, and how many passes it computes at once."""
        rows = len(keras.tree.flatten(inputs)[0])
        padded = self._fixed_rows or min(self.chunk_size, 2 ** (rows - 1).bit_length())
        if self._one_pass_at_a_time:
            return padded, 1
        group = max(1, min(self._at_once // padded, passes))
        # As even as possible: the last group is computed whole.
        return padded, -(-passes // -(-passes // group))

    def _call(self, plan, inputs, outputs, first_row, seed, first_pass, count, group_count=None):
        padded, group = plan
        rows = len(keras.tree.flatten(inputs)[0])
        x = keras.tree.map_structure(lambda leaf: _padded(leaf, padded), inputs)
        numbers = np.arange(first_row, first_row + padded, dtype="int32")
        counts = [first_pass, 0, 0] if count is None else [first_pass, count, -(-count // group)]
        control = np.array([*seed_words(seed), *counts], "int32")
        passes = self._passes_of(x, plan, outputs, group_count)
        try:
            found = passes.predict_on_batch((x, numbers, control))
        except Exception:
            if not passes.misfit or group == 1:
                raise
            # A tensor without rows has one noise per pass, not one per row.
            self._one_pass_at_a_time = True
            plan = (padded, 1)
            return self._call(
                plan, inputs, outputs, first_row, seed, first_pass, count, group_count
            )
        self._warn_of_silent_layers()
        if group_count is None:
            return [[part[:rows] for part in parts] for parts in found]
        return [samples[:, :rows] for samples in found]

    def _passes_of(self, x, plan, outputs, group_count):
        leaves = keras.tree.flatten(x)
        key = (
            plan,
            group_count,
            tuple(outputs.tasks),
            tuple((leaf.shape, str(leaf.dtype)) for leaf in leaves),
            # On JAX a compiled function takes weights in two lists, trained and frozen.
            tuple(variable.trainable for variable in self.model.variables),
            self._layers.strengths,
            *self._compilation(),
        )
        if key not in self._compiled:
            passes = StochasticPasses(
                self._prefix,
                self._suffix,
                self._layers,
                *plan,
                outputs.shapes,
                outputs.tasks,
                self.activation,
                group_count,
            )
            jit_compile, run_eagerly = self._compilation()
            passes.compile(jit_compile=jit_compile, run_eagerly=run_eagerly)
            self._compiled[key] = passes
        return self._compiled[key]

    def _compilation(self):
        """Whether and how the model compiles its own steps."""
        if not getattr(self.model, "compiled", False):
            return "auto", False
        return self.model.jit_compile, self.model.run_eagerly

    def _warn_of_silent_layers(self):
        silent = self._layers.silent()
        if self._has_warned or not silent:
            return
        self._has_warned = True
        names = ", ".join(f"'{layer.name}'" for layer in silent)
        warnings.warn(
            f"The passes have drawn nothing from {names}: the model calls such a layer only in "
            "training, or not at all. If a layer of yours asks for `training` before it calls "
            "dropout, name its class: stochastic=[TheLayerClass].",
            stacklevel=5,
        )

    def _check_layers(self):
        if not self._layers:
            raise ValueError(
                f"`model` has no stochastic layer: in '{self.model.name}' all passes would be the "
                "same. Monte-Carlo passes need dropout, or another of Keras' stochastic "
                "regularizers, somewhere in the model; a random layer of your own takes part "
                "with stochastic=[TheLayerClass]."
            )

    def _check_stateless(self):
        for layer in walk_layers(self.model):
            if getattr(layer, "stateful", False) and isinstance(layer, keras.layers.RNN):
                raise ValueError(
                    f"`model` must not keep a state between batches, which passes would mix up: "
                    f"the layer '{layer.name}' is stateful. Rebuild it with stateful=False."
                )


def _padded(leaf, rows):
    """Rows up to a full number, the last one repeated: real values are safe everywhere."""
    missing = rows - len(leaf)
    return np.concatenate([leaf, np.repeat(leaf[-1:], missing, axis=0)]) if missing else leaf


def _row_size(inputs):
    sizes = [np.prod(np.shape(leaf)[1:], dtype=int) for leaf in keras.tree.flatten(inputs)]
    return max(1, int(max(sizes)))


def _with_example(x):
    """The data, and inputs of a few of its rows; a generator is not robbed of its first batch."""
    if not hasattr(x, "__next__"):
        return x, first_inputs(x)
    first = next(x, None)
    if first is None:
        raise ValueError("`x` is empty: it yields no batch.")
    return itertools.chain([first], x), keras.utils.unpack_x_y_sample_weight(first)[0]
