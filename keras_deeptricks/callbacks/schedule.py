"""Puts a schedule of the right length on the optimizer when `fit` starts."""

import inspect
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
        factory: Function of the total number of steps (batches), or with a second parameter of
            the steps of an epoch too. It returns a schedule of the learning rate, or a pair of
            schedules (learning rate, momentum); either may be None.
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
        self._asks_for_epochs = _positional_parameters(factory) > 1
        self.total_steps = total_steps
        self.installed = False
        self._has_warned = False

    def on_train_begin(self, logs=None):
        self.installed = False
        check_compiled(self.model)
        total_steps, per_epoch = self._count()
        made = self._make(total_steps, per_epoch)
        # With a schedule the optimizer has no variable for its rate: a backup that is restored
        # after this has to find it so.
        self._install(*made, done=0)
        self._later = (*made, per_epoch)

    def on_epoch_begin(self, epoch, logs=None):
        # Only here the epoch that training starts with is known.
        if not self.installed:
            learning_rate, momentum, per_epoch = self._later
            self._install(learning_rate, momentum, done=epoch * per_epoch)
            self.installed = True

    def _install(self, learning_rate, momentum, done):
        optimizer = unwrap_optimizer(self.model.optimizer)
        first_step = int(ops.convert_to_numpy(batch_counter(optimizer))) - done
        if momentum is not None and momentum_name(optimizer) is None:
            if not self._has_warned:
                self._warn_of_fixed_momentum(optimizer)
                self._has_warned = True
            momentum = None
        set_hyperparameters(
            self.model,
            learning_rate=None if learning_rate is None else Shifted(learning_rate, first_step),
            momentum=None if momentum is None else Shifted(momentum, first_step),
        )

    def _count(self):
        """The steps of the whole run and those of an epoch."""
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
        return total, steps if steps is not None else total // epochs

    def _make(self, total_steps, per_epoch):
        steps = (total_steps, per_epoch) if self._asks_for_epochs else (total_steps,)
        made = self.factory(*steps)
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


def _positional_parameters(function):
    """How many parameters without a default a function has, or 1 where that cannot be known."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return 1
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(p.kind in kinds and p.default is p.empty for p in parameters)
