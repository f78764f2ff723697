"""Short trainings of the user's own program at several rates, undone afterwards."""

import dataclasses
import math
import time
import warnings

import keras
import numpy as np

from keras_deeptricks.utils.batch_losses import BatchLosses, fit_recorded
from keras_deeptricks.utils.compiled_step import (
    borrowed_for_training,
    clone_optimizer,
    copy_optimizer_state,
    given_learning_rate,
    is_multi_optimizer,
    unwrap_optimizer,
)
from keras_deeptricks.utils.hyperparameters import is_schedule
from keras_deeptricks.utils.training_state import TrainingState

# Bytes of inputs that are laid out for one run.
_MOST_BYTES = 200_000_000
# A schedule's peak is looked for in so many of its first steps.
_SCHEDULE_STEPS = 20_000


@dataclasses.dataclass(frozen=True, eq=False)
class ShortRun:
    """What a short training showed.

    Attributes:
        rate: Its constant learning rate.
        losses: The loss of each batch before its step, as training reports it.
        finite: False if the loss or a weight became NaN or infinite.
        seconds: Its time, without compilation.
        after: What `inspect` returned at its end, or None.
    """

    rate: float
    losses: np.ndarray
    finite: bool
    seconds: float
    after: object = None

    @property
    def end(self):
        """The loss at the end: the median of the last fifth; infinite after a failure."""
        if not self.finite or not len(self.losses):
            return math.inf
        return float(np.median(self.losses[-max(5, len(self.losses) // 5) :]))


class ShortRuns:
    """Trains a model for some steps at any constant rate, and puts it back each time.

    A context manager: while it lasts the model has a copy of its optimizer, whose compiled step
    all runs share. They see the same batches in the same order.

    Args:
        model: A compiled, built model.
        sample: The `Sample` to train on.
        rng: A NumPy `Generator`.
        class_weight: As for `model.fit`.
    """

    def __init__(self, model, sample, rng, class_weight=None):
        self.model, self.sample, self.class_weight = model, sample, class_weight
        self.batch_size = min(sample.batch_size, sample.rows)
        self.rate = peak_rate(model.optimizer)
        self._order = rng.permutation(sample.rows)
        row_bytes = sum(leaf[:1].nbytes for leaf in (*sample.inputs, *sample.targets))
        self.most_steps = max(10, int(_MOST_BYTES // max(1, row_bytes * self.batch_size)))
        self._borrowed = None

    def __enter__(self):
        optimizer = self.model.optimizer
        if self.rate is not None:
            clone = clone_optimizer(optimizer, learning_rate=self.rate)
            copy_optimizer_state(optimizer, clone)
            optimizer = clone
        self._borrowed = borrowed_for_training(self.model, optimizer)
        self._borrowed.__enter__()
        self._state = TrainingState.capture(self.model)
        return self

    def __exit__(self, *error):
        self._borrowed.__exit__(*error)

    def run(self, rate, steps, inspect=None, seconds=math.inf):
        """One run.

        Args:
            rate: The constant rate; None for an optimizer without a single rate.
            steps: Most steps.
            inspect: Function without arguments, called before the model is put back.
            seconds: Most seconds; the first step's compilation does not count.

        Returns:
            A `ShortRun`.
        """
        steps = min(steps, self.most_steps)
        recorder = _Recorder(seconds)
        try:
            if rate is not None:
                unwrap_optimizer(self.model.optimizer).learning_rate = float(rate)
            self._fit(steps, recorder)
            # A step at a rate of 10 can ruin the weights without a loss having seen it.
            finite = recorder.finite and all(
                np.isfinite(keras.ops.convert_to_numpy(variable)).all()
                for variable in self.model.trainable_variables
            )
            after = inspect() if inspect is not None and finite else None
        finally:
            self._state.restore()
        losses = np.asarray(recorder.losses, "float64")
        return ShortRun(rate, losses, finite, recorder.spent, after)

    def _fit(self, steps, recorder):
        chosen = self.sample.take(self._rows(steps))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fit_recorded(
                self.model,
                recorder,
                chosen.x,
                chosen.y,
                sample_weight=chosen.sample_weight,
                class_weight=self.class_weight,
                batch_size=self.batch_size,
                shuffle=False,
            )

    def _rows(self, steps):
        rows = self._order[: self.sample.rows // self.batch_size * self.batch_size]
        needed = steps * self.batch_size
        return np.tile(rows, math.ceil(needed / len(rows)))[:needed]


def peak_rate(optimizer):
    """The learning rate of an optimizer; of a schedule the highest one; None if there is none."""
    optimizer = unwrap_optimizer(optimizer)
    if is_multi_optimizer(optimizer):
        return None
    try:
        rate = given_learning_rate(optimizer)
    except (KeyError, TypeError, ValueError):
        return None
    if not is_schedule(rate):
        rate = float(keras.ops.convert_to_numpy(optimizer.learning_rate))
        return rate
    steps = np.unique(np.geomspace(1, _SCHEDULE_STEPS, 400).astype(int))
    values = [float(keras.ops.convert_to_numpy(rate(int(step)))) for step in (0, *steps)]
    finite = [value for value in values if math.isfinite(value)]
    return max(finite, default=None)


class _Recorder(BatchLosses):
    """Stops when the loss is not finite or time is up."""

    def __init__(self, seconds):
        super().__init__()
        self.seconds = seconds
        self.finite, self.spent = True, 0.0
        self._started = None

    def is_over(self, loss, logs):
        now = time.perf_counter()
        if self._started is None:
            self._started = now  # the first step has the compilation in it
        self.spent = now - self._started
        self.losses.append(loss)
        self.finite = math.isfinite(loss)
        return not self.finite or self.spent > self.seconds
