"""The cosine cycles of snapshot ensembles."""

import math

import keras

from keras_deeptricks.schedules.schedule import Schedule
from keras_deeptricks.utils.checks import check_integer, check_number


@keras.saving.register_keras_serializable(package="keras_deeptricks")
class SnapshotCosine(Schedule):
    """Equal cosine cycles, each from the full rate down to nearly nothing.

    With L = ⌈T/M⌉ steps a cycle the rate at the 0-based step t is α₀/2·(cos(π·mod(t, L)/L) + 1).
    The paper counts t from 1 and so writes mod(t − 1, L). At the end of each cycle the network
    stands in a minimum: keep it, and average the predictions of all that were kept. Past the
    last step the rate holds its last value.

    Args:
        initial_learning_rate: α₀, the rate at the start of every cycle, above 0.
        total_steps: T, the number of training steps (batches), at least 1.
        cycles: M, the number of cycles, from 1 to `total_steps`. If T is no multiple of it the
            last cycle is cut short.
        name: A name for the schedule.

    Attributes:
        cycle_steps: L, the number of steps of a cycle.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: An argument is out of its range.

    Example:

    ```python
    import keras_deeptricks as kdt

    rates = kdt.schedules.SnapshotCosine(0.2, total_steps=8, cycles=2).numpy_values(range(9))
    assert abs(rates[[0, 2, 4, 6]] - [0.2, 0.1, 0.2, 0.1]).max() < 1e-12
    assert rates[8] == rates[7]
    ```

    Reference: Huang, Li, Pleiss, Liu, Hopcroft & Weinberger, Snapshot ensembles, 2017, equation 2.
    """

    def __init__(self, initial_learning_rate, total_steps, cycles, name="SnapshotCosine"):
        self.initial_learning_rate = check_number(
            "initial_learning_rate", initial_learning_rate, above=0
        )
        self.total_steps = check_integer("total_steps", total_steps, minimum=1)
        self.cycles = check_integer("cycles", cycles, minimum=1, maximum=self.total_steps)
        self.cycle_steps = math.ceil(self.total_steps / self.cycles)
        self.name = name

    def value(self, step, xp):
        length = float(self.cycle_steps)
        step = xp.minimum(xp.maximum(step, 0.0), float(self.total_steps - 1))
        since = xp.mod(step, length)
        return 0.5 * self.initial_learning_rate * (xp.cos(since * (math.pi / length)) + 1.0)

    def get_config(self):
        return {
            "initial_learning_rate": self.initial_learning_rate,
            "total_steps": self.total_steps,
            "cycles": self.cycles,
            "name": self.name,
        }
