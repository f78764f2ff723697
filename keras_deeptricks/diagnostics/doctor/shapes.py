"""Detects maps that shrink to nothing, and outputs with more axes than the targets."""

import math

import keras
import numpy as np

from keras_deeptricks.diagnostics.doctor import layer_kinds as kinds
from keras_deeptricks.diagnostics.doctor import paths
from keras_deeptricks.diagnostics.doctor.finding import Finding

# A dense layer behind Flatten that holds nearly all parameters of a large model.
_LARGE, _SHARE = 5_000_000, 0.9


def vanished_map(case):
    """Convolutions over maps of a single position."""
    stages, seen = [], set()
    for stage in case.structure.stages:
        kernel = getattr(kinds.inner_layer(stage.layer), "kernel_size", ())
        if not kernel or max(kernel) < 2 or kinds.is_transposed(stage.layer):
            continue
        positions = paths.positions_in(stage)
        if not positions or any(size is None or size > 1 for size in positions):
            continue
        if not stage.layer.trainable_variables or id(stage.layer) in seen:
            continue  # a frozen network is as it is
        seen.add(id(stage.layer))
        stages.append(stage)
    if not stages or not _starts_larger(case.structure):
        return
    meant = any(paths.has_behind(stage, _enlarges) for stage in stages)
    first = stages[0]
    kernel = "×".join(map(str, kinds.inner_layer(first.layer).kernel_size))
    yield Finding(
        "architecture",
        "note" if meant else "warning",
        first.name,
        f"{case.layer_names([stage.layer for stage in stages])}: the map that comes in has a "
        f"single position, the kernel has {kernel}.",
        "Strides and pooling have left nothing to convolve: the kernel sees one value and "
        "padding, and most of its weights never act. What was where is lost long before.",
        "Use fewer strides or poolings, or end with global pooling before this layer.",
    )


def output_per_position(case):
    """Outputs that have more axes than the targets, because nothing summed up the positions."""
    for output in case.outputs:
        if output.target is None or (output.loss and output.loss.name == "custom"):
            continue
        predicted, wanted = _position_shapes(output)
        if len(predicted) <= len(wanted) or math.prod(predicted) <= max(1, math.prod(wanted)):
            continue
        name, remedy = _to_blame(output)
        yield Finding(
            "architecture",
            "error",
            name,
            f"The output has the shape {('rows', *output.prediction.shape[1:])}, the targets "
            f"{('rows', *output.target.shape[1:])}: one prediction for each of "
            f"{math.prod(predicted)} positions, one target for each row.".replace("'rows'", "rows"),
            "A dense layer works on the last axis alone and keeps all others. The loss then fails, "
            "or compares every position with the targets of other rows.",
            remedy,
        )


def flattened_map(case):
    """A dense layer behind `Flatten` that holds nearly all of many parameters."""
    total = case.model.count_params()
    for stage in case.structure.of(keras.layers.Dense):
        source = paths.source_of(stage)
        while source is not None and kinds.is_dropout(source.layer):
            source = paths.source_of(source)
        if source is None or not isinstance(source.layer, keras.layers.Flatten):
            continue
        own = stage.layer.count_params()
        if total > _LARGE and own > _SHARE * total and len(source.input_shapes[0]) > 3:
            yield Finding(
                "architecture",
                "note",
                stage.name,
                f"'{stage.name}' holds {own:,} of {total:,} parameters: it takes the flattened "
                f"map of shape {source.input_shapes[0][1:]}.",
                "So large a dense layer learns each position by itself and overfits.",
                "Use global average pooling instead of Flatten, or pool more before.",
            )


def _starts_larger(structure):
    sizes = [size for stage in structure.stages for size in paths.positions_in(stage) if size]
    return bool(sizes) and max(sizes) > 1


def _enlarges(stage):
    layer = stage.layer
    upsampling = tuple(getattr(keras.layers, f"UpSampling{n}D") for n in "123")
    return kinds.is_transposed(layer) or isinstance(layer, upsampling)


def _position_shapes(output):
    """The axes of a prediction and of its targets without rows and classes, without ones."""
    predicted = list(output.prediction.shape[1:])
    wanted = list(output.target.shape[1:])
    if output.loss is not None and output.loss.name == "sparse_categorical_crossentropy":
        predicted = predicted[:-1]
    elif predicted and wanted and predicted[-1] == wanted[-1]:
        predicted, wanted = predicted[:-1], wanted[:-1]
    return [n for n in predicted if n != 1], [n for n in wanted if n != 1]


def _to_blame(output):
    """(name of a layer, remedy)."""
    dense = None
    for stage in paths.backwards(output.acting or output.stage):
        layer = stage.layer
        if kinds.is_dense(layer) and stage.input_shapes and len(stage.input_shapes[0]) > 2:
            dense = stage
        if kinds.is_recurrent(layer) and np.ndim(stage.output_shapes[0]):
            if len(stage.output_shapes[0]) > 2:
                return stage.name, f"Pass return_sequences=False to '{stage.name}'."
            break
        if kinds.is_convolution(kinds.inner_layer(layer)):
            break
    name = output.layer if dense is None else dense.name
    return name, (
        f"Put keras.layers.Flatten or global average pooling before '{name}', so that each row "
        "becomes one vector."
    )
