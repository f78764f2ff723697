"""Cyclical learning rates: triangles of constant, halved or shrinking height."""

import math

import keras

from keras_deeptricks.schedules.schedule import Schedule
from keras_deeptricks.utils.checks import check_choice, check_integer, check_number

_POLICIES = ("triangular", "triangular2", "exp_range")


@keras.saving.register_keras_serializable(package="keras_deeptricks")
class Cyclical(Schedule):
    """A rate that rises and falls between two bounds, again and again.

    In each cycle it rises from the base to the maximum in `half_cycle_steps` steps and falls back
    in as many. Use it where one good rate is hard to name, or to visit several minima. Every value
    equals that of `torch.optim.lr_scheduler.CyclicLR`. It has no end.

    Args:
        base_learning_rate: The lower bound, at least 0.
        max_learning_rate: The upper bound, above the lower one.
        half_cycle_steps: Steps from the lower to the upper bound, at least 1 (the paper's
            "stepsize": 2 to 10 epochs).
        policy: `"triangular"`: every triangle is as high as the first. `"triangular2"`: each is
            half as high as the one before. `"exp_range"`: the height shrinks with every step t
            by `gamma`^t.
        gamma: Factor per step of `"exp_range"`, above 0 and at most 1. Defaults to `0.99994`.
        name: A name for the schedule.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: An argument is out of its range.

    Example:

    ```python
    import keras_deeptricks as kdt

    rate = kdt.schedules.Cyclical(0.125, 0.625, half_cycle_steps=4, policy="triangular2")
    assert rate.numpy_values([0, 2, 4, 8, 12]).tolist() == [0.125, 0.375, 0.625, 0.125, 0.375]
    ```

    Reference: Smith, Cyclical learning rates for training neural networks, 2017, section 3.1.
    """

    def __init__(
        self,
        base_learning_rate,
        max_learning_rate,
        half_cycle_steps,
        policy="triangular",
        gamma=0.99994,
        name="Cyclical",
    ):
        self.base_learning_rate = check_number("base_learning_rate", base_learning_rate, minimum=0)
        self.max_learning_rate = check_number(
            "max_learning_rate", max_learning_rate, above=self.base_learning_rate
        )
        self.half_cycle_steps = check_integer("half_cycle_steps", half_cycle_steps, minimum=1)
        self.policy = check_choice("policy", policy, _POLICIES)
        self.gamma = check_number("gamma", gamma, above=0, maximum=1)
        self.name = name

    def value(self, step, xp):
        half = float(self.half_cycle_steps)
        step = xp.maximum(step, 0.0)
        since = xp.mod(step, 2.0 * half)
        height = xp.minimum(since, 2.0 * half - since) / half
        if self.policy == "triangular2":
            # Rounded, for XLA divides by multiplying with the reciprocal.
            height = height * xp.power(0.5, xp.round((step - since) / (2.0 * half)))
        elif self.policy == "exp_range":
            # Not gamma^t: single precision knows gamma to 3e-8, which t multiplies.
            height = height * xp.exp(step * math.log(self.gamma))
        rise = self.max_learning_rate - self.base_learning_rate
        return self.base_learning_rate + rise * height

    def get_config(self):
        return {
            "base_learning_rate": self.base_learning_rate,
            "max_learning_rate": self.max_learning_rate,
            "half_cycle_steps": self.half_cycle_steps,
            "policy": self.policy,
            "gamma": self.gamma,
            "name": self.name,
        }
