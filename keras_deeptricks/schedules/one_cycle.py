"""1cycle: the rate rises, falls and is annihilated, the momentum mirrors it."""

import keras

from keras_deeptricks.schedules.annealing import Phase, anneal
from keras_deeptricks.schedules.schedule import Schedule
from keras_deeptricks.utils.checks import (
    check_choice,
    check_flag,
    check_integer,
    check_number,
)

_ANNEALINGS = ("cosine", "linear")


@keras.saving.register_keras_serializable(package="keras_deeptricks")
class OneCycle(Schedule):
    """The learning rate of 1cycle: up to a high peak, down, and on to nearly nothing.

    Use it with a peak about as high as training stands (see
    `keras_deeptricks.diagnostics.find_learning_rate`), with the momentum mirrored, for fast
    training in a number of steps fixed beforehand. `keras_deeptricks.callbacks.OneCycle` counts
    the steps itself.

    From `max_learning_rate / initial_divisor` at step 0 the rate rises to the peak at step
    `warmup_fraction·total_steps − 1` and falls to the initial rate divided by `final_divisor` at
    the last step, `total_steps − 1`, which then holds. With `three_phase=True` it first falls
    back to the initial rate, as slowly as it rose, and then to the final one. Every value equals
    that of `torch.optim.lr_scheduler.OneCycleLR`.

    Args:
        max_learning_rate: The peak, above 0.
        total_steps: Number of training steps (batches), at least 1.
        initial_divisor: The peak divided by the initial rate, at least 1. Defaults to `25.0`.
        final_divisor: The initial rate divided by the final one, at least 1.
            Defaults to `1e4`.
        warmup_fraction: Share of the steps in which the rate rises, above 0 and below 1
            (at most 0.5 with three phases). Defaults to `0.3`.
        annealing: `"cosine"` or `"linear"`.
        three_phase: Whether to come down to the initial rate first. Defaults to `False`.
        name: A name for the schedule.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: An argument is out of its range.

    Example:

    ```python
    import keras_deeptricks as kdt

    cycle = kdt.schedules.OneCycle(0.1, total_steps=100)
    assert abs(float(cycle(0)) - 0.1 / 25) < 1e-9
    assert abs(float(cycle(29)) - 0.1) < 1e-8
    assert abs(float(cycle(99)) - 0.1 / 25 / 1e4) < 1e-12
    optimizer = kdt.optimizers.SGD(cycle, momentum=cycle.momentum(0.95, 0.85))
    ```

    Reference: Smith, A disciplined approach to neural network hyper-parameters, part 1, 2018,
    arXiv:1803.09820, section 4.
    """

    def __init__(
        self,
        max_learning_rate,
        total_steps,
        initial_divisor=25.0,
        final_divisor=1e4,
        warmup_fraction=0.3,
        annealing="cosine",
        three_phase=False,
        name="OneCycle",
    ):
        self.max_learning_rate = check_number("max_learning_rate", max_learning_rate, above=0)
        self.initial_divisor = check_number("initial_divisor", initial_divisor, minimum=1)
        self.final_divisor = check_number("final_divisor", final_divisor, minimum=1)
        self._shape = _check_shape(total_steps, warmup_fraction, annealing, three_phase)
        self.name = name
        initial = self.max_learning_rate / self.initial_divisor
        self._phases = _cycle(
            initial, self.max_learning_rate, initial / self.final_divisor, **self._shape
        )

    @property
    def total_steps(self):
        """The number of steps of the cycle."""
        return self._shape["total_steps"]

    def momentum(self, high=0.95, low=0.85):
        """The schedule of the momentum that mirrors this rate: high, low at the peak, high.

        Args:
            high: Momentum at both ends, from 0 to 1. Defaults to `0.95`.
            low: Momentum at the peak of the rate, from 0 to `high`. Defaults to `0.85`.

        Returns:
            A `OneCycleMomentum` over the same steps.
        """
        return OneCycleMomentum(high, low, **self._shape)

    def value(self, step, xp):
        return anneal(step, self._phases, self._shape["annealing"], xp)

    def get_config(self):
        return {
            "max_learning_rate": self.max_learning_rate,
            "initial_divisor": self.initial_divisor,
            "final_divisor": self.final_divisor,
            **self._shape,
            "name": self.name,
        }


@keras.saving.register_keras_serializable(package="keras_deeptricks")
class OneCycleMomentum(Schedule):
    """The momentum of 1cycle: high, down to `low` at the peak of the rate, and up again.

    Made by `OneCycle.momentum`. With three phases it is high again when the rate is back at its
    initial value, and stays there.

    Args:
        high: Momentum at both ends, from 0 to 1. Defaults to `0.95`.
        low: Momentum at the peak of the rate, from 0 to `high`. Defaults to `0.85`.
        total_steps: Number of training steps (batches), at least 1.
        warmup_fraction: Share of the steps in which the rate rises. Defaults to `0.3`.
        annealing: `"cosine"` or `"linear"`.
        three_phase: Whether the rate comes down to its initial value first.
        name: A name for the schedule.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: An argument is out of its range.

    Example:

    ```python
    import keras_deeptricks as kdt

    momentum = kdt.schedules.OneCycleMomentum(0.95, 0.85, total_steps=100)
    assert abs(float(momentum(29)) - 0.85) < 1e-6
    ```

    Reference: Smith, 2018, arXiv:1803.09820, section 4.2.
    """

    def __init__(
        self,
        high=0.95,
        low=0.85,
        total_steps=None,
        warmup_fraction=0.3,
        annealing="cosine",
        three_phase=False,
        name="OneCycleMomentum",
    ):
        self.high = check_number("high", high, minimum=0, maximum=1)
        self.low = check_number("low", low, minimum=0, maximum=self.high)
        self._shape = _check_shape(total_steps, warmup_fraction, annealing, three_phase)
        self.name = name
        self._phases = _cycle(self.high, self.low, self.high, **self._shape)

    @property
    def total_steps(self):
        """The number of steps of the cycle."""
        return self._shape["total_steps"]

    def value(self, step, xp):
        return anneal(step, self._phases, self._shape["annealing"], xp)

    def get_config(self):
        return {"high": self.high, "low": self.low, **self._shape, "name": self.name}


def _check_shape(total_steps, warmup_fraction, annealing, three_phase):
    three_phase = check_flag("three_phase", three_phase)
    fraction = check_number("warmup_fraction", warmup_fraction, above=0, below=1)
    if three_phase and fraction > 0.5:
        raise ValueError(
            "`warmup_fraction` must be at most 0.5 with `three_phase=True`, because the rate "
            f"takes as long to come down as to rise. Received: warmup_fraction={fraction}."
        )
    return {
        "total_steps": check_integer("total_steps", total_steps, minimum=1),
        "warmup_fraction": fraction,
        "annealing": check_choice("annealing", annealing, _ANNEALINGS),
        "three_phase": three_phase,
    }


def _cycle(initial, peak, final, total_steps, warmup_fraction, three_phase, **_):
    """The phases; where they meet is PyTorch's: fractions of a step are kept."""
    top = warmup_fraction * total_steps - 1
    end = total_steps - 1
    rise = Phase(0.0, top, initial, peak)
    if not three_phase:
        return [rise, Phase(top, end, peak, final)]
    back = 2 * warmup_fraction * total_steps - 2
    return [rise, Phase(top, back, peak, initial), Phase(back, end, initial, final)]
