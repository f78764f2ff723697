"""Values of the inputs and targets that cannot be learned from: NaN, constants, copies."""

import keras
import numpy as np

from keras_deeptricks.diagnostics.doctor import layer_kinds as kinds
from keras_deeptricks.diagnostics.doctor.columns import (
    as_table,
    centred,
    input_names,
    is_text,
    listed,
    token_leaves,
)
from keras_deeptricks.diagnostics.doctor.finding import Finding
from keras_deeptricks.diagnostics.doctor.objective import loss_info
from keras_deeptricks.utils.layer_probe import observed_layers

# A column that is constant in fewer rows than these may well vary in more.
_ROWS_TO_CALL_CONSTANT = 10
# Beyond this correlation a column is another one in other units; rounding in float32 stays above.
_SAME_UP_TO_UNITS = 0.99999
# Correlations of more columns are not worth their time; exact copies are still found.
_MOST_CORRELATED_COLUMNS, _CORRELATED_ROWS = 256, 2000


def non_finite(leaf):
    """(number of NaN, of infinities, rows that hold any, columns that hold any) of an array."""
    if leaf.dtype.kind != "f":
        return 0, 0, np.empty(0, int), np.empty(0, int)
    table = leaf.reshape(len(leaf), -1)
    bad = ~np.isfinite(table)
    if not bad.any():
        return 0, 0, np.empty(0, int), np.empty(0, int)
    nan = int(np.isnan(table).sum())
    rows, columns = np.flatnonzero(bad.any(axis=1)), np.flatnonzero(bad.any(axis=0))
    return nan, int(bad.sum()) - nan, rows, columns


def constant_columns(table):
    """The places of the columns that hold one value."""
    return np.flatnonzero((table == table[:1]).all(axis=0))


def copied_columns(table):
    """Pairs (first, copy) of columns that vary and hold the same values."""
    # Columns with the same values have the same sum of weighted rows, up to rounding.
    weights = np.random.default_rng(0).normal(size=len(table))
    sums = weights.astype(table.dtype if table.dtype.kind == "f" else "float64") @ table
    order = np.argsort(sums, kind="stable")
    scale = np.abs(sums).max(initial=0) * 1e-4
    pairs, copied = [], set()
    constant = set(constant_columns(table).tolist())
    for place, first in enumerate(order):
        if int(first) in constant or int(first) in copied:
            continue
        # Few have sums so close; ten are enough to look at.
        for other in order[place + 1 : place + 11]:
            if sums[other] - sums[first] > scale:
                break
            if int(other) not in copied and np.array_equal(table[:, first], table[:, other]):
                copied.add(int(other))
                pairs.append(tuple(sorted((int(first), int(other)))))
    return sorted(pairs)


def proportional_columns(table):
    """Pairs of columns that are the same up to a factor and an offset, copies among them."""
    unit = centred(table[:: max(1, len(table) // _CORRELATED_ROWS)])
    alike = np.abs(unit.T @ unit) > _SAME_UP_TO_UNITS
    return [tuple(map(int, pair)) for pair in np.argwhere(np.triu(alike, 1))]


def find_nan(case):
    """NaN and infinities in inputs, targets and sample weights."""
    for sample, where in ((case.sample, "training"), (case.validation, "validation")):
        if sample is None:
            continue
        for place, (name, leaf) in enumerate(zip(input_names(case), sample.inputs, strict=True)):
            finding = _nan_finding(name, leaf, where)
            if finding is not None and _is_handled(case, sample, place):
                yield Finding(
                    "input_nan",
                    "note",
                    name,
                    finding.evidence,
                    "No layer with weights gets to see them: the model replaces them.",
                    "Nothing, if that is meant.",
                )
            elif finding is not None:
                yield finding
        losses = [loss_info(loss) for loss in keras.tree.flatten(getattr(case.model, "loss", None))]
        lenient = case.trains_itself or any(i is not None and i.name == "custom" for i in losses)
        for leaf in sample.targets:
            # A loss of one's own may leave them out.
            finding = _nan_finding("y", leaf, where, "note" if lenient else "error")
            if finding is not None:
                yield finding
        if sample.sample_weight is not None:
            finding = _nan_finding("sample_weight", np.asarray(sample.sample_weight), where)
            if finding is not None:
                yield finding


def _nan_finding(name, leaf, where, severity="error"):
    nan, infinite, rows, columns = non_finite(leaf)
    if not len(rows):
        return None
    counts = [f"{nan} NaN"] * bool(nan) + [f"{infinite} infinite values"] * bool(infinite)
    columns = f", in columns {listed(columns)}" if leaf.ndim == 2 and leaf.shape[1] > 1 else ""
    return Finding(
        "input_nan",
        severity,
        name,
        f"The {where} data hold {' and '.join(counts)} in {len(rows)} of {len(leaf)} rows"
        f"{columns}; the first is row {rows[0]}.",
        "One of them makes the loss of its batch NaN, and after the step all weights."
        if where == "training"
        else "One of them makes the validation loss NaN, so that it tells nothing.",
        "Remove these rows or fill the gaps, for example with the column's mean and a further "
        "column that tells where; look for divisions by 0 and logarithms of 0.",
    )


def _is_handled(case, sample, place):
    """True if the model replaces what is not finite before its first kernel."""
    _, _, rows, _ = non_finite(sample.inputs[place])
    calls = observed_layers(case.model, sample.take(rows[:8]).x)
    kernels = [call for call in calls if call.layer.weights and kinds.kernels_of(call.layer)]
    kernels = kernels or [call for call in calls if call.layer.weights]
    arrays = [array for call in kernels for array in _arrays(call.inputs)]
    return bool(arrays) and all(np.isfinite(a).all() for a in arrays if a.dtype.kind == "f")


def _arrays(inputs):
    inputs = inputs if isinstance(inputs, list) else [inputs]
    return [array for array in inputs if isinstance(array, np.ndarray)]


def find_constant_features(case):
    """Inputs that are all the same; constant and copied columns of tables."""
    sample = case.finite
    if sample.rows < 2:
        return
    if all((leaf == leaf[:1]).all() for leaf in sample.inputs):
        yield Finding(
            "constant_feature",
            "error",
            "x",
            f"All {sample.rows} rows of the inputs are the same.",
            "From inputs that are always the same nothing can be told about the targets.",
            "Look at how the inputs are read and prepared: an index or a product with 0 is a "
            "usual cause.",
        )
        return
    if sample.rows < _ROWS_TO_CALL_CONSTANT:
        return
    tokens = token_leaves(case)
    for place, (name, leaf) in enumerate(zip(input_names(case), sample.inputs, strict=True)):
        if place in tokens or is_text(leaf) or leaf.ndim > 2:
            continue
        yield from _of_table(name, as_table(leaf))


def _of_table(name, table):
    constant = constant_columns(table)
    if len(constant):
        yield Finding(
            "constant_feature",
            "note",
            name,
            f"{len(constant)} of {table.shape[1]} columns hold one value in all {len(table)} rows: "
            f"{listed(constant)}.",
            "They tell nothing; with new data that differ there, untrained weights come to act.",
            "Leave them out, or see whether they were lost on the way.",
        )
    pairs = copied_columns(table)
    relation = "the same values"
    if not pairs and 1 < table.shape[1] <= _MOST_CORRELATED_COLUMNS:
        pairs = proportional_columns(table)
        relation = "the same values in other units"
    if pairs:
        said = listed([f"{first} and {second}" for first, second in pairs], most=3)
        yield Finding(
            "constant_feature",
            "note",
            name,
            f"{len(pairs)} pairs of columns hold {relation}: {said}.",
            "What is given twice counts twice in every penalty and distance, and tells no more.",
            "Keep one of each.",
        )
