"""Detects layers that are absurdly narrow or wide, and far too many parameters."""

import math

from keras_deeptricks.diagnostics.doctor import layer_kinds as kinds
from keras_deeptricks.diagnostics.doctor import paths, roles
from keras_deeptricks.diagnostics.doctor.finding import Finding

# Narrower than a tenth of both neighbours.
_NARROW = 10
# So many units for each row and for each input interpolate any targets at random; layers below
# the least width are small whatever the data.
_UNITS_PER_ROW, _UNITS_PER_INPUT, _LEAST_WIDE = 20, 100, 4096
_MOST_PARAMETERS, _PARAMETERS_PER_ROW = 100_000_000, 1000


def narrow_layer(case):
    """Hidden dense layers through which too little gets to a classification."""
    classes = _classes(case)
    if not classes:
        return
    for stage in case.structure.stages:
        layer = stage.layer
        if not kinds.is_dense(kinds.inner_layer(layer)) or paths.leads_to_output(stage):
            continue
        ends, is_output = paths.ends_forward(stage, _stays)
        if is_output or len(ends) != 1 or not kinds.is_dense(kinds.inner_layer(ends[0].layer)):
            continue
        if _is_gate(ends[0]):
            continue
        width, before, after = stage.units, paths.width_in(stage), paths.width_out(ends[0])
        if None in (width, before, after) or len(stage.output_shapes[0]) != 2:
            continue
        is_single = width == 1 and before > 1 and after > 1
        is_narrow = width * _NARROW <= min(before, after) and width < math.log2(classes)
        if not (is_single or is_narrow):
            continue
        yield Finding(
            "architecture",
            "warning" if is_single and classes > 2 else "note",
            stage.name,
            f"'{stage.name}' has {width} unit{'' if width == 1 else 's'} between {before} inputs "
            f"and {after} units, for {classes} classes.",
            f"All that the network knows of a row has to pass through "
            f"{'a single number' if width == 1 else f'{width} numbers'}.",
            f"Give '{stage.name}' at least as many units as there are classes.",
        )


def wide_layer(case):
    """Hidden layers far wider than the data can fill."""
    rows = case.sample.total_rows
    if not rows:
        return
    for stage in case.structure.stages:
        if not kinds.is_dense(kinds.inner_layer(stage.layer)) or paths.leads_to_output(stage):
            continue
        width, before = stage.units, paths.width_in(stage)
        if width is None or before is None or not stage.layer.trainable_variables:
            continue
        if (
            width >= _LEAST_WIDE
            and width > _UNITS_PER_ROW * rows
            and width > _UNITS_PER_INPUT * before
        ):
            yield Finding(
                "architecture",
                "warning",
                stage.name,
                f"'{stage.name}' has {width:,} units for {before} inputs and {rows:,} rows.",
                "So many units fit any targets, also wrong ones, and cost time without need.",
                f"Begin with some ten to a few hundred units in '{stage.name}'.",
            )


def parameter_count(case):
    """Very many trainable parameters, in all or for each row."""
    count = sum(math.prod(v.shape) for v in case.model.trainable_variables)
    rows = case.sample.total_rows
    per_row = count / rows if rows else 0
    if count <= _MOST_PARAMETERS and per_row <= _PARAMETERS_PER_ROW:
        return
    said = f" for {rows:,} rows: {per_row:,.0f} for each" if rows else ""
    yield Finding(
        "architecture",
        "note",
        None,
        f"The model has {count:,} trainable parameters{said}.",
        "It can learn the rows by heart.",
        "Watch the validation loss; take a smaller model, augmentation or regularization if it "
        "rises.",
    )


def _classes(case):
    """The number of classes of a single softmax-like problem that is no autoencoder, or 0."""
    if len(case.outputs) != 1:
        return 0
    kind = case.outputs[0].kind
    if kind is None or kind.kind not in ("labels", "one_hot", "binary") or kind.classes is None:
        return 0
    return len(kind.classes)


def _is_gate(stage):
    """Whether a stage's units weigh others: narrow layers before are squeeze and excitation."""
    ends, _ = paths.ends_forward(stage, _stays)
    return any(len(end.sources) > 1 and not kinds.is_linear_merge(end.layer) for end in ends)


def _stays(stage):
    layer = stage.layer
    return len(stage.sources) == 1 and (
        roles.passes_values(layer)
        or roles.is_pure_activation(layer)
        or kinds.is_normalization(layer)
    )
