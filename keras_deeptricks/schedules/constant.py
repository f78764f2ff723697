"""A schedule that never changes."""

import keras

from keras_deeptricks.schedules.schedule import Schedule
from keras_deeptricks.utils.checks import check_number


@keras.saving.register_keras_serializable(package="keras_deeptricks")
class Constant(Schedule):
    """The same value at every step, where a schedule is needed and nothing should change.

    Keras refuses to set a float over a schedule; this can be set.

    Args:
        constant: The value, at least 0.
        name: A name for the schedule.

    Raises:
        TypeError: `constant` is not a number.
        ValueError: `constant` is negative or not finite.

    Example:

    ```python
    import keras_deeptricks as kdt

    assert float(kdt.schedules.Constant(0.5)(1000)) == 0.5
    ```
    """

    def __init__(self, constant, name="Constant"):
        self.constant = check_number("constant", constant, minimum=0)
        self.name = name

    def value(self, step, xp):
        return self.constant + 0.0 * step

    def get_config(self):
        return {"constant": self.constant, "name": self.name}
