"""1cycle over the whole of `fit`."""

from keras_deeptricks.callbacks.schedule import Schedule
from keras_deeptricks.schedules.one_cycle import OneCycle as OneCycleSchedule


class OneCycle(Schedule):
    """Trains with 1cycle: the rate goes up and down once, the momentum down and up.

    The quickest way to a well-trained network in a fixed number of epochs, with a peak rate
    found by `keras_deeptricks.diagnostics.find_learning_rate`. It learns the number of steps
    from `fit`; everything `keras_deeptricks.callbacks.Schedule` says of `steps_per_execution`,
    `initial_epoch`, a second `fit` and data of unknown length holds here.

    The momentum (`beta_1` for Adam's family) is cycled where the optimizer is one of
    `keras_deeptricks.optimizers`. Keras' own optimizers cannot change theirs: a warning says so
    and the rate is cycled alone.

    Args:
        max_learning_rate: The peak of the rate, above 0.
        momentum: Pair (high, low) of momenta, or None to leave the momentum alone.
            Defaults to `(0.95, 0.85)`.
        initial_divisor: The peak divided by the initial rate. Defaults to `25.0`.
        final_divisor: The initial rate divided by the final one. Defaults to `1e4`.
        warmup_fraction: Share of the steps in which the rate rises. Defaults to `0.3`.
        annealing: `"cosine"` or `"linear"`.
        three_phase: Whether to come down to the initial rate before the last descent.
        total_steps: Number of steps of the run, for data of unknown length.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: An argument is out of its range; or, in `fit`, the data has no known length
            and `total_steps` is not given.

    Example:

    ```python
    import keras
    import numpy as np
    import keras_deeptricks as kdt

    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile(kdt.optimizers.SGD(momentum=0.95, nesterov=True), "mse")
    x, y = np.ones((64, 4)), np.ones((64, 1))
    model.fit(x, y, epochs=3, callbacks=[kdt.callbacks.OneCycle(0.05)], verbose=0)
    ```

    Reference: Smith, A disciplined approach to neural network hyper-parameters, part 1, 2018,
    arXiv:1803.09820, section 4.
    """

    def __init__(
        self,
        max_learning_rate,
        momentum=(0.95, 0.85),
        initial_divisor=25.0,
        final_divisor=1e4,
        warmup_fraction=0.3,
        annealing="cosine",
        three_phase=False,
        total_steps=None,
    ):
        options = {
            "initial_divisor": initial_divisor,
            "final_divisor": final_divisor,
            "warmup_fraction": warmup_fraction,
            "annealing": annealing,
            "three_phase": three_phase,
        }
        if momentum is not None and (not isinstance(momentum, (tuple, list)) or len(momentum) != 2):
            raise TypeError(
                f"`momentum` must be a pair (high, low) or None. Received: momentum={momentum!r}."
            )

        def cycle(total_steps):
            schedule = OneCycleSchedule(max_learning_rate, total_steps, **options)
            return schedule, None if momentum is None else schedule.momentum(*momentum)

        cycle(total_steps=1)  # bad arguments are refused here, not in `fit`
        super().__init__(cycle, total_steps)
        self.max_learning_rate = float(max_learning_rate)
        self.momentum = momentum
