"""A rate that grows exponentially, for the learning-rate range test."""

import math

import keras

from keras_deeptricks.schedules.schedule import Schedule
from keras_deeptricks.utils.checks import check_integer, check_number


@keras.saving.register_keras_serializable(package="keras_deeptricks")
class LogRange(Schedule):
    """Equal steps on a logarithmic axis from `low` to `high`: low·(high/low)^(t/(total_steps−1)).

    What `keras_deeptricks.diagnostics.find_learning_rate` trains with. Past the end it holds
    `high`.

    Args:
        low: The rate at step 0, above 0.
        high: The rate at the last step, above `low`.
        total_steps: Number of steps, at least 2.
        name: A name for the schedule.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: An argument is out of its range.

    Example:

    ```python
    import keras_deeptricks as kdt

    rates = kdt.schedules.LogRange(1e-8, 1.0, total_steps=9).numpy_values(range(9))
    assert abs(rates[4] / 1e-4 - 1) < 1e-9
    ```

    Reference: Smith, Cyclical learning rates for training neural networks, 2017, section 3.3;
    the logarithmic axis is Gugger's and Howard's (fastai).
    """

    def __init__(self, low, high, total_steps, name="LogRange"):
        self.low = check_number("low", low, above=0)
        self.high = check_number("high", high, above=self.low)
        self.total_steps = check_integer("total_steps", total_steps, minimum=2)
        self.name = name

    def value(self, step, xp):
        last = self.total_steps - 1
        left = last - xp.minimum(xp.maximum(step, 0.0), float(last))
        # Counted back from the end, which is thereby exact.
        return self.high * xp.exp(left * (-math.log(self.high / self.low) / last))

    def get_config(self):
        return {
            "low": self.low,
            "high": self.high,
            "total_steps": self.total_steps,
            "name": self.name,
        }
