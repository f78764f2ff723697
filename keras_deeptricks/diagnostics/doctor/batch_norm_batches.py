"""Detects batch normalization over batches that are too small or too few for its statistics."""

import keras

from keras_deeptricks.diagnostics.doctor.finding import Finding
from keras_deeptricks.utils.layer_walk import walk_layers

# Wu & He (2018, table 2), ResNet-50 on ImageNet: an error of 23.6 % with 32 rows in a batch, of
# 24.8 % with 8, 27.3 % with 4 and 34.7 % with 2.
_FEW = 4
# After so many epochs the statistics that the layer started with should have faded to a tenth.
_EPOCHS, _FADED = 10, 0.1
_REMEDY = (
    "Train with batches of 16 rows or more, or use keras.layers.LayerNormalization or "
    "GroupNormalization, which need no batch."
)


def batch_norm_batch_size(case):
    """Batch normalization with one to four rows in a batch."""
    norms = training_norms(case.model)
    size = case.sample.batch_size
    if not norms or size > _FEW:
        return
    if size == 1:
        explanation = (
            "The statistics of a single row: what the network is trained with is each row made "
            "alike (of a table every feature becomes 0), and what it is used with is something "
            "else."
        )
    else:
        explanation = (
            "The mean and variance of so few rows are noise, and in inference the layer uses "
            "others. With 4 rows instead of 32, ResNet-50 made 27 instead of 24 errors in 100, "
            "with 2 rows 35 (Wu & He, 2018)."
        )
    yield Finding(
        "batch_norm_misuse",
        "warning",
        norms[0].name,
        f"{case.layer_names(norms)}: batch normalization over batches of "
        f"{size} row{'' if size == 1 else 's'}.",
        explanation,
        _REMEDY,
    )


def batch_norm_last_batch(case):
    """A last batch of a single row in every epoch."""
    norms, total = training_norms(case.model), case.sample.total_rows
    size = case.sample.batch_size
    if norms and total and size > _FEW and total > size and total % size == 1:
        yield Finding(
            "batch_norm_misuse",
            "note",
            norms[0].name,
            f"{total} rows in batches of {size}: the last batch of each epoch has a single row.",
            "Its statistics go into the moving averages with full weight.",
            "Choose another batch size, or drop the last batch.",
        )


def batch_norm_momentum(case):
    """Moving statistics that do not settle in the few steps of an epoch."""
    norms, total = training_norms(case.model), case.sample.total_rows
    if not norms or not total:
        return
    steps = max(1, -(-total // case.sample.batch_size))
    slow = [norm for norm in norms if norm.momentum ** (steps * _EPOCHS) > _FADED]
    if slow:
        left = max(norm.momentum for norm in slow) ** (steps * _EPOCHS)
        yield Finding(
            "batch_norm_misuse",
            "note",
            slow[0].name,
            f"{case.layer_names(slow)}: with momentum={slow[0].momentum:g} and {steps} steps per "
            f"epoch, after {_EPOCHS} epochs the moving statistics are still {left:.0%} those of "
            "the start.",
            "Until they have settled, validation looks worse than the network is.",
            "Pass momentum=0.9, or train for more steps.",
        )


def training_norms(model):
    """The batch normalization layers that use the statistics of batches in training."""
    return [
        layer
        for layer in walk_layers(model)
        if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable
    ]
