"""Sutskever's momentum, which rises in steps towards a maximum."""

import keras

from keras_deeptricks.schedules.schedule import Schedule
from keras_deeptricks.utils.checks import check_integer, check_number


@keras.saving.register_keras_serializable(package="keras_deeptricks")
class RisingMomentum(Schedule):
    """A momentum that rises: min(1 − 2^(−1 − log₂(⌊t/every⌋ + 1)), maximum).

    That is 0.5 for the first 250 steps, then 0.75, 0.833, 0.875 …, as 1 − 1/(2·(⌊t/every⌋ + 1)).
    A low momentum early forgets the large gradients of the start; a high one later gets through
    long flat valleys. Use it as the `momentum` of `keras_deeptricks.optimizers.SGD`, Nesterov's
    in the paper. (The paper drops the momentum to 0.9 for its last 1,000 updates: `Chain`.)

    Args:
        maximum: The momentum that is not exceeded, from 0 to below 1. The paper tries 0.9, 0.99,
            0.995 and 0.999. Defaults to `0.99`.
        every_steps: Steps between two rises, at least 1. Defaults to `250`.
        name: A name for the schedule.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: An argument is out of its range.

    Example:

    ```python
    import keras_deeptricks as kdt

    momentum = kdt.schedules.RisingMomentum(maximum=0.9)
    assert momentum.numpy_values([0, 249, 250, 750, 9999]).tolist() == [0.5, 0.5, 0.75, 0.875, 0.9]
    optimizer = kdt.optimizers.SGD(0.01, momentum=momentum, nesterov=True)
    ```

    Reference: Sutskever, Martens, Dahl & Hinton, On the importance of initialization and momentum
    in deep learning, 2013, equation 5.
    """

    def __init__(self, maximum=0.99, every_steps=250, name="RisingMomentum"):
        self.maximum = check_number("maximum", maximum, minimum=0, below=1)
        self.every_steps = check_integer("every_steps", every_steps, minimum=1)
        self.name = name

    def value(self, step, xp):
        every = float(self.every_steps)
        step = xp.maximum(step, 0.0)
        # Not floor_divide: XLA multiplies by 1/every, and 41 times 1/41 is just below 1.
        rises = xp.round((step - xp.mod(step, every)) / every)
        return xp.minimum(1.0 - 0.5 / (rises + 1.0), self.maximum)

    def get_config(self):
        return {"maximum": self.maximum, "every_steps": self.every_steps, "name": self.name}
