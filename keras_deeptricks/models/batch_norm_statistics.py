"""The statistics of what enters batch normalization, taken in one pass over data."""

import contextlib
import threading

import keras
import numpy as np
from keras import ops

from keras_deeptricks.utils.backend import (
    added_losses_dropped,
    jit_for_few_calls,
    tracing_warnings_hidden,
)
from keras_deeptricks.utils.patching import patched
from keras_deeptricks.utils.running_moments import RunningMoments

# One at a time may replace the layers' calls and put them back.
_LOCK = threading.RLock()


class BatchAverage:
    """The mean of the means and of the variances of batches, each as heavy as its count."""

    def __init__(self):
        self.count, self.mean, self.variance = 0, 0.0, 0.0

    def merge(self, count, mean, squares):
        """Adds a batch of `count` values with this mean and these squared deviations."""
        self.count += count
        self.mean = self.mean + (mean - self.mean) * (count / self.count)
        self.variance = self.variance + (squares / count - self.variance) * (count / self.count)

    def mean_and_variance(self):
        """The averages so far."""
        return self.mean, self.variance


def statistics_of(network, norms, everywhere, batches, by_batch=False, run_eagerly=False):
    """The mean and (biased) variance of what enters batch normalization, in one pass.

    Everything runs in inference mode. A layer that is called several times has the statistics
    of all its calls; entries that its mask hides do not count.

    Args:
        network: A `keras.Model` that calls the layers.
        norms: The `BatchNormalization` layers.
        everywhere: All `BatchNormalization` layers of the network, which run in inference mode
            even where they are called with `training=True`.
        batches: Iterable of batches of inputs.
        by_batch: Whether each of `norms` normalizes by its batch's statistics, of which the mean
            over the batches is taken, instead of by its moving statistics.
        run_eagerly: Whether the pass is not to be compiled.

    Returns:
        A list of (mean, variance) in float64, None for a layer that is not called, and the
        number of rows.

    Raises:
        ValueError: the data is empty, holds NaN or infinities, or a layer gets a single value.
    """
    found = [BatchAverage() if by_batch else RunningMoments(-1) for _ in norms]
    largest = [0] * len(norms)
    run = _StatisticsPass(network, NormsWatch(norms, everywhere, by_batch))
    run.compile(jit_compile=jit_for_few_calls(), run_eagerly=run_eagerly)
    rows = 0
    for batch in batches:
        leaves = keras.tree.flatten(batch)
        if len(leaves[0]) == 0:
            continue
        # A ReLU may make a number of NaN, on TensorFlow, so that no layer would see it.
        if not all(np.isfinite(leaf).all() for leaf in leaves if leaf.dtype.kind == "f"):
            raise ValueError("`data` holds NaN or infinite values: remove or replace them first.")
        rows += len(leaves[0])
        with tracing_warnings_hidden():
            results = run.predict_on_batch(batch)
        for place, calls in enumerate(results):
            for count, mean, gap, variance in calls:
                _check_finite(norms[place], mean, variance)
                count = int(count)
                mean, variance = np.float64(mean) + gap, np.float64(variance)
                if count:
                    found[place].merge(count, mean, variance * count)
                largest[place] = max(largest[place], count)
    if not rows:
        raise ValueError("`data` is empty: it has no rows.")
    for norm, moments, count in zip(norms, found, largest, strict=True):
        # One value has no variance; by batch it is the batch that must have more.
        if (count if by_batch else moments.count) == 1:
            raise ValueError(
                f"'{norm.name}' gets a single value "
                f"{'in every batch' if by_batch else 'from all the data'}, which has no variance. "
                f"Pass {'larger batches' if by_batch else 'more rows'}."
            )
    return [m.mean_and_variance() if m.count else None for m in found], rows


def call_order(network, norms, inputs):
    """Those of `norms` that the network calls, in the order of their first calls.

    Args:
        network: A `keras.Model`.
        norms: `BatchNormalization` layers.
        inputs: A few rows of inputs.
    """
    watch = NormsWatch(norms, norms, by_batch=False)
    # States that layers change meanwhile stay inside the scope.
    with keras.StatelessScope(), watch.watching():
        network(keras.tree.map_structure(ops.convert_to_tensor, inputs), training=False)
    return [norms[place] for place in watch.order]


class NormsWatch:
    """Watches what enters layers of batch normalization, for the length of a call.

    Args:
        norms: The layers that are watched.
        everywhere: The layers that run in inference mode.
        by_batch: Whether the watched ones normalize by the statistics of the batch.
    """

    def __init__(self, norms, everywhere, by_batch):
        self.norms, self.by_batch = list(norms), by_batch
        watched = {id(norm) for norm in norms}
        self.others = [norm for norm in everywhere if id(norm) not in watched]
        self.order = []
        self._calls, self._thread = None, None

    @contextlib.contextmanager
    def watching(self):
        """While it lasts, the layers' `call` is another; gives the list of their calls.

        For each of `norms` that is a list of [count, mean, correction of the mean, variance], one
        for each call. Calls from other threads find the layers as they are.
        """
        patches = [(norm, "call", self._watched(norm, i)) for i, norm in enumerate(self.norms)]
        patches += [(norm, "call", self._in_inference(norm.call)) for norm in self.others]
        with _LOCK, patched(patches):
            self._calls, self._thread = [[] for _ in self.norms], threading.get_ident()
            try:
                yield self._calls
            finally:
                self._thread = None

    def _watched(self, norm, place):
        original = norm.call

        def call(inputs, training=None, mask=None, **kwargs):
            if threading.get_ident() != self._thread:
                return original(inputs, training=training, mask=mask, **kwargs)
            if place not in self.order:
                self.order.append(place)
            count, mean, gap, variance = _moments(norm, inputs, mask)
            self._calls[place].append([count, mean, gap, variance])
            # Read by the layer's own `call` instead of its variables.
            own = [(norm, "moving_mean", mean + gap), (norm, "moving_variance", variance)]
            with patched(own if self.by_batch else []):
                return original(inputs, training=False, mask=mask, **kwargs)

        return call

    def _in_inference(self, original):
        def call(inputs, training=None, mask=None, **kwargs):
            training = training if threading.get_ident() != self._thread else False
            return original(inputs, training=training, mask=mask, **kwargs)

        return call


class _StatisticsPass(keras.Model):
    """Runs a network on a batch and returns what the watched layers got, call by call."""

    def __init__(self, network, watch):
        super().__init__(name="statistics_pass", autocast=False)
        self.network, self.watch = network, watch
        self.built = True

    def call(self, inputs, training=False):
        with added_losses_dropped(), self.watch.watching() as calls:
            self.network(inputs, training=False)
        return calls


def _moments(norm, inputs, mask):
    """Number of values, mean and biased variance of each entry of the layer's axis.

    Beside the mean stands what rounding took from it, for sums in double precision.
    """
    x = ops.cast(inputs, keras.backend.result_type(inputs.dtype, "float32"))
    rank = len(x.shape)
    kept = norm.axis % rank
    axes = [axis for axis in range(rank) if axis != kept]
    if mask is None:
        count = ops.cast(ops.size(x), "int32") // x.shape[kept]
    else:
        if kept != rank - 1:
            raise ValueError(
                f"'{norm.name}' gets a mask, which goes with axis=-1 only. "
                f"Received: axis={norm.axis}."
            )
        mask = ops.expand_dims(ops.cast(mask, "bool"), -1)
        count = ops.sum(ops.cast(ops.broadcast_to(mask, ops.shape(x[..., :1])), "int32"))

    def average(values):
        values = values if mask is None else ops.where(mask, values, ops.zeros_like(values))
        total = ops.sum(values, axis=axes, keepdims=True)
        return total / ops.cast(ops.maximum(count, 1), x.dtype)

    mean = average(x)
    gap = average(x - mean)
    variance = ops.maximum(average(ops.square(x - mean)) - ops.square(gap), 0.0)
    return count, *(ops.reshape(value, (-1,)) for value in (mean, gap, variance))


def _check_finite(norm, *statistics):
    if not all(np.isfinite(value).all() for value in statistics):
        raise ValueError(
            f"NaN or infinite values reach '{norm.name}': the layers before it make them of "
            "`data`. No statistics have changed."
        )
