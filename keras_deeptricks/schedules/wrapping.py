"""What schedules that wrap a schedule share."""

import keras
from keras import ops

from keras_deeptricks.schedules.schedule import Schedule
from keras_deeptricks.utils.hyperparameters import is_schedule, values_at


def check_schedule(name, value):
    """Returns `value` if it is a schedule.

    Raises:
        TypeError: it is none.
    """
    if not is_schedule(value):
        raise TypeError(
            f"`{name}` must be a keras.optimizers.schedules.LearningRateSchedule. Received: "
            f"{name}={value!r}. A constant is written keras_deeptricks.schedules.Constant(value)."
        )
    return value


def inner_value(schedule, step, xp):
    """The value of a wrapped schedule, whether it is one of ours or Keras'."""
    if isinstance(schedule, Schedule):
        return schedule.value(step, xp)
    return schedule(step) if xp is ops else values_at(schedule, step)


def rebuild(cls, config, custom_objects=None):
    """`from_config` of a schedule whose config holds a serialized schedule."""
    config = dict(config)
    if isinstance(config["schedule"], dict):
        config["schedule"] = keras.saving.deserialize_keras_object(
            config["schedule"], custom_objects=custom_objects
        )
    return cls(**config)
