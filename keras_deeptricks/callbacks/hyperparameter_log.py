"""Records learning rate and momentum of every step."""

import warnings

import keras
import numpy as np
from keras import ops

from keras_deeptricks.callbacks.event_files import import_writer
from keras_deeptricks.utils.compiled_step import (
    given_learning_rate,
    given_momentum,
    is_multi_optimizer,
    unwrap_optimizer,
)
from keras_deeptricks.utils.hyperparameters import batch_counter, values_at


class HyperparameterLog(keras.callbacks.Callback):
    """Writes the learning rate and momentum of each step to the history and to TensorBoard.

    It computes them from the schedules at the end of each epoch, and so observes without slowing
    a step, also under `steps_per_execution`. (A rate that another callback assigns in the middle
    of an epoch is seen from the next epoch on.)

    The history of `fit` gains, with one entry per epoch,

    - `"learning_rate"` and `"momentum"`: the value at the epoch's last step;
    - `"learning_rate_per_step"` and `"momentum_per_step"`: the list of the values at its steps.

    Args:
        log_dir: Folder for TensorBoard's event files, written per step as
            `hyperparameters/learning_rate` and `hyperparameters/momentum`, or None for none.
            Needs the package `tensorboard`.

    Attributes:
        steps: The 0-based counts of the batches, as an int array.
        learning_rates: The learning rate at each of them, as a float array.
        momenta: The momentum (β₁ for Adam's family) at each of them, or None for an optimizer
            without one.

    Raises:
        ImportError: `log_dir` is given and `tensorboard` is not installed.

    Example:

    ```python
    import keras
    import numpy as np
    import keras_deeptricks as kdt

    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile(kdt.optimizers.SGD(momentum=0.9), "mse")
    log = kdt.callbacks.HyperparameterLog()
    cycle = kdt.callbacks.OneCycle(0.1)
    x, y = np.ones((64, 4)), np.ones((64, 1))
    history = model.fit(x, y, epochs=2, callbacks=[cycle, log], verbose=0).history
    assert log.learning_rates.shape == (4,)
    assert len(history["learning_rate_per_step"][0]) == 2
    ```
    """

    def __init__(self, log_dir=None):
        super().__init__()
        self.log_dir = log_dir
        self._writer_class = None if log_dir is None else import_writer()
        self._clear()

    def _clear(self):
        self._epochs = []
        self._first = 0
        self._rate = self._momentum = None

    @property
    def steps(self):
        return self._joined("steps", "int64")

    @property
    def learning_rates(self):
        return self._joined("learning_rate", "float64")

    @property
    def momenta(self):
        if any("momentum" not in epoch for epoch in self._epochs):
            return None
        return self._joined("momentum", "float64")

    def on_train_begin(self, logs=None):
        self._clear()

    def on_train_batch_begin(self, batch, logs=None):
        if batch == 0 and is_multi_optimizer(unwrap_optimizer(self.model.optimizer)):
            warnings.warn(
                "HyperparameterLog records nothing: a MultiOptimizer has no one learning rate.",
                stacklevel=2,
            )
            self._rate = None
        elif batch == 0:
            # After every callback's `on_epoch_begin`, which may install a schedule.
            optimizer = unwrap_optimizer(self.model.optimizer)
            self._first = int(ops.convert_to_numpy(batch_counter(optimizer)))
            self._rate = given_learning_rate(optimizer)
            self._momentum = given_momentum(optimizer)

    def on_epoch_end(self, epoch, logs=None):
        if self._rate is None:
            return
        optimizer = unwrap_optimizer(self.model.optimizer)
        steps = np.arange(self._first, int(ops.convert_to_numpy(batch_counter(optimizer))))
        if not len(steps):
            return
        values = {"steps": steps, "learning_rate": values_at(self._rate, steps)}
        if self._momentum is not None:
            values["momentum"] = values_at(self._momentum, steps)
        self._epochs.append(values)
        if logs is not None:
            for name in ("learning_rate", "momentum"):
                if name in values:
                    logs[name] = float(values[name][-1])
        if self._writer_class is not None:
            self._write(values)

    def on_train_end(self, logs=None):
        history = getattr(self.model, "history", None)
        if history is None:
            return
        for name in ("learning_rate", "momentum"):
            per_step = [list(map(float, e[name])) for e in self._epochs if name in e]
            if per_step:
                history.history[f"{name}_per_step"] = per_step

    def _joined(self, name, dtype):
        if not self._epochs:
            return np.empty(0, dtype)
        return np.concatenate([epoch[name] for epoch in self._epochs]).astype(dtype)

    def _write(self, values):
        writer = self._writer_class(str(self.log_dir))
        try:
            for name in ("learning_rate", "momentum"):
                for step, value in zip(values["steps"], values.get(name, ()), strict=False):
                    writer.add_scalar(f"hyperparameters/{name}", value, step=int(step))
        finally:
            writer.close()
