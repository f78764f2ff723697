"""A learning rate that drops by a factor every so many steps."""

import keras

from keras_deeptricks.schedules.schedule import Schedule
from keras_deeptricks.utils.checks import check_integer, check_number


@keras.saving.register_keras_serializable(package="keras_deeptricks")
class StepDecay(Schedule):
    """Step decay: η₀·factor^⌊t/every⌋.

    The classic "halve it every few epochs", or a tenth at each third of training. For steps of
    unequal length use `PiecewiseConstantDecay`, or `keras_deeptricks.callbacks.EpochChain` to
    give them in epochs.

    Args:
        initial_learning_rate: η₀, above 0.
        factor: What the rate is multiplied by at each drop, above 0 and at most 1.
        every_steps: Number of steps between drops, at least 1.
        name: A name for the schedule.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: An argument is out of its range.

    Example:

    ```python
    import keras_deeptricks as kdt

    rates = kdt.schedules.StepDecay(0.8, 0.5, every_steps=10).numpy_values([0, 9, 10, 29, 30])
    assert rates.tolist() == [0.8, 0.8, 0.4, 0.2, 0.1]
    ```

    Reference: He, Zhang, Ren & Sun, Deep residual learning, 2015, section 3.4.
    """

    def __init__(self, initial_learning_rate, factor, every_steps, name="StepDecay"):
        self.initial_learning_rate = check_number(
            "initial_learning_rate", initial_learning_rate, above=0
        )
        self.factor = check_number("factor", factor, above=0, maximum=1)
        self.every_steps = check_integer("every_steps", every_steps, minimum=1)
        self.name = name

    def value(self, step, xp):
        every = float(self.every_steps)
        step = xp.maximum(step, 0.0)
        # Not floor_divide: XLA multiplies by 1/every, and 41 times 1/41 is just below 1.
        drops = xp.round((step - xp.mod(step, every)) / every)
        return self.initial_learning_rate * xp.power(self.factor, drops)

    def get_config(self):
        return {
            "initial_learning_rate": self.initial_learning_rate,
            "factor": self.factor,
            "every_steps": self.every_steps,
            "name": self.name,
        }
