"""The course of one trial: its data, its learning rate, its schedule."""

import dataclasses
import math
import warnings

import keras
import numpy as np
from keras import ops

from keras_deeptricks.assembly.parts import DEFAULT_LEARNING_RATES
from keras_deeptricks.assembly.training_data import check_dataset, check_inputs, dataset_batches
from keras_deeptricks.callbacks import OneCycle, Schedule
from keras_deeptricks.diagnostics.learning_rate_search import find_learning_rate
from keras_deeptricks.schedules import Constant, CosineDecay, ExponentialDecay
from keras_deeptricks.schedules.shifted import Shifted
from keras_deeptricks.utils.batches import is_arrays
from keras_deeptricks.utils.checks import check_number

SCHEDULES = ("1cycle", "cosine", "exponential", "constant")
# How far the momentum of a cycle comes down at the peak of the rate, as in the recipes.
_MOMENTUM_FALL = 0.1
# An exponential schedule ends at this share of its first rate.
_EXPONENTIAL_END = 0.01
# A range test whose loss keeps this share of its first value tells little.
_FLAT = 0.98
# What tf.data calls INFINITE_CARDINALITY and UNKNOWN_CARDINALITY.
_ENDLESS, _UNKNOWN = -1, -2


@dataclasses.dataclass(frozen=True, eq=False)
class TrialData:
    """The data of a trial as `fit` takes it, and the number of steps in an epoch."""

    x: object
    y: object
    sample_weight: object
    validation: object
    batch_size: int | None
    steps: int


def prepare_trial_data(
    x, y, sample_weight, validation_data, validation_split, batch_size, steps_per_epoch
):
    """Checks the data, splits off the validation rows as Keras does, and counts the steps.

    Raises:
        TypeError: The data can be read only once, or does not hold numbers.
        ValueError: The data is empty, endless, holds NaN or infinities, or lacks targets.
    """
    if not is_arrays(x):
        if y is not None:
            raise ValueError("`y` must be None where `x` is a data set of (inputs, targets).")
        if validation_split:
            raise ValueError("`validation_split` is for arrays. Pass `validation_data`.")
        steps = steps_per_epoch or _count_batches(x)
        return TrialData(x, None, sample_weight, validation_data, None, steps)
    x, y = check_inputs(x, "x"), _check_numbers(y)
    if len(x) != len(y):
        raise ValueError(
            f"`x` and `y` must have the same number of rows. Received {len(x)} and {len(y)}."
        )
    if sample_weight is not None:
        sample_weight = np.asarray(sample_weight)
    split = check_number("validation_split", validation_split or 0.0, minimum=0, below=1)
    if split and validation_data is None:
        kept = math.floor(len(x) * (1 - split))
        validation_data = (x[kept:], y[kept:])
        if sample_weight is not None:
            validation_data = (*validation_data, sample_weight[kept:])
            sample_weight = sample_weight[:kept]
        x, y = x[:kept], y[:kept]
        if not 0 < kept < kept + len(validation_data[0]):
            raise ValueError(
                f"`validation_split`={split} of {kept + len(validation_data[0])} rows leaves "
                "nothing to validate on or to train on."
            )
    steps = steps_per_epoch or math.ceil(len(x) / batch_size)
    return TrialData(x, y, sample_weight, validation_data, batch_size, steps)


def peak_momentum(settings):
    """The momentum at the peak of the rate, which a range test has to have."""
    if settings["schedule"] != "1cycle":
        return settings["momentum"]
    return max(0.0, settings["momentum"] - _MOMENTUM_FALL)


def schedule_callback(settings, learning_rate, total_steps):
    """The callback that drives the rate, and under 1cycle the momentum, over all steps.

    Args:
        settings: Dictionary with `"schedule"` and `"momentum"`.
        learning_rate: The highest rate of the schedule.
        total_steps: Steps of the whole training.
    """
    kind = settings["schedule"]
    if kind == "1cycle":
        momenta = (settings["momentum"], peak_momentum(settings))
        return OneCycle(learning_rate, momentum=momenta, total_steps=total_steps)

    def make(steps):
        if kind == "cosine":
            rate = CosineDecay(learning_rate, steps)
        elif kind == "exponential":
            rate = ExponentialDecay(learning_rate, steps, _EXPONENTIAL_END)
        else:
            rate = Constant(learning_rate)
        # Shifted by nothing, Keras' schedules too give all their values at once.
        return Shifted(rate, 0), None

    return Schedule(make, total_steps=total_steps)


def found_rate(model, data, class_weight, optimizer, seed):
    """The rate that a range test suggests, and in words where it is from.

    A test that fails, because the network gives no finite loss at any rate, must not end a
    search: then it is the optimizer's default rate.
    """
    try:
        with warnings.catch_warnings():
            # It is told in the trial's message.
            warnings.filterwarnings("ignore", message="The loss hardly fell")
            search = find_learning_rate(
                model,
                data.x,
                data.y,
                batch_size=data.batch_size,
                sample_weight=data.sample_weight,
                class_weight=class_weight,
                seed=0 if seed is None else seed,
            )
    except ValueError as error:
        if "range test ended" not in str(error):
            raise
        return DEFAULT_LEARNING_RATES[optimizer], "the default: the range test failed"
    losses = search.smoothed_losses
    is_flat = losses.min() > _FLAT * losses[0]
    return search.suggestion, "found, though the loss hardly fell" if is_flat else "found"


def _count_batches(x):
    check_dataset(x)
    steps = _UNKNOWN
    if hasattr(x, "cardinality"):
        steps = int(x.cardinality())
    elif isinstance(x, keras.utils.PyDataset):
        steps = x.num_batches
    elif hasattr(x, "__len__"):
        steps = len(x)
    if steps is None or steps == _ENDLESS:
        raise ValueError(
            "`x` is endless: pass `steps_per_epoch`, or leave out repeat(), so that an epoch has "
            "an end."
        )
    if steps == _UNKNOWN:
        steps = sum(1 for _ in dataset_batches(x))
    if steps == 0:
        raise ValueError("`x` is empty: it yields no batch.")
    return steps


def _check_numbers(y):
    if y is None:
        raise ValueError(
            "`y` is missing. Pass the targets, or a data set that yields (inputs, targets)."
        )
    y = np.asarray(ops.convert_to_numpy(y) if ops.is_tensor(y) else y)
    if y.dtype.kind not in "biuf":
        raise TypeError(f"`y` must hold numbers. Received dtype {y.dtype}: encode the classes.")
    if y.dtype.kind == "f" and not np.isfinite(y).all():
        raise ValueError("`y` holds NaN or infinite values: remove or fill those rows.")
    return y
