"""How the activations of every layer are distributed."""

import dataclasses

import keras
import numpy as np
from keras import ops

from keras_deeptricks.utils.activation_kinds import (
    activation_name,
    only_rearranges,
    saturation_bounds,
    unit_axis,
)
from keras_deeptricks.utils.checks import check_flag, check_integer
from keras_deeptricks.utils.layer_probe import CallNames, as_numpy, is_float, read_calls
from keras_deeptricks.utils.results import Result
from keras_deeptricks.utils.row_chunks import row_chunks


@dataclasses.dataclass(frozen=True, eq=False)
class ActivationStatistics(Result):
    """The distribution of the outputs of each of L layers over some rows.

    Attributes:
        layers: Names of the layers, in the order of computation. A layer called again has an entry
            for each call, `"name:2"` and so on.
        activations: The name of the activation that each applies, `"linear"` for none.
        units: Number of units of each: channels, or the size of the last axis.
        mean, std: Mean and standard deviation of all finite outputs of a layer, float arrays (L,).
        dead_share: Share of the units that are exactly zero for every row (and at every place of an
            image or a sequence), from 0 to 1.
        saturated_share: Share of the outputs that lie where the activation is flat, from 0 to 1;
            NaN for activations that do not saturate (see `activation_statistics`).
        nan_share: Share of the outputs that are NaN or infinite.
        counts: Numbers of finite outputs in the bins of a histogram, int array (L, bins).
        edges: The edges of these bins, float array (L, bins + 1).
        unit_std: For each layer the standard deviation of each unit, a list of float arrays.
        rows: Number of rows looked at.
    """

    layers: list
    activations: list
    units: np.ndarray
    mean: np.ndarray
    std: np.ndarray
    dead_share: np.ndarray
    saturated_share: np.ndarray
    nan_share: np.ndarray
    counts: np.ndarray
    edges: np.ndarray
    unit_std: list
    rows: int

    plot_function = "plot_activation_statistics"

    def __str__(self):
        width = max(map(len, [*self.layers, "layer"]))
        lines = [
            f"{'layer':{width}}  activation        mean        std   dead  saturated  not finite"
        ]
        for i, name in enumerate(self.layers):
            saturated = self.saturated_share[i]
            words = "–" if np.isnan(saturated) else f"{saturated:.1%}"
            lines.append(
                f"{name:{width}}  {self.activations[i]:12} {self.mean[i]:9.3g}  "
                f"{self.std[i]:9.3g}  {self.dead_share[i]:5.1%}  {words:>9}  "
                f"{self.nan_share[i]:10.1%}"
            )
        return "\n".join(lines)


def activation_statistics(model, x, *, rows=512, batch_size=128, bins=50, training=False):
    """Measures mean, deviation, histogram, dead and saturated share of the outputs of all layers.

    To see whether signals shrink, grow or saturate on their way through a network, at its start or
    after training. Nothing of the model changes.

    Layers that only move or mask their inputs (Flatten, Reshape, Dropout) are left out. Of a layer
    with several outputs the first one counts. Saturated are outputs

    - of tanh, hard tanh and softsign: below −0.99 or above 0.99;
    - of sigmoid and hard sigmoid: below 0.01 or above 0.99;
    - of ELU and SELU: within 1 % of their lower limit;
    - of ReLU6, and of ReLU with a maximum: at the maximum.

    Args:
        model: A `keras.Model` of any kind. If it is not built yet, it gets built.
        x: Inputs: arrays (also a list or dictionary of them), a `tf.data.Dataset`, a
            `keras.utils.PyDataset`, a torch `DataLoader` or a generator of batches.
        rows: Number of rows to look at, the first ones. Defaults to `512`.
        batch_size: Rows of a pass. Defaults to `128`.
        bins: Number of bins of the histograms. Defaults to `50`.
        training: Whether the layers are called as in training, with dropout and with the batch's
            own statistics in batch normalization. Defaults to `False`.

    Returns:
        An `ActivationStatistics`; `print` shows a table, `plot()` draws the histograms.

    Raises:
        TypeError: `model` is no Keras model, or an argument is of the wrong type.
        ValueError: An argument is out of its range, or there are no rows.

    Example:

    ```python
    import keras
    import numpy as np
    import keras_deeptricks as kdt

    model = keras.Sequential([keras.Input((100,))])
    for _ in range(4):
        model.add(keras.layers.Dense(100, activation="tanh"))  # Glorot's initialization
    x = np.random.default_rng(0).normal(size=(256, 100))
    found = kdt.diagnostics.activation_statistics(model, x)
    assert 0.2 < found.std[-1] < found.std[0]
    ```

    Reference: Glorot & Bengio, Understanding the difficulty of training deep feedforward neural
    networks, 2010, sections 3 and 4.
    """
    if not isinstance(model, keras.Model):
        raise TypeError(f"`model` must be a keras.Model. Received: model={model!r}.")
    rows = check_integer("rows", rows, minimum=1)
    size = min(rows, check_integer("batch_size", batch_size, minimum=1))
    bins = check_integer("bins", bins, minimum=1)
    training = check_flag("training", training)
    chunks = _chunks(x, rows, size)
    found = _Layers(bins, at_once=len(chunks) == 1)
    for chunk in chunks:
        found.start("add")
        read_calls(model, chunk, found.read, training)
    if len(chunks) > 1:
        # The bins are known once all values were seen.
        for chunk in chunks:
            found.start("count")
            read_calls(model, chunk, found.read, training)
    return found.result(sum(len(keras.tree.flatten(chunk)[0]) for chunk in chunks))


def _chunks(x, rows, size):
    """The inputs of the first rows, in chunks of at most `size`."""
    chunks = []
    for first, inputs, _, _ in row_chunks(x, size):
        left = rows - first
        chunks.append(keras.tree.map_structure(lambda leaf, left=left: leaf[:left], inputs))
        if left <= size:
            break
    return chunks


class _Layers:
    """Takes the outputs of all calls of a pass, chunk by chunk; none of them is kept."""

    def __init__(self, bins, at_once):
        self.bins, self.at_once = bins, at_once
        self.calls, self.statistics = [], []

    def start(self, stage):
        """Begins a pass: `"add"` for the moments, `"count"` for the histograms."""
        self.stage, self.at = stage, 0

    def read(self, layer, around, args, kwargs, outputs):
        values = _values(layer, outputs)
        if values is None:
            return
        if self.at == len(self.statistics):
            self.calls.append((layer, around))
            self.statistics.append(_LayerStatistics(layer, values.shape[1], self.bins))
        statistics = self.statistics[self.at]
        self.at += 1
        if self.stage == "add":
            statistics.add(values)
        if self.stage == "count" or self.at_once:
            statistics.count(values)

    def result(self, rows):
        if not self.calls:
            raise ValueError("`model` has no layer whose outputs are floating-point numbers.")
        fields = {
            name: np.array([getattr(one, name) for one in self.statistics])
            for name in _LayerStatistics.numbers
        }
        return ActivationStatistics(
            layers=CallNames(self.calls).names,
            activations=[activation_name(layer) for layer, _ in self.calls],
            unit_std=[one.unit_std for one in self.statistics],
            rows=rows,
            **fields,
        )


def _values(layer, outputs):
    """The first output of a layer as an array (places, units), or None if it does not count."""
    if only_rearranges(layer):
        return None
    for leaf in keras.tree.flatten(outputs):
        if ops.is_tensor(leaf) and len(leaf.shape) and is_float(leaf):
            values = as_numpy(leaf)
            axis = unit_axis(layer, values.ndim)
            # A vector has a single unit.
            values = np.moveaxis(values, axis, -1) if values.ndim > 1 else values[:, None]
            return values.reshape(-1, values.shape[-1])
    return None


class _LayerStatistics:
    """Adds up what is to be known of a layer's outputs, arrays of (places, units)."""

    numbers = (
        "units",
        "mean",
        "std",
        "dead_share",
        "saturated_share",
        "nan_share",
        "counts",
        "edges",
    )

    def __init__(self, layer, units, bins):
        self.bounds = saturation_bounds(layer)
        self.units, self.bins = units, bins
        self.places = self.saturated = 0
        self.finite = np.zeros(units)
        self.sums, self.squares = np.zeros(units), np.zeros(units)
        self.about = None
        self.is_dead = np.ones(units, bool)
        self.low, self.high = np.inf, -np.inf
        self.counts = np.zeros(bins, "int64")

    def add(self, values):
        is_finite = np.isfinite(values)
        known = np.where(is_finite, values, 0)
        if self.about is None:
            # Sums about a typical value lose no digits.
            self.about = known.mean(axis=0)
        centred = np.where(is_finite, values, self.about) - self.about
        self.places += len(values)
        self.finite += is_finite.sum(axis=0)
        self.sums += centred.sum(axis=0, dtype="float64")
        self.squares += np.square(centred, dtype="float64").sum(axis=0)
        self.is_dead &= (values == 0).all(axis=0)
        if is_finite.any():
            self.low = min(self.low, values[is_finite].min())
            self.high = max(self.high, values[is_finite].max())
        if self.bounds is not None:
            low, high = self.bounds
            # Infinite outputs count too, NaN does not.
            below = 0 if low is None else (values < low).sum()
            self.saturated += below + (0 if high is None else (values > high).sum())

    def count(self, values):
        if self.low <= self.high:
            self.counts += np.histogram(values[np.isfinite(values)], self.edges)[0]

    @property
    def edges(self):
        if self.low > self.high:
            return np.linspace(0, 1, self.bins + 1)
        return np.histogram_bin_edges(np.array([self.low, self.high], "float64"), self.bins)

    @property
    def mean(self):
        total = self.finite.sum()
        return np.sum(self.sums + self.finite * self.about) / total if total else np.nan

    @property
    def std(self):
        total = self.finite.sum()
        if not total:
            return np.nan
        means = self.about + self.sums / np.maximum(self.finite, 1)
        within = self.squares - self.sums**2 / np.maximum(self.finite, 1)
        between = self.finite * (means - self.mean) ** 2
        return np.sqrt(max(np.sum(within + between) / total, 0))

    @property
    def unit_std(self):
        finite = np.maximum(self.finite, 1)
        return np.sqrt(np.maximum(self.squares / finite - (self.sums / finite) ** 2, 0))

    @property
    def dead_share(self):
        return self.is_dead.mean()

    @property
    def saturated_share(self):
        return np.nan if self.bounds is None else self.saturated / (self.places * self.units)

    @property
    def nan_share(self):
        return 1 - self.finite.sum() / (self.places * self.units)
