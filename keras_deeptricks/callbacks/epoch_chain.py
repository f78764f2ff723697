"""Rates and schedules one after the other, their lengths in epochs."""

from keras_deeptricks.callbacks.schedule import Schedule
from keras_deeptricks.schedules.chain import Chain
from keras_deeptricks.utils.checks import check_number
from keras_deeptricks.utils.hyperparameters import is_schedule


class EpochChain(Schedule):
    """ "50 epochs at 0.1, 25 at 0.01, 25 at 0.001", evaluated inside the compiled step.

    Use it where a recipe is told in epochs. When training starts the epochs become steps, and a
    `keras_deeptricks.schedules.Chain` is installed; everything
    `keras_deeptricks.callbacks.Schedule` says holds here. After the last part its last value
    holds.

    Args:
        parts: List of pairs (rate, epochs). The rate is a number, a schedule counted in steps
            from the start of its part, or a function of the part's number of steps that returns
            a schedule. `epochs` is above 0 and may be a fraction.
        momentum: A list of the same form for the momentum (`beta_1` for Adam's family), or None
            to leave it alone. Needs an optimizer of `keras_deeptricks.optimizers`.
        total_steps: Number of steps of the run, for data of unknown length.

    Raises:
        TypeError: `parts` or `momentum` is no list of such pairs.
        ValueError: A list is empty or a number of epochs is not above 0; or, in `fit`, the data
            has no known length and `total_steps` is not given.

    Example:

    ```python
    import keras
    import numpy as np
    import keras_deeptricks as kdt

    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile(kdt.optimizers.SGD(momentum=0.9), "mse")
    steps_down = kdt.callbacks.EpochChain([(0.1, 2), (0.01, 1), (0.001, 1)])
    warm_up = kdt.callbacks.EpochChain(
        [
            (lambda steps: kdt.schedules.PolynomialDecay(0.0, steps, end_learning_rate=0.1), 1),
            (lambda steps: kdt.schedules.CosineDecay(0.1, steps), 3),
        ]
    )
    x, y = np.ones((64, 4)), np.ones((64, 1))
    model.fit(x, y, epochs=4, callbacks=[steps_down], verbose=0)
    ```

    Reference: He, Zhang, Ren & Sun, Deep residual learning, 2015, section 3.4.
    """

    def __init__(self, parts, momentum=None, total_steps=None):
        self.parts = _check_parts("parts", parts)
        self.momentum = None if momentum is None else _check_parts("momentum", momentum)

        def chains(total_steps, steps_per_epoch):
            several = (self.parts, self.momentum)
            return tuple(part and _chain(part, steps_per_epoch) for part in several)

        super().__init__(chains, total_steps)


def _chain(parts, steps_per_epoch):
    made = []
    for value, epochs in parts:
        steps = max(1, round(epochs * steps_per_epoch))
        made.append((value(steps) if callable(value) and not is_schedule(value) else value, steps))
    return Chain(made)


def _check_parts(name, parts):
    rule = f"`{name}` must be a list of pairs (number, schedule or function, epochs)."
    if not isinstance(parts, (list, tuple)):
        raise TypeError(f"{rule} Received: {name}={parts!r}.")
    if not parts:
        raise ValueError(f"{rule} Received an empty one: {name}={parts!r}.")
    for part in parts:
        if not isinstance(part, (list, tuple)) or len(part) != 2:
            raise TypeError(f"{rule} One of them is {part!r}: {name}={parts!r}.")
        value, epochs = part
        if not is_schedule(value) and not callable(value):
            check_number(f"rates of `{name}`", value, minimum=0)
        check_number(f"epochs of `{name}`", epochs, above=0)
    return tuple(map(tuple, parts))
