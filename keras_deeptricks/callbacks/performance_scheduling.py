"""Lowers the learning rate when a monitored value stalls, over a float or any schedule."""

import warnings

import keras
import numpy as np
from keras import ops

from keras_deeptricks.schedules.scaled import Scaled
from keras_deeptricks.utils.checks import check_choice, check_integer, check_number
from keras_deeptricks.utils.compiled_step import (
    assign_hyperparameters,
    given_learning_rate,
    rebuild_train_function,
    single_optimizers,
)
from keras_deeptricks.utils.hyperparameters import (
    batch_counter,
    is_schedule,
    value_at,
    values_at,
)
from keras_deeptricks.utils.monitor import improves_upwards


class PerformanceScheduling(keras.callbacks.Callback):
    """Multiplies the learning rate by `factor` when a value has not improved for `patience` epochs.

    Keras' `ReduceLROnPlateau` raises a TypeError where the rate is a schedule. Here the factor
    goes over whatever is there: a float is lowered, a schedule is scaled from then on, and in a
    `MultiOptimizer` the rate of each optimizer. Scaling a schedule rebuilds the compiled step,
    once per reduction.

    The rate of the last step of each epoch is written to the logs, and so to the history, as
    `"learning_rate"` (in a `MultiOptimizer` as `"learning_rate_0"` and so on). What it has
    counted survives an interruption with `keras_deeptricks.callbacks.BackupAndRestore`.

    Args:
        monitor: Name of the value in the logs. Defaults to `"val_loss"`.
        factor: What the rate is multiplied by, above 0 and below 1. Defaults to `0.5`.
        patience: Epochs without improvement before a reduction, at least 1. Defaults to `5`.
        mode: `"min"`, `"max"` or `"auto"` (by the name).
        min_delta: Smallest change that counts as an improvement. Defaults to `1e-4`.
        min_delta_mode: `"absolute"`, or `"relative"`: then `min_delta` is a share of the best
            value so far.
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
        min_delta_mode="absolute",
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
        self.min_delta_mode = check_choice(
            "min_delta_mode", min_delta_mode, ("absolute", "relative")
        )
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
        self.bases = None
        self._epoch = None

    def on_train_begin(self, logs=None):
        self._reset()

    def get_state(self):
        """What it has counted, for `keras_deeptricks.callbacks.BackupAndRestore`."""
        return {
            "epoch": self._epoch,
            "best": self.best,
            "wait": self.wait,
            "cooling": self.cooling,
            "factor_applied": self.factor_applied,
            "reductions": list(self.reductions),
        }

    def set_state(self, state):
        """Goes on from what `get_state` has told; puts the factor over the schedules there are."""
        self._epoch = state["epoch"]
        self.best = state["best"]
        self.wait = state["wait"]
        self.cooling = state["cooling"]
        self.reductions = list(state["reductions"])
        if state["factor_applied"] != 1.0:
            # A float was restored with the optimizer's variables.
            self._scale_schedules(state["factor_applied"])
        self.factor_applied = state["factor_applied"]

    def on_epoch_end(self, epoch, logs=None):
        self._epoch = epoch
        logs = logs if logs is not None else {}
        optimizers = single_optimizers(self.model.optimizer)
        for place, optimizer in enumerate(optimizers):
            name = "learning_rate" if len(optimizers) == 1 else f"learning_rate_{place}"
            logs[name] = _last_rate(optimizer)
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
        scale = abs(self.best) if self.min_delta_mode == "relative" else 1.0
        return gain > self.min_delta * scale

    def _reduce(self, epoch):
        factor = self.factor_applied * self.factor
        reduced = self._scale_schedules(factor)
        for optimizer in single_optimizers(self.model.optimizer):
            before = given_learning_rate(optimizer)
            if is_schedule(before):
                continue
            after = max(before * self.factor, self.minimum_learning_rate)
            # In the precision of the variable: a minimum of 0.1 is 0.10000000149 there.
            if np.float32(after) < np.float32(before):
                assign_hyperparameters(optimizer, learning_rate=after)
                reduced = True
        if not reduced:
            return False
        self.factor_applied = factor
        self.reductions.append(epoch)
        if self.verbose:
            print(f"\nEpoch {epoch + 1}: learning rate multiplied by {self.factor}.")
        return True

    def _scale_schedules(self, factor):
        """Puts `factor` over the schedules as they were; False if that changes no coming step."""
        optimizers = single_optimizers(self.model.optimizer)
        given = [given_learning_rate(optimizer) for optimizer in optimizers]
        if self.bases is None:
            self.bases = given
        changed = False
        for optimizer, before, base in zip(optimizers, given, self.bases, strict=True):
            if is_schedule(before):
                # One scaling over the schedule that was there, however often it is lowered.
                after = Scaled(base, factor, self.minimum_learning_rate)
                steps = self._coming_steps(optimizer)
                if not np.array_equal(values_at(before, steps), values_at(after, steps)):
                    assign_hyperparameters(optimizer, learning_rate=after)
                    changed = True
        if changed:
            rebuild_train_function(self.model)
        return changed

    def _coming_steps(self, optimizer):
        """A sample of the steps from now to the end of this `fit`, as far as it is known."""
        first = int(ops.convert_to_numpy(batch_counter(optimizer)))
        params = self.params or {}
        length = (params.get("steps") or 1) * params.get("epochs", 1)
        return np.unique(np.linspace(first, first + length, 64).round().astype("int64"))


def _last_rate(optimizer):
    rate = given_learning_rate(optimizer)
    if is_schedule(rate):
        rate = value_at(rate, int(ops.convert_to_numpy(batch_counter(optimizer))) - 1)
    return float(ops.convert_to_numpy(rate))
