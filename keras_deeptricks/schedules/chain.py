"""Schedules one after the other."""

import keras

from keras_deeptricks.schedules.constant import Constant
from keras_deeptricks.schedules.schedule import Schedule
from keras_deeptricks.schedules.wrapping import check_schedule, inner_value
from keras_deeptricks.utils.checks import check_integer, check_number


@keras.saving.register_keras_serializable(package="keras_deeptricks")
class Chain(Schedule):
    """Several schedules in sequence, each for its number of steps and counted from its own 0.

    Use it for a warm-up before any schedule, or a long flat stretch before a decay. After the
    last one's steps, its value at the end of them holds.

    Args:
        parts: List of pairs (schedule, steps); a number stands for a constant schedule. `steps`
            is the length of the part, at least 1.
        name: A name for the schedule.

    Attributes:
        total_steps: The sum of the lengths.

    Raises:
        TypeError: `parts` is no list of such pairs.
        ValueError: `parts` is empty, or a length is below 1.

    Example:

    ```python
    import keras_deeptricks as kdt

    warm_up = kdt.schedules.PolynomialDecay(0.0, decay_steps=5, end_learning_rate=0.1)
    decay = kdt.schedules.CosineDecay(0.1, decay_steps=20)
    rate = kdt.schedules.Chain([(warm_up, 5), (0.1, 10), (decay, 20)])
    assert abs(rate.numpy_values([0, 5, 14, 25, 35]) - [0, 0.1, 0.1, 0.05, 0]).max() < 1e-8
    ```

    Reference: Goyal et al., Accurate, large minibatch SGD, 2017, section 2.2 (gradual warm-up).
    """

    def __init__(self, parts, name="Chain"):
        self.parts = _check_parts(parts)
        self.name = name

    @property
    def total_steps(self):
        return sum(steps for _, steps in self.parts)

    def value(self, step, xp):
        begin, value = 0, None
        for schedule, steps in self.parts:
            # Within its own range, for what it gives outside is no business of a chain.
            inside = xp.minimum(xp.maximum(step - float(begin), 0.0), float(steps))
            own = inner_value(schedule, inside, xp)
            value = own if value is None else xp.where(step < float(begin), value, own)
            begin += steps
        return value

    def get_config(self):
        parts = [[keras.saving.serialize_keras_object(part), n] for part, n in self.parts]
        return {"parts": parts, "name": self.name}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        parts = [
            (
                keras.saving.deserialize_keras_object(part, custom_objects=custom_objects)
                if isinstance(part, dict)
                else part,
                steps,
            )
            for part, steps in config["parts"]
        ]
        return cls(**{**config, "parts": parts})


def _check_parts(parts):
    rule = "`parts` must be a list of pairs (schedule or number, steps)."
    if not isinstance(parts, (list, tuple)):
        raise TypeError(f"{rule} Received: parts={parts!r}.")
    if not parts:
        raise ValueError(f"{rule} Received an empty one: parts={parts!r}.")
    checked = []
    for i, part in enumerate(parts):
        if not isinstance(part, (list, tuple)) or len(part) != 2:
            raise TypeError(f"{rule} One of them is {part!r}: parts={parts!r}.")
        schedule, steps = part
        if isinstance(schedule, (int, float)) and not isinstance(schedule, bool):
            schedule = Constant(check_number(f"parts[{i}][0]", schedule, minimum=0))
        checked.append(
            (
                check_schedule(f"parts[{i}][0]", schedule),
                check_integer(f"parts[{i}][1]", steps, minimum=1),
            )
        )
    return tuple(checked)
