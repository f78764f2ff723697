"""Puts a schedule of the right length on the optimizer when `fit` starts."""

import warnings

import keras
from keras import ops

from keras_deeptricks.schedules.shifted import Shifted
from keras_deeptricks.utils.checks import check_integer
from keras_deeptricks.utils.compiled_step import (
    check_compiled,
    momentum_name,
    set_hyperparameters,
    unwrap_optimizer,
)
from keras_deeptricks.utils.hyperparameters import batch_counter, is_schedule


class Schedule(keras.callbacks.Callback):
    """Installs a schedule as long as this call of `fit`, evaluated inside the compiled step.

    Use it where a schedule needs the number of training steps, which only `fit` knows. The
    schedule is made and installed once, before the first batch; from then on Python has no part
    in it, so it is exact under `steps_per_execution` and costs nothing per batch.

    It starts at the optimizer's present count of batches, so a second `fit` gets a schedule of
    its own from the start. With `initial_epoch` the run is taken as resumed: the schedule spans
    the epochs 0 to `epochs` and is entered at `initial_epoch`. Under
    `gradient_accumulation_steps` it counts batches, as all schedules of Keras do. When `fit` ends
    the schedule stays on the optimizer and holds its last value.

    Args:
        factory: Function of the total number of steps (batches). It returns a schedule of the
            learning rate, or a pair of schedules (learning rate, momentum); either may be None.
        total_steps: Number of steps of the whole run, for data of unknown length. By default
            epochs times batches per epoch.

    Raises:
        TypeError: `factory` is not callable or does not return schedules.
        ValueError: In `fit`, if the data has no known length and `total_steps` is not given.

    Example:

    ```python
    import keras
    import numpy as np
    import keras_deeptricks as kdt

    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile(kdt.optimizers.SGD(momentum=0.9), "mse")
    falling = kdt.callbacks.Schedule(
        lambda total_steps: kdt.schedules.PolynomialDecay(0.1, total_steps, end_learning_rate=0.0)
    )
    model.fit(np.ones((64, 4)), np.ones((64, 1)), epochs=2, callbacks=[falling], verbose=0)
    ```
    """

    def __init__(self, factory, total_steps=None):
        super().__init__()
        if not callable(factory):
            raise TypeError(
                "`factory` must be a function of the total number of steps that returns a "
                f"schedule. Received: factory={factory!r}."
            )
        if total_steps is not None:
            total_steps = check_integer("total_steps", total_steps, minimum=1)
        self.factory = factory
        self.total_steps = total_steps
        self.installed = False

    def on_train_begin(self, logs=None):
        self.installed = False

    def on_epoch_begin(self, epoch, logs=None):
        # Only here the epoch that training starts with is known.
        if self.installed:
            return
        model = self.model
        check_compiled(model)
        total_steps, done = self._count(epoch)
        learning_rate, momentum = self._make(total_steps)
        optimizer = unwrap_optimizer(model.optimizer)
        first_step = int(ops.convert_to_numpy(batch_counter(optimizer))) - done
        if momentum is not None and momentum_name(optimizer) is None:
            self._warn_of_fixed_momentum(optimizer)
            momentum = None
        set_hyperparameters(
            model,
            learning_rate=None if learning_rate is None else Shifted(learning_rate, first_step),
            momentum=None if momentum is None else Shifted(momentum, first_step),
        )
        self.installed = True

    def _count(self, initial_epoch):
        """The steps of the whole run and those that lie before `initial_epoch`."""
        epochs, steps = self.params["epochs"], self.params["steps"]
        total = self.total_steps
        if total is None:
            if steps is None:
                raise ValueError(
                    f"{type(self).__name__} cannot know how many steps `fit` will take: the data "
                    "has no known length. Pass `total_steps` to the callback (epochs times batches "
                    "per epoch), or `steps_per_epoch` to `fit`."
                )
            total = epochs * steps
        per_epoch = steps if steps is not None else total // epochs
        return total, initial_epoch * per_epoch

    def _make(self, total_steps):
        made = self.factory(total_steps)
        pair = made if isinstance(made, (tuple, list)) else (made, None)
        if len(pair) != 2 or not all(value is None or is_schedule(value) for value in pair):
            raise TypeError(
                "`factory` must return a schedule, or a pair of schedules (learning rate, "
                f"momentum). Received: {made!r}."
            )
        return pair

    def _warn_of_fixed_momentum(self, optimizer):
        kind = type(optimizer).__name__
        warnings.warn(
            f"{type(self).__name__} schedules the learning rate only: the momentum of Keras' "
            f"{kind} is frozen into the compiled step. To cycle it too, compile with "
            f"keras_deeptricks.optimizers.{kind} (SGD, RMSprop, Adam, AdamW and Nadam are there); "
            "to silence this, pass momentum=None.",
            stacklevel=2,
        )
