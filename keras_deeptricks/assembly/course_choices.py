"""What the course of a training is by default: size of batches, what is watched, when to stop."""

import math

import numpy as np

from keras_deeptricks.callbacks import EarlyStopping

_IMAGE_BATCH = 128
# The rate counts as come down when it is a tenth of its peak.
_COME_DOWN = 0.1


def batch_size_for(rows):
    """Rows per step: 32, doubled until an epoch has no more than 2,000 steps."""
    size = 32
    while rows / size > 2000:
        size *= 2
    return size


def image_batch_size(rows):
    """Rows per step of an image network: 128, halved until an epoch has 20 steps.

    It is never less than 8, which batch norm wants.
    """
    size = _IMAGE_BATCH
    while size > 8 and rows / size < 20:
        size //= 2
    return size


def monitored(task, has_validation):
    """The figure by which the best epoch is chosen.

    The best epoch of a classifier is that of the highest validation accuracy: late in a cycle the
    loss often rises while the accuracy still does too.
    """
    if not has_validation:
        return "loss"
    return "val_accuracy" if task in ("classification", "binary") else "val_loss"


def early_stopping(monitor, schedule_of, epochs, patience=None, mode=None):
    """Early stopping that keeps the best weights and never stops before the rate has come down.

    Of equal epochs, frequent with few rows, the latest is kept: that of the lowest rate.

    Args:
        monitor: A figure in the logs. For `"loss"` the last weights are kept.
        schedule_of: Function from a number of steps to (schedule of the rate, any).
        epochs: Number of epochs of the training.
        patience: Epochs without a better figure; by default a quarter of `epochs`.
        mode: `"max"` or `"min"`; by default accuracies are to be high, all else low.

    Returns:
        A `keras_deeptricks.callbacks.EarlyStopping`.
    """
    schedule, _ = schedule_of(1000)
    rates = schedule.numpy_values(np.arange(1000))
    high = np.flatnonzero(rates > _COME_DOWN * rates.max()).max()
    return EarlyStopping(
        monitor=monitor,
        patience=patience or max(2, epochs // 4),
        mode=mode or ("max" if monitor.endswith("accuracy") else "min"),
        restore_best_weights=monitor != "loss",
        keep_latest=True,
        minimum_epochs=math.ceil(epochs * (high + 1) / 1000),
    )
