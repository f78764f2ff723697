"""The picture of schedules."""

import numbers

import keras
import numpy as np

from keras_deeptricks.schedules.power import Power
from keras_deeptricks.utils.checks import check_integer
from keras_deeptricks.utils.hyperparameters import is_schedule, values_at
from keras_deeptricks.visualization.axes import new_axes

# Keras' own schedules are evaluated one step at a time.
_MOST_POINTS = 1000
_LENGTHS = ("total_steps", "decay_steps", "first_decay_steps", "half_cycle_steps", "every_steps")
# How many of their own lengths schedules without an end are drawn for.
_SPANS = {
    "first_decay_steps": 7,
    "half_cycle_steps": 6,
    "every_steps": 5,
}
# Their `decay_steps` is no end either.
_ENDLESS = (
    Power,
    keras.optimizers.schedules.ExponentialDecay,
    keras.optimizers.schedules.InverseTimeDecay,
)
_ENDLESS_SPANS = 5


def plot_schedules(schedules, steps=None, *, momentum=None, ax=None):
    """Draws one schedule or several over the steps, and a momentum on an axis of its own.

    Args:
        schedules: A schedule of this package or of Keras, a number, a list of these, or a
            dictionary from labels to them.
        steps: Number of steps to draw. By default the longest length that a schedule tells
            of itself.
        momentum: A schedule or number, or None.
        ax: Matplotlib `Axes` to draw on; a new figure's by default.

    Returns:
        The `Axes` of the schedules.

    Raises:
        TypeError: One of `schedules` is neither a schedule nor a number.
        ValueError: `schedules` is empty, or `steps` is not given and no schedule tells its
            length.

    Example:

    ```python
    import keras_deeptricks as kdt

    cyclical = kdt.schedules.Cyclical(0.01, 0.1, half_cycle_steps=100)
    kdt.visualization.plot_schedules({"cyclical": cyclical})
    ```
    """
    named = _by_label(schedules)
    if not named:
        raise ValueError(f"`schedules` must hold at least one. Received: schedules={schedules!r}.")
    drawn = [*named.values()] if momentum is None else [*named.values(), momentum]
    for schedule in drawn:
        if not _is_number(schedule) and not is_schedule(schedule):
            raise TypeError(
                f"`schedules` and `momentum` must be schedules or numbers. Received: {schedule!r}."
            )
    if steps is None:
        steps = max(_length(schedule) for schedule in drawn)
        if not steps:
            raise ValueError("`steps` must be given: the schedules do not tell their length.")
    steps = check_integer("steps", steps, minimum=1)
    at = np.unique(np.linspace(0, steps - 1, min(steps, _MOST_POINTS)).round().astype("int64"))
    ax = new_axes() if ax is None else ax
    lines = []
    for label, schedule in named.items():
        lines += ax.plot(at, values_at(schedule, at), label=label)
    ax.set_xlabel("step")
    # One schedule alone may be that of something else.
    own_name = len(drawn) == 1 and is_schedule(drawn[0])
    ax.set_ylabel(lines[0].get_label() if own_name else "learning rate")
    ax.set_ylim(bottom=0)
    if momentum is not None:
        other = ax.twinx()
        color = f"C{len(ax.lines)}"
        lines += other.plot(at, values_at(momentum, at), "--", color=color, label="momentum")
        other.set_ylabel("momentum")
    if len(lines) > 1:
        # Above the axes: two scales leave no corner free.
        ax.legend(
            handles=lines,
            fontsize="small",
            loc="lower center",
            bbox_to_anchor=(0.5, 1.0),
            ncols=min(len(lines), 3),
        )
    return ax


def _by_label(schedules):
    if isinstance(schedules, dict):
        return schedules
    several = schedules if isinstance(schedules, (list, tuple)) else [schedules]
    named = {}
    for schedule in several:
        label = getattr(schedule, "name", None) or type(schedule).__name__
        if not is_schedule(schedule):
            label = f"{schedule:g}" if _is_number(schedule) else label
        while label in named:
            label += "′"
        named[label] = schedule
    return named


def _is_number(value):
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _length(schedule):
    """The number of steps that show a schedule, or 0 if it does not tell."""
    for name in _LENGTHS:
        length = getattr(schedule, name, None)
        if not _is_number(length):
            continue
        if getattr(schedule, "warmup_target", None) is not None:
            # Keras' cosine decay begins after its warm-up.
            length += schedule.warmup_steps
        spans = _ENDLESS_SPANS if isinstance(schedule, _ENDLESS) else _SPANS.get(name, 1)
        # The step after the last is the first of a new plateau where it falls in steps.
        staircase = name == "every_steps" or getattr(schedule, "staircase", False)
        return int(np.ceil(length * spans)) + (0 if staircase else 1)
    boundaries = getattr(schedule, "boundaries", None)
    if boundaries:
        return int(boundaries[-1] * 1.25) + 1
    inner = getattr(schedule, "schedule", None)
    length = 0 if inner is None else _length(inner)
    return length + max(getattr(schedule, "first_step", 0), 0) if length else 0
