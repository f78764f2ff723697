"""Finds a learning rate by training with rates that grow from step to step."""

import dataclasses
import math
import warnings

import keras
import numpy as np

from keras_deeptricks.diagnostics import learning_rate_suggestions as suggestions_of
from keras_deeptricks.schedules.log_range import LogRange
from keras_deeptricks.schedules.shifted import Shifted
from keras_deeptricks.utils.backend import home_of, random_order_preserved
from keras_deeptricks.utils.batch_losses import BatchLosses, fit_recorded
from keras_deeptricks.utils.batches import ensure_built, is_arrays, row_count, take_rows
from keras_deeptricks.utils.checks import check_choice, check_flag, check_integer, check_number
from keras_deeptricks.utils.compiled_step import (
    borrowed_for_training,
    check_compiled,
    clone_optimizer,
    copy_optimizer_state,
    set_hyperparameters,
    unwrap_optimizer,
)
from keras_deeptricks.utils.hyperparameters import batch_counter
from keras_deeptricks.utils.results import Result
from keras_deeptricks.utils.training_state import preserved

METHODS = ("midpoint", "valley", "steepest", "minimum_over_ten", "sliding_slope")
# Fewer points make no curve.
_FEWEST_STEPS = 10


@dataclasses.dataclass(frozen=True, eq=False)
class LearningRateSearch(Result):
    """The curve of a learning-rate range test and the rates it suggests.

    Attributes:
        learning_rates: The rate of each step, as a float array.
        losses: The loss of each step's batch alone, before the step.
        smoothed_losses: Their bias-corrected exponential moving average.
        suggestions: The rate by method: `"midpoint"`, `"valley"`, `"steepest"`,
            `"minimum_over_ten"`, `"sliding_slope"`.
        method: The method of `suggestion`.
        stopping_reason: `"completed"`, `"diverged"`, `"not_finite"` or `"out_of_data"` (a
            generator that ended early).
    """

    learning_rates: np.ndarray
    losses: np.ndarray
    smoothed_losses: np.ndarray
    suggestions: dict
    method: str
    stopping_reason: str

    plot_function = "plot_learning_rate_search"

    @property
    def suggestion(self):
        """The suggested learning rate, a float."""
        return self.suggestions[self.method]

    def __str__(self):
        rates = ", ".join(f"{name} {rate:.2g}" for name, rate in self.suggestions.items())
        return (
            f"learning rate {self.suggestion:.2g} ({self.method}) of {len(self.losses)} steps "
            f"from {self.learning_rates[0]:.1g} to {self.learning_rates[-1]:.1g}, "
            f"{self.stopping_reason}; {rates}"
        )


def find_learning_rate(
    model,
    x,
    y=None,
    *,
    batch_size=None,
    low=1e-6,
    high=10.0,
    steps=100,
    smoothing=0.95,
    divergence_factor=4.0,
    method="midpoint",
    sample_weight=None,
    class_weight=None,
    shuffle=True,
    seed=0,
):
    """Finds a learning rate by a range test, and leaves the model as it was, bit for bit.

    Trains with rates that grow exponentially, one batch each, records the loss of every batch
    and stops when it explodes. A good rate lies on the descent before the explosion. The model
    comes back with its weights, moving statistics, optimizer, seeds and metrics untouched, also
    after an exception or Ctrl-C; nothing is written to disk.

    Args:
        model: A compiled `keras.Model` of any kind. If it is not built yet, it gets built.
        x, y: Training data as for `model.fit`: arrays, a `tf.data.Dataset`, a
            `keras.utils.PyDataset`, a generator. It is read as often as `steps` needs, but for a
            generator, whose batches come once.
        batch_size: Rows per batch, for arrays. The rate found is one for this batch size.
        low: The lowest rate, above 0. Defaults to `1e-6`.
        high: The highest rate, above `low`. Defaults to `10.0`.
        steps: Number of batches, at least 10. Defaults to `100`.
        smoothing: Weight of the past in the moving average of the losses, from 0 to below 1.
            Defaults to `0.95`.
        divergence_factor: The test stops when the smoothed loss exceeds its lowest value by
            this factor (for losses below zero: by as much as that many times the descent).
            Defaults to `4.0`.
        method: The suggestion to put first. `"midpoint"` (default), the middle, on a
            logarithmic axis, between the steepest descent and the lowest loss, suits the peak of
            a cycle; `"valley"`, `"steepest"`, `"minimum_over_ten"` and `"sliding_slope"` are the
            more cautious rules of fastai.
        sample_weight, class_weight: As for `model.fit`.
        shuffle: Whether the rows of arrays are drawn in random order. Defaults to `True`.
        seed: Whole number that fixes this order. NumPy's global generator is not touched.

    Returns:
        A `LearningRateSearch`; its `suggestion` is the rate, `plot()` draws the curve.

    Raises:
        TypeError: `model` is no Keras model, or an argument is of the wrong type.
        ValueError: `model` is not compiled, its optimizer cannot be copied, an argument is out of
            range, or training fails before there is a curve.

    Example:

    ```python
    import keras
    import numpy as np
    import keras_deeptricks as kdt

    rng = np.random.default_rng(0)
    x = rng.normal(size=(640, 5))
    y = x @ [1.0, 2.0, 3.0, 4.0, 5.0]
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(1)])
    model.compile(kdt.optimizers.SGD(momentum=0.9), "mse")
    found = kdt.diagnostics.find_learning_rate(model, x, y)
    assert 1e-5 < found.suggestion < 0.5
    ```

    The momentum is the one the model was compiled with. For 1cycle compile with the momentum that
    the cycle has at its peak, such as 0.85: at 0.95 a step goes three times as far.

    Reference: Smith, Cyclical learning rates for training neural networks, 2017, section 3.3.
    """
    check_compiled(model)
    low = check_number("low", low, above=0)
    high = check_number("high", high, above=low)
    steps = check_integer("steps", steps, minimum=_FEWEST_STEPS)
    smoothing = check_number("smoothing", smoothing, minimum=0, below=1)
    factor = check_number("divergence_factor", divergence_factor, above=1)
    check_choice("method", method, METHODS)
    seed = check_integer("seed", seed, minimum=0)
    if batch_size is not None:
        batch_size = check_integer("batch_size", batch_size, minimum=1)
    if check_flag("shuffle", shuffle) and is_arrays(x):
        order = np.random.default_rng(seed).permutation(row_count(x))
        x, y, sample_weight = (take_rows(part, order) for part in (x, y, sample_weight))
    ensure_built(model, x)
    recorder = _Recorder(steps, smoothing, factor)
    with random_order_preserved(), home_of(model), preserved(model):
        _train(
            model,
            LogRange(low, high, steps),
            recorder,
            x=x,
            y=y,
            batch_size=batch_size,
            sample_weight=sample_weight,
            class_weight=class_weight,
        )
    return _evaluate(LogRange(low, high, steps), recorder, smoothing, method)


def _train(model, schedule, recorder, **data):
    optimizer = clone_optimizer(model.optimizer, learning_rate=schedule)
    copy_optimizer_state(model.optimizer, optimizer)
    with borrowed_for_training(model, optimizer):
        if model.optimizer.built:
            first_step = int(keras.ops.convert_to_numpy(batch_counter(unwrap_optimizer(optimizer))))
            set_hyperparameters(model, learning_rate=Shifted(schedule, first_step))
        with warnings.catch_warnings():
            # Data that ends before the last step is read again.
            warnings.filterwarnings("ignore", message=".*ran out of data.*")
            # An exhausted generator would be taken to begin with its first batches again.
            once = hasattr(data["x"], "__next__")
            length = {"steps_per_epoch": recorder.steps} if once else {"epochs": recorder.steps}
            fit_recorded(model, recorder, **data, **length, shuffle=False)


class _Recorder(BatchLosses):
    """Stops the test when it has shown enough."""

    def __init__(self, steps, smoothing, divergence_factor):
        super().__init__()
        self.steps = steps
        self.smoothing = smoothing
        self.divergence_factor = divergence_factor
        self.stopping_reason = "out_of_data"

    def is_over(self, loss, logs):
        if not math.isfinite(loss):
            self.stopping_reason = "not_finite"
        else:
            self.losses.append(loss)
            if self._diverges():
                self.stopping_reason = "diverged"
            elif len(self.losses) == self.steps:
                self.stopping_reason = "completed"
        return self.stopping_reason != "out_of_data"

    def _diverges(self):
        smoothed = suggestions_of.smooth(self.losses, self.smoothing)
        lowest = smoothed.min()
        if lowest > 0:
            return smoothed[-1] > self.divergence_factor * lowest
        descent = smoothed[0] - lowest
        return descent > 0 and smoothed[-1] > lowest + self.divergence_factor * descent


def _evaluate(schedule, recorder, smoothing, method):
    losses = np.asarray(recorder.losses, "float64")
    if len(losses) < _FEWEST_STEPS:
        raise ValueError(
            f"The range test ended after {len(losses)} steps ({recorder.stopping_reason}), too few "
            "for a curve. Look for NaN or infinite values in the data, standardize the "
            "inputs, or pass a smaller `low`."
        )
    rates = schedule.numpy_values(np.arange(len(losses)))
    smoothed = suggestions_of.smooth(losses, smoothing)
    # The explosion itself, and the first steps of a moving average, are no part of the curve.
    first = len(losses) // 10
    last = max(len(losses) - 5, first + _FEWEST_STEPS // 2)
    if recorder.stopping_reason in ("completed", "out_of_data"):
        last = len(losses)
    curve = rates[first:last], smoothed[first:last]
    found = {name: getattr(suggestions_of, name)(*curve) for name in METHODS}
    if smoothed.min() > 0.98 * smoothed[0]:
        warnings.warn(
            "The loss hardly fell during the range test, so the suggested rates mean little. Try "
            "more `steps`, a higher `high`, or look whether the model learns at all.",
            stacklevel=3,
        )
    return LearningRateSearch(
        learning_rates=rates,
        losses=losses,
        smoothed_losses=smoothed,
        suggestions=found,
        method=method,
        stopping_reason=recorder.stopping_reason,
    )
