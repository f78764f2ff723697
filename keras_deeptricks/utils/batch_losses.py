"""The loss of each training batch alone, seen from outside the compiled step."""

import abc
import math

import keras


class BatchLosses(keras.callbacks.Callback, abc.ABC):
    """Base of callbacks that record the loss of each batch and end the training.

    Keras' logs hold the mean since the last reset of the metrics, so they are reset before each
    batch. Use it with one step per execution (`borrowed_for_training` sees to that).

    Attributes:
        losses: The losses that `is_over` has kept.
    """

    def __init__(self):
        super().__init__()
        self.losses = []

    @abc.abstractmethod
    def is_over(self, loss, logs):
        """Takes note of the loss of a batch, a float, and of its logs; True ends the training."""

    def on_train_batch_begin(self, batch, logs=None):
        self.model.reset_metrics()

    def on_train_batch_end(self, batch, logs=None):
        logs = logs or {}
        if self.is_over(float(logs.get("loss", math.nan)), logs):
            self.model.stop_training = True
