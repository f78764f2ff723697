"""Unfreezes layer after layer as training goes on."""

import keras

from keras_deeptricks.models.freezing import set_trainable
from keras_deeptricks.optimizers.partial_training import enable_partial_training
from keras_deeptricks.utils.checks import check_built, check_integer
from keras_deeptricks.utils.selection import select_layers
from keras_deeptricks.utils.trainable_flags import trainable_if_unfrozen


class GradualUnfreezing(keras.callbacks.Callback):
    """Unfreezes layers at the start of given epochs, without losing the optimizer's slots.

    For fine-tuning a pretrained network from its head downwards: the new layers first, then the
    body from top to bottom. When training starts, all layers named for a later epoch are frozen
    and all named for an earlier one, or this one, are trained; layers not named are left as they
    are. With `initial_epoch` a run goes on where it was. It stands before a `BackupAndRestore`.

    Args:
        schedule: Dictionary from 0-based epochs to the layers to unfreeze then: a layer, a name
            or pattern, or a list of these, as in `keras_deeptricks.models.unfreeze`.

    Raises:
        TypeError: `schedule` is no dictionary from epochs to layers.
        ValueError: `schedule` is empty or an epoch is negative; or, when training starts, one of
            the layers is not in the model.

    Example:

    ```python
    import keras
    import numpy as np
    import keras_deeptricks as kdt

    model = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(8, name="body"), keras.layers.Dense(1, name="head")]
    )
    model.compile(keras.optimizers.Adam(1e-3), "mse")
    unfreezing = kdt.callbacks.GradualUnfreezing({0: "head", 2: "body"})
    x, y = np.ones((32, 4)), np.ones((32, 1))
    model.fit(x, y, epochs=4, callbacks=[unfreezing], verbose=0)
    ```

    Reference: Howard & Ruder, Universal language model fine-tuning for text classification, 2018,
    section 3.3 ("gradual unfreezing").
    """

    def __init__(self, schedule):
        super().__init__()
        if not isinstance(schedule, dict):
            raise TypeError(
                "`schedule` must be a dictionary from epochs to layers. "
                f"Received: schedule={schedule!r}."
            )
        if not schedule:
            raise ValueError(f"`schedule` must name layers. Received: schedule={schedule!r}.")
        self.schedule = {
            check_integer("epochs of `schedule`", epoch, minimum=0): layers
            for epoch, layers in schedule.items()
        }
        self.begun = False

    def on_train_begin(self, logs=None):
        self.begun = False
        check_built("model", self.model)
        for layers in self.schedule.values():
            select_layers(self.model, layers)  # a wrong name is an error now, not epochs later
        # Here, for `BackupAndRestore` loads the slots of all layers before the first epoch.
        enable_partial_training(self.model.optimizer, trainable_if_unfrozen(self.model))

    def on_epoch_begin(self, epoch, logs=None):
        if self.begun and epoch not in self.schedule:
            return
        if not self.begun:
            self._set([at for at in self.schedule if at > epoch], False)
            self._set([at for at in self.schedule if at <= epoch], True)
            self.begun = True
        else:
            self._set([epoch], True)

    def _set(self, epochs, trainable):
        for at in epochs:
            set_trainable(self.model, select_layers(self.model, self.schedule[at]), trainable)
