"""How sparse a model is, and what that saves: weights, operations, bytes, time."""

import contextlib
import dataclasses
import pathlib
import tempfile
import time
import zlib

import keras
import numpy as np
from keras import ops

from keras_deeptricks.models.members import copy_model
from keras_deeptricks.models.pruning.kernels import kernels_of
from keras_deeptricks.models.pruning.layer_flops import matrices_of
from keras_deeptricks.models.pruning.model_flops import flops_by_weight
from keras_deeptricks.utils.checks import check_built, check_flag, check_integer
from keras_deeptricks.utils.layer_walk import walk_layers
from keras_deeptricks.utils.one_batch import one_batch
from keras_deeptricks.utils.results import Result

# That of zip and gzip; level 9 takes ten times as long where most weights are zero, for 2 % less.
_COMPRESSION = 6
_TOTALS = ("parameters", "nonzero", "flops", "nonzero_flops", "file_bytes", "compressed_bytes")


@dataclasses.dataclass(frozen=True, eq=False)
class SparsityReport(Result):
    """The sparsity of a model, layer by layer. `print` shows a table.

    Attributes:
        model: Name of the model.
        kernels: A dictionary for each kernel that can be pruned: `path`, `shape`, number of weights
            (`parameters`), of those that are not zero (`nonzero`), of those that a mask keeps zero
            (`masked`), and `flops` on one row, None where they are not known.
        after: Totals of the model: `parameters`, biases and all; `nonzero` of them; `flops`, the
            floating-point operations on one row, two for each multiply-add of products with
            matrices (`Dense`, convolutions, recurrent layers, attention), nothing else;
            `nonzero_flops`, those with weights that are not zero; `file_bytes`, the size of the
            saved model, and `compressed_bytes`, that of the file compressed by zlib at level 6, as
            zip and gzip do; `seconds` of a `predict_on_batch`, the median. None where a number was
            not asked for or is not known, such as the operations of a layer of one's own.
        before: The same of another model, to compare; None without one.
        left_out: A dictionary for each layer with matrices that cannot be pruned, as attention and
            `Bidirectional`: `layer`, the outermost with its name; `matrices`, their number;
            `parameters` of these and `nonzero` of them.
    """

    model: str
    kernels: list
    after: dict
    before: dict | None = None
    left_out: list = dataclasses.field(default_factory=list)

    plot_function = "plot_sparsity"

    @property
    def sparsity(self):
        """The share of the kernels' weights that are zero; 0 where there are none."""
        return _zero_share(self.kernel_parameters, sum(entry["nonzero"] for entry in self.kernels))

    @property
    def kernel_parameters(self):
        """The number of weights of the kernels."""
        return sum(entry["parameters"] for entry in self.kernels)

    @property
    def parameter_sparsity(self):
        """The share of all parameters that are zero, biases and what is left out included."""
        return _zero_share(self.after["parameters"], self.after["nonzero"])

    def __str__(self):
        rows = [("kernel", "shape", "weights", "not zero", "sparsity", "FLOPs")]
        for entry in self.kernels:
            shape = "×".join(map(str, entry["shape"]))
            counts = f"{entry['parameters']:,}", f"{entry['nonzero']:,}"
            share = f"{_zero_share(entry['parameters'], entry['nonzero']):.1%}"
            rows.append((entry["path"], shape, *counts, share, _number(entry["flops"])))
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines = self._summary()
        for row in rows if self.kernels else []:
            cells = zip(row[1:], widths[1:], strict=True)
            text = [f"{row[0]:{widths[0]}}", *(f"{cell:>{width}}" for cell, width in cells)]
            lines.append("  ".join(text).rstrip())
        for entry in self.left_out:
            share = f"{_zero_share(entry['parameters'], entry['nonzero']):.1%} zero"
            lines.append(
                f"{entry['layer']}: left out, matrices that pruning does not reach: "
                f"{entry['matrices']}, of {entry['parameters']:,} weights, {share}"
            )
        for name, label in (*((name, name.replace("_", " ")) for name in _TOTALS), _SECONDS):
            lines += self._total(name, label)
        return "\n".join(lines)

    def _summary(self):
        if not self.kernels:
            first = f"'{self.model}': no kernels, nothing that can be pruned"
        else:
            first = f"'{self.model}': {self.sparsity:.1%} of the kernels' weights are zero"
        return [
            first,
            f"of {self.after['parameters']:,} parameters, {self.kernel_parameters:,} are in "
            f"kernels that can be pruned; {self.parameter_sparsity:.1%} of all are zero",
        ]

    def _total(self, name, label):
        if self.after.get(name) is None:
            return []
        texts = [_number(self.after[name])]
        if self.before is not None:
            texts.insert(0, _number(self.before.get(name)))
        return [f"{label}: {' → '.join(texts)}"]


_SECONDS = ("seconds", "seconds of a batch")


def _zero_share(count, nonzero):
    return (count - nonzero) / count if count else 0.0


def _number(value):
    if value is None:
        return "?"
    return f"{value:.3g}" if isinstance(value, float) else f"{value:,}"


def sparsity(model, before=None, x=None, repeats=0, file_sizes=True):
    """Counts what is zero in a model, and what it costs in operations, bytes and time.

    Args:
        model: A built `keras.Model`.
        before: Another model to compare with, such as the one before pruning.
        x: A batch of inputs, or data to take the first batch of: for the operations of models whose
            input shape has unknown axes, that take text or have no graph, and for the time. Of
            inputs of different lengths those of the first row count.
        repeats: How often to time `predict_on_batch` on `x`, both models in turn; 0 for not at all.
            Defaults to `0`.
        file_sizes: Whether to save the model, to see how large its file is; without, nothing is
            written. Defaults to `True`.

    Returns:
        A `SparsityReport`.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: An argument is out of its range, a model is not built, or `x` is missing where
            it is needed.

    Example:

    ```python
    import keras
    from keras_deeptricks.models.pruning import prune, sparsity, weight_magnitude

    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    pruned = prune(model, weight_magnitude, fraction=0.5)
    found = sparsity(pruned, before=model)
    print(found)
    assert found.sparsity == 0.5 and found.after["flops"] == 16
    ```
    """
    check_built("model", model)
    models = [model]
    if before is not None:
        check_built("before", before)
        models.append(before)
    repeats = check_integer("repeats", repeats, minimum=0)
    check_flag("file_sizes", file_sizes)
    if repeats and x is None:
        raise ValueError(f"`x` must be a batch to time. Received: x=None, repeats={repeats}.")
    batch = None if x is None else one_batch(x)
    flops = [flops_by_weight(each, batch) for each in models]
    tables = [_kernels(*pair) for pair in zip(models, flops, strict=True)]
    totals = [_totals(*pair) for pair in zip(models, flops, strict=True)]
    sizes = [_file_sizes(each) if file_sizes else (None, None) for each in models]
    seconds = _seconds(models, batch, repeats) if repeats else [None] * len(models)
    for total, size, time_of_batch in zip(totals, sizes, seconds, strict=True):
        total["file_bytes"], total["compressed_bytes"] = size
        total["seconds"] = time_of_batch
    return SparsityReport(
        model.name, tables[0], totals[0], totals[1] if len(totals) > 1 else None, _left_out(model)
    )


def _kernels(model, flops):
    table = []
    for path, kernel in kernels_of(model).items():
        value = kernel.value()
        table.append(
            {
                "path": path,
                "shape": list(kernel.shape),
                "parameters": value.size,
                "nonzero": int(np.count_nonzero(value)),
                "masked": int((~kernel.keep()).sum()),
                "flops": flops.get(id(kernel.variable)),
            }
        )
    return table


def _left_out(model):
    """The layers with matrices that are no kernels."""
    taken = {id(kernel.variable) for kernel in kernels_of(model).values()}
    owners, found = {}, {}
    # Outer layers come first.
    for layer in walk_layers(model):
        for weight in () if isinstance(layer, keras.Model) else layer.weights:
            owners.setdefault(id(weight), layer)
    for weight in matrices_of(model):
        if id(weight) not in taken:
            owner = owners.get(id(weight), model)
            start = {"layer": owner.name, "matrices": 0, "parameters": 0, "nonzero": 0}
            entry = found.setdefault(id(owner), start)
            entry["matrices"] += 1
            entry["parameters"] += int(np.prod(weight.shape))
            entry["nonzero"] += _nonzero(weight)
    return list(found.values())


def _totals(model, flops):
    matrices = [*matrices_of(model), *(kernel.variable for kernel in kernels_of(model).values())]
    weights = {id(weight): weight for weight in [*matrices, *model.weights]}
    # A matrix that no layer is known to multiply by may cost anything.
    known = None not in flops.values() and all(id(matrix) in flops for matrix in matrices)
    nonzero = {key: _nonzero(weight) for key, weight in weights.items()}
    shares = {key: (nonzero[key], int(np.prod(weights[key].shape))) for key in weights}
    nonzero_flops = 0
    for key, count in (flops if known else {}).items():
        left, size = shares.get(key, (1, 1))
        nonzero_flops += count * left // max(size, 1)
    return {
        "parameters": sum(int(np.prod(weight.shape)) for weight in model.weights),
        "nonzero": sum(nonzero[id(weight)] for weight in model.weights),
        "flops": sum(flops.values()) if known else None,
        "nonzero_flops": nonzero_flops if known else None,
    }


def _nonzero(weight):
    return int(np.count_nonzero(np.asarray(ops.convert_to_numpy(weight))))


def _file_sizes(model):
    """The bytes of the model's file without its optimizer, and of that compressed."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "model.keras"
        try:
            copy_model(model).save(path)
        except ValueError:
            return None, None
        data = path.read_bytes()
    return len(data), len(zlib.compress(data, _COMPRESSION))


def _seconds(models, batch, repeats):
    """The median seconds of a batch for each model, timed in turn."""
    times = [[] for _ in models]
    with contextlib.ExitStack() as stack:
        for model in models:
            stack.enter_context(_states_preserved(model))
        for number in range(repeats + 2):
            pairs = list(zip(models, times, strict=True))
            # In turn, and each of them first as often as last.
            for model, found in pairs[:: 1 if number % 2 else -1]:
                start = time.perf_counter()
                model.predict_on_batch(batch)
                # The first two compile and warm up.
                if number > 1:
                    found.append(time.perf_counter() - start)
    return [float(np.median(found)) for found in times]


@contextlib.contextmanager
def _states_preserved(model):
    """Puts back the states of recurrent layers, which are no variables of the model."""
    layers = [layer for layer in walk_layers(model) if isinstance(layer, keras.layers.RNN)]
    states = [state for layer in layers for state in keras.tree.flatten(layer.states)]
    states = [state for state in states if isinstance(state, keras.Variable)]
    before = [np.array(ops.convert_to_numpy(state)) for state in states]
    try:
        yield
    finally:
        for state, value in zip(states, before, strict=True):
            state.assign(value)
