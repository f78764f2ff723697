"""A learning rate that falls with the square root of the step, after an optional warm-up."""

import math

import keras

from keras_deeptricks.schedules.schedule import Schedule
from keras_deeptricks.utils.checks import check_integer, check_number


@keras.saving.register_keras_serializable(package="keras_deeptricks")
class InverseSquareRoot(Schedule):
    """α / √max(t, 1), after a linear rise from 0 to α / √w during w warm-up steps.

    The schedule of transformers, and the decay under which stochastic gradient descent converges
    on convex problems. Without a warm-up the rate is α at steps 0 and 1.

    Args:
        initial_learning_rate: α, above 0. With a warm-up the peak is α / √w, which makes α
            usually larger than any rate that is used.
        warmup_steps: w, the number of steps of the rise, at least 0. Defaults to `0`.
        name: A name for the schedule.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: An argument is out of its range.

    Example:

    ```python
    import keras_deeptricks as kdt

    rates = kdt.schedules.InverseSquareRoot(0.4, warmup_steps=16).numpy_values([0, 8, 16, 64])
    assert abs(rates - [0.0, 0.05, 0.1, 0.05]).max() < 1e-12
    ```

    Reference: Vaswani et al., Attention is all you need, 2017, equation 3.
    """

    def __init__(self, initial_learning_rate, warmup_steps=0, name="InverseSquareRoot"):
        self.initial_learning_rate = check_number(
            "initial_learning_rate", initial_learning_rate, above=0
        )
        self.warmup_steps = check_integer("warmup_steps", warmup_steps, minimum=0)
        self.name = name

    def value(self, step, xp):
        falling = self.initial_learning_rate / xp.sqrt(xp.maximum(step, 1.0))
        if self.warmup_steps == 0:
            return falling
        slope = self.initial_learning_rate / math.sqrt(self.warmup_steps) / self.warmup_steps
        return xp.where(step < self.warmup_steps, slope * step, falling)

    def get_config(self):
        return {
            "initial_learning_rate": self.initial_learning_rate,
            "warmup_steps": self.warmup_steps,
            "name": self.name,
        }
