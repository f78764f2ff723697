"""A schedule times a factor."""

import keras

from keras_deeptricks.schedules.schedule import Schedule
from keras_deeptricks.schedules.wrapping import check_schedule, inner_value, rebuild
from keras_deeptricks.utils.checks import check_number


@keras.saving.register_keras_serializable(package="keras_deeptricks")
class Scaled(Schedule):
    """`factor` times `schedule`, but not below `minimum` unless the schedule itself is.

    What `keras_deeptricks.callbacks.PerformanceScheduling` puts over a schedule.

    Args:
        schedule: A `keras.optimizers.schedules.LearningRateSchedule`.
        factor: The factor, above 0.
        minimum: Lower bound that the factor may not push the value under. Defaults to `0.0`.
        name: A name for the schedule.

    Raises:
        TypeError: `schedule` is no schedule, or an argument no number.
        ValueError: `factor` is not above 0 or `minimum` is negative.

    Example:

    ```python
    import keras_deeptricks as kdt

    half = kdt.schedules.Scaled(kdt.schedules.Constant(0.5), 0.5)
    assert float(half(3)) == 0.25
    ```
    """

    def __init__(self, schedule, factor, minimum=0.0, name="Scaled"):
        self.schedule = check_schedule("schedule", schedule)
        self.factor = check_number("factor", factor, above=0)
        self.minimum = check_number("minimum", minimum, minimum=0)
        self.name = name

    def value(self, step, xp):
        unscaled = inner_value(self.schedule, step, xp)
        return xp.maximum(self.factor * unscaled, xp.minimum(unscaled, self.minimum))

    def get_config(self):
        return {
            "schedule": keras.saving.serialize_keras_object(self.schedule),
            "factor": self.factor,
            "minimum": self.minimum,
            "name": self.name,
        }

    from_config = classmethod(rebuild)
