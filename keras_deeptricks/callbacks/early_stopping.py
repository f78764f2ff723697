"""Early stopping that also stops what has gone wrong, and says why it stopped."""

import math

import keras

from keras_deeptricks.utils.checks import check_choice, check_flag, check_integer, check_number


class EarlyStopping(keras.callbacks.EarlyStopping):
    """Stops when the monitored value stalls, explodes or is no number any more.

    Keras' `EarlyStopping` with three things more: a run whose loss is NaN or infinite, or whose
    monitored value passes `divergence_threshold`, ends at once; the best weights are never those
    of such an epoch; and `stopping_reason` says what happened. It looks at the ends of epochs,
    so it costs nothing per batch and does not depend on `steps_per_execution`.

    Under a schedule that holds the rate high for most of the run, as 1cycle does, the validation
    loss often rises before it falls to its best: `minimum_epochs` keeps such a run from being cut
    off, while the best weights are recorded from the first epoch on.

    What it has counted survives an interruption with
    `keras_deeptricks.callbacks.BackupAndRestore`.

    Args:
        monitor: Name of the value in the logs. Defaults to `"val_loss"`.
        min_delta: Smallest change that counts as an improvement. Defaults to `0`.
        patience: Epochs without improvement before stopping. Defaults to `0`.
        verbose: 1 to print when it stops.
        mode: `"min"`, `"max"` or `"auto"`.
        baseline: Value to beat before the patience starts anew, or None.
        restore_best_weights: Whether the model gets the weights of the best epoch when training
            ends, stopped or not. Defaults to `True` (Keras: `False`).
        start_from_epoch: Epochs to ignore altogether at the start, as in Keras. Defaults to `0`.
        check_finite: Whether to stop when the loss, or the monitored value, is NaN or infinite.
            Defaults to `True`.
        divergence_threshold: Value whose worse side ends the run at once, or None.
        minimum_epochs: Number of epochs before which a lack of improvement never stops the run.
            Defaults to `0`.
        keep_latest: Whether, of epochs with the same best value, the last one's weights are kept
            and not the first one's. Sensible for an accuracy on few rows under a falling rate.
            It does not prolong the patience. Defaults to `False`.

    Attributes:
        stopping_reason: None while nothing has stopped the run, else `"patience"`,
            `"not_finite"` or `"diverged"`.
        stopped_epoch: The 0-based epoch after which it stopped, else 0.
        best_epoch: The 0-based epoch of the best value.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: An argument is out of its range.

    Example:

    ```python
    import keras
    import numpy as np
    import keras_deeptricks as kdt

    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(1e6), "mse")
    stopping = kdt.callbacks.EarlyStopping(monitor="loss", patience=5)
    x = np.linspace(1, 2, 320).reshape(-1, 1)
    model.fit(x, x, epochs=20, callbacks=[stopping], verbose=0)
    assert stopping.stopping_reason == "not_finite"
    ```

    Reference: Prechelt, Early stopping — but when?, 1998.
    """

    def __init__(
        self,
        monitor="val_loss",
        min_delta=0,
        patience=0,
        verbose=0,
        mode="auto",
        baseline=None,
        restore_best_weights=True,
        start_from_epoch=0,
        check_finite=True,
        divergence_threshold=None,
        minimum_epochs=0,
        keep_latest=False,
    ):
        if baseline is not None:
            baseline = check_number("baseline", baseline)
        super().__init__(
            monitor=monitor,
            min_delta=check_number("min_delta", min_delta),
            patience=check_integer("patience", patience, minimum=0),
            verbose=verbose,
            mode=check_choice("mode", mode, ("auto", "min", "max")),
            baseline=baseline,
            restore_best_weights=check_flag("restore_best_weights", restore_best_weights),
            start_from_epoch=check_integer("start_from_epoch", start_from_epoch, minimum=0),
        )
        if divergence_threshold is not None:
            divergence_threshold = check_number("divergence_threshold", divergence_threshold)
        self.check_finite = check_flag("check_finite", check_finite)
        self.divergence_threshold = divergence_threshold
        self.minimum_epochs = check_integer("minimum_epochs", minimum_epochs, minimum=0)
        self.keep_latest = check_flag("keep_latest", keep_latest)
        self.stopping_reason = None
        self._epoch = None

    def on_train_begin(self, logs=None):
        super().on_train_begin(logs)
        self.best = None  # Keras 3.12 keeps that of the run before
        self.stopping_reason = None

    def get_state(self):
        """What it has counted, for `keras_deeptricks.callbacks.BackupAndRestore`."""
        return {
            "epoch": self._epoch,
            "wait": self.wait,
            "best": self.best,
            "best_epoch": self.best_epoch,
            "stopped_epoch": self.stopped_epoch,
            "stopping_reason": self.stopping_reason,
            "weights": self.best_weights,
        }

    def set_state(self, state):
        """Goes on from what `get_state` has told in an interrupted run."""
        self._epoch = state["epoch"]
        self.wait = state["wait"]
        self.best = state["best"]
        self.best_epoch = state["best_epoch"]
        self.stopped_epoch = state["stopped_epoch"]
        self.stopping_reason = state["stopping_reason"]
        self.best_weights = state["weights"]

    def on_epoch_end(self, epoch, logs=None):
        self._epoch = epoch
        logs = logs or {}
        seen = [logs[name] for name in ("loss", self.monitor) if logs.get(name) is not None]
        if not all(math.isfinite(value) for value in seen):
            # Never the best epoch, whatever `check_finite` says.
            if self.check_finite:
                self._stop(epoch, "not_finite")
            elif epoch >= self.start_from_epoch and logs.get(self.monitor) is not None:
                self.wait += 1
                self._stop_if_patience_is_over(epoch)
            return
        stopped_before = self.model.stop_training
        super().on_epoch_end(epoch, logs)
        if self.keep_latest and self.best_epoch < epoch and logs.get(self.monitor) == self.best:
            self.best_epoch = epoch
            if self.restore_best_weights:
                self.best_weights = self.model.get_weights()
        if self.model.stop_training and not stopped_before:
            self.stopping_reason = "patience"
            self._stop_if_patience_is_over(epoch)
        if self._diverged(logs.get(self.monitor)):
            self._stop(epoch, "diverged")

    def _stop(self, epoch, reason):
        self.stopping_reason = reason
        self.stopped_epoch = epoch
        self.model.stop_training = True

    def _stop_if_patience_is_over(self, epoch):
        if self.wait >= self.patience and epoch + 1 >= self.minimum_epochs and epoch > 0:
            self._stop(epoch, "patience")
        elif self.stopping_reason == "patience":
            # Keras stopped a run that is too young.
            self.stopping_reason = None
            self.stopped_epoch = 0
            self.model.stop_training = False

    def _diverged(self, value):
        if value is None or self.divergence_threshold is None:
            return False
        # Better than the threshold is fine; Keras knows which side is better once it has begun.
        better = bool(self.monitor_op(value, self.divergence_threshold))
        return not better and value != self.divergence_threshold
