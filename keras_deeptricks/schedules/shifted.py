"""A schedule that starts at another step than 0."""

import numbers

import keras
from keras import ops

from keras_deeptricks.schedules.schedule import Schedule
from keras_deeptricks.schedules.wrapping import check_schedule, inner_value, rebuild
from keras_deeptricks.utils import backend
from keras_deeptricks.utils.checks import check_integer


@keras.saving.register_keras_serializable(package="keras_deeptricks")
class Shifted(Schedule):
    """`schedule` counted from step `first_step`: its value at step t is schedule(t − first_step).

    An optimizer keeps counting over several calls of `fit`; a schedule meant for the second call
    has to start at the count reached. Before `first_step` it holds the value of its step 0.

    Args:
        schedule: A `keras.optimizers.schedules.LearningRateSchedule`.
        first_step: The step that is the schedule's step 0; negative to start inside it.
        name: A name for the schedule.

    Raises:
        TypeError: `schedule` is no schedule, or `first_step` no whole number.

    Example:

    ```python
    import keras_deeptricks as kdt

    cycle = kdt.schedules.OneCycle(0.1, total_steps=100)
    assert float(kdt.schedules.Shifted(cycle, 500)(529)) == float(cycle(29))
    ```
    """

    def __init__(self, schedule, first_step, name="Shifted"):
        self.schedule = check_schedule("schedule", schedule)
        self.first_step = check_integer("first_step", first_step)
        self.name = name

    def __call__(self, step):
        if isinstance(step, numbers.Number) or backend.runs_eagerly():
            return super().__call__(step)
        # Subtracted while both are whole numbers: exact however many steps have passed.
        return self.schedule(ops.maximum(ops.convert_to_tensor(step) - self.first_step, 0))

    def value(self, step, xp):
        return inner_value(self.schedule, xp.maximum(step - self.first_step, 0.0), xp)

    def get_config(self):
        return {
            "schedule": keras.saving.serialize_keras_object(self.schedule),
            "first_step": self.first_step,
            "name": self.name,
        }

    from_config = classmethod(rebuild)
