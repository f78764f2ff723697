"""Power decay of the learning rate, with any exponent."""

import keras

from keras_deeptricks.schedules.schedule import Schedule
from keras_deeptricks.utils.checks import check_number


@keras.saving.register_keras_serializable(package="keras_deeptricks")
class Power(Schedule):
    """Power decay: η₀ / (1 + t/s)^c.

    The rate falls to a half after s steps, to a third after 2s, with c = 1: quickly at first, ever
    more slowly later, and never to zero. Use it where the length of training is not known.
    (Keras' `InverseTimeDecay` is the case c = 1.)

    Args:
        initial_learning_rate: η₀, the rate at step 0, above 0.
        decay_steps: s, above 0; it may be a fraction. A "decay" of 1e-4 is 10,000 steps.
        exponent: c, at least 0. Defaults to `1.0`.
        name: A name for the schedule.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: An argument is out of its range.

    Example:

    ```python
    import keras_deeptricks as kdt

    rates = kdt.schedules.Power(0.1, decay_steps=10).numpy_values([0, 10, 20])
    assert abs(rates * 60 - [6, 3, 2]).max() < 1e-12
    ```

    Reference: Géron, Hands-on machine learning, 2nd ed., 2019, chapter 11, "power scheduling".
    """

    def __init__(self, initial_learning_rate, decay_steps, exponent=1.0, name="Power"):
        self.initial_learning_rate = check_number(
            "initial_learning_rate", initial_learning_rate, above=0
        )
        self.decay_steps = check_number("decay_steps", decay_steps, above=0)
        self.exponent = check_number("exponent", exponent, minimum=0)
        self.name = name

    def value(self, step, xp):
        return self.initial_learning_rate * xp.power(1.0 + step / self.decay_steps, -self.exponent)

    def get_config(self):
        return {
            "initial_learning_rate": self.initial_learning_rate,
            "decay_steps": self.decay_steps,
            "exponent": self.exponent,
            "name": self.name,
        }
