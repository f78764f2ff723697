"""The loss of each training batch alone, seen from outside the compiled step."""

import abc
import math

import keras

from keras_deeptricks.utils import backend


class BatchLosses(keras.callbacks.Callback, abc.ABC):
    """Base of callbacks that record the loss of each batch and end the training.

    Keras' logs hold the mean since the last reset of the metrics, so they are reset before each
    batch. Use it with one step per execution (`borrowed_for_training` sees to that), and by
    `fit_recorded`.

    Attributes:
        losses: The losses that `is_over` has kept.
        has_ended_training: True once `is_over` has said so.
    """

    def __init__(self):
        super().__init__()
        self.losses = []
        self.has_ended_training = False

    @abc.abstractmethod
    def is_over(self, loss, logs):
        """Takes note of the loss of a batch, a float, and of its logs; True ends the training."""

    def on_train_batch_begin(self, batch, logs=None):
        self.model.reset_metrics()

    def on_train_batch_end(self, batch, logs=None):
        logs = logs or {}
        if self.is_over(float(logs.get("loss", math.nan)), logs):
            self.has_ended_training = True
            self.model.stop_training = True


def fit_recorded(model, recorder, *args, **kwargs):
    """Trains a model with a `BatchLosses` as its only callback.

    Args:
        model: A compiled model.
        recorder: The `BatchLosses`.
        *args, **kwargs: Arguments of `model.fit`.
    """
    model.fit(*args, verbose=0, callbacks=[recorder], **kwargs)
    if recorder.has_ended_training:
        backend.free_abandoned_iterators()
