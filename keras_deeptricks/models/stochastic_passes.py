"""Many random passes over the same rows, in one compiled function."""

import keras
from keras import ops

from keras_deeptricks.utils.backend import added_losses_dropped
from keras_deeptricks.utils.counter_noise import CounterNoise


class StochasticPasses(keras.Model):
    """Runs a network's deterministic part once and its random part many times, in the graph.

    It is called with (inputs, numbers of the rows, control); control is an int32 vector of two
    seed words, the number of the first pass, the number of passes and that of the groups they make.
    It returns for each output of the network a list: mean, sum of squared deviations and, for
    probabilities, mean entropy; or, with `group_count`, one tensor of all samples.

    Args:
        prefix: Model from the inputs to a list of tensors, or None where the network has no graph.
        suffix: Model from that list, or from the inputs, to the outputs.
        layers: The `StochasticLayers` of the network.
        rows: Number of rows of a call.
        group: Number of passes that are computed at once, as a batch of `group` × `rows`.
        shapes: The shape of each output, without the rows.
        tasks: The task of each output.
        activation: Function applied to the outputs, or None.
        group_count: Number of groups of which all samples are to be kept, or None.
    """

    def __init__(
        self, prefix, suffix, layers, rows, group, shapes, tasks, activation, group_count=None
    ):
        super().__init__(autocast=False)
        self.prefix, self.suffix = prefix, suffix
        self.mask_reader = _MaskReader()
        self.stochastic = layers
        self.rows, self.group, self.group_count = rows, group, group_count
        self.output_shapes, self.tasks = list(shapes), list(tasks)
        self.activation = activation
        self.misfit = False
        self.built = True

    def call(self, inputs, training=False):
        with added_losses_dropped():
            return self._run(*inputs)

    def _run(self, x, rows, control):
        hidden, masks = self._fixed_part(x)
        offsets = ops.repeat(ops.arange(self.group, dtype="int32"), self.rows)
        rows = ops.tile(rows, [self.group])

        def samples_of(index):
            passes = control[2] + index * self.group + offsets
            batch = self.group * self.rows
            noise = CounterNoise(control[:2], passes, rows, batch, one_pass=self.group == 1)
            return self._random_part(hidden, masks, noise)

        if self.group_count is not None:
            return self._all_samples(samples_of)
        return self._moments(samples_of, control[3], control[4])

    def _fixed_part(self, x):
        if self.prefix is None:
            return keras.tree.map_structure(self._tile, x), None
        hidden = keras.tree.flatten(self.prefix(x, training=False))
        masks = [self.mask_reader.of(tensor) for tensor in hidden]
        masks = [None if mask is None else self._tile(mask) for mask in masks]
        return [self._tile(tensor) for tensor in hidden], masks

    def _tile(self, tensor):
        """Repeats the rows for each pass of a group: pass by pass, rows together."""
        if self.group == 1:
            return tensor
        return ops.tile(tensor, [self.group] + [1] * (len(tensor.shape) - 1))

    def _random_part(self, hidden, masks, noise):
        with self.stochastic.drawing_from(noise):
            try:
                if masks is None:
                    outputs = self.suffix(hidden, training=False)
                else:
                    # Not called as a layer, which would take the masks for lost.
                    outputs = self.suffix.call(hidden, training=False, mask=masks)
            except Exception:
                self.misfit = noise.misfit
                raise
        return [self._sample(output) for output in keras.tree.flatten(outputs)]

    def _sample(self, output):
        output = ops.cast(output, _float_type())
        output = output if self.activation is None else self.activation(output)
        return ops.reshape(output, [self.group, self.rows, *output.shape[1:]])

    def _all_samples(self, samples_of):
        samples = ops.map(samples_of, ops.arange(self.group_count, dtype="int32"))
        count = self.group_count * self.group
        return [ops.reshape(s, [count, *s.shape[2:]]) for s in samples]

    def _moments(self, samples_of, passes, groups):
        def add(index, state):
            before = ops.cast(index * self.group, _float_type())
            within = ops.cast(passes - index * self.group, _float_type())
            count = ops.minimum(within, float(self.group))
            return [
                self._merge(old, sample, task, before, count)
                for old, sample, task in zip(state, samples_of(index), self.tasks, strict=True)
            ]

        start = []
        for shape, task in zip(self.output_shapes, self.tasks, strict=True):
            zeros = ops.zeros((self.rows, *shape), dtype=_float_type())
            entropies = {"classification": [zeros[..., 0]], "binary": [zeros]}.get(task, [])
            start.append([zeros, zeros, *entropies])
        return ops.fori_loop(0, groups, add, start)

    def _merge(self, old, sample, task, before, count):
        """Adds `count` passes to the moments of those before (Chan et al., 1979, eq. 2.1)."""
        mean, squares, *entropies = old
        used = ops.arange(self.group, dtype="int32") < ops.cast(count, "int32")

        def total(values):
            # The last group may hold more passes than are asked for.
            chosen = ops.reshape(used, [self.group] + [1] * (len(values.shape) - 1))
            return ops.sum(ops.where(chosen, values, 0.0), axis=0)

        # About the first sample: the mean of equal samples is then exact, and their spread 0.
        new_mean = sample[0] + total(sample - sample[:1]) / count
        gap = new_mean - mean
        after = before + count
        squares = squares + total(ops.square(sample - new_mean)) + gap**2 * (before * count / after)
        mean = mean + gap * (count / after)
        entropies = [e + (total(_entropy(sample, task)) - count * e) / after for e in entropies]
        return [mean, squares, *entropies]


class _MaskReader(keras.Layer):
    """Finds the mask that layers have attached to a tensor."""

    def __init__(self):
        super().__init__(autocast=False)
        self.supports_masking = True
        self.built = True

    def of(self, tensor):
        self(tensor)
        mask = vars(self).pop("found")
        return mask

    def call(self, inputs, mask=None):
        object.__setattr__(self, "found", mask)
        return inputs


def _entropy(p, task):
    """In nats, where 0·log 0 is 0."""

    def term(q):
        return -q * ops.log(ops.maximum(q, 1e-30))

    return ops.sum(term(p), axis=-1) if task == "classification" else term(p) + term(1.0 - p)


def _float_type():
    """What moments are kept in: float32 also under mixed precision."""
    return "float64" if keras.config.floatx() == "float64" else "float32"
