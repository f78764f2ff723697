"""Lowers the learning rate when a monitored value stalls, over a float or any schedule."""

import warnings

import keras
import numpy as np
from keras import ops

from keras_deeptricks.schedules.scaled import Scaled
from keras_deeptricks.utils.checks import check_integer, check_number
from keras_deeptricks.utils.compiled_step import (
    given_learning_rate,
    set_hyperparameters,
    unwrap_optimizer,
)
from keras_deeptricks.utils.hyperparameters import batch_counter, is_schedule, value_at
from keras_deeptricks.utils.monitor import improves_upwards


class PerformanceScheduling(keras.callbacks.Callback):
    """Multiplies the learning rate by `factor` when a value has not improved for `patience` epochs.

    Keras' `ReduceLROnPlateau` raises a TypeError where the rate is a schedule. Here the factor
    goes over whatever is there: a float is lowered, a schedule is scaled from then on. Scaling a
    schedule rebuilds the compiled step, once per reduction.

    The rate of the last step of each epoch is written to the logs, and so to the history, as
    `"learning_rate"`.

    Args:
        monitor: Name of the value in the logs. Defaults to `"val_loss"`.
        factor: What the rate is multiplied by, above 0 and below 1. Defaults to `0.5`.
        patience: Epochs without improvement before a reduction, at least 1. Defaults to `5`.
        mode: `"min"`, `"max"` or `"auto"` (by the name).
        min_delta: Smallest change that counts as an improvement. Defaults to `1e-4`.
        cooldown: Epochs after a reduction in which nothing is counted. Defaults to `0`.
        minimum_learning_rate: The rate that no reduction goes below. Defaults to `0.0`.
        verbose: 1 to print each reduction.

    Attributes:
        factor_applied: The product of all factors applied in this call of `fit`.
        reductions: The 0-based epochs after which the rate was lowered.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: An argument is out of its range, or `mode="auto"` and the name says nothing.

    Example:

    ```python
    import keras
    import numpy as np
    import keras_deeptricks as kdt

    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(kdt.schedules.OneCycle(1e-9, 40)), "mse")
    stalls = kdt.callbacks.PerformanceScheduling("loss", factor=0.5, patience=2)
    x = np.ones((32, 1))
    model.fit(x, x, epochs=5, callbacks=[stalls], verbose=0)
    assert stalls.reductions == [2, 4]
    ```

    Reference: Senior, Heigold, Ranzato & Yang, An empirical study of learning rates in deep
    neural networks for speech recognition, 2013 ("performance scheduling").
    """

    def __init__(
        self,
        monitor="val_loss",
        factor=0.5,
        patience=5,
        mode="auto",
        min_delta=1e-4,
        cooldown=0,
        minimum_learning_rate=0.0,
        verbose=0,
    ):
        super().__init__()
        self.upwards = improves_upwards(monitor, mode)
        self.monitor = monitor
        self.factor = check_number("factor", factor, above=0, below=1)
        self.patience = check_integer("patience", patience, minimum=1)
        self.min_delta = check_number("min_delta", min_delta, minimum=0)
        self.cooldown = check_integer("cooldown", cooldown, minimum=0)
        self.minimum_learning_rate = check_number(
            "minimum_learning_rate", minimum_learning_rate, minimum=0
        )
        self.verbose = verbose
        self._reset()

    def _reset(self):
        self.best = None
        self.wait = 0
        self.cooling = 0
        self.factor_applied = 1.0
        self.reductions = []
        self.base = None

    def on_train_begin(self, logs=None):
        self._reset()

    def on_epoch_end(self, epoch, logs=None):
        logs = logs if logs is not None else {}
        logs["learning_rate"] = self._last_rate()
        current = logs.get(self.monitor)
        if current is None:
            warnings.warn(
                f"PerformanceScheduling finds no '{self.monitor}' in the logs and does nothing. "
                f"There are: {', '.join(logs)}.",
                stacklevel=2,
            )
            return
        if self.cooling > 0:
            self.cooling -= 1
            self.wait = 0
        if self._improves(current):
            self.best = current
            self.wait = 0
        elif self.cooling == 0:
            self.wait += 1
            if self.wait >= self.patience and self._reduce(epoch):
                self.cooling = self.cooldown
                self.wait = 0

    def _improves(self, value):
        if not np.isfinite(value):
            return False
        if self.best is None:
            return True
        gain = value - self.best if self.upwards else self.best - value
        return gain > self.min_delta

    def _reduce(self, epoch):
        optimizer = unwrap_optimizer(self.model.optimizer)
        before = given_learning_rate(optimizer)
        if is_schedule(before):
            # One scaling over the schedule that was there, however often it is lowered.
            if self.base is None:
                self.base = before
            factor = self.factor_applied * self.factor
            after = Scaled(self.base, factor, self.minimum_learning_rate)
        else:
            after = max(before * self.factor, self.minimum_learning_rate)
            # In the precision of the variable: a minimum of 0.1 is 0.10000000149 there.
            if np.float32(after) >= np.float32(before):
                return False
        set_hyperparameters(self.model, learning_rate=after)
        self.factor_applied *= self.factor
        self.reductions.append(epoch)
        if self.verbose:
            print(f"\nEpoch {epoch + 1}: learning rate multiplied by {self.factor}.")
        return True

    def _last_rate(self):
        optimizer = unwrap_optimizer(self.model.optimizer)
        rate = optimizer.learning_rate
        if is_schedule(given_learning_rate(optimizer)):
            last = int(ops.convert_to_numpy(batch_counter(optimizer))) - 1
            rate = value_at(given_learning_rate(optimizer), last)
        return float(ops.convert_to_numpy(rate))
